//! The task of one awake document: takes all that waits, lets the replica decide, carries out what it wants done.
//!
//! Life: load (from the store, which holds everything of a sleeping document) → turns → sleep, when nobody has been here
//! for a while and a checkpoint has carried its records into the store. A document whose records were repaired is loaded
//! again; one that is deleted goes on in [`super::tombstone`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{AcquireError, SemaphorePermit, oneshot};
use tokio::time::sleep_until;
use tracing::{debug, error, warn};

use super::addresses::Addresses;
use super::cost::Cost;
use super::figures::Pending;
use super::mailbox::{Batch, Import, Mail, Mailbox, Query, Reply};
use super::peer::{Delivery, FrameKind, PeerSink};
use super::senders::{Ledger, Sender};
use super::tombstone::Tombstone;
use super::{DeleteReport, HubError, ImportReport, Inner, unread};
use crate::budget::{Buckets, Purse};
use crate::ids::{DocName, PeerId, Seq};
use crate::journal::{DurableSink, Record};
use crate::limits::{GATHER_PEERS_MIN, PEER_BASE_BYTES, RATE_PAUSE_MAX, TURN_BYTES_MAX};
use crate::replica::{Effects, Event, Offered, Replica, Weight};
use crate::store::StoredDocument;
use crate::wire::close::CloseReason;
use crate::wire::message::{ClientMessage, ServerMessage};

/// A deletion, and what came after it.
type Deletion = (Reply<DeleteReport>, Vec<Mail>);

/// How a turn ended.
pub(super) enum Turned {
    Done,
    Deleted(Deletion),
    /// The document is to be loaded again.
    Reload,
}

/// One life of a document, from load to sleep.
pub(super) struct Task {
    pub(super) hub: Arc<Inner>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) peers: BTreeMap<PeerId, Connection>,
    pub(super) addresses: Addresses,
    /// Peers that have left in this turn, perhaps after they had sent something.
    parted: BTreeMap<PeerId, Connection>,
    /// Who sent what; from the first record on.
    ledger: Option<Arc<Ledger>>,
    /// Imports whose fate this turn decides, by the number given to the replica.
    deciding: Vec<(usize, Option<Reply<ImportReport>>)>,
    /// Imports that wait for the journal.
    imports: Vec<(Seq, Reply<ImportReport>, ImportReport)>,
    /// Peers whose outboxes dropped something since the last turn.
    fell_behind: Vec<PeerId>,
    /// Peers that were sent much since it was last noted what they have.
    worth_noting: Vec<PeerId>,
    /// Structs that wait for a missing one.
    pub(super) pending: Pending,
    /// What this turn costs.
    cost: Cost,
    /// What the document itself may cost, where that is limited.
    purse: Option<Purse>,
    pub(super) durable_seen: Seq,
    failure_seen: bool,
    full_seen: bool,
    /// It was logged that the document is as large as it may be.
    size_told: bool,
    /// The document was deleted, and this turn's imports make it anew.
    pub(super) recreating: bool,
    wake_at: Option<Instant>,
    /// The journal has records that nobody waited for when they were appended.
    lazy: bool,
    pub(super) idle_since: Instant,
    /// Number of the last checkpoint that may have begun before our last record was appended; a later one holds it.
    pub(super) unsaved_since: Option<u64>,
    pub(super) stopping: Vec<oneshot::Sender<()>>,
}

pub(super) struct Connection {
    pub(super) sink: Arc<dyn PeerSink>,
    /// In [`Task::addresses`].
    address: usize,
    bytes_since_noted: usize,
    /// Who it is, once it has sent an update.
    sender: Option<Arc<Sender>>,
}

impl Connection {
    pub(super) fn new(sink: Arc<dyn PeerSink>, address: usize) -> Self {
        Self { sink, address, bytes_since_noted: 0, sender: None }
    }

    fn sender(&mut self) -> &Arc<Sender> {
        self.sender.get_or_insert_with(|| Arc::new(self.sink.sender()))
    }
}

/// What a document is found to be.
enum Form {
    Live(Box<Replica>),
    Deleted(Tombstone),
}

/// How a life ended.
pub(super) enum End {
    Asleep,
    Stopped,
    /// To begin a new life.
    Reload,
    /// With what has come since.
    Deleted(Tombstone, Batch),
    /// An import made it anew.
    Recreated(Box<Replica>, Batch),
}

impl Task {
    fn new(hub: Arc<Inner>, mailbox: Arc<Mailbox>) -> Self {
        let pending = Pending::none(hub.clone());
        let rates = &hub.options.rates;
        let purse = (!rates.is_unlimited()).then(|| Purse::new(Arc::new(Buckets::full(rates))));
        Self {
            hub,
            mailbox,
            peers: BTreeMap::new(),
            addresses: Addresses::default(),
            parted: BTreeMap::new(),
            ledger: None,
            deciding: Vec::new(),
            imports: Vec::new(),
            fell_behind: Vec::new(),
            worth_noting: Vec::new(),
            pending,
            cost: Cost::default(),
            purse,
            durable_seen: Seq::ZERO,
            failure_seen: false,
            full_seen: false,
            size_told: false,
            recreating: false,
            wake_at: None,
            lazy: false,
            idle_since: Instant::now(),
            unsaved_since: None,
            stopping: Vec::new(),
        }
    }

    /// Lives until the document sleeps, is stopped, or cannot be opened.
    pub(super) async fn run(hub: Arc<Inner>, mailbox: Arc<Mailbox>) {
        let mut task = Self::new(hub.clone(), mailbox.clone());
        let mut loaded = match task.delete_unread().await {
            Some(tombstone) => Ok((Form::Deleted(tombstone), mailbox.take(Batch::default()))),
            None => load(&hub, &mailbox).await,
        };
        loop {
            let mut end = match loaded {
                Ok((Form::Live(replica), batch)) => Box::pin(task.live(replica, batch)).await,
                Ok((Form::Deleted(tombstone), batch)) => Box::pin(task.stay_deleted(tombstone, batch)).await,
                Err(error) => {
                    error!(doc = ?mailbox.doc, %error, "document cannot be opened");
                    return hub.forget(&mailbox, &error);
                }
            };
            loop {
                end = match end {
                    End::Deleted(tombstone, batch) => Box::pin(task.stay_deleted(tombstone, batch)).await,
                    End::Recreated(replica, batch) => Box::pin(task.live(replica, batch)).await,
                    End::Reload => break,
                    End::Asleep => {
                        debug!(doc = ?mailbox.doc, "document asleep");
                        return;
                    }
                    End::Stopped => {
                        hub.forget(&mailbox, &HubError::Draining);
                        for stopping in task.stopping {
                            let _ = stopping.send(());
                        }
                        return;
                    }
                };
            }
            task.part();
            // Everything accepted must be in the store before it is loaded again.
            if let Err(error) = hub.checkpoint_patiently().await {
                error!(doc = ?mailbox.doc, %error, "document cannot be loaded again");
                return hub.forget(&mailbox, &error);
            }
            task = Self::new(hub.clone(), mailbox.clone());
            loaded = load(&hub, &mailbox).await;
        }
    }

    async fn live(&mut self, mut replica: Box<Replica>, mut batch: Batch) -> End {
        self.durable_seen = self.durable_seen.max(replica.durable());
        loop {
            if !batch.mail.is_empty() || !self.peers.is_empty() {
                self.idle_since = Instant::now();
            }
            match self.turn(&mut replica, &mut batch).await {
                Turned::Done => {}
                Turned::Deleted((reply, rest)) => {
                    batch.mail = rest;
                    match self.delete(replica.last_seq(), reply).await {
                        Some(tombstone) => return End::Deleted(tombstone, batch),
                        // What came after it has its turn all the same.
                        None => continue,
                    }
                }
                Turned::Reload => {
                    self.mailbox.done(batch);
                    return End::Reload;
                }
            }
            let spare = self.mailbox.done(batch);
            if !self.stopping.is_empty() {
                return End::Stopped;
            }
            if self.may_sleep() && self.hub.forget_if_empty(&self.mailbox) {
                return End::Asleep;
            }
            // A document that always has work must not keep its thread for itself, the less so when that takes long.
            if self.cost.was_slow() {
                tokio::task::yield_now().await;
            }
            tokio::task::consume_budget().await;
            self.pay().await;
            self.wait(&replica).await;
            if self.peers.len() >= GATHER_PEERS_MIN {
                // Whoever else has something to say now says it before the turn.
                tokio::task::yield_now().await;
            }
            batch = self.mailbox.take(spare);
        }
    }

    /// Waits until the document may cost more; its inbox fills meanwhile, and those who write to it wait as well.
    async fn pay(&mut self) {
        let Some(purse) = &mut self.purse else { return };
        while let Some((kind, wait)) = purse.pay() {
            self.hub.stats.slowed.note(kind);
            if self.hub.is_draining() {
                return;
            }
            tokio::time::sleep(wait.min(RATE_PAUSE_MAX)).await;
        }
    }

    /// Handles one batch: what is due first, then all that came, then the questions of admins. A deletion ends the
    /// turn; what came after it is given back with it.
    pub(super) async fn turn(&mut self, replica: &mut Replica, batch: &mut Batch) -> Turned {
        let (bytes, mut events, mut queries) = (&batch.bytes, self.due(), Vec::new());
        let (mut mail, mut deletion) = (batch.mail.drain(..), None);
        while let Some(next) = mail.next() {
            match next {
                Mail::Join(id, access, address, sink) => {
                    events.push(Event::Joined(id, access, address.dialect()));
                    events.extend(sink.principal().map(|principal| Event::Principal(id, principal)));
                    let address = self.addresses.join(address);
                    self.peers.insert(id, Connection::new(sink, address));
                }
                Mail::Access(id, access) => events.push(Event::Access(id, access)),
                Mail::Unacceptable(id) => events.push(Event::Unacceptable(id)),
                Mail::Leave(id) => {
                    if let Some(peer) = self.peers.remove(&id) {
                        self.addresses.leave(peer.address);
                        self.parted.insert(id, peer);
                    }
                    events.push(Event::Left(id));
                }
                Mail::Backlog(id, backlog) => events.push(Event::Backlog(id, backlog)),
                Mail::CaughtUp(peer, lost) => events.push(Event::CaughtUp { peer, lost }),
                Mail::Stateless(text, reply) => {
                    let _ = reply.send(Ok(self.tell_all(text)));
                }
                Mail::Answered(id) => {
                    self.cost.note(id, &ClientMessage::SyncStep1(unread::NOTHING));
                    if let Some(peer) = self.peers.get_mut(&id) {
                        // It was sent much, which it has once its outbox is empty.
                        peer.bytes_since_noted += PEER_BASE_BYTES;
                        self.worth_noting.push(id);
                    }
                    events.push(Event::Answered(id));
                }
                Mail::Message(id, kind, range) => {
                    let message = kind.with(bytes.get(range).unwrap_or_default());
                    self.cost.note(id, &message);
                    events.push(Event::Message(id, message));
                }
                Mail::Import(range, how, reply) => {
                    let update = bytes.get(range).unwrap_or_default();
                    let number = self.deciding.len() as u64;
                    events.push(match how {
                        Import::Anyway | Import::UnlessDeleted => Event::Offered(number, update),
                        Import::Bounded => Event::Contributed(number, update),
                        Import::Create => Event::Created(number),
                    });
                    self.deciding.push((update.len(), Some(reply)));
                }
                Mail::Query(query) => queries.push(query),
                Mail::Delete(reply) => {
                    deletion = Some((reply, mail.collect()));
                    break;
                }
                Mail::Stop(stopping) => self.stopping.push(stopping),
            }
        }
        self.handle(replica, events).await;
        let mut reload = false;
        for query in queries {
            reload |= !answer(replica, query);
        }
        match deletion {
            None if reload => Turned::Reload,
            None => Turned::Done,
            Some((reply, rest)) if reload => {
                let reloading = HubError::Reloading(self.mailbox.doc.clone());
                for mail in std::iter::once(Mail::Delete(reply)).chain(rest) {
                    mail.turn_away(&reloading);
                }
                Turned::Reload
            }
            Some(deletion) => Turned::Deleted(deletion),
        }
    }

    async fn handle(&mut self, replica: &mut Replica, events: Vec<Event<'_>>) {
        self.mailbox.note_peers(self.peers.len());
        let mut took = Duration::ZERO;
        for events in portions(&events) {
            let (effects, busy) = self.cost.measure(|| replica.handle(events, Instant::now()));
            took += busy;
            self.hub.stats.count(&effects.tally);
            if effects.tally.refused_size > 0 && !std::mem::replace(&mut self.size_told, true) {
                let doc = &self.mailbox.doc;
                warn!(
                    ?doc,
                    "a write would make the document larger than --max-document-bytes or -structs allows (told once)"
                );
            }
            self.mailbox.rate.count(&effects.tally, self.idle_since);
            self.carry_out(replica, effects).await;
        }
        self.pending.are(replica.pending_structs());
        let bill = self.cost.charge(took, &self.peers);
        if let Some(purse) = &mut self.purse {
            purse.charge(&bill);
        }
        self.deciding.clear();
        self.parted.clear();
    }

    /// Events that nobody sent: what outboxes did, how far the journal is, that it failed, what time it is.
    fn due(&mut self) -> Vec<Event<'static>> {
        let mut events: Vec<Event<'static>> = self.fell_behind.drain(..).map(Event::FellBehind).collect();
        let peers = &mut self.peers;
        self.worth_noting.retain(|id| {
            let Some(peer) = peers.get_mut(id) else { return false };
            let idle = peer.sink.is_idle();
            if idle {
                peer.bytes_since_noted = 0;
                events.push(Event::Flushed(*id));
            }
            !idle
        });
        if self.mailbox.storage_failed() && !self.failure_seen {
            self.failure_seen = true;
            events.push(Event::StorageFailed);
            for (_, reply, _) in self.imports.drain(..) {
                let _ = reply.send(Err(self.hub.storage_error()));
            }
        }
        let is_full = self.hub.space.is_full();
        if is_full != self.full_seen {
            self.full_seen = is_full;
            events.push(Event::DiskFull(is_full));
        }
        let durable = self.mailbox.durable(true);
        if durable > self.durable_seen {
            self.durable_seen = durable;
            events.push(Event::Durable(durable));
            self.settle_imports();
        }
        if self.wake_at.is_some_and(|at| at <= Instant::now()) {
            self.wake_at = None;
            events.push(Event::Timer);
        }
        events
    }

    /// Carries out one turn's effects, in the order in which [`Effects`] lists them.
    async fn carry_out(&mut self, replica: &Replica, effects: Effects) {
        let Effects { append, senders, broadcast, presence, send, offered, close, wake_at, tally: _ } = effects;
        let mut written = true;
        // Nothing was ever logged before this turn.
        let first = append.first().is_some_and(|(seq, _)| *seq == Seq(1));
        if let (Some((from, _)), Some((to, _))) = (append.first(), append.last()) {
            self.note_senders(*from, *to, &senders, &offered);
            let doc = &self.mailbox.doc;
            let record = |(seq, update)| Record::update(doc.clone(), seq, update);
            let records = append.into_iter().map(record).collect();
            let sink: Arc<dyn DurableSink> = self.mailbox.clone();
            self.lazy = !replica.awaits_durability() && offered.is_empty();
            let appended = match self.lazy {
                true => self.hub.journal.append_lazily(records, Some(sink)).await,
                false => self.hub.journal.append(records, Some(sink)).await,
            };
            self.unsaved_since = Some(self.hub.checkpoints.begun());
            if let Err(error) = appended {
                // Nobody is shown what may not survive; nobody is acked either (S7, S8).
                warn!(doc = ?self.mailbox.doc, %error, "edit not accepted");
                self.mailbox.failed();
                written = false;
            }
        }
        if let Some((update, except)) = broadcast.filter(|_| written) {
            self.broadcast(replica, update, except);
        }
        if let Some(entries) = presence {
            let mut news = self.addresses.announce(ServerMessage::Awareness(entries));
            for (id, peer) in &mut self.peers {
                let Some(frame) = news.frames(peer.address) else { continue };
                deliver(*id, peer, frame, FrameKind::Awareness, &mut self.fell_behind, &mut self.worth_noting);
            }
        }
        for (id, message, weight) in send {
            if let Some(peer) = self.peers.get_mut(&id) {
                let kind = match weight {
                    Weight::Control => FrameKind::Control,
                    Weight::Presence => FrameKind::Awareness,
                    Weight::Answer => FrameKind::Answer,
                    Weight::Portion => FrameKind::Portion,
                };
                let Some(frame) = self.addresses.frames(peer.address, &message) else { continue };
                deliver(id, peer, &frame, kind, &mut self.fell_behind, &mut self.worth_noting);
            }
        }
        for (number, offered) in offered {
            self.decide_import(number, offered, written, first);
        }
        for (id, reason) in close {
            match self.peers.get(&id) {
                Some(peer) if reason.refuses_a_write() => peer.sink.refuse(reason),
                Some(peer) => peer.sink.close(reason),
                None => {}
            }
        }
        self.wake_at = wake_at;
    }

    /// Notes who had a part in these records.
    fn note_senders(&mut self, from: Seq, to: Seq, senders: &[PeerId], offered: &[(u64, Offered)]) {
        let ledger = self.ledger.get_or_insert_with(|| self.hub.senders.ledger(&self.mailbox.doc));
        for id in senders {
            let Some(peer) = self.peers.get_mut(id).or_else(|| self.parted.get_mut(id)) else { continue };
            ledger.note(from, to, Some(*id), peer.sender());
        }
        if offered.iter().any(|(_, offered)| offered.accepted_bytes + offered.parked_bytes > 0) {
            ledger.note(from, to, None, &Arc::new(Sender::Import));
        }
    }

    /// A text to everybody whose dialect has words for it; how many those are.
    fn tell_all(&self, text: Bytes) -> u64 {
        let (mut news, mut told) = (self.addresses.announce(ServerMessage::Stateless(text)), 0);
        for peer in self.peers.values() {
            let Some(frame) = news.frames(peer.address) else { continue };
            // Nothing would say it again, so it may not be dropped.
            told += u64::from(peer.sink.deliver(frame, FrameKind::Control) == Delivery::Taken);
        }
        told
    }

    /// One frame, built once for each address, to everyone who follows the document but the one who sent it.
    fn broadcast(&mut self, replica: &Replica, update: Bytes, except: Option<PeerId>) {
        let mut peers = self.peers.iter_mut().peekable();
        let mut news = self.addresses.announce(ServerMessage::Update(update));
        // Both sides are sorted by id, so one walk finds them all.
        for id in replica.audience().filter(|id| Some(*id) != except) {
            while peers.next_if(|(peer, _)| **peer < id).is_some() {}
            let Some((_, peer)) = peers.next_if(|(peer, _)| **peer == id) else { continue };
            let Some(frame) = news.frames(peer.address) else { continue };
            deliver(id, peer, frame, FrameKind::Document, &mut self.fell_behind, &mut self.worth_noting);
        }
    }

    fn decide_import(&mut self, number: u64, offered: Offered, written: bool, first: bool) {
        let Some((offered_bytes, reply)) = self.deciding.get_mut(number as usize) else { return };
        let (offered_bytes, Some(reply)) = (*offered_bytes, reply.take()) else { return };
        let report = ImportReport {
            name: self.mailbox.doc.clone(),
            offered_bytes: offered_bytes as u64,
            accepted_bytes: offered.accepted_bytes as u64,
            parked_bytes: offered.parked_bytes as u64,
            recreated: self.recreating && offered.accepted_bytes + offered.parked_bytes > 0,
            created: first && !self.recreating && offered.accepted_bytes + offered.parked_bytes > 0,
        };
        let refused = match offered.refused {
            Some(_) if self.failure_seen => Some(self.hub.storage_error()),
            Some(_) if self.full_seen => Some(self.hub.space.error()),
            Some(why) => Some(HubError::BadUpdate(why.to_owned())),
            None if !written => Some(self.hub.storage_error()),
            None => None,
        };
        match refused {
            Some(error) => drop(reply.send(Err(error))),
            None => {
                self.imports.push((offered.seq, reply, report));
                self.settle_imports();
            }
        }
    }

    pub(super) fn settle_imports(&mut self) {
        let durable = self.durable_seen;
        for (_, reply, report) in self.imports.extract_if(.., |(seq, ..)| *seq <= durable) {
            let _ = reply.send(Ok(report));
        }
    }

    /// Sends everybody away, who may come back at once.
    fn part(&mut self) {
        for peer in self.peers.values() {
            peer.sink.close(CloseReason::Reload);
        }
        for (_, reply, _) in self.imports.drain(..) {
            let _ = reply.send(Err(HubError::Reloading(self.mailbox.doc.clone())));
        }
    }

    pub(super) fn may_sleep(&self) -> bool {
        self.is_saved() && self.peers.is_empty() && self.imports.is_empty() && self.idle_deadline() <= Instant::now()
    }

    /// Whether the store has all that this document's journal records say.
    fn is_saved(&self) -> bool {
        self.unsaved_since.is_none_or(|begun| self.hub.checkpoints.done() > begun)
    }

    pub(super) fn idle_deadline(&self) -> Instant {
        self.idle_since + self.hub.pressure.idle_after(self.hub.options.idle_after)
    }

    /// Waits for mail, for the journal if somebody waits for it, or for the time to do something.
    async fn wait(&mut self, replica: &Replica) {
        let wants_durable = replica.awaits_durability() || !self.imports.is_empty();
        if self.mailbox.durable(wants_durable) > self.durable_seen && wants_durable {
            return;
        }
        if wants_durable && std::mem::take(&mut self.lazy) {
            self.hub.journal.hurry();
        }
        let alone = self.peers.is_empty();
        let deadline = [self.wake_at, alone.then(|| self.idle_deadline())].into_iter().flatten().min();
        let overdue = alone && deadline.is_some_and(|deadline| deadline <= Instant::now());
        let mut checkpoints = self.hub.checkpoints.watch();
        tokio::select! {
            () = self.mailbox.arrival() => {}
            // Nothing but a checkpoint keeps an overdue document awake.
            _ = checkpoints.changed(), if overdue => {}
            () = sleep_until(deadline.unwrap_or_else(Instant::now).into()), if deadline.is_some() && !overdue => {}
        }
    }
}

/// What is handled together: as a rule all of it; at most [`TURN_BYTES_MAX`] where there is more than one message, since
/// all edits of a turn become one record.
fn portions<'a, 'e>(mut events: &'a [Event<'e>]) -> impl Iterator<Item = &'a [Event<'e>]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |event: &&Event<'_>| {
            bytes += event.bytes();
            bytes <= TURN_BYTES_MAX
        };
        let together = events.iter().take_while(fits).count().max(1).min(events.len());
        let (portion, rest) = events.split_at(together);
        events = rest;
        (!portion.is_empty()).then_some(portion)
    })
}

fn deliver(
    id: PeerId,
    peer: &mut Connection,
    frame: &Bytes,
    kind: FrameKind,
    fell_behind: &mut Vec<PeerId>,
    worth_noting: &mut Vec<PeerId>,
) {
    match peer.sink.deliver(frame, kind) {
        Delivery::Taken => {
            let before = peer.bytes_since_noted;
            peer.bytes_since_noted += frame.len();
            if kind == FrameKind::Answer {
                // It makes up for what was dropped earlier in this turn.
                fell_behind.retain(|behind| *behind != id);
                // An answer brings much; and a peer that has just come is best remembered by what it has now.
                peer.bytes_since_noted += PEER_BASE_BYTES;
            }
            if before < PEER_BASE_BYTES && peer.bytes_since_noted >= PEER_BASE_BYTES {
                worth_noting.push(id);
            }
        }
        Delivery::Behind => fell_behind.push(id),
        // The session says so itself by leaving.
        Delivery::Closed => {}
    }
}

/// Answers; `false` when the document is to be loaded again.
fn answer(replica: &mut Replica, query: Query) -> bool {
    match query {
        Query::Diff(state_vector, reply) => drop(reply.send(Ok(replica.diff(&state_vector)))),
        Query::StateVector(reply) => drop(reply.send(Ok(replica.clocks().1))),
        Query::Census(reply) => drop(reply.send(Ok(replica.census()))),
        // It has been repaired in the store; this life of it goes on from what is damaged.
        Query::Reload(_) => return false,
    }
    true
}

/// Loads a document from the store, which holds everything of one that sleeps; off the async threads. With it comes what has
/// been waiting, of which some may be answered already ([`unread`]).
async fn load(hub: &Arc<Inner>, mailbox: &Arc<Mailbox>) -> Result<(Form, Batch), HubError> {
    let (doc, inbox, mut took) = (&mailbox.doc, mailbox.clone(), Duration::ZERO);
    let find = move |hub: &Inner, doc: &DocName| {
        let found = hub.store.load(doc).map_err(|e| HubError::cannot_open(doc, &e))?;
        let mut batch = inbox.take(Batch::default());
        // A tombstone has no updates.
        let all_answered = found.as_ref().is_some_and(|stored| unread::answer(stored, &mut batch));
        Ok((found, batch, all_answered))
    };
    let (found, batch, all_answered) = in_turn(hub, hub.loads.acquire().await, doc, &mut took, find).await?;
    let form = match found {
        None => Form::Live(Box::new(Replica::new().bounded(hub.options.size_max))),
        Some(stored) => match Tombstone::of(&stored.head) {
            Some(tombstone) => Form::Deleted(tombstone),
            None => {
                // Who opens it next shall have it sooner.
                hub.suggest_fold(doc, &stored.head);
                let turn = match all_answered {
                    true => turn_to_read(hub, mailbox).await,
                    false => hub.loads.acquire().await,
                };
                match in_turn(hub, turn, doc, &mut took, move |hub, doc| read(hub, doc, &stored)).await {
                    Ok(replica) => Form::Live(replica),
                    Err(error) => {
                        batch.turn_away(&error);
                        return Err(error);
                    }
                }
            }
        },
    };
    hub.stats.loads.observe(took);
    Ok((form, batch))
}

/// The turn of a document all of whose newcomers have their answer: behind all such, while others have none, until somebody
/// says something more and waits for what comes of it.
async fn turn_to_read<'a>(hub: &'a Inner, mailbox: &Mailbox) -> Result<SemaphorePermit<'a>, AcquireError> {
    let somebody_waits = async {
        // What was taken has left a word, too.
        while mailbox.is_empty() {
            mailbox.arrival().await;
        }
        // For when the document is read.
        mailbox.announce();
    };
    tokio::select! {
        turn = hub.readings.acquire() => turn,
        () = somebody_waits => hub.loads.acquire().await,
    }
}

/// Does a part of the work of loading a document in its turn, and adds how long that took.
async fn in_turn<T: Send + 'static>(
    hub: &Arc<Inner>,
    turn: Result<SemaphorePermit<'_>, AcquireError>,
    doc: &DocName,
    took: &mut Duration,
    work: impl FnOnce(&Inner, &DocName) -> Result<T, HubError> + Send + 'static,
) -> Result<T, HubError> {
    let _turn = turn.map_err(|_| HubError::Draining)?;
    let (hub, name, began) = (hub.clone(), doc.clone(), Instant::now());
    let done = tokio::task::spawn_blocking(move || work(&hub, &name)).await;
    *took += began.elapsed();
    done.unwrap_or_else(|panic| Err(HubError::cannot_open(doc, &panic)))
}

/// What the stored updates say.
fn read(hub: &Inner, doc: &DocName, stored: &StoredDocument) -> Result<Box<Replica>, HubError> {
    let log = stored.log.iter().map(|(_, update)| update);
    let updates = stored.snapshot.iter().chain(log);
    let replica = Replica::load(updates, stored.head.last_seq).map_err(|e| HubError::cannot_open(doc, &e))?;
    Ok(Box::new(replica.bounded(hub.options.size_max)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_bounded_in_bytes_and_nothing_is_left_out() {
        let (small, large) = (vec![0; 10], vec![0; TURN_BYTES_MAX]);
        let message = |bytes| Event::Message(PeerId(1), ClientMessage::Update(bytes));
        let lens = |events: &[Event<'_>]| portions(events).map(<[_]>::len).collect::<Vec<_>>();
        assert!(lens(&[]).is_empty());
        assert_eq!(lens(&[Event::Timer, message(&small), message(&small)]), [3]);
        let flood = [message(&large), message(&large), Event::Timer, message(&small), Event::Offered(0, &large)];
        assert_eq!(lens(&flood), [1, 2, 1, 1]);
    }
}
