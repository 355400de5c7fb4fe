//! What a document knows of each peer: whether it follows, what it has, and which acks it waits for.
//!
//! A y-websocket client asks for acks; a Hocuspocus client counts its writes and is told of each ([`Confirming`]).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::portions::Bringing;
use crate::ids::{Access, Principal, Seq};
use crate::limits::{ACKS_MAX, CONFIRMED_AT_ONCE, REFUSALS_MAX};
use crate::wire::WireError;
use crate::wire::close::CloseReason;
use crate::wire::dialect::Dialect;
use crate::wire::message::ServerMessage;
use crate::wire::state_vector::StateVector;
use crate::wire::update::Walker;

/// One session's place in the document.
#[derive(Debug)]
pub struct Peer {
    /// What it may do here. Held where updates are taken, so that no way to the document leads past it.
    pub access: Access,
    /// Who it is, where that can be told.
    pub principal: Option<Principal>,
    /// The turn in which its SyncStep1 was answered (or it caught up): it gets the updates of later turns.
    pub follows_since: Option<u64>,
    /// Its outbox dropped something: it gets one diff once it has drained.
    pub behind: bool,
    /// What it has for sure, by its own word or because everything sent had left its outbox; a catch-up diff starts here.
    /// Never what was merely queued: that may be dropped.
    pub base: Arc<StateVector>,
    /// The large answer that is being brought to it in portions; until that is done it does not follow.
    pub bringing: Option<Bringing>,
    /// Acks that wait for the journal, in order.
    acks: VecDeque<(Seq, Ack)>,
    /// Of a client that counts its writes: how far it has come with that.
    pub confirming: Option<Confirming>,
    /// Version of our state when it was last asked for what we miss, so that it is not asked twice for the same.
    pub asked_at: Option<u64>,
    /// It keeps sending updates for which there is no room; next time it is closed.
    pub over_parked: bool,
    /// A write was refused: nothing it sent afterwards may be called durable.
    pub refused: bool,
    /// Why no further write of it is taken: what it sends from now on builds on one that was refused.
    pub turned_away: Option<CloseReason>,
    /// Bytes of a write for which the document was too large, if that is why. Such a one may still delete, and is called back
    /// when there is room.
    pub unfitting: Option<u64>,
}

/// What a peer is told once the log is durable.
#[derive(Debug)]
enum Ack {
    /// What it sent along with its question.
    Echo(Bytes),
    /// So many of its writes.
    Writes(u32),
}

/// How far a client has come with sending what it made while it was away. It does so when it hears of us, in one go, behind
/// its SyncStep1 and behind what it has made meanwhile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backlog {
    /// Nothing of it has come, should this turn to [`Backlog::Coming`]; if it does not, nobody knows.
    #[default]
    Ahead,
    /// It is among what comes now.
    Coming,
    /// All of it has come.
    Through,
}

/// The arithmetic of a Hocuspocus client (WIRE h4): it counts one when it begins to sync, one more for each update, and
/// one less for each confirmation; at zero it shows "saved". To be true, that must not happen before all is durable, and
/// to happen at all, each count needs its confirmation.
///
/// What it wrote while it was away it sends when it is back, though beginning to sync has reset its count. Such an update
/// is in what the client says it has, and in its answer to our question, so that answer's confirmation stands for both.
/// Where nothing in an update tells when it was made, its place in what comes does ([`Backlog`]).
#[derive(Debug, Default)]
pub struct Confirming {
    /// What the client had when it began to sync, until it has answered our question.
    had: Option<StateVector>,
    /// Questions of ours beyond the one for each of its own; it does not count the answers.
    uncounted: u32,
    /// How far it has come with what it kept.
    backlog: Backlog,
    /// Updates that may have been kept, and were not if the pong has yet to come.
    undecided: u32,
    /// Writes of this turn to be confirmed when its record is durable.
    written: u32,
    /// Writes refused because of what they are.
    refusals: u32,
}

impl Confirming {
    /// The client begins to sync and has this: what it counted before is forgotten.
    fn begin(&mut self, had: StateVector) {
        // The answer that it still owes is to a question that it has forgotten.
        self.uncounted += u32::from(self.had.is_some());
        self.had = Some(had);
        (self.written, self.undecided) = (0, 0);
    }

    /// We ask it for what we miss, though it has not begun to sync.
    fn ask(&mut self) {
        self.uncounted += 1;
    }

    /// It has answered one of our questions; whether the answer was taken.
    pub fn answered(&mut self, taken: bool) {
        if self.uncounted > 0 {
            self.uncounted -= 1;
        } else {
            self.had = None;
            self.written += u32::from(taken);
        }
    }

    /// An update of it was taken. One of deletions alone does not tell when it was made.
    pub fn updated(&mut self, update: &[u8]) {
        let may_be_kept = || self.had.as_ref().is_some_and(|had| is_within(update, had).unwrap_or(false));
        match self.backlog {
            Backlog::Through => self.written += 1,
            Backlog::Ahead if may_be_kept() => self.undecided += 1,
            Backlog::Coming if may_be_kept() => {}
            Backlog::Ahead | Backlog::Coming => self.written += 1,
        }
    }

    /// It has come so far with what it kept; whether more is to be confirmed for that.
    fn note_backlog(&mut self, backlog: Backlog) -> bool {
        let undecided = std::mem::take(&mut self.undecided);
        let were_new = self.backlog == Backlog::Ahead && backlog == Backlog::Coming;
        self.backlog = backlog;
        self.written += if were_new { undecided } else { 0 };
        self.written > 0
    }
}

/// Whether who knows `known` knows every struct of a validated update.
fn is_within(update: &[u8], known: &StateVector) -> Result<bool, WireError> {
    let (mut walker, sections) = Walker::new(update)?;
    for _ in 0..sections {
        let section = walker.section()?;
        let (mut clock, client) = (section.clock, section.client);
        for _ in 0..section.structs {
            clock = walker.next(client, clock)?.end();
        }
        if known.get(&client).is_none_or(|known| clock > *known) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Peer {
    /// One that has just come.
    pub fn new(access: Access, dialect: Dialect) -> Self {
        Self {
            access,
            principal: None,
            confirming: dialect.confirms_each_write().then(Confirming::default),
            follows_since: None,
            behind: false,
            base: Arc::default(),
            bringing: None,
            acks: VecDeque::new(),
            asked_at: None,
            over_parked: false,
            refused: false,
            turned_away: None,
            unfitting: None,
        }
    }

    /// In this turn it is being sent everything there is.
    pub fn follow(&mut self, turn: u64) {
        self.follows_since = Some(turn);
        self.behind = false;
    }

    /// A write of it was refused: from now on it gets no ack. One whose writes are confirmed one by one is told that this
    /// one is not.
    pub fn refuse(&mut self) -> Option<ServerMessage> {
        if self.confirming.is_some() {
            return Some(ServerMessage::Refused);
        }
        self.refused = true;
        self.acks = VecDeque::new();
        None
    }

    /// An update of it was refused because of what it is. `Some` is what it is told; `None` when it has been told often
    /// enough and is to go (WIRE §6).
    pub fn refuse_again(&mut self) -> Option<ServerMessage> {
        let confirming = self.confirming.as_mut()?;
        confirming.refusals += 1;
        (confirming.refusals < REFUSALS_MAX).then_some(ServerMessage::Refused)
    }

    /// It asks what it misses, and has this; whether it is to be asked in turn.
    pub fn begin_sync(&mut self, had: impl FnOnce() -> StateVector) -> bool {
        let Some(confirming) = &mut self.confirming else { return false };
        confirming.begin(had());
        self.acks.retain(|(_, ack)| matches!(ack, Ack::Echo(_)));
        true
    }

    /// It has come so far with what it kept; whether something is to be confirmed for that.
    pub fn note_backlog(&mut self, backlog: Backlog) -> bool {
        self.confirming.as_mut().is_some_and(|confirming| confirming.note_backlog(backlog))
    }

    /// Notes that it is asked for what we miss, for a reason of ours.
    pub fn ask(&mut self) {
        if let Some(confirming) = &mut self.confirming {
            confirming.ask();
        }
    }

    /// Notes an ack to be given once the log is durable up to `seq`. Of too many the oldest goes: the later ones say
    /// more (WIRE §2: the client compares with its latest version).
    pub fn owe_ack(&mut self, seq: Seq, bytes: Bytes) {
        if self.acks.len() == ACKS_MAX {
            self.acks.pop_front();
        }
        self.acks.push_back((seq, Ack::Echo(bytes)));
    }

    /// Notes that the writes of this turn are to be confirmed once the log is durable up to `seq`; whether there are any.
    /// Of too many the last ones wait together: none may be lost, and later is true as well.
    pub fn owe_confirmations(&mut self, seq: Seq) -> bool {
        let Some(written) = self.confirming.as_mut().map(|confirming| std::mem::take(&mut confirming.written)) else {
            return false;
        };
        if written == 0 {
            return false;
        }
        let full = self.acks.len() >= ACKS_MAX;
        match self.acks.back_mut() {
            Some((last, Ack::Writes(waiting))) if full || *last == seq => {
                *last = seq;
                *waiting = waiting.saturating_add(written);
            }
            _ => self.acks.push_back((seq, Ack::Writes(written))),
        }
        true
    }

    /// Whether acks wait.
    pub fn is_owed(&self) -> bool {
        !self.acks.is_empty()
    }

    /// Takes the acks that are due at `durable`.
    pub fn release_acks(&mut self, durable: Seq) -> impl Iterator<Item = ServerMessage> + '_ {
        let due = if self.refused { 0 } else { self.acks.partition_point(|(seq, _)| *seq <= durable) };
        self.acks.drain(..due).flat_map(|(_, ack)| {
            let (echo, writes) = match ack {
                Ack::Echo(bytes) => (Some(ServerMessage::Ack(bytes)), 0),
                Ack::Writes(writes) => (None, writes),
            };
            let at_once = move |from: u32| ServerMessage::Confirmed((writes - from).min(CONFIRMED_AT_ONCE));
            echo.into_iter().chain((0..writes).step_by(CONFIRMED_AT_ONCE as usize).map(at_once))
        })
    }
}
