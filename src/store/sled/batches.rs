//! Changes on their way into sled: gathered into parts that are small enough, in the order in which they were made.

use std::collections::BTreeMap;
use std::mem;

use sled::IVec;

use super::super::keys::{self, Keyspace};
use super::super::record::{self, Encoding, Entry, Root};
use crate::ids::DocName;
use crate::limits::STORE_ENTRY_BYTES_MAX;

/// Bytes gathered into one atomic sled batch. sled holds a lock against all readers while it applies one, and keeps the
/// whole of it in its write buffers; this much takes about a millisecond.
pub(super) const BATCH_BYTES: usize = 256 << 10;

/// Chunks from which on a record has its places made first: half of what a leaf of sled holds.
const PLACES_MIN: usize = 8;

/// The chunks of a record with their keys, which keep ST6.
pub(super) fn chunks(
    space: Keyspace,
    doc: &DocName,
    number: u64,
    record: &Encoding<'_>,
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let chunks = record.chunks(chunk_bytes(doc));
    (0u32..).zip(chunks).map(move |(chunk, value)| (keys::chunk(space, doc, number, chunk), value))
}

fn chunk_bytes(doc: &DocName) -> usize {
    STORE_ENTRY_BYTES_MAX - keys::chunk_key_bytes(doc)
}

/// Changes gathered into parts of at most about [`BATCH_BYTES`], to be applied in order.
#[derive(Default)]
pub(super) struct Batches {
    full: Vec<Part>,
    open: Part,
    pub(super) open_bytes: usize,
}

/// What is written at once or not at all.
#[derive(Default)]
pub(super) struct Part {
    /// The new values; `None` removes. The last change to a key counts.
    pub(super) writes: BTreeMap<IVec, Option<IVec>>,
    /// What the root record says from then on, its live bytes aside; `None` when these changes don't concern it.
    pub(super) root: Option<Root>,
}

impl Batches {
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.make_room(key.len() + value.len());
        self.insert_here(key, value);
    }

    /// A catalogue entry and, in the same part, the root record that counts it.
    pub(super) fn insert_entry(&mut self, doc: &DocName, entry: &Entry, root: &Root) {
        let (key, value) = (keys::head(doc), record::encode_entry(doc, entry));
        self.make_room(key.len() + value.len());
        self.insert_here(&key, &value);
        self.open.root = Some(*root);
    }

    /// The root record alone.
    pub(super) fn set_root(&mut self, root: &Root) {
        self.make_room(1);
        self.open.root = Some(*root);
    }

    fn insert_here(&mut self, key: &[u8], value: &[u8]) {
        debug_assert!(key.len() + value.len() <= STORE_ENTRY_BYTES_MAX, "ST6");
        self.open.writes.insert(key.into(), Some(value.into()));
    }

    /// Removes what has so many bytes. sled reads it for that, and lets go of nothing that it read before a part is written.
    pub(super) fn remove(&mut self, key: IVec, bytes: usize) {
        self.make_room(key.len() + bytes);
        self.open.writes.insert(key, None);
    }

    /// Cuts a record into chunks.
    pub(super) fn insert_chunks(&mut self, space: Keyspace, doc: &DocName, number: u64, record: &Encoding<'_>) {
        self.insert_places(space, doc, number, record);
        chunks(space, doc, number, record).for_each(|(key, value)| self.insert(&key, &value));
    }

    /// Makes the places of a large record: its keys with nothing under them, written before its chunks are.
    ///
    /// sled parts a leaf of 17 entries into two and writes both anew. Chunks that come in rising order are so written three
    /// times, and a fourth time where a leaf gathers ten pieces: 11.2 MB for a record of 3.1 MB. When their keys are there,
    /// leaves have the shape they will keep, of eight entries, and most chunks are written once: 6.0 MB for one of 3.4 MB.
    pub(super) fn insert_places(&mut self, space: Keyspace, doc: &DocName, number: u64, record: &Encoding<'_>) {
        let count = record.bytes().div_ceil(chunk_bytes(doc));
        if count < PLACES_MIN {
            return;
        }
        (0u32..).take(count).for_each(|chunk| self.insert(&keys::chunk(space, doc, number, chunk), &[]));
        // What comes to the same key in the same part would be all that is written.
        self.end_part();
    }

    /// Those that have grown to a whole part; what comes later is written after them.
    pub(super) fn take_full(&mut self) -> Batches {
        Batches { full: mem::take(&mut self.full), ..Batches::default() }
    }

    /// The parts, in the order in which they must be written.
    pub(super) fn into_parts(self) -> impl Iterator<Item = Part> {
        self.full.into_iter().chain((self.open_bytes > 0).then_some(self.open))
    }

    fn make_room(&mut self, bytes: usize) {
        if self.open_bytes + bytes > BATCH_BYTES {
            self.end_part();
        }
        self.open_bytes += bytes;
    }

    fn end_part(&mut self) {
        self.full.push(mem::take(&mut self.open));
        self.open_bytes = 0;
    }
}
