//! LevelDB databases, read only: what is live in them, in the order of its keys.
//!
//! Our own reader rather than a library's: those that exist write when they open, end a damaged log or manifest in
//! silence, and allocate what a block's length claims. This one changes nothing (not even the lock), names damage
//! wherever a checksum, a length or an order does not hold, and holds a block of each level at a time.
//!
//! `CURRENT` names the manifest ([`manifest`]), which lists the tables ([`table`]) of each level and the first log that
//! is not in them yet; logs ([`log`]) hold the newest writes. A key's newest entry has the highest sequence number.

mod log;
mod manifest;
mod merge;
mod table;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::process::{Flock, FlockType, fcntl_getlk};

use self::log::Memtable;
use self::manifest::Manifest;
pub(super) use self::merge::Entries;
use super::{MigrateError, entries};

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: Vec<u8>,
    sequence: u64,
    /// `None` for a deletion.
    value: Option<Vec<u8>>,
}

/// A database as it was when it was opened.
pub(super) struct LevelDb {
    dir: PathBuf,
    manifest: Manifest,
    memtable: Memtable,
    /// A log whose last record is cut short, and how many bytes that are.
    pub(super) torn: Option<(PathBuf, u64)>,
    /// A table that the manifest does not know and should.
    pub(super) unknown_table: Option<PathBuf>,
}

impl LevelDb {
    /// Reads the manifest and the logs.
    pub(super) fn open(dir: &Path) -> Result<Self, MigrateError> {
        let foreign = |why: &str| MigrateError::Foreign {
            path: dir.to_owned(),
            expected: "a LevelDB database",
            why: why.to_owned(),
        };
        let current = dir.join("CURRENT");
        if !dir.is_dir() || !current.exists() {
            return Err(foreign("it is no directory with a file CURRENT"));
        }
        refuse_if_locked(dir)?;
        let mut name = String::new();
        let read = File::open(&current).and_then(|file| file.take(256).read_to_string(&mut name));
        read.map_err(MigrateError::io(&current))?;
        let Some(name) = name.strip_suffix('\n').filter(|name| numbered(name, "MANIFEST-", "").is_some()) else {
            return Err(MigrateError::damaged(&current, "it names no manifest"));
        };
        let manifest = Manifest::read(&dir.join(name))?;
        let mut logs = Vec::new();
        let mut unknown_table = None;
        for path in entries(dir)? {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(number) = numbered(&file, "", ".log")
                && (number >= manifest.log_number || number == manifest.previous_log_number)
            {
                logs.push((number, path));
            } else if let Some(number) = numbered(&file, "", ".ldb").or_else(|| numbered(&file, "", ".sst"))
                && number >= manifest.next_file_number
            {
                unknown_table = Some(path);
            }
        }
        logs.sort_unstable();
        // A writer syncs its log before the manifest says so; a database without the log it names has lost it.
        if manifest.log_number != 0 && logs.is_empty() {
            let what = format!("the manifest names the log {:06}.log, which is not there", manifest.log_number);
            return Err(MigrateError::damaged(dir, what));
        }
        let mut memtable = Memtable::default();
        let mut torn = None;
        for (_, path) in logs {
            if let Some(bytes) = memtable.replay(&path)? {
                torn = Some((path, bytes));
            }
        }
        Ok(Self { dir: dir.to_owned(), manifest, memtable, torn, unknown_table })
    }

    /// What is live, by rising keys.
    pub(super) fn entries(&self) -> Result<Entries<'_>, MigrateError> {
        Entries::new(&self.dir, &self.manifest, Box::new(self.memtable.iter()))
    }

    /// The same, kept.
    pub(super) fn into_entries(self) -> Result<Entries<'static>, MigrateError> {
        Entries::new(&self.dir, &self.manifest, Box::new(self.memtable.into_entries()))
    }
}

/// The number in a file name like `000005.ldb`.
fn numbered(name: &str, prefix: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// A server that has the database open holds a lock on the file LOCK. Asking for it takes nothing.
fn refuse_if_locked(dir: &Path) -> Result<(), MigrateError> {
    let path = dir.join("LOCK");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        // A copy may lack it.
        Err(_) if !path.exists() => return Ok(()),
        Err(error) => return Err(MigrateError::io(&path)(error)),
    };
    match fcntl_getlk(&lock, &Flock::from(FlockType::WriteLock)) {
        Ok(None) => Ok(()),
        Ok(Some(held)) => {
            let by = held.pid.map(|pid| format!(" by a running server (pid {})", pid.as_raw_nonzero()));
            Err(MigrateError::Busy { path: dir.to_owned(), by: by.unwrap_or_default() })
        }
        Err(error) => Err(MigrateError::io(&path)(error.into())),
    }
}

/// The whole of a file that must not be larger than `max`.
fn read_whole(path: &Path, max: u64) -> Result<Vec<u8>, MigrateError> {
    let size = fs::metadata(path).map_err(MigrateError::io(path))?.len();
    if size > max {
        return Err(MigrateError::damaged(path, format!("it has {size} bytes where at most {max} are expected")));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(MigrateError::io(path))?;
    file.take(max).read_to_end(&mut bytes).map_err(MigrateError::io(path))?;
    Ok(bytes)
}

/// LevelDB's masked CRC-32C, over parts that follow each other.
fn checksum(parts: [&[u8]; 2]) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(parts[0]), parts[1]);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// A cursor over bytes with LevelDB's numbers in them. `None` when they end too early.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(n).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).and_then(|bytes| bytes.first().copied())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N as u64)?.try_into().ok()
    }

    /// Bytes behind their length.
    fn slice(&mut self) -> Option<&'a [u8]> {
        let len = self.varint()?;
        self.take(len)
    }
}

/// Splits an internal key: the user's key, its sequence number and whether it is a value.
fn split_key(internal: &[u8]) -> Option<(&[u8], u64, bool)> {
    let (key, trailer) = internal.split_last_chunk::<8>()?;
    let trailer = u64::from_le_bytes(*trailer);
    match trailer & 0xff {
        0 => Some((key, trailer >> 8, false)),
        1 => Some((key, trailer >> 8, true)),
        _ => None,
    }
}
