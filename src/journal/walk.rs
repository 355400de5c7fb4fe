//! Reading a segment: checks every record, and tells the torn end of a last write from damage (S2).

use std::io;
use std::iter::FusedIterator;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::files::{Files, SegmentFile};
use super::record::{self, Decoded, Header, Kind, RECORD_HEADER_BYTES, RECORD_VERSION, Record, Salt};
use super::segment::{
    BadHeader, PAGE_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_VERSION, SegmentId, decode_header, is_cut_short,
};

/// Read ahead, bytes: large enough that a system call is rare, small enough for several readers at once.
const WINDOW_BYTES: u64 = 256 << 10;

/// A part of a file kept in memory while it is walked. Allocates at most what one record may have, or the read-ahead.
struct Window {
    file: Box<dyn SegmentFile>,
    file_len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn new(file: Box<dyn SegmentFile>) -> io::Result<Window> {
        let file_len = file.len()?;
        Ok(Window { file, file_len, start: 0, bytes: Vec::new() })
    }

    /// The `len` bytes at `offset`, or fewer where the file ends.
    fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let len = self.file_len.saturating_sub(offset).min(len as u64);
        if offset < self.start || offset + len > self.start + self.bytes.len() as u64 {
            let ahead = len.max(WINDOW_BYTES).min(self.file_len.saturating_sub(offset));
            self.bytes.resize(ahead as usize, 0);
            let read = self.file.read_at(&mut self.bytes, offset)?;
            self.bytes.truncate(read);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        Ok(self.bytes.get(from..).map_or(&[], |rest| rest.get(..len as usize).unwrap_or(rest)))
    }
}

/// What stands at one place of a segment.
pub(super) enum Step {
    Record(Header),
    Seal(Header),
    Newer(u8),
    Bad(&'static str),
}

/// Walks over the records of one segment, checking each.
pub(super) struct Walk {
    window: Window,
    path: PathBuf,
    pub(super) salt: Salt,
    offset: u64,
}

impl Walk {
    /// Opens a segment and checks its header.
    fn open(files: &dyn Files, dir: &Path, id: SegmentId) -> Result<Walk, JournalError> {
        let path = id.path(dir);
        let file = files.open(&path, false).map_err(JournalError::io("open", &path))?;
        let mut window = Window::new(file).map_err(JournalError::io("read", &path))?;
        let page = window.at(0, SEGMENT_HEADER_BYTES as usize).map_err(JournalError::io("read", &path))?;
        match decode_header(page, id) {
            Ok(salt) => Ok(Walk { window, path, salt, offset: SEGMENT_HEADER_BYTES }),
            Err(BadHeader::Damaged(why)) => Err(JournalError::Corrupt { segment: path, offset: 0, why }),
            Err(BadHeader::Newer(version)) => {
                Err(JournalError::NewerVersion { segment: path, version, known: SEGMENT_VERSION })
            }
        }
    }

    /// Opens a segment whose header may be damaged; nothing is readable before its salt is set.
    pub(super) fn open_unchecked(files: &dyn Files, dir: &Path, id: SegmentId) -> Result<Walk, JournalError> {
        let path = id.path(dir);
        let file = files.open(&path, false).map_err(JournalError::io("open", &path))?;
        let window = Window::new(file).map_err(JournalError::io("read", &path))?;
        Ok(Walk { window, path, salt: Salt::new(0, 0), offset: SEGMENT_HEADER_BYTES })
    }

    /// The `len` bytes at `offset`, or fewer where the file ends.
    pub(super) fn bytes_at(&mut self, offset: u64, len: usize) -> Result<&[u8], JournalError> {
        self.window.at(offset, len).map_err(JournalError::io("read", &self.path))
    }

    /// What stands at `offset`, its body checked.
    pub(super) fn look(&mut self, offset: u64) -> Result<Step, JournalError> {
        let io = JournalError::io("read", &self.path);
        let step = |window: &mut Window| -> io::Result<Step> {
            let header = match Header::decode(window.at(offset, RECORD_HEADER_BYTES)?, self.salt) {
                Decoded::Header(header) => header,
                Decoded::Newer(version) => return Ok(Step::Newer(version)),
                Decoded::Not(why) => return Ok(Step::Bad(why)),
            };
            let body = window.at(offset + RECORD_HEADER_BYTES as u64, header.body_len())?;
            if body.len() < header.body_len() {
                return Ok(Step::Bad("a record is cut short"));
            }
            if !header.body_holds(body) {
                return Ok(Step::Bad("a record has the wrong checksum"));
            }
            if header.kind != Kind::Seal && !header.body_is_valid(body) {
                return Ok(Step::Bad("a record's document name or contents are not valid"));
            }
            Ok(match header.kind {
                Kind::Update | Kind::Deleted => Step::Record(header),
                Kind::Seal => Step::Seal(header),
            })
        };
        step(&mut self.window).map_err(io)
    }

    pub(super) fn corrupt(&self, offset: u64, why: &'static str) -> JournalError {
        JournalError::Corrupt { segment: self.path.clone(), offset, why }
    }

    pub(super) fn newer(&self, version: u8) -> JournalError {
        JournalError::NewerVersion { segment: self.path.clone(), version, known: RECORD_VERSION }
    }
}

/// What a whole segment holds, every checksum verified. Nothing was changed to find out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contents {
    pub(super) id: SegmentId,
    pub(super) salt: Salt,
    pub(super) file_len: u64,
    pub(super) records: u64,
    /// Bytes of whole records, headers included.
    pub(super) record_bytes: u64,
    /// Where the records end: at the seal, or where one belongs.
    pub(super) end: u64,
    pub(super) ending: Ending,
    /// Why the file is not as long as it was made; what is missing may have held records.
    pub(super) cut_short: Option<&'static str>,
}

/// How the records of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Sealed,
    /// Without a seal, as a crash leaves it. `torn_bytes` of a write that was never acknowledged follow, as far as they
    /// can be told from what the file held before.
    Open {
        torn_bytes: u64,
        /// Why the walk ended there.
        why: &'static str,
    },
}

/// Reads a whole segment. Errors: `Corrupt` when something unreadable is followed by what was written after it had been
/// synced (S2), `NewerVersion`, `Io`.
pub(super) fn survey(files: &dyn Files, dir: &Path, id: SegmentId) -> Result<Contents, JournalError> {
    let mut walk = Walk::open(files, dir, id)?;
    let file_len = walk.window.file_len;
    let cut_short = is_cut_short(walk.bytes_at(0, SEGMENT_HEADER_BYTES as usize)?, file_len);
    let (mut records, mut end) = (0u64, walk.offset);
    let ending = loop {
        match walk.look(end)? {
            Step::Record(header) => {
                records += 1;
                end += (RECORD_HEADER_BYTES + header.body_len()) as u64;
            }
            Step::Seal(header) if header.seq == records => break Ending::Sealed,
            Step::Seal(_) => return Err(walk.corrupt(end, "the seal counts other records than there are")),
            Step::Newer(version) => return Err(walk.newer(version)),
            Step::Bad(why) => break Ending::Open { torn_bytes: judge_rest(&mut walk, end, why)?, why },
        }
    };
    let record_bytes = end - SEGMENT_HEADER_BYTES;
    Ok(Contents { id, salt: walk.salt, file_len, records, record_bytes, end, ending, cut_short })
}

/// Decides whether the unreadable bytes at `bad` are the torn end of the last write or damage, and returns how long the
/// torn end is. Looks at every later place where a record of this segment could start.
fn judge_rest(walk: &mut Walk, bad: u64, why: &'static str) -> Result<u64, JournalError> {
    let read = JournalError::io("read", &walk.path);
    let page_end = bad.next_multiple_of(PAGE_BYTES).min(walk.window.file_len);
    // Each write fills its last page with zeros, so what else stands there is from a later write that tore.
    let first = walk.window.at(bad, (page_end.saturating_sub(bad)) as usize).map_err(read)?;
    let mut torn_end = bad + first.iter().rposition(|&b| b != 0).map_or(0, |at| at as u64 + 1);

    let mut from = bad;
    while let Some(at) = find_magic(walk, from)? {
        from = at + 1;
        match walk.look(at)? {
            Step::Record(header) | Step::Seal(header) => {
                if u64::from(header.group) > bad {
                    return Err(walk.corrupt(bad, why));
                }
                from = at + (RECORD_HEADER_BYTES + header.body_len()) as u64;
                torn_end = torn_end.max(from);
            }
            Step::Newer(version) => return Err(walk.newer(version)),
            Step::Bad(_) if at == bad => {
                let header = walk.window.at(at, RECORD_HEADER_BYTES).map_err(JournalError::io("read", &walk.path))?;
                if let Decoded::Header(header) = Header::decode(header, walk.salt) {
                    let claimed = at + (RECORD_HEADER_BYTES + header.body_len()) as u64;
                    torn_end = torn_end.max(claimed.min(walk.window.file_len));
                }
            }
            Step::Bad(_) => {}
        }
    }
    Ok(torn_end - bad)
}

/// The next place at or after `from` where the magic of a record stands.
pub(super) fn find_magic(walk: &mut Walk, mut from: u64) -> Result<Option<u64>, JournalError> {
    let magic = record::RECORD_MAGIC;
    loop {
        let read = JournalError::io("read", &walk.path);
        let bytes = walk.window.at(from, WINDOW_BYTES as usize / 4).map_err(read)?;
        if bytes.len() < magic.len() {
            return Ok(None);
        }
        let mut searched = 0;
        while let Some(at) = bytes.get(searched..).and_then(|rest| rest.iter().position(|&b| b == magic[0])) {
            let at = searched + at;
            match bytes.get(at..at + magic.len()) {
                Some(found) if found == magic => return Ok(Some(from + at as u64)),
                Some(_) => searched = at + 1,
                None => break,
            }
        }
        // The last bytes may begin a magic that goes on in the next part.
        from += (bytes.len() - (magic.len() - 1)) as u64;
    }
}

/// The records of one sealed segment, in the order they were appended. Blocking; reads ahead 256 KiB, and allocates
/// each update once, at most `JOURNAL_RECORD_BYTES_MAX`.
///
/// Ends after the first error: `Corrupt` when the file changed since the journal was opened, or `Io`.
pub struct SegmentReader {
    walk: Walk,
    /// Where the seal stands; the reader is done when it gets there, or past an error.
    end: u64,
}

impl SegmentReader {
    pub(super) fn open(files: &dyn Files, dir: &Path, id: SegmentId, end: u64) -> Result<SegmentReader, JournalError> {
        Ok(SegmentReader { walk: Walk::open(files, dir, id)?, end })
    }

    fn read(&mut self) -> Result<Record, JournalError> {
        let at = self.walk.offset;
        let header = match self.walk.look(at)? {
            Step::Record(header) => header,
            Step::Seal(_) => return Err(self.walk.corrupt(at, "the segment ends before its end")),
            Step::Newer(version) => return Err(self.walk.newer(version)),
            Step::Bad(why) => return Err(self.walk.corrupt(at, why)),
        };
        let record = self.walk.record_at(at, &header)?;
        self.walk.offset = at + (RECORD_HEADER_BYTES + header.body_len()) as u64;
        record.ok_or_else(|| self.walk.corrupt(at, "a record's document name or contents are not valid"))
    }
}

impl Iterator for SegmentReader {
    type Item = Result<Record, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.walk.offset >= self.end {
            return None;
        }
        let item = self.read();
        if item.is_err() {
            self.walk.offset = self.end;
        }
        Some(item)
    }
}

impl FusedIterator for SegmentReader {}
