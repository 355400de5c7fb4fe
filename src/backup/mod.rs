//! The backup file: many documents in one checksummed file, written and read from front to back, one document at a time.
//! Knows bytes only; where documents come from and where they go is decided by `hub` and `cli`.
//!
//! What a reader can rely on:
//!
//! - **BK1** A file is whole or it is refused: any byte that was changed, cut off or added is found and named.
//! - **BK2** Reading takes memory for one document and one frame, and never by what a length claims.
//! - **BK3** A document that could not be read when the backup was made is named in the file, not missing from it.
//! - **BK4** Every version that was released can be read for ever (`fixtures/backup/`).
//!
//! `frame` says what the bytes are, [`Writer`] and [`Reader`] what stands after what.

mod frame;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{DocName, Seq};

pub use frame::VERSION;
pub use reader::Reader;
pub use writer::Writer;

/// What a backup says about itself before its documents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// The version of weft that made it.
    pub weft: String,
    /// The instant its documents are from, milliseconds since 1970.
    pub created_ms: u64,
    /// Documents there were at that instant; for a progress bar, what is in the file is counted at its end.
    pub documents: u64,
}

/// One document as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its name.
    pub name: DocName,
    /// First stored, milliseconds since 1970.
    pub created_ms: u64,
    /// Last stored, milliseconds since 1970.
    pub updated_ms: u64,
    /// When it was deleted, milliseconds since 1970; a tombstone has no updates.
    pub deleted_ms: Option<u64>,
    /// Position of its last update.
    pub last_seq: Seq,
    /// Position its snapshot covers; zero without one.
    pub snapshot_seq: Seq,
    /// Updates of the snapshot.
    pub snapshot: Vec<Bytes>,
    /// Updates after it, one for each position up to `last_seq`; also those that still wait for a missing one.
    pub log: Vec<Bytes>,
}

impl Document {
    /// Whether positions and updates agree, so that it can be stored.
    fn adds_up(&self) -> bool {
        let positions = self.last_seq.0.checked_sub(self.snapshot_seq.0);
        match self.deleted_ms {
            None => positions == Some(self.log.len() as u64),
            Some(_) => positions.is_some() && self.snapshot.is_empty() && self.log.is_empty(),
        }
    }
}

/// What stands in a backup between its head and its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A document, or its tombstone.
    Document(Document),
    /// A document that could not be read when the backup was made (BK3).
    LeftOut(LeftOut),
}

/// A document that is not in the backup, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its name.
    pub name: DocName,
    /// What was wrong with it.
    pub error: String,
}

/// How much a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Documents, tombstones not counted.
    pub documents: u64,
    /// Tombstones.
    pub deleted: u64,
    /// Documents that were left out.
    pub left_out: u64,
    /// Updates in the snapshots and logs of all documents.
    pub updates: u64,
    /// Their bytes.
    pub update_bytes: u64,
}

impl Totals {
    fn count(&mut self, document: &Document) {
        match document.deleted_ms {
            None => self.documents += 1,
            Some(_) => self.deleted += 1,
        }
        let updates = document.snapshot.iter().chain(&document.log);
        self.updates += (document.snapshot.len() + document.log.len()) as u64;
        self.update_bytes += updates.map(|update| update.len() as u64).sum::<u64>();
    }
}

/// What is known of a whole backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What it holds.
    #[serde(flatten)]
    pub totals: Totals,
    /// Length of the file, bytes.
    pub bytes: u64,
    /// SHA-256 of the file, as `sha256sum` prints it.
    pub sha256: Checksum,
}

/// A SHA-256, shown in hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Checksum([u8; 32]);

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Checksum {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Why a file is not a whole backup (BK1). Reads well after the file's name and a colon.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something else, or nothing.
    #[error("it does not begin like a backup made by weft")]
    Foreign,
    /// A later version wrote it.
    #[error(
        "it has backup format {0}, this weft knows up to {VERSION}; use the version of weft that made it, or a later one"
    )]
    Newer(u8),
    /// It ends too early.
    #[error("it ends at byte {0} without its trailer, so it was cut short, or is still being written")]
    CutShort(u64),
    /// Whoever made it had to stop, and said why.
    #[error("it was broken off by the weft that made it: {0}")]
    BrokenOff(String),
    /// The bytes changed after they were written.
    #[error("it is damaged at byte {at}: {why}")]
    Damaged {
        /// Where the first frame begins that is not as it was.
        at: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// The file system or the connection failed.
    #[error("it cannot be read beyond byte {at}: {source}")]
    Io {
        /// How far it was read.
        at: u64,
        /// What the system said.
        source: io::Error,
    },
}
