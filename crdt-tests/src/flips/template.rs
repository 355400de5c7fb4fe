//! The directory that is damaged: documents in every state a document can be in, made by the real binary and killed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cli::Cli;
use crate::message::{self, Writer};
use crate::server::{Options, Server};
use crate::socket::Socket;

/// Bytes of a file that are looked at together when zeros are left out.
const PAGE: usize = 512;

/// A file without its zeros.
#[derive(Debug, Clone)]
pub struct Sparse {
    /// Length, bytes.
    pub len: u64,
    /// What is not zero: where it starts, and the bytes.
    pub parts: Vec<(u64, Vec<u8>)>,
}

impl Sparse {
    fn of(bytes: &[u8]) -> Self {
        let mut parts: Vec<(u64, Vec<u8>)> = Vec::new();
        for (page, bytes) in (0..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
            if bytes.iter().all(|b| *b == 0) {
                continue;
            }
            match parts.last_mut() {
                Some((start, part)) if *start + part.len() as u64 == page => part.extend_from_slice(bytes),
                _ => parts.push((page, bytes.to_vec())),
            }
        }
        Self { len: bytes.len() as u64, parts }
    }

    /// The byte at `at`.
    pub fn byte(&self, at: u64) -> u8 {
        let part = self.parts.iter().find(|(start, part)| (*start..*start + part.len() as u64).contains(&at));
        part.map_or(0, |(start, part)| part[(at - start) as usize])
    }

    fn write(&self, path: &Path) {
        let file = fs::File::create(path).expect("a scratch file");
        file.set_len(self.len).expect("a scratch file");
        for (at, bytes) in &self.parts {
            file.write_all_at(bytes, *at).expect("a scratch file");
        }
    }
}

/// A whole directory in memory.
#[derive(Debug, Clone)]
pub struct Template {
    /// By path below the directory.
    pub files: BTreeMap<PathBuf, Sparse>,
    dirs: Vec<PathBuf>,
}

/// What its documents are called.
pub const DOCUMENTS: [&str; 7] =
    ["folded", "folded-and-edited", "journal-only", "large", "logged", "stored-and-journaled", "waiting"];

/// How much there is in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As little as can be, so that all of it can be damaged within minutes.
    Small,
    /// One document has records of more than one chunk.
    Chunks,
}

impl Template {
    /// Runs the real binary into `dir` and leaves there what `kill -9` leaves.
    pub fn make(dir: &Path, size: Size) {
        let mut server = Options::new(dir).start();
        // sled notes its page table when it opens; what comes after it is read again, what was before is not.
        let cli = Cli::of(&server);
        let send = |server: &Server, doc: &str, updates: &[Vec<u8>]| {
            let mut socket = Socket::connect(server.addr(), doc);
            socket.pull(&[0]);
            for update in updates {
                socket.send(message::update(update));
                socket.ack();
            }
        };
        let mut writers: BTreeMap<&str, Writer> =
            (1..).zip(DOCUMENTS).map(|(id, doc)| (doc, Writer::new(id))).collect();
        let mut append = |doc: &'static str, text: &str| writers.get_mut(doc).expect("one of ours").append(text);
        for doc in ["folded", "folded-and-edited", "logged", "stored-and-journaled"] {
            let updates: Vec<_> = ["one ", "two ", "three "].map(|text| append(doc, text)).into();
            send(&server, doc, &updates);
        }
        // More than one chunk of a snapshot, and of a log record.
        let (before, after) = match size {
            Size::Small => (10, 10),
            Size::Chunks => (1_500, 4_000),
        };
        let updates: Vec<_> = (0..4).map(|n| append("large", &format!("{n} {}", noise(n, before)))).collect();
        send(&server, "large", &updates);
        cli.done(&["compact", "large", "folded", "folded-and-edited"]);
        let update = append("large", &noise(9, after));
        send(&server, "large", &[update]);
        let update = append("folded-and-edited", "four ");
        send(&server, "folded-and-edited", &[update]);
        append("waiting", "never sent ");
        let update = append("waiting", "second ");
        send(&server, "waiting", &[update]);
        // Carries all of these into the store.
        cli.done(&["ls"]);
        server.drain();
        server.restart();
        cli.done(&["compact", "logged"]);
        for doc in ["stored-and-journaled", "journal-only"] {
            let updates: Vec<_> = ["acked ", "and ", "journaled "].map(|text| append(doc, text)).into();
            send(&server, doc, &updates);
        }
        server.kill();
    }

    /// Reads a directory. LOCK and what names a process that is gone are left out: they hold nothing.
    pub fn read(dir: &Path) -> Self {
        let mut template = Self { files: BTreeMap::new(), dirs: Vec::new() };
        template.add(dir, Path::new(""));
        template
    }

    fn add(&mut self, root: &Path, below: &Path) {
        for entry in fs::read_dir(root.join(below)).expect("a directory") {
            let entry = entry.expect("an entry");
            let path = below.join(entry.file_name());
            if entry.file_type().expect("a type").is_dir() {
                self.dirs.push(path.clone());
                self.add(root, &path);
            } else if path != Path::new("LOCK") && path != Path::new("admin.json") {
                let bytes = fs::read(root.join(&path)).expect("readable");
                self.files.insert(path, Sparse::of(&bytes));
            }
        }
    }

    /// Writes it to `dir`, which is emptied first.
    pub fn write(&self, dir: &Path) {
        if dir.exists() {
            fs::remove_dir_all(dir).expect("a scratch directory");
        }
        fs::create_dir_all(dir).expect("a scratch directory");
        for sub in &self.dirs {
            fs::create_dir(dir.join(sub)).expect("a scratch directory");
        }
        for (path, file) in &self.files {
            file.write(&dir.join(path));
        }
    }
}

/// Text that does not compress into a repetition: `len` letters that follow from `seed`.
fn noise(seed: u64, len: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let letter = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..len).map(letter).collect()
}
