//! S9: a full disk is survived, and left again by itself.

use std::sync::atomic::AtomicU64;

use weft::hub::Disk;

use super::*;

const MIB: u64 = 1 << 20;

/// A disk with as many free bytes as the test says; 80 MiB are wanted.
fn disk() -> (Arc<AtomicU64>, HubOptions) {
    let free = Arc::new(AtomicU64::new(1_000 * MIB));
    let probe = free.clone();
    let disk = Disk::with_probe(move || Ok(probe.load(Ordering::SeqCst)), 80 * MIB);
    (free, HubOptions { disk: Some(disk), ..quick() })
}

fn is_full(hub: &Hub) -> bool {
    matches!(hub.readiness(), Readiness::DiskFull(_))
}

async fn save(peer: &PeerHandle, sink: &Sink, update: &[u8]) {
    let before = sink.acks();
    peer.send(ClientMessage::Update(update)).await.unwrap();
    peer.send(ClientMessage::AckRequest(&[1])).await.unwrap();
    until("the ack", || sink.acks() > before).await;
}

#[tokio::test]
async fn s9_edits_are_refused_before_the_disk_is_full_and_taken_again_by_themselves() {
    let dir = TempDir::new().unwrap();
    let (free, options) = disk();
    let hub = start(&dir, Arc::new(MemoryStore::new()), options).await;
    let (writer, writes) = join(&hub, "d");
    let (other, others) = join(&hub, "e");
    let typist = Typist::new(1);
    save(&writer, &writes, &typist.types("kept ")).await;
    save(&other, &others, &Typist::new(2).types("gone")).await;

    free.store(80 * MIB - 1, Ordering::SeqCst);
    until("the disk is full", || is_full(&hub)).await;
    let refused = typist.types("refused ");
    writer.send(ClientMessage::Update(&refused)).await.unwrap();
    writer.send(ClientMessage::AckRequest(&[2])).await.unwrap();
    until("the writer is told", || *writes.closed.lock().unwrap() == Some(CloseReason::DiskFull)).await;
    assert_eq!(writes.acks(), 1);
    let import = hub.import(&name("d"), typist.state().into()).await;
    assert!(matches!(import, Err(HubError::DiskFull(_))), "{import:?}");
    // Readers are served, and what adds nothing is no write.
    let (reader, reads) = join(&hub, "d");
    sync(&reader, &reads).await;
    reader.send(ClientMessage::SyncStep2(&[0, 0])).await.unwrap();
    assert_eq!((reads.text().as_str(), hub.text(&name("d")).await.unwrap().as_str()), ("kept ", "kept "));
    // What gives space back is allowed.
    assert!(hub.compact(&name("d"), false).await.unwrap().written);
    hub.delete(&name("e")).await.unwrap();
    assert_eq!(hub.list(ListQuery::default()).await.unwrap().len(), 1);
    assert!(reads.closed.lock().unwrap().is_none());

    // A little more is not enough: it would be too little again at once.
    free.store(82 * MIB, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(is_full(&hub));
    free.store(91 * MIB, Ordering::SeqCst);
    until("there is room", || hub.readiness() == Readiness::Ready).await;
    let (again, sink) = join(&hub, "d");
    save(&again, &sink, &typist.state()).await;
    assert_eq!(hub.text(&name("d")).await.unwrap(), "kept refused ");
    until("the reader sees it", || reads.text() == "kept refused ").await;
}

#[tokio::test]
async fn s9_a_checkpoint_that_would_not_fit_is_put_off() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let (free, options) = disk();
    let hub = start(&dir, store.clone(), options).await;
    free.store(4 * MIB, Ordering::SeqCst);
    // Nothing has looked yet: the edit is taken, and stays in the journal.
    let (writer, writes) = join(&hub, "d");
    writer.send(ClientMessage::Update(&Typist::new(1).types("in the journal"))).await.unwrap();
    writer.send(ClientMessage::AckRequest(&[1])).await.unwrap();
    until("a fate", || writes.acks() == 1 || writes.closed.lock().unwrap().is_some()).await;
    let acked = writes.acks() == 1;
    until("the disk is full", || is_full(&hub)).await;
    assert!(hub.list(ListQuery::default()).await.is_ok(), "it answers with what it has");
    assert_eq!(store.documents().unwrap(), 0);
    free.store(1_000 * MIB, Ordering::SeqCst);
    until("there is room", || hub.readiness() == Readiness::Ready).await;
    until("the checkpoint", || store.documents().unwrap() == u64::from(acked)).await;
}

#[tokio::test]
async fn s9_a_store_that_ran_out_of_room_is_opened_anew_and_given_what_the_journal_has() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let hub = start(&dir, store.clone(), quick()).await;
    let (writer, writes) = join(&hub, "d");
    let typist = Typist::new(1);
    save(&writer, &writes, &typist.types("carried ")).await;
    until("the checkpoint", || store.documents().unwrap() == 1).await;
    store.full.store(true, Ordering::SeqCst);
    save(&writer, &writes, &typist.types("acked ")).await;
    until("the disk is full", || is_full(&hub)).await;
    writer.send(ClientMessage::Update(&typist.types("refused"))).await.unwrap();
    until("the writer is told", || *writes.closed.lock().unwrap() == Some(CloseReason::DiskFull)).await;
    assert_eq!(hub.text(&name("d")).await.unwrap(), "carried acked ");
    assert!(matches!(hub.compact(&name("d"), false).await, Err(HubError::DiskFull(_))));

    store.full.store(false, Ordering::SeqCst);
    until("it is opened anew", || hub.readiness() == Readiness::Ready).await;
    assert_eq!(store.reopened.load(Ordering::SeqCst), 1);
    drop(writer);
    until("sleep, which a checkpoint allows", || hub.documents_awake() == 0).await;
    assert_eq!(hub.text(&name("d")).await.unwrap(), "carried acked ");
    let (again, sink) = join(&hub, "d");
    save(&again, &sink, &typist.state()).await;
    assert_eq!(hub.text(&name("d")).await.unwrap(), "carried acked refused");
}

#[tokio::test]
async fn s9_a_drain_on_a_full_disk_ends_and_loses_nothing() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(MemoryStore::new());
    let (free, options) = disk();
    let hub = start(&dir, store.clone(), HubOptions { checkpoint_every: Duration::from_secs(600), ..options }).await;
    let (writer, writes) = join(&hub, "d");
    save(&writer, &writes, &Typist::new(1).types("acked")).await;
    free.store(MIB, Ordering::SeqCst);
    until("the disk is full", || is_full(&hub)).await;
    tokio::time::timeout(DEADLINE, hub.drain()).await.expect("it ends").unwrap();
    assert_eq!(store.documents().unwrap(), 0, "the journal still has it");
    let hub = start(&killed(&dir), store, HubOptions::default()).await;
    assert_eq!(hub.text(&name("d")).await.unwrap(), "acked");
}

/// What cannot be carried over cannot be read either, so this must not look like a start that went well.
#[tokio::test]
async fn s9_a_start_without_room_for_the_journal_says_so() {
    let dir = TempDir::new().unwrap();
    let hub = start(&dir, Arc::new(MemoryStore::new()), HubOptions::default()).await;
    let (writer, writes) = join(&hub, "d");
    save(&writer, &writes, &Typist::new(1).types("acked")).await;
    let copy = killed(&dir);
    let (free, options) = disk();
    free.store(MIB, Ordering::SeqCst);
    let (journal, _) = Journal::open(&copy.path().join("journal"), JournalOptions::default()).unwrap();
    let refused = Hub::start(journal, Arc::new(MemoryStore::new()), options).await.err().expect("refuses");
    assert!(matches!(&refused, HubError::DiskFull(why) if why.contains("are needed")), "{refused}");
}
