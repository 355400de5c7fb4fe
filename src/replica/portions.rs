//! An answer too large for one frame, in portions that go out one after the other (WIRE g5).
//!
//! A frame counts only when it is complete, and a client gives up a connection that brings it none for 30 s, only to ask
//! for the same again. So a large answer is cut into updates in an order of causes, deletes last, and each leaves when
//! the one before it has left for the socket. The end is a SyncStep2 with what was added meanwhile. What came before a
//! line was cut is the client's: its next question says so.
//!
//! A portion is made when somebody is to have it, from the document as it is then, so that nobody waits for a large document
//! to be walked through, and whoever leaves in the middle has cost no more than he was given. Those who know nothing, a crowd
//! as a rule, share theirs ([`Shared`]).

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::Content;
use super::encoded::Encoded;
use super::order::{Order, Piece, Rows};
use super::pieces::cut_deletes;
use crate::ids::{ClientId, Clock};
use crate::limits::{ANSWER_BYTES_MAX, PORTION_BYTES, PORTIONS_ROUNDS_MAX, PORTIONS_SHARED_BYTES_MIN};
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
    /// So many bytes of shared portions are kept beside as many as the document has and a quarter more.
    pub shared_min: usize,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { whole_max: ANSWER_BYTES_MAX, portion: PORTION_BYTES, shared_min: PORTIONS_SHARED_BYTES_MIN }
    }
}

/// The way from what somebody knows to what the document holds.
#[derive(Debug, Default)]
pub struct Cut {
    order: Order,
    /// What is known at its end.
    clocks: StateVector,
    /// Version of the document that it leads to.
    version: u64,
    /// The deletes of that version, once they were reached.
    deletes: Option<VecDeque<Vec<u8>>>,
}

impl Cut {
    /// Leads from `known` to what `content` holds now.
    pub(super) fn new(known: StateVector, content: &Content) -> Self {
        let mut cut = Self { clocks: known, ..Self::default() };
        cut.lead_on(content);
        cut
    }

    /// Leads on to what `content` holds now.
    fn lead_on(&mut self, content: &Content) {
        for (&client, &end) in &content.clocks {
            let known = self.clocks.entry(client).or_default();
            self.order.extend(client, *known, end);
            *known = end.max(*known);
        }
        (self.version, self.deletes) = (content.version, None);
    }

    /// Whether it leads to what the document holds now, deletes and all.
    fn is_all(&self, content: &Content) -> bool {
        self.version == content.version
    }

    /// The next portion; `None` at the end, and when no more than one frame is missing to the state of now. While it leads
    /// elsewhere and more is missing, it leads on, and `rounds` counts that.
    ///
    /// # Errors
    /// Only when the document's bytes were not validated.
    fn next(&mut self, content: &mut Content, sizes: &Sizes, rounds: &mut u32) -> Result<Option<Piece>, WireError> {
        loop {
            if let Some(piece) = self.order.next_piece(&mut Rows::new(&content.structs), sizes.portion)? {
                return Ok(Some(piece));
            }
            if self.is_all(content) {
                let deletes = match &mut self.deletes {
                    Some(deletes) => deletes,
                    None => self.deletes.insert(cut_deletes(Walker::start(&content.delete_set()), sizes.portion)?),
                };
                return Ok(deletes.pop_front().map(|update| Piece { update, ends: Vec::new() }));
            }
            if *rounds >= PORTIONS_ROUNDS_MAX || content.diff_bytes(&self.clocks) <= sizes.whole_max {
                return Ok(None);
            }
            *rounds += 1;
            self.lead_on(content);
        }
    }
}

/// The portions of the whole document, which those who know nothing take one after the other, each at its own pace.
#[derive(Debug)]
pub struct Shared {
    cut: Cut,
    made: Vec<Portion>,
    /// Of all that were made.
    bytes: usize,
    /// Held by those who are under way.
    in_use: Weak<()>,
}

#[derive(Debug)]
struct Portion {
    update: Bytes,
    /// Behind the last tick that it brings of each client.
    ends: Vec<(ClientId, Clock)>,
}

impl Shared {
    /// Whether nobody is under way any more.
    pub fn is_idle(&self) -> bool {
        self.in_use.strong_count() == 0
    }

    /// Whether so much of it is there that it may be mostly what the document holds no more.
    pub(super) fn is_stale(&self, structs: &Encoded, sizes: &Sizes) -> bool {
        self.bytes > sizes.shared_min.saturating_add(structs.bytes() + structs.bytes() / 4)
    }

    /// What somebody knows who has had `next` portions.
    fn known(&self, next: usize) -> StateVector {
        let mut known = StateVector::new();
        // A client's ticks come in order.
        self.made.iter().take(next).for_each(|portion| known.extend(portion.ends.iter().copied()));
        known
    }
}

/// One peer's way through the portions.
#[derive(Debug)]
pub struct Bringing {
    way: Way,
    /// It has asked, so that a SyncStep2 is the end.
    pub asked: bool,
    /// How often more was added in the time that it took than fits one frame.
    rounds: u32,
}

#[derive(Debug)]
enum Way {
    /// With all who know nothing.
    Shared { next: usize, _in_use: Arc<()> },
    /// Alone.
    Own(Box<Cut>),
}

/// What comes next for a peer.
pub enum Next {
    /// A portion.
    Portion(Bytes),
    /// It has had all there is.
    All(StateVector),
    /// What is missing to what it knows fits one frame, or has to.
    Rest(StateVector),
}

impl Bringing {
    /// To a peer that knows `known`.
    pub(super) fn new(known: &StateVector, asked: bool, content: &Content, shared: &mut Option<Shared>) -> Self {
        let way = if known.is_empty() {
            let shared = shared.get_or_insert_with(|| Shared {
                cut: Cut::new(StateVector::new(), content),
                made: Vec::new(),
                bytes: 0,
                in_use: Weak::new(),
            });
            let in_use = shared.in_use.upgrade().unwrap_or_default();
            shared.in_use = Arc::downgrade(&in_use);
            Way::Shared { next: 0, _in_use: in_use }
        } else {
            Way::Own(Box::new(Cut::new(known.clone(), content)))
        };
        Self { way, asked, rounds: 0 }
    }

    /// Goes on alone from where it is on the way that was shared.
    pub(super) fn leave(&mut self, shared: &Shared, content: &Content) {
        if let Way::Shared { next, .. } = self.way {
            self.way = Way::Own(Box::new(Cut::new(shared.known(next), content)));
        }
    }

    /// What comes next; the portion before has left.
    ///
    /// # Errors
    /// Only when the document's bytes were not validated.
    pub(super) fn next(
        &mut self,
        content: &mut Content,
        shared: Option<&mut Shared>,
        sizes: &Sizes,
    ) -> Result<Next, WireError> {
        let cut = match (&mut self.way, shared) {
            (Way::Own(cut), _) => {
                if let Some(piece) = cut.next(content, sizes, &mut self.rounds)? {
                    return Ok(Next::Portion(piece.update.into()));
                }
                &**cut
            }
            (Way::Shared { next, .. }, Some(shared)) => {
                if *next == shared.made.len()
                    && let Some(Piece { update, ends }) = shared.cut.next(content, sizes, &mut self.rounds)?
                {
                    shared.bytes += update.len();
                    shared.made.push(Portion { update: update.into(), ends });
                }
                if let Some(portion) = shared.made.get(*next) {
                    *next += 1;
                    return Ok(Next::Portion(portion.update.clone()));
                }
                &shared.cut
            }
            // It is there as long as somebody is under way.
            (Way::Shared { .. }, None) => return Ok(Next::Rest(StateVector::new())),
        };
        let known = cut.clocks.clone();
        Ok(if cut.is_all(content) { Next::All(known) } else { Next::Rest(known) })
    }
}
