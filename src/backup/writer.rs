//! Writes a backup from front to back. Holds one frame, never a whole document.

use std::io::{self, Write};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::frame::{self, DocumentHead, Kind};
use super::{Checksum, Document, Head, LeftOut, Summary, Totals};
use crate::limits::BACKUP_FRAME_BYTES_MAX;

/// A backup that is being written. Dropped before [`Writer::finish`], what it wrote has no trailer, so that nobody takes
/// it for a whole one (BK1).
///
/// After an error the file is of no use; the caller ends it.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    hash: Sha256,
    /// Bytes written.
    bytes: u64,
    /// Number of the next frame.
    number: u64,
    totals: Totals,
    /// The piece of a document's updates that is being gathered; at most one frame's body.
    piece: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a backup. `revoked` is the list of revoked tokens, empty where there is none: whoever restores the documents
    /// must not let anybody back in (2.4).
    ///
    /// # Errors
    /// Those of `out`, here and below.
    pub fn new(out: W, head: &Head, revoked: &[u8]) -> io::Result<Self> {
        let mut writer =
            Self { out, hash: Sha256::new(), bytes: 0, number: 0, totals: Totals::default(), piece: Vec::new() };
        writer.write(&frame::encode_prologue())?;
        writer.frame(Kind::Head, &frame::encode_head(head))?;
        for piece in revoked.chunks(BACKUP_FRAME_BYTES_MAX) {
            writer.frame(Kind::Revoked, piece)?;
        }
        Ok(writer)
    }

    /// Writes a document or a tombstone. Its positions and updates must agree, or the backup could not be read again.
    pub fn document(&mut self, document: &Document) -> io::Result<()> {
        if !document.adds_up() {
            let why = format!("document {:?} has other updates than its positions say", document.name);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let updates = || document.snapshot.iter().chain(&document.log);
        let head = DocumentHead {
            name: document.name.clone(),
            created_ms: document.created_ms,
            updated_ms: document.updated_ms,
            deleted_ms: document.deleted_ms,
            last_seq: document.last_seq,
            snapshot_seq: document.snapshot_seq,
            snapshot_updates: document.snapshot.len() as u64,
            log_updates: document.log.len() as u64,
            body_bytes: updates().map(|update| 4 + update.len() as u64).sum(),
        };
        self.frame(Kind::Document, &frame::encode_document(&head))?;
        for update in updates() {
            self.update(update)?;
        }
        self.end_piece()?;
        self.totals.count(document);
        Ok(())
    }

    /// Names a document that is not in the backup (BK3).
    pub fn left_out(&mut self, left_out: &LeftOut) -> io::Result<()> {
        self.totals.left_out += 1;
        self.frame(Kind::LeftOut, &frame::encode_left_out(left_out))
    }

    /// Ends what cannot be finished, and says why in it.
    pub fn break_off(mut self, why: &str) -> io::Result<()> {
        self.frame(Kind::BrokenOff, &frame::encode_broken_off(why))?;
        self.out.flush()
    }

    /// Writes the trailer that makes it whole, and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<(W, Summary)> {
        let before = self.hash.clone().finalize().into();
        self.frame(Kind::Trailer, &frame::encode_trailer(&self.totals, &before))?;
        self.out.flush()?;
        let sha256 = Checksum(self.hash.finalize().into());
        Ok((self.out, Summary { totals: self.totals, bytes: self.bytes, sha256 }))
    }

    fn update(&mut self, update: &Bytes) -> io::Result<()> {
        let length = u32::try_from(update.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an update has 4 GiB or more"))?;
        for mut rest in [&length.to_le_bytes()[..], update] {
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(BACKUP_FRAME_BYTES_MAX - self.piece.len()));
                self.piece.extend_from_slice(now);
                rest = later;
                if self.piece.len() == BACKUP_FRAME_BYTES_MAX {
                    self.end_piece()?;
                }
            }
        }
        Ok(())
    }

    fn end_piece(&mut self) -> io::Result<()> {
        if !self.piece.is_empty() {
            let mut piece = std::mem::take(&mut self.piece);
            self.frame(Kind::Updates, &piece)?;
            piece.clear();
            self.piece = piece;
        }
        Ok(())
    }

    fn frame(&mut self, kind: Kind, body: &[u8]) -> io::Result<()> {
        let header = frame::encode_header(self.number, kind, body);
        self.write(&header)?;
        self.write(body)?;
        self.number += 1;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }
}
