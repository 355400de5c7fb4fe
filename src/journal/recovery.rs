//! What opening a journal finds and does (S2): first everything is read and judged, then, if nothing is wrong, the
//! directory is put in order. An error of the first part leaves every byte as it was.
//!
//! What a crash can leave behind, and what becomes of it:
//!
//! - sealed segments: kept for replay;
//! - one segment without a seal, the last that holds records, perhaps with a torn end: it gets its seal where its
//!   readable records end. A crash while that seal is written leaves the same case again;
//! - after it a segment made ready but never written, or whose only write tore: becomes a spare;
//! - `.spare` files: kept as spares, up to their number; `.tmp` files: removed.
//!
//! Anything else is damage: an unsealed segment before others that hold records, or a readable record that was written
//! after an unreadable one had been synced.

use std::path::Path;

use super::error::JournalError;
use super::files::Files;
use super::segment::{ActiveSegment, FileName, SealedSegment, SegmentId};
use super::shelf::Shelf;
use super::walk::{self, Contents, Ending};

/// What opening the journal found, for a log line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Sealed segments that wait to be carried into the store.
    pub segments: usize,
    /// Records in them.
    pub records: u64,
    /// Bytes of these records.
    pub record_bytes: u64,
    /// Bytes of a last write that a crash cut off. It was never acknowledged.
    pub torn_bytes: u64,
    /// Where the torn write began, if there was one.
    pub torn_at: Option<(SegmentId, u64)>,
}

/// What is in the directory; all of it readable, or there would be an error instead.
pub(super) struct Found {
    /// Segments with records, oldest first. Only the last may lack its seal.
    with_records: Vec<Contents>,
    empty: Vec<Contents>,
    spares: Vec<SegmentId>,
    unfinished: Vec<SegmentId>,
    /// Larger than the number of any file.
    pub(super) next: SegmentId,
}

#[cfg(test)]
impl Found {
    /// How many records a restart would replay.
    pub(super) fn records(&self) -> u64 {
        self.with_records.iter().map(|contents| contents.records).sum()
    }
}

/// Reads and judges the whole directory. Changes nothing.
pub(super) fn survey(files: &dyn Files, dir: &Path) -> Result<(Found, Recovery), JournalError> {
    let mut found = Found {
        with_records: Vec::new(),
        empty: Vec::new(),
        spares: Vec::new(),
        unfinished: Vec::new(),
        next: SegmentId(1),
    };
    let mut segments = Vec::new();
    for name in files.list(dir).map_err(JournalError::io("list", dir))? {
        let id = match FileName::parse(&name) {
            FileName::Segment(id) => {
                segments.push(id);
                id
            }
            FileName::Spare(id) => {
                found.spares.push(id);
                id
            }
            FileName::Unfinished(id) => {
                found.unfinished.push(id);
                id
            }
            FileName::Nameless => {
                let why = "the file is named like a segment but has no 16-digit number";
                return Err(JournalError::Corrupt { segment: dir.join(name), offset: 0, why });
            }
            FileName::Foreign => continue,
        };
        found.next = found.next.max(SegmentId(id.0 + 1));
    }
    segments.sort_unstable();
    found.spares.sort_unstable();

    let mut recovery = Recovery::default();
    let mut unsealed: Option<(SegmentId, u64, &'static str)> = None;
    for id in segments {
        let contents = walk::survey(files, dir, id)?;
        let holds_records = contents.records > 0 || contents.ending == Ending::Sealed;
        if let (true, Some((unsealed, offset, why))) = (holds_records, unsealed) {
            return Err(JournalError::Corrupt { segment: unsealed.path(dir), offset, why });
        }
        if let Ending::Open { torn_bytes, why } = contents.ending {
            unsealed = Some((id, contents.end, why));
            if torn_bytes > 0 {
                recovery.torn_bytes += torn_bytes;
                recovery.torn_at = Some((id, contents.end));
            }
        }
        if holds_records {
            recovery.segments += 1;
            recovery.records += contents.records;
            recovery.record_bytes += contents.record_bytes;
            found.with_records.push(contents);
        } else {
            found.empty.push(contents);
        }
    }
    Ok((found, recovery))
}

/// Puts in order what [`survey`] found: afterwards every segment is sealed.
///
/// Errors: `Io`. Whatever was done by then is valid for the next attempt.
pub(super) fn settle(
    files: &dyn Files,
    dir: &Path,
    found: Found,
    spare_len: u64,
    spares_max: usize,
) -> Result<Shelf, JournalError> {
    let shelf = Shelf::default();
    for contents in &found.with_records {
        let sealed = match contents.ending {
            Ending::Sealed => SealedSegment { end: contents.end, file_len: contents.file_len },
            Ending::Open { .. } => {
                let path = contents.id.path(dir);
                let file = files.open(&path, true).map_err(JournalError::io("open", &path))?;
                ActiveSegment::resume(contents, path, file).seal(&mut Vec::new())?
            }
        };
        shelf.put_sealed(contents.id, sealed);
    }

    let mut spares = Vec::new();
    let remove = |path: &Path| files.remove(path).map_err(JournalError::io("remove", path));
    for contents in &found.empty {
        let path = contents.id.path(dir);
        if contents.file_len == spare_len && spares.len() < spares_max {
            let spare = contents.id.spare_path(dir);
            files.rename(&path, &spare).map_err(JournalError::io("rename", &path))?;
            spares.push(spare);
        } else {
            remove(&path)?;
        }
    }
    for id in &found.spares {
        let path = id.spare_path(dir);
        let file = files.open(&path, false).map_err(JournalError::io("open", &path))?;
        let len = file.len().map_err(JournalError::io("read", &path))?;
        if len == spare_len && spares.len() < spares_max {
            spares.push(path);
        } else {
            remove(&path)?;
        }
    }
    for id in &found.unfinished {
        remove(&id.unfinished_path(dir))?;
    }
    // Names first, then use: see `Shelf::remove`.
    files.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
    for spare in spares {
        shelf.put_spare(spare);
    }
    Ok(shelf)
}
