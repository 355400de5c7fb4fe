//! One instant across all documents, with a real journal and the memory store, while others edit, fold and checkpoint.

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use yrs::updates::decoder::Decode;
use yrs::{Doc, GetString, ReadTxn, Text, Transact, Update};

use super::*;
use crate::backup::{BackupError, Item, Reader, Totals};
use crate::hub::{Hub, HubOptions};
use crate::journal::{Journal, JournalOptions};
use crate::store::{Deletion, DocHead, Listed, LogAppend, MemoryStore, Snapshot, VacuumProgress, Vacuumed};

fn doc(name: &str) -> DocName {
    DocName::parse(name).expect("a valid name")
}

/// A client that types into the text `t` of one document.
struct Typist(DocName, Doc);

impl Typist {
    fn new(name: &str, client: u64) -> Self {
        Self(doc(name), Doc::with_client_id(client))
    }

    /// Returns when it is acked.
    async fn types(&self, hub: &Hub, text: &str) {
        let update = {
            let t = self.1.get_or_insert_text("t");
            let mut txn = self.1.transact_mut();
            let end = t.len(&txn);
            t.insert(&mut txn, end, text);
            txn.encode_update_v1()
        };
        hub.import(&self.0, update.into()).await.expect("imports");
    }
}

fn text(document: &Document) -> String {
    let doc = Doc::new();
    for update in document.snapshot.iter().chain(&document.log) {
        let update = Update::decode_v1(update).expect("is an update");
        doc.transact_mut().apply_update(update).expect("applies");
    }
    let t = doc.get_or_insert_text("t");
    let txn = doc.transact();
    assert!(txn.store().pending_update().is_none(), "something waits for an update that is not there");
    t.get_string(&txn)
}

async fn start(dir: &tempfile::TempDir, store: Arc<dyn Store>) -> Hub {
    let (journal, _) = Journal::open(&dir.path().join("journal"), JournalOptions::default()).expect("opens");
    let checkpoint_every = Duration::from_millis(5);
    Hub::start(journal, store, HubOptions { checkpoint_every, ..HubOptions::default() }).await.expect("starts")
}

/// Takes all pieces, `pause` after each.
async fn take(mut backup: BackupPieces, pause: Duration) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(piece) = backup.next().await {
        bytes.extend_from_slice(&piece);
        tokio::time::sleep(pause).await;
    }
    bytes
}

/// What is in a backup.
type Contents = (BTreeMap<String, Document>, Vec<LeftOut>, Totals);

fn read_all(bytes: impl Read) -> Result<Contents, BackupError> {
    let mut reader = Reader::open(bytes)?;
    let (mut documents, mut left_out) = (BTreeMap::new(), Vec::new());
    while let Some(item) = reader.next()? {
        match item {
            Item::Document(document) => drop(documents.insert(document.name.to_string(), document)),
            Item::LeftOut(one) => left_out.push(one),
        }
    }
    Ok((documents, left_out, reader.summary().expect("it is whole").totals))
}

/// One client edits the first and the last document in turn, waiting for each ack. Whatever the instant of a backup is,
/// the first has as many edits as the last, or one more; none that was acked before is missing; and both hold although
/// checkpoints append to the documents, and folds replace their logs, while the backup is read slowly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_one_instant_across_documents() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hub = start(&dir, Arc::new(MemoryStore::new())).await;
    // What is between the two, so that reading takes time.
    for n in 0..40 {
        Typist::new(&format!("between {n}"), 7).types(&hub, &"x".repeat(60_000)).await;
    }
    let (edits, editing) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
    let editor = {
        let (hub, edits, editing) = (hub.clone(), edits.clone(), editing.clone());
        tokio::spawn(async move {
            let (first, last) = (Typist::new("a", 1), Typist::new("z", 2));
            while editing.load(Ordering::SeqCst) {
                first.types(&hub, "x").await;
                last.types(&hub, "x").await;
                edits.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let folder = {
        let (hub, editing) = (hub.clone(), editing.clone());
        tokio::spawn(async move {
            while editing.load(Ordering::SeqCst) {
                for name in ["z", "a", "between 3"] {
                    // Not there yet, at first.
                    let _ = hub.compact(&doc(name), false).await;
                }
            }
        })
    };
    let mut grew = 0;
    for round in 0..8 {
        while edits.load(Ordering::SeqCst) < 20 * (round + 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let acked = edits.load(Ordering::SeqCst);
        let backup = hub.backup(Vec::new()).await.expect("begins");
        let bytes = take(backup, Duration::from_millis(2)).await;
        let later = edits.load(Ordering::SeqCst);
        let (documents, left_out, totals) = read_all(&bytes[..]).expect("it is whole");
        assert_eq!((documents.len(), left_out.len(), totals.documents), (42, 0, 42));
        let [first, last] = ["a", "z"].map(|name| text(&documents[name]).len() as u64);
        assert!(last >= acked, "round {round}: {acked} edits were acked, {last} are there");
        assert!(first == last || first == last + 1, "round {round}: {first} edits of the first, {last} of the last");
        grew += later.saturating_sub(last);
    }
    assert!(grew > 20, "hardly anything was edited while a backup was read: {grew}");
    editing.store(false, Ordering::SeqCst);
    editor.await.expect("edited");
    folder.await.expect("folded");
    // Nobody is held back once it is done.
    let report = hub.compact(&doc("z"), false).await.expect("compacts");
    assert!(report.written || report.log_records == 0, "{report:?}");
    let backup = hub.backup(Vec::new()).await.expect("begins");
    let (documents, ..) = read_all(&take(backup, Duration::ZERO).await[..]).expect("it is whole");
    assert!(documents["z"].log.is_empty(), "the whole log is folded");
}

/// Documents are deleted, some made anew by an import, while a backup that has not come to them is read slowly: it has
/// them as they were. The next one has what was made of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_while_a_backup_is_read_is_in_it_as_it_was() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hub = start(&dir, Arc::new(MemoryStore::new())).await;
    let name = |n: usize| format!("d{n:02}");
    for n in 0..40 {
        Typist::new(&name(n), 7).types(&hub, &format!("{n:02}{}", "x".repeat(60_000))).await;
    }
    hub.delete(&doc(&name(39))).await.expect("deletes");
    let backup = hub.backup(Vec::new()).await.expect("begins");
    let deleter = {
        let hub = hub.clone();
        tokio::spawn(async move {
            for n in [38, 20, 37, 36, 35] {
                hub.delete(&doc(&name(n))).await.expect("deletes");
                if n % 2 == 0 {
                    Typist::new(&name(n), 8).types(&hub, "anew").await;
                }
                tokio::time::sleep(Duration::from_millis(7)).await;
            }
            Typist::new(&name(39), 9).types(&hub, "anew").await;
        })
    };
    let bytes = take(backup, Duration::from_millis(3)).await;
    deleter.await.expect("deleted");
    let (documents, left_out, totals) = read_all(&bytes[..]).expect("it is whole");
    assert_eq!((documents.len(), left_out.len(), totals.documents, totals.deleted), (40, 0, 39, 1));
    for n in 0..39 {
        assert_eq!(text(&documents[&name(n)])[..2], format!("{n:02}"), "document {n} is not as it was");
    }
    assert!(documents[&name(39)].deleted_ms.is_some());

    let backup = hub.backup(Vec::new()).await.expect("begins");
    let (documents, _, totals) = read_all(&take(backup, Duration::ZERO).await[..]).expect("it is whole");
    assert_eq!((totals.documents, totals.deleted), (38, 2));
    for n in [20, 36, 38, 39] {
        assert_eq!(text(&documents[&name(n)]), "anew");
    }
    for n in [35, 37] {
        assert!(documents[&name(n)].deleted_ms.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_at_a_time_and_whoever_leaves_makes_room() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hub = start(&dir, Arc::new(MemoryStore::new())).await;
    for n in 0..40 {
        Typist::new(&format!("d{n}"), 7).types(&hub, &"x".repeat(60_000)).await;
    }
    let first = hub.backup(Vec::new()).await.expect("begins");
    assert_eq!(hub.backup(Vec::new()).await.err(), Some(HubError::BackupRunning));
    drop(first);
    let began = Instant::now();
    loop {
        match hub.backup(Vec::new()).await {
            Ok(backup) => {
                read_all(&take(backup, Duration::ZERO).await[..]).expect("it is whole");
                break;
            }
            Err(error) => assert_eq!(error, HubError::BackupRunning),
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it never ends");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_breaks_it_off_and_it_says_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let hub = start(&dir, Arc::new(MemoryStore::new())).await;
    for n in 0..40 {
        Typist::new(&format!("d{n}"), 7).types(&hub, &"x".repeat(60_000)).await;
    }
    let backup = hub.backup(Vec::new()).await.expect("begins");
    hub.drain().await.expect("a drain does not wait for a backup");
    let bytes = take(backup, Duration::ZERO).await;
    assert!(matches!(read_all(&bytes[..]), Err(BackupError::BrokenOff(why)) if why.contains("shutting down")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_storage_failed_there_is_no_backup_that_lacks_what_was_acked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Arc::new(Damaging { appends_fail: AtomicBool::new(true), ..Damaging::default() });
    let hub = start(&dir, store).await;
    Typist::new("d", 7).types(&hub, "acked").await;
    hub.backup(Vec::new()).await.expect_err("what was acked is not in the store");
    assert!(matches!(hub.backup(Vec::new()).await, Err(HubError::Storage(_))));
}

/// A store of which one document cannot be read.
#[derive(Default)]
struct Damaging {
    store: MemoryStore,
    damaged: Option<DocName>,
    appends_fail: AtomicBool,
}

impl Store for Damaging {
    fn load(&self, name: &DocName) -> Result<Option<StoredDocument>, StoreError> {
        if self.damaged.as_ref() == Some(name) {
            let (what, why) = ("snapshot 3".to_owned(), "it is missing".to_owned());
            return Err(StoreError::Damaged { doc: name.clone(), what, why });
        }
        self.store.load(name)
    }
    fn head(&self, doc: &DocName) -> Result<Option<DocHead>, StoreError> {
        self.store.head(doc)
    }
    fn list(
        &self,
        listed: Listed,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<(DocName, DocHead)>, StoreError> {
        self.store.list(listed, prefix, after, limit)
    }
    fn delete(&self, deletions: &[Deletion]) -> Result<(), StoreError> {
        self.store.delete(deletions)
    }
    fn names(&self, after: Option<&DocName>, limit: usize) -> Result<Vec<DocName>, StoreError> {
        self.store.names(after, limit)
    }
    fn append(&self, appends: &[LogAppend], now_ms: u64) -> Result<(), StoreError> {
        if self.appends_fail.load(Ordering::SeqCst) {
            return Err(StoreError::Engine { op: "append", source: "planted failure".into() });
        }
        self.store.append(appends, now_ms)
    }
    fn install_snapshot(&self, doc: &DocName, snapshot: &Snapshot, now_ms: u64) -> Result<(), StoreError> {
        self.store.install_snapshot(doc, snapshot, now_ms)
    }
    fn restore(&self, doc: &DocName, document: &StoredDocument) -> Result<(), StoreError> {
        self.store.restore(doc, document)
    }
    fn make_durable(&self) -> Result<(), StoreError> {
        self.store.make_durable()
    }
    fn reopen(&self) -> Result<(), StoreError> {
        self.store.reopen()
    }
    fn vacuum(&self, watch: &mut dyn FnMut(VacuumProgress) -> ControlFlow<()>) -> Result<Vacuumed, StoreError> {
        self.store.vacuum(watch)
    }
    fn live_bytes(&self) -> Result<u64, StoreError> {
        self.store.live_bytes()
    }
    fn live_bytes_of(&self, doc: &DocName) -> Result<u64, StoreError> {
        self.store.live_bytes_of(doc)
    }
    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.store.bytes_on_disk()
    }
    fn documents(&self) -> Result<u64, StoreError> {
        self.store.documents()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_document_is_named_and_the_others_are_saved() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Damaging { damaged: Some(doc("b")), ..Damaging::default() };
    for name in ["a", "b", "c"] {
        let appends = [LogAppend { doc: doc(name), updates: vec![(crate::ids::Seq(1), Bytes::from_static(&[0, 0]))] }];
        store.append(&appends, 1).expect("appends");
    }
    let hub = start(&dir, Arc::new(store)).await;
    let backup = hub.backup(Vec::new()).await.expect("begins");
    let (documents, left_out, totals) = read_all(&take(backup, Duration::ZERO).await[..]).expect("it is whole");
    assert_eq!(documents.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(left_out, [LeftOut { name: doc("b"), error: "snapshot 3 is damaged: it is missing".to_owned() }]);
    assert_eq!((totals.documents, totals.left_out), (2, 1));
}
