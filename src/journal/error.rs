//! What can go wrong with the journal, one variant for each thing a caller or an operator does differently.

use std::io;
use std::path::{Path, PathBuf};

use super::segment::SegmentId;
use crate::ids::DocName;
use crate::limits::JOURNAL_RECORD_BYTES_MAX;

/// Why the journal could not do what was asked. Messages read on after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A segment holds something that no crash can explain (S2). Nothing was changed on disk.
    #[error(
        "read journal segment {}: {why} at byte {offset}. Acknowledged edits may be in what follows, so nothing was \
         changed; check the disk, then restore this file or the data directory from a copy. Moving \
         the file out of the journal's directory lets weft start without the edits in it that were not yet stored",
        segment.display()
    )]
    Corrupt {
        /// The damaged file.
        segment: PathBuf,
        /// Where in it the first unreadable byte range starts.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A later version of weft wrote this segment.
    #[error(
        "read journal segment {}: its format is version {version}, this weft knows up to {known}; start the version of \
         weft that wrote it, or a later one", segment.display()
    )]
    NewerVersion {
        /// The file.
        segment: PathBuf,
        /// The version it names.
        version: u8,
        /// The newest version known here.
        known: u8,
    },
    /// A write, sync or rename failed earlier; nothing more becomes durable until a restart (S7).
    #[error("write to the journal, which stopped after a failure: {0}; free the disk or replace it, then restart weft")]
    Failed(String),
    /// [`super::Journal::close`] was called.
    #[error("write to the journal: it is closed")]
    Closed,
    /// The record would not fit [`JOURNAL_RECORD_BYTES_MAX`].
    #[error(
        "journal an update of document {doc:?}: the record has {bytes} bytes, at most {JOURNAL_RECORD_BYTES_MAX} are \
         allowed"
    )]
    RecordTooLarge {
        /// The document.
        doc: DocName,
        /// Length of the record with its header.
        bytes: usize,
    },
    /// No sealed segment has this number (any more).
    #[error("read journal segment {0}: there is no such sealed segment")]
    NoSuchSegment(SegmentId),
    /// The operating system refused.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl JournalError {
    /// For `map_err`: says what was tried on which file.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> JournalError {
        move |source| JournalError::Io { action, path: path.to_owned(), source }
    }

    /// Whether the disk was full, which passes by itself (S9).
    pub(super) fn is_disk_full(&self) -> bool {
        matches!(self, JournalError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}
