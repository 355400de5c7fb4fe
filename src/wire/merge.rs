//! Updates that follow on each other as one, without a document: as Yjs' `mergeUpdates` where nothing is missing in between.

use std::collections::BTreeMap;

use super::WireError;
use super::update::{Builder, Kind, Section, Walker};

/// Valid updates as one; `None` when something is left out between a client's structs.
///
/// # Errors
/// When one is malformed.
pub fn merge<'a>(updates: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Merged>, WireError> {
    let mut builder = Builder::default();
    let mut clocks = BTreeMap::new();
    let mut from_start = true;
    for update in updates {
        let (mut walker, sections) = Walker::new(update)?;
        for _ in 0..sections {
            let Section { client, clock, structs } = walker.section()?;
            let begins = walker.position();
            match clocks.get(&client) {
                Some(end) if *end != clock => return Ok(None),
                Some(_) => {}
                None => from_start &= clock == 0,
            }
            let mut end = clock;
            for _ in 0..structs {
                let item = walker.next(client, end)?;
                if matches!(item.kind, Kind::Skip) {
                    return Ok(None);
                }
                end = item.end();
            }
            clocks.insert(client, end);
            builder.structs(client, clock, structs, &[update.get(begins..walker.position()).unwrap_or_default()]);
        }
        walker.delete_set(|client, from, to| builder.delete(client, from, to))?;
    }
    Ok(Some(Merged { update: builder.finish(), from_start }))
}

/// What several updates say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// In one.
    pub update: Vec<u8>,
    /// All that any of the clients has written is there.
    pub from_start: bool,
}

#[cfg(test)]
mod tests {
    use super::super::update::{EMPTY, structs, validate};
    use super::*;

    #[test]
    fn updates_that_follow_on_each_other_are_one() {
        // Text of client 5 at each of these clocks, after what it wrote before, and a deletion of the tick before.
        let text = |clock: u8, text: &[u8]| match clock {
            0 => [&[1, 1, 5, 0, 4, 1, 1, b't', text.len() as u8], text, &[0]].concat(),
            _ => [&[1, 1, 5, clock, 0x84, 5, clock - 1, text.len() as u8], text, &[1, 5, 1, clock - 1, 1]].concat(),
        };
        let merged = |updates: &[Vec<u8>]| merge(updates.iter().map(|update| &update[..])).unwrap();
        let all = merged(&[text(0, b"ab"), text(2, b"c"), text(3, b"d")]).unwrap();
        assert!(all.from_start);
        assert_eq!((validate(&all.update), structs(&all.update)), (Ok(()), 3));
        assert_eq!(all.update[all.update.len() - 5..], [1, 5, 1, 1, 2], "deletions that touch are one");
        let rest = merged(&[text(2, b"c"), text(3, b"d")]).unwrap();
        assert!(!rest.from_start);
        assert_eq!(merged(&[text(0, b"ab"), text(3, b"d")]), None, "something is missing between them");
        assert_eq!(merged(&[vec![1, 2, 5, 0, 10, 3, 4, 1, 1, b't', 1, b'x', 0]]), None, "or left out within one");
        assert_eq!(merged(&[]).unwrap().update, EMPTY);
        assert!(merge([&[9][..]]).is_err());
    }
}
