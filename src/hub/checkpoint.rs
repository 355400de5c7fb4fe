//! Carries the journal into the store (S4), and folds logs that have grown long (S6). Off the hot path.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

use super::admin::CompactReport;
use super::cut::{Cut, CutGuard};
use super::integrate::WholeLog;
use super::{HubError, Inner, quarantine};
use crate::ids::{DocName, Seq};
use crate::journal::{Body, DurableSink, JournalError, JournalHealth, Record};
use crate::limits::{
    CHECKPOINT_BATCH_BYTES, COMPACT_FULL_PAUSE, COMPACT_LOG_BYTES, COMPACT_LOG_RECORDS, COMPACT_QUEUE_MAX,
    ROTATE_ON_FULL_TIMEOUT, SPACE_LOOK_EVERY, WORKER_IDLE,
};
use crate::store::{Deletion, DocHead, LogAppend, Snapshot, StoreError, StoredDocument};

/// How many checkpoints have begun and ended; a document may sleep once one that began after its last record has ended.
pub(super) struct Checkpoints {
    begun: AtomicU64,
    done: watch::Sender<u64>,
    /// One at a time. Held by the checkpoint itself, so that one whose caller leaves keeps others out to its end.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Default for Checkpoints {
    fn default() -> Self {
        Self { begun: AtomicU64::new(0), done: watch::Sender::new(0), turn: Arc::default() }
    }
}

impl Checkpoints {
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    pub(super) fn done(&self) -> u64 {
        *self.done.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.done.subscribe()
    }
}

/// Documents whose logs have grown long.
#[derive(Default)]
pub(super) struct Compactions {
    waiting: Mutex<BTreeSet<DocName>>,
    arrived: Notify,
    /// One at a time: a fold takes memory for the whole document.
    pub(super) turn: tokio::sync::Mutex<()>,
}

impl Inner {
    /// Carries everything appended so far into the store, durably, and drops it from the journal.
    pub(super) async fn checkpoint(self: &Arc<Self>) -> Result<(), HubError> {
        let turn = self.checkpoints.turn.clone().lock_owned().await;
        self.checkpoint_in(turn).await.map(drop)
    }

    /// Makes this instant one whose documents can be read while they go on changing. Everything acked before is in it:
    /// it lies between two checkpoints, so the store holds a prefix of the journal.
    pub(super) async fn cut(self: &Arc<Self>) -> Result<CutGuard, HubError> {
        let turn = self.checkpoints.turn.clone().lock_owned().await;
        if self.cuts.current().is_some() {
            return Err(HubError::BackupRunning);
        }
        let _turn = self.checkpoint_in(turn).await?;
        self.cuts.begin().ok_or(HubError::BackupRunning)
    }

    /// In a task of its own: an admin who leaves, or a drain that ends what runs in the background, must not end a
    /// checkpoint between two of its steps, nor let another one begin beside it.
    async fn checkpoint_in(self: &Arc<Self>, turn: OwnedMutexGuard<()>) -> Result<OwnedMutexGuard<()>, HubError> {
        let hub = self.clone();
        let made = tokio::spawn(async move { hub.carry_all().await.map(|()| turn) });
        made.await.unwrap_or_else(|panic| Err(self.fail(&panic)))
    }

    async fn carry_all(self: &Arc<Self>) -> Result<(), HubError> {
        let number = self.checkpoints.begun.fetch_add(1, Ordering::SeqCst) + 1;
        self.space.check_fits(self.journal.bytes_pending())?;
        // Also syncs what is queued: a document may sleep on the word of this checkpoint.
        let is_whole = tokio::select! {
            rotated = self.journal.rotate() => rotated.map(|()| true).map_err(|e| self.fail(&e))?,
            // The journal waits for room. Segments that are sealed already can be carried over, which makes some.
            () = self.stuck() => false,
        };
        if !self.journal.sealed().is_empty() {
            let hub = self.clone();
            let started = Instant::now();
            let carried = tokio::task::spawn_blocking(move || carry(&hub)).await;
            let touched = match carried {
                Ok(Ok(touched)) => touched,
                Ok(Err(error)) => {
                    self.stats.checkpoint_errors.add(1);
                    return Err(match error {
                        CarryError::Store(error) => self.store_failed(&error),
                        error @ (CarryError::Journal(_) | CarryError::Aside(_)) => self.fail(&error),
                    });
                }
                Err(panic) => {
                    self.stats.checkpoint_errors.add(1);
                    return Err(self.fail(&panic));
                }
            };
            self.stats.checkpoints.observe(started.elapsed());
            debug!(documents = touched.len(), took_ms = started.elapsed().as_millis() as u64, "checkpoint");
            self.compactions.suggest(touched);
        }
        if !is_whole {
            return Err(self.space.error());
        }
        self.checkpoints.done.send_replace(number);
        Ok(())
    }

    /// Ends when the journal waits for room on a full disk, and does not come to what was asked of it.
    async fn stuck(&self) {
        let mut health = self.journal.health();
        loop {
            if health.wait_for(|health| matches!(health, JournalHealth::Full(_))).await.is_err() {
                return std::future::pending().await;
            }
            tokio::time::sleep(ROTATE_ON_FULL_TIMEOUT).await;
            if matches!(*health.borrow(), JournalHealth::Full(_)) {
                return;
            }
        }
    }

    /// For those who want to see everything in the store. After a failure, on a full disk, and while a vacuum keeps writers
    /// waiting, it still answers, with what the store has (S7, S9).
    pub(super) async fn checkpoint_if_possible(self: &Arc<Self>) -> Result<(), HubError> {
        if self.storage_has_failed() || self.vacuums.is_running() {
            return Ok(());
        }
        match self.checkpoint().await {
            Err(HubError::DiskFull(_)) => Ok(()),
            done => done,
        }
    }

    /// For those who cannot go on before everything is in the store: waits for room if need be.
    pub(super) async fn checkpoint_patiently(self: &Arc<Self>) -> Result<(), HubError> {
        loop {
            match self.checkpoint().await {
                Err(HubError::DiskFull(_)) => tokio::time::sleep(SPACE_LOOK_EVERY).await,
                done => return done,
            }
        }
    }

    /// Checkpoints whenever the journal has grown, or time has passed.
    pub(super) async fn checkpoint_forever(self: Arc<Self>) {
        const LOOK_EVERY: Duration = Duration::from_millis(250);
        let mut look = interval(LOOK_EVERY.min(self.options.checkpoint_every));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        loop {
            look.tick().await;
            // Even with nothing pending, sleepers wait for a checkpoint that began after their last record.
            let due = last.elapsed() >= self.options.checkpoint_every;
            if due || self.journal.bytes_pending() >= self.options.checkpoint_bytes {
                match self.checkpoint().await {
                    Ok(()) => last = Instant::now(),
                    // Comes again with the next look.
                    Err(HubError::DiskFull(why)) => debug!(why, "no checkpoint for want of room"),
                    Err(error) => {
                        error!(%error, "checkpoint failed");
                        return;
                    }
                }
            }
        }
    }

    /// Has `doc` folded some time if its log has grown long: nobody may have come to that before the server was stopped. Not at
    /// once, because others may be waiting for theirs to be opened.
    pub(super) fn suggest_fold(&self, doc: &DocName, head: &DocHead) {
        self.compactions.note(doc, head);
    }

    /// Folds suggested documents, one after the other.
    pub(super) async fn compact_forever(self: Arc<Self>) {
        loop {
            let Some(doc) = self.compactions.next() else {
                if tokio::time::timeout(WORKER_IDLE, self.compactions.arrived.notified()).await.is_err() {
                    self.integration.rest();
                }
                continue;
            };
            match self.fold(&doc, false).await {
                Ok(report) => {
                    let (before, after) =
                        (report.log_bytes + report.snapshot_bytes_before, report.snapshot_bytes_after);
                    debug!(?doc, before, after, took_ms = report.took_ms, "compacted");
                }
                Err(HubError::DiskFull(why)) => {
                    debug!(?doc, why, "not compacted for want of room");
                    self.compactions.put_back(doc);
                    tokio::time::sleep(COMPACT_FULL_PAUSE).await;
                }
                Err(error) => warn!(?doc, %error, "not compacted; its log stays as it is"),
            }
        }
    }

    /// Folds one document's stored log into a snapshot. With `dry_run` nothing is written.
    pub(super) async fn fold(self: &Arc<Self>, doc: &DocName, dry_run: bool) -> Result<CompactReport, HubError> {
        let _turn = self.compactions.turn.lock().await;
        let (hub, name) = (self.clone(), doc.clone());
        let began = Instant::now();
        let folded = tokio::task::spawn_blocking(move || fold(&hub, &name, dry_run)).await;
        let folded = folded.unwrap_or_else(|panic| Err(HubError::cannot_compact(doc, &panic)));
        match &folded {
            Ok(report) if report.written => self.stats.folds.observe(began.elapsed()),
            Ok(_) | Err(HubError::NoSuchDocument(_)) => {}
            Err(_) => self.stats.folds_failed.add(1),
        }
        folded
    }
}

impl Compactions {
    /// Puts documents on the list whose log is worth folding, and has that begun.
    fn suggest(&self, heads: Vec<(DocName, DocHead)>) {
        heads.iter().for_each(|(doc, head)| self.note(doc, head));
        if !self.waiting().is_empty() {
            self.arrived.notify_one();
        }
    }

    /// Puts a document on the list if its log is worth folding.
    fn note(&self, doc: &DocName, head: &DocHead) {
        if is_worth_folding(head) {
            let mut waiting = self.waiting();
            if waiting.len() < COMPACT_QUEUE_MAX {
                waiting.insert(doc.clone());
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<DocName>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, doc: DocName) {
        self.waiting().insert(doc);
    }

    fn next(&self) -> Option<DocName> {
        self.waiting().pop_first()
    }
}

/// A fold costs what the document is large; so it waits until the log has grown by half of that, or has many records.
fn is_worth_folding(head: &DocHead) -> bool {
    let large = head.log_bytes > COMPACT_LOG_BYTES && head.log_bytes > head.snapshot_bytes / 2;
    large || head.log_records > COMPACT_LOG_RECORDS
}

/// Which side of a checkpoint failed.
#[derive(Debug, thiserror::Error)]
enum CarryError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What cannot be stored could not be set aside either.
    #[error("failed to set updates aside: {0}")]
    Aside(String),
}

/// What the journal says of one document.
#[derive(Default)]
struct Gathered {
    deleted: Option<Deletion>,
    /// After the deletion, if there was one.
    updates: Vec<(Seq, Bytes)>,
}

/// Reads the sealed segments and appends what they hold to the store, coalesced to one record per document; makes the
/// store durable; only then removes the segments. Killed anywhere in between, it is done again: appends at or below a
/// document's last position are passed over (ST2).
///
/// A document that cannot be stored does not keep the others: see [`append_each`].
fn carry(hub: &Inner) -> Result<Vec<(DocName, DocHead)>, CarryError> {
    let (journal, store, cut) = (&hub.journal, &*hub.store, hub.cuts.current());
    let sealed = journal.sealed();
    let mut touched = BTreeSet::new();
    let mut gathered = BTreeMap::<DocName, Gathered>::new();
    let mut gathered_bytes = 0;
    for &segment in &sealed {
        for record in journal.read(segment)? {
            let Record { doc, seq, body } = record?;
            match body {
                Body::Update(update) => {
                    gathered_bytes += update.len();
                    gathered.entry(doc).or_default().updates.push((seq, update));
                }
                // What was gathered before it need not be stored any more.
                Body::Deleted { at_ms } => {
                    let deleted = Some(Deletion { doc: doc.clone(), seq, at_ms });
                    gathered.insert(doc, Gathered { deleted, updates: Vec::new() });
                }
            }
            if gathered_bytes >= CHECKPOINT_BATCH_BYTES {
                store_gathered(hub, cut.as_deref(), &mut gathered, &mut touched)?;
                gathered_bytes = 0;
            }
        }
    }
    store_gathered(hub, cut.as_deref(), &mut gathered, &mut touched)?;
    store.make_durable()?;
    journal.remove(&sealed)?;
    let mut heads = Vec::with_capacity(touched.len());
    for doc in touched {
        match store.head(&doc) {
            Ok(Some(head)) => heads.push((doc, head)),
            Ok(None) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(heads)
}

/// Deletions first: what else was gathered of a document came after its deletion.
fn store_gathered(
    hub: &Inner,
    cut: Option<&Cut>,
    gathered: &mut BTreeMap<DocName, Gathered>,
    touched: &mut BTreeSet<DocName>,
) -> Result<(), CarryError> {
    let (mut deletions, mut appends) = (Vec::new(), Vec::with_capacity(gathered.len()));
    for (doc, Gathered { deleted, updates }) in std::mem::take(gathered) {
        touched.insert(doc.clone());
        deletions.extend(deleted);
        appends.push(LogAppend { doc, updates });
    }
    if let Some(cut) = cut {
        // What is to be deleted goes first: once it was read, there is nothing to note of it.
        cut.release(deletions.iter().map(|deletion| &deletion.doc));
        cut.note(&*hub.store, appends.iter().map(|append| &append.doc))?;
    }
    if !deletions.is_empty() {
        hub.store.delete(&deletions)?;
    }
    match hub.store.append(&appends, now_ms()) {
        Ok(()) => Ok(()),
        // Nothing was written. Some document is damaged, or misses updates that a damaged journal has lost.
        Err(StoreError::Damaged { .. }) => append_each(hub, appends),
        Err(error) => Err(error.into()),
    }
}

/// Appends document by document. One that misses updates goes on without them; the updates of one that cannot be stored
/// at all are kept in quarantine, and it is refused until it is repaired.
fn append_each(hub: &Inner, appends: Vec<LogAppend>) -> Result<(), CarryError> {
    let store = &*hub.store;
    for mut append in appends {
        let why = match store.append(std::slice::from_ref(&append), now_ms()) {
            Ok(()) => continue,
            Err(error @ StoreError::Damaged { .. }) => error,
            Err(error) => return Err(error.into()),
        };
        let last = match store.head(&append.doc) {
            Ok(head) => head.map_or(Seq::ZERO, |head| head.last_seq),
            Err(StoreError::Damaged { .. }) => {
                set_aside(hub, append, &why)?;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Some((after, missing)) = close_gaps(last, &mut append.updates) {
            error!(
                doc = ?append.doc, after = after.0, missing,
                "updates of this document are missing in the journal; those after them are kept, and wait for them"
            );
        }
        match store.append(std::slice::from_ref(&append), now_ms()) {
            Ok(()) => {}
            Err(error @ StoreError::Damaged { .. }) => set_aside(hub, append, &error)?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Gives updates positions that follow on `last` without a gap; those the store has already are left out. Returns after
/// which position the first gap was, and how many positions are missing altogether.
///
/// What a lost update held stays lost, but it must not hold up what came after it: updates are idempotent, and replicas
/// park those that miss a predecessor. A position given here is never larger than the update's own. So, should a crash
/// lead to the same being done again, no update is taken for stored that is not; at worst one is stored twice.
fn close_gaps(last: Seq, updates: &mut Vec<(Seq, Bytes)>) -> Option<(Seq, u64)> {
    updates.retain(|(seq, _)| *seq > last);
    let (mut next, mut first_gap) = (last, None);
    for (seq, _) in updates {
        let before = next;
        next = next.next();
        if *seq != next {
            first_gap = Some((first_gap.map_or(before, |(at, _)| at), seq.0.saturating_sub(next.0)));
        }
        *seq = next;
    }
    first_gap
}

/// Keeps the updates of a document that cannot be stored, and lets nobody add to it.
fn set_aside(hub: &Inner, append: LogAppend, why: &StoreError) -> Result<(), CarryError> {
    let LogAppend { doc, updates } = append;
    let Some(quarantine) = &hub.options.quarantine else { return Err(CarryError::Aside(why.to_string())) };
    hub.stats.set_aside.add(1);
    let kept = quarantine::keep_journal(quarantine, &doc, &why.to_string(), &updates)
        .map_err(|error| CarryError::Aside(error.to_string()))?;
    error!(
        ?doc, %why, updates = updates.len(), kept_in = %kept.display(),
        "acknowledged edits cannot be stored and are kept aside; `weft verify --repair` brings them back"
    );
    if let Some(mailbox) = hub.awake().get(&doc) {
        mailbox.failed();
    }
    Ok(())
}

fn fold(hub: &Inner, doc: &DocName, dry_run: bool) -> Result<CompactReport, HubError> {
    let (store, started) = (&*hub.store, Instant::now());
    let failed = |error: &dyn std::fmt::Display| HubError::cannot_compact(doc, error);
    let load = || store.load(doc).map_err(|e| failed(&e))?.ok_or_else(|| HubError::NoSuchDocument(doc.clone()));
    let mut stored = load()?;
    let head = stored.head.clone();
    if let Some(deleted_ms) = head.deleted_ms {
        return Err(HubError::Deleted { doc: doc.clone(), deleted_ms });
    }
    let mut report = CompactReport {
        name: doc.clone(),
        log_records: head.log_records,
        log_bytes: head.log_bytes,
        snapshot_bytes_before: head.snapshot_bytes,
        snapshot_bytes_after: head.snapshot_bytes,
        written: false,
        took_ms: 0,
    };
    if let Some(limit) = hub.cuts.current().and_then(|cut| cut.fold_limit(doc)) {
        stored.log.retain(|(seq, _)| *seq <= limit);
    }
    // Only what was read may be replaced; more may have been appended since.
    if let Some((covers, _)) = stored.log.last() {
        let covers = *covers;
        let mut stored = Some(stored);
        let folded = hub.fold_log(doc, || {
            let stored = stored.take().map_or_else(load, Ok)?;
            match stored.head.snapshot_seq == head.snapshot_seq && stored.head.deleted_ms.is_none() {
                true => Ok(log_up_to(stored, covers)),
                false => Err(failed(&"it has become another document meanwhile")),
            }
        })?;
        report.snapshot_bytes_after = folded.bytes() as u64;
        if !dry_run {
            let snapshot = Snapshot { covers, updates: folded.updates };
            hub.space.check_fits(report.snapshot_bytes_after)?;
            store.install_snapshot(doc, &snapshot, now_ms()).map_err(|error| match error {
                // No checkpoint will succeed either (S7).
                StoreError::DiskFull { .. } | StoreError::Engine { .. } => hub.store_failed(&error),
                StoreError::Damaged { .. } => failed(&error),
            })?;
            hub.senders.forget(doc, covers);
            report.written = true;
        }
    }
    report.took_ms = started.elapsed().as_millis() as u64;
    Ok(report)
}

fn log_up_to(stored: StoredDocument, covers: Seq) -> WholeLog {
    let snapshot = stored.snapshot.into_iter().map(|update| (None, update));
    let log = stored.log.into_iter().take_while(|(seq, _)| *seq <= covers);
    snapshot.chain(log.map(|(seq, update)| (Some(seq), update))).collect()
}

pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What opening found in the journal, for the log.
pub(super) fn log_recovery(pending: u64, took: Duration) {
    if pending > 0 {
        info!(bytes = pending, took_ms = took.as_millis() as u64, "journal replayed into the store");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(seqs: &[u64]) -> Vec<(Seq, Bytes)> {
        seqs.iter().map(|seq| (Seq(*seq), Bytes::from(seq.to_string()))).collect()
    }

    #[test]
    fn gaps_are_closed_and_nothing_that_is_not_stored_is_passed_over() {
        let mut updates = numbered(&[4, 5, 7, 8, 12]);
        assert_eq!(close_gaps(Seq(4), &mut updates), Some((Seq(5), 4)));
        let stored: Vec<(u64, &[u8])> = updates.iter().map(|(seq, update)| (seq.0, &update[..])).collect();
        assert_eq!(stored, [(5, &b"5"[..]), (6, b"7"), (7, b"8"), (8, b"12")]);
        assert_eq!(close_gaps(Seq(3), &mut numbered(&[4, 5])), None);
        assert_eq!(close_gaps(Seq(9), &mut numbered(&[4, 5])), None);

        // A crash after any number of these were stored: the same again leaves out none of the others.
        let own = [6, 9, 10, 15];
        for stored in 0..=own.len() {
            let mut updates = numbered(&own);
            close_gaps(Seq(5), &mut updates);
            let last = updates.get(..stored).and_then(|stored| stored.last()).map_or(Seq(5), |(seq, _)| *seq);
            let mut again = numbered(&own);
            close_gaps(last, &mut again);
            for missing in &updates[stored..] {
                assert!(again.iter().any(|(_, update)| update == &missing.1), "{stored}: {missing:?}");
            }
        }
    }
}
