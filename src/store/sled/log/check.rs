//! Whether sled may open a database: it overwrites what comes after the first bad place.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

use super::super::engine::DATABASE;
use super::message::{batch_end, values_in};
use super::page_table::{self, PageTable};
use super::segment::{BadPlace, SEGMENT_BYTES, Seen, Slots, read_segment, slots, walk};

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Bad {
    /// Bytes that are no message.
    Place(BadPlace),
    /// A whole segment is nowhere, and later ones are there.
    Missing {
        /// Its number in the order of writing.
        segment: u64,
    },
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::Place(BadPlace { offset, bytes, .. }) => {
                write!(f, "{bytes} bytes from {offset} on in the file {DATABASE} are damaged")
            }
            Bad::Missing { segment } => write!(f, "part {segment} of the file {DATABASE} is missing"),
        }
    }
}

impl Bad {
    fn written_at(&self) -> u64 {
        match self {
            Bad::Place(place) => place.written_at(),
            Bad::Missing { segment } => segment * SEGMENT_BYTES as u64,
        }
    }
}

/// What [`check`] found.
#[derive(Debug, Default)]
pub(in super::super) struct Check {
    /// The first that is wrong, in the order of writing.
    pub bad: Option<Bad>,
    /// The newest root record before it, as `root_of` reads it.
    root_before: Option<u64>,
    /// The oldest one after it.
    root_after: Option<u64>,
    /// Where sled ends, if something is wrong in what it had not yet called synced; and the newest root record before.
    tear: Option<(u64, Option<u64>)>,
}

impl Check {
    /// Whether sled must not open this: it would overwrite what comes after the bad place, and that was durable once.
    /// Nothing is durable that was written after the checkpoint `marked`; a crash may leave that in any state.
    pub(in super::super) fn is_damaged(&self, marked: u64) -> bool {
        let durable = match (self.root_before, self.root_after) {
            // The root record of that checkpoint, or what was written before it, is behind the bad place or lost in it.
            (Some(before), _) => before < marked,
            // None of the roots seen is as old as that checkpoint: all of this was written after it.
            (None, Some(after)) => after <= marked,
            (None, None) => false,
        };
        self.bad.is_some() && durable
    }

    /// Where the log ends, in bytes ever written, if a crash has torn what came after the checkpoint `marked`. What stands
    /// behind the tear was written by another thread before what is missing, and counts for nothing: were it read, a page
    /// that gave keys to a new neighbour would stand without it.
    pub(in super::super) fn end(&self, marked: u64) -> Option<u64> {
        self.tear.filter(|(_, root)| root.is_some_and(|root| root >= marked)).map(|(end, _)| end)
    }
}

/// Verifies the messages that sled reads when it opens the database in `dir`: those since its last snapshot of the page
/// table, or all of them but what was free at that time. `root_of` tells whether a value is a root record, and its checkpoint.
///
/// Errors: of the file system only.
pub(in super::super) fn check(dir: &Path, whole: bool, root_of: &dyn Fn(&[u8]) -> Option<u64>) -> io::Result<Check> {
    let file = File::open(dir.join(DATABASE))?;
    let covers = page_table::covers(dir)?;
    let from = if whole { 0 } else { covers / SEGMENT_BYTES as u64 };
    let mut buffer = vec![0; SEGMENT_BYTES];
    let Slots { mut in_order, stable } = slots(&file, &mut buffer)?;
    if whole {
        let table = PageTable::read(dir)?;
        in_order.retain(|&(number, offset)| !table.is_free(number, offset));
    }
    // What is before the end of the page table sled does not take for torn either.
    let stable = stable.max(covers.saturating_sub(1));
    let (older, read_by_sled) = in_order.split_at(in_order.partition_point(|(number, _)| *number < from));
    let mut walked = Walked { check: Check::default(), stable, root: None, batch: None };
    // Before what sled called synced, numbers are missing because segments are used again.
    let mut expected = None;
    for (at, &(number, offset)) in read_by_sled.iter().enumerate() {
        if let Some(missing) =
            expected.filter(|expected| *expected < number && *expected > stable / SEGMENT_BYTES as u64)
        {
            walked.meet_bad(Bad::Missing { segment: missing });
        }
        expected = Some(number + 1);
        let bytes = read_segment(&file, offset, &mut buffer)?;
        walk(bytes, offset, number, at + 1 == read_by_sled.len(), &mut |seen| match seen {
            Seen::Message(message, body) => {
                if let Some(end) = batch_end(message, body) {
                    walked.batch = Some((message.written_at(), end));
                }
                values_in(message.kind, body).filter_map(root_of).for_each(|root| walked.meet_root(root));
            }
            Seen::Bad(place) => walked.meet_bad(Bad::Place(place)),
        });
    }
    let mut found = walked.check;
    if found.bad.is_none() || found.root_before.is_some() {
        return Ok(found);
    }
    // Seldom, so all of them are read only now: was that checkpoint's root record written before the snapshot?
    for &(number, offset) in older {
        walk(read_segment(&file, offset, &mut buffer)?, offset, number, false, &mut |seen| {
            if let Seen::Message(message, body) = seen {
                let roots = values_in(message.kind, body).filter_map(root_of);
                found.root_before = roots.chain(found.root_before).max();
            }
        });
    }
    Ok(found)
}

/// A check in progress.
struct Walked {
    check: Check,
    stable: u64,
    /// The newest yet.
    root: Option<u64>,
    /// Where the batch begins that was seen last, and where its last message does.
    batch: Option<(u64, u64)>,
}

impl Walked {
    fn meet_root(&mut self, root: u64) {
        self.root = self.root.max(Some(root));
        if self.check.bad.is_none() {
            self.check.root_before = self.root;
        } else {
            self.check.root_after = Some(self.check.root_after.map_or(root, |after| after.min(root)));
        }
    }

    fn meet_bad(&mut self, bad: Bad) {
        let at = bad.written_at();
        if at > self.stable && self.check.tear.is_none() {
            // A batch of which some is missing sled leaves out as a whole.
            let torn_batch = self.batch.filter(|(_, end)| *end >= at);
            self.check.tear = Some((torn_batch.map_or(at, |(begin, _)| begin), self.root));
        }
        self.check.bad.get_or_insert(bad);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bad: bool, root_before: Option<u64>, root_after: Option<u64>) -> Check {
        let bad = bad.then_some(Bad::Place(BadPlace { offset: 20, bytes: 9, segment: 0 }));
        Check { bad, root_before, root_after, tear: None }
    }

    #[test]
    fn a_torn_end_is_told_from_damage_by_what_was_durable() {
        // Nothing is bad, or all that was durable is before it.
        assert!(!check(false, Some(4), None).is_damaged(7));
        assert!(!check(true, Some(7), None).is_damaged(7));
        assert!(!check(true, Some(7), Some(8)).is_damaged(7), "the next checkpoint never came to its end");
        // Since the last snapshot of the page table, which was after checkpoint 7.
        assert!(!check(true, None, Some(8)).is_damaged(7));
        assert!(!check(true, None, None).is_damaged(7));
        // The durable checkpoint is behind the bad place, or in it.
        assert!(check(true, Some(6), Some(7)).is_damaged(7));
        assert!(check(true, None, Some(7)).is_damaged(7));
        assert!(check(true, None, Some(3)).is_damaged(7));
        assert!(check(true, Some(6), None).is_damaged(7));
    }
}
