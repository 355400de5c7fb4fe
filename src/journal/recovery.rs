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
//! Anything else is damage: an unsealed segment before others that hold records, a readable record that was written
//! after an unreadable one had been synced, or a file that is shorter than it was made. Of a damaged segment every
//! readable record is kept, and its bytes go into quarantine (`salvage`); without a quarantine it is an error.

use std::path::Path;

use super::JournalOptions;
use super::error::JournalError;
use super::files::Files;
use super::salvage::{self, DamagedSegment, Salvage, Unreadable};
use super::segment::{ActiveSegment, FileName, SealedSegment, SegmentId, no_room};
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
    /// Segments with damage, oldest first. What could be read of them is among the records counted above.
    pub damaged: Vec<DamagedSegment>,
}

impl Recovery {
    /// Says loudly what an operator must know.
    pub(super) fn log(&self) {
        for damage in &self.damaged {
            let kept_in = damage.kept_in.as_deref().map(|path| path.display().to_string()).unwrap_or_default();
            tracing::error!(
                segment = damage.segment,
                offset = damage.offset,
                why = damage.why,
                records_kept = damage.records_kept,
                unreadable_bytes = damage.unreadable_bytes,
                kept_in,
                "journal segment is damaged: its readable records are kept, acknowledged edits may be lost; \
                 check the disk, then see `weft verify`"
            );
            for Unreadable { offset, bytes, perhaps } in &damage.unreadable {
                let whose = perhaps.as_ref().map(|(doc, seq)| format!("{doc:?} #{seq}")).unwrap_or_default();
                tracing::error!(segment = damage.segment, offset, bytes, whose, "journal record is unreadable");
            }
        }
        if let Some((segment, offset)) = self.torn_at {
            tracing::warn!(
                segment = %segment, offset, bytes = self.torn_bytes,
                "the journal's last write is cut off, as a crash in the midst of it leaves it; it was not acknowledged"
            );
        }
    }
}

/// What is in the directory.
pub(super) struct Found {
    /// Segments with records, oldest first. Only the last may lack its seal.
    with_records: Vec<Contents>,
    empty: Vec<Contents>,
    damaged: Vec<Salvage>,
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

/// Reads and judges the whole directory. Changes nothing. Damage is an error unless it is tolerated.
pub(super) fn survey(files: &dyn Files, dir: &Path, tolerant: bool) -> Result<(Found, Recovery), JournalError> {
    let mut found = Found {
        with_records: Vec::new(),
        empty: Vec::new(),
        damaged: Vec::new(),
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
    let mut surveyed = Vec::with_capacity(segments.len());
    for id in segments {
        surveyed.push(match walk::survey(files, dir, id) {
            Ok(contents) => Surveyed::Whole(contents),
            Err(JournalError::Corrupt { offset, why, .. }) if tolerant => {
                Surveyed::Damaged(Box::new(salvage::scan(files, dir, id, offset, why)?))
            }
            Err(error) => return Err(error),
        });
    }
    let last = surveyed.iter().rposition(Surveyed::holds_records).unwrap_or(0);
    for (at, segment) in surveyed.into_iter().enumerate() {
        let salvage = match segment {
            Surveyed::Damaged(salvage) => *salvage,
            Surveyed::Whole(contents) => match contents.unfinished(at < last) {
                Some(why) if tolerant => salvage::scan(files, dir, contents.id, contents.end, why)?,
                Some(why) if at < last => {
                    let segment = contents.id.path(dir);
                    return Err(JournalError::Corrupt { segment, offset: contents.end, why });
                }
                // A file that was cut short looks like a torn write, and without a quarantine is taken for one.
                Some(_) | None => {
                    found.add(contents, &mut recovery);
                    continue;
                }
            },
        };
        recovery.segments += usize::from(salvage.report.records_kept > 0);
        recovery.records += salvage.report.records_kept;
        recovery.record_bytes += salvage.record_bytes;
        recovery.damaged.push(salvage.report.clone());
        found.damaged.push(salvage);
    }
    Ok((found, recovery))
}

/// What reading one segment came to.
enum Surveyed {
    Whole(Contents),
    Damaged(Box<Salvage>),
}

impl Surveyed {
    /// Whether a segment before it must have its seal.
    fn holds_records(&self) -> bool {
        match self {
            Surveyed::Whole(contents) => contents.holds_records(),
            Surveyed::Damaged(_) => true,
        }
    }
}

impl Contents {
    fn holds_records(&self) -> bool {
        self.records > 0 || self.ending == Ending::Sealed
    }

    /// Why its end is not as a crash leaves it. Only the last segment may lack its seal.
    fn unfinished(&self, is_before_others: bool) -> Option<&'static str> {
        match self.ending {
            Ending::Sealed => None,
            Ending::Open { why, .. } => is_before_others.then_some(why).or(self.cut_short),
        }
    }
}

impl Found {
    fn add(&mut self, contents: Contents, recovery: &mut Recovery) {
        if let Ending::Open { torn_bytes: bytes @ 1.., .. } = contents.ending {
            recovery.torn_bytes += bytes;
            recovery.torn_at = Some((contents.id, contents.end));
        }
        if contents.holds_records() {
            recovery.segments += 1;
            recovery.records += contents.records;
            recovery.record_bytes += contents.record_bytes;
            self.with_records.push(contents);
        } else {
            self.empty.push(contents);
        }
    }
}

/// Puts in order what [`survey`] found: afterwards every segment is sealed.
///
/// Errors: `Io`. Whatever was done by then is valid for the next attempt.
pub(super) fn settle(
    files: &dyn Files,
    dir: &Path,
    found: Found,
    options: &JournalOptions,
    recovery: &mut Recovery,
) -> Result<Shelf, JournalError> {
    let JournalOptions { segment_bytes: spare_len, spares_max, .. } = *options;
    let shelf = Shelf::default();
    for (mut salvage, report) in found.damaged.into_iter().zip(&mut recovery.damaged) {
        // The survey tolerates damage only when there is a quarantine.
        let Some(quarantine) = &options.quarantine else { continue };
        if let Some(sealed) = salvage.rewrite(files, dir, quarantine)? {
            shelf.put_sealed(salvage.id, sealed);
        }
        report.clone_from(&salvage.report);
    }
    for contents in &found.with_records {
        let sealed = match contents.ending {
            Ending::Sealed => SealedSegment { end: contents.end, file_len: contents.file_len },
            Ending::Open { .. } => {
                let path = contents.id.path(dir);
                let file = files.open(&path, true).map_err(JournalError::io("open", &path))?;
                ActiveSegment::resume(contents, path, file).seal(&mut no_room)?
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
