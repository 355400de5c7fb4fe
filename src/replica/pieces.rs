//! A very large update, cut into updates that can be taken, logged and shown one after the other.
//!
//! What an admin brings may be a whole document that grew elsewhere, larger than any message and any record of the
//! journal. Its pieces come in an order of causes, so that each one can be integrated when those before it have been, and
//! whoever stops in the middle has a state that its authors could have seen, except for deletes, which come last. Merging
//! all of them is merging the update.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::ids::{ClientId, Clock};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::WireError;
use crate::wire::update::{Builder, Id, Kind, Section, Struct, Walker, write_part};

/// Why an update cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// It was not validated.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// One indivisible value is too large for any message.
    #[error("a single value of {bytes} bytes is in it; at most {max} are allowed")]
    ValueTooLarge {
        /// Its size.
        bytes: usize,
        /// The most there may be.
        max: usize,
    },
}

/// The pieces of one update, made when they are asked for.
pub struct Pieces<'a> {
    update: &'a [u8],
    /// Size at which a piece is done, bytes.
    bytes: usize,
    sections: BTreeMap<ClientId, Cursor<'a>>,
    /// Clients whose next struct may be ready.
    ready: VecDeque<ClientId>,
    /// The piece that is being made, and about how large it is.
    piece: Builder,
    piece_bytes: usize,
    /// The walker behind the last section, until the deletes are reached.
    deletes: Option<Walker<'a>>,
    delete_pieces: VecDeque<Vec<u8>>,
}

struct Cursor<'a> {
    walker: Walker<'a>,
    /// Clock of the next struct.
    next: Clock,
    /// Structs not yet given.
    left: u64,
    /// Behind the last tick.
    end: Clock,
    /// A struct of which only the first ticks were given.
    begun: Option<(Struct<'a>, Clock)>,
    /// Clients that wait for a tick of this one.
    waiters: BinaryHeap<Reverse<(Clock, ClientId)>>,
    /// Nothing it waits for will come any more.
    given_up: bool,
}

impl<'a> Pieces<'a> {
    /// Cuts `update`, which was validated, at about `bytes`. Reads it once; nothing is copied yet.
    ///
    /// # Errors
    /// [`CutError::ValueTooLarge`] when some piece would be larger than [`MESSAGE_BYTES_MAX`].
    pub fn new(update: &'a [u8], bytes: usize) -> Result<Self, CutError> {
        let (mut walker, count) = Walker::new(update)?;
        let mut sections = BTreeMap::new();
        for _ in 0..count {
            let Section { client, clock: first, structs } = walker.section()?;
            let start = walker.clone();
            let mut end = first;
            for _ in 0..structs {
                let item = walker.next(client, end)?;
                let size = item.to - item.from;
                // Room for the head of a section, and for what the piece holds already.
                let max = MESSAGE_BYTES_MAX - bytes.min(MESSAGE_BYTES_MAX / 2) - 64;
                if size > max && !is_divisible(&item) {
                    return Err(CutError::ValueTooLarge { bytes: size, max });
                }
                end = item.end();
            }
            let cursor = Cursor {
                walker: start,
                next: first,
                left: structs,
                end,
                begun: None,
                waiters: BinaryHeap::new(),
                given_up: false,
            };
            sections.insert(client, cursor);
        }
        Ok(Self {
            update,
            bytes,
            ready: sections.keys().rev().copied().collect(),
            sections,
            piece: Builder::default(),
            piece_bytes: 0,
            deletes: Some(walker),
            delete_pieces: VecDeque::new(),
        })
    }

    /// The next piece; `None` when there are no more.
    ///
    /// # Errors
    /// Only when the update was not validated.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        while let Some(client) = self.ready.pop_front() {
            if let Some(piece) = self.advance(client)? {
                return Ok(Some(piece));
            }
            // What is left waits in a circle, or behind such a circle. Whoever gets it says what is wrong with it.
            if self.ready.is_empty() {
                let stuck = self.sections.iter_mut().filter(|(_, cursor)| cursor.left > 0 && !cursor.given_up);
                self.ready.extend(stuck.map(|(client, cursor)| {
                    cursor.given_up = true;
                    *client
                }));
            }
        }
        if let Some(deletes) = self.deletes.take() {
            let structs = self.finish_piece();
            self.delete_pieces.extend(structs);
            self.cut_deletes(deletes)?;
        }
        Ok(self.delete_pieces.pop_front())
    }

    /// Moves one client on until it waits or the piece is full.
    fn advance(&mut self, client: ClientId) -> Result<Option<Vec<u8>>, WireError> {
        while let Some(cursor) = self.sections.get(&client).filter(|cursor| cursor.left > 0) {
            let mut walker = cursor.walker.clone();
            let (item, given) = match cursor.begun {
                Some(begun) => begun,
                None => (walker.next(client, cursor.next)?, 0),
            };
            if given == 0
                && !cursor.given_up
                && let Some(missing) = item.dependencies().find(|id| self.comes_later(*id))
                && let Some(other) = self.sections.get_mut(&missing.client)
            {
                other.waiters.push(Reverse((missing.clock, client)));
                return Ok(None);
            }
            let to = self.part_end(&item, given);
            if (given, to) == (0, item.len) {
                let bytes = self.update.get(item.from..item.to).unwrap_or_default();
                self.add(client, item.clock, bytes);
            } else {
                let mut bytes = Vec::new();
                write_part(&mut bytes, self.update, client, &item, given, to);
                self.add(client, item.clock + given, &bytes);
            }
            let Some(cursor) = self.sections.get_mut(&client) else { return Ok(None) };
            cursor.walker = walker;
            cursor.next = item.clock + to;
            cursor.begun = (to < item.len).then_some((item, to));
            cursor.left -= u64::from(to == item.len);
            while let Some(Reverse((clock, waiter))) = cursor.waiters.peek().copied()
                && clock < cursor.next
            {
                cursor.waiters.pop();
                self.ready.push_back(waiter);
            }
            if self.piece_bytes >= self.bytes {
                self.ready.push_front(client);
                return Ok(self.finish_piece());
            }
        }
        Ok(None)
    }

    fn add(&mut self, client: ClientId, clock: Clock, bytes: &[u8]) {
        self.piece.structs(client, clock, 1, &[bytes]);
        self.piece_bytes += bytes.len();
    }

    /// Whether this update brings the tick and has not given it yet.
    fn comes_later(&self, id: Id) -> bool {
        self.sections.get(&id.client).is_some_and(|cursor| cursor.next <= id.clock && id.clock < cursor.end)
    }

    /// Behind the last tick of `item`, of which `given` ticks were given, that the piece has room for.
    fn part_end(&self, item: &Struct<'a>, given: Clock) -> Clock {
        let room = self.bytes.saturating_sub(self.piece_bytes);
        if item.to - item.from <= room || !is_divisible(item) {
            return item.len;
        }
        item.end_within(self.update, given, room).clamp(given + 1, item.len)
    }

    fn finish_piece(&mut self) -> Option<Vec<u8>> {
        self.piece_bytes = 0;
        let piece = std::mem::take(&mut self.piece);
        (!piece.is_empty()).then(|| piece.finish())
    }

    fn cut_deletes(&mut self, mut walker: Walker<'a>) -> Result<(), WireError> {
        /// A client, a clock and a length, at most.
        const RANGE_BYTES: usize = 18;
        let ranges_max = (self.bytes / RANGE_BYTES).max(1);
        let (mut piece, mut ranges, pieces) = (Builder::default(), 0, &mut self.delete_pieces);
        walker.delete_set(|client, from, to| {
            piece.delete(client, from, to);
            ranges += 1;
            if ranges == ranges_max {
                ranges = 0;
                pieces.push_back(std::mem::take(&mut piece).finish());
            }
        })?;
        if !piece.is_empty() {
            pieces.push_back(piece.finish());
        }
        Ok(())
    }
}

/// Text and lists of plain values are runs of ticks. Under a key the whole run is one value.
fn is_divisible(item: &Struct<'_>) -> bool {
    matches!(item.kind, Kind::String(_) | Kind::Any) && item.len > 1 && !item.keyed
}
