//! Makes the next segment ready while the present one is written, on a thread of its own, so that no acknowledgement
//! waits for a file to be made.
//!
//! **Why zeros, and why recycle** (S13). Group commits of 2,400 bytes, each one write and one fdatasync, ext4 on a
//! virtual disk, medians of three interleaved rounds: growing file 198 µs, `fallocate` 193 µs, written with zeros 137
//! µs, recycled 138 µs; groups of 9,000 bytes: 288, 228, 139 and 141 µs. `fallocate` leaves extents marked unwritten,
//! so each sync still changes metadata; only blocks that were written once are free of that. Filling 16 MiB takes 11–16
//! ms and doubles the bytes written; recycling takes 0.3–6 ms and writes one page. So: recycle while there are spares,
//! else zeros.
//!
//! **Never `fallocate` alone.** It was tried, for the bytes: 4 of 6 runs of `p1_power_cuts_lose_nothing_acked` (15 power cuts
//! each, ext4 of Linux 6.18) then lost the last acknowledged edits, none of 9 with zeros in turn with them. A synced write into
//! an extent that was never written was not there after the cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};

use super::Shared;
use super::error::JournalError;
use super::files::SegmentFile;
use super::segment::{ActiveSegment, SegmentId, encode_header};

/// Zeros written between two syncs: a group commit meanwhile waits behind at most this much.
const FILL_BYTES: u64 = 1 << 20;
/// Zeros written at once. The page cache keeps what comes in one write in one folio as large, and ext4 goes through all
/// blocks of a folio at every write into it: with zeros in pieces of 1 MiB a group commit of one page takes 4.0 µs to
/// write, of 64 KiB 2.1, of 4 KiB 2.0 (Linux 6.18, medians of three interleaved rounds).
const PIECE_BYTES: usize = 64 << 10;

/// Hands out segments in rising order of number.
pub(super) struct Preparer {
    ready: Receiver<Result<ActiveSegment, JournalError>>,
    thread: JoinHandle<()>,
}

impl Preparer {
    /// Starts with the segment `first`. The channel holds nothing: exactly one segment is ahead, in the thread's hand.
    pub(super) fn start(shared: Arc<Shared>, first: SegmentId) -> std::io::Result<Preparer> {
        let (offer, ready) = sync_channel(0);
        let thread = thread::Builder::new().name("weft-journal-next".into()).spawn(move || {
            let mut id = first;
            loop {
                let prepared = match blank_file(&shared, id) {
                    Ok((file, path)) => {
                        shared.found_room();
                        name_segment(&shared, id, file, &path)
                    }
                    // Only a full disk passes by itself, and only before the file has its name may it be tried again: an
                    // empty segment must never stand before one with records (see `recovery`). Nothing but zeros was
                    // written, so this is no retry in the sense of S7.
                    Err(error) if error.is_disk_full() && shared.wait_for_room(&error) => continue,
                    Err(error) => Err(error),
                };
                let is_last = prepared.is_err();
                if offer.send(prepared).is_err() || is_last {
                    break;
                }
                id = SegmentId(id.0 + 1);
            }
        })?;
        Ok(Preparer { ready, thread })
    }

    /// The next segment, its header and its name durable. On a full disk this waits for room, until the journal closes.
    pub(super) fn take(&self) -> Result<ActiveSegment, JournalError> {
        let ended = || JournalError::Failed("the thread that prepares segments ended".into());
        self.ready.recv().unwrap_or_else(|_| Err(ended()))
    }

    /// Ends the thread and waits for it. The segment it holds is found empty at the next start and becomes a spare.
    pub(super) fn stop(self, shared: &Shared) {
        drop(self.ready);
        shared.patience.end();
        if self.thread.join().is_err() {
            tracing::error!("the thread that prepares journal segments panicked");
        }
    }
}

/// A file of the usual length, every block of it written once, under a name that recovery does not read.
fn blank_file(shared: &Shared, id: SegmentId) -> Result<(Box<dyn SegmentFile>, PathBuf), JournalError> {
    let files = &*shared.files;
    if let Some(spare) = shared.shelf.take_spare() {
        let file = files.open(&spare, true).map_err(JournalError::io("open", &spare))?;
        return Ok((file, spare));
    }
    let path = id.unfinished_path(&shared.dir);
    let file = files.create(&path).map_err(JournalError::io("create", &path))?;
    match fill(&*file, &path, shared.options.segment_bytes) {
        Ok(()) => Ok((file, path)),
        Err(error) => {
            // Gives the space back if it was the disk that is full. If it stays, the next start removes it.
            let _ = files.remove(&path);
            Err(error)
        }
    }
}

/// Makes a blank file a segment: its header durable first, then its name.
fn name_segment(
    shared: &Shared,
    id: SegmentId,
    file: Box<dyn SegmentFile>,
    blank: &Path,
) -> Result<ActiveSegment, JournalError> {
    let (files, dir) = (&*shared.files, &*shared.dir);
    let nonce = getrandom::u64().map_err(|e| JournalError::Failed(format!("no randomness for a new segment: {e}")))?;
    let path = id.path(dir);
    file.write_at(&encode_header(id, nonce, shared.options.segment_bytes), 0)
        .map_err(JournalError::io("write", blank))?;
    file.sync().map_err(JournalError::io("sync", blank))?;
    files.rename(blank, &path).map_err(JournalError::io("rename", blank))?;
    files.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
    Ok(ActiveSegment::new(id, path, file, nonce, shared.options.segment_bytes))
}

fn fill(file: &dyn SegmentFile, path: &Path, len: u64) -> Result<(), JournalError> {
    let zeros = vec![0u8; PIECE_BYTES.min(len as usize)];
    let (mut at, mut synced) = (0, 0);
    while at < len {
        let piece = zeros.get(..(len - at) as usize).unwrap_or(&zeros);
        file.write_at(piece, at).map_err(JournalError::io("write", path))?;
        at += piece.len() as u64;
        if at == len || at - synced >= FILL_BYTES {
            file.sync().map_err(JournalError::io("sync", path))?;
            synced = at;
        }
    }
    Ok(())
}
