//! Appends records. One writer at a time: whoever has the data directory open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::line::{self, Record};
use super::{Entry, Head, head_file, segment_file, segments};
use crate::limits::{AUDIT_SEGMENT_BYTES, AUDIT_SEGMENTS_MAX};

/// Why nothing can be recorded. What was to be done must not be done then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log {dir} cannot be {what}: {why}")]
pub struct AuditError {
    dir: PathBuf,
    what: &'static str,
    why: String,
}

/// The log, open for appending. Shared by reference.
#[derive(Debug)]
pub struct Audit(Mutex<Writer>);

#[derive(Debug)]
struct Writer {
    dir: PathBuf,
    head: Head,
    head_file: File,
    segment: File,
    segment_bytes: u64,
    /// First numbers of the segments, oldest first.
    segments: Vec<u64>,
    /// Why no more is written: a write that failed once may have left anything.
    failed: Option<AuditError>,
}

impl Audit {
    /// Opens the log in `dir`, which is made if it is not there. What a crash left half written is taken off: nobody was
    /// told that it is done.
    ///
    /// # Errors
    /// When it cannot be read or made.
    pub fn open(dir: &Path) -> Result<Self, AuditError> {
        let writer = Writer::open(dir).map_err(|error| failure(dir, "opened", &error))?;
        Ok(Self(Mutex::new(writer)))
    }

    /// Records; durable on return. Blocks for the disk.
    ///
    /// # Errors
    /// When it could not be written, and from then on.
    pub fn append(&self, entry: Entry) -> Result<(), AuditError> {
        let mut writer = self.writer();
        if let Some(failed) = &writer.failed {
            return Err(failed.clone());
        }
        writer.append(entry).map_err(|error| {
            let failed = failure(&writer.dir, "written", &error);
            tracing::error!(%failed, "admins can change nothing until a restart");
            writer.failed = Some(failed.clone());
            failed
        })
    }

    /// The newest record.
    pub fn head(&self) -> Head {
        self.writer().head.clone()
    }

    /// Whether records can be written.
    pub fn is_failed(&self) -> bool {
        self.writer().failed.is_some()
    }

    /// A panic under this lock leaves at most a record that nobody was told of.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let head_file = options.open(head_file(dir))?;
        let mut text = String::new();
        (&head_file).take(1024).read_to_string(&mut text)?;
        let noted: Head = if text.trim().is_empty() {
            Head::default()
        } else {
            serde_json::from_str(&text)
                .map_err(|_| io::Error::other("head.json is damaged; see `weft audit verify`"))?
        };
        let mut found: Vec<u64> = segments(dir)?.into_iter().map(|(first, _)| first).collect();
        if found.is_empty() {
            found.push(noted.seq + 1);
        }
        let last = found.last().copied().unwrap_or(1);
        let segment = options.clone().open(segment_file(dir, last))?;
        let mut bytes = Vec::new();
        (&segment).read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        segment.set_len(whole as u64)?;
        let lines = std::str::from_utf8(bytes.get(..whole).unwrap_or_default()).unwrap_or_default();
        let newest = lines.lines().next_back().and_then(line::read).map(|(record, hash)| (record.seq, hash));
        // Records behind the head were written by somebody whom a crash kept from noting them. A log that ends before its
        // head was cut: what comes next goes on from the head, so that the gap stays to be seen.
        let head = match newest {
            Some((seq, hash)) if seq > noted.seq => Head { seq, hash, first: noted.first },
            Some(_) | None => noted.clone(),
        };
        segment.sync_all()?;
        File::open(dir)?.sync_all()?;
        let behind = head != noted;
        let mut writer = Self {
            dir: dir.to_owned(),
            head,
            head_file,
            segment,
            segment_bytes: whole as u64,
            segments: found,
            failed: None,
        };
        if behind {
            writer.note_head()?;
        }
        Ok(writer)
    }

    fn append(&mut self, entry: Entry) -> io::Result<()> {
        if self.segment_bytes >= AUDIT_SEGMENT_BYTES {
            self.rotate()?;
        }
        let seq = self.head.seq + 1;
        let (line, hash) = line::write(&Record { seq, prev: self.head.hash.clone(), entry })?;
        self.segment.write_all_at(line.as_bytes(), self.segment_bytes)?;
        self.segment.sync_data()?;
        self.segment_bytes += line.len() as u64;
        self.head = Head { seq, hash, ..self.head };
        self.note_head()
    }

    fn rotate(&mut self) -> io::Result<()> {
        let first = self.head.seq + 1;
        let path = segment_file(&self.dir, first);
        self.segment = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        self.segment_bytes = 0;
        self.segments.push(first);
        while self.segments.len() > AUDIT_SEGMENTS_MAX {
            // Noted before it is done: the other way round would look as if somebody had removed it.
            self.head.first = self.segments.get(1).copied().unwrap_or(first);
            self.note_head()?;
            let oldest = self.segments.remove(0);
            fs::remove_file(segment_file(&self.dir, oldest))?;
        }
        File::open(&self.dir)?.sync_all()
    }

    /// In place: it is shorter than a sector, and always of the same length.
    fn note_head(&mut self) -> io::Result<()> {
        let Head { seq, hash, first } = &self.head;
        let text = format!("{{\"seq\":{seq:<20},\"hash\":\"{hash}\",\"first\":{first:<20}}}\n");
        self.head_file.write_all_at(text.as_bytes(), 0)?;
        self.head_file.sync_data()
    }
}

fn failure(dir: &Path, what: &'static str, error: &io::Error) -> AuditError {
    AuditError { dir: dir.to_owned(), what, why: error.to_string() }
}
