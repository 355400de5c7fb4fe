//! The hub with a real journal and the memory store, without sockets: waking, sleeping, batching, acks, drain.

mod deletion;
mod space;
mod unread;

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use weft::hub::{Delivery, FrameKind, Hub, HubError, HubOptions, ListQuery, PeerHandle, PeerSink, Readiness};
use weft::ids::{Access, DocName};
use weft::journal::{Journal, JournalOptions};
use weft::store::memory::MemoryStore;
use weft::store::{
    Deletion, DocHead, Listed, LogAppend, Snapshot, Store, StoreError, StoredDocument, VacuumProgress, Vacuumed,
};
use weft::wire::close::CloseReason;
use weft::wire::dialect::Address;
use weft::wire::message::ClientMessage;
use yrs::updates::decoder::Decode;
use yrs::{Doc, GetString, ReadTxn, StateVector, Text, Transact, Update};

const DEADLINE: Duration = Duration::from_secs(20);

/// Collects what a peer is told, as protocol messages without their frame headers.
#[derive(Default)]
struct Sink {
    messages: Mutex<Vec<(FrameKind, Vec<u8>)>>,
    closed: Mutex<Option<CloseReason>>,
    full: AtomicBool,
}

impl PeerSink for Sink {
    fn deliver(&self, frame: &Bytes, kind: FrameKind) -> Delivery {
        if self.full.load(Ordering::SeqCst) && matches!(kind, FrameKind::Document | FrameKind::Awareness) {
            return Delivery::Behind;
        }
        let head = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        self.messages.lock().unwrap().push((kind, frame[head..].to_vec()));
        Delivery::Taken
    }

    fn is_idle(&self) -> bool {
        true
    }

    fn close(&self, reason: CloseReason) {
        self.closed.lock().unwrap().get_or_insert(reason);
    }
}

impl Sink {
    fn of_kind(&self, kind: FrameKind) -> Vec<Vec<u8>> {
        let messages = self.messages.lock().unwrap();
        messages.iter().filter(|(k, _)| *k == kind).map(|(_, message)| message.clone()).collect()
    }

    fn acks(&self) -> usize {
        self.of_kind(FrameKind::Control).iter().filter(|message| message[0] == 102).count()
    }

    /// What a client that got all this would read in the text `t`.
    fn text(&self) -> String {
        let doc = Doc::new();
        for (_, message) in self.messages.lock().unwrap().iter() {
            if message[0] == 0 && message[1] != 0 {
                let mut reader = weft::wire::lib0::Reader::new(&message[2..]);
                let update = Update::decode_v1(reader.var_bytes().unwrap()).unwrap();
                doc.transact_mut().apply_update(update).unwrap();
            }
        }
        let text = doc.get_or_insert_text("t");
        text.get_string(&doc.transact())
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A client that types into the text `t`.
struct Typist(Doc);

impl Typist {
    fn new(client: u64) -> Self {
        Self(Doc::with_client_id(client))
    }

    fn types(&self, text: &str) -> Vec<u8> {
        let t = self.0.get_or_insert_text("t");
        let mut txn = self.0.transact_mut();
        let end = t.len(&txn);
        t.insert(&mut txn, end, text);
        txn.encode_update_v1()
    }

    fn state(&self) -> Vec<u8> {
        self.0.transact().encode_state_as_update_v1(&StateVector::default())
    }
}

fn quick() -> HubOptions {
    HubOptions {
        idle_after: Duration::from_millis(1),
        checkpoint_every: Duration::from_millis(5),
        ..HubOptions::default()
    }
}

async fn start(dir: &TempDir, store: Arc<dyn Store>, options: HubOptions) -> Hub {
    let (journal, _) = Journal::open(&dir.path().join("journal"), JournalOptions::default()).unwrap();
    Hub::start(journal, store, options).await.unwrap()
}

/// The journal as a kill would leave it now.
fn killed(dir: &TempDir) -> TempDir {
    let copy = TempDir::new().unwrap();
    std::fs::create_dir(copy.path().join("journal")).unwrap();
    for file in std::fs::read_dir(dir.path().join("journal")).unwrap() {
        let file = file.unwrap();
        match std::fs::copy(file.path(), copy.path().join("journal").join(file.file_name())) {
            Ok(_) => {}
            // The next segment has got its name meanwhile; nothing is in it yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => panic!("{error}"),
        }
    }
    copy
}

fn name(name: &str) -> DocName {
    DocName::parse(name).unwrap()
}

fn join(hub: &Hub, doc: &str) -> (PeerHandle, Arc<Sink>) {
    let sink = Arc::new(Sink::default());
    (hub.join(&name(doc), Access::Write, Address::YWebsocket, sink.clone()).unwrap(), sink)
}

async fn sync(peer: &PeerHandle, sink: &Sink) {
    let before = sink.of_kind(FrameKind::Answer).len();
    peer.send(ClientMessage::SyncStep1(&[0])).await.unwrap();
    until("a SyncStep2", || sink.of_kind(FrameKind::Answer).len() > before).await;
}

/// Counts loads and appends, and fails or holds up appends when told to.
#[derive(Default)]
struct Watched {
    store: MemoryStore,
    loads: AtomicUsize,
    appends: AtomicUsize,
    fails: AtomicBool,
    holds: AtomicBool,
    /// Loads fail as of a damaged document.
    damaged: AtomicBool,
    /// Appends find no room, and then none do until it is opened anew.
    full: AtomicBool,
    closed: AtomicBool,
    reopened: AtomicUsize,
}

impl Watched {
    fn new() -> Arc<Self> {
        Arc::default()
    }
}

impl Store for Watched {
    fn load(&self, doc: &DocName) -> Result<Option<StoredDocument>, StoreError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        // A window for everybody else to come in.
        std::thread::sleep(Duration::from_millis(2));
        if self.damaged.load(Ordering::SeqCst) {
            let (what, why) = ("the log".to_owned(), "planted damage".to_owned());
            return Err(StoreError::Damaged { doc: doc.clone(), what, why });
        }
        self.store.load(doc)
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
        self.appends.fetch_add(1, Ordering::SeqCst);
        while self.holds.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(StoreError::Engine { op: "append", source: "planted failure".into() });
        }
        if self.full.load(Ordering::SeqCst) || self.closed.load(Ordering::SeqCst) {
            // As a real one, it may have taken some of it.
            self.closed.store(true, Ordering::SeqCst);
            return Err(StoreError::DiskFull { op: "append", why: "planted".to_owned() });
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
        if self.full.load(Ordering::SeqCst) {
            return Err(StoreError::DiskFull { op: "reopen", why: "planted".to_owned() });
        }
        self.reopened.fetch_add(1, Ordering::SeqCst);
        self.closed.store(false, Ordering::SeqCst);
        Ok(())
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

#[tokio::test]
async fn edits_of_one_turn_leave_as_one_frame_without_echo() {
    let dir = TempDir::new().unwrap();
    let hub = start(&dir, Arc::new(MemoryStore::new()), HubOptions::default()).await;
    let (writer, writes) = join(&hub, "d");
    let (reader, reads) = join(&hub, "d");
    sync(&writer, &writes).await;
    sync(&reader, &reads).await;
    let typist = Typist::new(1);
    // On one thread nothing else runs until this task waits, so all of these are one turn.
    for letter in "hello".chars() {
        writer.send(ClientMessage::Update(&typist.types(&letter.to_string()))).await.unwrap();
    }
    until("the edits", || reads.text() == "hello").await;
    assert_eq!(reads.of_kind(FrameKind::Document).len(), 1);
    assert!(writes.of_kind(FrameKind::Document).is_empty(), "the only sender gets no echo");
}

#[tokio::test]
async fn acks_wait_for_the_journal_and_come_once() {
    let dir = TempDir::new().unwrap();
    let hub = start(&dir, Arc::new(MemoryStore::new()), HubOptions::default()).await;
    let (writer, writes) = join(&hub, "d");
    let typist = Typist::new(1);
    for n in 1..=20 {
        writer.send(ClientMessage::Update(&typist.types("x"))).await.unwrap();
        writer.send(ClientMessage::AckRequest(&[n])).await.unwrap();
        until("the ack", || writes.acks() == usize::from(n)).await;
    }
    // Every acked edit is in there.
    let copy = killed(&dir);
    let hub = start(&copy, Arc::new(MemoryStore::new()), HubOptions::default()).await;
    assert_eq!(hub.text(&name("d")).await.unwrap(), "x".repeat(20));
}

#[tokio::test]
async fn a_document_is_loaded_once_however_many_come() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let hub = start(&dir, store.clone(), HubOptions::default()).await;
    let peers: Vec<_> = (0..50).map(|_| join(&hub, "d")).collect();
    for (peer, sink) in &peers {
        sync(peer, sink).await;
    }
    assert_eq!(store.loads.load(Ordering::SeqCst), 1);
}

/// No race between save, unload and reload: the document falls asleep all the time while somebody comes, edits and goes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_between_sleep_and_wake() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let hub = start(&dir, store.clone(), quick()).await;
    let mut tasks = Vec::new();
    for client in 1..=2u64 {
        let hub = hub.clone();
        tasks.push(tokio::spawn(async move {
            let typist = Typist::new(client);
            for round in 0..60 {
                let (peer, sink) = join(&hub, "d");
                sync(&peer, &sink).await;
                peer.send(ClientMessage::Update(&typist.types("x"))).await.unwrap();
                drop(peer);
                // Sometimes long enough to fall asleep, sometimes just about, sometimes not at all.
                tokio::time::sleep(Duration::from_millis((client * 7 + round * 13) % 29)).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    until("sleep", || hub.documents_awake() == 0).await;
    assert_eq!(hub.text(&name("d")).await.unwrap().len(), 120);
    let loads = store.loads.load(Ordering::SeqCst);
    // How often depends on how busy the machine is.
    assert!(loads > 1, "the document must have slept in between, it was loaded {loads} times");
}

#[tokio::test]
async fn a_peer_that_fell_behind_gets_one_diff() {
    let dir = TempDir::new().unwrap();
    let hub = start(&dir, Arc::new(MemoryStore::new()), HubOptions::default()).await;
    let (writer, writes) = join(&hub, "d");
    let (reader, reads) = join(&hub, "d");
    sync(&writer, &writes).await;
    sync(&reader, &reads).await;
    let typist = Typist::new(1);
    writer.send(ClientMessage::Update(&typist.types("seen "))).await.unwrap();
    until("the first edit", || reads.text() == "seen ").await;
    reads.full.store(true, Ordering::SeqCst);
    for n in 0..30u8 {
        writer.send(ClientMessage::Update(&typist.types("missed "))).await.unwrap();
        writer.send(ClientMessage::AckRequest(&[n])).await.unwrap();
        until("the ack", || writes.acks() == usize::from(n) + 1).await;
    }
    assert_eq!(reads.text(), "seen ");
    reads.full.store(false, Ordering::SeqCst);
    let answers = reads.of_kind(FrameKind::Answer).len();
    reader.caught_up(false);
    until("the diff", || reads.text() == format!("seen {}", "missed ".repeat(30))).await;
    assert_eq!(reads.of_kind(FrameKind::Answer).len(), answers + 1);
}

#[tokio::test]
async fn s7_when_storage_fails_writers_are_turned_away_and_readers_served() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let hub = start(&dir, store.clone(), quick()).await;
    let (writer, writes) = join(&hub, "d");
    let typist = Typist::new(1);
    writer.send(ClientMessage::Update(&typist.types("kept"))).await.unwrap();
    writer.send(ClientMessage::AckRequest(&[1])).await.unwrap();
    until("the ack", || writes.acks() == 1).await;
    store.fails.store(true, Ordering::SeqCst);
    writer.send(ClientMessage::Update(&typist.types(" too"))).await.unwrap();
    until("the failure", || matches!(hub.readiness(), Readiness::StorageFailed(_))).await;
    writer.send(ClientMessage::Update(&typist.types(" not"))).await.unwrap();
    writer.send(ClientMessage::AckRequest(&[2])).await.unwrap();
    until("the writer is closed", || *writes.closed.lock().unwrap() == Some(CloseReason::StorageFailed)).await;
    let (reader, reads) = join(&hub, "d");
    sync(&reader, &reads).await;
    assert_eq!(reads.text(), "kept too");
    assert_eq!(writes.acks(), 1, "a refused write is never acked");
    let refused = hub.import(&name("d"), typist.state().into()).await;
    assert!(matches!(refused, Err(HubError::Storage(_))), "{refused:?}");
}

#[tokio::test]
async fn drain_leaves_everything_in_the_store() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(MemoryStore::new());
    let hub = start(&dir, store.clone(), HubOptions::default()).await;
    let (writer, _) = join(&hub, "d");
    writer.send(ClientMessage::Update(&Typist::new(1).types("kept"))).await.unwrap();
    hub.drain().await.unwrap();
    assert_eq!(hub.readiness(), Readiness::Draining);
    assert!(matches!(
        hub.join(&name("d"), Access::Write, Address::YWebsocket, Arc::new(Sink::default())),
        Err(HubError::Draining)
    ));
    assert!(writer.send(ClientMessage::QueryAwareness).await.is_err());
    let again = TempDir::new().unwrap();
    let hub = start(&again, store, HubOptions::default()).await;
    assert_eq!(hub.text(&name("d")).await.unwrap(), "kept");
}

/// A checkpoint that an admin had asked for was left half done when the admin left, and the next one began beside it:
/// one read the segments that the other removed, and a drain ended with "there is no such sealed segment".
#[tokio::test(flavor = "multi_thread")]
async fn s4_a_checkpoint_whose_caller_leaves_is_alone_to_its_end() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let hub = start(&dir, store.clone(), HubOptions::default()).await;
    hub.import(&name("d"), Typist::new(1).types("kept").into()).await.unwrap();
    store.holds.store(true, Ordering::SeqCst);
    let listing = tokio::time::timeout(Duration::from_millis(100), hub.list(ListQuery::default())).await;
    assert!(listing.is_err(), "it was left in the middle");
    until("the checkpoint appends", || store.appends.load(Ordering::SeqCst) == 1).await;
    let drain = tokio::spawn({
        let hub = hub.clone();
        async move { hub.drain().await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(store.appends.load(Ordering::SeqCst), 1, "no other one began");
    store.holds.store(false, Ordering::SeqCst);
    drain.await.unwrap().unwrap();
    assert!(store.head(&name("d")).unwrap().is_some());
}

#[tokio::test]
async fn admins_see_import_and_compact() {
    let dir = TempDir::new().unwrap();
    let hub = start(&dir, Arc::new(MemoryStore::new()), HubOptions::default()).await;
    assert!(matches!(hub.show(&name("d")).await, Err(HubError::NoSuchDocument(_))));
    assert_eq!(hub.documents_awake(), 0, "asking for nothing wakes nothing");
    let (reader, reads) = join(&hub, "d");
    sync(&reader, &reads).await;
    let typist = Typist::new(7);
    for _ in 0..300 {
        typist.types("word ");
    }
    let report = hub.import(&name("d"), typist.state().into()).await.unwrap();
    assert_eq!((report.accepted_bytes, report.parked_bytes), (report.offered_bytes, 0));
    until("live peers see it", || reads.text().len() == 1_500).await;
    let again = hub.import(&name("d"), typist.state().into()).await.unwrap();
    assert_eq!(again.accepted_bytes, 0, "a no-op costs no record");
    for n in 0..40 {
        hub.import(&name("d"), typist.types(&format!("{n} ")).into()).await.unwrap();
    }
    assert!(matches!(hub.import(&name("d"), Bytes::from_static(&[9, 9])).await, Err(HubError::BadUpdate(_))));

    let listed = hub.list(ListQuery::default()).await.unwrap();
    assert_eq!(listed.len(), 1);
    let shown = hub.show(&name("d")).await.unwrap();
    assert_eq!(shown.roots, [("t".to_owned(), "text".to_owned())]);
    assert_eq!((shown.last_seq.0, shown.clients, shown.summary.peers), (41, 1, 1));

    let dry = hub.compact(&name("d"), true).await.unwrap();
    assert!(!dry.written && dry.snapshot_bytes_after > 0);
    let before = hub.text(&name("d")).await.unwrap();
    let done = hub.compact(&name("d"), false).await.unwrap();
    assert!(done.written && done.snapshot_bytes_after < done.log_bytes);
    let after = hub.show(&name("d")).await.unwrap();
    assert_eq!((after.summary.log_records, after.snapshot_seq), (0, after.last_seq));
    assert_eq!(hub.text(&name("d")).await.unwrap(), before);
    assert!(!hub.compact(&name("d"), false).await.unwrap().written, "there is nothing left to fold");
}

#[tokio::test]
async fn a_log_that_nobody_came_to_fold_is_folded_once_its_document_is_opened() {
    let (dir, store) = (TempDir::new().unwrap(), Arc::new(MemoryStore::new()));
    let rare = HubOptions { checkpoint_every: Duration::from_secs(3_600), ..HubOptions::default() };
    let hub = start(&dir, store.clone(), rare).await;
    let typist = Typist::new(7);
    hub.import(&name("d"), typist.types(&"long ".repeat(20_000)).into()).await.unwrap();
    hub.drain().await.unwrap();
    drop(hub);
    let head = store.head(&name("d")).unwrap().unwrap();
    assert_eq!((head.snapshot_bytes, head.log_records), (0, 1), "the server was stopped before it was folded");

    let hub = start(&dir, store.clone(), quick()).await;
    let (reader, reads) = join(&hub, "d");
    sync(&reader, &reads).await;
    // It is begun with after a checkpoint, or when nothing else has been folded for a while.
    hub.import(&name("other"), typist.types("x").into()).await.unwrap();
    until("it is folded", || store.head(&name("d")).unwrap().unwrap().log_records == 0).await;
    assert_eq!(reads.text().len(), 100_000);
}
