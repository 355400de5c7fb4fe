//! All tables and logs together: of each key the newest entry, unless that is a deletion.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::vec;

use super::manifest::Manifest;
use super::table::Table;
use super::{Entry, MigrateError};

/// A key and its value.
pub(in crate::migrate) type Pair = (Vec<u8>, Vec<u8>);

/// What is live in a database, by rising keys.
pub(in crate::migrate) struct Entries<'a> {
    runs: Vec<Run<'a>>,
    /// The next entry of each run: smallest key first, of one key the newest.
    heads: BinaryHeap<Reverse<Head>>,
    /// The key given out or passed over last.
    last: Option<Vec<u8>>,
}

/// Orders entries as they are merged.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: Vec<u8>,
    newest: Reverse<u64>,
    run: usize,
    value: Option<Vec<u8>>,
}

/// Entries that are sorted already.
enum Run<'a> {
    Memtable(Box<dyn Iterator<Item = Entry> + 'a>),
    Tables(Tables),
}

/// Tables that follow each other; one is open at a time.
struct Tables {
    waiting: vec::IntoIter<(PathBuf, u64)>,
    open: Option<Box<Table>>,
    /// The key given out last, and its sequence number.
    last: Option<(Vec<u8>, Reverse<u64>)>,
}

impl<'a> Entries<'a> {
    /// `newest` are the entries of the logs, sorted, one for each key.
    pub(super) fn new(
        dir: &Path,
        manifest: &Manifest,
        newest: Box<dyn Iterator<Item = Entry> + 'a>,
    ) -> Result<Self, MigrateError> {
        let mut runs = vec![Run::Memtable(newest)];
        for (level, mut tables) in manifest.levels() {
            tables.sort_by(|a, b| a.smallest.cmp(&b.smallest));
            let files: Result<Vec<_>, _> =
                tables.into_iter().map(|table| file(dir, table.number, table.bytes)).collect();
            let files = files?;
            // On level 0 each table is a run of its own.
            let together = if level == 0 { 1 } else { files.len().max(1) };
            for chunk in files.chunks(together) {
                let waiting = chunk.to_vec();
                runs.push(Run::Tables(Tables { waiting: waiting.into_iter(), open: None, last: None }));
            }
        }
        let mut entries = Self { runs, heads: BinaryHeap::new(), last: None };
        for run in 0..entries.runs.len() {
            entries.advance(run)?;
        }
        Ok(entries)
    }

    /// The next key with its value.
    pub(in crate::migrate) fn next(&mut self) -> Result<Option<Pair>, MigrateError> {
        while let Some(Reverse(head)) = self.heads.pop() {
            self.advance(head.run)?;
            if self.last.as_ref() == Some(&head.key) {
                // An older one of a key that was seen.
                continue;
            }
            self.last = Some(head.key.clone());
            if let Some(value) = head.value {
                return Ok(Some((head.key, value)));
            }
        }
        Ok(None)
    }

    fn advance(&mut self, run: usize) -> Result<(), MigrateError> {
        if let Some(Entry { key, sequence, value }) = self.runs[run].next()? {
            self.heads.push(Reverse(Head { key, newest: Reverse(sequence), run, value }));
        }
        Ok(())
    }
}

/// The file of a table, which has one of two endings.
fn file(dir: &Path, number: u64, bytes: u64) -> Result<(PathBuf, u64), MigrateError> {
    let names = ["ldb", "sst"].map(|suffix| dir.join(format!("{number:06}.{suffix}")));
    match names.into_iter().find(|path| path.exists()) {
        Some(path) => Ok((path, bytes)),
        None => {
            Err(MigrateError::damaged(dir, format!("the manifest names the table {number:06}.ldb, which is not there")))
        }
    }
}

impl Run<'_> {
    fn next(&mut self) -> Result<Option<Entry>, MigrateError> {
        match self {
            Run::Memtable(entries) => Ok(entries.next()),
            Run::Tables(tables) => tables.next(),
        }
    }
}

impl Tables {
    fn next(&mut self) -> Result<Option<Entry>, MigrateError> {
        loop {
            if let Some(table) = &mut self.open {
                if let Some(entry) = table.next()? {
                    let place = (entry.key.clone(), Reverse(entry.sequence));
                    // Merging relies on it.
                    if self.last.as_ref().is_some_and(|last| *last >= place) {
                        return Err(table.out_of_order());
                    }
                    self.last = Some(place);
                    return Ok(Some(entry));
                }
                self.open = None;
            }
            let Some((path, bytes)) = self.waiting.next() else { return Ok(None) };
            self.open = Some(Box::new(Table::open(path, bytes)?));
        }
    }
}
