//! Documents become tombstones (ST9): one small write each, and only when that is durable do their contents go.

use std::collections::BTreeMap;

use super::super::record::{self, Entry};
use super::super::{Deletion, DocHead, StoreError, keys};
use super::SledStore;
use super::batches::Batches;
use crate::ids::{DocName, Seq};

/// Where a deletion has got to; for tests that stop it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeleteStep {
    Buried,
    BurialDurable,
    Swept,
}

impl SledStore {
    /// As [`super::super::Store::delete`]; `reached` is told of each step once it is done.
    ///
    /// Each step may be the last before a crash. What the next start then finds, after
    ///
    /// - *buried*: each entry is one small value in an atomic batch, so it is the old one, whose contents are all still
    ///   there, or the tombstone.
    /// - *burial durable*: tombstones. Their contents are garbage now. Were they removed before, the removal could
    ///   survive and the tombstone not, and the document would be damaged instead of deleted. The entries are marked
    ///   untidy, so the replay of the deletion, or the next write to the document, sweeps up what is left.
    /// - *swept*: tombstones and nothing else.
    pub(super) fn bury(&self, deletions: &[Deletion], reached: &mut dyn FnMut(DeleteStep)) -> Result<(), StoreError> {
        const OP: &str = "delete";
        let mut writer = self.writer(OP)?;
        let mut root = writer.root;
        let mut buried: BTreeMap<&DocName, Entry> = BTreeMap::new();
        let mut batches = Batches::default();
        for Deletion { doc, seq, at_ms } in deletions {
            let (old, is_damaged) = match buried.get(doc) {
                Some(entry) => (Some(entry.clone()), false),
                None => match self.entry(doc) {
                    Ok(entry) => (entry, false),
                    // Deleting it is one way to be rid of the damage.
                    Err(StoreError::Damaged { .. }) => (None, true),
                    Err(error) => return Err(error),
                },
            };
            match &old {
                // Cut short after its burial: what is left of it is still to be swept.
                Some(old) if old.untidy && old.head.deleted_ms.is_some() && old.head.last_seq == *seq => {
                    buried.insert(doc, old.clone());
                    continue;
                }
                // A replay of what was done already (ST2).
                Some(old) if *seq <= old.head.last_seq => continue,
                None if *seq == Seq::ZERO => continue,
                Some(_) | None => {}
            }
            let was_live = is_damaged || old.as_ref().is_some_and(|old| old.head.deleted_ms.is_none());
            root.documents = root.documents.saturating_sub(u64::from(was_live));
            let head = DocHead {
                last_seq: *seq,
                snapshot_seq: *seq,
                created_ms: old.map_or(*at_ms, |old| old.head.created_ms),
                updated_ms: *at_ms,
                deleted_ms: Some(*at_ms),
                ..DocHead::default()
            };
            let tombstone = Entry { head, generation: 0, untidy: true };
            batches.insert_entry(doc, &tombstone, &root);
            buried.insert(doc, tombstone);
        }
        if buried.is_empty() {
            return Ok(());
        }
        self.apply(&mut writer, OP, batches)?;
        reached(DeleteStep::Buried);

        self.sync_engine(&mut writer, OP)?;
        reached(DeleteStep::BurialDurable);

        for (doc, tombstone) in buried {
            let mut batches = Batches::default();
            self.sweep(doc, Some(&tombstone), &mut batches)?;
            let mut last = Batches::default();
            last.insert(&keys::head(doc), &record::encode_entry(doc, &Entry { untidy: false, ..tombstone }));
            self.apply(&mut writer, OP, batches)?;
            self.apply(&mut writer, OP, last)?;
        }
        reached(DeleteStep::Swept);
        Ok(())
    }
}
