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

/// The chunks of a record with their keys, which keep ST6.
pub(super) fn chunks(
    space: Keyspace,
    doc: &DocName,
    number: u64,
    record: &Encoding<'_>,
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let chunks = record.chunks(STORE_ENTRY_BYTES_MAX - keys::chunk_key_bytes(doc));
    (0u32..).zip(chunks).map(move |(chunk, value)| (keys::chunk(space, doc, number, chunk), value))
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

    pub(super) fn remove(&mut self, key: IVec) {
        self.make_room(key.len());
        self.open.writes.insert(key, None);
    }

    /// Cuts a record into chunks.
    pub(super) fn insert_chunks(&mut self, space: Keyspace, doc: &DocName, number: u64, record: &Encoding<'_>) {
        chunks(space, doc, number, record).for_each(|(key, value)| self.insert(&key, &value));
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
            self.full.push(mem::take(&mut self.open));
            self.open_bytes = 0;
        }
        self.open_bytes += bytes;
    }
}
