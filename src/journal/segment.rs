//! One segment file: its name, its header, and how it is written. `walk` reads it.
//!
//! A segment is `<number, 16 digits>.wal`: one page of header, then records without gaps (see `record`), then a seal.
//! Numbers rise and give the order of replay. The header page is written and synced before the file gets its name and
//! is never touched again; all integers are little-endian:
//!
//! | bytes | field |
//! |---|---|
//! | 0..8 | `weft-wal` |
//! | 8 | version of the segment format, 1 |
//! | 9..16 | zero |
//! | 16..24 | number |
//! | 24..32 | nonce, random |
//! | 32..36 | crc32c of bytes 0..32 |
//! | 40..48 | length of the file when it got its name; it never shrinks. Zero in files of older versions |
//! | 48..52 | crc32c of bytes 0..48; zero in files of older versions |
//!
//! Bytes 0..36 keep their places in every later version, so that an older weft can tell "newer" from "damaged". The
//! length tells a file that was cut short at a record's end from one that a crash left there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::JournalError;
use super::files::SegmentFile;
use super::record::{self, SEAL_BYTES, Salt};
use super::walk::Contents;

/// Newest segment format written and read here.
pub(super) const SEGMENT_VERSION: u8 = 1;
const SEGMENT_MAGIC: [u8; 8] = *b"weft-wal";
/// Writes are rounded up to this, so that a page of a recycled file never has to be read before it is written.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Where the first record starts. A page of its own, so that no later write can tear the header.
pub(super) const SEGMENT_HEADER_BYTES: u64 = PAGE_BYTES;

const WAL: &str = ".wal";
const SPARE: &str = ".spare";
const UNFINISHED: &str = ".tmp";

/// Number of a segment; orders segments by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub(super) u64);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016}{WAL}", self.0)
    }
}

impl SegmentId {
    pub(super) fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }

    /// Name of the file when it waits to be used again.
    pub(super) fn spare_path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{:016}{SPARE}", self.0))
    }

    /// Name of a new file until its header is synced.
    pub(super) fn unfinished_path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{:016}{UNFINISHED}", self.0))
    }
}

/// What a file in the journal's directory is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileName {
    Segment(SegmentId),
    Spare(SegmentId),
    Unfinished(SegmentId),
    /// Ends like a segment but has no number: left by a person, and perhaps full of records.
    Nameless,
    /// None of ours.
    Foreign,
}

impl FileName {
    pub(super) fn parse(name: &str) -> FileName {
        let number = |stem: &str| {
            let digits = stem.len() == 16 && stem.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| stem.parse().ok().map(SegmentId)).flatten()
        };
        if let Some(stem) = name.strip_suffix(WAL) {
            number(stem).map_or(FileName::Nameless, FileName::Segment)
        } else if let Some(stem) = name.strip_suffix(SPARE) {
            number(stem).map_or(FileName::Foreign, FileName::Spare)
        } else if let Some(stem) = name.strip_suffix(UNFINISHED) {
            number(stem).map_or(FileName::Foreign, FileName::Unfinished)
        } else {
            FileName::Foreign
        }
    }
}

/// The header page of a segment whose file is `file_len` long.
pub(super) fn encode_header(id: SegmentId, nonce: u64, file_len: u64) -> Vec<u8> {
    let mut page = vec![0u8; SEGMENT_HEADER_BYTES as usize];
    page[0..8].copy_from_slice(&SEGMENT_MAGIC);
    page[8] = SEGMENT_VERSION;
    page[16..24].copy_from_slice(&id.0.to_le_bytes());
    page[24..32].copy_from_slice(&nonce.to_le_bytes());
    let crc = crc32c::crc32c(&page[..32]);
    page[32..36].copy_from_slice(&crc.to_le_bytes());
    page[40..48].copy_from_slice(&file_len.to_le_bytes());
    let crc = crc32c::crc32c(&page[..48]);
    page[48..52].copy_from_slice(&crc.to_le_bytes());
    page
}

/// Why a file of `file_len` bytes that begins with this page, whose header is whole, is not as long as it was made. A
/// record larger than a segment makes the file longer.
pub(super) fn is_cut_short(page: &[u8], file_len: u64) -> Option<&'static str> {
    if (page.len() as u64) < SEGMENT_HEADER_BYTES {
        return Some("the file ends within its header");
    }
    let (covered, rest) = page.split_at_checked(48)?;
    let (len, crc) = (covered.last_chunk::<8>()?, rest.first_chunk::<4>()?);
    match (u64::from_le_bytes(*len), u32::from_le_bytes(*crc)) {
        (0, 0) => None,
        (_, crc) if crc != crc32c::crc32c(covered) => Some("the length in the segment's header has the wrong checksum"),
        (len, _) if file_len < len => Some("the file is shorter than it was made"),
        _ => None,
    }
}

/// Checks a segment's header and returns the salt of its records.
pub(super) fn decode_header(bytes: &[u8], id: SegmentId) -> Result<Salt, BadHeader> {
    let field = |at: usize| bytes.get(at..at + 8).and_then(|b| b.first_chunk::<8>());
    let (Some(magic), Some(number), Some(nonce)) = (field(0), field(16), field(24)) else {
        return Err(BadHeader::Damaged("the segment's header is cut short"));
    };
    if *magic != SEGMENT_MAGIC {
        return Err(BadHeader::Damaged("the file does not begin like a segment"));
    }
    let (Some(covered), Some(crc)) = (bytes.get(..32), bytes.get(32..36).and_then(|b| b.first_chunk::<4>())) else {
        return Err(BadHeader::Damaged("the segment's header is cut short"));
    };
    if crc32c::crc32c(covered) != u32::from_le_bytes(*crc) {
        return Err(BadHeader::Damaged("the segment's header has the wrong checksum"));
    }
    match bytes.get(8) {
        Some(&version) if version > SEGMENT_VERSION => return Err(BadHeader::Newer(version)),
        _ => {}
    }
    if u64::from_le_bytes(*number) != id.0 {
        return Err(BadHeader::Damaged("the segment's header names another number than the file"));
    }
    Ok(Salt::new(id.0, u64::from_le_bytes(*nonce)))
}

pub(super) enum BadHeader {
    Damaged(&'static str),
    Newer(u8),
}

/// Waits for room on the disk; false when it is not to be tried again.
pub(super) type Wait<'a> = &'a mut dyn FnMut(&JournalError) -> bool;

/// A [`Wait`] that does not: for an opening, which a person waits for.
pub(super) fn no_room(_: &JournalError) -> bool {
    false
}

/// The segment that is being written.
pub(super) struct ActiveSegment {
    pub(super) id: SegmentId,
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn SegmentFile>,
    pub(super) salt: Salt,
    pub(super) file_len: u64,
    /// Where the present group starts. Everything before it is synced.
    pub(super) offset: u64,
    /// Bytes of that group that are written.
    written: u64,
    pub(super) records: u64,
}

impl ActiveSegment {
    /// A segment whose header is written and synced.
    pub(super) fn new(id: SegmentId, path: PathBuf, file: Box<dyn SegmentFile>, nonce: u64, file_len: u64) -> Self {
        let salt = Salt::new(id.0, nonce);
        ActiveSegment { id, path, file, salt, file_len, offset: SEGMENT_HEADER_BYTES, written: 0, records: 0 }
    }

    /// To go on where a crash left off, only in order to seal.
    pub(super) fn resume(contents: &Contents, path: PathBuf, file: Box<dyn SegmentFile>) -> Self {
        let Contents { id, salt, file_len, end, records, .. } = *contents;
        ActiveSegment { id, path, file, salt, file_len, offset: end, written: 0, records }
    }

    /// Whether a record of `len` bytes fits after `group_len` bytes that are not written yet, with room for the seal.
    /// An empty segment takes any one record: it grows to what that one needs.
    pub(super) fn has_room(&self, group_len: usize, len: usize) -> bool {
        let is_empty = self.records == 0 && group_len == 0;
        is_empty || self.offset + self.written + (group_len + len + SEAL_BYTES) as u64 <= self.file_len
    }

    /// Where the present group starts, for its records' headers.
    pub(super) fn group(&self) -> u32 {
        // A segment is at most SEGMENT_BYTES_MAX, or one record, long; both are far below 4 GiB.
        self.offset as u32
    }

    /// Adds encoded records to the present group with one write, and leaves `encoded` empty. From now on a crash of this
    /// process does not lose them; a power cut may. The rest of the last page is filled with zeros, which spares a read
    /// when that page of a recycled file is not cached, and tells a torn end from a clean one.
    ///
    /// Should the disk have no room for it, which a preallocated segment rarely needs, `wait` says whether to try again.
    pub(super) fn write(&mut self, encoded: &mut Vec<u8>, records: u64, wait: Wait<'_>) -> Result<(), JournalError> {
        let at = self.offset + self.written;
        let end = at + encoded.len() as u64;
        let padded = end.next_multiple_of(PAGE_BYTES).min(self.file_len.max(end));
        encoded.resize((padded - at) as usize, 0);
        while let Err(error) = self.file.write_at(encoded, at).map_err(JournalError::io("write", &self.path)) {
            if !error.is_disk_full() || !wait(&error) {
                return Err(error);
            }
        }
        encoded.clear();
        self.written += end - at;
        self.records += records;
        self.file_len = self.file_len.max(padded);
        Ok(())
    }

    /// Syncs the present group, which ends it. Gives the time that took.
    pub(super) fn sync(&mut self) -> Result<Duration, JournalError> {
        let begun = Instant::now();
        self.file.sync().map_err(JournalError::io("sync", &self.path))?;
        self.offset += std::mem::take(&mut self.written);
        Ok(begun.elapsed())
    }

    /// Ends the segment for good. The seal is a group of its own, so that it vouches for all before it (see `record`).
    pub(super) fn seal(mut self, wait: Wait<'_>) -> Result<SealedSegment, JournalError> {
        let mut buffer = Vec::new();
        record::encode_seal(&mut buffer, self.salt, self.group(), self.records);
        let end = self.offset;
        self.write(&mut buffer, 0, wait)?;
        self.sync()?;
        Ok(SealedSegment { end, file_len: self.file_len })
    }
}

/// What is remembered of a segment that is not written any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct SealedSegment {
    /// Where its seal stands.
    pub(super) end: u64,
    pub(super) file_len: u64,
}

impl SealedSegment {
    pub(super) fn record_bytes(&self) -> u64 {
        self.end - SEGMENT_HEADER_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_read_as_written() {
        let id = SegmentId(42);
        assert_eq!(FileName::parse("0000000000000042.wal"), FileName::Segment(id));
        assert_eq!(FileName::parse(&id.to_string()), FileName::Segment(id));
        let name = |path: PathBuf| FileName::parse(path.file_name().unwrap().to_str().unwrap());
        assert_eq!(name(id.spare_path(Path::new("d"))), FileName::Spare(id));
        assert_eq!(name(id.unfinished_path(Path::new("d"))), FileName::Unfinished(id));
        assert_eq!(FileName::parse("copy of 42.wal"), FileName::Nameless);
        assert_eq!(FileName::parse("+000000000000042.wal"), FileName::Nameless);
        assert_eq!(FileName::parse("notes.txt"), FileName::Foreign);
    }

    #[test]
    fn headers_tell_damage_from_a_newer_version() {
        let page = encode_header(SegmentId(7), 0x1122_3344_5566_7788, 16_384);
        assert!(matches!(decode_header(&page, SegmentId(7)), Ok(salt) if salt == Salt::new(7, 0x1122_3344_5566_7788)));
        assert!(matches!(decode_header(&page, SegmentId(8)), Err(BadHeader::Damaged(_))));
        for at in 0..36 {
            let mut page = page.clone();
            page[at] ^= 4;
            assert!(matches!(decode_header(&page, SegmentId(7)), Err(BadHeader::Damaged(_))), "byte {at}");
            assert!(matches!(decode_header(&page[..at], SegmentId(7)), Err(BadHeader::Damaged(_))), "cut at {at}");
        }
        let mut page = page;
        page[8] = 2;
        let crc = crc32c::crc32c(&page[..32]);
        page[32..36].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(decode_header(&page, SegmentId(7)), Err(BadHeader::Newer(2))));
    }
}
