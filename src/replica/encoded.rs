//! What a document holds, as the bytes it came in (DESIGN §5): per client the structs in the order of their clocks, short
//! as [`join`] makes them. An answer is a slice of that, so nobody waits for a document to be built; what it takes in
//! memory is little more than what it takes on the wire.
//!
//! The structs of a client lie in chunks, so that the place of a clock is found by reading a few kilobytes at most.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::delete_set::DeleteSet;
use super::gate::{Parts, Run};
use super::nesting::Nesting;
use super::order::Source;
use crate::ids::{ClientId, Clock};
use crate::limits::{CHUNK_BYTES, COLLECT_BYTES, COLLECT_MIN, COLLECT_SHARE};
use crate::wire::WireError;
use crate::wire::join::{self, Fate, Last};
use crate::wire::lib0::write_var_uint;
use crate::wire::state_vector::StateVector;
use crate::wire::update::{Id, Struct, Walker, write_part};

/// The structs of a document.
#[derive(Debug, Default)]
pub struct Encoded {
    clients: BTreeMap<ClientId, Row>,
    /// Of all structs.
    bytes: usize,
    /// How many there are.
    structs: usize,
    /// About how many bytes were deleted since the last pass began that took deleted content out.
    deleted: u64,
    /// Where the pass that is under way goes on.
    pass: Option<(ClientId, Clock)>,
    shape: Shape,
    /// Nothing is kept: only clocks and deletes are of interest.
    forgets: bool,
}

/// Sizes by which structs are kept.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// A chunk is about so large, bytes.
    pub chunk: usize,
    /// Deleted content is taken out of so much in one turn, bytes…
    pub collect: usize,
    /// …once about so many more are deleted, bytes.
    pub collect_min: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { chunk: CHUNK_BYTES, collect: COLLECT_BYTES, collect_min: COLLECT_MIN }
    }
}

/// The structs of one client, from clock 0 and without a hole.
#[derive(Debug, Default)]
struct Row {
    chunks: Vec<Chunk>,
    open: Open,
    bytes: usize,
}

/// Some structs in a row that change no more, unless content is taken out.
#[derive(Debug)]
struct Chunk {
    /// First tick.
    from: Clock,
    structs: u32,
    /// A part of what was loaded, until content is taken out.
    bytes: Bytes,
}

/// The last structs of a row; more will be added.
#[derive(Debug, Default)]
struct Open {
    /// First tick.
    from: Clock,
    /// Behind the last tick.
    end: Clock,
    structs: u32,
    bytes: Vec<u8>,
    last: Option<Last>,
}

impl Encoded {
    /// One that keeps nothing.
    pub fn forgetful() -> Self {
        Self { forgets: true, ..Self::default() }
    }

    /// The same, kept by other sizes.
    pub fn shaped(self, shape: Shape, nesting: &Nesting) -> Self {
        let mut shaped = Self { shape, deleted: self.deleted, ..Self::default() };
        for (client, row) in &self.clients {
            let (open, chunks) = (&row.open, row.chunks.iter());
            let rows = chunks.map(|chunk| (chunk.from, &*chunk.bytes)).chain([(open.from, &*open.bytes)]);
            for (from, rest) in rows {
                let run = Run { client: *client, from, to: from, structs: 0, head: (&[]).into(), rest, parts: None };
                shaped.append(&run, None, nesting);
            }
        }
        shaped
    }

    /// Adds structs that begin where those of their client end. Many of them are not copied when they lie in `stored`.
    pub fn append(&mut self, run: &Run<'_>, stored: Option<&Bytes>, nesting: &Nesting) {
        if self.forgets {
            return;
        }
        let row = self.clients.entry(run.client).or_default();
        debug_assert_eq!(row.open.end, run.from);
        if row.bytes == 0
            && let Some(parts) = &run.parts
        {
            row.begin_with(run, parts, stored);
            self.bytes += row.bytes;
            self.structs += run.structs as usize;
            return;
        }
        let Row { chunks, open, bytes: held } = row;
        let mut clock = run.from;
        for bytes in [&*run.head, run.rest] {
            let mut walker = Walker::start(bytes);
            while walker.position() < bytes.len() {
                // The gate has walked here.
                let Ok(item) = walker.next(run.client, clock) else { return };
                clock = item.end();
                let (added, is_new) = open.push(chunks, self.shape.chunk, nesting, run.client, bytes, &item);
                *held += added;
                self.bytes += added;
                self.structs += usize::from(is_new);
            }
        }
    }

    /// Notes that so many more ticks of `client` are deleted, whose content may go.
    pub fn note_deleted(&mut self, client: ClientId, ticks: Clock) {
        // How large they are is found out when they go.
        self.deleted += self.about_bytes(client, ticks);
    }

    /// About how many bytes so many ticks of `client` take: as many as its others do.
    pub fn about_bytes(&self, client: ClientId, ticks: Clock) -> u64 {
        let Some(row) = self.clients.get(&client) else { return 0 };
        u64::from(ticks) * row.bytes as u64 / u64::from(row.open.end.max(1))
    }

    /// Bytes of all structs.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many structs there are.
    pub fn len(&self) -> usize {
        self.structs
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.structs == 0
    }

    /// What somebody lacks who knows `known`, and `delete_set`, encoded as it ends an update.
    pub fn diff(&self, known: &StateVector, delete_set: &[u8]) -> Vec<u8> {
        let knows = |client: &ClientId| known.get(client).copied().unwrap_or(0);
        let lacking = || self.clients.iter().rev().filter(|(client, row)| row.open.end > knows(client));
        let mut out = Vec::new();
        if known.is_empty() {
            debug_assert_eq!(self.clients.values().map(Row::structs).sum::<usize>(), self.structs);
            out.reserve(self.bytes + self.clients.len() * 16 + delete_set.len() + 8);
        }
        write_var_uint(&mut out, lacking().count() as u64);
        for (client, row) in lacking() {
            row.write_from(&mut out, *client, knows(client));
        }
        out.extend_from_slice(delete_set);
        out
    }

    /// About how many bytes [`Encoded::diff`] writes beside the delete set: no fewer, and at most a chunk more for each client.
    pub fn diff_bytes(&self, known: &StateVector) -> usize {
        /// Number of structs, client and clock, at most.
        const SECTION_HEAD_BYTES: usize = 24;
        let knows = |client: &ClientId| known.get(client).copied().unwrap_or(0);
        let lacking = self.clients.iter().filter(|(client, row)| row.open.end > knows(client));
        lacking.map(|(client, row)| SECTION_HEAD_BYTES + row.bytes_from(knows(client))).sum()
    }

    /// Takes out content that is deleted, some of it in each turn, once there is enough of it.
    pub fn collect(&mut self, deleted: &DeleteSet, nesting: &Nesting) {
        self.go_on(&Garbage { deleted, collected: None, nesting });
    }

    /// One step of a pass, if there is one under way or worth it.
    fn go_on(&mut self, garbage: &Garbage<'_>) {
        let Some((mut client, mut from)) = self.pass.take().or_else(|| self.begin_pass()) else { return };
        let mut left = self.shape.collect;
        while let Some((&at, row)) = self.clients.range_mut(client..).next() {
            if left == 0 {
                self.pass = Some((client, from));
                return;
            }
            let from_here = if at == client { from } else { 0 };
            // What was walked once can be walked again.
            let Ok(collected) = row.collect(at, from_here, left, self.shape.chunk, garbage) else { return };
            self.bytes = self.bytes + collected.after - collected.before;
            row.bytes = row.bytes + collected.after - collected.before;
            self.structs = self.structs + collected.structs_after - collected.structs_before;
            left = left.saturating_sub(collected.before);
            (client, from) = collected.next.map_or((ClientId(at.0 + 1), 0), |clock| (at, clock));
        }
    }

    /// Takes out all that is deleted, at once, and joins all that can be joined.
    pub fn collect_all(&mut self, deleted: &DeleteSet, collected: Option<&ByYrs>, nesting: &Nesting) {
        let at_once = Shape { chunk: usize::MAX, collect: usize::MAX, ..self.shape };
        let shape = std::mem::replace(&mut self.shape, at_once);
        self.pass = Some((ClientId(0), 0));
        self.go_on(&Garbage { deleted, collected, nesting });
        self.shape = shape;
    }

    fn begin_pass(&mut self) -> Option<(ClientId, Clock)> {
        let is_worth_it = self.deleted >= self.shape.collect_min && self.deleted >= self.bytes as u64 / COLLECT_SHARE;
        is_worth_it.then(|| {
            self.deleted = 0;
            (ClientId(0), 0)
        })
    }
}

/// What yrs has collected of a document that it has integrated, and so has left without content.
#[derive(Debug, Default)]
pub struct ByYrs {
    /// Of this it knows the length.
    pub gone: DeleteSet,
    /// Of this it knows the place.
    pub forgotten: DeleteSet,
}

/// What may go.
struct Garbage<'a> {
    deleted: &'a DeleteSet,
    /// Shared types may go only when it is known that nothing asks for them.
    collected: Option<&'a ByYrs>,
    nesting: &'a Nesting,
}

impl Garbage<'_> {
    fn touches(&self, client: ClientId, item: &Struct<'_>) -> bool {
        let (from, to) = (item.clock, item.end());
        let by_yrs = |collected: &ByYrs| {
            collected.gone.touches(client, from, to) || collected.forgotten.touches(client, from, to)
        };
        item.forgets() && self.deleted.touches(client, from, to) || self.collected.is_some_and(by_yrs)
    }

    /// Tells what is left of the parts of `item`, in order.
    fn fates(&self, client: ClientId, item: &Struct<'_>, mut part: impl FnMut(Fate, Clock, Clock)) {
        let mut at = item.clock;
        let nothing = ByYrs::default();
        let collected = self.collected.unwrap_or(&nothing);
        collected.gone.for_each_missing(client, item.clock, item.end(), |from, to| {
            if at < from {
                part(Fate::Gone, at, from);
            }
            at = to;
            let deleted = if item.forgets() { self.deleted } else { &collected.forgotten };
            let mut at = from;
            deleted.for_each_missing(client, from, to, |from, to| {
                if at < from {
                    part(Fate::Forgotten, at, from);
                }
                part(Fate::Living, from, to);
                at = to;
            });
            if at < to {
                part(Fate::Forgotten, at, to);
            }
        });
        if at < item.end() {
            part(Fate::Gone, at, item.end());
        }
    }
}

impl<'a> Source<'a> for &'a Encoded {
    fn rows(&self, client: ClientId, clock: Clock) -> Option<(Clock, &'a [u8])> {
        let row = self.clients.get(&client).filter(|row| clock < row.open.end)?;
        match row.sealed_at(clock).and_then(|at| row.chunks.get(at)) {
            Some(chunk) => Some((chunk.from, &chunk.bytes)),
            None => Some((row.open.from, &row.open.bytes)),
        }
    }
}

fn count(chunks: &[Chunk], open: Option<&Open>) -> usize {
    let sealed = chunks.iter().map(|chunk| chunk.structs as usize);
    sealed.chain(open.map(|open| open.structs as usize)).sum()
}

/// What one step of a pass did to a row.
struct Collected {
    /// Where the row goes on; `None` behind its end.
    next: Option<Clock>,
    /// Bytes looked at…
    before: usize,
    /// …and what is left of them.
    after: usize,
    /// The same of structs.
    structs_before: usize,
    structs_after: usize,
}

impl Row {
    fn structs(&self) -> usize {
        count(&self.chunks, Some(&self.open))
    }

    /// Takes the first structs as they are; there are many, and few of them can be joined.
    fn begin_with(&mut self, run: &Run<'_>, parts: &Parts, stored: Option<&Bytes>) {
        debug_assert!(run.head.is_empty() && run.from == 0);
        let kept = |bytes| stored.map_or_else(|| Bytes::copy_from_slice(bytes), |stored| stored.slice_ref(bytes));
        let (mut offset, mut from, mut structs) = (0, run.from, 0);
        for mark in &parts.marks {
            let bytes = run.rest.get(offset..mark.offset).unwrap_or_default();
            self.chunks.push(Chunk { from, structs: (mark.structs - structs) as u32, bytes: kept(bytes) });
            (offset, from, structs) = (mark.offset, mark.clock, mark.structs);
        }
        self.open = Open {
            from,
            end: run.to,
            structs: (run.structs - structs) as u32,
            bytes: run.rest.get(offset..).unwrap_or_default().to_vec(),
            last: Some(parts.last.behind(offset)),
        };
        self.bytes = run.rest.len();
    }

    /// The chunk in which tick `clock` lies, if it is none that is open.
    fn sealed_at(&self, clock: Clock) -> Option<usize> {
        (clock < self.open.from).then(|| self.chunks.partition_point(|chunk| chunk.from <= clock).saturating_sub(1))
    }

    /// Bytes of the chunk in which tick `clock` lies and of all behind it.
    fn bytes_from(&self, clock: Clock) -> usize {
        let later = self.chunks.get(self.sealed_at(clock).unwrap_or(self.chunks.len())..).unwrap_or_default();
        if later.len() == self.chunks.len() {
            return self.bytes;
        }
        later.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() + self.open.bytes.len()
    }

    /// Writes the section of `client` from tick `known` on, which is below the end.
    fn write_from(&self, out: &mut Vec<u8>, client: ClientId, known: Clock) {
        let holds = self.sealed_at(known).and_then(|at| self.chunks.get(at..)?.split_first());
        let (from, mut structs, bytes, later, open) = match holds {
            Some((chunk, later)) => (chunk.from, chunk.structs, &*chunk.bytes, later, Some(&self.open)),
            None => (self.open.from, self.open.structs, &*self.open.bytes, &[][..], None),
        };
        // The struct in which `known` lies is cut; those before it are left out.
        let (mut head, mut rest) = (Vec::new(), bytes);
        let (mut walker, mut clock) = (Walker::start(bytes), from);
        while clock < known
            && let Ok(item) = walker.next(client, clock)
        {
            rest = bytes.get(item.to..).unwrap_or_default();
            if item.end() > known {
                write_part(&mut head, bytes, client, &item, known - clock, item.len);
            } else {
                structs -= 1;
            }
            clock = item.end();
        }
        let structs = u64::from(structs)
            + later.iter().map(|chunk| u64::from(chunk.structs)).sum::<u64>()
            + open.map_or(0, |open| u64::from(open.structs));
        write_var_uint(out, structs);
        write_var_uint(out, client.0);
        write_var_uint(out, u64::from(known));
        out.extend_from_slice(&head);
        out.extend_from_slice(rest);
        for chunk in later {
            out.extend_from_slice(&chunk.bytes);
        }
        out.extend_from_slice(open.map_or(&[], |open| &open.bytes));
    }

    /// Takes deleted content out of the chunks from clock `from` on, of about `bytes_max` bytes.
    fn collect(
        &mut self,
        client: ClientId,
        from: Clock,
        bytes_max: usize,
        chunk_bytes: usize,
        garbage: &Garbage<'_>,
    ) -> Result<Collected, WireError> {
        let first = self.chunks.partition_point(|chunk| chunk.from < from);
        let (mut last, mut before) = (first, 0);
        while before < bytes_max
            && let Some(chunk) = self.chunks.get(last)
        {
            before += chunk.bytes.len();
            last += 1;
        }
        let to_end = before < bytes_max;
        let start = self.chunks.get(first).map_or(self.open.from, |chunk| chunk.from);
        let structs_before = count(&self.chunks[first..last], to_end.then_some(&self.open));
        let (mut chunks, mut open) = (Vec::new(), Open { from: start, end: start, ..Open::default() });
        for chunk in &self.chunks[first..last] {
            open.push_living(&mut chunks, chunk_bytes, client, (chunk.from, &chunk.bytes), garbage)?;
        }
        if to_end {
            open.push_living(&mut chunks, chunk_bytes, client, (self.open.from, &self.open.bytes), garbage)?;
            before += self.open.bytes.len();
        } else {
            open.seal(&mut chunks);
        }
        let after = chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() + open.bytes.len();
        let structs_after = count(&chunks, Some(&open));
        let next = self.chunks.get(last).map_or(self.open.from, |chunk| chunk.from);
        self.chunks.splice(first..last, chunks);
        if to_end {
            self.open = open;
        }
        Ok(Collected { next: (!to_end).then_some(next), before, after, structs_before, structs_after })
    }
}

impl Open {
    /// Adds a struct; how many bytes that took, and whether it is one more.
    fn push(
        &mut self,
        chunks: &mut Vec<Chunk>,
        chunk_bytes: usize,
        nesting: &Nesting,
        client: ClientId,
        update: &[u8],
        item: &Struct<'_>,
    ) -> (usize, bool) {
        if self.bytes.len() >= chunk_bytes {
            self.seal(chunks);
        }
        let before = self.bytes.len();
        let may_be_keyed = || nesting.may_be_keyed(Id { client, clock: item.clock });
        let new = join::append(&mut self.bytes, &mut self.last, chunk_bytes, may_be_keyed, client, update, item);
        self.structs += u32::from(new);
        self.end = item.end();
        (self.bytes.len() - before, new)
    }

    /// Adds the structs in `bytes`, those that are deleted without their content.
    fn push_living(
        &mut self,
        chunks: &mut Vec<Chunk>,
        chunk_bytes: usize,
        client: ClientId,
        (from, bytes): (Clock, &[u8]),
        garbage: &Garbage<'_>,
    ) -> Result<(), WireError> {
        let mut walker = Walker::start(bytes);
        let mut clock = from;
        while walker.position() < bytes.len() {
            let item = walker.next(client, clock)?;
            clock = item.end();
            if !garbage.touches(client, &item) {
                self.push(chunks, chunk_bytes, garbage.nesting, client, bytes, &item);
                continue;
            }
            let mut part = Vec::new();
            garbage.fates(client, &item, |fate, from, to| {
                part.clear();
                join::write_rest(&mut part, bytes, client, &item, fate, (from - item.clock, to - item.clock));
                // It was just written.
                if let Ok(item) = Walker::start(&part).next(client, from) {
                    self.push(chunks, chunk_bytes, garbage.nesting, client, &part, &item);
                }
            });
        }
        Ok(())
    }

    /// Closes the row's last chunk and begins another.
    fn seal(&mut self, chunks: &mut Vec<Chunk>) {
        if self.bytes.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.bytes).into_boxed_slice().into();
        chunks.push(Chunk { from: self.from, structs: self.structs, bytes });
        *self = Open { from: self.end, end: self.end, ..Open::default() };
    }
}
