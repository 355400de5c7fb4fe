//! The journal: the promise on disk. What it calls durable may be acknowledged, and nothing else may (S1, P1).
//!
//! It holds the updates of the last moments of all documents, in the order they were appended, until a checkpoint has
//! carried them into the store. It knows nothing of what is in an update, of peers, or of the store; it never merges,
//! skips or rewrites. An append-only log in numbered files, one writer thread, one sync for all that wait.
//!
//! Where to look: `record` one record as bytes; `segment` one file; `walk` reading it; `writer` group commit; `pen` the
//! file that is written, and by whom; `queue` what waits for it; `prepare` the next file, made ready ahead; `shelf` the
//! files that are done; `recovery` what opening does; `salvage` what it does about damage; `files` the file system,
//! replaceable in tests; `patience` what a full disk asks for.
//!
//! The life of a segment: prepared (header synced, named, directory synced) → active → sealed → removed by a checkpoint
//! → spare → prepared again under a new number.

mod error;
mod files;
mod patience;
mod pen;
mod prepare;
mod queue;
mod record;
mod recovery;
mod salvage;
mod segment;
mod shelf;
mod stats;
mod walk;
mod writer;

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};

pub use error::JournalError;
pub use record::{Body, Record};
pub use recovery::Recovery;
pub use salvage::{DamagedSegment, Unreadable};
pub use segment::SegmentId;
pub use stats::{Disk, JournalFigures};
pub use walk::SegmentReader;

#[cfg(doc)]
use crate::limits::JOURNAL_SYNC_PACE;
use crate::limits::{
    JOURNAL_ENTRY_COST, JOURNAL_QUEUE_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX, JOURNAL_SPARES_MAX, SEGMENT_BYTES,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};
use files::{Files, OsFiles};
use patience::Patience;
use pen::Pen;
use prepare::Preparer;
use queue::{Append, Entry, Queue};
use shelf::Shelf;
use stats::Stats;
use writer::Writer;

/// Whoever waits for appends to become durable. Called from the writer's thread; must not block, nor panic.
pub trait DurableSink: Send + Sync + 'static {
    /// Every record of this sink's appends up to `seq` is on disk.
    fn durable(&self, seq: crate::ids::Seq);
    /// The journal failed (S7); nothing more will become durable.
    fn failed(&self);
}

/// How a journal behaves.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Length of a segment's file, bytes; brought within [`SEGMENT_BYTES_MIN`]..=[`SEGMENT_BYTES_MAX`] and to whole
    /// pages. A larger record gets a longer segment of its own.
    pub segment_bytes: u64,
    /// Bytes that may wait for the writer before [`Journal::append`] waits. A single larger append passes when nothing
    /// else waits.
    pub queue_bytes_max: usize,
    /// Files kept to be used again.
    pub spares_max: usize,
    /// Where a damaged segment's bytes are kept, so that the readable records can go on without it. Without such a place
    /// damage refuses the opening.
    pub quarantine: Option<PathBuf>,
}

impl Default for JournalOptions {
    fn default() -> Self {
        JournalOptions {
            segment_bytes: SEGMENT_BYTES,
            queue_bytes_max: JOURNAL_QUEUE_BYTES_MAX,
            spares_max: JOURNAL_SPARES_MAX,
            quarantine: None,
        }
    }
}

/// Whether the journal still makes anything durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalHealth {
    /// Yes.
    Ok,
    /// Not before there is room on the disk again; says what was refused. What waits is written then (S9).
    Full(String),
    /// No, for this cause; only a restart, which verifies anew, can change that (S7).
    Failed(String),
}

/// The journal of this node. Cheap to clone; when the last clone goes, what is queued is still made durable.
#[derive(Clone)]
pub struct Journal {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.abandon();
        self.shared.patience.end();
    }
}

/// What the journal's threads and its handles have in common.
struct Shared {
    files: Arc<dyn Files>,
    dir: PathBuf,
    options: JournalOptions,
    /// Bytes that may still be queued. An entry's part is taken before it is queued and given back when it is durable.
    budget: Semaphore,
    queue: Queue,
    /// Taken before the queue's lock, never after it. Whoever is not the writer only tries to.
    pen: Mutex<Pen>,
    shelf: Shelf,
    /// Of synced records that are in the journal, active segment included.
    bytes_pending: AtomicU64,
    stats: Stats,
    health: watch::Sender<JournalHealth>,
    patience: Patience,
}

impl Shared {
    fn pen(&self) -> MutexGuard<'_, Pen> {
        // Whoever panicked with it has failed the journal or is about to.
        self.pen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// S9: the disk is full. Waits until it is worth another try; false when there will be none.
    fn wait_for_room(&self, refused: &JournalError) -> bool {
        self.health.send_if_modified(|health| {
            let is_news = *health == JournalHealth::Ok;
            if is_news {
                *health = JournalHealth::Full(refused.to_string());
            }
            is_news
        });
        self.patience.wait()
    }

    /// There was room.
    fn found_room(&self) {
        self.health.send_if_modified(|health| {
            let is_news = matches!(health, JournalHealth::Full(_));
            if is_news {
                *health = JournalHealth::Ok;
            }
            is_news
        });
    }

    /// S7: nothing more becomes durable. Who waits in the queue is told; the writer tells those it has taken.
    ///
    /// Refuse first, then publish, then tell: who learns of it finds it so.
    fn fail(&self, cause: &str) {
        queue::tell_failed(&mut self.refuse_all(cause));
    }

    /// As [`Shared::fail`], but for telling those who wait in the queue, which are given back.
    fn refuse_all(&self, cause: &str) -> VecDeque<Entry> {
        let refused = self.queue.fail(cause);
        self.budget.close();
        let is_first = self.health.send_if_modified(|health| {
            let is_first = !matches!(health, JournalHealth::Failed(_));
            if is_first {
                *health = JournalHealth::Failed(cause.to_owned());
            }
            is_first
        });
        if is_first {
            tracing::error!(cause, "the journal failed: edits are refused until a restart");
        }
        refused
    }
}

impl Journal {
    /// Opens the journal in `dir`, making the directory if there is none. Reads and verifies every record in it; what
    /// was found is in [`Journal::sealed`] to be replayed. Blocking.
    ///
    /// The caller makes sure that no other process has the directory open.
    ///
    /// A damaged segment is copied into [`JournalOptions::quarantine`], then replaced by one with its readable records; each
    /// is logged as an error and listed in [`Recovery::damaged`].
    ///
    /// Errors: `Corrupt` (only without a quarantine), `NewerVersion`, or `Io`; the first two, and any failure to read,
    /// leave everything as it was.
    pub fn open(dir: &Path, options: JournalOptions) -> Result<(Journal, Recovery), JournalError> {
        Journal::open_with(Arc::new(OsFiles), dir, options)
    }

    /// What is in `dir`, with every record read and verified, and nothing changed. Blocking. Damage is no error here.
    ///
    /// Errors: `NewerVersion`, `Io`.
    pub fn survey(dir: &Path) -> Result<Recovery, JournalError> {
        Ok(recovery::survey(&OsFiles, dir, true)?.1)
    }

    fn open_with(
        files: Arc<dyn Files>,
        dir: &Path,
        mut options: JournalOptions,
    ) -> Result<(Journal, Recovery), JournalError> {
        let segment_bytes = options.segment_bytes.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        options.segment_bytes = segment_bytes.next_multiple_of(SEGMENT_BYTES_MIN);
        options.queue_bytes_max = options.queue_bytes_max.clamp(JOURNAL_ENTRY_COST, u32::MAX as usize);

        create_dir(&*files, dir).map_err(JournalError::io("create", dir))?;
        let (found, mut recovery) = recovery::survey(&*files, dir, options.quarantine.is_some())?;
        let next = found.next;
        let shelf = recovery::settle(&*files, dir, found, &options, &mut recovery)?;
        recovery.log();

        let shared = Arc::new(Shared {
            files,
            dir: dir.to_owned(),
            budget: Semaphore::new(options.queue_bytes_max),
            options,
            queue: Queue::new(),
            pen: Mutex::default(),
            shelf,
            bytes_pending: AtomicU64::new(recovery.record_bytes),
            stats: Stats::default(),
            health: watch::Sender::new(JournalHealth::Ok),
            patience: Patience::default(),
        });
        let preparer = Preparer::start(shared.clone(), next).map_err(JournalError::io("start a thread for", dir))?;
        let writer = Writer::new(shared.clone(), preparer);
        thread::Builder::new()
            .name("weft-journal".into())
            .spawn(move || writer.run())
            .map_err(JournalError::io("start a thread for", dir))?;
        Ok((Journal { handle: Arc::new(Handle { shared }) }, recovery))
    }

    fn shared(&self) -> &Shared {
        &self.handle.shared
    }

    /// Queues records, all of one document and of rising `seq`, and returns once they are within the queue's byte
    /// budget,
    /// *not* once they are durable. For that, `sink.durable(last seq)` is called after the sync that covers all of
    /// them, or `sink.failed()` if there will be none. Without a sink nobody is woken.
    ///
    /// Appends by one task keep their order; a future dropped before it is ready has queued nothing. No records: no
    /// call.
    ///
    /// Errors: `RecordTooLarge` (nothing was queued), `Failed`, `Closed`; the sink is not called then.
    pub async fn append(&self, records: Vec<Record>, sink: Option<Arc<dyn DurableSink>>) -> Result<(), JournalError> {
        self.append_when(records, sink, false).await
    }

    /// As [`Journal::append`], for what nobody waits for yet: synced within [`JOURNAL_SYNC_PACE`], or when
    /// [`Journal::hurry`] asks for it.
    pub async fn append_lazily(
        &self,
        records: Vec<Record>,
        sink: Option<Arc<dyn DurableSink>>,
    ) -> Result<(), JournalError> {
        self.append_when(records, sink, true).await
    }

    /// Somebody waits for what was appended lazily.
    pub fn hurry(&self) {
        self.shared().queue.hurry();
    }

    async fn append_when(
        &self,
        records: Vec<Record>,
        sink: Option<Arc<dyn DurableSink>>,
        lazy: bool,
    ) -> Result<(), JournalError> {
        let Some(seq) = records.last().map(|record| record.seq) else {
            return Ok(());
        };
        debug_assert!(records.is_sorted_by(|a, b| a.doc == b.doc && a.seq < b.seq), "one document, rising");
        let mut bytes = JOURNAL_ENTRY_COST;
        for record in &records {
            let len = record.encoded_len();
            if len > JOURNAL_RECORD_BYTES_MAX {
                return Err(JournalError::RecordTooLarge { doc: record.doc.clone(), bytes: len });
            }
            bytes += len;
        }
        let (shared, since) = (self.shared(), Instant::now());
        let (cost, part) = self.budget(bytes).await?;
        let append = Append { records, sink, seq, cost, since, lazy };
        // Before the writer can see it, which counts it down.
        shared.stats.appended(append.records.len() as u64);
        if let Some(append) = self.write_through(append)? {
            shared.queue.push(Entry::Append(append))?;
        }
        part.forget();
        Ok(())
    }

    /// Writes an append here and now, if that takes no waiting, and gives it back otherwise. So no thread is woken for what
    /// nobody waits for, and no crash of the process loses what others are about to be shown.
    ///
    /// Errors: `Io`, and the journal has failed.
    fn write_through(&self, append: Append) -> Result<Option<Append>, JournalError> {
        let shared = self.shared();
        // The writer holds the pen while it works; what comes meanwhile becomes its next group.
        let Ok(mut pen) = shared.pen.try_lock() else { return Ok(Some(append)) };
        if !pen.has_room_for(&append) || !shared.queue.is_clear() {
            return Ok(Some(append));
        }
        match pen.write_through(&append) {
            Ok(()) => {}
            Err(error) if error.is_disk_full() => return Ok(Some(append)),
            Err(error) => {
                shared.fail(&error.to_string());
                return Err(error);
            }
        }
        let lazy = append.lazy;
        pen.owe(append);
        shared.stats.writing(pen.oldest());
        shared.queue.written(lazy);
        Ok(None)
    }

    /// Takes `bytes` from the budget, or all there is of it. Nothing may be awaited after that.
    async fn budget(&self, bytes: usize) -> Result<(usize, SemaphorePermit<'_>), JournalError> {
        let shared = self.shared();
        let cost = bytes.min(shared.options.queue_bytes_max);
        let part = shared.budget.acquire_many(cost as u32).await.map_err(|_| shared.queue.refusal())?;
        Ok((cost, part))
    }

    /// Seals the active segment if it holds any record. Once it returns, every record appended before the call is
    /// synced and in a segment that [`Journal::sealed`] lists (or that was removed since).
    ///
    /// Errors: `Failed`, `Closed`.
    pub async fn rotate(&self) -> Result<(), JournalError> {
        let (done, rotated) = oneshot::channel();
        let (cost, part) = self.budget(JOURNAL_ENTRY_COST).await?;
        self.shared().queue.push(Entry::Rotate { done, cost })?;
        part.forget();
        rotated.await.map_err(|_| self.shared().queue.refusal())
    }

    /// Segments that are complete and not removed, oldest first; also those found when opening.
    pub fn sealed(&self) -> Vec<SegmentId> {
        self.shared().shelf.sealed()
    }

    /// Reads a sealed segment. Blocking. Do not remove the segment before the reader is done: its file may get another
    /// use.
    ///
    /// Errors: `NoSuchSegment`, `Corrupt`, `Io`. A failed read does not fail the journal.
    pub fn read(&self, id: SegmentId) -> Result<SegmentReader, JournalError> {
        let shared = self.shared();
        let segment = shared.shelf.get(id).ok_or(JournalError::NoSuchSegment(id))?;
        SegmentReader::open(&*shared.files, &shared.dir, id, segment.end)
    }

    /// Removes sealed segments whose records are durable elsewhere (S4); numbers that are not sealed segments are
    /// passed over. Blocking. A crash meanwhile may bring some of them back, so replay must bear records it has seen.
    ///
    /// Errors: `Io`; the journal has failed then (S7), because what the directory holds is no longer known.
    pub fn remove(&self, ids: &[SegmentId]) -> Result<(), JournalError> {
        let shared = self.shared();
        let JournalOptions { segment_bytes, spares_max, .. } = shared.options;
        let removed = shared.shelf.remove(&*shared.files, &shared.dir, ids, segment_bytes, spares_max);
        let bytes = removed.inspect_err(|error| shared.fail(&error.to_string()))?;
        shared.bytes_pending.fetch_sub(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of durable records that are in the journal and not yet removed from it. Decides when to make a checkpoint.
    pub fn bytes_pending(&self) -> u64 {
        self.shared().bytes_pending.load(Ordering::Relaxed)
    }

    /// How it is doing.
    pub fn figures(&self) -> JournalFigures {
        self.shared().figures()
    }

    /// Whether it still works; may change between `Ok` and `Full`, and once to `Failed`.
    pub fn health(&self) -> watch::Receiver<JournalHealth> {
        self.shared().health.subscribe()
    }

    /// From now on nothing waits for room on a full disk: what would, fails the journal. For a process that is ending.
    pub fn stop_waiting(&self) {
        self.shared().patience.end();
    }

    /// Makes durable and seals what is queued, then ends the journal's threads. Later appends are refused with
    /// `Closed`. Closing twice is fine. On a full disk it does not wait for room.
    ///
    /// Errors: `Failed`.
    pub async fn close(&self) -> Result<(), JournalError> {
        let shared = self.shared();
        let closed = shared.queue.close();
        shared.patience.end();
        match closed? {
            Some(closed) => closed.await.map_err(|_| shared.queue.refusal()),
            None => Ok(()),
        }
    }
}

/// Makes a directory and those it is in, each synced into its parent: a journal that vanishes with its directory is
/// none.
fn create_dir(files: &dyn Files, dir: &Path) -> io::Result<()> {
    if files.dir_exists(dir) {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    create_dir(files, parent)?;
    files.create_dir(dir)?;
    files.sync_dir(parent)
}
