//! Updates in Yjs's v1 encoding, read as they lie in memory.
//!
//! [`validate`] is the door: one pass, no recursion, nothing allocated by a claim (HARDENING §2). What has passed it can
//! be walked with [`Walker`], sliced by clock with [`write_part`], and put together again with [`Builder`]. yrs sees
//! nothing that has not passed (DEPENDENCIES, safe use 1).
//!
//! Layout: `varUint sections · sections × (varUint structs · varUint client · varUint clock · structs) · delete set`,
//! where the delete set is `varUint clients · clients × (varUint client · varUint ranges · ranges × (clock · len))`.
//! Inside a section, structs follow each other without a hole; a hole is a struct of its own ([`Kind::Skip`]).

use std::collections::BTreeSet;

use super::join::Last;
use super::lib0::{Reader, write_var_uint};
use super::state_vector::{read_client, read_clock};
use super::{WireError, json};
use crate::ids::{ClientId, Clock};
use crate::limits::{CLOCK_MAX, KEY_BYTES_MAX, UPDATE_STRUCTS_MAX};

/// The update that changes nothing.
pub const EMPTY: &[u8] = &[0, 0];

const HAS_ORIGIN: u8 = 0x80;
const HAS_RIGHT_ORIGIN: u8 = 0x40;
const HAS_PARENT_SUB: u8 = 0x20;
const REF_BITS: u8 = 0x1f;
/// How lib0's `Any` begins when it is an object.
const ANY_OBJECT: u8 = 118;

/// One clock tick of one client: the identity of a character, an element, a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// Who wrote it.
    pub client: ClientId,
    /// Its clock.
    pub clock: Clock,
}

/// Where an item hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent<'a> {
    /// In the root type of this name.
    Root(&'a str),
    /// In the shared type that this item carries.
    Item(Id),
    /// Where its origin (or right origin) hangs; the bytes don't say.
    Implied,
}

/// What a struct is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Deleted and forgotten.
    Gc,
    /// A hole: the sender does not have these ticks either.
    Skip,
    /// Deleted, but its place is kept.
    Deleted,
    /// A byte array.
    Binary,
    /// Text, one tick per UTF-16 unit.
    String(&'a str),
    /// An embedded JSON object in a text.
    Embed,
    /// A formatting mark in a text.
    Format,
    /// A shared type, by Yjs's type number.
    Type(u8),
    /// JSON-like values, one tick each.
    Any,
    /// A sub-document.
    Doc,
}

/// One struct, as it lies in the update.
#[derive(Debug, Clone, Copy)]
pub struct Struct<'a> {
    /// First clock tick.
    pub clock: Clock,
    /// Clock ticks, at least 1.
    pub len: Clock,
    /// What it is.
    pub kind: Kind<'a>,
    /// The item it was written after.
    pub origin: Option<Id>,
    /// The item it was written before.
    pub right_origin: Option<Id>,
    /// Where it hangs.
    pub parent: Parent<'a>,
    /// The key in a map or attribute list, where the bytes repeat it.
    pub parent_sub: Option<&'a str>,
    /// It stands under a key, which its neighbour tells when [`Struct::parent_sub`] does not.
    pub keyed: bool,
    /// Offset of its first byte in the update.
    pub from: usize,
    /// Offset of its content in the update (behind the info byte, origins and parent).
    content: usize,
    /// Offset behind its last byte.
    pub to: usize,
}

impl Struct<'_> {
    /// Bytes before its content: the info byte, origins and parent.
    pub fn head_bytes(&self) -> usize {
        self.content - self.from
    }

    /// Whether nothing but its place needs to be known of it once it is deleted ([`write_deleted`]). A type's is asked for
    /// by what hangs in it.
    pub fn forgets(&self) -> bool {
        matches!(self.kind, Kind::String(_) | Kind::Any | Kind::Binary | Kind::Embed | Kind::Format)
    }

    /// First clock tick after it.
    pub fn end(&self) -> Clock {
        self.clock + self.len
    }

    /// Behind the last tick after `from` so that text or plain values of at most `bytes` lie between; at least one tick.
    /// Never in the middle of a character.
    pub fn end_within(&self, update: &[u8], from: Clock, bytes: usize) -> Clock {
        match self.kind {
            Kind::String(text) => {
                let (start, _) = utf16_offset(text, from);
                let rest = text.get(start..).unwrap_or_default();
                let first = rest.chars().next().map_or(0, char::len_utf8);
                let mut end = bytes.min(rest.len());
                while !rest.is_char_boundary(end) {
                    end -= 1;
                }
                let end = end.max(first);
                from + utf16_len(rest.get(..end).unwrap_or_default())
            }
            Kind::Any => {
                let start = self.value_offset(update, from);
                let mut reader = Reader::new(update.get(start..self.to).unwrap_or_default());
                let mut end = from;
                while end < self.len && reader.skip_any().is_ok() && (reader.position() <= bytes || end == from) {
                    end += 1;
                }
                end
            }
            Kind::Gc
            | Kind::Skip
            | Kind::Deleted
            | Kind::Binary
            | Kind::Embed
            | Kind::Format
            | Kind::Type(_)
            | Kind::Doc => self.len,
        }
    }

    /// Offset of the plain value that is tick `tick` of these.
    fn value_offset(&self, update: &[u8], tick: Clock) -> usize {
        let mut reader = Reader::new(update.get(self.content..self.to).unwrap_or_default());
        // These reads succeeded when the struct was walked.
        let _ = reader.var_uint();
        for _ in 0..tick {
            let _ = reader.skip_any();
        }
        self.content + reader.position()
    }

    /// What must be there before this struct can be integrated: neighbours and parent.
    pub fn dependencies(&self) -> impl Iterator<Item = Id> {
        let parent = match self.parent {
            Parent::Item(id) => Some(id),
            Parent::Root(_) | Parent::Implied => None,
        };
        [self.origin, self.right_origin, parent].into_iter().flatten()
    }
}

/// The structs of one client, as announced by the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// The client that wrote them.
    pub client: ClientId,
    /// First clock tick.
    pub clock: Clock,
    /// How many structs follow.
    pub structs: u64,
}

/// Walks through an update from front to back. Never panics, whatever the bytes; call in the order the layout says.
#[derive(Debug, Clone)]
pub struct Walker<'a> {
    reader: Reader<'a>,
}

impl<'a> Walker<'a> {
    /// Reads the number of sections.
    pub fn new(update: &'a [u8]) -> Result<(Self, u64), WireError> {
        let mut reader = Reader::new(update);
        let sections = reader.var_count(3)?;
        Ok((Self { reader }, sections))
    }

    /// A walker at the first of some structs that follow each other.
    pub fn start(structs: &'a [u8]) -> Self {
        Self { reader: Reader::new(structs) }
    }

    /// A walker at a struct that another walker has passed.
    pub fn at(update: &'a [u8], offset: usize) -> Result<Self, WireError> {
        let mut reader = Reader::new(update);
        reader.take(offset)?;
        Ok(Self { reader })
    }

    /// Offset of the next byte.
    pub fn position(&self) -> usize {
        self.reader.position()
    }

    /// The head of the next section.
    pub fn section(&mut self) -> Result<Section, WireError> {
        let structs = self.reader.var_count(2)?;
        let client = read_client(&mut self.reader)?;
        let clock = read_clock(&mut self.reader)?;
        Ok(Section { client, clock, structs })
    }

    /// The next struct of `client`, which starts at `clock`.
    ///
    /// Checks what a single struct can be checked for: known numbers, UTF-8, bounds, depth, JSON, and that it names
    /// nothing of its own client at or after itself.
    #[inline]
    pub fn next(&mut self, client: ClientId, clock: Clock) -> Result<Struct<'a>, WireError> {
        let reader = &mut self.reader;
        let from = reader.position();
        let info = reader.u8()?;
        let mut item = Struct {
            clock,
            len: 1,
            kind: Kind::Gc,
            origin: None,
            right_origin: None,
            parent: Parent::Implied,
            parent_sub: None,
            keyed: false,
            from,
            content: from + 1,
            to: from,
        };
        match info {
            0 | 10 => {
                item.kind = if info == 0 { Kind::Gc } else { Kind::Skip };
                item.len = read_clock(reader)?;
            }
            _ => {
                item.keyed = info & HAS_PARENT_SUB != 0;
                if info & HAS_ORIGIN != 0 {
                    item.origin = Some(read_id(reader)?);
                }
                if info & HAS_RIGHT_ORIGIN != 0 {
                    item.right_origin = Some(read_id(reader)?);
                }
                if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN) == 0 {
                    item.parent = match reader.var_uint()? {
                        1 => Parent::Root(read_key(reader)?),
                        0 => Parent::Item(read_id(reader)?),
                        tag => return Err(WireError::UnknownTag { what: "parent flag", tag }),
                    };
                    if info & HAS_PARENT_SUB != 0 {
                        item.parent_sub = Some(read_key(reader)?);
                    }
                }
                item.content = reader.position();
                (item.kind, item.len) = read_content(reader, info & REF_BITS)?;
                if item.dependencies().any(|id| id.client == client && id.clock >= clock) {
                    return Err(WireError::Malformed("a struct refers to itself or to a later one of its client"));
                }
            }
        }
        if item.len == 0 {
            return Err(WireError::Malformed("a struct has no length"));
        }
        if u64::from(clock) + u64::from(item.len) >= CLOCK_MAX {
            let size = u64::from(clock) + u64::from(item.len);
            return Err(WireError::TooLarge { what: "clock", size, max: CLOCK_MAX - 1 });
        }
        item.to = reader.position();
        Ok(item)
    }

    /// Behind the last section: reads the delete set, giving each range, to the last byte of the update.
    pub fn delete_set(&mut self, range: impl FnMut(ClientId, Clock, Clock)) -> Result<(), WireError> {
        self.delete_set_by_client(|_| {}, range)
    }

    /// The same, telling of each client before its ranges.
    pub fn delete_set_by_client(
        &mut self,
        mut of_client: impl FnMut(ClientId),
        mut range: impl FnMut(ClientId, Clock, Clock),
    ) -> Result<(), WireError> {
        let reader = &mut self.reader;
        for _ in 0..reader.var_count(2)? {
            let client = read_client(reader)?;
            of_client(client);
            for _ in 0..reader.var_count(2)? {
                let clock = read_clock(reader)?;
                let len = read_clock(reader)?;
                if len == 0 {
                    return Err(WireError::Malformed("a delete range is empty"));
                }
                let end = u64::from(clock) + u64::from(len);
                if end >= CLOCK_MAX {
                    return Err(WireError::TooLarge { what: "clock", size: end, max: CLOCK_MAX - 1 });
                }
                range(client, clock, end as Clock);
            }
        }
        reader.end()
    }
}

/// Watches that clients come from the largest to the smallest, as Yjs writes them; then none can appear twice, and
/// checking that needs no memory.
#[derive(Debug, Default)]
pub struct Descending {
    last: Option<ClientId>,
    broken: bool,
}

impl Descending {
    /// The next one.
    pub fn watch(&mut self, client: ClientId) {
        self.broken |= self.last.is_some_and(|last| last <= client);
        self.last = Some(client);
    }

    /// Whether one came that is not smaller than the one before.
    pub fn is_broken(&self) -> bool {
        self.broken
    }
}

/// For updates of other writers, whose order is not Yjs's: no client twice among the sections, nor among the deletes.
///
/// # Errors
/// When there is one, and what is malformed besides.
pub fn check_clients_unique(update: &[u8]) -> Result<(), WireError> {
    const TWICE: WireError = WireError::Malformed("a client appears twice");
    let (mut walker, sections) = Walker::new(update)?;
    let mut seen = BTreeSet::new();
    for _ in 0..sections {
        let section = walker.section()?;
        if !seen.insert(section.client) {
            return Err(TWICE);
        }
        let mut clock = section.clock;
        for _ in 0..section.structs {
            clock = walker.next(section.client, clock)?.end();
        }
    }
    seen.clear();
    let mut twice = false;
    walker.delete_set_by_client(|client| twice |= !seen.insert(client), |_, _, _| {})?;
    if twice { Err(TWICE) } else { Ok(()) }
}

/// Checks a whole update (DEPENDENCIES A3, HARDENING §2); what passes can be walked and given to yrs.
///
/// # Errors
/// The first rule that is broken. The update must then be dropped whole.
pub fn validate(update: &[u8]) -> Result<(), WireError> {
    let (mut walker, sections) = Walker::new(update)?;
    let (mut clients, mut deleting) = (Descending::default(), Descending::default());
    let mut structs = 0u64;
    for _ in 0..sections {
        let section = walker.section()?;
        clients.watch(section.client);
        structs = structs.saturating_add(section.structs);
        if structs > UPDATE_STRUCTS_MAX {
            return Err(WireError::TooLarge { what: "structs in an update", size: structs, max: UPDATE_STRUCTS_MAX });
        }
        let mut clock = section.clock;
        for _ in 0..section.structs {
            clock = walker.next(section.client, clock)?.end();
        }
    }
    walker.delete_set_by_client(|client| deleting.watch(client), |_, _, _| {})?;
    if clients.is_broken() || deleting.is_broken() { check_clients_unique(update) } else { Ok(()) }
}

/// How many structs a valid update has. Of one client, as nearly all have, the first bytes say it.
pub fn structs(update: &[u8]) -> u64 {
    let count = || -> Result<u64, WireError> {
        let (mut walker, sections) = Walker::new(update)?;
        let mut structs = 0;
        for at in 0..sections {
            let section = walker.section()?;
            structs += section.structs;
            let mut clock = section.clock;
            for _ in 0..if at + 1 < sections { section.structs } else { 0 } {
                clock = walker.next(section.client, clock)?.end();
            }
        }
        Ok(structs)
    };
    count().unwrap_or(0)
}

fn read_id(reader: &mut Reader<'_>) -> Result<Id, WireError> {
    Ok(Id { client: read_client(reader)?, clock: read_clock(reader)? })
}

fn read_key<'a>(reader: &mut Reader<'a>) -> Result<&'a str, WireError> {
    let key = reader.var_string()?;
    if key.len() > KEY_BYTES_MAX {
        return Err(WireError::TooLarge { what: "key", size: key.len() as u64, max: KEY_BYTES_MAX as u64 });
    }
    Ok(key)
}

/// JSON that yrs will parse.
fn read_json(reader: &mut Reader<'_>) -> Result<(), WireError> {
    let text = reader.var_string()?;
    if json::loads_in_yrs(text) { Ok(()) } else { Err(WireError::NotJson) }
}

fn read_content<'a>(reader: &mut Reader<'a>, number: u8) -> Result<(Kind<'a>, Clock), WireError> {
    let (kind, len) = match number {
        1 => (Kind::Deleted, read_clock(reader)?),
        2 => {
            // yrs 0.28.1 reads one text too many here (DEPENDENCIES A2.4): nothing written by Yjs 13 has this content.
            return Err(WireError::Malformed("content JSON of Yjs 12 is not supported"));
        }
        3 => {
            reader.var_bytes()?;
            (Kind::Binary, 1)
        }
        4 => {
            let text = reader.var_string()?;
            (Kind::String(text), utf16_len(text))
        }
        5 => {
            read_json(reader)?;
            (Kind::Embed, 1)
        }
        6 => {
            read_key(reader)?;
            read_json(reader)?;
            (Kind::Format, 1)
        }
        7 => {
            let number = reader.var_uint()?;
            match number {
                0 | 1 | 2 | 4 | 6 => {}
                3 => {
                    read_key(reader)?;
                }
                // yrs 0.28.1 does not read the name behind it, and takes that for the next struct.
                5 => return Err(WireError::Malformed("shared type Y.XmlHook is not supported")),
                tag => return Err(WireError::UnknownTag { what: "shared type", tag }),
            }
            (Kind::Type(number as u8), 1)
        }
        8 => {
            let values = reader.var_count(1)?;
            for _ in 0..values {
                reader.skip_any()?;
            }
            (Kind::Any, values.min(CLOCK_MAX) as Clock)
        }
        9 => {
            reader.var_string()?;
            // Of options that are none, Yjs makes an exception.
            if reader.peek() != Some(ANY_OBJECT) {
                return Err(WireError::Malformed("the options of a sub-document are no object"));
            }
            reader.skip_any()?;
            (Kind::Doc, 1)
        }
        tag => return Err(WireError::UnknownTag { what: "content", tag: u64::from(tag) }),
    };
    Ok((kind, len))
}

/// UTF-16 units of `text`, in which JavaScript counts.
pub fn utf16_len(text: &str) -> Clock {
    if text.is_ascii() { text.len() as Clock } else { text.chars().map(|c| c.len_utf16() as Clock).sum() }
}

/// Writes the ticks `from..to` of `item` (of `client`, lying in `update`) as a struct of their own, from < to ≤ len.
///
/// As Yjs splits an item: the tick before becomes the origin, so the parent is implied. A cut through a surrogate pair
/// leaves U+FFFD on either side, as there. What is one value cannot be cut; all of it is written then.
pub fn write_part(out: &mut Vec<u8>, update: &[u8], client: ClientId, item: &Struct<'_>, from: Clock, to: Clock) {
    debug_assert!(from < to && to <= item.len);
    let bytes = |from: usize, to: usize| update.get(from..to).unwrap_or_default();
    if from == 0 && to == item.len {
        out.extend_from_slice(bytes(item.from, item.to));
        return;
    }
    let info = update.get(item.from).copied().unwrap_or_default();
    if let Kind::Gc | Kind::Skip = item.kind {
        out.push(info);
        write_var_uint(out, u64::from(to - from));
        return;
    }
    write_head(out, update, client, item, from, info & REF_BITS);
    match item.kind {
        Kind::Deleted => write_var_uint(out, u64::from(to - from)),
        Kind::String(text) => {
            let (start, cut_before) = utf16_offset(text, from);
            let (end, cut_behind) = utf16_offset(text, to);
            // The offset behind a pair that is cut; what is left of it stands before the end.
            let end = if cut_behind { text[..end].char_indices().next_back().map_or(end, |(at, _)| at) } else { end };
            let part = text.get(start..end).unwrap_or_default();
            let replaced = |cut| if cut { "\u{fffd}" } else { "" };
            let (before, behind) = (replaced(cut_before), replaced(cut_behind));
            write_var_uint(out, (before.len() + part.len() + behind.len()) as u64);
            for part in [before, part, behind] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        Kind::Any => {
            write_var_uint(out, u64::from(to - from));
            let start = item.value_offset(update, from);
            out.extend_from_slice(bytes(start, item.value_offset(update, to)));
        }
        // All others are one tick long and cannot be cut.
        Kind::Gc | Kind::Skip | Kind::Binary | Kind::Embed | Kind::Format | Kind::Type(_) | Kind::Doc => {}
    }
}

/// Writes the ticks `from..to` of `item` as deleted ones that have forgotten their content, as Yjs leaves them when it
/// collects garbage.
pub fn write_deleted(out: &mut Vec<u8>, update: &[u8], client: ClientId, item: &Struct<'_>, from: Clock, to: Clock) {
    debug_assert!(from < to && to <= item.len);
    write_head(out, update, client, item, from, 1);
    write_var_uint(out, u64::from(to - from));
}

/// Writes all of a part of `item` that stands before its content, which is of the kind `number`.
fn write_head(out: &mut Vec<u8>, update: &[u8], client: ClientId, item: &Struct<'_>, from: Clock, number: u8) {
    let info = update.get(item.from).copied().unwrap_or_default() & !REF_BITS | number;
    if from == 0 {
        out.push(info);
        out.extend_from_slice(update.get(item.from + 1..item.content).unwrap_or_default());
        return;
    }
    out.push(info | HAS_ORIGIN);
    write_id(out, Id { client, clock: item.clock + from - 1 });
    if let Some(right) = item.right_origin {
        write_id(out, right);
    }
}

/// Offset of the UTF-16 unit `unit` in `text`, or behind the character whose surrogate pair it cuts, and whether it does.
fn utf16_offset(text: &str, unit: Clock) -> (usize, bool) {
    if text.is_ascii() {
        return ((unit as usize).min(text.len()), false);
    }
    let mut units = 0;
    for (at, c) in text.char_indices() {
        if units >= unit {
            return (at, units > unit);
        }
        units += c.len_utf16() as Clock;
    }
    (text.len(), units > unit)
}

fn write_id(out: &mut Vec<u8>, id: Id) {
    write_var_uint(out, id.client.0);
    write_var_uint(out, u64::from(id.clock));
}

/// Puts an update together from runs of structs and delete ranges that were taken out of others.
///
/// Runs of one client must be added in the order of their clocks and without a hole; clients and delete ranges in any
/// order. The result lists clients from the largest to the smallest, which Yjs's merging of updates relies on.
#[derive(Debug, Default)]
pub struct Builder {
    sections: std::collections::BTreeMap<ClientId, Run>,
    deletes: std::collections::BTreeMap<ClientId, Vec<(Clock, Clock)>>,
}

/// What was added of one client.
#[derive(Debug)]
pub(super) struct Run {
    clock: Clock,
    pub(super) structs: u64,
    pub(super) bytes: Vec<u8>,
    /// The last struct, where more may be joined to it.
    pub(super) last: Option<Last>,
}

impl Builder {
    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.sections.is_empty() && self.deletes.is_empty()
    }

    /// Appends `structs` structs of `client`, encoded in `bytes`, of which the first starts at `clock`.
    pub fn structs(&mut self, client: ClientId, clock: Clock, structs: u64, bytes: &[&[u8]]) {
        let run = self.run(client, clock);
        run.structs += structs;
        run.last = None;
        for part in bytes {
            run.bytes.extend_from_slice(part);
        }
    }

    /// What was added of `client`; nothing so far, if it begins at `clock`.
    pub(super) fn run(&mut self, client: ClientId, clock: Clock) -> &mut Run {
        self.sections.entry(client).or_insert(Run { clock, structs: 0, bytes: Vec::new(), last: None })
    }

    /// Adds all that `other` gathered, whose runs follow on these.
    pub fn append(&mut self, other: Builder) {
        for (client, run) in other.sections {
            self.structs(client, run.clock, run.structs, &[&run.bytes]);
        }
        for (client, ranges) in other.deletes {
            self.deletes.entry(client).or_default().extend(ranges);
        }
    }

    /// Whose structs were added.
    pub fn clients(&self) -> impl Iterator<Item = ClientId> + '_ {
        self.sections.keys().copied()
    }

    /// Adds a delete range, `from..to` clock ticks of `client`.
    pub fn delete(&mut self, client: ClientId, from: Clock, to: Clock) {
        self.deletes.entry(client).or_default().push((from, to));
    }

    /// The update. Delete ranges come out rising and apart, as yrs wants them.
    pub fn finish(mut self) -> Vec<u8> {
        for ranges in self.deletes.values_mut() {
            ranges.sort_unstable();
            ranges.dedup_by(|next, last| {
                let touches = next.0 <= last.1;
                if touches {
                    last.1 = last.1.max(next.1);
                }
                touches
            });
        }
        let bytes: usize = self.sections.values().map(|run| run.bytes.len() + 24).sum();
        let mut out = Vec::with_capacity(bytes + self.deletes.values().map(|d| 12 + d.len() * 10).sum::<usize>() + 4);
        write_var_uint(&mut out, self.sections.len() as u64);
        for (client, run) in self.sections.iter().rev() {
            write_var_uint(&mut out, run.structs);
            write_var_uint(&mut out, client.0);
            write_var_uint(&mut out, u64::from(run.clock));
            out.extend_from_slice(&run.bytes);
        }
        write_var_uint(&mut out, self.deletes.len() as u64);
        for (client, ranges) in self.deletes.iter().rev() {
            write_var_uint(&mut out, client.0);
            write_var_uint(&mut out, ranges.len() as u64);
            for (from, to) in ranges {
                write_var_uint(&mut out, u64::from(*from));
                write_var_uint(&mut out, u64::from(to - from));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_are_counted_over_all_clients() {
        let of_two = [2, 1, 9, 0, 0, 3, 2, 5, 0, 0, 1, 0, 1, 0];
        assert_eq!((validate(&of_two), structs(&of_two)), (Ok(()), 3));
        assert_eq!(structs(EMPTY), 0);
        assert_eq!(structs(&[9]), 0, "what is no update has none");
    }

    const TWICE: Result<(), WireError> = Err(WireError::Malformed("a client appears twice"));

    #[test]
    fn a_client_may_appear_once_among_sections_and_once_among_deletes() {
        let gc = |client| [1, client, 0, 0, 1];
        assert_eq!(validate(&[&[2][..], &gc(5), &gc(5), &[0]].concat()), TWICE);
        assert_eq!(validate(&[&[3][..], &gc(5), &gc(9), &gc(5), &[0]].concat()), TWICE);
        assert_eq!(validate(&[&[2][..], &gc(5), &gc(9), &[0]].concat()), Ok(()), "in any order");
        // yrs keeps the last of two entries and forgets the other's deletes, also when it is empty.
        assert_eq!(validate(&[0, 2, 5, 1, 0, 1, 5, 1, 3, 1]), TWICE);
        assert_eq!(validate(&[0, 2, 5, 1, 0, 1, 5, 0]), TWICE);
        assert_eq!(validate(&[0, 2, 5, 1, 0, 1, 9, 1, 3, 1]), Ok(()));
    }

    #[test]
    fn structs_that_refer_to_themselves_or_ahead_are_refused() {
        let text_after = |clock| [1, 1, 5, 3, 0x84, 5, clock, 1, b'x', 0];
        assert_eq!(validate(&text_after(2)), Ok(()));
        for clock in [3, 4, 100] {
            assert!(matches!(validate(&text_after(clock)), Err(WireError::Malformed(_))));
        }
    }

    #[test]
    fn nothing_is_without_length_and_clocks_stay_below_their_bound() {
        let empty = Err(WireError::Malformed("a struct has no length"));
        for content in [&[0u8, 0][..], &[10, 0], &[0x84, 9, 0, 0], &[0x81, 9, 0, 0], &[0x88, 9, 0, 0]] {
            assert_eq!(validate(&[&[1, 1, 5, 3][..], content, &[0]].concat()), empty, "{content:?}");
        }
        assert_eq!(validate(&[0, 1, 5, 1, 0, 0]), Err(WireError::Malformed("a delete range is empty")));
        let gc_of_len = |len: u64| {
            let mut update = vec![1, 1, 5, 3, 0];
            write_var_uint(&mut update, len);
            update.push(0);
            validate(&update)
        };
        assert_eq!(gc_of_len(CLOCK_MAX - 4), Ok(()));
        for len in [CLOCK_MAX - 3, CLOCK_MAX, 1 << 52] {
            assert!(matches!(gc_of_len(len), Err(WireError::TooLarge { .. })), "{len}");
        }
    }

    /// Found by `fuzz/`: one such struct broke the document, and a client of Yjs that hears of the other one throws.
    #[test]
    fn what_yrs_misreads_and_what_yjs_throws_at_is_refused() {
        let item = |content: &[u8]| validate(&[&[1, 1, 5, 0][..], content, &[0]].concat());
        assert_eq!(item(&[7, 1, 1, b'x', 3, 1, b'p']), Ok(()), "an element has a name");
        assert!(matches!(item(&[7, 1, 1, b'x', 5, 1, b'p']), Err(WireError::Malformed(_))), "and so has Y.XmlHook");
        assert_eq!(item(&[9, 1, 1, b'a', 2, b'i', b'd', 118, 0]), Ok(()));
        for options in [126, 127, 120] {
            assert!(
                matches!(item(&[9, 1, 1, b'a', 2, b'i', b'd', options]), Err(WireError::Malformed(_))),
                "{options}"
            );
        }
    }

    #[test]
    fn json_that_yrs_cannot_load_is_refused() {
        let format = |json: &str| {
            let mut update = vec![1, 1, 5, 0, 6, 1, 1, b't', 1, b'b'];
            crate::wire::lib0::write_var_bytes(&mut update, json.as_bytes());
            update.push(0);
            validate(&update)
        };
        assert_eq!(format("{\"a\":[true]}"), Ok(()));
        for json in
            ["[".repeat(200) + &"]".repeat(200), "1e999".into(), "\"\\ud800\"".into(), "9300000000000000000".into()]
        {
            assert_eq!(format(&json), Err(WireError::NotJson), "{json}");
        }
    }

    #[test]
    fn surrogates_are_counted_and_cut_as_javascript_does() {
        assert_eq!(utf16_len("a😀b"), 4);
        assert_eq!(utf16_offset("a😀b", 1), (1, false));
        assert_eq!(utf16_offset("a😀b", 2), (5, true));
        assert_eq!(utf16_offset("a😀b", 3), (5, false));
        assert_eq!(utf16_offset("a😀b", 4), (6, false));
        assert_eq!(utf16_offset("ab", 1), (1, false));
    }

    #[test]
    fn a_builder_sorts_clients_down_and_joins_deletes() {
        let mut builder = Builder::default();
        builder.structs(ClientId(5), 0, 1, &[&[0, 1]]);
        builder.structs(ClientId(9), 4, 1, &[&[0, 2]]);
        builder.structs(ClientId(5), 1, 1, &[&[0], &[3]]);
        for (from, to) in [(7, 9), (0, 2), (2, 3), (8, 10)] {
            builder.delete(ClientId(5), from, to);
        }
        let update = builder.finish();
        assert_eq!(update, [2, 1, 9, 4, 0, 2, 2, 5, 0, 0, 1, 0, 3, 1, 5, 2, 0, 3, 7, 3]);
        assert_eq!(validate(&update), Ok(()));
    }
}
