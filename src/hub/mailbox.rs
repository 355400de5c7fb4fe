//! Where everything for one document waits until its task takes all of it at once.
//!
//! Bounded in bytes ([`INBOX_BYTES_MAX`]): a session that finds no room waits, and then its socket waits too. Messages of
//! a turn share one buffer, so that taking in an edit allocates nothing.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::figures::Rate;
use super::{DeleteReport, HubError, ImportReport, PeerSink};
use crate::ids::{Access, DocName, PeerId, Seq};
use crate::journal::DurableSink;
use crate::limits::{INBOX_BYTES_MAX, INBOX_MESSAGE_COST};
use crate::replica::{Backlog, Census};
use crate::wire::dialect::Address;
use crate::wire::message::ClientMessage;

/// One document's inbox.
pub struct Mailbox {
    /// Whose.
    pub doc: DocName,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    room: Semaphore,
    durable: AtomicU64,
    /// The task wants to hear of progress of the journal.
    wants_durable: AtomicBool,
    storage_failed: AtomicBool,
    peers: AtomicU64,
    /// How much happens here, as the document's task last said.
    pub rate: Rate,
}

#[derive(Default)]
struct Waiting {
    batch: Batch,
    closed: bool,
}

/// All that was waiting.
#[derive(Default)]
pub struct Batch {
    /// What came, in order.
    pub mail: Vec<Mail>,
    /// The payloads of the messages.
    pub bytes: Vec<u8>,
    /// What it took from the budget.
    cost: usize,
}

impl Batch {
    /// Tells everyone in it that nothing will come of it.
    pub fn turn_away(self, error: &HubError) {
        for mail in self.mail {
            mail.turn_away(error);
        }
    }
}

/// What can come.
pub enum Mail {
    /// A peer joins, may do this much, is spoken to under this address, and this is where its frames go.
    Join(PeerId, Access, Address, Arc<dyn PeerSink>),
    /// A peer may do this much from now on.
    Access(PeerId, Access),
    /// A peer has said something too large to be taken, or something that breaks whoever integrates it.
    Unacceptable(PeerId),
    /// A peer's session ended.
    Leave(PeerId),
    /// A peer's outbox has drained, and document frames of it were lost or not.
    CaughtUp(PeerId, bool),
    /// A peer has come so far with what it kept while it was away.
    Backlog(PeerId, Backlog),
    /// A text to all whose dialect has words for it; answered with their number.
    Stateless(Bytes, Reply<u64>),
    /// A peer says something; the payload lies in [`Batch::bytes`].
    Message(PeerId, MessageKind, Range<usize>),
    /// A peer asked for all of the document, and was sent all that was stored ([`super::unread`]).
    Answered(PeerId),
    /// An admin asks.
    Query(Query),
    /// Somebody who is no peer brings an update, which lies in [`Batch::bytes`]; answered when it is durable.
    Import(Range<usize>, Import, Reply<ImportReport>),
    /// An admin deletes the document; answered when that is durable.
    Delete(Reply<DeleteReport>),
    /// The server stops: answer, then end.
    Stop(oneshot::Sender<()>),
}

impl Mail {
    /// Tells whoever sent it that nothing will come of it.
    pub fn turn_away(self, error: &HubError) {
        match self {
            Mail::Join(_, _, _, sink) => sink.close(error.close_reason()),
            Mail::Query(query) => query.refuse(error.clone()),
            Mail::Import(_, _, reply) => drop(reply.send(Err(error.clone()))),
            Mail::Delete(reply) => drop(reply.send(Err(error.clone()))),
            Mail::Stop(stopping) => drop(stopping.send(())),
            Mail::Stateless(_, reply) => drop(reply.send(Err(error.clone()))),
            Mail::Leave(_)
            | Mail::Access(..)
            | Mail::Unacceptable(_)
            | Mail::CaughtUp(..)
            | Mail::Backlog(..)
            | Mail::Message(..)
            | Mail::Answered(_) => {}
        }
    }
}

/// What may come of an update that is imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import {
    /// It is merged, and makes a document anew that was deleted.
    Anyway,
    /// It is merged unless the document was deleted.
    UnlessDeleted,
    /// It is merged unless the document was deleted, or would be larger than clients may make it.
    Bounded,
    /// There is no update: the document is to exist from now on, empty if it did not before. Not if it was deleted.
    Create,
}

/// [`ClientMessage`] without its payload.
#[derive(Debug, Clone, Copy)]
pub enum MessageKind {
    /// See [`ClientMessage::SyncStep1`].
    SyncStep1,
    /// See [`ClientMessage::SyncStep2`].
    SyncStep2,
    /// See [`ClientMessage::Update`].
    Update,
    /// See [`ClientMessage::Awareness`].
    Awareness,
    /// See [`ClientMessage::QueryAwareness`].
    QueryAwareness,
    /// See [`ClientMessage::AckRequest`].
    AckRequest,
}

impl MessageKind {
    /// The message again, with its payload.
    pub fn with(self, payload: &[u8]) -> ClientMessage<'_> {
        match self {
            MessageKind::SyncStep1 => ClientMessage::SyncStep1(payload),
            MessageKind::SyncStep2 => ClientMessage::SyncStep2(payload),
            MessageKind::Update => ClientMessage::Update(payload),
            MessageKind::Awareness => ClientMessage::Awareness(payload),
            MessageKind::QueryAwareness => ClientMessage::QueryAwareness,
            MessageKind::AckRequest => ClientMessage::AckRequest(payload),
        }
    }

    fn split(message: ClientMessage<'_>) -> (Self, &[u8]) {
        match message {
            ClientMessage::SyncStep1(payload) => (MessageKind::SyncStep1, payload),
            ClientMessage::SyncStep2(payload) => (MessageKind::SyncStep2, payload),
            ClientMessage::Update(payload) => (MessageKind::Update, payload),
            ClientMessage::Awareness(payload) => (MessageKind::Awareness, payload),
            ClientMessage::QueryAwareness => (MessageKind::QueryAwareness, &[]),
            ClientMessage::AckRequest(payload) => (MessageKind::AckRequest, payload),
        }
    }
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, HubError>>;

/// What an admin asks of a document.
pub enum Query {
    /// The diff for this validated state vector.
    Diff(Bytes, Reply<Bytes>),
    /// The state vector.
    StateVector(Reply<Bytes>),
    /// Sizes and counts.
    Census(Reply<Census>),
    /// To be loaded anew from the store, which was repaired; never answered.
    Reload(Reply<()>),
}

impl Query {
    fn refuse(self, error: HubError) {
        match self {
            Query::Diff(_, reply) | Query::StateVector(reply) => drop(reply.send(Err(error))),
            Query::Census(reply) => drop(reply.send(Err(error))),
            Query::Reload(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// The mailbox is closed: its document's task has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

impl Mailbox {
    /// An empty, open mailbox.
    pub fn new(doc: DocName) -> Self {
        Self {
            doc,
            waiting: Mutex::default(),
            arrived: Notify::new(),
            room: Semaphore::new(INBOX_BYTES_MAX),
            durable: AtomicU64::new(0),
            wants_durable: AtomicBool::new(false),
            storage_failed: AtomicBool::new(false),
            peers: AtomicU64::new(0),
            rate: Rate::new(),
        }
    }

    /// Puts in a message, waiting for room.
    pub async fn send(&self, peer: PeerId, message: ClientMessage<'_>) -> Result<(), Closed> {
        let (kind, payload) = MessageKind::split(message);
        self.put(payload, |range| Mail::Message(peer, kind, range)).await
    }

    /// Puts in a validated update of an admin, waiting for room.
    pub async fn send_import(&self, update: &[u8], how: Import, reply: Reply<ImportReport>) -> Result<(), Closed> {
        self.put(update, |range| Mail::Import(range, how, reply)).await
    }

    async fn put(&self, payload: &[u8], mail: impl FnOnce(Range<usize>) -> Mail) -> Result<(), Closed> {
        let cost = (payload.len() + INBOX_MESSAGE_COST).min(INBOX_BYTES_MAX);
        // Given back by `done` when the turn is over.
        match self.room.try_acquire_many(cost as u32) {
            Ok(room) => room.forget(),
            // Waiting costs the caller's turn even when there is room, so it is tried last.
            Err(_) => self.room.acquire_many(cost as u32).await.map_err(|_| Closed)?.forget(),
        }
        self.with_open(|batch| {
            let from = batch.bytes.len();
            batch.bytes.extend_from_slice(payload);
            batch.mail.push(mail(from..batch.bytes.len()));
            batch.cost += cost;
        })
    }

    /// Puts in what takes no room worth counting: its number is bounded by that of sessions and admins.
    pub fn post(&self, mail: Mail) -> Result<(), Closed> {
        self.with_open(|batch| batch.mail.push(mail))
    }

    fn with_open(&self, put: impl FnOnce(&mut Batch)) -> Result<(), Closed> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Closed);
        }
        let was_empty = waiting.batch.mail.is_empty();
        put(&mut waiting.batch);
        drop(waiting);
        if was_empty {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until something has come, or the journal has moved and that was wanted.
    pub async fn arrival(&self) {
        self.arrived.notified().await;
    }

    /// Has the next [`Mailbox::arrival`] return at once: whoever waited for something else may have missed what came.
    pub fn announce(&self) {
        self.arrived.notify_one();
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.lock().batch.mail.is_empty()
    }

    /// Takes all that waits. `spare` is an empty batch whose memory is used for what comes next.
    pub fn take(&self, spare: Batch) -> Batch {
        std::mem::replace(&mut self.lock().batch, spare)
    }

    /// Takes the first thing that waits if it is a deletion, for which the document need not even be readable.
    pub fn take_deletion(&self) -> Option<Reply<DeleteReport>> {
        let mail = &mut self.lock().batch.mail;
        match mail.first() {
            Some(Mail::Delete(_)) => {}
            _ => return None,
        }
        match mail.remove(0) {
            Mail::Delete(reply) => Some(reply),
            _ => None,
        }
    }

    /// Gives back the room that `batch` took, and returns its memory for another round.
    pub fn done(&self, mut batch: Batch) -> Batch {
        const KEEP_BYTES: usize = 64 << 10;
        self.room.add_permits(std::mem::take(&mut batch.cost));
        batch.mail.clear();
        batch.bytes.clear();
        batch.bytes.shrink_to(KEEP_BYTES);
        batch.mail.shrink_to(KEEP_BYTES / size_of::<Mail>());
        batch
    }

    /// Closes, unless something has come meanwhile.
    pub fn close_if_empty(&self) -> bool {
        let mut waiting = self.lock();
        if waiting.batch.mail.is_empty() {
            waiting.closed = true;
            self.room.close();
        }
        waiting.closed
    }

    /// Closes, giving what is left so that it can be answered.
    pub fn close(&self) -> Batch {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.room.close();
        std::mem::take(&mut waiting.batch)
    }

    /// How far the journal has come with this document's records. `want` says whether to be woken by the next step.
    pub fn durable(&self, want: bool) -> Seq {
        self.wants_durable.store(want, Ordering::SeqCst);
        Seq(self.durable.load(Ordering::SeqCst))
    }

    /// How many peers the document has, as its task last said.
    pub fn peers(&self) -> u64 {
        self.peers.load(Ordering::Relaxed)
    }

    /// For [`Mailbox::peers`].
    pub fn note_peers(&self, peers: usize) {
        self.peers.store(peers as u64, Ordering::Relaxed);
    }

    /// Whether the journal has failed.
    pub fn storage_failed(&self) -> bool {
        self.storage_failed.load(Ordering::SeqCst)
    }

    /// The document's storage was repaired.
    pub fn recovered(&self) {
        self.storage_failed.store(false, Ordering::SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // A panic between lock and unlock leaves complete mail behind, so a poisoned lock is as good.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DurableSink for Mailbox {
    fn durable(&self, seq: Seq) {
        self.durable.fetch_max(seq.0, Ordering::SeqCst);
        if self.wants_durable.load(Ordering::SeqCst) {
            self.arrived.notify_one();
        }
    }

    fn failed(&self) {
        self.storage_failed.store(true, Ordering::SeqCst);
        self.arrived.notify_one();
    }
}
