//! Data directories that have seen use: many documents, and dead bytes among them, made through the store's own door.

use std::path::Path;

use bytes::Bytes;
use weft::data_dir::DataDir;
use weft::ids::{DocName, Seq};
use weft::store::{LogAppend, SledStore, Snapshot, Store};

use crate::message::Writer;

/// Documents given to the store in one call.
const DOCUMENTS_AT_ONCE: usize = 5_000;

/// The name of document `number`.
pub fn name(number: usize) -> DocName {
    DocName::parse(&format!("used/{number:07}")).expect("a valid name")
}

/// Makes `path` a data directory with `documents` documents, each with one log record of each chunk of text.
///
/// All have the same contents: it is the number that counts.
pub fn fill(path: &Path, documents: usize, chunks: &[String]) {
    let dir = DataDir::open(path).expect("cannot make a data directory");
    let store = SledStore::open(dir.store()).expect("cannot open the store");
    let mut writer = Writer::new(1);
    for (seq, chunk) in (1..).map(Seq).zip(chunks) {
        let update = Bytes::from(writer.append(chunk));
        for first in (0..documents).step_by(DOCUMENTS_AT_ONCE) {
            let numbers = first..documents.min(first + DOCUMENTS_AT_ONCE);
            let append = |number| LogAppend { doc: name(number), updates: vec![(seq, update.clone())] };
            store.append(&numbers.map(append).collect::<Vec<_>>(), 1_700_000_000_000).expect("appended");
        }
        store.make_durable().expect("synced");
    }
}

/// Overwrites some documents of a directory by the text `text`, as a fold does after much was deleted.
pub fn overwrite(path: &Path, numbers: impl Iterator<Item = usize>, text: &str) {
    let dir = DataDir::open(path).expect("cannot open the data directory");
    let store = SledStore::open(dir.store()).expect("cannot open the store");
    let state = Bytes::from(Writer::new(2).append(text));
    for number in numbers {
        let head = store.head(&name(number)).expect("read").expect("is there");
        let snapshot = Snapshot { covers: head.last_seq, updates: vec![state.clone()] };
        store.install_snapshot(&name(number), &snapshot, 1_700_000_000_001).expect("installed");
    }
    store.make_durable().expect("synced");
}

/// Bytes of all files below `dir`.
pub fn disk_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let bytes = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.expect("an entry");
        // One that is gone by now takes no space.
        let Ok(meta) = entry.metadata() else { return 0 };
        if meta.is_dir() { disk_bytes(&entry.path()) } else { meta.len() }
    };
    entries.map(bytes).sum()
}

/// Copies a directory whose owner has ended.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}
