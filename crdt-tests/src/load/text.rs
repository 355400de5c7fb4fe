//! The large text: the recorded history of a paper, keystroke by keystroke, and edits inside it.

use std::path::PathBuf;

use flate2::read::GzDecoder;
use rand::Rng;
use serde::Deserialize;
use yrs::updates::encoder::Encode;
use yrs::{ClientID, Doc, OffsetKind, Options, ReadTxn, StateVector, Text, Transact};

use super::token;
use crate::skip::skipped;
use crate::{author, seed, trace};

/// The client that typed it.
const TYPIST: u64 = 1_000_000_007;

/// The history, as updates and as what came of them.
pub struct History {
    /// What it is called in tables.
    pub name: &'static str,
    /// One update for each edit.
    pub updates: Vec<Vec<u8>>,
    /// The text at the end.
    pub end: String,
    /// The document at the end, as one update.
    pub state: Vec<u8>,
    /// Its state vector, v1.
    pub state_vector: Vec<u8>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    txns: Vec<Edit>,
}

#[derive(Deserialize)]
struct Edit {
    #[serde(default)]
    parents: Vec<usize>,
    #[serde(default)]
    agent: usize,
    patches: Vec<(u32, u32, String)>,
}

/// Reads the history and makes the updates with yrs, at most `edits` of them. Where the paper is absent, one of our own files
/// stands in for it; `trace::shared` says so.
pub fn history(edits: usize) -> History {
    match trace::shared("automerge-paper") {
        Some(path) => read("automerge-paper", path, edits),
        None => own_history(edits),
    }
}

/// A history of our own, that is always there.
pub fn own_history(edits: usize) -> History {
    read("src-replica-mod-rs", trace::fixture("src-replica-mod-rs"), edits)
}

/// All that there is: our own, and the ones that lie beside the workspace.
pub fn every_history() -> impl Iterator<Item = (String, History)> {
    let files = |folder: &str| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.retain(|path| path.to_string_lossy().ends_with(".json.gz"));
        files.sort();
        files
    };
    let [own, shared] =
        [trace::fixture("x"), trace::beside("x")].map(|file| files(&file.with_file_name("").to_string_lossy()));
    assert!(!own.is_empty(), "fixtures/keystrokes is part of the repository");
    if shared.is_empty() {
        skipped("traces absent: no ../shared/traces beside the workspace");
    }
    own.into_iter().chain(shared).map(|path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, read("every", path, usize::MAX))
    })
}

/// An author of a history, and which edits his copy holds.
struct Typist {
    doc: Doc,
    has: Vec<bool>,
}

impl Typist {
    /// Takes in an edit, and before it all that it was made upon.
    fn catch_up(&mut self, to: &[usize], edits: &[Edit], updates: &[Vec<u8>]) {
        let mut wanted: Vec<usize> = to.to_vec();
        let mut missing = Vec::new();
        while let Some(number) = wanted.pop() {
            if !std::mem::replace(&mut self.has[number], true) {
                missing.push(number);
                wanted.extend(&edits[number].parents);
            }
        }
        missing.sort_unstable();
        missing.into_iter().for_each(|number| author::apply(&self.doc, &updates[number]));
    }
}

fn read(name: &'static str, path: PathBuf, edits: usize) -> History {
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()));
    let recorded: Recorded = serde_json::from_reader(GzDecoder::new(file)).expect("a recorded history");
    let edits = &recorded.txns[..recorded.txns.len().min(edits)];
    let agents = edits.iter().map(|edit| edit.agent + 1).max().unwrap_or(1);
    let typist = |agent| Typist { doc: blank(TYPIST + agent as u64), has: vec![false; edits.len()] };
    let mut typists: Vec<Typist> = (0..agents).map(typist).collect();
    let mut updates: Vec<Vec<u8>> = Vec::new();
    for (number, edit) in edits.iter().enumerate() {
        let typist = &mut typists[edit.agent];
        typist.catch_up(&edit.parents, edits, &updates);
        typist.has[number] = true;
        let text = typist.doc.get_or_insert_text("text");
        let mut txn = typist.doc.transact_mut();
        for (position, deleted, inserted) in &edit.patches {
            if *deleted > 0 {
                text.remove_range(&mut txn, *position, *deleted);
            }
            if !inserted.is_empty() {
                text.insert(&mut txn, *position, inserted);
            }
        }
        updates.push(txn.encode_update_v1());
    }
    let last = &mut typists[0];
    last.catch_up(&(0..edits.len()).collect::<Vec<_>>(), edits, &updates);
    let text = last.doc.get_or_insert_text("text");
    let txn = last.doc.transact();
    let end = yrs::GetString::get_string(&text, &txn);
    let state = txn.encode_state_as_update_v1(&StateVector::default());
    let state_vector = txn.state_vector().encode_v1();
    History { name, updates, end, state, state_vector }
}

fn blank(client: u64) -> Doc {
    let options = Options { offset_kind: OffsetKind::Utf16, ..Options::with_client_id(ClientID::new(client)) };
    Doc::with_options(options)
}

/// Somebody who inserts tokens all over the text, as one of several who don't wait for each other.
pub fn insider(history: &History, client: u64) -> Box<dyn FnMut(u32) -> Vec<u8>> {
    let doc = blank(client);
    let text = doc.get_or_insert_text("text");
    author::apply(&doc, &history.state);
    let mut rng = seed::rng(client, 0);
    let len = text.len(&doc.transact());
    // Places in the text as it was, in order: no token goes into another one.
    let mut places: Vec<u32> = Vec::new();
    Box::new(move |number| {
        let mut txn = doc.transact_mut();
        let place = rng.random_range(0..=len);
        let before = places.partition_point(|other| *other < place);
        places.insert(before, place);
        let at = place + (before * token::BYTES) as u32;
        text.insert(&mut txn, at, std::str::from_utf8(&token::write(number)).expect("ASCII"));
        txn.encode_update_v1()
    })
}
