//! A store that forgets when it is dropped: for tests, and the plainest reading of the rules in [`super`].

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{
    Deletion, DocHead, Listed, LogAppend, Snapshot, Store, StoreError, StoredDocument, VacuumProgress, Vacuumed,
};
use crate::ids::{DocName, Seq};

/// Documents in memory. ST3 and ST6 hold trivially: there is no disk and no engine.
#[derive(Debug, Default)]
pub struct MemoryStore {
    documents: Mutex<BTreeMap<DocName, Document>>,
}

#[derive(Debug)]
struct Document {
    last_seq: Seq,
    snapshot_seq: Seq,
    snapshot: Vec<Bytes>,
    log: Vec<(Seq, Bytes)>,
    /// Last position of each coalesced record after the snapshot.
    records: Vec<Seq>,
    created_ms: u64,
    updated_ms: u64,
    deleted_ms: Option<u64>,
}

impl Document {
    fn new(now_ms: u64) -> Self {
        Self {
            last_seq: Seq::ZERO,
            snapshot_seq: Seq::ZERO,
            snapshot: Vec::new(),
            log: Vec::new(),
            records: Vec::new(),
            created_ms: now_ms,
            updated_ms: now_ms,
            deleted_ms: None,
        }
    }

    /// What a deletion leaves of a document.
    fn bury(&mut self, deletion: &Deletion) {
        let Deletion { doc: _, seq, at_ms } = *deletion;
        let created_ms = self.created_ms;
        *self = Self { last_seq: seq, snapshot_seq: seq, created_ms, deleted_ms: Some(at_ms), ..Self::new(at_ms) };
    }

    /// Something new is stored: a tombstone becomes a document, made now.
    fn revive(&mut self, now_ms: u64) {
        if self.deleted_ms.take().is_some() {
            self.created_ms = now_ms;
        }
        self.updated_ms = now_ms;
    }

    fn live_bytes(&self, doc: &DocName) -> u64 {
        let head = self.head();
        doc.as_bytes().len() as u64 + head.snapshot_bytes + head.log_bytes
    }

    fn head(&self) -> DocHead {
        DocHead {
            last_seq: self.last_seq,
            snapshot_seq: self.snapshot_seq,
            snapshot_bytes: self.snapshot.iter().map(|u| u.len() as u64).sum(),
            log_bytes: self.log.iter().map(|(_, u)| u.len() as u64).sum(),
            log_updates: self.log.len() as u64,
            log_records: self.records.len() as u64,
            created_ms: self.created_ms,
            updated_ms: self.updated_ms,
            deleted_ms: self.deleted_ms,
            damaged: false,
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn documents_locked(&self) -> MutexGuard<'_, BTreeMap<DocName, Document>> {
        self.documents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn load(&self, doc: &DocName) -> Result<Option<StoredDocument>, StoreError> {
        Ok(self.documents_locked().get(doc).map(|d| StoredDocument {
            head: d.head(),
            snapshot: d.snapshot.clone(),
            log: d.log.clone(),
        }))
    }

    fn head(&self, doc: &DocName) -> Result<Option<DocHead>, StoreError> {
        Ok(self.documents_locked().get(doc).map(Document::head))
    }

    fn list(
        &self,
        listed: Listed,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<(DocName, DocHead)>, StoreError> {
        let from = match after {
            Some(name) if name.as_str() >= prefix => Bound::Excluded(name.as_str()),
            Some(_) | None => Bound::Included(prefix),
        };
        Ok(self
            .documents_locked()
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.as_str().starts_with(prefix))
            .map(|(name, d)| (name.clone(), d.head()))
            .filter(|(_, head)| listed.shows(head))
            .take(limit)
            .collect())
    }

    fn names(&self, after: Option<&DocName>, limit: usize) -> Result<Vec<DocName>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |name| Bound::Excluded(name.as_str()));
        let documents = self.documents_locked();
        Ok(documents.range::<str, _>((from, Bound::Unbounded)).take(limit).map(|(name, _)| name.clone()).collect())
    }

    fn append(&self, appends: &[LogAppend], now_ms: u64) -> Result<(), StoreError> {
        let mut documents = self.documents_locked();
        // All is checked before anything is changed. A document may occur more than once.
        let mut lasts: BTreeMap<&DocName, Seq> = BTreeMap::new();
        for append in appends {
            let stored = documents.get(&append.doc).map_or(Seq::ZERO, |d| d.last_seq);
            let last = lasts.entry(&append.doc).or_insert(stored);
            if let Some((seq, _)) = append.after(*last)?.last() {
                *last = *seq;
            }
        }
        for append in appends {
            let last = documents.get(&append.doc).map_or(Seq::ZERO, |d| d.last_seq);
            let new = append.after(last)?;
            let Some((new_last, _)) = new.last() else { continue };
            let document = documents.entry(append.doc.clone()).or_insert_with(|| Document::new(now_ms));
            document.log.extend_from_slice(new);
            document.records.push(*new_last);
            document.last_seq = *new_last;
            document.revive(now_ms);
        }
        Ok(())
    }

    fn install_snapshot(&self, doc: &DocName, snapshot: &Snapshot, now_ms: u64) -> Result<(), StoreError> {
        let mut documents = self.documents_locked();
        let document = documents.entry(doc.clone()).or_insert_with(|| Document::new(now_ms));
        let is_buried = document.deleted_ms.is_some() && snapshot.covers <= document.last_seq;
        if is_buried || snapshot.covers < document.snapshot_seq {
            return Ok(());
        }
        document.snapshot = snapshot.updates.clone();
        document.snapshot_seq = snapshot.covers;
        if snapshot.covers > document.last_seq {
            document.last_seq = snapshot.covers;
            document.revive(now_ms);
        }
        document.log.retain(|(seq, _)| *seq > snapshot.covers);
        document.records.retain(|last| *last > snapshot.covers);
        Ok(())
    }

    fn restore(&self, doc: &DocName, document: &StoredDocument) -> Result<(), StoreError> {
        let refused = |why: String| StoreError::Damaged { doc: doc.clone(), what: "the restoration".to_owned(), why };
        let head = document.head_as_restored().map_err(refused)?;
        let mut documents = self.documents_locked();
        if documents.contains_key(doc) {
            return Err(refused("a document of that name is here already".to_owned()));
        }
        let restored = Document {
            last_seq: head.last_seq,
            snapshot_seq: head.snapshot_seq,
            snapshot: document.snapshot.clone(),
            log: document.log.clone(),
            records: document.log.last().map(|(last, _)| *last).into_iter().collect(),
            created_ms: head.created_ms,
            updated_ms: head.updated_ms,
            deleted_ms: head.deleted_ms,
        };
        documents.insert(doc.clone(), restored);
        Ok(())
    }

    fn delete(&self, deletions: &[Deletion]) -> Result<(), StoreError> {
        let mut documents = self.documents_locked();
        for deletion in deletions {
            let last_seq = documents.get(&deletion.doc).map_or(Seq::ZERO, |d| d.last_seq);
            if last_seq < deletion.seq {
                let new = || Document::new(deletion.at_ms);
                documents.entry(deletion.doc.clone()).or_insert_with(new).bury(deletion);
            }
        }
        Ok(())
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn vacuum(&self, watch: &mut dyn FnMut(VacuumProgress) -> ControlFlow<()>) -> Result<Vacuumed, StoreError> {
        // Nothing is dead, so there is nothing to end either.
        let _ = watch(VacuumProgress::Exchanging);
        let (live_bytes, documents) = (self.live_bytes()?, self.documents_locked().len() as u64);
        Ok(Vacuumed {
            live_bytes_before: live_bytes,
            live_bytes_after: live_bytes,
            entries: documents,
            documents,
            ..Vacuumed::default()
        })
    }

    fn live_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.documents_locked().iter().map(|(doc, document)| document.live_bytes(doc)).sum())
    }

    fn live_bytes_of(&self, doc: &DocName) -> Result<u64, StoreError> {
        Ok(self.documents_locked().get(doc).map_or(0, |document| document.live_bytes(doc)))
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn documents(&self) -> Result<u64, StoreError> {
        Ok(self.documents_locked().values().filter(|d| d.deleted_ms.is_none()).count() as u64)
    }
}

#[cfg(test)]
mod tests {
    super::super::contract::suite!(|| Box::new(super::MemoryStore::new()));
}
