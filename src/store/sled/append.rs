//! Log records enter, one for each document and call, with the catalogue entry that counts them (ST2).

use std::collections::BTreeMap;

use super::super::keys::{self, Keyspace};
use super::super::record::{Encoding, Entry, RecordKind};
use super::super::{LogAppend, StoreError};
use super::batches::Batches;
use super::{SledStore, new_entry};
use crate::ids::{DocName, Seq};

/// What an append does to the number of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Becomes {
    /// The document was not there, or deleted.
    Live,
    /// It was there.
    Longer,
}

impl SledStore {
    /// As [`super::super::Store::append`].
    pub(super) fn append_records(&self, appends: &[LogAppend], now_ms: u64) -> Result<(), StoreError> {
        const OP: &str = "append";
        let mut writer = self.writer(OP)?;
        let mut entries: BTreeMap<&DocName, (Entry, Becomes)> = BTreeMap::new();
        let mut contents = Batches::default();
        // Nothing reaches sled before all was checked and encoded.
        for append in appends {
            let doc = &append.doc;
            let Some((last_offered, _)) = append.updates.last() else { continue };
            let (entry, _) = match entries.get_mut(doc) {
                Some(known) => known,
                None => {
                    let stored = self.entry(doc)?;
                    let last_stored = stored.as_ref().map_or(Seq::ZERO, |e| e.head.last_seq);
                    if *last_offered <= last_stored {
                        continue; // a replay of what is here already (ST2)
                    }
                    let known = match stored {
                        Some(entry) if !entry.untidy => {
                            // Records a crash left without an entry end at other positions than those that come now, and
                            // would lie between them.
                            let beyond = keys::log_from(doc, last_stored.next());
                            self.remove_chunks(doc, beyond, |_| true, &mut contents)?;
                            revived(entry, now_ms)
                        }
                        Some(entry) => {
                            self.sweep(doc, Some(&entry), &mut contents)?;
                            revived(Entry { untidy: false, ..entry }, now_ms)
                        }
                        None => {
                            self.sweep(doc, None, &mut contents)?;
                            (new_entry(now_ms), Becomes::Live)
                        }
                    };
                    entries.entry(doc).or_insert(known)
                }
            };
            append_one(append, entry, now_ms, &mut contents)?;
        }
        // A catalogue entry is never in an earlier batch than the contents it names, so that the order holds even if
        // sled did not keep its batches whole.
        let mut catalogue = Batches::default();
        let mut root = writer.root;
        for (doc, (entry, becomes)) in &entries {
            root.documents += u64::from(*becomes == Becomes::Live);
            catalogue.insert_entry(doc, entry, &root);
        }
        self.apply(&mut writer, OP, contents)?;
        self.apply(&mut writer, OP, catalogue)?;
        Ok(())
    }
}

/// The entry of a document that something is added to: a tombstone becomes a document, made now (ST9).
fn revived(mut entry: Entry, now_ms: u64) -> (Entry, Becomes) {
    if entry.head.deleted_ms.take().is_none() {
        return (entry, Becomes::Longer);
    }
    entry.head.created_ms = now_ms;
    (entry, Becomes::Live)
}

/// Encodes what is new of `append` as one record and enters it into `entry`.
fn append_one(append: &LogAppend, entry: &mut Entry, now_ms: u64, batches: &mut Batches) -> Result<(), StoreError> {
    let head = &mut entry.head;
    let new = append.after(head.last_seq)?;
    let (Some((first, _)), Some((last, _))) = (new.first(), new.last()) else { return Ok(()) };
    let updates = new.iter().map(|(_, update)| update);
    let record = Encoding::new(&append.doc, RecordKind::Log, first.0, last.0, updates.clone());
    batches.insert_chunks(Keyspace::Log, &append.doc, last.0, &record);
    head.last_seq = *last;
    head.log_records += 1;
    head.log_updates += new.len() as u64;
    head.log_bytes += updates.map(|update| update.len() as u64).sum::<u64>();
    head.updated_ms = now_ms;
    Ok(())
}
