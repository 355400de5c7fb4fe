//! Snapshots and update logs: the library that is filled from the journal. Update bytes are opaque here.
//!
//! The rules every implementation keeps (`contract` is the suite that checks them):
//!
//! - **ST1** `load` returns the updates of the snapshot, then those of the log, in the order of their positions.
//! - **ST2** `append` is idempotent: records at or below the document's `last_seq` are passed over, so replaying a
//!   journal after a crash adds nothing twice.
//! - **ST3** What `make_durable` returned for survives a power cut (S4).
//! - **ST4** A snapshot becomes current by one small write after all its chunks are there (S3); a crash leaves either
//!   the old one or the new one, never a mixture, and what is left over is cleaned up later.
//! - **ST5** `install_snapshot` removes exactly the log records at or below the position it covers.
//! - **ST6** No entry given to the engine is larger than [`crate::limits::STORE_ENTRY_BYTES_MAX`] (S3).
//! - **ST7** Damage is an error that names the document and the record, never wrong data and never a panic.
//! - **ST8** `list` is sorted by the bytes of the names.
//! - **ST9** `delete` is durable when it returns, whole or not at all for each document, and idempotent by position as
//!   `append` is. It leaves a tombstone: the catalogue entry with its `last_seq` and the time, and nothing of the
//!   contents, sooner or later not even on disk. Only `append` or a snapshot after that position makes the document
//!   live again, with what they bring and nothing from before.
//! - **ST10** `documents` counts live documents; `list` shows them or the tombstones, as asked.
//! - **ST11** `names` lists documents whose catalogue entries are damaged as well; `restore` writes a document as it was
//!   elsewhere, with its positions and times, where none of that name is.
//! - **ST12** `live_bytes` is what all documents take together, however they came to be; it grows with what is appended,
//!   shrinks with what is folded or deleted, and a vacuum changes nothing that can be read.

#[cfg(test)]
mod contract;
mod keys;
pub mod memory;
mod record;
pub mod sled;
#[doc(hidden)]
pub mod values;

use std::ops::ControlFlow;

use bytes::Bytes;

use crate::ids::{DocName, Seq};

pub use memory::MemoryStore;
pub use sled::SledStore;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine or the file system failed.
    #[error("store {op} failed: {source}")]
    Engine {
        /// What was being done.
        op: &'static str,
        /// What the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There was no room for what was to be written. Nothing more is written until [`Store::reopen`] (S9).
    #[error("store {op} failed for want of room: {why}")]
    DiskFull {
        /// What was being done.
        op: &'static str,
        /// What the engine said.
        why: String,
    },
    /// A record is damaged (ST7).
    #[error("document {doc:?}: {what} is damaged: {why}")]
    Damaged {
        /// The document.
        doc: DocName,
        /// Which record.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Records of one document, coalesced, to be appended as one log record.
#[derive(Debug, Clone)]
pub struct LogAppend {
    /// The document.
    pub doc: DocName,
    /// The records: position and update, positions rising and dense.
    pub updates: Vec<(Seq, Bytes)>,
}

impl LogAppend {
    /// The updates a log that ends at `last` does not have yet (ST2).
    ///
    /// Errors: [`StoreError::Damaged`] when the positions are not dense or leave a gap after `last`. Either would mean
    /// that updates were lost on the way here, and appending the rest would hide it for ever.
    fn after(&self, last: Seq) -> Result<&[(Seq, Bytes)], StoreError> {
        let known = self.updates.partition_point(|(seq, _)| *seq <= last);
        let new = self.updates.get(known..).unwrap_or_default();
        let mut expected = last;
        for (seq, _) in new {
            expected = expected.next();
            if *seq != expected {
                return Err(StoreError::Damaged {
                    doc: self.doc.clone(),
                    what: "the log".to_owned(),
                    why: format!("after position {last}, position {expected} is missing and {seq} was offered"),
                });
            }
        }
        Ok(new)
    }
}

/// A document to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Which.
    pub doc: DocName,
    /// Position of the deletion: everything below it goes.
    pub seq: Seq,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
}

/// Which catalogue entries to list (ST10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listed {
    /// Documents.
    Live,
    /// Tombstones.
    Deleted,
    /// Both.
    All,
}

impl Listed {
    fn shows(self, head: &DocHead) -> bool {
        match self {
            Listed::Live => head.deleted_ms.is_none(),
            Listed::Deleted => head.deleted_ms.is_some(),
            Listed::All => true,
        }
    }
}

/// A whole document as one list of updates.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Every record at or below this position is contained.
    pub covers: Seq,
    /// The state as one update, then updates that still wait for a missing one.
    pub updates: Vec<Bytes>,
}

/// What the catalogue knows of a document without reading its contents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DocHead {
    /// Position of the last record.
    pub last_seq: Seq,
    /// Position the snapshot covers; without one zero, or that of the last deletion.
    pub snapshot_seq: Seq,
    /// Bytes of the snapshot's updates.
    pub snapshot_bytes: u64,
    /// Bytes of updates in the log after the snapshot.
    pub log_bytes: u64,
    /// Update records in the log after the snapshot (before coalescing).
    pub log_updates: u64,
    /// Coalesced records in the log after the snapshot.
    pub log_records: u64,
    /// First stored, milliseconds since 1970.
    pub created_ms: u64,
    /// Last stored, milliseconds since 1970.
    pub updated_ms: u64,
    /// When it was deleted, milliseconds since 1970: this is a tombstone, and the position is all that is left of the
    /// document. Of a live document, `None`.
    pub deleted_ms: Option<u64>,
    /// Of a list: the entry itself is damaged, and nothing else here is known.
    pub damaged: bool,
}

/// A document as stored.
#[derive(Debug, Clone)]
pub struct StoredDocument {
    /// Its catalogue entry.
    pub head: DocHead,
    /// Updates of the snapshot; empty without one.
    pub snapshot: Vec<Bytes>,
    /// Updates of the log with their positions, in order.
    pub log: Vec<(Seq, Bytes)>,
}

impl StoredDocument {
    /// The head this document has where it is restored, its log records not yet counted; or why its positions and
    /// updates do not agree.
    fn head_as_restored(&self) -> Result<DocHead, String> {
        let DocHead { last_seq, snapshot_seq, .. } = self.head;
        let mut next = snapshot_seq;
        for (seq, _) in &self.log {
            next = next.next();
            if *seq != next {
                return Err(format!("position {next} is missing and {seq} was offered"));
            }
        }
        if next != last_seq {
            return Err(format!("its log ends at position {next}, not at {last_seq}"));
        }
        if self.head.deleted_ms.is_some() && !(self.snapshot.is_empty() && self.log.is_empty()) {
            return Err("it is deleted, yet it has contents".to_owned());
        }
        Ok(DocHead {
            snapshot_bytes: self.snapshot.iter().map(|update| update.len() as u64).sum(),
            log_bytes: self.log.iter().map(|(_, update)| update.len() as u64).sum(),
            log_updates: self.log.len() as u64,
            log_records: 0,
            ..self.head.clone()
        })
    }
}

/// How far a vacuum has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VacuumProgress {
    /// Live bytes moved, of how many.
    Copying {
        /// So far.
        bytes: u64,
        /// In all, about.
        bytes_total: u64,
    },
    /// Bytes compared with the original.
    Verifying {
        /// So far.
        bytes: u64,
        /// In all.
        bytes_total: u64,
    },
    /// The databases are about to change places; from here on it cannot be ended.
    Exchanging,
}

/// What a vacuum did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Bytes on disk before.
    pub disk_bytes_before: u64,
    /// Bytes on disk after.
    pub disk_bytes_after: u64,
    /// Live bytes before.
    pub live_bytes_before: u64,
    /// Live bytes after; less when a crash had left something behind.
    pub live_bytes_after: u64,
    /// Entries moved.
    pub entries: u64,
    /// Documents and tombstones moved.
    pub documents: u64,
    /// Records that were damaged before and are now, the first [`crate::limits::STORE_DAMAGED_NAMED_MAX`].
    pub damaged: Vec<DamagedEntry>,
    /// How many there are.
    pub damaged_records: u64,
}

impl Vacuumed {
    /// About how many bytes on disk a fresh copy takes.
    ///
    /// A guess on the safe side: as much overhead as there is data, and no more than the original takes.
    pub fn copy_bytes_estimated(&self) -> u64 {
        self.live_bytes_before.saturating_mul(2).min(self.disk_bytes_before)
    }
}

/// A record that a vacuum found damaged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DamagedEntry {
    /// Whose it is, if that can be told.
    pub doc: Option<DocName>,
    /// Which.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

/// What reading every record of a document found.
#[derive(Debug, Clone, Default)]
pub struct Examined {
    /// Its catalogue entry, if that is readable.
    pub head: Option<DocHead>,
    /// Records that are damaged; their bytes are kept before they are removed.
    pub damaged: Vec<DamagedRecord>,
    /// What is missing or does not agree, as sentences; whole records alone do not make a whole document.
    pub missing: Vec<String>,
    /// Every update that can be read: the snapshot's, then the log's, also of records that the catalogue does not name.
    pub updates: Vec<Bytes>,
}

impl Examined {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.damaged.is_empty() && self.missing.is_empty()
    }
}

/// A record, or a piece of one, that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRecord {
    /// Which, for people.
    pub what: String,
    /// Its key.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub why: String,
    /// As far as there are any.
    pub bytes: Vec<u8>,
}

/// What a look at the database's files found, without opening it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreSurvey {
    /// What is wrong with the files; the first [`crate::limits::SURVEY_FLAWS_MAX`].
    pub flaws: Vec<String>,
    /// Keys whose values can be read.
    pub keys: u64,
}

/// What a rebuilt database was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SalvageReport {
    /// Where the old one is kept.
    pub kept_in: std::path::PathBuf,
    /// Keys with readable values, all of which the new one has.
    pub keys: u64,
    /// Catalogue entries among them.
    pub documents: u64,
    /// How many entries the old one counted last, if that is known.
    pub counted: Option<u64>,
    /// Bytes of the old one that could not be read.
    pub unreadable_bytes: u64,
}

/// Where documents rest. Calls block; the hub makes them off its tasks.
pub trait Store: Send + Sync + 'static {
    /// The whole document, or `None` if nothing is stored under that name (ST1). Of a tombstone, its head and no
    /// updates.
    fn load(&self, doc: &DocName) -> Result<Option<StoredDocument>, StoreError>;
    /// The catalogue entry alone.
    fn head(&self, doc: &DocName) -> Result<Option<DocHead>, StoreError>;
    /// Up to `limit` documents whose names start with `prefix` and come after `after` (ST8, ST10). One whose entry is
    /// damaged is among the live, and says so.
    fn list(
        &self,
        listed: Listed,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<(DocName, DocHead)>, StoreError>;
    /// Up to `limit` names after `after`, of whatever state their documents are in (ST8, ST11).
    fn names(&self, after: Option<&DocName>, limit: usize) -> Result<Vec<DocName>, StoreError>;
    /// Appends one coalesced record per document (ST2). `now_ms` is milliseconds since 1970. Not durable until
    /// [`Store::make_durable`].
    ///
    /// Errors: [`StoreError::Damaged`] when a document's catalogue entry is damaged or its positions leave a gap; then
    /// nothing of the call is written, and it may be made again without that document.
    fn append(&self, appends: &[LogAppend], now_ms: u64) -> Result<(), StoreError>;
    /// Turns documents into tombstones, also ones that are not there (ST9). Deletions at or below a document's
    /// `last_seq` are passed over. Makes them durable itself.
    fn delete(&self, deletions: &[Deletion]) -> Result<(), StoreError>;
    /// Replaces the log up to `snapshot.covers` by the snapshot (ST4, ST5). Makes what it must durable itself.
    ///
    /// Creates the document if need be, and raises `last_seq` to `covers`. A snapshot that covers less than the one in
    /// place is passed over: the log it would need is gone. So is one that covers no more than a tombstone.
    fn install_snapshot(&self, doc: &DocName, snapshot: &Snapshot, now_ms: u64) -> Result<(), StoreError>;
    /// Writes a document that is not there as it was elsewhere (ST11). Of its head the positions and times count, the
    /// rest follows from its updates. Not durable until [`Store::make_durable`].
    ///
    /// Errors: [`StoreError::Damaged`] when a document of that name is there, or when positions and updates do not
    /// agree; then nothing is written.
    fn restore(&self, doc: &DocName, document: &StoredDocument) -> Result<(), StoreError>;
    /// Names after `after` that start with `prefix`, of all documents of which there is anything, also those that the
    /// catalogue does not name (ST8).
    fn names_of_contents(
        &self,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<DocName>, StoreError> {
        let names = self.names(after, usize::MAX)?;
        Ok(names.into_iter().filter(|name| name.as_str().starts_with(prefix)).take(limit).collect())
    }
    /// Reads every record of a document and judges each on its own. Writers wait meanwhile.
    ///
    /// Errors: of the engine; damage is none here.
    fn examine(&self, doc: &DocName) -> Result<Examined, StoreError> {
        let mut examined = Examined::default();
        match self.load(doc) {
            Ok(Some(StoredDocument { head, snapshot, log })) => {
                examined.head = Some(head);
                examined.updates = snapshot.into_iter().chain(log.into_iter().map(|(_, update)| update)).collect();
            }
            Ok(None) => {}
            Err(error @ StoreError::Damaged { .. }) => examined.missing.push(error.to_string()),
            Err(error) => return Err(error),
        }
        Ok(examined)
    }
    /// Makes `updates` all there is of a document whose records are damaged, or missing in part. Its positions go on
    /// where they were. Durable when it returns.
    ///
    /// Errors: of the engine.
    fn rebuild(&self, doc: &DocName, updates: Vec<Bytes>, now_ms: u64) -> Result<(), StoreError> {
        let covers = self.head(doc)?.map_or(Seq::ZERO, |head| head.last_seq);
        self.install_snapshot(doc, &Snapshot { covers, updates }, now_ms)
    }
    /// Returns when everything written so far survives a power cut (ST3, S4).
    fn make_durable(&self) -> Result<(), StoreError>;
    /// After a failed write, looks at the disk anew and takes writes again; otherwise does nothing. What is there then
    /// is at least what [`Store::make_durable`] last returned for; what was written after that may be gone in part and
    /// has to be written again, which is safe (ST2). Readers wait meanwhile.
    ///
    /// Errors: [`StoreError::DiskFull`] when there is no room yet; [`StoreError::Engine`] when a sync has failed, which
    /// only a restart may leave (S7), or when the database does not open. If it was closed for that, nothing can be read
    /// either until a later call succeeds.
    fn reopen(&self) -> Result<(), StoreError>;
    /// Moves what is live into a fresh database that takes the old one's place, so that the disk gets back what is
    /// dead. Reads go on, writers wait. `watch` is told how far it has come, and may end it; then nothing has changed.
    /// Killed at any moment, the store is whole, the old one or the new one.
    ///
    /// Damaged records are moved as they are and named in the report; nothing is lost that was not lost before.
    ///
    /// Errors: [`StoreError::Engine`]; the store is then as it was, unless writes are refused too.
    fn vacuum(&self, watch: &mut dyn FnMut(VacuumProgress) -> ControlFlow<()>) -> Result<Vacuumed, StoreError>;
    /// Bytes of what is stored, as the engine is given it: names, records and what describes them (ST12).
    fn live_bytes(&self) -> Result<u64, StoreError>;
    /// The part of [`Store::live_bytes`] that is this document's; zero when it is not there.
    fn live_bytes_of(&self, doc: &DocName) -> Result<u64, StoreError>;
    /// Bytes on disk, live and dead.
    fn bytes_on_disk(&self) -> Result<u64, StoreError>;
    /// Number of live documents (ST10).
    fn documents(&self) -> Result<u64, StoreError>;
}
