//! Snapshots take the place of logs, one small write after all their chunks are there (ST4, ST5).

use super::super::keys::{self, KeyRange, Keyspace};
use super::super::record::{self, Encoding, Entry, RecordKind};
use super::super::{Snapshot, StoreError};
use super::batches::{self, Batches};
use super::reading::{damaged, reading, scan};
use super::{SledStore, new_entry};
use crate::ids::DocName;

/// Where an installation of a snapshot has got to; for tests that stop it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstallStep {
    PlacesMade,
    ChunksWritten,
    ChunksDurable,
    Verified,
    Switched,
    SwitchDurable,
    Tidied,
}

impl Entry {
    /// Whether the chunks of record `number` belong to the document.
    pub(super) fn names(&self, space: Keyspace, number: u64) -> bool {
        match space {
            Keyspace::Snapshot => number == self.generation,
            Keyspace::Log => number > self.head.snapshot_seq.0 && number <= self.head.last_seq.0,
            Keyspace::Head | Keyspace::Root => false,
        }
    }
}

impl SledStore {
    /// Removes all chunks of `doc` that `entry` does not name.
    pub(super) fn sweep(&self, doc: &DocName, entry: Option<&Entry>, batches: &mut Batches) -> Result<(), StoreError> {
        let named = |space, number| entry.is_some_and(|entry| entry.names(space, number));
        for space in [Keyspace::Snapshot, Keyspace::Log] {
            self.remove_chunks(doc, keys::chunks(space, doc), |number| !named(space, number), batches)?;
        }
        Ok(())
    }

    pub(super) fn remove_chunks(
        &self,
        doc: &DocName,
        range: KeyRange,
        unwanted: impl Fn(u64) -> bool,
        batches: &mut Batches,
    ) -> Result<(), StoreError> {
        let removals = || -> sled::Result<()> {
            let db = self.db()?;
            for item in scan(&db, range) {
                let (key, value) = item?;
                if keys::chunk_numbers(&key).is_some_and(|(number, _)| unwanted(number)) {
                    batches.remove(key, value.len());
                }
            }
            Ok(())
        };
        reading(doc, "its contents", removals)
    }

    /// As [`Store::install_snapshot`]; `reached` is told of each step once it is done.
    ///
    /// Each step may be the last before a crash. What the next start then finds, after
    ///
    /// - *places made*, *chunks written*, *chunks durable*, *verified*: the catalogue entry still names the old generation and the old
    ///   log, both untouched. The new chunks are garbage, in part or whole. The entry is marked untidy (or there is
    ///   none, if the document is new), so the next write to this document sweeps them up.
    /// - *switched*: the entry is one small value in one atomic batch, so either the old one or the new one survives.
    ///   All that the new one names was made durable before it was written; all that the old one names is still there.
    /// - *switch durable*: the new document. The old chunks are garbage now, to be swept as above. Were they removed
    ///   before the switch is durable, the removal could survive and the switch not.
    /// - *tidied*: the new document, and nothing else.
    pub(super) fn install(
        &self,
        doc: &DocName,
        snapshot: &Snapshot,
        now_ms: u64,
        reached: &mut dyn FnMut(InstallStep),
    ) -> Result<(), StoreError> {
        const OP: &str = "snapshot";
        let mut writer = self.writer(OP)?;
        let old = self.entry(doc)?;
        let passed_over = |Entry { head, .. }: &Entry| {
            let is_buried = head.deleted_ms.is_some() && snapshot.covers <= head.last_seq;
            is_buried || snapshot.covers < head.snapshot_seq
        };
        if old.as_ref().is_some_and(passed_over) {
            return Ok(());
        }
        let generation = old.as_ref().map_or(0, |old| old.generation) + 1;
        let (covers, updates) = (snapshot.covers.0, snapshot.updates.iter());
        let record = Encoding::new(doc, RecordKind::Snapshot, generation, covers, updates);

        // The sweep comes first, or chunks of an attempt that was cut short would mix with those of this one.
        let mut batches = Batches::default();
        self.sweep(doc, old.as_ref(), &mut batches)?;
        if let Some(old) = &old {
            let untidy = Entry { untidy: true, ..old.clone() };
            batches.insert(&keys::head(doc), &record::encode_entry(doc, &untidy));
        }
        batches.insert_places(Keyspace::Snapshot, doc, generation, &record);
        self.apply(&mut writer, OP, std::mem::take(&mut batches))?;
        reached(InstallStep::PlacesMade);

        let chunks = || batches::chunks(Keyspace::Snapshot, doc, generation, &record);
        for (key, value) in chunks() {
            batches.insert(&key, &value);
            self.apply(&mut writer, OP, batches.take_full())?;
        }
        self.apply(&mut writer, OP, batches)?;
        reached(InstallStep::ChunksWritten);

        self.sync_engine(&mut writer, OP)?;
        reached(InstallStep::ChunksDurable);

        if !self.reads_back(doc, keys::generation(doc, generation), chunks())? {
            return Err(damaged(doc, format!("snapshot {generation}"), "it does not read back as written".to_owned()));
        }
        let new = self.entry_after_install(doc, old.as_ref(), generation, snapshot, now_ms)?;
        reached(InstallStep::Verified);

        let mut batches = Batches::default();
        let mut root = writer.root;
        root.documents += u64::from(old.is_none_or(|old| old.head.deleted_ms.is_some()));
        batches.insert_entry(doc, &new, &root);
        self.apply(&mut writer, OP, batches)?;
        reached(InstallStep::Switched);

        self.sync_engine(&mut writer, OP)?;
        reached(InstallStep::SwitchDurable);

        let mut batches = Batches::default();
        self.sweep(doc, Some(&new), &mut batches)?;
        let mut last = Batches::default();
        last.insert(&keys::head(doc), &record::encode_entry(doc, &Entry { untidy: false, ..new }));
        self.apply(&mut writer, OP, batches)?;
        self.apply(&mut writer, OP, last)?;
        reached(InstallStep::Tidied);
        Ok(())
    }

    /// The entry that makes `generation` current. Counts what the snapshot leaves of the log.
    fn entry_after_install(
        &self,
        doc: &DocName,
        old: Option<&Entry>,
        generation: u64,
        snapshot: &Snapshot,
        now_ms: u64,
    ) -> Result<Entry, StoreError> {
        let mut head = old.cloned().unwrap_or_else(|| new_entry(now_ms)).head;
        if head.deleted_ms.take().is_some() {
            head.created_ms = now_ms;
        }
        head.snapshot_seq = snapshot.covers;
        head.snapshot_bytes = snapshot.updates.iter().map(|u| u.len() as u64).sum();
        if snapshot.covers > head.last_seq {
            head.last_seq = snapshot.covers;
            head.updated_ms = now_ms;
        }
        (head.log_bytes, head.log_updates, head.log_records) = (0, 0, 0);
        for record in self.read_log(doc, &head)? {
            let covered = (snapshot.covers.0 + 1).saturating_sub(record.first);
            let left = record.updates.get(usize::try_from(covered).unwrap_or(usize::MAX)..).unwrap_or_default();
            head.log_records += 1;
            head.log_updates += left.len() as u64;
            head.log_bytes += left.iter().map(|u| u.len() as u64).sum::<u64>();
        }
        Ok(Entry { head, generation, untidy: true })
    }
}
