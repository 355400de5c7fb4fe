//! Reads every record of a document and judges each on its own, and puts a document together again from what is readable.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::sync::PoisonError;

use bytes::Bytes;

use super::super::keys::{self, Key, Keyspace};
use super::super::record::{self, Entry, RecordKind, UpdateRecord};
use super::super::{DamagedRecord, DocHead, Examined, Snapshot, StoreError};
use super::SledStore;
use super::batches::Batches;
use super::engine::panicked;
use super::reading::{ENTRY, decode_entry, reading, scan};
use crate::ids::{DocName, Seq};

/// All that is found under a document's name.
struct Records {
    /// `None` when there is no entry; the bytes of one that cannot be decoded are among the damaged.
    entry: Option<Entry>,
    entry_is_damaged: bool,
    /// Whole snapshots by generation.
    snapshots: BTreeMap<u64, UpdateRecord>,
    /// Whole log records by their last position.
    log: BTreeMap<u64, UpdateRecord>,
    damaged: Vec<DamagedRecord>,
}

impl SledStore {
    /// As [`super::super::Store::names_of_contents`].
    pub(super) fn list_names_of_contents(
        &self,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<DocName>, StoreError> {
        let engine = |why: String| StoreError::Engine { op: "list", source: why.into() };
        let scan = || -> sled::Result<Vec<DocName>> {
            let db = self.db()?;
            let mut names = Vec::new();
            let mut last = after.cloned();
            while names.len() < limit {
                let mut next: Option<DocName> = None;
                let heads = match &last {
                    Some(doc) if doc.as_str() >= prefix => Bound::Excluded(keys::head(doc)),
                    _ => Bound::Included(keys::heads_from(prefix)),
                };
                let chunks = |space| Bound::Included(keys::chunks_after(space, prefix, last.as_ref()));
                for (space, from) in [
                    (Keyspace::Head, heads),
                    (Keyspace::Log, chunks(Keyspace::Log)),
                    (Keyspace::Snapshot, chunks(Keyspace::Snapshot)),
                ] {
                    // Not into the next space, where names begin anew.
                    let range = (from, Bound::Excluded(vec![space as u8 + 1]));
                    let Some(key) = db.range::<Vec<u8>, _>(range).keys().next().transpose()? else { continue };
                    // A key that is none of ours cannot come from a sled that holds its own checksums.
                    let Some(Key::Head(doc) | Key::Chunk { doc, .. }) = Key::parse(&key) else { continue };
                    if doc.as_str().starts_with(prefix) && next.as_ref().is_none_or(|next| doc < *next) {
                        next = Some(doc);
                    }
                }
                let Some(next) = next else { break };
                names.push(next.clone());
                last = Some(next);
            }
            Ok(names)
        };
        match panic::catch_unwind(AssertUnwindSafe(scan)) {
            Ok(names) => names.map_err(|e| engine(e.to_string())),
            Err(cause) => Err(engine(panicked(&*cause))),
        }
    }

    /// As [`super::super::Store::examine`].
    pub(super) fn examine_document(&self, doc: &DocName) -> Result<Examined, StoreError> {
        let _no_writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let records = self.records(doc)?;
        let mut examined = Examined {
            head: records.entry.as_ref().map(|entry| entry.head.clone()),
            damaged: records.damaged.clone(),
            ..Examined::default()
        };
        let missing = &mut examined.missing;
        match &records.entry {
            Some(entry) => {
                // What the store itself says when it loads the document: order, counts, and that nothing is missing.
                if let Err(StoreError::Damaged { what, why, .. }) = self.read_document(doc, entry.clone()) {
                    missing.push(format!("{what}: {why}"));
                }
                // The journal is in the store by now. A record that the entry does not reach is newer than the entry.
                if let Some(last) = records.log.keys().next_back().filter(|last| **last > entry.head.last_seq.0) {
                    let known = entry.head.last_seq;
                    missing.push(format!(
                        "{ENTRY} ends at position {known}, its log at {last}: the entry is not the newest"
                    ));
                }
            }
            None if records.entry_is_damaged => {}
            None if records.snapshots.is_empty() && records.log.is_empty() && records.damaged.is_empty() => {}
            None => missing.push(format!("{ENTRY} is missing")),
        }
        let (_, covers) = records.best_snapshot();
        let snapshot = records.snapshots.get(&records.best_snapshot().0).map(|record| record.updates.clone());
        examined.updates = snapshot.unwrap_or_default();
        for record in records.log.values().filter(|record| record.last > covers) {
            let covered = usize::try_from((covers + 1).saturating_sub(record.first)).unwrap_or(usize::MAX);
            examined.updates.extend(record.updates.get(covered..).unwrap_or_default().iter().cloned());
        }
        Ok(examined)
    }

    fn records(&self, doc: &DocName) -> Result<Records, StoreError> {
        let mut records = Records {
            entry: None,
            entry_is_damaged: false,
            snapshots: BTreeMap::new(),
            log: BTreeMap::new(),
            damaged: Vec::new(),
        };
        if let Some(raw) = self.raw_entry(doc)? {
            match decode_entry(doc, &raw) {
                Ok(entry) => records.entry = Some(entry),
                Err(error) => {
                    records.entry_is_damaged = true;
                    let why = match error {
                        StoreError::Damaged { why, .. } => why,
                        StoreError::Engine { .. } | StoreError::DiskFull { .. } => error.to_string(),
                    };
                    records.damaged.push(DamagedRecord {
                        what: ENTRY.to_owned(),
                        key: keys::head(doc),
                        why,
                        bytes: raw.to_vec(),
                    });
                }
            }
        }
        for (space, kind) in [(Keyspace::Snapshot, RecordKind::Snapshot), (Keyspace::Log, RecordKind::Log)] {
            let chunks = reading(doc, "its contents", || {
                let db = self.db()?;
                scan(&db, keys::chunks(space, doc)).collect::<sled::Result<Vec<_>>>()
            })?;
            let mut pieces: BTreeMap<u64, Vec<(u32, sled::IVec)>> = BTreeMap::new();
            for (key, value) in chunks {
                if let Some((number, chunk)) = keys::chunk_numbers(&key) {
                    pieces.entry(number).or_default().push((chunk, value));
                }
            }
            for (number, pieces) in pieces {
                let bytes: Vec<u8> = pieces.iter().flat_map(|(_, value)| value.iter().copied()).collect();
                let is_dense = pieces.iter().zip(0..).all(|((chunk, _), expected)| *chunk == expected);
                let decoded = match record::decode_updates(doc, kind, bytes.clone().into()) {
                    Ok(record) if fits(kind, number, &record) => Ok(record),
                    Ok(_) => Err("its contents do not add up".to_owned()),
                    Err(_) if !is_dense => Err("a piece of it is missing".to_owned()),
                    Err(flaw) => Err(flaw.to_string()),
                };
                match decoded {
                    Ok(record) if kind == RecordKind::Snapshot => drop(records.snapshots.insert(number, record)),
                    Ok(record) => drop(records.log.insert(number, record)),
                    // What an installation that was cut short has left is none of the document's.
                    Err(_) if kind == RecordKind::Snapshot && !records.names_snapshot(number) => {}
                    // Nor is what one that was cut short later has not removed yet.
                    Err(_) if kind == RecordKind::Log && records.covers(number) => {}
                    Err(why) => records.damaged.push(DamagedRecord {
                        what: match kind {
                            RecordKind::Snapshot => format!("snapshot {number}"),
                            RecordKind::Log => format!("the log record that ends at position {number}"),
                        },
                        key: keys::chunk(space, doc, number, 0),
                        why,
                        bytes,
                    }),
                }
            }
        }
        Ok(records)
    }

    /// As [`super::super::Store::rebuild`].
    ///
    /// The entry is first replaced by one that names what is readable and nothing else; from there on it is an installation
    /// of a snapshot like any other, which makes the document whole with one switch.
    pub(super) fn rebuild_document(&self, doc: &DocName, updates: Vec<Bytes>, now_ms: u64) -> Result<(), StoreError> {
        const OP: &str = "rebuild";
        let covers = {
            let mut writer = self.writer(OP)?;
            let records = self.records(doc)?;
            let (best, snapshot_covers) = records.best_snapshot();
            let log_end = records.log.keys().next_back().copied().unwrap_or(0);
            let known = records.entry.as_ref().map_or(0, |entry| entry.head.last_seq.0);
            let last_seq = Seq(known.max(snapshot_covers).max(log_end));
            // Names all that is readable, so that the installation sweeps none of it up before its own is there.
            let generation = if best > 0 { best } else { records.entry.as_ref().map_or(0, |entry| entry.generation) };
            let created_ms = records.entry.as_ref().map_or(now_ms, |entry| entry.head.created_ms);
            let head = DocHead { last_seq, created_ms, updated_ms: now_ms, ..DocHead::default() };
            let mut root = writer.root;
            root.documents += u64::from(records.entry.is_none() && !records.entry_is_damaged);
            let mut batches = Batches::default();
            batches.insert_entry(doc, &Entry { head, generation, untidy: true }, &root);
            self.apply(&mut writer, OP, batches)?;
            // What is damaged must not be read again while the new snapshot is verified.
            let mut batches = Batches::default();
            for damaged in records.damaged.iter().filter(|damaged| damaged.key != keys::head(doc)) {
                if let Some(Key::Chunk { space, number, .. }) = Key::parse(&damaged.key) {
                    self.remove_chunks(doc, keys::chunks(space, doc), |found| found == number, &mut batches)?;
                }
            }
            self.apply(&mut writer, OP, batches)?;
            last_seq
        };
        self.install(doc, &Snapshot { covers, updates }, now_ms, &mut |_| {})
    }
}

impl Records {
    fn names_snapshot(&self, generation: u64) -> bool {
        self.entry.as_ref().is_none_or(|entry| entry.generation == generation)
    }

    /// Whether the snapshot that the entry names is there, and says what the log record that ends at this position said.
    fn covers(&self, position: u64) -> bool {
        let named = self.entry.as_ref().and_then(|entry| self.snapshots.get(&entry.generation));
        named.is_some_and(|snapshot| position <= snapshot.last)
    }

    /// Generation and covered position of the snapshot to build on: the one the entry names, else the newest.
    fn best_snapshot(&self) -> (u64, u64) {
        let named = self.entry.as_ref().and_then(|entry| self.snapshots.get_key_value(&entry.generation));
        let best = named.or_else(|| self.snapshots.last_key_value());
        best.map_or((0, 0), |(generation, record)| (*generation, record.last))
    }
}

/// Whether a whole record is the one that its key says.
fn fits(kind: RecordKind, number: u64, record: &UpdateRecord) -> bool {
    match kind {
        RecordKind::Snapshot => record.first == number,
        RecordKind::Log => {
            let span = record.last.checked_sub(record.first).and_then(|n| n.checked_add(1));
            record.last == number && span == Some(record.updates.len() as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{LogAppend, Store};
    use super::*;

    fn doc(name: &str) -> DocName {
        DocName::parse(name).unwrap()
    }

    fn update(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 5_000])
    }

    /// Documents `a` and `b`, each with a snapshot and a log.
    fn filled(dir: &std::path::Path) -> SledStore {
        let store = SledStore::open(dir).unwrap();
        for name in ["a", "b"] {
            let append = |seq: u64| LogAppend { doc: doc(name), updates: vec![(Seq(seq), update(seq as u8))] };
            store.append(&[append(1)], 5).unwrap();
            store.append(&[append(2)], 5).unwrap();
            store.install_snapshot(&doc(name), &Snapshot { covers: Seq(1), updates: vec![update(1)] }, 6).unwrap();
            store.append(&[append(3)], 7).unwrap();
        }
        store.make_durable().unwrap();
        store
    }

    #[test]
    fn every_document_of_which_there_is_anything_is_named_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = filled(dir.path());
        let names = |prefix: &str, after: Option<&str>, limit| {
            let after = after.map(doc);
            let names = store.names_of_contents(prefix, after.as_ref(), limit).unwrap();
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(names("", None, 10), ["a", "b"]);
        store.db().unwrap().remove(keys::head(&doc("a"))).unwrap();
        assert_eq!(names("", None, 10), ["a", "b"], "also without its entry");
        assert_eq!((names("", None, 1), names("", Some("a"), 10)), (vec!["a".to_owned()], vec!["b".to_owned()]));
        assert_eq!(names("b", None, 10), ["b"]);
        assert!(names("", Some("b"), 10).is_empty() && names("c", None, 10).is_empty());
    }

    #[test]
    fn a_document_is_put_together_from_what_is_readable() {
        type Damage = fn(&sled::Db);
        let damages: [(Damage, &[u8]); 5] = [
            (|db| drop(db.insert(keys::head(&doc("a")), b"rubbish").unwrap()), &[1, 2, 3]),
            (|db| drop(db.remove(keys::head(&doc("a"))).unwrap()), &[1, 2, 3]),
            (|db| drop(db.remove(keys::chunk(Keyspace::Snapshot, &doc("a"), 1, 1)).unwrap()), &[2, 3]),
            (|db| drop(db.insert(keys::chunk(Keyspace::Log, &doc("a"), 3, 0), b"rubbish").unwrap()), &[1, 2]),
            (|db| drop(db.remove(keys::chunk(Keyspace::Log, &doc("a"), 2, 0)).unwrap()), &[1, 3]),
        ];
        for (number, (damage, left)) in damages.into_iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            let store = filled(dir.path());
            assert!(store.examine(&doc("a")).unwrap().is_whole(), "damage {number}");
            damage(&store.db().unwrap());
            let examined = store.examine(&doc("a")).unwrap();
            assert!(!examined.is_whole(), "damage {number}");
            assert!(store.examine(&doc("b")).unwrap().is_whole(), "damage {number}: the other is whole");
            let expected: Vec<Bytes> = left.iter().map(|byte| update(*byte)).collect();
            assert_eq!(examined.updates, expected, "damage {number}");
            store.rebuild(&doc("a"), examined.updates, 9).unwrap();
            let again = store.examine(&doc("a")).unwrap();
            assert!(again.is_whole(), "damage {number}: {again:?}");
            let loaded = store.load(&doc("a")).unwrap().unwrap();
            assert_eq!((loaded.snapshot, loaded.log.len()), (expected, 0), "damage {number}");
            assert_eq!(loaded.head.last_seq, Seq(3), "damage {number}: its positions go on where they were");
        }
    }
}
