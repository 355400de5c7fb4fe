//! Documents put together from their chunks. Whatever does not fit is damage with a name, never data (ST7).

use std::io;
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};

use bytes::Bytes;

use super::super::keys::{self, KeyRange, Keyspace};
use super::super::record::{self, Entry, Flaw, RecordKind, UpdateRecord};
use super::super::{DocHead, Listed, StoreError, StoredDocument};
use super::SledStore;
use super::engine::panicked;
use crate::ids::{DocName, Seq};

impl SledStore {
    /// The bytes of the catalogue entry.
    pub(super) fn raw_entry(&self, doc: &DocName) -> Result<Option<sled::IVec>, StoreError> {
        reading(doc, ENTRY, || self.db()?.get(keys::head(doc)))
    }

    pub(super) fn entry(&self, doc: &DocName) -> Result<Option<Entry>, StoreError> {
        self.raw_entry(doc)?.map(|raw| decode_entry(doc, &raw)).transpose()
    }

    /// Reads the document that `entry` names.
    pub(super) fn read_document(&self, doc: &DocName, entry: Entry) -> Result<StoredDocument, StoreError> {
        let head = entry.head;
        let snapshot = match entry.generation {
            0 => Vec::new(),
            generation => self.read_snapshot(doc, generation, &head)?,
        };
        let mut log = Vec::new();
        let records = self.read_log(doc, &head)?;
        let records_found = records.len() as u64;
        let mut next = head.snapshot_seq.next();
        for record in records {
            // A snapshot may cover a record in part: its first updates are passed over (ST5).
            let starts_well = if log.is_empty() { record.first <= next.0 } else { record.first == next.0 };
            if !starts_well {
                return Err(damaged(doc, "the log", format!("the updates from position {next} on are missing")));
            }
            let updates = (record.first..).map(Seq).zip(record.updates);
            log.extend(updates.skip_while(|(seq, _)| *seq < next));
            next = Seq(record.last).next();
        }
        let updates_found = log.len() as u64;
        let bytes_found: u64 = log.iter().map(|(_, u)| u.len() as u64).sum();
        if next != head.last_seq.next()
            || (records_found, updates_found, bytes_found) != (head.log_records, head.log_updates, head.log_bytes)
        {
            let DocHead { last_seq, log_updates, log_bytes, .. } = head;
            let why = format!(
                "the catalogue counts {log_updates} updates of {log_bytes} bytes up to position {last_seq}, there are \
                 {updates_found} of {bytes_found} bytes"
            );
            return Err(damaged(doc, "the log", why));
        }
        Ok(StoredDocument { head, snapshot, log })
    }

    fn read_snapshot(&self, doc: &DocName, generation: u64, head: &DocHead) -> Result<Vec<Bytes>, StoreError> {
        let what = || format!("snapshot {generation}");
        let range = keys::generation(doc, generation);
        let mut found = self.read_chunks(doc, range, u64::MAX, record::bytes_about(head.snapshot_bytes))?;
        let Some((_, bytes)) = found.pop() else {
            return Err(damaged(doc, what(), "it is missing".to_owned()));
        };
        let record = decode_updates(doc, what, RecordKind::Snapshot, bytes)?;
        if record.first != generation || record.last != head.snapshot_seq.0 {
            return Err(damaged(doc, what(), Flaw::Contents.to_string()));
        }
        Ok(record.updates)
    }

    /// The log records after the snapshot, each whole and dense in itself.
    pub(super) fn read_log(&self, doc: &DocName, head: &DocHead) -> Result<Vec<UpdateRecord>, StoreError> {
        let range = keys::log_from(doc, head.snapshot_seq.next());
        let found = self.read_chunks(doc, range, head.last_seq.0, record::bytes_about(head.log_bytes))?;
        let decode = |(last, bytes)| {
            let what = || format!("the log record that ends at position {last}");
            let record = decode_updates(doc, what, RecordKind::Log, bytes)?;
            let span = record.last.checked_sub(record.first).and_then(|n| n.checked_add(1));
            if record.last != last || span != Some(record.updates.len() as u64) {
                return Err(damaged(doc, what(), Flaw::Contents.to_string()));
            }
            Ok(record)
        };
        found.into_iter().map(decode).collect()
    }

    /// Puts the chunks in `range` together: the records' numbers, rising, up to `last`, and their bytes. Room is made at once
    /// for a record that says it has no more than `bytes_max`.
    pub(super) fn read_chunks(
        &self,
        doc: &DocName,
        range: KeyRange,
        last: u64,
        bytes_max: usize,
    ) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let what = "its contents";
        let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut chunks_expected = 0;
        let scan = || -> Result<(), StoreError> {
            let db = self.db().map_err(|e| unread(doc, what, e))?;
            for item in scan(&db, range) {
                let (key, value) = item.map_err(|e| unread(doc, what, e))?;
                let Some((number, chunk)) = keys::chunk_numbers(&key) else {
                    return Err(damaged(doc, what, "a key is malformed".to_owned()));
                };
                if number > last {
                    break; // written for an entry that never came
                }
                match records.last_mut() {
                    Some((open, bytes)) if *open == number && chunk == chunks_expected => {
                        bytes.extend_from_slice(&value);
                    }
                    Some((open, _)) if *open == number => {
                        return Err(damaged(
                            doc,
                            what,
                            format!("chunk {chunks_expected} of record {number} is missing"),
                        ));
                    }
                    _ if chunk == 0 => {
                        let mut bytes = Vec::with_capacity(record::announced_bytes(&value).min(bytes_max));
                        bytes.extend_from_slice(&value);
                        records.push((number, bytes));
                    }
                    _ => return Err(damaged(doc, what, format!("chunk 0 of record {number} is missing"))),
                }
                chunks_expected = chunk.saturating_add(1);
            }
            Ok(())
        };
        panic::catch_unwind(AssertUnwindSafe(scan))
            .unwrap_or_else(|cause| Err(damaged(doc, what, panicked(&*cause))))?;
        // A replica holds on to these bytes: as many as they are.
        Ok(records.into_iter().map(|(number, bytes)| (number, bytes.into_boxed_slice().into())).collect())
    }

    /// Whether these entries are in `range`, and no others.
    pub(super) fn reads_back(
        &self,
        doc: &DocName,
        range: KeyRange,
        written: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    ) -> Result<bool, StoreError> {
        reading(doc, "its contents", || {
            let db = self.db()?;
            let mut found = scan(&db, range);
            for entry in written {
                let Some((key, value)) = found.next().transpose()? else { return Ok(false) };
                if (&key[..], &value[..]) != (&entry.0[..], &entry.1[..]) {
                    return Ok(false);
                }
            }
            Ok(found.next().is_none())
        })
    }

    /// Bytes of the entry and of all chunks of a document.
    pub(super) fn count_live(&self, doc: &DocName) -> Result<u64, StoreError> {
        reading(doc, "its contents", || {
            let key = keys::head(doc);
            let db = self.db()?;
            let mut bytes = db.get(&key)?.map_or(0, |raw| key.len() + raw.len());
            for space in [Keyspace::Log, Keyspace::Snapshot] {
                for item in scan(&db, keys::chunks(space, doc)) {
                    let (key, value) = item?;
                    bytes += key.len() + value.len();
                }
            }
            Ok(bytes as u64)
        })
    }

    /// As [`super::super::Store::list`].
    pub(super) fn list_entries(
        &self,
        listed: Listed,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<(DocName, DocHead)>, StoreError> {
        let all = keys::heads_from(prefix);
        let from = match after {
            Some(name) if name.as_str() >= prefix => Bound::Excluded(keys::head(name)),
            Some(_) | None => Bound::Included(all.clone()),
        };
        let engine = |why: String| StoreError::Engine { op: "list", source: why.into() };
        let scan = || -> Result<_, StoreError> {
            let mut found = Vec::new();
            for item in self.db().map_err(|e| engine(e.to_string()))?.range((from, Bound::Unbounded)) {
                let (key, raw) = item.map_err(|e| engine(e.to_string()))?;
                if !key.starts_with(&all) || found.len() >= limit {
                    break;
                }
                let name = keys::head_name(&key).ok_or_else(|| engine("a catalogue key is malformed".to_owned()))?;
                let head = match decode_entry(&name, &raw) {
                    Ok(entry) => entry.head,
                    // It must not hide the others.
                    Err(_) => DocHead { damaged: true, ..DocHead::default() },
                };
                if listed.shows(&head) {
                    found.push((name, head));
                }
            }
            Ok(found)
        };
        panic::catch_unwind(AssertUnwindSafe(scan)).unwrap_or_else(|cause| Err(engine(panicked(&*cause))))
    }

    /// As [`super::super::Store::names`].
    pub(super) fn list_names(&self, after: Option<&DocName>, limit: usize) -> Result<Vec<DocName>, StoreError> {
        let all = keys::heads_from("");
        let from = after.map_or_else(|| Bound::Included(all.clone()), |name| Bound::Excluded(keys::head(name)));
        let engine = |why: String| StoreError::Engine { op: "list", source: why.into() };
        let scan = || -> Result<_, StoreError> {
            let mut names = Vec::new();
            for key in self.db().map_err(|e| engine(e.to_string()))?.range((from, Bound::Unbounded)).keys() {
                let key = key.map_err(|e| engine(e.to_string()))?;
                if !key.starts_with(&all) || names.len() >= limit {
                    break;
                }
                names.push(keys::head_name(&key).ok_or_else(|| engine("a catalogue key is malformed".to_owned()))?);
            }
            Ok(names)
        };
        panic::catch_unwind(AssertUnwindSafe(scan)).unwrap_or_else(|cause| Err(engine(panicked(&*cause))))
    }
}

/// The entries in `range`, in order.
pub(super) fn scan(db: &sled::Db, range: KeyRange) -> impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>> {
    db.range(range).inspect(move |item| {
        if let Ok((key, value)) = item {
            let_go(db, key, value.len());
        }
    })
}

/// Has sled see that its cache is full, after a chunk of so many bytes was read or written.
///
/// It looks at what its cache holds only when one of the 256 parts of it has counted 64 accesses, and going through chunks in
/// order is one or two for each leaf, of 24 kB where they are large. So all of them would stay, up to 400 MB, whatever the
/// capacity is; and so a large chunk is accessed more often here: each leaf some forty times.
pub(super) fn let_go(db: &sled::Db, key: &[u8], bytes: usize) {
    /// A leaf of such entries is larger than what the cache has for each of its parts.
    const LARGE_BYTES: usize = 1 << 10;
    const ACCESSES: usize = 2;
    if bytes >= LARGE_BYTES {
        // What is wrong with it is found by who reads it.
        (0..ACCESSES).for_each(|_| drop(db.contains_key(key)));
    }
}

pub(super) const ENTRY: &str = "its catalogue entry";

/// Reads from sled; its errors and panics become ours.
pub(super) fn reading<T>(doc: &DocName, what: &str, f: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(read) => read.map_err(|error| unread(doc, what, error)),
        Err(cause) => Err(damaged(doc, what, panicked(&*cause))),
    }
}

/// A reading that sled gave up. What the system refuses (after a failed write sled does not read everything either) says
/// nothing about the document, and must not put it into quarantine; whatever else sled stumbles over does.
fn unread(doc: &DocName, what: &str, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(e) if !matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) => {
            StoreError::Engine { op: "read", source: format!("document {doc:?}: {what}: {e}").into() }
        }
        other => damaged(doc, what, other.to_string()),
    }
}

pub(super) fn damaged(doc: &DocName, what: impl Into<String>, why: String) -> StoreError {
    StoreError::Damaged { doc: doc.clone(), what: what.into(), why }
}

pub(super) fn decode_entry(doc: &DocName, raw: &[u8]) -> Result<Entry, StoreError> {
    record::decode_entry(doc, raw).map_err(|flaw| damaged(doc, ENTRY, flaw.to_string()))
}

fn decode_updates(
    doc: &DocName,
    what: impl Fn() -> String,
    kind: RecordKind,
    bytes: Bytes,
) -> Result<UpdateRecord, StoreError> {
    record::decode_updates(doc, kind, bytes).map_err(|flaw| damaged(doc, what(), flaw.to_string()))
}
