//! What a document knows of each peer: whether it follows, what it has, and which acks it waits for.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::portions::Bringing;
use crate::ids::{Access, Seq};
use crate::limits::ACKS_MAX;
use crate::wire::close::CloseReason;
use crate::wire::state_vector::StateVector;

/// One session's place in the document.
#[derive(Debug)]
pub struct Peer {
    /// What it may do here. Held where updates are taken, so that no way to the document leads past it.
    pub access: Access,
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
    pub acks: VecDeque<(Seq, Bytes)>,
    /// Version of our state when it was last asked for what we miss, so that it is not asked twice for the same.
    pub asked_at: Option<u64>,
    /// It keeps sending updates for which there is no room; next time it is closed.
    pub over_parked: bool,
    /// A write was refused: nothing it sent afterwards may be called durable.
    pub refused: bool,
    /// Why no further write of it is taken: what it sends from now on builds on one that was refused.
    pub turned_away: Option<CloseReason>,
}

impl Peer {
    /// One that has just come.
    pub fn new(access: Access) -> Self {
        Self {
            access,
            follows_since: None,
            behind: false,
            base: Arc::default(),
            bringing: None,
            acks: VecDeque::new(),
            asked_at: None,
            over_parked: false,
            refused: false,
            turned_away: None,
        }
    }

    /// In this turn it is being sent everything there is.
    pub fn follow(&mut self, turn: u64) {
        self.follows_since = Some(turn);
        self.behind = false;
    }

    /// A write of it was refused: from now on it gets no ack.
    pub fn refuse(&mut self) {
        self.refused = true;
        self.acks = VecDeque::new();
    }

    /// Notes an ack to be given once the log is durable up to `seq`. Of too many the oldest goes: the later ones say
    /// more (WIRE §2: the client compares with its latest version).
    pub fn owe_ack(&mut self, seq: Seq, bytes: Bytes) {
        if self.acks.len() == ACKS_MAX {
            self.acks.pop_front();
        }
        self.acks.push_back((seq, bytes));
    }

    /// Takes the acks that are due at `durable`.
    pub fn release_acks(&mut self, durable: Seq) -> impl Iterator<Item = Bytes> + '_ {
        let due = if self.refused { 0 } else { self.acks.partition_point(|(seq, _)| *seq <= durable) };
        self.acks.drain(..due).map(|(_, bytes)| bytes)
    }
}
