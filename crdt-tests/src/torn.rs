//! What a power cut can leave of files whose writes were recorded ([`crate::faults::recording`]).
//!
//! At any instant all writes that have ended are there, whole, since what writes here writes through to the disk; of each
//! that has begun and not ended there may be nothing or everything, and of one that only empties any of its pages.
//!
//! Any of the pages of one that brings something may be there too, on a disk that a cut finds in the midst of it. Then there
//! may be no whole message of it, nothing tells it from damage, and the store says so rather than trust it. So that is
//! not among what is made here.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use rand::Rng;

/// What a disk writes at once, bytes.
const PAGE: u64 = 4_096;

/// What happened to files, in order; see `faulty-disk/src/recording.rs`.
pub struct Recording {
    events: Vec<Event>,
}

enum Event {
    Begin { id: u64, write: Write },
    End { id: u64, is_whole: bool },
    Length { path: String, len: usize },
    File { path: String, bytes: Vec<u8> },
    Removed { path: String },
}

#[derive(Clone)]
struct Write {
    path: String,
    offset: u64,
    bytes: Vec<u8>,
}

impl Recording {
    /// Reads what the library recorded; one that is cut short ends before.
    pub fn read(file: &Path) -> Self {
        let recorded = fs::read(file).expect("a recording");
        let (mut rest, mut events) = (&recorded[..], Vec::new());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = std::str::from_utf8(&rest[..end]).expect("a line of text");
            rest = &rest[end + 1..];
            let (kind, words) = line.split_once(' ').expect("a kind");
            let mut take = |len: &str| {
                let (bytes, after) = rest.split_at_checked(len.parse().expect("a length"))?;
                rest = after;
                Some(bytes.to_vec())
            };
            let number = |word: &str| word.parse().expect("a number");
            let event = match (kind, words.splitn(4, ' ').collect::<Vec<_>>().as_slice()) {
                ("begin", [id, offset, len, path]) => take(len).map(|bytes| Event::Begin {
                    id: number(id),
                    write: Write { path: (*path).into(), offset: number(offset), bytes },
                }),
                // sled writes again what was written in part, and recorded that as another write.
                ("end", [id, written]) => Some(Event::End { id: number(id), is_whole: !written.starts_with('-') }),
                ("length", [len, path]) => Some(Event::Length { path: (*path).into(), len: number(len) as usize }),
                ("file", [len, path]) => take(len).map(|bytes| Event::File { path: (*path).into(), bytes }),
                ("removed", [path]) => Some(Event::Removed { path: (*path).into() }),
                _ => panic!("no record: {line}"),
            };
            let Some(event) = event else { break };
            events.push(event);
        }
        Self { events }
    }

    /// How many instants there are.
    pub fn instants(&self) -> Range<usize> {
        0..self.events.len() + 1
    }

    /// Makes of a copy of the directory as it was before, in `dir`, what a cut at this instant could have left. Tells what
    /// became of the writes that were under way.
    pub fn cut(&self, instant: usize, dir: &Path, rng: &mut impl Rng) -> Vec<String> {
        let mut files = Files { dir, open: BTreeMap::new() };
        let mut under_way = BTreeMap::new();
        for event in &self.events[..instant] {
            match event {
                Event::Begin { id, write } => drop(under_way.insert(*id, write)),
                Event::End { id, is_whole } => {
                    let write = under_way.remove(id).expect("what ends has begun");
                    if *is_whole {
                        files.write(write, |_| true);
                    }
                }
                Event::Length { path, len } => files.open(path).resize(*len, 0),
                Event::File { path, bytes } => *files.open(path) = bytes.clone(),
                Event::Removed { path } => files.remove(path),
            }
        }
        let mut told = Vec::new();
        for write in under_way.into_values() {
            let pages = write.bytes.len() as u64 / PAGE + 2;
            let empties = write.bytes.iter().all(|byte| *byte == 0);
            let there: Vec<bool> = if empties && rng.random() {
                (0..pages).map(|_| rng.random()).collect()
            } else {
                vec![rng.random(); pages as usize]
            };
            let count = there.iter().filter(|there| **there).count();
            told.push(format!(
                "{count} of {pages} pages of {} from {} on in {}",
                write.bytes.len(),
                write.offset,
                write.path
            ));
            files.write(write, |page| there[page as usize]);
        }
        files.save();
        told
    }
}

/// Files that are changed in memory.
struct Files<'a> {
    dir: &'a Path,
    open: BTreeMap<String, Vec<u8>>,
}

impl Files<'_> {
    fn open(&mut self, path: &str) -> &mut Vec<u8> {
        let read = || fs::read(self.dir.join(path)).unwrap_or_default();
        self.open.entry(path.to_owned()).or_insert_with(read)
    }

    fn write(&mut self, write: &Write, is_there: impl Fn(u64) -> bool) {
        let file = self.open(&write.path);
        let (from, to) = (write.offset as usize, write.offset as usize + write.bytes.len());
        if file.len() < to {
            file.resize(to, 0);
        }
        let first = write.offset / PAGE;
        for page in first..(to as u64).div_ceil(PAGE) {
            if is_there(page - first) {
                let part = from.max((page * PAGE) as usize)..to.min(((page + 1) * PAGE) as usize);
                file[part.clone()].copy_from_slice(&write.bytes[part.start - from..part.end - from]);
            }
        }
    }

    fn remove(&mut self, path: &str) {
        self.open.remove(path);
        let _ = fs::remove_file(self.dir.join(path));
    }

    fn save(self) {
        for (path, bytes) in self.open {
            fs::write(self.dir.join(path), bytes).expect("written");
        }
    }
}
