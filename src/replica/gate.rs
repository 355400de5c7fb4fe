//! The causal gate: what of an update is new, what is ready, and what must wait (DESIGN §5, DEPENDENCIES safe use 2).
//!
//! yrs integrates an update with a gap partly and then forgets that something is missing (DEPENDENCIES A2.1), and
//! overlapping blocks corrupt its memory (A3). So it only ever gets what begins exactly where its knowledge ends: known
//! structs are dropped, a half-known one is cut, and what depends on something missing is set aside.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::delete_set::DeleteSet;
use crate::ids::{ClientId, Clock};
use crate::limits::{CHUNK_BYTES, UPDATE_STRUCTS_MAX};
use crate::wire::WireError;
use crate::wire::join::Last;
use crate::wire::state_vector::StateVector;
use crate::wire::update::{self, Builder, Descending, Id, Kind, Parent, Section, Struct, Walker, write_part};

/// What the gate made of one update.
#[derive(Debug, Default)]
pub struct Gated<'a> {
    /// Structs that are new and can be integrated now, per client.
    pub runs: Vec<Run<'a>>,
    /// What each new struct contributes beside its bytes, in an order in which every struct follows what it depends on; unless
    /// somebody was told.
    pub traits: Vec<(ClientId, Trait<'a>)>,
    /// Delete ranges that are new and whose ticks are known (counting `runs`).
    pub deletes: Vec<(ClientId, Clock, Clock)>,
    /// What depends on something missing, as an update of its own.
    pub parked: Option<Parked>,
    /// Everything in the update is new and ready, so its own bytes can be used as they are.
    pub whole: bool,
}

/// New structs of one client, beginning where our knowledge of that client ends.
#[derive(Debug)]
pub struct Run<'a> {
    /// The client.
    pub client: ClientId,
    /// First new tick.
    pub from: Clock,
    /// Behind the last new tick.
    pub to: Clock,
    /// Number of structs.
    pub structs: u64,
    /// The first struct cut at `from`, when its beginning was known; else empty.
    pub head: Cow<'a, [u8]>,
    /// The other structs as they lie in the update.
    pub rest: &'a [u8],
    /// Where those can be parted, when there are many and few of them can be joined to the one before.
    pub parts: Option<Parts>,
}

/// Where many structs can be parted without looking at them once more.
#[derive(Debug)]
pub struct Parts {
    /// Beginnings of the parts but the first, each [`CHUNK_BYTES`] or a little more behind the one before.
    pub marks: Vec<Mark>,
    /// The last struct, with its offset in [`Run::rest`].
    pub last: Last,
}

/// The beginning of a struct.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    /// Offset in [`Run::rest`].
    pub offset: usize,
    /// First tick.
    pub clock: Clock,
    /// Structs before it.
    pub structs: u64,
}

/// What the replica must know of a struct it accepts.
#[derive(Debug, Clone, Copy)]
pub struct Trait<'a> {
    /// First tick (after cutting).
    pub from: Clock,
    /// Behind the last tick.
    pub to: Clock,
    /// Where it hangs.
    pub place: Place<'a>,
    /// Whether it says that it is the value of a key; with a neighbour it doesn't say.
    pub keyed: bool,
    /// What it carries, where that matters to the replica.
    pub carries: Carries,
    /// It is not known to be deleted.
    pub lives: bool,
}

/// What a struct carries, where that matters to the replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carries {
    /// Values.
    Values,
    /// What a text is made of.
    Text,
    /// A shared type, by Yjs's number, in which other structs can hang.
    SharedType(u8),
    /// A sub-document, which yrs must not collect (DEPENDENCIES A3 b).
    Subdocument,
    /// Nothing any more: it came deleted.
    Deleted,
}

/// Where a struct hangs, as far as its bytes tell.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In this root type.
    Root(&'a str),
    /// In the type with this identity.
    In(Id),
    /// Beside this struct.
    Beside(Id),
    /// Behind the first of these and before the second.
    Between(Id, Id),
    /// Nowhere: it is garbage-collected.
    Nowhere,
}

/// An update that waits, and for what.
#[derive(Debug)]
pub struct Parked {
    /// The update.
    pub update: Vec<u8>,
    /// Per client the first tick whose arrival lets at least a part of it go on.
    pub missing: StateVector,
    /// Some of it is ready, but cannot be where it wants to be.
    pub misplaced: bool,
}

impl Parked {
    /// All of `update`, which is misplaced, to wait until any of its clients is known further than now.
    ///
    /// # Errors
    /// Only when `update` was not validated.
    pub fn until_known(update: &[u8], known: &StateVector) -> Result<Self, WireError> {
        let (mut walker, sections) = Walker::new(update)?;
        let mut missing = StateVector::new();
        for _ in 0..sections {
            let section = walker.section()?;
            let mut clock = section.clock;
            for _ in 0..section.structs {
                clock = walker.next(section.client, clock)?.end();
            }
            missing.insert(section.client, known.get(&section.client).copied().unwrap_or(0));
        }
        Ok(Self { update: update.to_vec(), missing, misplaced: true })
    }
}

impl Gated<'_> {
    /// Nothing new and nothing to wait for.
    pub fn adds_nothing(&self) -> bool {
        self.is_empty() && self.parked.is_none()
    }

    /// Nothing that can be integrated now.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.deletes.is_empty()
    }
}

/// One client's structs while they are sorted into known, ready and waiting.
struct Cursor<'a> {
    client: ClientId,
    /// First tick that the update claims to bring.
    first: Clock,
    /// Our knowledge before this update.
    known: Clock,
    /// Our knowledge with what is ready so far.
    ready: Clock,
    /// Structs not yet looked at or not ready.
    left: u64,
    /// Walks at the next of them.
    walker: Walker<'a>,
    /// Clock of the next of them.
    next: Clock,
    /// Behind the last tick and the last byte of the section.
    end: Clock,
    end_offset: usize,
    run_structs: u64,
    run_from_offset: Option<usize>,
    run_to_offset: usize,
    head: Cow<'a, [u8]>,
    /// As in [`Parts`], by offsets in the update.
    marks: Vec<Mark>,
    last: Option<Last>,
    /// How many of the run could be joined.
    joins: u64,
    /// Sections that wait for a tick of this one, the nearest first.
    waiters: BinaryHeap<Reverse<(Clock, usize)>>,
    /// The tick this section waits for, once it cannot go on.
    missing: Option<Id>,
}

/// Sorts `update` by what the replica knows.
///
/// # Errors
/// When [`update::validate`] refuses it.
pub fn gate<'a>(update: &'a [u8], known: &StateVector, deleted: &DeleteSet) -> Result<Gated<'a>, WireError> {
    let mut traits = Vec::with_capacity(1);
    let gated = gate_telling(update, known, deleted, &mut |client, item| traits.push((client, item)))?;
    Ok(Gated { traits, ..gated })
}

/// The same, telling of each new struct instead of listing it. What was told of before an error counts for nothing.
pub fn gate_telling<'a>(
    update: &'a [u8],
    known: &StateVector,
    deleted: &DeleteSet,
    tell: &mut impl FnMut(ClientId, Trait<'a>),
) -> Result<Gated<'a>, WireError> {
    let (mut walker, sections) = Walker::new(update)?;
    let mut cursors: Vec<Cursor<'a>> = Vec::with_capacity(sections.min(64) as usize);
    // Yjs's merging of updates relies on the largest client being first.
    let mut descends = true;
    let mut structs = 0u64;
    for _ in 0..sections {
        let section = walker.section()?;
        structs = structs.saturating_add(section.structs);
        if structs > UPDATE_STRUCTS_MAX {
            return Err(WireError::TooLarge { what: "structs in an update", size: structs, max: UPDATE_STRUCTS_MAX });
        }
        descends &= cursors.last().is_none_or(|before| before.client > section.client);
        let cursor = pass(update, &mut walker, section, descends.then_some(&cursors), known, tell)?;
        cursors.push(cursor);
    }
    cursors.sort_unstable_by_key(|cursor| cursor.client);
    if !descends && cursors.windows(2).any(|pair| matches!(pair, [a, b] if a.client == b.client)) {
        return Err(WireError::Malformed("a client appears twice"));
    }

    // What waits for a section behind its own.
    let mut queue: VecDeque<usize> = (0..cursors.len()).filter(|at| cursors[*at].left > 0).collect();
    while let Some(at) = queue.pop_front() {
        advance(update, &mut cursors, at, known, tell)?;
        // Wake those that waited for what this section has just brought.
        let ready = cursors[at].ready;
        while let Some(Reverse((clock, waiter))) = cursors[at].waiters.peek().copied() {
            if clock >= ready {
                break;
            }
            cursors[at].waiters.pop();
            cursors[waiter].missing = None;
            queue.push_back(waiter);
        }
    }

    let mut gated = Gated { whole: descends, ..Gated::default() };
    let mut parked = Builder::default();
    let mut missing = StateVector::new();
    let mut wait_for = |id: Id| {
        missing.entry(id.client).and_modify(|first| *first = id.clock.min(*first)).or_insert(id.clock);
    };
    let mut last_range = None;
    let mut deleting = Descending::default();
    walker.delete_set_by_client(
        |client| deleting.watch(client),
        |client, from, to| {
            let ready = match cursors.binary_search_by_key(&client, |cursor| cursor.client) {
                Ok(at) => cursors[at].ready,
                Err(_) => known.get(&client).copied().unwrap_or(0),
            };
            // yrs relies on ranges that rise and don't touch, of one client after the other; others are sorted by the builder.
            gated.whole &= last_range.is_none_or(|(last, end)| last > client || last == client && end < from);
            last_range = Some((client, to));
            let known_to = to.min(ready);
            let mut parts = 0;
            if from < known_to {
                deleted.for_each_missing(client, from, known_to, |part_from, part_to| {
                    parts += 1;
                    gated.whole &= (part_from, part_to) == (from, to);
                    gated.deletes.push((client, part_from, part_to));
                });
            }
            gated.whole &= parts == 1;
            if to > ready {
                let waits_from = from.max(ready);
                parked.delete(client, waits_from, to);
                wait_for(Id { client, clock: waits_from });
            }
        },
    )?;

    if deleting.is_broken() {
        update::check_clients_unique(update)?;
    }
    for mut cursor in cursors {
        gated.whole &= cursor.left == 0 && cursor.first == cursor.known && cursor.run_structs > 0;
        if cursor.left > 0 {
            let rest = update.get(cursor.walker.position()..cursor.end_offset).unwrap_or_default();
            parked.structs(cursor.client, cursor.next, cursor.left, &[rest]);
            cursor.missing.into_iter().for_each(&mut wait_for);
            // What it waits with may come by another way, as garbage that depends on nothing.
            wait_for(Id { client: cursor.client, clock: cursor.ready });
        }
        if let Some(from) = cursor.run_from_offset {
            let parts = cursor.take_parts(from);
            gated.runs.push(Run {
                client: cursor.client,
                from: cursor.known,
                to: cursor.ready,
                structs: cursor.run_structs,
                head: cursor.head,
                rest: update.get(from..cursor.run_to_offset).unwrap_or_default(),
                parts,
            });
        }
    }
    if !parked.is_empty() {
        gated.parked = Some(Parked { update: parked.finish(), missing, misplaced: false });
    }
    Ok(gated)
}

/// Walks through one section, as far as possible accepting what it brings. Of the sections before it, those of larger
/// clients, `before` says how far they are.
fn pass<'a>(
    update: &'a [u8],
    walker: &mut Walker<'a>,
    section: Section,
    before: Option<&Vec<Cursor<'a>>>,
    known: &StateVector,
    tell: &mut impl FnMut(ClientId, Trait<'a>),
) -> Result<Cursor<'a>, WireError> {
    let client = section.client;
    let known_to = |client: ClientId| known.get(&client).copied().unwrap_or(0);
    let ready_to = |client: ClientId| {
        let other = before.and_then(|before| {
            let at = before.binary_search_by(|cursor| client.cmp(&cursor.client)).ok()?;
            before.get(at)
        });
        other.map_or_else(|| known_to(client), |other| other.ready)
    };
    let known = known_to(client);
    let mut cursor = Cursor {
        client,
        first: section.clock,
        known,
        ready: known,
        left: section.structs,
        walker: walker.clone(),
        next: section.clock,
        end: section.clock,
        end_offset: 0,
        run_structs: 0,
        run_from_offset: None,
        run_to_offset: 0,
        head: Cow::Borrowed(&[]),
        marks: Vec::new(),
        last: None,
        joins: 0,
        waiters: BinaryHeap::new(),
        missing: None,
    };
    let mut waits = false;
    for _ in 0..section.structs {
        let start = (!waits).then(|| walker.clone());
        let item = walker.next(client, cursor.end)?;
        cursor.end = item.end();
        let Some(start) = start else { continue };
        if item.end() > cursor.ready {
            let is_there = |id: Id| id.clock < if id.client == client { cursor.ready } else { ready_to(id.client) };
            if item.clock > cursor.ready || item.kind == Kind::Skip || !item.dependencies().all(is_there) {
                waits = true;
                cursor.walker = start;
                cursor.next = item.clock;
                continue;
            }
            tell(client, accept(update, &mut cursor, &item));
        }
        cursor.left -= 1;
    }
    cursor.end_offset = walker.position();
    Ok(cursor)
}

/// Moves one section on as far as its dependencies allow.
fn advance<'a>(
    update: &'a [u8],
    cursors: &mut [Cursor<'a>],
    at: usize,
    known: &StateVector,
    tell: &mut impl FnMut(ClientId, Trait<'a>),
) -> Result<(), WireError> {
    while cursors[at].left > 0 {
        let cursor = &cursors[at];
        let (client, ready) = (cursor.client, cursor.ready);
        let mut walker = cursor.walker.clone();
        let item = walker.next(client, cursor.next)?;
        let is_known = item.end() <= ready;
        if !is_known {
            if item.clock > ready || item.kind == Kind::Skip {
                // A gap in this client's own ticks; nothing else in this update can fill it.
                cursors[at].missing = Some(Id { client, clock: ready });
                return Ok(());
            }
            if let Some(id) = item.dependencies().find(|id| !is_there(cursors, known, *id)) {
                cursors[at].missing = Some(id);
                if let Ok(other) = cursors.binary_search_by_key(&id.client, |cursor| cursor.client)
                    && cursors[other].end > id.clock
                {
                    cursors[other].waiters.push(Reverse((id.clock, at)));
                }
                return Ok(());
            }
        }
        let cursor = &mut cursors[at];
        cursor.walker = walker;
        cursor.next = item.end();
        cursor.left -= 1;
        if !is_known {
            tell(client, accept(update, cursor, &item));
        }
    }
    Ok(())
}

fn accept<'a>(update: &'a [u8], cursor: &mut Cursor<'a>, item: &Struct<'a>) -> Trait<'a> {
    let skip = cursor.ready - item.clock;
    if skip > 0 {
        let mut head = Vec::new();
        write_part(&mut head, update, cursor.client, item, skip, item.len);
        cursor.head = Cow::Owned(head);
    }
    let run_from = *cursor.run_from_offset.get_or_insert(if skip > 0 { item.to } else { item.from });
    if skip == 0 {
        cursor.mark(run_from, item);
    }
    cursor.run_to_offset = item.to;
    cursor.run_structs += 1;
    let place = match (item.parent, item.origin, item.right_origin) {
        _ if item.kind == Kind::Gc => Place::Nowhere,
        // What is left of a struct that was cut stands behind the tick that we know, which may be another's than it says:
        // whoever writes two different structs at one clock is not believed about either.
        (.., right) if skip > 0 => beside(Id { client: cursor.client, clock: cursor.ready - 1 }, right),
        (Parent::Root(name), ..) => Place::Root(name),
        (Parent::Item(id), ..) => Place::In(id),
        (Parent::Implied, Some(id), right) => beside(id, right),
        (Parent::Implied, None, Some(id)) => Place::Beside(id),
        (Parent::Implied, None, None) => Place::Nowhere,
    };
    let carries = match item.kind {
        Kind::Type(number) => Carries::SharedType(number),
        Kind::Doc => Carries::Subdocument,
        Kind::Gc | Kind::Skip | Kind::Deleted => Carries::Deleted,
        Kind::Binary | Kind::Any => Carries::Values,
        Kind::String(_) | Kind::Embed | Kind::Format => Carries::Text,
    };
    let from = std::mem::replace(&mut cursor.ready, item.end());
    Trait { from, to: item.end(), place, keyed: item.keyed, carries, lives: true }
}

impl Cursor<'_> {
    /// Notes where the run may be parted, whose bytes begin at offset `run_from`.
    fn mark(&mut self, run_from: usize, item: &Struct<'_>) {
        // What is longer is joined to no more.
        let is_short = |last: &Last| last.bytes_to(item.from) < CHUNK_BYTES;
        self.joins += u64::from(self.last.filter(is_short).is_some_and(|last| last.may_take(self.client, item)));
        self.last = Some(Last::of(item, item.from));
        let part_from = self.marks.last().map_or(run_from, |mark| mark.offset);
        if item.from - part_from >= CHUNK_BYTES {
            self.marks.push(Mark { offset: item.from, clock: item.clock, structs: self.run_structs });
        }
    }

    fn take_parts(&mut self, run_from: usize) -> Option<Parts> {
        /// One struct in so many may be joined, as yrs leaves them in what it encodes, and one for each chunk, across which nothing
        /// is joined anyway. A fold joins them some time.
        const JOINS_MAX: u64 = 4;
        let as_it_is = !self.marks.is_empty() && self.joins <= self.run_structs / JOINS_MAX + self.marks.len() as u64;
        let last = self.last.filter(|_| as_it_is)?.behind(run_from);
        let mut marks = std::mem::take(&mut self.marks);
        marks.iter_mut().for_each(|mark| mark.offset -= run_from);
        Some(Parts { marks, last })
    }
}

fn beside<'a>(left: Id, right: Option<Id>) -> Place<'a> {
    right.map_or(Place::Beside(left), |right| Place::Between(left, right))
}

fn is_there(cursors: &[Cursor<'_>], known: &StateVector, id: Id) -> bool {
    let ready = match cursors.binary_search_by_key(&id.client, |cursor| cursor.client) {
        Ok(at) => cursors[at].ready,
        Err(_) => known.get(&id.client).copied().unwrap_or(0),
    };
    id.clock < ready
}
