//! Structs of many clients in an order of causes: each behind what it stands beside and what it hangs in, so that whoever
//! takes them piece by piece never has to wait for a later one.
//!
//! [`Order`] knows only how far it has come, so the structs may be read from a document that changes meanwhile ([`Rows`]).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use crate::ids::{ClientId, Clock};
use crate::wire::WireError;
use crate::wire::update::{Builder, Id, Kind, Struct, Walker, write_part};

/// Where structs lie.
pub trait Source<'a> {
    /// Structs of `client` that follow each other, among them the one with tick `clock`, and the first tick of them; `None`
    /// when there is no such tick.
    fn rows(&self, client: ClientId, clock: Clock) -> Option<(Clock, &'a [u8])>;
}

/// Reads structs, each client's from front to back.
pub struct Rows<'a, S> {
    source: S,
    places: BTreeMap<ClientId, Place<'a>>,
}

/// Where one client's structs are being read.
struct Place<'a> {
    bytes: &'a [u8],
    walker: Walker<'a>,
    /// The struct that was read last.
    item: Option<Struct<'a>>,
    /// The tick behind it.
    next: Clock,
}

impl<'a, S: Source<'a>> Rows<'a, S> {
    /// Nothing is read yet.
    pub fn new(source: S) -> Self {
        Self { source, places: BTreeMap::new() }
    }

    /// The struct of `client` with tick `clock`, which is not before the one asked for last, and the bytes it lies in.
    fn at(&mut self, client: ClientId, clock: Clock) -> Result<(Struct<'a>, &'a [u8]), WireError> {
        loop {
            let place = match self.places.get_mut(&client) {
                Some(place) if place.next > clock || place.walker.position() < place.bytes.len() => place,
                before => {
                    let read = before.map_or(0, |place| place.next);
                    let is_later = |(from, bytes): &(Clock, &[u8])| (read..=clock).contains(from) && !bytes.is_empty();
                    let rows = self.source.rows(client, clock).filter(is_later);
                    let (next, bytes) = rows.ok_or(WireError::Truncated)?;
                    let place = Place { bytes, walker: Walker::start(bytes), item: None, next };
                    self.places.insert(client, place);
                    continue;
                }
            };
            if let Some(item) = place.item.filter(|item| clock < item.end()) {
                return Ok((item, place.bytes));
            }
            let item = place.walker.next(client, place.next)?;
            (place.item, place.next) = (Some(item), item.end());
        }
    }
}

/// How far structs have been given.
#[derive(Debug, Default)]
pub struct Order {
    cursors: BTreeMap<ClientId, Cursor>,
    /// Clients whose next struct may be ready.
    ready: VecDeque<ClientId>,
}

#[derive(Debug)]
struct Cursor {
    /// The next tick.
    next: Clock,
    /// Behind the last tick.
    end: Clock,
    /// Clients that wait for a tick of this one.
    waiters: BinaryHeap<Reverse<(Clock, ClientId)>>,
    /// Nothing it waits for will come any more.
    given_up: bool,
}

/// Some structs, as an update without deletes.
#[derive(Debug)]
pub struct Piece {
    /// The update.
    pub update: Vec<u8>,
    /// Behind the last tick of each client in it.
    pub ends: Vec<(ClientId, Clock)>,
}

/// The piece that is being made.
#[derive(Default)]
struct Making {
    structs: Builder,
    bytes: usize,
}

impl Order {
    /// Also gives the ticks of `client` up to `end`: from `from` on where nothing of it was given, else from where that
    /// ended.
    pub fn extend(&mut self, client: ClientId, from: Clock, end: Clock) {
        if end <= from {
            return;
        }
        let new = || Cursor { next: from, end: from, waiters: BinaryHeap::new(), given_up: false };
        let cursor = self.cursors.entry(client).or_insert_with(new);
        if cursor.next == cursor.end && cursor.end < end {
            self.ready.push_back(client);
        }
        cursor.end = cursor.end.max(end);
        cursor.given_up = false;
    }

    /// The next piece, of about `bytes` bytes; `None` when there are no more.
    ///
    /// # Errors
    /// Only when what `rows` reads was not validated.
    pub fn next_piece<'a>(
        &mut self,
        rows: &mut Rows<'a, impl Source<'a>>,
        bytes: usize,
    ) -> Result<Option<Piece>, WireError> {
        let mut piece = Making::default();
        while let Some(client) = self.ready.pop_front() {
            if self.advance(client, rows, bytes, &mut piece)? {
                break;
            }
            // What is left waits in a circle, or behind such a circle. Whoever gets it says what is wrong with it.
            if self.ready.is_empty() {
                let is_stuck = |cursor: &Cursor| cursor.next < cursor.end && !cursor.given_up;
                let stuck = self.cursors.iter_mut().filter(|(_, cursor)| is_stuck(cursor));
                self.ready.extend(stuck.map(|(client, cursor)| {
                    cursor.given_up = true;
                    *client
                }));
            }
        }
        if piece.structs.is_empty() {
            return Ok(None);
        }
        let ends =
            piece.structs.clients().filter_map(|client| Some((client, self.cursors.get(&client)?.next))).collect();
        Ok(Some(Piece { update: piece.structs.finish(), ends }))
    }

    /// Moves one client on until it waits, has come to its end, or the piece is full; whether the latter.
    fn advance<'a>(
        &mut self,
        client: ClientId,
        rows: &mut Rows<'a, impl Source<'a>>,
        bytes: usize,
        piece: &mut Making,
    ) -> Result<bool, WireError> {
        while let Some(&Cursor { next, end, given_up, .. }) = self.cursors.get(&client)
            && next < end
        {
            let (item, update) = rows.at(client, next)?;
            let given = next - item.clock;
            if given == 0
                && !given_up
                && let Some(missing) = item.dependencies().find(|id| self.comes_later(*id))
                && let Some(other) = self.cursors.get_mut(&missing.client)
            {
                other.waiters.push(Reverse((missing.clock, client)));
                return Ok(false);
            }
            let to = part_end(&item, update, given, bytes.saturating_sub(piece.bytes)).min(end - item.clock);
            if (given, to) == (0, item.len) {
                piece.add(client, next, update.get(item.from..item.to).unwrap_or_default());
            } else {
                let mut part = Vec::new();
                write_part(&mut part, update, client, &item, given, to);
                piece.add(client, next, &part);
            }
            let Some(cursor) = self.cursors.get_mut(&client) else { return Ok(false) };
            cursor.next = item.clock + to;
            while let Some(Reverse((clock, waiter))) = cursor.waiters.peek().copied()
                && clock < cursor.next
            {
                cursor.waiters.pop();
                self.ready.push_back(waiter);
            }
            if piece.bytes >= bytes {
                self.ready.push_front(client);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the tick is among those to be given and was not given yet.
    fn comes_later(&self, id: Id) -> bool {
        self.cursors.get(&id.client).is_some_and(|cursor| cursor.next <= id.clock && id.clock < cursor.end)
    }
}

impl Making {
    fn add(&mut self, client: ClientId, clock: Clock, bytes: &[u8]) {
        self.structs.structs(client, clock, 1, &[bytes]);
        self.bytes += bytes.len();
    }
}

/// Behind the last tick of `item`, of which `given` ticks were given, that there is `room` for.
fn part_end(item: &Struct<'_>, update: &[u8], given: Clock, room: usize) -> Clock {
    if item.to - item.from <= room || !is_divisible(item) {
        return item.len;
    }
    item.end_within(update, given, room).clamp(given + 1, item.len)
}

/// Text and lists of plain values are runs of ticks. Under a key the whole run is one value.
pub fn is_divisible(item: &Struct<'_>) -> bool {
    matches!(item.kind, Kind::String(_) | Kind::Any) && item.len > 1 && !item.keyed
}
