//! What was deleted, as ranges of clock ticks per client: the half of a document's state that state vectors don't tell.

use std::collections::BTreeMap;

use crate::ids::{ClientId, Clock};
use crate::wire::lib0::write_var_uint;

/// Disjoint, non-adjacent ranges of deleted ticks per client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteSet {
    /// Start → end of each range.
    clients: BTreeMap<ClientId, BTreeMap<Clock, Clock>>,
}

impl DeleteSet {
    /// Adds `from..to`. Touching ranges become one.
    pub fn insert(&mut self, client: ClientId, from: Clock, to: Clock) {
        if from >= to {
            return;
        }
        let ranges = self.clients.entry(client).or_default();
        if let Some(mut last) = ranges.last_entry()
            && *last.key() <= from
        {
            if *last.get() >= from {
                *last.get_mut() = to.max(*last.get());
            } else {
                ranges.insert(from, to);
            }
            return;
        }
        let (mut from, mut to) = (from, to);
        if let Some((&start, &end)) = ranges.range(..=from).next_back()
            && end >= from
        {
            if end >= to {
                return;
            }
            from = start;
        }
        while let Some((&start, &end)) = ranges.range(from..=to).next() {
            ranges.remove(&start);
            to = to.max(end);
        }
        ranges.insert(from, to);
    }

    /// Adds all of them. Fastest where a client is new and its ranges rise.
    pub fn extend(&mut self, ranges: &[(ClientId, Clock, Clock)]) {
        for ranges in ranges.chunk_by(|a, b| a.0 == b.0 && a.2 < b.1 && b.1 < b.2) {
            let Some(&(client, from, to)) = ranges.first() else { continue };
            if ranges.len() > 1 && from < to && !self.clients.contains_key(&client) {
                self.clients.insert(client, ranges.iter().map(|&(_, from, to)| (from, to)).collect());
            } else {
                ranges.iter().for_each(|&(client, from, to)| self.insert(client, from, to));
            }
        }
    }

    /// Gives the parts of `from..to` that are not in the set, in order.
    pub fn for_each_missing(&self, client: ClientId, from: Clock, to: Clock, mut part: impl FnMut(Clock, Clock)) {
        let mut at = from;
        if let Some(ranges) = self.clients.get(&client) {
            let first = ranges.range(..=from).next_back().map_or(from, |(&start, _)| start);
            for (&start, &end) in ranges.range(first..to) {
                if start > at {
                    part(at, start);
                }
                at = at.max(end);
            }
        }
        if at < to {
            part(at, to);
        }
    }

    /// Gives the parts of all of these that are not in the set, in their order. Fastest where they rise.
    pub fn for_each_missing_of(
        &self,
        ranges: &[(ClientId, Clock, Clock)],
        mut part: impl FnMut(ClientId, Clock, Clock),
    ) {
        /// Ranges of the set that are passed over before it is cheaper to search.
        const STEPS_MAX: u32 = 8;
        for ranges in ranges.chunk_by(|a, b| a.0 == b.0 && a.2 <= b.1) {
            let Some(&(client, ..)) = ranges.first() else { continue };
            let Some(held) = self.clients.get(&client) else {
                ranges.iter().filter(|(_, from, to)| from < to).for_each(|&(client, from, to)| part(client, from, to));
                continue;
            };
            let mut rest = held.range(0..).peekable();
            for &(_, from, to) in ranges {
                let mut steps = 0;
                while rest.next_if(|(_, end)| **end <= from).is_some() {
                    steps += 1;
                    if steps == STEPS_MAX {
                        let first = held.range(..=from).next_back().map_or(from, |(&start, _)| start);
                        rest = held.range(first..).peekable();
                    }
                }
                let mut at = from;
                // The last of them may reach into the next range asked for.
                while let Some(&(&start, &end)) = rest.peek()
                    && start < to
                {
                    if start > at {
                        part(client, at, start);
                    }
                    at = at.max(end);
                    if end > to {
                        break;
                    }
                    rest.next();
                }
                if at < to {
                    part(client, at, to);
                }
            }
        }
    }

    /// Whether some of `from..to` is in the set.
    pub fn touches(&self, client: ClientId, from: Clock, to: Clock) -> bool {
        let before = self.clients.get(&client).and_then(|ranges| ranges.range(..to).next_back());
        from < to && before.is_some_and(|(_, end)| *end > from)
    }

    /// As it ends an update, the largest client first as Yjs writes it.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_var_uint(&mut out, self.clients.len() as u64);
        for (client, ranges) in self.clients.iter().rev() {
            write_var_uint(&mut out, client.0);
            write_var_uint(&mut out, ranges.len() as u64);
            for (from, to) in ranges {
                write_var_uint(&mut out, u64::from(*from));
                write_var_uint(&mut out, u64::from(to - from));
            }
        }
        out
    }

    /// All ranges, clients and clocks rising.
    pub fn iter(&self) -> impl Iterator<Item = (ClientId, Clock, Clock)> + '_ {
        self.clients.iter().flat_map(|(&client, ranges)| ranges.iter().map(move |(&from, &to)| (client, from, to)))
    }

    /// Deleted ticks of all clients.
    pub fn ticks(&self) -> u64 {
        self.iter().map(|(_, from, to)| u64::from(to - from)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const C: ClientId = ClientId(7);

    proptest! {
        #[test]
        fn what_is_missing_of_many_is_what_is_missing_of_each(
            held in proptest::collection::vec((0u64..3, 0u32..200, 0u32..6), 0..60),
            asked in proptest::collection::vec((0u64..3, 0u32..200, 0u32..20), 0..40),
            rising: bool,
        ) {
            let range = |(client, from, len)| (ClientId(client), from, from + len);
            let mut set = DeleteSet::default();
            held.into_iter().map(range).for_each(|(client, from, to)| set.insert(client, from, to));
            let mut asked: Vec<_> = asked.into_iter().map(range).collect();
            if rising {
                asked.sort_unstable();
            }
            let (mut together, mut one_by_one) = (Vec::new(), Vec::new());
            set.for_each_missing_of(&asked, |client, from, to| together.push((client, from, to)));
            for &(client, from, to) in &asked {
                set.for_each_missing(client, from, to, |from, to| one_by_one.push((client, from, to)));
            }
            prop_assert_eq!(together, one_by_one);
        }

        #[test]
        fn agrees_with_a_set_of_ticks(ranges in proptest::collection::vec((0u32..60, 0u32..20), 0..40)) {
            let mut set = DeleteSet::default();
            let mut model = BTreeSet::new();
            for (from, len) in ranges {
                let to = from + len;
                let mut missing = Vec::new();
                set.for_each_missing(C, from, to, |a, b| missing.extend(a..b));
                let expected: Vec<_> = (from..to).filter(|tick| !model.contains(tick)).collect();
                prop_assert_eq!(set.touches(C, from, to), expected.len() < len as usize);
                prop_assert_eq!(missing, expected);
                set.insert(C, from, to);
                model.extend(from..to);
                let held: Vec<_> = set.iter().flat_map(|(_, a, b)| a..b).collect();
                prop_assert_eq!(&held, &model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(set.ticks(), model.len() as u64);
            }
            let ends: Vec<_> = set.iter().collect();
            prop_assert!(ends.windows(2).all(|w| w[0].2 < w[1].1), "ranges stay disjoint and apart: {ends:?}");
        }
    }
}
