//! Documents enter as they were elsewhere, with their positions and times (ST11).

use bytes::Bytes;

use super::super::keys::Keyspace;
use super::super::record::{Encoding, Entry, RecordKind};
use super::super::{StoreError, StoredDocument};
use super::SledStore;
use super::batches::Batches;
use super::reading::damaged;
use crate::ids::{DocName, Seq};
use crate::limits::CHECKPOINT_BATCH_BYTES;

/// Generation of a restored snapshot.
const FIRST_GENERATION: u64 = 1;

impl SledStore {
    /// As [`super::super::Store::restore`].
    pub(super) fn restore_document(&self, doc: &DocName, document: &StoredDocument) -> Result<(), StoreError> {
        const OP: &str = "restore";
        let mut writer = self.writer(OP)?;
        if self.entry(doc)?.is_some() {
            return Err(damaged(doc, "the restoration", "a document of that name is here already".to_owned()));
        }
        let mut head = document.head_as_restored().map_err(|why| damaged(doc, "the restoration", why))?;
        let mut contents = Batches::default();
        self.sweep(doc, None, &mut contents)?;
        let mut generation = 0;
        let is_tombstone = head.deleted_ms.is_some();
        if !is_tombstone && (head.snapshot_seq > Seq::ZERO || !document.snapshot.is_empty()) {
            generation = FIRST_GENERATION;
            let (covers, updates) = (head.snapshot_seq.0, document.snapshot.iter());
            let record = Encoding::new(doc, RecordKind::Snapshot, generation, covers, updates);
            contents.insert_chunks(Keyspace::Snapshot, doc, generation, &record);
        }
        for (first, last, updates) in records_of(&document.log) {
            let record = Encoding::new(doc, RecordKind::Log, first.0, last.0, updates.into_iter());
            contents.insert_chunks(Keyspace::Log, doc, last.0, &record);
            head.log_records += 1;
        }
        // As in `append`: never in an earlier batch than the contents it names.
        let mut catalogue = Batches::default();
        let mut root = writer.root;
        root.documents += u64::from(!is_tombstone);
        catalogue.insert_entry(doc, &Entry { head, generation, untidy: false }, &root);
        self.apply(&mut writer, OP, contents)?;
        self.apply(&mut writer, OP, catalogue)?;
        Ok(())
    }
}

/// A log cut into records of about [`CHECKPOINT_BATCH_BYTES`]: the first and last position of each, and its updates.
fn records_of(log: &[(Seq, Bytes)]) -> Vec<(Seq, Seq, Vec<&Bytes>)> {
    let mut records: Vec<(Seq, Seq, Vec<&Bytes>)> = Vec::new();
    let mut bytes = 0;
    for (seq, update) in log {
        match records.last_mut() {
            Some((_, last, updates)) if bytes < CHECKPOINT_BATCH_BYTES => {
                *last = *seq;
                updates.push(update);
            }
            _ => {
                bytes = 0;
                records.push((*seq, *seq, vec![update]));
            }
        }
        bytes += update.len();
    }
    records
}
