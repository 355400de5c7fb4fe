//! Changes on their way into sled: gathered into batches that are small enough, in the order in which they were made.

use super::super::keys::{self, Keyspace};
use super::super::record::{self, Entry, Root};
use crate::ids::DocName;
use crate::limits::STORE_ENTRY_BYTES_MAX;

/// Bytes gathered into one atomic sled batch. sled holds a lock against all readers while it applies one, and keeps the
/// whole of it in its write buffers; this much takes about a millisecond.
const BATCH_BYTES: usize = 256 << 10;

/// Changes gathered into batches of at most about [`BATCH_BYTES`], to be applied in order.
#[derive(Default)]
pub(super) struct Batches {
    pub(super) full: Vec<sled::Batch>,
    pub(super) open: sled::Batch,
    pub(super) open_bytes: usize,
}

impl Batches {
    pub(super) fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.make_room(key.len() + value.len());
        self.insert_here(key, value);
    }

    /// A catalogue entry and, in the same batch, the root record that counts it.
    pub(super) fn insert_entry(&mut self, doc: &DocName, entry: &Entry, root: &Root) {
        let (key, value) = (keys::head(doc), record::encode_entry(doc, entry));
        let root = record::encode_root(root);
        self.make_room(key.len() + value.len() + root.len());
        self.insert_here(&key, &value);
        self.insert_here(keys::ROOT, &root);
    }

    fn insert_here(&mut self, key: &[u8], value: &[u8]) {
        debug_assert!(key.len() + value.len() <= STORE_ENTRY_BYTES_MAX, "ST6");
        self.open.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: sled::IVec) {
        self.make_room(key.len());
        self.open.remove(key);
    }

    /// Cuts a record into chunks that keep ST6.
    pub(super) fn insert_chunks(&mut self, space: Keyspace, doc: &DocName, number: u64, bytes: &[u8]) {
        let chunk_bytes = STORE_ENTRY_BYTES_MAX - keys::chunk_key_bytes(doc);
        for (chunk, value) in (0u32..).zip(bytes.chunks(chunk_bytes)) {
            self.insert(&keys::chunk(space, doc, number, chunk), value);
        }
    }

    fn make_room(&mut self, bytes: usize) {
        if self.open_bytes + bytes > BATCH_BYTES {
            self.full.push(std::mem::take(&mut self.open));
            self.open_bytes = 0;
        }
        self.open_bytes += bytes;
    }
}
