//! An answer too large for one frame, in portions that go out one after the other (WIRE g5).
//!
//! A frame counts only when it is complete, and a client gives up a connection that brings it none for 30 s, only to ask
//! for the same again. So a large answer is cut into updates in an order of causes, deletes last, and each leaves when
//! the one before it has left for the socket. The end is a SyncStep2 with what was added meanwhile. What came before a
//! line was cut is the client's: its next question says so.
//!
//! The cut of a whole document is shared by all who are under way with it, and lives as long as any of them is.

use std::sync::Arc;

use bytes::Bytes;

use super::pieces::Pieces;
use crate::ids::{ClientId, Clock};
use crate::limits::{ANSWER_BYTES_MAX, PORTION_BYTES, PORTIONS_OWN_BYTES_MAX};
use crate::wire::WireError;
use crate::wire::state_vector::StateVector;
use crate::wire::update::Walker;

/// Sizes by which answers are cut.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// A larger answer is cut, bytes.
    pub whole_max: usize,
    /// A portion is about so large, bytes.
    pub portion: usize,
    /// A larger answer is not cut for one peer alone, bytes.
    pub own_max: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { whole_max: ANSWER_BYTES_MAX, portion: PORTION_BYTES, own_max: PORTIONS_OWN_BYTES_MAX }
    }
}

/// An update, cut.
#[derive(Debug)]
pub struct Portions {
    list: Vec<Portion>,
    /// What the document held when it was cut.
    clocks: Arc<StateVector>,
    /// Its version then.
    version: u64,
}

#[derive(Debug)]
struct Portion {
    update: Bytes,
    /// Behind the last tick that it brings of each client.
    ends: Vec<(ClientId, Clock)>,
    deletes: bool,
}

impl Portions {
    /// Cuts `update`, which leads to `clocks`. `None` when that cannot be done, because a single value in it is larger
    /// than any message.
    pub fn cut(update: &[u8], portion: usize, clocks: Arc<StateVector>, version: u64) -> Option<Self> {
        let mut pieces = Pieces::new(update, portion).ok()?;
        let mut list = Vec::new();
        while let Some(piece) = pieces.next_piece().ok()? {
            list.push(Portion::new(piece).ok()?);
        }
        Some(Self { list, clocks, version })
    }
}

impl Portion {
    fn new(update: Vec<u8>) -> Result<Self, WireError> {
        let (mut walker, sections) = Walker::new(&update)?;
        let mut ends = Vec::new();
        for _ in 0..sections {
            let section = walker.section()?;
            let mut clock = section.clock;
            for _ in 0..section.structs {
                clock = walker.next(section.client, clock)?.end();
            }
            ends.push((section.client, clock));
        }
        let mut deletes = false;
        walker.delete_set(|_, _, _| deletes = true)?;
        Ok(Self { update: update.into(), ends, deletes })
    }

    /// Whether there is nothing in it for somebody who knows so much.
    fn is_known(&self, known: &StateVector) -> bool {
        let knows = |(client, end): &(ClientId, Clock)| known.get(client).is_some_and(|clock| clock >= end);
        !self.deletes && self.ends.iter().all(knows)
    }
}

/// One peer's way through the portions.
#[derive(Debug)]
pub struct Bringing {
    portions: Arc<Portions>,
    next: usize,
    /// What its peer knew before.
    known: Arc<StateVector>,
    /// It has asked, so that a SyncStep2 is the end.
    pub asked: bool,
    /// How often more was added in the time that it took than fits one frame.
    pub rounds: u32,
}

impl Bringing {
    /// From the beginning, for a peer that knows `known`.
    pub fn new(portions: Arc<Portions>, known: Arc<StateVector>, asked: bool, rounds: u32) -> Self {
        Self { portions, next: 0, known, asked, rounds }
    }

    /// The next portion in which there is something for the peer.
    pub fn next_portion(&mut self) -> Option<Bytes> {
        while let Some(portion) = self.portions.list.get(self.next) {
            self.next += 1;
            if !portion.is_known(&self.known) {
                return Some(portion.update.clone());
            }
        }
        None
    }

    /// What the peer knows when it has had all of them.
    pub fn base(&self) -> StateVector {
        let mut base = StateVector::clone(&self.known);
        for (client, clock) in &*self.portions.clocks {
            let known = base.entry(*client).or_default();
            *known = (*known).max(*clock);
        }
        base
    }

    /// Whether the document has got nothing since it was cut.
    pub fn is_all(&self, version: u64) -> bool {
        self.portions.version == version
    }
}
