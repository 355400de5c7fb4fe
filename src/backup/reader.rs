//! Reads a backup from front to back and believes nothing before its checksum was checked (BK1, BK2).

use std::io::{self, Read};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::frame::{self, DocumentHead, FRAME_HEADER_BYTES, Kind, PROLOGUE_BYTES, Prologue};
use super::{BackupError, Checksum, Document, Head, Item, Summary, Totals};
use crate::limits::{BACKUP_FRAME_BYTES_MAX, REVOCATIONS_BYTES_MAX};

/// Bytes set aside for a document before any of it was read; more comes only as bytes do (BK2).
const BODY_CAPACITY_FIRST: usize = 64 << 10;

/// A backup that is being read. It is whole only once [`Reader::next`] has returned `None`: until then a later frame may
/// turn out to be damaged or missing, so nothing that was read may be put to use for good.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    hash: Sha256,
    /// Bytes read.
    bytes: u64,
    /// Number of the next frame.
    number: u64,
    head: Head,
    /// The list of revoked tokens, as far as it was read.
    revoked: Vec<u8>,
    totals: Totals,
    /// The body of the frame that was read last.
    body: Vec<u8>,
    /// Once the trailer was found to be right, with nothing behind it.
    summary: Option<Summary>,
}

impl<R: Read> Reader<R> {
    /// Reads the beginning of a backup.
    pub fn open(from: R) -> Result<Self, BackupError> {
        let mut reader = Self {
            from,
            hash: Sha256::new(),
            bytes: 0,
            number: 0,
            head: Head { weft: String::new(), created_ms: 0, documents: 0 },
            revoked: Vec::new(),
            totals: Totals::default(),
            body: Vec::new(),
            summary: None,
        };
        let mut prologue = [0; PROLOGUE_BYTES];
        reader.fill(&mut prologue).map_err(|error| match error {
            BackupError::CutShort(0) => BackupError::Foreign,
            other => other,
        })?;
        match frame::decode_prologue(&prologue) {
            Prologue::Version(version) if version <= frame::VERSION => {}
            Prologue::Version(version) => return Err(BackupError::Newer(version)),
            Prologue::Foreign => return Err(BackupError::Foreign),
            Prologue::Damaged => return Err(damaged(0, "the checksum of its beginning does not match")),
        }
        reader.hash.update(prologue);
        let at = reader.bytes;
        if reader.frame()?.0 != Kind::Head {
            return Err(damaged(at, "it does not begin with its head"));
        }
        reader.head = frame::decode_head(&reader.body).ok_or(damaged(at, "its head does not add up"))?;
        Ok(reader)
    }

    /// What it says about itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The list of revoked tokens, as the data directory keeps it, once [`Reader::next`] has returned anything; empty where
    /// there was none.
    pub fn revoked(&self) -> &[u8] {
        &self.revoked
    }

    /// What it holds, and its checksum, once all of it was read and found to be right.
    pub fn summary(&self) -> Option<&Summary> {
        self.summary.as_ref()
    }

    /// The next document; `None` at the end of a backup that is whole. After an error there is no more to be had.
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on after an error")]
    pub fn next(&mut self) -> Result<Option<Item>, BackupError> {
        if self.summary.is_some() {
            return Ok(None);
        }
        let (mut at, mut frame) = (self.bytes, self.frame()?);
        while frame.0 == Kind::Revoked {
            let is_first = self.totals == Totals::default();
            if !is_first || (self.revoked.len() + self.body.len()) as u64 > REVOCATIONS_BYTES_MAX {
                return Err(damaged(at, "the list of revoked tokens does not add up"));
            }
            self.revoked.extend_from_slice(&self.body);
            (at, frame) = (self.bytes, self.frame()?);
        }
        let (kind, before) = frame;
        match kind {
            Kind::Document => {
                let head =
                    frame::decode_document(&self.body).ok_or(damaged(at, "a document's head does not add up"))?;
                let document = self.document(at, head)?;
                self.totals.count(&document);
                Ok(Some(Item::Document(document)))
            }
            Kind::LeftOut => {
                let left_out = frame::decode_left_out(&self.body).ok_or(damaged(at, "a name does not add up"))?;
                self.totals.left_out += 1;
                Ok(Some(Item::LeftOut(left_out)))
            }
            Kind::BrokenOff => {
                let why = frame::decode_broken_off(&self.body).ok_or(damaged(at, "its end does not add up"))?;
                Err(BackupError::BrokenOff(why))
            }
            Kind::Trailer => {
                self.end(at, &before)?;
                Ok(None)
            }
            Kind::Head | Kind::Revoked | Kind::Updates => Err(damaged(at, "a frame stands where it should not")),
        }
    }

    /// Reads the updates that follow a document's head.
    fn document(&mut self, at: u64, head: DocumentHead) -> Result<Document, BackupError> {
        let capacity = usize::try_from(head.body_bytes).unwrap_or(usize::MAX).min(BODY_CAPACITY_FIRST);
        let mut body = Vec::with_capacity(capacity);
        while (body.len() as u64) < head.body_bytes {
            let at = self.bytes;
            let (kind, _) = self.frame()?;
            let fits = (body.len() + self.body.len()) as u64 <= head.body_bytes;
            if kind != Kind::Updates || self.body.is_empty() || !fits {
                return Err(damaged(at, "the updates of a document do not add up"));
            }
            body.extend_from_slice(&self.body);
        }
        let mut rest = Bytes::from(body);
        let mut updates = |count: u64| {
            let mut updates = Vec::new();
            for _ in 0..count {
                let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
                let end = length.checked_add(4).filter(|end| *end <= rest.len())?;
                updates.push(rest.split_to(end).slice(4..));
            }
            Some(updates)
        };
        let (snapshot, log) = (updates(head.snapshot_updates), updates(head.log_updates));
        let (Some(snapshot), Some(log), true) = (snapshot, log, rest.is_empty()) else {
            return Err(damaged(at, "the updates of a document do not add up"));
        };
        let document = Document {
            name: head.name,
            created_ms: head.created_ms,
            updated_ms: head.updated_ms,
            deleted_ms: head.deleted_ms,
            last_seq: head.last_seq,
            snapshot_seq: head.snapshot_seq,
            snapshot,
            log,
        };
        if !document.adds_up() {
            return Err(damaged(at, "a document has other updates than its positions say"));
        }
        Ok(document)
    }

    fn end(&mut self, at: u64, before: &Sha256) -> Result<(), BackupError> {
        let (totals, checksum) = frame::decode_trailer(&self.body).ok_or(damaged(at, "its trailer does not add up"))?;
        if checksum != <[u8; 32]>::from(before.clone().finalize()) {
            return Err(damaged(at, "the checksum of the whole does not match"));
        }
        if totals != self.totals {
            return Err(damaged(at, "it holds another number of documents than its trailer says"));
        }
        let end = self.bytes;
        match self.fill(&mut [0]) {
            Err(BackupError::CutShort(_)) => {}
            Err(other) => return Err(other),
            Ok(()) => return Err(damaged(end, "something follows its trailer")),
        }
        let sha256 = Checksum(self.hash.clone().finalize().into());
        self.summary = Some(Summary { totals, bytes: end, sha256 });
        Ok(())
    }

    /// Reads a frame into `body` and checks it. Returns its kind and the hash of all that stood before it.
    fn frame(&mut self) -> Result<(Kind, Sha256), BackupError> {
        let at = self.bytes;
        let mut header = [0; FRAME_HEADER_BYTES];
        self.fill(&mut header)?;
        let length = frame::body_len(&header);
        if length > BACKUP_FRAME_BYTES_MAX {
            return Err(damaged(at, "a frame is longer than frames may be"));
        }
        let mut body = std::mem::take(&mut self.body);
        body.resize(length, 0);
        self.fill(&mut body)?;
        let kind = frame::verify(self.number, &header, &body).map_err(|why| damaged(at, why))?;
        let before = self.hash.clone();
        self.hash.update(header);
        self.hash.update(&body);
        self.number += 1;
        self.body = body;
        Ok((kind, before))
    }

    fn fill(&mut self, mut buf: &mut [u8]) -> Result<(), BackupError> {
        while !buf.is_empty() {
            match self.from.read(buf) {
                Ok(0) => return Err(BackupError::CutShort(self.bytes)),
                Ok(n) => {
                    self.bytes += n as u64;
                    buf = buf.get_mut(n..).unwrap_or_default();
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(BackupError::Io { at: self.bytes, source }),
            }
        }
        Ok(())
    }
}

fn damaged(at: u64, why: &'static str) -> BackupError {
    BackupError::Damaged { at, why }
}
