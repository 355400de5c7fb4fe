//! What all documents were at one instant, while they go on changing: what a backup reads.
//!
//! At the end of a checkpoint the store holds a prefix of the journal, across all documents: that is the instant. From
//! then on nobody waits for the reader, and the store is not held still. Instead, whoever is about to change a document
//! that was not read yet leaves word here of what it was:
//!
//! - *Checkpoints* append to logs. They note the document's catalogue entry first ([`Cut::note`]); the reader passes over
//!   updates after the position it names, and over documents that were not there.
//! - *Folds* replace a log by a snapshot. They fold no further than that position ([`Cut::fold_limit`]).
//! - *Deletions* leave nothing to pass over. The checkpoint that carries one has the reader take that document out of
//!   turn, and waits for it ([`Cut::release`]): the one thing that waits, and no ack depends on it.
//!
//! One cut at a time; it costs memory for the entries of those documents alone that change before they are read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::ids::{DocName, Seq};
use crate::limits::{CUT_BYTES_MAX, CUT_ENTRY_COST};
use crate::store::{DocHead, Store, StoreError, StoredDocument};

/// The cut that is being read now, if any.
#[derive(Default)]
pub(super) struct Cuts(Mutex<Option<Arc<Cut>>>);

impl Cuts {
    /// Makes the present state of the store the instant, for as long as the guard lives; `None` while there is another.
    /// No checkpoint may run meanwhile.
    pub(super) fn begin(self: &Arc<Self>) -> Option<CutGuard> {
        let mut current = self.current_locked();
        if current.is_some() {
            return None;
        }
        let cut = Arc::new(Cut::default());
        *current = Some(cut.clone());
        Some(CutGuard { cuts: self.clone(), cut })
    }

    pub(super) fn current(&self) -> Option<Arc<Cut>> {
        self.current_locked().clone()
    }

    fn current_locked(&self) -> MutexGuard<'_, Option<Arc<Cut>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a cut; once this is dropped nobody leaves word any more.
pub(super) struct CutGuard {
    cuts: Arc<Cuts>,
    cut: Arc<Cut>,
}

impl std::ops::Deref for CutGuard {
    type Target = Cut;

    fn deref(&self) -> &Cut {
        &self.cut
    }
}

impl Drop for CutGuard {
    fn drop(&mut self) {
        self.cut.state().ended = true;
        self.cut.read_on.notify_all();
        *self.cuts.current_locked() = None;
    }
}

/// One instant, and how far its documents have been read, in the order of their names.
#[derive(Default)]
pub(super) struct Cut {
    state: Mutex<State>,
    /// Something was read, or nobody reads any more.
    read_on: Condvar,
}

#[derive(Default)]
struct State {
    /// All documents up to this one have been read.
    passed: Option<DocName>,
    /// Read out of turn, and not passed yet.
    read_early: BTreeSet<DocName>,
    /// To be read before all others.
    urgent: VecDeque<DocName>,
    /// Nobody reads any more.
    ended: bool,
    /// What documents were that have changed since and were not read yet; `None` of those that were not there.
    before: BTreeMap<DocName, Option<DocHead>>,
    /// What `before` costs in memory, about.
    before_bytes: usize,
    /// Why the instant is lost, although it was not read to its end.
    lost: Option<&'static str>,
}

/// What a document was at the instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Before {
    /// What it is now.
    Unchanged,
    /// It was not there.
    Absent,
    /// What this entry says; more may have been appended.
    Was(DocHead),
}

impl Cut {
    /// Notes what `docs` are, before something is appended to them.
    ///
    /// Errors: those of the store.
    pub(super) fn note<'a>(
        &self,
        store: &dyn Store,
        docs: impl Iterator<Item = &'a DocName>,
    ) -> Result<(), StoreError> {
        for doc in docs {
            if !self.state().wants_note(doc) {
                continue;
            }
            // Nobody else appends, so what is read here without the lock is still true when it is entered.
            let head = match store.head(doc) {
                Ok(head) => head,
                // Whoever reads it finds the damage. Others must not wait for that.
                Err(StoreError::Damaged { .. }) => continue,
                Err(error) => return Err(error),
            };
            let mut state = self.state();
            if !state.wants_note(doc) {
                continue;
            }
            state.before_bytes += cost(doc);
            state.before.insert(doc.clone(), head);
            if state.before_bytes > CUT_BYTES_MAX {
                state.lost = Some("more documents changed meanwhile than can be remembered");
                state.before.clear();
                state.before_bytes = 0;
            }
        }
        Ok(())
    }

    /// Has `docs`, which are about to be deleted, read before; returns once they have been, or nobody reads any more.
    /// Blocking, at most for as long as a backup may stand still.
    pub(super) fn release<'a>(&self, docs: impl Iterator<Item = &'a DocName>) {
        let mut state = self.state();
        let wanted: Vec<DocName> = docs.filter(|doc| state.would_be_lost(doc)).cloned().collect();
        state.urgent.extend(wanted.iter().cloned());
        while !state.ended && wanted.iter().any(|doc| !state.is_read(doc)) {
            state = self.read_on.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next document to be read before all others, and [`Cut::take_early`] to be told of.
    pub(super) fn next_urgent(&self) -> Option<DocName> {
        let mut state = self.state();
        loop {
            let doc = state.urgent.pop_front()?;
            // Its turn may have come in the meantime.
            if !state.is_read(&doc) {
                return Some(doc);
            }
        }
    }

    /// `doc` was read out of turn.
    pub(super) fn take_early(&self, doc: &DocName) {
        let mut state = self.state();
        if state.before.remove(doc).is_some() {
            state.before_bytes -= cost(doc);
        }
        state.read_early.insert(doc.clone());
        self.read_on.notify_all();
    }

    /// Whether `doc` was read out of turn.
    pub(super) fn was_read_early(&self, doc: &DocName) -> bool {
        self.state().read_early.contains(doc)
    }

    /// The last position that may be folded into a snapshot of `doc`; `None` when any may. To be asked after the
    /// document was loaded: what was appended before that was noted before that.
    pub(super) fn fold_limit(&self, doc: &DocName) -> Option<Seq> {
        self.state().before.get(doc)?.as_ref().map(|head| head.last_seq)
    }

    /// What `doc` was. To be asked after the document was loaded, as above.
    pub(super) fn before(&self, doc: &DocName) -> Before {
        match self.state().before.get(doc) {
            None => Before::Unchanged,
            Some(None) => Before::Absent,
            Some(Some(head)) => Before::Was(head.clone()),
        }
    }

    /// Everything up to `doc` has been read.
    pub(super) fn pass(&self, doc: &DocName) {
        let mut state = self.state();
        state.passed = Some(doc.clone());
        while let Some(first) = state.before.first_entry().filter(|first| first.key() <= doc) {
            let freed = cost(first.key());
            first.remove();
            state.before_bytes -= freed;
        }
        while state.read_early.first().is_some_and(|first| first <= doc) {
            state.read_early.pop_first();
        }
        self.read_on.notify_all();
    }

    /// Why there is no use in reading on.
    pub(super) fn lost(&self) -> Option<&'static str> {
        self.state().lost
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_read(&self, doc: &DocName) -> bool {
        self.passed.as_ref().is_some_and(|passed| doc <= passed) || self.read_early.contains(doc)
    }

    fn wants_note(&self, doc: &DocName) -> bool {
        self.lost.is_none() && !self.is_read(doc) && !self.before.contains_key(doc)
    }

    /// Whether there is something to be read of `doc` that a deletion would take away.
    fn would_be_lost(&self, doc: &DocName) -> bool {
        let was_there = match self.before.get(doc) {
            Some(Some(head)) => head.deleted_ms.is_none(),
            Some(None) => false,
            // It may have been.
            None => true,
        };
        was_there && !self.is_read(doc)
    }
}

fn cost(doc: &DocName) -> usize {
    doc.as_bytes().len() + CUT_ENTRY_COST
}

/// A document as it was when its log ended at the position in `was`, which may be a tombstone.
///
/// Errors: when its snapshot covers more than that, or it is gone; [`Cut::fold_limit`] and [`Cut::release`] are there to
/// prevent it.
pub(super) fn as_it_was(mut stored: StoredDocument, was: DocHead) -> Result<StoredDocument, String> {
    if was.deleted_ms.is_some() {
        return Ok(StoredDocument { head: was, snapshot: Vec::new(), log: Vec::new() });
    }
    if stored.head.snapshot_seq > was.last_seq {
        let (covers, last) = (stored.head.snapshot_seq, was.last_seq);
        return Err(format!("its snapshot covers position {covers}, and it was to be saved as of {last}"));
    }
    stored.log.retain(|(seq, _)| *seq <= was.last_seq);
    stored.head = DocHead { snapshot_seq: stored.head.snapshot_seq, ..was };
    Ok(stored)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::{Deletion, LogAppend, MemoryStore};

    fn doc(name: &str) -> DocName {
        DocName::parse(name).expect("a valid name")
    }

    fn append(store: &MemoryStore, name: &str, from: u64, to: u64) {
        let updates = (from..=to).map(|seq| (Seq(seq), Bytes::from(format!("{seq}")))).collect();
        store.append(&[LogAppend { doc: doc(name), updates }], to).expect("appends");
    }

    /// As a checkpoint does it.
    fn carry(cut: &Cut, store: &MemoryStore, name: &str, from: u64, to: u64) {
        cut.note(store, [&doc(name)].into_iter()).expect("notes");
        append(store, name, from, to);
    }

    fn last_seq(before: Before) -> Option<u64> {
        match before {
            Before::Was(head) => Some(head.last_seq.0),
            Before::Unchanged | Before::Absent => None,
        }
    }

    #[test]
    fn what_changes_before_it_is_read_is_remembered_as_it_was() {
        let store = MemoryStore::new();
        append(&store, "a", 1, 2);
        append(&store, "b", 1, 3);
        append(&store, "c", 1, 1);
        let cuts = Arc::new(Cuts::default());
        let cut = cuts.begin().expect("there is none yet");
        assert!(cuts.begin().is_none(), "one at a time");
        assert_eq!(cut.before(&doc("a")), Before::Unchanged);
        cut.pass(&doc("a"));
        carry(&cut, &store, "a", 3, 4);
        carry(&cut, &store, "b", 4, 5);
        carry(&cut, &store, "b", 6, 6);
        carry(&cut, &store, "new", 1, 1);
        assert_eq!(cut.before(&doc("a")), Before::Unchanged, "read already");
        assert_eq!(last_seq(cut.before(&doc("b"))), Some(3), "what it was at first");
        assert_eq!(cut.fold_limit(&doc("b")), Some(Seq(3)));
        assert_eq!((cut.fold_limit(&doc("c")), cut.fold_limit(&doc("new"))), (None, None));
        assert_eq!((cut.before(&doc("c")), cut.before(&doc("new"))), (Before::Unchanged, Before::Absent));

        let Before::Was(was) = cut.before(&doc("b")) else { panic!("it has changed") };
        let stored = store.load(&doc("b")).expect("loads").expect("is there");
        let read = as_it_was(stored, was).expect("it is as it was");
        assert_eq!((read.log.len(), read.head.last_seq, read.head.updated_ms), (3, Seq(3), 3));
        cut.pass(&doc("b"));
        assert_eq!((cut.before(&doc("b")), cut.fold_limit(&doc("b"))), (Before::Unchanged, None), "forgotten");
        cut.pass(&doc("z"));
        assert_eq!(cut.state().before_bytes, 0);
        drop(cut);
        assert!(cuts.current().is_none());
        assert!(cuts.begin().is_some());
    }

    #[test]
    fn a_snapshot_that_covers_more_is_not_passed_off_as_what_was() {
        let store = MemoryStore::new();
        append(&store, "d", 1, 4);
        let was = store.head(&doc("d")).expect("asks").expect("has a head");
        append(&store, "d", 5, 6);
        let snapshot = crate::store::Snapshot { covers: Seq(5), updates: vec![Bytes::from_static(b"s")] };
        store.install_snapshot(&doc("d"), &snapshot, 9).expect("installs");
        let stored = store.load(&doc("d")).expect("loads").expect("is there");
        as_it_was(stored, was).expect_err("it is folded too far");
    }

    /// As a checkpoint does it.
    fn bury(cut: &Cut, store: &MemoryStore, name: &str, seq: u64) {
        cut.release([&doc(name)].into_iter());
        store.delete(&[Deletion { doc: doc(name), seq: Seq(seq), at_ms: seq }]).expect("deletes");
    }

    #[test]
    fn a_deletion_waits_until_the_document_was_read_or_nobody_reads() {
        let store = MemoryStore::new();
        for name in ["a", "d", "e", "gone"] {
            append(&store, name, 1, 2);
        }
        store.delete(&[Deletion { doc: doc("gone"), seq: Seq(3), at_ms: 3 }]).expect("deletes");
        let cuts = Arc::new(Cuts::default());
        let cut = cuts.begin().expect("there is none yet");
        cut.pass(&doc("a"));
        // Neither what was read nor what was not there holds anybody up.
        carry(&cut, &store, "new", 1, 1);
        carry(&cut, &store, "gone", 4, 4);
        for (name, seq) in [("a", 3), ("new", 2), ("gone", 5)] {
            bury(&cut, &store, name, seq);
        }
        let Before::Was(was) = cut.before(&doc("gone")) else { panic!("it has changed") };
        let stored = store.load(&doc("gone")).expect("loads").expect("is there");
        assert_eq!(as_it_was(stored, was).expect("a tombstone").head.deleted_ms, Some(3), "it was deleted before");
        assert_eq!(cut.next_urgent(), None);

        carry(&cut, &store, "d", 3, 3);
        std::thread::scope(|scope| {
            let deleting = scope.spawn(|| bury(&cut, &store, "d", 4));
            let urgent = loop {
                if let Some(doc) = cut.next_urgent() {
                    break doc;
                }
                std::thread::yield_now();
            };
            assert_eq!((&urgent, last_seq(cut.before(&urgent))), (&doc("d"), Some(2)));
            let stored = store.load(&urgent).expect("loads").expect("is there");
            assert_eq!(stored.log.len(), 3, "it waits");
            assert!(!deleting.is_finished());
            cut.take_early(&urgent);
            deleting.join().expect("deleted");
        });
        assert!(cut.was_read_early(&doc("d")) && !cut.was_read_early(&doc("e")));
        carry(&cut, &store, "d", 5, 5);
        assert_eq!(cut.before(&doc("d")), Before::Unchanged, "read already");

        let current = cuts.current().expect("there is one");
        std::thread::scope(|scope| {
            let deleting = scope.spawn(|| bury(&current, &store, "e", 3));
            while current.state().urgent.is_empty() {
                std::thread::yield_now();
            }
            drop(cut);
            deleting.join().expect("deleted");
        });
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let store = MemoryStore::new();
        let cuts = Arc::new(Cuts::default());
        let cut = cuts.begin().expect("there is none yet");
        let most = CUT_BYTES_MAX / (CUT_ENTRY_COST + 9) + 1;
        let names: Vec<DocName> = (0..=most).map(|n| doc(&format!("{n:09}"))).collect();
        cut.note(&store, names[..most - 1].iter()).expect("notes");
        assert_eq!(cut.lost(), None);
        cut.note(&store, names[most - 1..].iter()).expect("notes");
        assert!(cut.lost().is_some() && cut.state().before.is_empty());
    }
}
