//! Copies a database, entry by entry in the order of the keys, and looks at every record on the way.
//!
//! What a catalogue entry does not name is left behind, if the entry can be read. A damaged record is copied as it is,
//! bytes and all, and named: a vacuum must not be where it vanishes. The same goes for chunks of a document that has no
//! entry: a crash leaves such, but so may damage.

use std::mem;
use std::ops::ControlFlow;

use super::super::keys::{self, Keyspace};
use super::super::record::{self, Entry, Flaw, Root, UpdatesCheck};
use super::super::{DamagedEntry, VacuumProgress};
use super::batches::BATCH_BYTES;
use super::engine::{Engine, caught};
use crate::ids::DocName;
use crate::limits::STORE_DAMAGED_NAMED_MAX;

/// What a copy holds, and what was noticed on the way.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) entries: u64,
    /// Bytes of keys and values.
    pub(super) bytes: u64,
    /// Documents and tombstones.
    pub(super) documents: u64,
    /// The first of the damaged records.
    pub(super) damaged: Vec<DamagedEntry>,
    /// All of them.
    pub(super) damaged_records: u64,
}

/// Whom a long work reports to, and who may end it.
pub(super) type Watch<'a> = &'a mut dyn FnMut(VacuumProgress) -> ControlFlow<()>;

pub(super) const STOPPED: &str = "it was stopped; nothing has changed";

/// Copies what is live in `from` into the empty `to`, the root record aside.
pub(super) fn copy(from: &sled::Db, to: &sled::Db, root: &Root, watch: Watch<'_>) -> Result<Copied, String> {
    let mut copier = Copier { from, known: None, record: None, copied: Copied::default() };
    let mut batch = sled::Batch::default();
    let mut batch_bytes = 0;
    let bytes_total = root.live_bytes.unwrap_or(0);
    let mut items = from.iter();
    while let Some(item) = caught(|| items.next().transpose())? {
        let (key, value) = item;
        if !copier.look_at(&key, &value)? {
            continue;
        }
        let bytes = key.len() + value.len();
        copier.copied.entries += 1;
        copier.copied.bytes += bytes as u64;
        batch.insert(key, value);
        batch_bytes += bytes;
        if batch_bytes >= BATCH_BYTES {
            caught(|| to.apply_batch(mem::take(&mut batch)))?;
            batch_bytes = 0;
            report(watch, VacuumProgress::Copying { bytes: copier.copied.bytes, bytes_total })?;
        }
    }
    caught(|| to.apply_batch(batch))?;
    copier.end_of_record();
    Ok(copier.copied)
}

/// Compares each entry of the copy with the original, and their number with what was copied.
pub(super) fn compare(copy: &Engine, original: &sled::Db, copied: &Copied, watch: Watch<'_>) -> Result<(), String> {
    let (mut entries, mut bytes, mut told) = (0, 0, 0);
    let mut items = copy.db().iter();
    while let Some((key, value)) = caught(|| items.next().transpose())? {
        if key == keys::ROOT {
            continue;
        }
        if caught(|| original.get(&key))?.as_ref() != Some(&value) {
            return Err(format!("the copy differs from the original at the key {:?}", String::from_utf8_lossy(&key)));
        }
        entries += 1;
        bytes += (key.len() + value.len()) as u64;
        if bytes - told >= BATCH_BYTES as u64 {
            told = bytes;
            report(watch, VacuumProgress::Verifying { bytes, bytes_total: copied.bytes })?;
        }
    }
    if (entries, bytes) != (copied.entries, copied.bytes) {
        let Copied { entries: expected, .. } = copied;
        return Err(format!("the copy has {entries} entries, {expected} were written"));
    }
    Ok(())
}

fn report(watch: Watch<'_>, progress: VacuumProgress) -> Result<(), String> {
    match watch(progress) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(STOPPED.to_owned()),
    }
}

/// Which chunks of a document to copy.
enum Named {
    /// Those that its entry names.
    By(Box<Entry>),
    /// All: nobody can say which of them count.
    All,
}

/// The record whose chunks are coming by.
struct Record {
    space: Keyspace,
    doc: DocName,
    number: u64,
    chunk_next: u32,
    check: UpdatesCheck,
    gap: bool,
}

struct Copier<'a> {
    from: &'a sled::Db,
    /// The document whose chunks are coming by.
    known: Option<(DocName, Named)>,
    record: Option<Record>,
    copied: Copied,
}

impl Copier<'_> {
    /// Checks one entry; says whether it belongs into the copy.
    fn look_at(&mut self, key: &[u8], value: &[u8]) -> Result<bool, String> {
        if key == keys::ROOT {
            return Ok(false);
        }
        if let Some(doc) = keys::head_name(key) {
            self.copied.documents += 1;
            if let Err(flaw) = record::decode_entry(&doc, value) {
                self.damaged(Some(&doc), "its catalogue entry", flaw);
            }
            return Ok(true);
        }
        let (Some((space, doc)), Some((number, chunk))) = (keys::chunk_doc(key), keys::chunk_numbers(key)) else {
            self.damaged(None, &format!("the key {:?}", String::from_utf8_lossy(key)), Flaw::Contents);
            return Ok(true);
        };
        let named = match &self.named(&doc)? {
            Named::All => true,
            Named::By(entry) => entry.names(space, number),
        };
        if named {
            self.look_at_chunk(space, doc, number, chunk, value);
        }
        Ok(named)
    }

    fn named(&mut self, doc: &DocName) -> Result<&Named, String> {
        if self.known.as_ref().is_none_or(|(known, _)| known != doc) {
            let raw = caught(|| self.from.get(keys::head(doc)))?;
            let named = match raw.map(|raw| record::decode_entry(doc, &raw)) {
                Some(Ok(entry)) => Named::By(Box::new(entry)),
                // Named as damaged when it came by.
                Some(Err(_)) => Named::All,
                None => {
                    self.damaged(Some(doc), "its catalogue entry", Flaw::Missing);
                    Named::All
                }
            };
            self.known = Some((doc.clone(), named));
        }
        match &self.known {
            Some((_, named)) => Ok(named),
            None => Ok(&Named::All),
        }
    }

    fn look_at_chunk(&mut self, space: Keyspace, doc: DocName, number: u64, chunk: u32, value: &[u8]) {
        if self.record.as_ref().is_none_or(|open| (open.space, &open.doc, open.number) != (space, &doc, number)) {
            self.end_of_record();
            let check = UpdatesCheck::new(&doc);
            self.record = Some(Record { space, doc, number, chunk_next: 0, check, gap: false });
        }
        if let Some(open) = &mut self.record {
            open.gap |= chunk != open.chunk_next;
            open.chunk_next = chunk.saturating_add(1);
            open.check.feed(value);
        }
    }

    fn end_of_record(&mut self) {
        let Some(Record { space, doc, number, check, gap, .. }) = self.record.take() else { return };
        let checked = if gap { Err(Flaw::Missing) } else { check.finish() };
        if let Err(flaw) = checked {
            let what = match space {
                Keyspace::Snapshot => format!("snapshot {number}"),
                Keyspace::Log | Keyspace::Head | Keyspace::Root => {
                    format!("the log record that ends at position {number}")
                }
            };
            self.damaged(Some(&doc), &what, flaw);
        }
    }

    fn damaged(&mut self, doc: Option<&DocName>, what: &str, flaw: Flaw) {
        self.copied.damaged_records += 1;
        if self.copied.damaged.len() < STORE_DAMAGED_NAMED_MAX {
            let record = DamagedEntry { doc: doc.cloned(), what: what.to_owned(), why: flaw.to_string() };
            self.copied.damaged.push(record);
        }
    }
}
