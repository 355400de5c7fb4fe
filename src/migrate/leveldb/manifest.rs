//! The manifest: which tables there are, as a log of changes.

use std::collections::BTreeMap;
use std::path::Path;

use super::log::{Records, records};
use super::{Cursor, MigrateError};

/// Levels that LevelDB has.
const LEVELS: u64 = 7;
const COMPARATOR: &[u8] = b"leveldb.BytewiseComparator";

/// A table, as the manifest knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// Smallest internal key.
    pub(super) smallest: Vec<u8>,
}

/// The tables and logs of a database.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    /// Logs from this number on are not in the tables yet.
    pub(super) log_number: u64,
    /// One more such log, unless 0.
    pub(super) previous_log_number: u64,
    /// No file had this number or a higher one when the manifest was written.
    pub(super) next_file_number: u64,
    /// By level and number.
    tables: BTreeMap<(u64, u64), Table>,
}

impl Manifest {
    /// Reads a manifest. It is synced before anything depends on it, so a torn end is damage as well.
    pub(super) fn read(path: &Path) -> Result<Self, MigrateError> {
        let Records { records, torn } = records(path)?;
        if torn > 0 {
            return Err(MigrateError::damaged(path, "its last record is cut short"));
        }
        let mut manifest = Self::default();
        for record in &records {
            manifest.apply(record).map_err(|what| MigrateError::damaged(path, what))?;
        }
        if manifest.next_file_number == 0 {
            return Err(MigrateError::damaged(path, "it is not whole"));
        }
        Ok(manifest)
    }

    /// The tables of each level: those of level 0 overlap, those of the others don't.
    pub(super) fn levels(&self) -> BTreeMap<u64, Vec<&Table>> {
        let mut levels: BTreeMap<u64, Vec<&Table>> = BTreeMap::new();
        for ((level, _), table) in &self.tables {
            levels.entry(*level).or_default().push(table);
        }
        levels
    }

    fn apply(&mut self, record: &[u8]) -> Result<(), String> {
        let mut cursor = Cursor(record);
        while !cursor.0.is_empty() {
            let tag = cursor.varint().ok_or("a change is cut short")?;
            self.field(tag, &mut cursor)?.ok_or_else(|| format!("a change with tag {tag} does not add up"))?;
        }
        Ok(())
    }

    /// One field of a change; `None` when its bytes don't add up.
    fn field(&mut self, tag: u64, cursor: &mut Cursor<'_>) -> Result<Option<()>, String> {
        let done = (|| {
            match tag {
                1 if cursor.slice()? != COMPARATOR => return Some(Err("its keys are sorted in an order of its own")),
                1 => {}
                2 => self.log_number = cursor.varint()?,
                3 => self.next_file_number = cursor.varint()?,
                // The last sequence number: entries carry theirs.
                4 => drop(cursor.varint()?),
                5 => {
                    level(cursor)?;
                    cursor.slice()?;
                }
                6 => {
                    let key = (level(cursor)?, cursor.varint()?);
                    if self.tables.remove(&key).is_none() {
                        return Some(Err("it removes a table that it never added"));
                    }
                }
                7 => {
                    let (level, number, bytes) = (level(cursor)?, cursor.varint()?, cursor.varint()?);
                    let smallest = cursor.slice()?.to_vec();
                    cursor.slice()?;
                    self.tables.insert((level, number), Table { number, bytes, smallest });
                }
                9 => self.previous_log_number = cursor.varint()?,
                _ => return None,
            }
            Some(Ok(()))
        })();
        match done {
            Some(Err(what)) => Err(what.to_owned()),
            Some(Ok(())) => Ok(Some(())),
            None => Ok(None),
        }
    }
}

fn level(cursor: &mut Cursor<'_>) -> Option<u64> {
    cursor.varint().filter(|level| *level < LEVELS)
}
