//! One document's state machine: events in, effects out. Pure: no clock, no disk, no socket, no chance.
//!
//! The path of an edit (DESIGN §5): it arrives **validated** by `wire`; the [`gate`] sorts out what is new and ready;
//! [`live`] integrates it into yrs; only then does the replica own up to it: one log record, one frame, acks that wait
//! for the record. What misses something is parked, in the log as well, and its sender is asked for the rest.
//!
//! A turn is everything that was waiting: its edits become one record and one frame, its presence one message.

mod answers;
pub mod awareness;
pub mod compaction;
pub mod content;
pub mod delete_set;
pub mod effects;
pub mod encoded;
pub mod event;
pub mod gate;
pub mod live;
pub mod nesting;
pub mod order;
pub mod parked;
pub mod peers;
pub mod pieces;
pub mod portions;
pub mod size;
pub mod steps;
mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;

pub use self::effects::{Effects, Offered, Tally, Weight};
pub use self::event::Event;
pub use self::peers::Backlog;

use self::answers::Answers;
use self::awareness::Awareness;
use self::delete_set::DeleteSet;
use self::encoded::Encoded;
use self::gate::{Gated, Parked, Trait, gate, gate_telling};
use self::nesting::{Misplaced, Nesting};
use self::parked::{Parking, ParkingLot, Share};
use self::peers::Peer;
use self::portions::{Shared, Sizes};
use self::size::SizeMax;
use self::turn::Turn;
use crate::ids::{Access, ClientId, Clock, PeerId, Seq};
use crate::wire::WireError;
use crate::wire::close::CloseReason;
use crate::wire::dialect::Dialect;
use crate::wire::message::{ClientMessage, ServerMessage};
use crate::wire::state_vector::{self, StateVector};
use crate::wire::update;

/// This node's live copy of a document.
///
/// Methods come in three kinds: [`Replica::load`] makes one, [`Replica::handle`] changes it, all others only look.
pub struct Replica {
    content: Content,
    awareness: Awareness,
    peers: BTreeMap<PeerId, Peer>,
    last_seq: Seq,
    durable: Seq,
    read_only: bool,
    disk_full: bool,
    /// Number of the current turn.
    turn: u64,
    /// Peers that wait for acks.
    waiting: BTreeSet<PeerId>,
    /// Answers of the current state, so that equal questions are answered once.
    answers: Answers,
    /// The whole document in portions, while somebody is under way with it.
    shared: Option<Shared>,
    sizes: Sizes,
}

/// What the document holds, as far as its log tells.
#[derive(Default)]
struct Content {
    clocks: StateVector,
    deleted: DeleteSet,
    nesting: Nesting,
    parked: ParkingLot,
    structs: Encoded,
    size_max: SizeMax,
    /// The delete set as it ends an answer, until more is deleted.
    delete_set: Option<Bytes>,
    /// Rises whenever content was added.
    version: u64,
}

/// An update as it was stored. Of [`Bytes`] the replica keeps what it can as it is, without a copy.
pub trait Stored<'a>: Copy {
    /// All of it.
    fn bytes(self) -> &'a [u8];

    /// The same, if it may be held on to.
    fn shared(self) -> Option<&'a Bytes>;
}

impl<'a> Stored<'a> for &'a [u8] {
    fn bytes(self) -> &'a [u8] {
        self
    }

    fn shared(self) -> Option<&'a Bytes> {
        None
    }
}

impl<'a> Stored<'a> for &'a Bytes {
    fn bytes(self) -> &'a [u8] {
        self
    }

    fn shared(self) -> Option<&'a Bytes> {
        Some(self)
    }
}

/// A stored update that the replica cannot take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Its bytes are not a valid update.
    #[error("stored update {at} of {bytes} bytes is malformed: {error}")]
    Malformed {
        /// Its place in the order of loading.
        at: usize,
        /// Its size.
        bytes: usize,
        /// What is wrong with it.
        error: WireError,
    },
}

/// Sizes and counts of a document, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census {
    /// Per client, how many ticks are known.
    pub clocks: StateVector,
    /// Ticks that are deleted.
    pub deleted_ticks: u64,
    /// Updates that wait for a missing one.
    pub parked_updates: usize,
    /// Their bytes.
    pub parked_bytes: usize,
    /// Peers.
    pub peers: usize,
    /// Clients present.
    pub present: usize,
}

/// Why an offered update was not taken.
enum Refusal {
    Malformed,
    TooDeep,
    /// For what of it must wait.
    NoRoom,
    /// The document would be too large.
    Full,
}

impl Tally {
    fn count(&mut self, bytes: usize, taken: &Result<bool, Refusal>, parked: bool) {
        match taken {
            Ok(true) if parked => self.parked += 1,
            Ok(true) => {
                self.applied += 1;
                self.applied_bytes += bytes as u64;
            }
            Ok(false) => self.known += 1,
            Err(Refusal::NoRoom) => self.refused_limit += 1,
            Err(Refusal::Full) => {
                self.refused_limit += 1;
                self.refused_size += 1;
            }
            Err(Refusal::TooDeep | Refusal::Malformed) => self.malformed += 1,
        }
    }
}

impl Replica {
    /// A replica of stored updates, which are gated again, so that what still waits is parked again. `last_seq` is the
    /// position of the last of them; all of them count as durable.
    pub fn load<'a>(updates: impl IntoIterator<Item = impl Stored<'a>>, last_seq: Seq) -> Result<Self, LoadError> {
        let content = Content::load(updates)?;
        Ok(Self {
            content,
            awareness: Awareness::default(),
            peers: BTreeMap::new(),
            last_seq,
            durable: last_seq,
            read_only: false,
            disk_full: false,
            turn: 0,
            waiting: BTreeSet::new(),
            answers: Answers::default(),
            shared: None,
            sizes: Sizes::default(),
        })
    }

    /// An empty replica.
    pub fn new() -> Self {
        Self::load([&[][..]; 0], Seq::ZERO).unwrap_or_else(|_| unreachable!("there is nothing to load"))
    }

    /// The same, which takes no more than makes it so large.
    #[must_use]
    pub fn bounded(mut self, size_max: SizeMax) -> Self {
        self.content.size_max = size_max;
        self
    }

    /// Handles one turn: all events that were waiting, in order. `now` is the time of the turn.
    pub fn handle(&mut self, events: &[Event<'_>], now: Instant) -> Effects {
        let mut effects = Effects::default();
        let mut turn = Turn::default();
        self.turn += 1;
        // What a peer has received can only be what was sent before this turn.
        let before = events.iter().any(|event| matches!(event, Event::Flushed(_))).then(|| self.clocks().0);
        for event in events {
            match *event {
                Event::Joined(peer, access, dialect) => self.join(peer, access, dialect, &mut effects),
                Event::Principal(id, principal) => {
                    self.awareness.introduce(id, principal);
                    if let Some(peer) = self.peers.get_mut(&id) {
                        peer.principal = Some(principal);
                    }
                }
                Event::Access(peer, access) => {
                    if let Some(peer) = self.peers.get_mut(&peer) {
                        peer.access = access;
                    }
                }
                // What it says from now on may build on that.
                Event::Unacceptable(peer) => self.refuse(peer, CloseReason::UpdateRefused, &mut effects),
                Event::Left(peer) => {
                    self.peers.remove(&peer);
                    self.waiting.remove(&peer);
                    self.awareness.leave(peer, now);
                }
                Event::Message(peer, message) => self.hear(peer, message, now, &mut turn, &mut effects),
                Event::Answered(peer) => match self.peers.get_mut(&peer) {
                    // As in the turn before: it gets what this one brings.
                    Some(peer) if self.content.version == 0 => peer.follow(self.turn - 1),
                    _ => turn.asks.push((peer, &[0])),
                },
                Event::Backlog(id, backlog) => {
                    if self.peers.get_mut(&id).is_some_and(|peer| peer.note_backlog(backlog)) {
                        turn.confirming.insert(id);
                    }
                }
                Event::FellBehind(peer) => self.fall_behind(peer),
                Event::CaughtUp { peer, lost } => {
                    if lost {
                        self.fall_behind(peer);
                    }
                    turn.returned.push(peer);
                }
                Event::Flushed(peer) => {
                    if let Some(peer) = self.peers.get_mut(&peer)
                        && let Some(before) = &before
                        && peer.follows_since.is_some_and(|since| since < self.turn)
                        && !peer.behind
                    {
                        peer.base = before.clone();
                    }
                }
                Event::Durable(seq) => self.release_acks(seq, &mut effects),
                Event::StorageFailed => self.read_only = true,
                Event::DiskFull(is_full) => {
                    self.disk_full = is_full;
                    if !is_full {
                        self.call_back(|peer| peer.turned_away == Some(CloseReason::DiskFull), &mut effects);
                    }
                }
                Event::Offered(number, update) => {
                    let offered = self.take_offered(update, None, &mut turn, &mut effects.tally);
                    turn.offered.push((number, offered));
                }
                Event::Contributed(number, update) => {
                    let offered = self.take_offered(update, Some(Share::Others), &mut turn, &mut effects.tally);
                    turn.offered.push((number, offered));
                }
                Event::Created(number) => {
                    turn.creates = true;
                    turn.offered.push((number, self.offered()));
                }
                Event::Timer => {}
            }
        }
        self.finish(turn, &mut effects);
        self.forget_shared();
        let expiry = self.awareness.expire(now);
        let (presence, more) = self.awareness.announce(now);
        effects.presence = presence;
        effects.wake_at = [expiry, more, self.forget_answers(now)].into_iter().flatten().min();
        effects
    }

    fn fall_behind(&mut self, peer: PeerId) {
        // One that does not follow yet has missed nothing: its question will be answered in full.
        if let Some(peer) = self.peers.get_mut(&peer)
            && peer.follows_since.is_some()
        {
            peer.behind = true;
        }
    }

    fn join(&mut self, id: PeerId, access: Access, dialect: Dialect, effects: &mut Effects) {
        // Who is asked whenever it asks is not asked twice, and told nothing before that (WIRE h4).
        if !dialect.confirms_each_write() {
            self.ask(id, effects);
            self.introduce(id, effects);
        }
        self.peers.insert(id, Peer::new(access, dialect));
    }

    fn hear<'a>(
        &mut self,
        id: PeerId,
        message: ClientMessage<'a>,
        now: Instant,
        turn: &mut Turn<'a>,
        effects: &mut Effects,
    ) {
        if !self.peers.contains_key(&id) {
            return;
        }
        match message {
            ClientMessage::SyncStep1(state_vector) => {
                let had = || state_vector::decode(state_vector).unwrap_or_default();
                if self.peers.get_mut(&id).is_some_and(|peer| peer.begin_sync(had)) {
                    turn.confirming.insert(id);
                }
                turn.asks.push((id, state_vector));
            }
            ClientMessage::SyncStep2(update) | ClientMessage::Update(update) => {
                self.awareness.settle(id);
                let taken = self.hear_update(id, update, turn, effects);
                if let Some(confirming) = self.peers.get_mut(&id).and_then(|peer| peer.confirming.as_mut()) {
                    turn.confirming.insert(id);
                    match message {
                        ClientMessage::SyncStep2(_) => confirming.answered(taken),
                        _ if taken => confirming.updated(update),
                        _ => {}
                    }
                }
            }
            ClientMessage::Awareness(entries) => {
                if let Some(tombstones) = self.awareness.apply(id, entries, now) {
                    effects.send.push((id, ServerMessage::Awareness(tombstones), Weight::Control));
                    // Where the custom is not to echo, it announces itself anew to nobody unless it is asked.
                    effects.send.push((id, ServerMessage::QueryAwareness, Weight::Control));
                }
            }
            ClientMessage::QueryAwareness => self.introduce(id, effects),
            ClientMessage::AckRequest(bytes) => turn.acks.push((id, Bytes::copy_from_slice(bytes))),
        }
    }

    /// Whether all of it is in the log, or will be with this turn.
    fn hear_update<'a>(&mut self, id: PeerId, update: &'a [u8], turn: &mut Turn<'a>, effects: &mut Effects) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        // To delete is all that helps whoever wrote more than there is room for.
        let deletes = || peer.unfitting.is_some() && update::structs(update) == 0;
        if peer.turned_away.is_some() && !deletes() {
            effects.tally.refused_read_only += 1;
            effects.send.extend(peer.refuse().map(|refused| (id, refused, Weight::Control)));
            return false;
        }
        if self.read_only || self.disk_full || peer.access == Access::Read {
            // A no-op is no write: a reader's SyncStep2 with nothing new is none of our business.
            let nothing_new =
                gate(update, &self.content.clocks, &self.content.deleted).is_ok_and(|gated| gated.adds_nothing());
            let counted = if nothing_new { &mut effects.tally.known } else { &mut effects.tally.refused_read_only };
            *counted += 1;
            match peer.access {
                _ if nothing_new => {}
                // Stock clients send what their user types whether or not they may; to close them would only have them
                // come back with it. It is dropped, and no ack ever says that it is saved (WIRE §6).
                Access::Read => effects.send.extend(peer.refuse().map(|refused| (id, refused, Weight::Control))),
                Access::Write if self.read_only => self.refuse(id, CloseReason::StorageFailed, effects),
                Access::Write => self.refuse(id, CloseReason::DiskFull, effects),
            }
            return nothing_new;
        }
        let parked_before = turn.parked.len();
        let share = peer.principal.map_or(Share::Peer(id), Share::Principal);
        let taken = self.content.take(update, Some(share), turn);
        effects.tally.count(update.len(), &taken, turn.parked.len() > parked_before);
        let version = self.content.version;
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        // What was ready is taken even when there is no room for the rest.
        if matches!(taken, Ok(true) | Err(Refusal::NoRoom)) && turn.senders.last() != Some(&id) {
            turn.senders.push(id);
        }
        match taken {
            Ok(true) => {
                if turn.parked.len() > parked_before && peer.asked_at != Some(version) {
                    peer.asked_at = Some(version);
                    peer.ask();
                    self.ask(id, effects);
                }
            }
            Ok(false) => {}
            Err(Refusal::NoRoom) if !peer.over_parked => {
                peer.over_parked = true;
                peer.ask();
                effects.send.extend(peer.refuse().map(|refused| (id, refused, Weight::Control)));
                self.ask(id, effects);
            }
            Err(Refusal::NoRoom | Refusal::Full | Refusal::TooDeep | Refusal::Malformed) => {
                if let Some(refusal) = peer.refuse_again() {
                    effects.send.push((id, refusal, Weight::Control));
                } else {
                    peer.unfitting = matches!(taken, Err(Refusal::Full)).then_some(update.len() as u64);
                    self.refuse(id, CloseReason::UpdateRefused, effects);
                }
            }
        }
        taken.is_ok()
    }

    fn refuse(&mut self, id: PeerId, reason: CloseReason, effects: &mut Effects) {
        if let Some(peer) = self.peers.get_mut(&id) {
            effects.send.extend(peer.refuse().map(|refused| (id, refused, Weight::Control)));
            peer.turned_away = Some(reason);
        }
        effects.close.push((id, reason));
    }

    /// There is room again (S9), or in the document: those who stayed although their writes were refused for want of it shall
    /// come back and bring what was refused.
    fn call_back(&self, wanted_room: impl Fn(&Peer) -> bool, effects: &mut Effects) {
        let peers = self.peers.iter().filter(|(_, peer)| wanted_room(peer));
        effects.close.extend(peers.map(|(id, _)| (*id, CloseReason::Reload)));
    }

    fn take_offered<'a>(
        &mut self,
        update: &'a [u8],
        share: Option<Share>,
        turn: &mut Turn<'a>,
        tally: &mut Tally,
    ) -> Offered {
        let mut offered = self.offered();
        if offered.refused.is_some() {
            tally.refused_read_only += 1;
            return offered;
        }
        let parked_before = turn.parked.len();
        let taken = self.content.take(update, share, turn);
        tally.count(update.len(), &taken, turn.parked.len() > parked_before);
        match taken {
            Ok(anything) => {
                offered.parked_bytes = turn.parked[parked_before..].iter().map(Bytes::len).sum();
                let all_parked = offered.parked_bytes >= update.len();
                offered.accepted_bytes = if anything && !all_parked { update.len() - offered.parked_bytes } else { 0 };
            }
            Err(Refusal::Malformed) => offered.refused = Some("it is malformed"),
            Err(Refusal::TooDeep) => offered.refused = Some("it nests shared types too deeply"),
            Err(Refusal::Full) => offered.refused = Some("the document would be larger than one may be"),
            Err(Refusal::NoRoom) => offered.refused = Some("too many updates wait for a missing one"),
        }
        offered
    }

    /// What becomes of whatever is offered now, before it is looked at.
    fn offered(&self) -> Offered {
        let refused = match (self.read_only, self.disk_full) {
            (true, _) => Some("storage failed, writes are refused"),
            (false, true) => Some("the disk is full"),
            (false, false) => None,
        };
        Offered { seq: Seq::ZERO, accepted_bytes: 0, parked_bytes: 0, refused }
    }

    /// Says what follows from what the turn has gathered.
    fn finish(&mut self, mut turn: Turn<'_>, effects: &mut Effects) {
        self.content.take_unparked(&mut turn);
        let only_sender = match turn.senders[..] {
            [sender] if !turn.freed && turn.offered.is_empty() => Some(sender),
            _ => None,
        };
        effects.senders = std::mem::take(&mut turn.senders);
        if let Some(update) = turn.merged() {
            self.content.version += 1;
            self.last_seq = self.last_seq.next();
            effects.append.push((self.last_seq, update.clone()));
            effects.broadcast = Some((update, only_sender));
        }
        for parked in turn.parked {
            self.last_seq = self.last_seq.next();
            effects.append.push((self.last_seq, parked));
        }
        if turn.creates && self.last_seq == Seq::ZERO && !self.read_only && !self.disk_full {
            // Nothing was ever logged: an empty update is what says that it exists.
            self.last_seq = self.last_seq.next();
            effects.append.push((self.last_seq, Bytes::from_static(update::EMPTY)));
        }
        for (number, mut offered) in turn.offered {
            offered.seq = self.last_seq;
            effects.offered.push((number, offered));
        }
        for (id, question) in turn.asks {
            self.ask_back(id, effects);
            self.answer(id, question, effects);
        }
        for id in turn.returned {
            self.catch_up(id, effects);
        }
        for (id, bytes) in turn.acks {
            if let Some(peer) = self.peers.get_mut(&id)
                && !peer.refused
            {
                peer.owe_ack(self.last_seq, bytes);
                self.waiting.insert(id);
            }
        }
        for id in turn.confirming {
            if self.peers.get_mut(&id).is_some_and(|peer| peer.owe_confirmations(self.last_seq)) {
                self.waiting.insert(id);
            }
        }
        self.release_acks(self.durable, effects);
        if self.content.collect() {
            let has_room = |bytes| self.content.size_max.has_room(&self.content.structs, bytes);
            self.call_back(|peer| peer.unfitting.is_some_and(has_room), effects);
        }
    }

    /// Where that is the custom, whoever asks is asked in turn, before it is answered (WIRE h1).
    fn ask_back(&mut self, id: PeerId, effects: &mut Effects) {
        let Some(peer) = self.peers.get(&id).filter(|peer| peer.confirming.is_some()) else { return };
        let is_new = peer.follows_since.is_none() && peer.bringing.is_none();
        self.ask(id, effects);
        if is_new {
            self.introduce(id, effects);
        }
    }

    /// Asks a peer what it has that we miss.
    fn ask(&mut self, id: PeerId, effects: &mut Effects) {
        let (_, state_vector) = self.clocks();
        effects.send.push((id, ServerMessage::SyncStep1(state_vector), Weight::Control));
    }

    /// Tells a peer who is here.
    fn introduce(&mut self, id: PeerId, effects: &mut Effects) {
        if let Some(everyone) = self.awareness.everyone() {
            effects.send.push((id, ServerMessage::Awareness(everyone), Weight::Presence));
        }
    }

    fn release_acks(&mut self, durable: Seq, effects: &mut Effects) {
        self.durable = self.durable.max(durable);
        let (peers, durable) = (&mut self.peers, self.durable);
        self.waiting.retain(|&id| {
            let Some(peer) = peers.get_mut(&id) else { return false };
            effects.send.extend(peer.release_acks(durable).map(|ack| (id, ack, Weight::Control)));
            peer.is_owed()
        });
    }

    /// Who gets the broadcast of the turn just handled, in the order of their ids: those who follow the document since
    /// an earlier turn (an answer of this turn contains it) and are not behind.
    pub fn audience(&self) -> impl Iterator<Item = PeerId> + '_ {
        let follows = |peer: &Peer| !peer.behind && peer.follows_since.is_some_and(|since| since < self.turn);
        self.peers.iter().filter(move |(_, peer)| follows(peer)).map(|(id, _)| *id)
    }

    /// Whether some peer waits for the journal, so that it is worth being told of its progress.
    pub fn awaits_durability(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Position up to which records are known to be on disk.
    pub fn durable(&self) -> Seq {
        self.durable
    }

    /// Position of the last record.
    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// Sizes and counts.
    pub fn census(&self) -> Census {
        Census {
            clocks: self.content.clocks.clone(),
            deleted_ticks: self.content.deleted.ticks(),
            parked_updates: self.content.parked.len(),
            parked_bytes: self.content.parked.bytes(),
            peers: self.peers.len(),
            present: self.awareness.present(),
        }
    }

    /// Structs that wait for a missing one.
    pub fn pending_structs(&self) -> u64 {
        self.content.parked.structs()
    }

    /// The whole state as one update, without what still waits.
    pub fn state(&mut self) -> Bytes {
        self.diff(&[0])
    }
}

impl Default for Replica {
    fn default() -> Self {
        Self::new()
    }
}

impl Content {
    fn load<'a>(updates: impl IntoIterator<Item = impl Stored<'a>>) -> Result<Self, LoadError> {
        Self::default().load_telling(updates, |_| Ok(()))
    }

    /// Loads clocks, deletes and what waits, without the structs.
    fn history<'a>(updates: impl IntoIterator<Item = impl Stored<'a>>) -> Result<Self, LoadError> {
        Self { structs: Encoded::forgetful(), ..Self::default() }.load_telling(updates, |_| Ok(()))
    }

    /// Loads, and tells what each update brings that is ready.
    fn load_telling<'a, E: From<LoadError>>(
        self,
        updates: impl IntoIterator<Item = impl Stored<'a>>,
        mut tell: impl FnMut(&mut Turn<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut content = self;
        for (at, update) in updates.into_iter().enumerate() {
            let malformed = |error| LoadError::Malformed { at, bytes: update.bytes().len(), error };
            let mut turn = Turn::default();
            // It was validated before it was logged; but nobody knows what has become of it since, and a fold gives it to yrs.
            content.gate_logged(update, None, &mut turn).map_err(malformed)?;
            content.take_unparked(&mut turn);
            tell(&mut turn)?;
        }
        content.nesting.shrink();
        Ok(content)
    }

    /// What somebody lacks who knows `known`.
    fn diff(&mut self, known: &StateVector) -> Vec<u8> {
        let delete_set = self.delete_set();
        self.structs.diff(known, &delete_set)
    }

    /// About how many bytes that is, found without making it.
    fn diff_bytes(&mut self, known: &StateVector) -> usize {
        self.structs.diff_bytes(known) + self.delete_set().len()
    }

    /// The delete set as it ends an update.
    fn delete_set(&mut self) -> Bytes {
        self.delete_set.get_or_insert_with(|| self.deleted.encode().into()).clone()
    }

    /// Forgets some of what is deleted; whether there was some.
    fn collect(&mut self) -> bool {
        let before = self.structs.bytes();
        self.structs.collect(&self.deleted, &self.nesting);
        self.structs.bytes() < before
    }

    /// Gates an update from outside into the turn. `Ok(false)`: it adds nothing. Whoever has no `share` may make the document as
    /// large as it likes.
    fn take<'a>(&mut self, update: &'a [u8], share: Option<Share>, turn: &mut Turn<'a>) -> Result<bool, Refusal> {
        let mut places = self.nesting.begin();
        let tell = &mut |client, item: Trait<'_>| places.add(client, &item);
        let gated = gate_telling(update, &self.clocks, &self.deleted, tell);
        let mut gated = gated.map_err(|_| Refusal::Malformed)?;
        if gated.adds_nothing() {
            return Ok(false);
        }
        if share.is_some() && !self.size_max.takes(&self.structs, &gated) {
            return Err(Refusal::Full);
        }
        // Places first: from here on they are the only thing that can refuse what is ready.
        let came_deleted = places.keep().map_err(|misplaced| match misplaced {
            Misplaced::TooDeep => Refusal::TooDeep,
            Misplaced::Unfitting => Refusal::Malformed,
        })?;
        let mut anything = !gated.is_empty();
        let mut refusal = None;
        if let Some(parked) = gated.parked.take() {
            match self.parked.park(parked, share, false) {
                Parking::Parked(bytes) => {
                    anything = true;
                    turn.parked.push(bytes);
                }
                Parking::Known => {}
                Parking::Full => refusal = Some(Refusal::NoRoom),
            }
        }
        self.accept(&gated, None, &came_deleted, turn);
        turn.add(update, gated, &self.nesting);
        match refusal {
            Some(refusal) => Err(refusal),
            None => Ok(anything),
        }
    }

    /// The same for an update that is in the log already, which nothing refuses. What is misplaced in it, as only an author
    /// can be who writes two different structs at one clock, waits until its ticks have come by another way, or a fold
    /// forgets it: so a restart finds everything where it was, whatever such an author does.
    ///
    /// # Errors
    /// When [`update::validate`] would refuse it; nothing has changed then.
    fn gate_logged<'a>(
        &mut self,
        update: impl Stored<'a>,
        share: Option<Share>,
        turn: &mut Turn<'a>,
    ) -> Result<(), WireError> {
        let (update, stored) = (update.bytes(), update.shared());
        let mut places = self.nesting.begin();
        let tell = &mut |client, item: Trait<'_>| places.add(client, &item);
        let mut gated = gate_telling(update, &self.clocks, &self.deleted, tell)?;
        if gated.adds_nothing() {
            return Ok(());
        }
        let (waiting, came_deleted) = match places.keep() {
            Ok(came_deleted) => (gated.parked.take(), Some(came_deleted)),
            Err(_) => (Some(Parked::until_known(update, &self.clocks)?), None),
        };
        if let Some(Parking::Parked(bytes)) = waiting.map(|parked| self.parked.park(parked, share, true)) {
            turn.parked.push(bytes);
        }
        if let Some(came_deleted) = came_deleted {
            self.accept(&gated, stored, &came_deleted, turn);
            turn.add(update, gated, &self.nesting);
        }
        Ok(())
    }

    /// From here on the gate knows what is in `gated`.
    fn accept(
        &mut self,
        gated: &Gated<'_>,
        stored: Option<&Bytes>,
        came_deleted: &[(ClientId, Clock, Clock)],
        turn: &mut Turn<'_>,
    ) {
        for run in &gated.runs {
            self.structs.append(run, stored, &self.nesting);
            self.clocks.insert(run.client, run.to);
            turn.advanced.push((run.client, run.to));
        }
        if came_deleted.is_empty() && gated.deletes.is_empty() {
            return;
        }
        self.delete_set = None;
        self.deleted.extend(came_deleted);
        // What came deleted has no content to give up.
        let mut deleted = Vec::new();
        self.deleted.for_each_missing_of(&gated.deletes, |client, from, to| deleted.push((client, from, to)));
        for &(client, from, to) in &deleted {
            self.structs.note_deleted(client, to - from);
        }
        self.deleted.extend(&deleted);
    }

    /// Lets parked updates go on that waited for what the turn has brought, and so on until none can.
    fn take_unparked(&mut self, turn: &mut Turn<'_>) {
        if self.parked.is_empty() {
            turn.advanced.clear();
            return;
        }
        while let Some((client, known)) = turn.advanced.pop() {
            for (update, share) in self.parked.take_ready(client, known) {
                // Parked in this very turn, it is not in the log yet; only what still waits of it needs to be.
                let fresh = turn.parked.iter().position(|parked| *parked == update);
                if let Some(at) = fresh {
                    turn.parked.remove(at);
                }
                let mut freed = Turn::default();
                // It was valid when it was parked.
                if self.gate_logged(&*update, share, &mut freed).is_ok() {
                    turn.advanced.append(&mut freed.advanced);
                    if fresh.is_some() {
                        turn.parked.append(&mut freed.parked);
                    }
                    turn.absorb(freed, &self.nesting);
                }
            }
        }
    }
}
