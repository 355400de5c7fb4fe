//! Which documents are awake; one task feeds each one.
//!
//! [`Hub::join`] wakes a document by putting a mailbox on the map and starting its task; whoever comes while it loads
//! just adds to the mailbox, so a document is loaded once. A sleeping document is whole in the store: its task only ends
//! after a checkpoint has carried its records there. Removing a mailbox from the map and closing it happen under the
//! map's lock while the mailbox is empty, so nobody can post into a mailbox that nobody will read.
//!
//! Lock order: the map, then a mailbox. Neither is held across an await.

mod addresses;
pub mod admin;
mod backup;
mod checkpoint;
mod cost;
mod cut;
pub mod figures;
mod import;
mod integrate;
mod mailbox;
pub mod peer;
mod pressure;
mod quarantine;
mod senders;
mod space;
mod task;
mod tombstone;
mod unread;
mod vacuum;
mod verify;

use std::collections::HashMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::AbortHandle;

pub use self::admin::{
    CompactReport, DeleteReport, DocReport, DocSummary, ImportReport, ListQuery, StorageReport, VacuumReport,
};
pub use self::backup::BackupPieces;
pub use self::figures::{DocActivity, Figures};
pub use self::peer::{Charge, Delivery, FrameKind, PeerHandle, PeerSink};
pub use self::quarantine::KeptUpdate;
pub use self::senders::Sender;
pub use self::space::Disk;
pub use self::verify::{VerifyPage, VerifyProblem, VerifyQuery, VerifyReport};
pub use crate::replica::Backlog;
pub use crate::replica::size::SizeMax;
pub use crate::store::{DamagedEntry, VacuumProgress};

use self::checkpoint::{Checkpoints, Compactions};
use self::cut::Cuts;
use self::figures::Stats;
use self::integrate::Integration;
use self::mailbox::{Closed, Mail, Mailbox, Query, Reply};
use self::pressure::Pressure;
use self::senders::Senders;
use self::space::Space;
use self::task::Task;
use self::vacuum::Vacuums;
use crate::budget::Rates;
use crate::ids::{Access, DocName, PeerId};
use crate::journal::{DurableSink, Journal, JournalHealth};
use crate::limits::{CHECKPOINT_BYTES, CHECKPOINT_EVERY, DOCUMENTS_OPEN_MAX, IDLE_AFTER, LOADS_MAX, READINGS_SHARE};
use crate::replica::content::Content;
use crate::store::{DocHead, Listed, Store, StoreError};
use crate::wire::close::CloseReason;
use crate::wire::dialect::Address;
use crate::wire::state_vector;
use crate::worker::Isolation;

/// Everything that wakes, feeds and puts to sleep documents. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    journal: Journal,
    store: Arc<dyn Store>,
    options: HubOptions,
    awake: Mutex<HashMap<DocName, Arc<Mailbox>>>,
    next_peer: AtomicU64,
    draining: watch::Sender<bool>,
    failure: Mutex<Option<String>>,
    loads: Semaphore,
    /// Of documents whose newcomers have been answered.
    readings: Semaphore,
    space: Space,
    pressure: Pressure,
    checkpoints: Checkpoints,
    compactions: Compactions,
    integration: Integration,
    senders: Senders,
    vacuums: Vacuums,
    stats: Stats,
    cuts: Arc<Cuts>,
    /// What runs beside the documents' tasks, ended by a drain.
    background: Mutex<Vec<AbortHandle>>,
}

/// How the hub behaves.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// A document without peers sleeps after this.
    pub idle_after: Duration,
    /// Longest time between two checkpoints.
    pub checkpoint_every: Duration,
    /// Journal bytes that cause a checkpoint earlier.
    pub checkpoint_bytes: u64,
    /// Where bytes are kept that cannot be stored, read or integrated; `None` drops them.
    pub quarantine: Option<PathBuf>,
    /// Where updates are integrated.
    pub isolation: Isolation,
    /// Where journal and store are, to be watched for free space (S9). `None` watches nothing, and then a full disk is not
    /// waited out: what needs room fails.
    pub disk: Option<Disk>,
    /// What one document may cost; over it, those who write to it wait.
    pub rates: Rates,
    /// Documents awake at once; further ones are not woken for clients. What is asked by admins is not refused.
    pub documents_max: usize,
    /// Memory of this process, bytes, beyond which nobody joins a document; `None` for any.
    pub memory_max: Option<u64>,
    /// How large clients may make a document.
    pub size_max: SizeMax,
}

impl Default for HubOptions {
    fn default() -> Self {
        Self {
            idle_after: IDLE_AFTER,
            checkpoint_every: CHECKPOINT_EVERY,
            checkpoint_bytes: CHECKPOINT_BYTES,
            quarantine: None,
            isolation: Isolation::None,
            disk: None,
            rates: Rates::default(),
            documents_max: DOCUMENTS_OPEN_MAX,
            memory_max: None,
            size_max: SizeMax::default(),
        }
    }
}

/// Why the hub could not do what was asked. A variant exists where a caller branches on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HubError {
    /// Nothing is stored under this name.
    #[error("document {0:?} does not exist")]
    NoSuchDocument(DocName),
    /// It was deleted; only an import makes it anew.
    #[error("document {doc:?} was deleted")]
    Deleted {
        /// The document.
        doc: DocName,
        /// When, milliseconds since 1970.
        deleted_ms: u64,
    },
    /// The server is draining.
    #[error("the server is shutting down")]
    Draining,
    /// The document's task ended and it is being loaded anew; try again.
    #[error("document {0:?} is being reloaded")]
    Reloading(DocName),
    /// Storage failed; only a restart leaves this state (S7).
    #[error("storage failed: {0}")]
    Storage(String),
    /// There is no room for it now; once there is, it works again (S9).
    #[error("the disk is full: {0}")]
    DiskFull(String),
    /// What the document says cannot be read; it is served all the same.
    #[error("what document {doc:?} says cannot be read: {why}")]
    CannotRead {
        /// The document.
        doc: DocName,
        /// Why.
        why: String,
    },
    /// The document's stored form does not load.
    #[error("document {doc:?} cannot be opened: {why}")]
    CannotOpen {
        /// The document.
        doc: DocName,
        /// What is wrong.
        why: String,
    },
    /// The document was not compacted; its log is untouched.
    #[error("document {doc:?} cannot be compacted: {why}")]
    CannotCompact {
        /// The document.
        doc: DocName,
        /// What is wrong.
        why: String,
    },
    /// No space was given back; the store is as it was.
    #[error("the store cannot be vacuumed: {0}")]
    CannotVacuum(String),
    /// The bytes offered are not an acceptable update or state vector.
    #[error("the update is refused: {0}")]
    BadUpdate(String),
    /// As many documents are awake as may be.
    #[error("too many documents are open")]
    TooManyDocuments,
    /// The process has as much memory as it may.
    #[error("the server has as much memory in use as it may")]
    MemoryFull,
    /// One at a time.
    #[error("another backup is being taken")]
    BackupRunning,
}

impl HubError {
    fn cannot_open(doc: &DocName, why: &dyn Display) -> Self {
        Self::CannotOpen { doc: doc.clone(), why: why.to_string() }
    }

    fn cannot_compact(doc: &DocName, why: &dyn Display) -> Self {
        Self::CannotCompact { doc: doc.clone(), why: why.to_string() }
    }

    fn close_reason(&self) -> CloseReason {
        match self {
            HubError::Draining => CloseReason::Restart,
            HubError::Reloading(_) => CloseReason::Reload,
            HubError::Deleted { .. } => CloseReason::Deleted,
            HubError::DiskFull(_) => CloseReason::DiskFull,
            HubError::CannotOpen { .. } => CloseReason::Unreadable,
            HubError::TooManyDocuments | HubError::MemoryFull => CloseReason::Overloaded,
            HubError::Storage(_)
            | HubError::CannotCompact { .. }
            | HubError::CannotRead { .. }
            | HubError::CannotVacuum(_)
            | HubError::NoSuchDocument(_)
            | HubError::BadUpdate(_)
            | HubError::BackupRunning => CloseReason::StorageFailed,
        }
    }
}

/// Whether new edits can be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All is well.
    Ready,
    /// Shutting down.
    Draining,
    /// Storage failed, with the cause.
    StorageFailed(String),
    /// The disk is full, and that may pass; says how full (S9).
    DiskFull(String),
}

impl Hub {
    /// Starts with an opened journal and store, within a tokio runtime whose threads have stacks of at least 16 MiB
    /// (DEPENDENCIES, safe use 6). Replays what the journal still holds into the store before it returns.
    ///
    /// # Errors
    /// [`HubError::Storage`] when that replay fails, [`HubError::DiskFull`] when there is no room for it.
    pub async fn start(journal: Journal, store: Arc<dyn Store>, options: HubOptions) -> Result<Hub, HubError> {
        let inner = Arc::new(Inner {
            journal,
            store,
            space: Space::new(options.disk.clone()),
            pressure: Pressure::new(options.documents_max, options.memory_max),
            integration: Integration::new(options.isolation.clone(), options.quarantine.as_deref()),
            options,
            awake: Mutex::default(),
            next_peer: AtomicU64::new(1),
            draining: watch::Sender::new(false),
            failure: Mutex::default(),
            loads: Semaphore::new(LOADS_MAX),
            readings: Semaphore::new((available_parallelism().map_or(1, usize::from) / READINGS_SHARE).max(1)),
            checkpoints: Checkpoints::default(),
            compactions: Compactions::default(),
            senders: Senders::default(),
            vacuums: Vacuums::default(),
            stats: Stats::default(),
            cuts: Arc::default(),
            background: Mutex::default(),
        });
        if inner.options.disk.is_none() {
            // A command that a person waits for is to say that the disk is full, not to wait for room (S9).
            inner.journal.stop_waiting();
        }
        let (started, pending) = (Instant::now(), inner.journal.bytes_pending());
        inner.checkpoint().await?;
        checkpoint::log_recovery(pending, started.elapsed());
        let background = [
            tokio::spawn(inner.clone().checkpoint_forever()).abort_handle(),
            tokio::spawn(inner.clone().compact_forever()).abort_handle(),
            tokio::spawn(inner.clone().watch_journal()).abort_handle(),
            tokio::spawn(inner.clone().watch_space()).abort_handle(),
            tokio::spawn(inner.clone().relieve_forever()).abort_handle(),
            tokio::spawn(inner.clone().watch_memory()).abort_handle(),
        ];
        inner.background().extend(background);
        Ok(Hub { inner })
    }

    /// Joins a document, waking it if it sleeps. What it has to say arrives at `sink`, in frames with this address; should
    /// it not open, the sink is closed. Whatever a peer with [`Access::Read`] sends, it changes nothing.
    ///
    /// # Errors
    /// [`HubError::Draining`], [`HubError::TooManyDocuments`], [`HubError::MemoryFull`].
    pub fn join(
        &self,
        doc: &DocName,
        access: Access,
        address: Address,
        sink: Arc<dyn PeerSink>,
    ) -> Result<PeerHandle, HubError> {
        self.inner.admit(doc)?;
        let id = PeerId(self.inner.next_peer.fetch_add(1, Ordering::Relaxed));
        let mailbox = self.inner.post(doc, Mail::Join(id, access, address, sink))?;
        Ok(PeerHandle { id, mailbox })
    }

    /// Wakes a document, and returns when it can be joined: for those who must know before they let anybody in.
    ///
    /// # Errors
    /// [`HubError::Deleted`], [`HubError::TooManyDocuments`], [`HubError::MemoryFull`], and whatever keeps it from being opened.
    pub async fn open(&self, doc: &DocName) -> Result<(), HubError> {
        self.inner.admit(doc)?;
        self.ask(doc, Query::StateVector).await.map(drop)
    }

    /// Whether something is stored under this name, or somebody has it open.
    ///
    /// # Errors
    /// [`HubError::NoSuchDocument`], [`HubError::Deleted`], and whatever keeps it from being opened.
    pub async fn exists(&self, doc: &DocName) -> Result<(), HubError> {
        self.must_exist(doc).await?;
        // What is awake may be a tombstone.
        self.open(doc).await
    }

    /// For `/ready`.
    pub fn readiness(&self) -> Readiness {
        if self.inner.is_draining() {
            return Readiness::Draining;
        }
        if let Some(cause) = &*self.inner.failure() {
            return Readiness::StorageFailed(cause.clone());
        }
        self.inner.space.why().map_or(Readiness::Ready, Readiness::DiskFull)
    }

    /// Lists stored documents, or tombstones, sorted by the bytes of their names.
    pub async fn list(&self, query: ListQuery) -> Result<Vec<DocSummary>, HubError> {
        self.inner.checkpoint_if_possible().await?;
        let limit = query.limit.unwrap_or(usize::MAX);
        let which = if query.deleted { Listed::Deleted } else { Listed::Live };
        let listed =
            self.inner.in_store(move |store| store.list(which, &query.prefix, query.after.as_ref(), limit)).await?;
        let awake = self.inner.awake();
        let summarise = |(name, head): (DocName, _)| {
            let peers = awake.get(&name).map_or(0, |mailbox| mailbox.peers());
            DocSummary::new(name, &head, peers)
        };
        Ok(listed.into_iter().map(summarise).collect())
    }

    /// All about one document.
    pub async fn show(&self, doc: &DocName) -> Result<DocReport, HubError> {
        self.must_exist(doc).await?;
        self.inner.checkpoint_if_possible().await?;
        let census = self.ask(doc, Query::Census).await?;
        let state = self.encode(doc, None).await?;
        let name = doc.clone();
        let stored = move |store: &dyn Store| Ok((store.head(&name)?, store.live_bytes_of(&name)?));
        let (head, live_bytes) = self.inner.in_store(stored).await?;
        Ok(DocReport::new(doc, head, live_bytes, &census, &state))
    }

    /// The diff that answers state vector `sv` (v1 bytes); the whole state without one.
    pub async fn encode(&self, doc: &DocName, sv: Option<Bytes>) -> Result<Bytes, HubError> {
        self.must_exist(doc).await?;
        let sv = sv.unwrap_or_else(|| Bytes::from_static(&[0]));
        state_vector::validate(&sv).map_err(|e| HubError::BadUpdate(format!("state vector: {e}")))?;
        self.ask(doc, |reply| Query::Diff(sv, reply)).await
    }

    /// The state vector, v1 bytes.
    pub async fn state_vector(&self, doc: &DocName) -> Result<Bytes, HubError> {
        self.must_exist(doc).await?;
        self.ask(doc, Query::StateVector).await
    }

    /// The shared types as JSON.
    pub async fn content(&self, doc: &DocName) -> Result<serde_json::Value, HubError> {
        Ok(self.read(doc).await?.to_json())
    }

    /// The text of the document's text types.
    pub async fn text(&self, doc: &DocName) -> Result<String, HubError> {
        Ok(self.read(doc).await?.to_text())
    }

    async fn read(&self, doc: &DocName) -> Result<Content, HubError> {
        let state = self.encode(doc, None).await?;
        let (inner, name) = (self.inner.clone(), doc.clone());
        let read = tokio::task::spawn_blocking(move || inner.read_content(&name, &state)).await;
        read.unwrap_or_else(|panic| Err(HubError::CannotRead { doc: doc.clone(), why: panic.to_string() }))
    }

    /// Deletes a document; returns when that is durable. Its peers are closed with [`CloseReason::Deleted`], and so is
    /// whoever comes later with a copy of it. Only [`Hub::import`] makes it anew.
    ///
    /// # Errors
    /// [`HubError::NoSuchDocument`], also when it is deleted already [`HubError::Deleted`], and [`HubError::Storage`],
    /// when it may or may not come to be deleted.
    pub async fn delete(&self, doc: &DocName) -> Result<DeleteReport, HubError> {
        self.must_exist(doc).await?;
        let (reply, answer) = oneshot::channel();
        self.inner.post(doc, Mail::Delete(reply))?;
        answer.await.map_err(|_| HubError::Reloading(doc.clone()))?
    }

    /// Sends a text to all Hocuspocus clients of the document, and says how many those are. It is not kept: whoever comes
    /// later has missed it.
    ///
    /// # Errors
    /// [`HubError::NoSuchDocument`], [`HubError::Deleted`].
    pub async fn broadcast_stateless(&self, doc: &DocName, text: Bytes) -> Result<u64, HubError> {
        let awake = self.inner.awake().get(doc).cloned();
        let Some(mailbox) = awake else { return self.must_exist(doc).await.map(|()| 0) };
        let (reply, answer) = oneshot::channel();
        mailbox.post(Mail::Stateless(text, reply)).map_err(|_| HubError::Reloading(doc.clone()))?;
        answer.await.map_err(|_| HubError::Reloading(doc.clone()))?
    }

    /// Folds the document's log into a snapshot; with `dry_run` only says what it would do.
    pub async fn compact(&self, doc: &DocName, dry_run: bool) -> Result<CompactReport, HubError> {
        // On a full disk, what is in the store already may still be worth folding.
        self.inner.checkpoint_if_possible().await?;
        self.inner.fold(doc, dry_run).await
    }

    /// Begins a backup of all documents as they are at one instant, in the format of [`crate::backup`].
    ///
    /// Everything acked before this call is in it, and all of it is a prefix of the journal: whoever waited for the ack
    /// of one edit before making another, in whatever document, finds the other in it only together with the one.
    /// Editing, checkpoints and compactions go on meanwhile. A document that cannot be read is named in it and left out.
    /// The list of revoked tokens, which is not the hub's, is handed through; empty where there is none.
    ///
    /// # Errors
    /// [`HubError::BackupRunning`]; [`HubError::Storage`], also when it failed earlier.
    pub async fn backup(&self, revoked: Vec<u8>) -> Result<BackupPieces, HubError> {
        self.inner.backup(revoked).await
    }

    /// Refuses new work, ends every document's task, carries the journal into the store and closes it. Sessions should
    /// have been closed before.
    pub async fn drain(&self) -> Result<(), HubError> {
        self.inner.draining.send_replace(true);
        // Nothing that still waits for room is acked, and nobody may be kept waiting.
        self.inner.journal.stop_waiting();
        let mailboxes: Vec<_> = self.inner.awake().values().cloned().collect();
        for mailbox in mailboxes {
            let (stopping, stopped) = oneshot::channel();
            if mailbox.post(Mail::Stop(stopping)).is_ok() {
                // An error means that the task has ended by itself.
                let _ = stopped.await;
            }
        }
        for task in self.inner.background().drain(..) {
            task.abort();
        }
        if let Some(cause) = &*self.inner.failure() {
            return Err(HubError::Storage(cause.clone()));
        }
        if let Err(error) = self.inner.checkpoint().await {
            match error {
                // All that was acked is in the journal, and is carried over by the next start.
                HubError::DiskFull(why) => tracing::warn!(why, "the disk is full: the journal stays as it is"),
                other => return Err(other),
            }
        }
        self.inner.journal.close().await.map_err(|e| self.inner.fail(&e))
    }

    /// Number of documents awake now.
    pub fn documents_awake(&self) -> usize {
        self.inner.awake().len()
    }

    async fn must_exist(&self, doc: &DocName) -> Result<(), HubError> {
        if self.inner.awake().contains_key(doc) {
            return Ok(());
        }
        let name = doc.clone();
        match self.inner.in_store(move |store| store.head(&name)).await? {
            Some(DocHead { deleted_ms: Some(deleted_ms), .. }) => {
                Err(HubError::Deleted { doc: doc.clone(), deleted_ms })
            }
            Some(_) => Ok(()),
            None => Err(HubError::NoSuchDocument(doc.clone())),
        }
    }

    async fn ask<T>(&self, doc: &DocName, query: impl FnOnce(Reply<T>) -> Query) -> Result<T, HubError> {
        let (reply, answer) = oneshot::channel();
        self.inner.post(doc, Mail::Query(query(reply)))?;
        answer.await.map_err(|_| HubError::Reloading(doc.clone()))?
    }
}

impl Inner {
    /// The document's mailbox, with a task that reads it.
    fn mailbox(self: &Arc<Self>, doc: &DocName) -> Result<Arc<Mailbox>, HubError> {
        self.mailbox_in(&mut self.awake(), doc)
    }

    /// Puts mail into the document's mailbox, waking the document if it sleeps.
    fn post(self: &Arc<Self>, doc: &DocName, mail: Mail) -> Result<Arc<Mailbox>, HubError> {
        // Under the map's lock, where no mailbox can close for being empty.
        let mut awake = self.awake();
        let mailbox = self.mailbox_in(&mut awake, doc)?;
        mailbox.post(mail).map_err(|Closed| HubError::Reloading(doc.clone()))?;
        Ok(mailbox)
    }

    fn mailbox_in(
        self: &Arc<Self>,
        awake: &mut HashMap<DocName, Arc<Mailbox>>,
        doc: &DocName,
    ) -> Result<Arc<Mailbox>, HubError> {
        if self.is_draining() {
            return Err(HubError::Draining);
        }
        if let Some(mailbox) = awake.get(doc) {
            return Ok(mailbox.clone());
        }
        let mailbox = Arc::new(Mailbox::new(doc.clone()));
        if self.failure().is_some() {
            mailbox.failed();
        }
        awake.insert(doc.clone(), mailbox.clone());
        self.pressure.note(awake.len());
        tokio::spawn(Task::run(self.clone(), mailbox.clone()));
        Ok(mailbox)
    }

    /// Takes the mailbox off the map and turns away whoever is in it.
    fn forget(&self, mailbox: &Arc<Mailbox>, error: &HubError) {
        let left = {
            let mut awake = self.awake();
            if awake.get(&mailbox.doc).is_some_and(|current| Arc::ptr_eq(current, mailbox)) {
                awake.remove(&mailbox.doc);
                self.pressure.note(awake.len());
            }
            mailbox.close()
        };
        left.turn_away(error);
    }

    /// Takes the mailbox off the map unless something has come into it.
    fn forget_if_empty(&self, mailbox: &Arc<Mailbox>) -> bool {
        let mut awake = self.awake();
        let closed = mailbox.close_if_empty();
        if closed {
            awake.remove(&mailbox.doc);
            self.pressure.note(awake.len());
        }
        closed
    }

    async fn in_store<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, HubError> {
        let store = self.store.clone();
        let done = match tokio::task::spawn_blocking(move || work(&*store)).await {
            Ok(result) => result.map_err(|e| match e {
                StoreError::Damaged { ref doc, .. } => HubError::cannot_open(doc, &e),
                StoreError::Engine { .. } | StoreError::DiskFull { .. } => HubError::Storage(e.to_string()),
            }),
            Err(panic) => Err(HubError::Storage(panic.to_string())),
        };
        done.inspect_err(|_| self.stats.read_errors.add(1))
    }

    /// Notes that storage failed, and tells every document (S7).
    fn fail(&self, cause: &dyn Display) -> HubError {
        let cause = self.failure().get_or_insert_with(|| cause.to_string()).clone();
        for mailbox in self.awake().values() {
            mailbox.failed();
        }
        HubError::Storage(cause)
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    fn storage_has_failed(&self) -> bool {
        self.failure().is_some()
    }

    fn storage_error(&self) -> HubError {
        HubError::Storage(self.failure().clone().unwrap_or_else(|| "the journal has failed".to_owned()))
    }

    async fn watch_journal(self: Arc<Self>) {
        let mut health = self.journal.health();
        let failed = health.wait_for(|health| matches!(health, JournalHealth::Failed(_))).await;
        let cause = match failed.as_deref() {
            Ok(JournalHealth::Failed(cause)) => cause.clone(),
            // The journal was closed.
            Ok(JournalHealth::Ok | JournalHealth::Full(_)) | Err(_) => return,
        };
        tracing::error!(cause, "journal failed: writes are refused until a restart");
        self.stats.journal_errors.add(1);
        self.fail(&cause);
    }

    fn awake(&self) -> MutexGuard<'_, HashMap<DocName, Arc<Mailbox>>> {
        // Nothing under this lock can leave the map half changed.
        self.awake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn background(&self) -> MutexGuard<'_, Vec<AbortHandle>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
