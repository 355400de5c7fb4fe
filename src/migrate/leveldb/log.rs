//! Logs: records cut into 32 KiB blocks, each piece with a checksum. The manifest is one, and the newest writes are.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Cursor, Entry, MigrateError, checksum, read_whole};
use crate::limits::MIGRATE_LOG_BYTES_MAX;

const BLOCK: usize = 32 << 10;
/// Checksum, length, kind.
const HEADER: usize = 7;

/// The records of a log file.
pub(super) struct Records {
    pub(super) records: Vec<Vec<u8>>,
    /// Bytes at the end that are the beginning of a record: whoever wrote it was stopped there.
    pub(super) torn: u64,
}

/// Reads all records of a log. One that is cut short by the end of the file is not damage; all else is.
pub(super) fn records(path: &Path) -> Result<Records, MigrateError> {
    let file = read_whole(path, MIGRATE_LOG_BYTES_MAX)?;
    let damaged = |at: usize, what: &str| MigrateError::damaged(path, format!("at byte {at}, {what}"));
    let mut records = Vec::new();
    // A record of which the first pieces were read, and where it began.
    let mut open: Option<(usize, Vec<u8>)> = None;
    let mut at = 0;
    while at < file.len() {
        let left = BLOCK - at % BLOCK;
        if left < HEADER {
            let padding = &file[at..file.len().min(at + left)];
            if padding.iter().any(|byte| *byte != 0) {
                return Err(damaged(at, "the end of a block is not empty"));
            }
            at += left;
            continue;
        }
        let torn = |open: Option<(usize, Vec<u8>)>| (file.len() - open.map_or(at, |(from, _)| from)) as u64;
        let Some(header) = file.get(at..at + HEADER) else {
            return Ok(Records { records, torn: torn(open) });
        };
        // Preallocated and not written any more; nothing can follow.
        if header.iter().all(|byte| *byte == 0) {
            if open.is_some() || file[at..].iter().any(|byte| *byte != 0) {
                return Err(damaged(at, "a record is missing"));
            }
            break;
        }
        let len = usize::from(u16::from_le_bytes([header[4], header[5]]));
        if len > left - HEADER {
            return Err(damaged(at, "a record does not fit its block"));
        }
        let Some(piece) = file.get(at + HEADER..at + HEADER + len) else {
            return Ok(Records { records, torn: torn(open) });
        };
        let expected = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        if checksum([&header[6..], piece]) != expected {
            return Err(damaged(at, "a record has the wrong checksum"));
        }
        match (header[6], open.take()) {
            (1, None) => records.push(piece.to_vec()),
            (2, None) => open = Some((at, piece.to_vec())),
            (kind @ (3 | 4), Some((from, mut record))) => {
                record.extend_from_slice(piece);
                if kind == 4 {
                    records.push(record);
                } else {
                    open = Some((from, record));
                }
            }
            _ => return Err(damaged(at, "the pieces of a record are out of order")),
        }
        at += HEADER + len;
    }
    let torn = open.map_or(0, |(from, _)| (file.len() - from) as u64);
    Ok(Records { records, torn })
}

/// The newest writes, by key.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    newest: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>,
}

impl Memtable {
    /// Adds what a log holds. Gives the bytes at its end that are cut short.
    pub(super) fn replay(&mut self, path: &Path) -> Result<Option<u64>, MigrateError> {
        let Records { records, torn } = records(path)?;
        for record in records {
            self.add(&record).ok_or_else(|| MigrateError::damaged(path, "it holds a batch that does not add up"))?;
        }
        Ok((torn > 0).then_some(torn))
    }

    /// A batch: sequence number of the first, how many, then each one.
    fn add(&mut self, batch: &[u8]) -> Option<()> {
        let mut cursor = Cursor(batch);
        let first = u64::from_le_bytes(cursor.fixed()?);
        let count = u32::from_le_bytes(cursor.fixed()?);
        for n in 0..u64::from(count) {
            let sequence = first.checked_add(n)?;
            let is_value = match cursor.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            };
            let key = cursor.slice()?.to_vec();
            let value = if is_value { Some(cursor.slice()?.to_vec()) } else { None };
            match self.newest.get(&key) {
                Some((newer, _)) if *newer > sequence => {}
                _ => drop(self.newest.insert(key, (sequence, value))),
            }
        }
        cursor.0.is_empty().then_some(())
    }

    /// The newest entry of each key, by rising keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        let entry = |(key, (sequence, value)): (&Vec<u8>, &(u64, Option<Vec<u8>>))| Entry {
            key: key.clone(),
            sequence: *sequence,
            value: value.clone(),
        };
        self.newest.iter().map(entry)
    }

    /// The same, kept.
    pub(super) fn into_entries(self) -> impl Iterator<Item = Entry> {
        self.newest.into_iter().map(|(key, (sequence, value))| Entry { key, sequence, value })
    }
}
