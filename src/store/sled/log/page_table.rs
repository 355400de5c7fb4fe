//! sled's snapshot of its page table: which messages were alive when it was taken.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::message::var;
use super::segment::SEGMENT_BYTES;

/// Where the messages of all pages were, in the newest snapshot. Without one, or with one that is damaged, none was.
#[derive(Debug, Default)]
pub(super) struct PageTable {
    /// How much had been written, as sled counts.
    covers: u64,
    /// Offsets in the data file, in order.
    places: Vec<u64>,
    is_whole: bool,
}

impl PageTable {
    /// Errors: of the file system only.
    pub(super) fn read(dir: &Path) -> io::Result<Self> {
        let Some((covers, path)) = newest(dir)? else { return Ok(Self::default()) };
        let bytes = fs::read(path)?;
        let places = body(&bytes).and_then(parse);
        let is_whole = places.is_some();
        let mut places = places.unwrap_or_default();
        places.sort_unstable();
        Ok(Self { covers, places, is_whole })
    }

    /// Whether a segment was free when the snapshot was taken. sled writes zeros over those whenever it opens, and uses them
    /// again, so what is in them may be in any state.
    pub(super) fn is_free(&self, number: u64, offset: u64) -> bool {
        let from = self.places.partition_point(|place| *place < offset);
        let is_named = self.places.get(from).is_some_and(|place| *place < offset + SEGMENT_BYTES as u64);
        self.is_whole && number < self.covers / SEGMENT_BYTES as u64 && !is_named
    }
}

/// How much had been written when the newest snapshot was taken, as sled counts; 0 without one.
///
/// Errors: of the file system only.
pub(super) fn covers(dir: &Path) -> io::Result<u64> {
    Ok(newest(dir)?.map_or(0, |(covers, _)| covers))
}

/// Whether a snapshot of the page table is as it was written.
pub(in super::super) fn snapshot_holds(bytes: &[u8]) -> bool {
    body(bytes).is_some()
}

/// The newest snapshot, and how far it goes; its name says so.
fn newest(dir: &Path) -> io::Result<Option<(u64, PathBuf)>> {
    let mut newest = None;
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let number = name.to_str().and_then(|name| u64::from_str_radix(name.strip_prefix("snap.")?, 16).ok());
        newest = newest.max(number.map(|number| (number, file.path())));
    }
    Ok(newest)
}

fn body(bytes: &[u8]) -> Option<&[u8]> {
    let (rest, crc) = bytes.split_last_chunk::<4>()?;
    let (covered, _len) = rest.split_last_chunk::<8>()?;
    (!covered.is_empty() && crc32fast::hash(covered) == u32::from_le_bytes(*crc)).then_some(covered)
}

/// The places of all messages of pages, in the order of pages.
fn parse(body: &[u8]) -> Option<Vec<u64>> {
    let (_covers, mut rest) = body.split_first_chunk::<8>()?;
    let _active_segment = var(&mut rest)?;
    let mut places = Vec::new();
    while let Some((messages, after)) = rest.split_first() {
        rest = after;
        // A free page has one, of which the size is not told.
        for _ in 0..(*messages).max(1) {
            (_, rest) = rest.split_first_chunk::<8>()?;
            let (is_blob, after) = rest.split_first()?;
            rest = after;
            places.push(var(&mut rest)?);
            if *is_blob != 0 {
                (_, rest) = rest.split_first_chunk::<8>()?;
            }
            if *messages > 0 {
                let _size = var(&mut rest)?;
            }
        }
    }
    Some(places)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    use bytes::Bytes;

    use super::super::super::super::{Deletion, LogAppend, Store};
    use super::super::super::SledStore;
    use super::super::super::engine::DATABASE;
    use super::super::super::salvage::checkpoint_in;
    use super::super::check;
    use super::super::segment::slots;
    use super::*;
    use crate::ids::{DocName, Seq};

    /// Found by cutting off a start at every write: sled writes zeros over what is free, and one of those writes was cut short.
    #[test]
    fn what_was_free_at_the_start_may_be_half_emptied() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = |file: &Path| fs::read(file).unwrap();
        let database = dir.path().join(DATABASE);
        let mut before = Vec::new();
        // Documents that come and go, until a start finds something free.
        for round in 1..=20 {
            let store = SledStore::open(dir.path()).unwrap();
            let doc = DocName::parse(&format!("notes/{round}")).unwrap();
            let updates = (1..=100).map(|seq| (Seq(seq), Bytes::from(vec![round; 20_000]))).collect();
            store.append(&[LogAppend { doc: doc.clone(), updates }], 5).unwrap();
            store.make_durable().unwrap();
            store.delete(&[Deletion { doc, seq: Seq(101), at_ms: 6 }]).unwrap();
            store.make_durable().unwrap();
            drop(store);
            before = bytes(&database);
            drop(SledStore::open(dir.path()).unwrap());
        }
        let table = PageTable::read(dir.path()).unwrap();
        let number_at = |file: &Path| {
            let in_order = slots(&File::open(file).unwrap(), &mut vec![0; SEGMENT_BYTES]).unwrap().in_order;
            move |offset| in_order.iter().find(|(_, place)| *place == offset).map(|(number, _)| *number)
        };
        let old = dir.path().join("old");
        fs::write(&old, &before).unwrap();
        let (number_before, number_now) = (number_at(&old), number_at(&database));
        let len = bytes(&database).len().min(before.len()) as u64;
        let places: Vec<u64> = (0..len / SEGMENT_BYTES as u64).map(|slot| slot * SEGMENT_BYTES as u64).collect();
        let emptied = places.iter().filter(|at| number_before(**at).is_some() && number_now(**at).is_none());
        let used = places
            .iter()
            .filter(|at| number_now(**at).is_some_and(|number| number + 1 < table.covers / SEGMENT_BYTES as u64));
        let damage = |at: u64, zeros: usize| {
            let mut contents = before[at as usize..at as usize + SEGMENT_BYTES].to_vec();
            contents[..zeros].fill(0);
            let file = File::options().write(true).open(&database).unwrap();
            let now = bytes(&database)[at as usize..at as usize + SEGMENT_BYTES].to_vec();
            file.write_all_at(&contents, at).unwrap();
            let checked = check(dir.path(), true, &checkpoint_in).unwrap();
            file.write_all_at(&now, at).unwrap();
            checked.bad
        };
        let (mut free, mut live) = (0, 0);
        for at in emptied {
            for zeros in [0, 4_096, 100_000, 400_000] {
                assert_eq!(damage(*at, zeros), None, "{zeros} zeros at {at}");
                free += 1;
            }
        }
        for at in used {
            // It can fail: what the page table names is missed.
            assert!(damage(*at, 100_000).is_some(), "100,000 zeros at {at}");
            live += 1;
        }
        assert!(free > 0 && live > 0, "{free} free, {live} in use");
    }
}
