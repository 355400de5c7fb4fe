//! Rows of structs, as short as they can be: what was typed one after the other becomes one struct, and what was deleted
//! gives up its content. What both mean is what Yjs does to its items (`Item.mergeWith`, `Item.gc`), done to their bytes.
//!
//! A joined struct says the same as its parts: cut between two of them ([`write_part`]), the second part names the tick
//! before as its origin and the same right origin, which is what it said on its own.

use super::WireError;
use super::lib0::{Reader, var_uint_len, write_var_uint};
use super::update::{Builder, Id, Kind, Struct, Walker, write_deleted, write_part};
use crate::ids::{ClientId, Clock};

/// The last struct of a row, as far as the next one may be joined to it.
#[derive(Debug, Clone, Copy)]
pub struct Last {
    /// Offset of its first byte in the row.
    from: usize,
    /// Offset of its content, which begins with a count.
    content: usize,
    right_origin: Option<Id>,
    joins: Joins,
}

/// With what a struct may be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joins {
    Gc,
    Deleted { keyed: bool },
    String,
    Any,
    Nothing,
}

impl Joins {
    fn of(item: &Struct<'_>) -> Self {
        match item.kind {
            Kind::Gc => Joins::Gc,
            Kind::Deleted => Joins::Deleted { keyed: item.keyed },
            // Of the values of a key only the last one counts; together they would seem to be one.
            Kind::String(_) if !item.keyed => Joins::String,
            Kind::Any if !item.keyed => Joins::Any,
            _ => Joins::Nothing,
        }
    }
}

/// Appends `item` of `client`, lying in `update`, to `row`, whose last struct is `last` and ends where `item` begins.
/// Joined to that one where it may be, unless that one has `joined_max` bytes already. Whether it became a struct of its own.
/// Of the values of one key only the last counts, so what `may_be_keyed` is never joined to more values.
pub fn append(
    row: &mut Vec<u8>,
    last: &mut Option<Last>,
    joined_max: usize,
    may_be_keyed: impl FnOnce() -> bool,
    client: ClientId,
    update: &[u8],
    item: &Struct<'_>,
) -> bool {
    if let Some(before) = last
        && before.may_take(client, item)
        && before.bytes_to(row.len()) < joined_max
        && (!matches!(before.joins, Joins::String | Joins::Any) || !may_be_keyed())
    {
        lengthen(row, before.content, update, item);
        return false;
    }
    *last = Some(Last::of(item, row.len()));
    row.extend_from_slice(update.get(item.from..item.to).unwrap_or_default());
    true
}

impl Last {
    /// `item`, which begins at offset `from` of the row.
    pub fn of(item: &Struct<'_>, from: usize) -> Self {
        let content = from + item.head_bytes();
        Self { from, content, right_origin: item.right_origin, joins: Joins::of(item) }
    }

    /// Its size, where it ends at offset `end` of the row.
    pub fn bytes_to(&self, end: usize) -> usize {
        end - self.from
    }

    /// The same in a row that begins so many bytes later.
    pub fn behind(self, bytes: usize) -> Self {
        Self { from: self.from - bytes, content: self.content - bytes, ..self }
    }

    /// Whether `item` of `client`, which begins where this one ends, may be joined to it as far as their bytes tell.
    pub fn may_take(&self, client: ClientId, item: &Struct<'_>) -> bool {
        let follows = || {
            let previous = item.clock.checked_sub(1).map(|clock| Id { client, clock });
            previous.is_some() && item.origin == previous && item.right_origin == self.right_origin
        };
        self.joins == Joins::of(item)
            && match self.joins {
                Joins::Nothing => false,
                Joins::Gc => true,
                Joins::Deleted { .. } | Joins::String | Joins::Any => follows(),
            }
    }
}

/// Adds the content of `item` to the last struct of `row`, whose content begins at `content` with a count.
fn lengthen(row: &mut Vec<u8>, content: usize, update: &[u8], item: &Struct<'_>) {
    // These reads succeeded when both were walked.
    let mut reader = Reader::new(row.get(content..).unwrap_or_default());
    let count = reader.var_uint().unwrap_or_default();
    let more = match item.kind {
        Kind::String(text) => {
            row.extend_from_slice(text.as_bytes());
            text.len() as u64
        }
        Kind::Any => {
            let values = update.get(item.from + item.head_bytes() + var_uint_len(u64::from(item.len))..item.to);
            row.extend_from_slice(values.unwrap_or_default());
            u64::from(item.len)
        }
        _ => u64::from(item.len),
    };
    let (before, after) = (var_uint_len(count), var_uint_len(count + more));
    // Rarely: a count of one byte more.
    row.splice(content + before..content + before, std::iter::repeat_n(0, after - before));
    // Written behind the row, where there is room for it, and moved to its place.
    let end = row.len();
    write_var_uint(row, count + more);
    row.copy_within(end.., content);
    row.truncate(end);
}

impl Builder {
    /// Adds the structs in `bytes`, of which the first starts at `clock`, to those of `client` ([`Builder::structs`]), joined
    /// to each other and to what was added last where they may be. What may be keyed, `may_be_keyed` tells by its clock.
    ///
    /// # Errors
    /// When they are malformed.
    pub fn join(
        &mut self,
        client: ClientId,
        clock: Clock,
        bytes: &[u8],
        joined_max: usize,
        may_be_keyed: impl Fn(Clock) -> bool,
    ) -> Result<(), WireError> {
        let run = self.run(client, clock);
        let (mut walker, mut clock) = (Walker::start(bytes), clock);
        while walker.position() < bytes.len() {
            let item = walker.next(client, clock)?;
            let keyed = || may_be_keyed(item.clock);
            run.structs += u64::from(append(&mut run.bytes, &mut run.last, joined_max, keyed, client, bytes, &item));
            clock = item.end();
        }
        Ok(())
    }
}

/// What is left of some ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All of it.
    Living,
    /// Its place: it is deleted.
    Forgotten,
    /// Its length: what it hung in is deleted as well.
    Gone,
}

/// Writes what is left of the ticks `from..to` of `item`, as a struct of its own.
pub fn write_rest(
    out: &mut Vec<u8>,
    update: &[u8],
    client: ClientId,
    item: &Struct<'_>,
    fate: Fate,
    (from, to): (Clock, Clock),
) {
    match fate {
        Fate::Living => write_part(out, update, client, item, from, to),
        Fate::Forgotten => write_deleted(out, update, client, item, from, to),
        Fate::Gone => {
            out.push(0);
            write_var_uint(out, u64::from(to - from));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::update::Walker;

    const C: ClientId = ClientId(7);

    fn item(bytes: &[u8], clock: Clock) -> Struct<'_> {
        Walker::start(bytes).next(C, clock).unwrap()
    }

    /// A row of structs from clock 0.
    fn row(parts: &[&[u8]]) -> (Vec<u8>, u64) {
        let (mut row, mut last, mut clock, mut structs) = (Vec::new(), None, 0, 0);
        for part in parts {
            let item = item(part, clock);
            structs += u64::from(append(&mut row, &mut last, 1_000, || false, C, part, &item));
            clock = item.end();
        }
        (row, structs)
    }

    #[test]
    fn what_was_typed_in_a_row_is_one_struct() {
        let first: &[u8] = &[4, 1, 1, b't', 2, b'a', b'b'];
        let (bytes, structs) = row(&[first, &[0x84, 7, 1, 1, b'c'], &[0x84, 7, 2, 2, 0xc3, 0xa4]]);
        assert_eq!((structs, &bytes[..]), (1, &[4, 1, 1, b't', 5, b'a', b'b', b'c', 0xc3, 0xa4][..]));
        // After something else, or before something else: not the same place.
        assert_eq!(row(&[first, &[0x84, 7, 0, 1, b'c']]).1, 2);
        assert_eq!(row(&[first, &[0xc4, 7, 1, 9, 1, 1, b'c']]).1, 2);
        // Values, garbage, what is deleted; never one with the other.
        assert_eq!(row(&[&[8, 1, 1, b'a', 1, 126], &[0x88, 7, 0, 2, 127, 126]]).0, [8, 1, 1, b'a', 3, 126, 127, 126]);
        assert_eq!(row(&[&[0, 3], &[0, 2], &[0x81, 7, 4, 1], &[0x81, 7, 5, 9]]), (vec![0, 5, 0x81, 7, 4, 10], 2));
        // The values of one key stay apart, what is left of deleted ones does not.
        assert_eq!(row(&[&[0x28, 1, 1, b'm', 1, b'k', 1, 126], &[0xa8, 7, 0, 1, 126]]).1, 2);
        assert_eq!(row(&[&[0x21, 1, 1, b'm', 1, b'k', 1], &[0xa1, 7, 0, 1]]).1, 1);
    }

    #[test]
    fn a_builder_joins_what_follows_what_was_added_last() {
        let mut builder = Builder::default();
        let never = |_| false;
        builder.join(C, 0, &[4, 1, 1, b't', 2, b'a', b'b', 0x84, 7, 1, 1, b'c'], 1_000, never).unwrap();
        builder.join(C, 3, &[0x84, 7, 2, 1, b'd'], 1_000, never).unwrap();
        // What is added whole is not looked at, and nothing is joined to it.
        builder.structs(C, 4, 1, &[&[0x84, 7, 3, 1, b'e']]);
        builder.join(C, 5, &[0x84, 7, 4, 1, b'f'], 1_000, never).unwrap();
        assert!(builder.join(C, 6, &[0x84, 7, 5], 1_000, never).is_err());
        let structs = [&[4, 1, 1, b't', 4, b'a', b'b', b'c', b'd'][..], &[0x84, 7, 3, 1, b'e'], &[0x84, 7, 4, 1, b'f']];
        assert_eq!(builder.finish(), [&[1, 3, 7, 0][..], &structs.concat(), &[0]].concat());

        // The values of one key, of which the second does not say that it is one.
        let (first, second): (&[u8], &[u8]) = (&[8, 1, 1, b'm', 1, 126], &[0x88, 7, 0, 1, 127]);
        for (keyed, structs) in [(false, 1), (true, 2)] {
            let mut builder = Builder::default();
            builder.join(C, 0, &[first, second].concat(), 1_000, |clock| keyed && clock == 1).unwrap();
            assert_eq!(builder.finish()[1], structs);
        }
    }

    #[test]
    fn a_count_that_grows_longer_moves_what_follows() {
        let mut first = vec![4, 1, 1, b't', 127];
        first.extend([b'x'; 127]);
        let (bytes, structs) = row(&[&first, &[0x84, 7, 126, 1, b'y']]);
        assert_eq!((structs, bytes.len(), &bytes[..6]), (1, first.len() + 2, &[4, 1, 1, b't', 0x80, 1][..]));
        assert_eq!(item(&bytes, 0).len, 128);
    }

    #[test]
    fn what_is_deleted_gives_up_its_content_and_keeps_its_place() {
        let bytes: &[u8] = &[4, 1, 1, b't', 6, b'a', b'b', b'c', b'd', b'e', b'f'];
        let rest = |fate, from, to| {
            let mut out = Vec::new();
            write_rest(&mut out, bytes, C, &item(bytes, 0), fate, (from, to));
            out
        };
        assert_eq!(rest(Fate::Forgotten, 0, 2), [1, 1, 1, b't', 2]);
        assert_eq!(rest(Fate::Living, 2, 4), [0x84, 7, 1, 2, b'c', b'd']);
        assert_eq!(rest(Fate::Forgotten, 4, 6), [0x81, 7, 3, 2]);
        assert_eq!(rest(Fate::Gone, 1, 6), [0, 5]);
    }
}
