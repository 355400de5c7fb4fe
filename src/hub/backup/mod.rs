//! Writes all documents as they were at one instant into a backup, while everybody goes on editing.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::select;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::checkpoint::now_ms;
use super::cut::{Before, CutGuard, as_it_was};
use super::{HubError, Inner};
use crate::backup::{Document, Head, LeftOut, Summary, Writer};
use crate::ids::DocName;
use crate::limits::{BACKUP_DRAIN_PATIENCE, BACKUP_NAMES, BACKUP_PIECE_BYTES, BACKUP_PIECES_MAX, BACKUP_STALL_TIMEOUT};
use crate::store::{Store, StoreError, StoredDocument};

/// A backup that is being made, piece by piece. Pieces are made as they are taken; whoever takes none for
/// [`BACKUP_STALL_TIMEOUT`], or drops this, ends it.
///
/// Whether it came whole is for [`crate::backup::Reader`] to say: its end may be missing, or say why it was broken off.
#[derive(Debug)]
pub struct BackupPieces {
    pieces: mpsc::Receiver<Bytes>,
}

impl BackupPieces {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        self.pieces.recv().await
    }
}

/// Why a backup could not be brought to its end.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// It cannot be finished, but its reader can be told why.
    #[error("{0}")]
    Told(String),
    /// Nobody takes it any more.
    #[error("its reader takes no more: {0}")]
    Left(#[from] io::Error),
}

impl Inner {
    /// Begins a backup of the present instant, with this list of revoked tokens.
    pub(super) async fn backup(self: &Arc<Self>, revoked: Vec<u8>) -> Result<BackupPieces, HubError> {
        if self.storage_has_failed() {
            // What was acked may be in a journal that cannot be carried over; a backup without it would be a lie.
            return Err(self.storage_error());
        }
        let cut = self.cut().await?;
        let created_ms = now_ms();
        let documents = self.in_store(|store| store.documents()).await?;
        let head = Head { weft: env!("CARGO_PKG_VERSION").to_owned(), created_ms, documents };
        let (sender, pieces) = mpsc::channel(BACKUP_PIECES_MAX);
        let (hub, out) = (self.clone(), PieceWriter::new(sender, self.draining.subscribe()));
        tokio::task::spawn_blocking(move || {
            let started = Instant::now();
            match hub.write_backup(&cut, out, &head, &revoked) {
                Ok(summary) => {
                    let (bytes, totals) = (summary.bytes, summary.totals);
                    let took_ms = started.elapsed().as_millis() as u64;
                    info!(bytes, documents = totals.documents, left_out = totals.left_out, took_ms, "backup taken");
                }
                Err(error) => warn!(%error, "backup broken off"),
            }
        });
        Ok(BackupPieces { pieces })
    }

    fn write_backup(&self, cut: &CutGuard, out: PieceWriter, head: &Head, revoked: &[u8]) -> Result<Summary, Stop> {
        let mut writer = Writer::new(out, head, revoked)?;
        match self.write_documents(cut, &mut writer) {
            Ok(()) => Ok(writer.finish()?.1),
            Err(Stop::Told(why)) => {
                writer.break_off(&why)?;
                Err(Stop::Told(why))
            }
            Err(left) => Err(left),
        }
    }

    fn write_documents(&self, cut: &CutGuard, writer: &mut Writer<PieceWriter>) -> Result<(), Stop> {
        let mut after: Option<DocName> = None;
        loop {
            let names = self.store.names(after.as_ref(), BACKUP_NAMES).map_err(|e| Stop::Told(e.to_string()))?;
            let Some(last) = names.last().cloned() else { return Ok(()) };
            for name in names {
                while let Some(urgent) = cut.next_urgent() {
                    self.save(cut, writer, &urgent)?;
                    cut.take_early(&urgent);
                }
                if !cut.was_read_early(&name) {
                    self.save(cut, writer, &name)?;
                }
                cut.pass(&name);
            }
            after = Some(last);
        }
    }

    fn save(&self, cut: &CutGuard, writer: &mut Writer<PieceWriter>, name: &DocName) -> Result<(), Stop> {
        if self.is_draining() {
            return Err(Stop::Told(HubError::Draining.to_string()));
        }
        match read(&*self.store, cut, name) {
            Ok(Some(document)) => writer.document(&document)?,
            Ok(None) => {}
            Err(error) => {
                warn!(doc = ?name, error, "left out of the backup");
                writer.left_out(&LeftOut { name: name.clone(), error })?;
            }
        }
        match cut.lost() {
            Some(why) => Err(Stop::Told(why.to_owned())),
            None => Ok(()),
        }
    }
}

/// What `name` was at the instant of the cut; `None` if it was not there. An error is what is wrong with it.
fn read(store: &dyn Store, cut: &CutGuard, name: &DocName) -> Result<Option<Document>, String> {
    let loaded = store.load(name);
    // After loading: what was appended before that was noted before that.
    let stored = match cut.before(name) {
        Before::Absent => return Ok(None),
        Before::Unchanged => loaded.map_err(why)?,
        Before::Was(head) => match loaded.map_err(why)? {
            Some(stored) => Some(as_it_was(stored, head)?),
            None => return Err("it was there when the backup began, and is gone".to_owned()),
        },
    };
    Ok(stored.map(|StoredDocument { head, snapshot, log }| Document {
        name: name.clone(),
        created_ms: head.created_ms,
        updated_ms: head.updated_ms,
        deleted_ms: head.deleted_ms,
        last_seq: head.last_seq,
        snapshot_seq: head.snapshot_seq,
        snapshot,
        log: log.into_iter().map(|(_, update)| update).collect(),
    }))
}

/// Without the document's name, which stands beside it.
fn why(error: StoreError) -> String {
    match error {
        StoreError::Damaged { what, why, .. } => format!("{what} is damaged: {why}"),
        engine @ (StoreError::Engine { .. } | StoreError::DiskFull { .. }) => engine.to_string(),
    }
}

/// Gathers what is written into pieces and hands them on, waiting while too many wait. For a thread that may block.
struct PieceWriter {
    pieces: mpsc::Sender<Bytes>,
    draining: watch::Receiver<bool>,
    runtime: Handle,
    piece: Vec<u8>,
}

impl PieceWriter {
    /// Must be called within a tokio runtime.
    fn new(pieces: mpsc::Sender<Bytes>, draining: watch::Receiver<bool>) -> Self {
        Self { pieces, draining, runtime: Handle::current(), piece: Vec::with_capacity(BACKUP_PIECE_BYTES) }
    }

    fn hand_on(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(BACKUP_PIECE_BYTES));
        let draining = &mut self.draining;
        let patience = async {
            // An error means that the hub is gone, which waits for nobody either.
            if timeout(BACKUP_STALL_TIMEOUT, draining.wait_for(|is| *is)).await.is_ok() {
                sleep(BACKUP_DRAIN_PATIENCE).await;
            }
        };
        self.runtime.block_on(async {
            select! {
                biased;
                sent = self.pieces.send(piece.into()) => sent.map_err(|_| io::ErrorKind::BrokenPipe.into()),
                () = patience => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

impl Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (now, _) = bytes.split_at(bytes.len().min(BACKUP_PIECE_BYTES - self.piece.len()));
        self.piece.extend_from_slice(now);
        if self.piece.len() == BACKUP_PIECE_BYTES {
            self.hand_on()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.hand_on() }
    }
}

#[cfg(test)]
mod tests;
