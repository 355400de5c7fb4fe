//! Deleting documents: durable before it is answered, told to everyone, and undone by nobody but an admin's import.

use super::*;
use weft::limits::MESSAGE_BYTES_MAX;

fn was_closed(sink: &Sink) -> bool {
    *sink.closed.lock().unwrap() == Some(CloseReason::Deleted)
}

fn is_deleted<T: std::fmt::Debug>(result: Result<T, HubError>) -> bool {
    matches!(result, Err(HubError::Deleted { .. }))
}

async fn listed(hub: &Hub, deleted: bool) -> Vec<String> {
    let listed = hub.list(ListQuery { deleted, ..ListQuery::default() }).await.unwrap();
    assert!(listed.iter().all(|doc| doc.deleted_ms.is_some() == deleted));
    listed.into_iter().map(|doc| doc.name.to_string()).collect()
}

/// Types, and waits for the ack.
async fn saved(peer: &PeerHandle, sink: &Sink, typist: &Typist, text: &str) {
    let before = sink.acks();
    peer.send(ClientMessage::Update(&typist.types(text))).await.unwrap();
    peer.send(ClientMessage::AckRequest(&[1])).await.unwrap();
    until("the ack", || sink.acks() > before).await;
}

#[tokio::test]
async fn whoever_has_a_deleted_document_is_told_and_cannot_bring_it_back() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let options = HubOptions { idle_after: Duration::from_millis(100), ..HubOptions::default() };
    let hub = start(&dir, store.clone(), options).await;
    let (writer, writes) = join(&hub, "d");
    let (_reader, reads) = join(&hub, "d");
    let (_other, others) = join(&hub, "e");
    let typist = Typist::new(1);
    saved(&writer, &writes, &typist, "acked and gone").await;
    let report = hub.delete(&name("d")).await.unwrap();
    assert_eq!((report.name.as_str(), report.peers), ("d", 2));
    assert!(was_closed(&writes) && was_closed(&reads) && others.closed.lock().unwrap().is_none());
    // The session has not heard of it yet and goes on sending.
    let told = writes.messages.lock().unwrap().len();
    writer.send(ClientMessage::Update(&typist.types("late"))).await.unwrap();
    writer.send(ClientMessage::AckRequest(&[2])).await.unwrap();
    // Awake, with its deletion only in the journal, then from the store: it is the same to whoever comes.
    for round in 0..2 {
        for _ in 0..3 {
            let (peer, sink) = join(&hub, "d");
            peer.send(ClientMessage::SyncStep1(&[0])).await.unwrap();
            peer.send(ClientMessage::SyncStep2(&typist.state())).await.unwrap();
            peer.send(ClientMessage::AckRequest(&[3])).await.unwrap();
            until("the newcomer is closed", || was_closed(&sink)).await;
            assert!(sink.messages.lock().unwrap().is_empty(), "round {round}: nothing is said to him");
        }
        assert!(is_deleted(hub.encode(&name("d"), None).await) && is_deleted(hub.text(&name("d")).await));
        assert!(is_deleted(hub.show(&name("d")).await) && is_deleted(hub.delete(&name("d")).await));
        assert!(is_deleted(hub.compact(&name("d"), false).await));
        assert_eq!((listed(&hub, false).await, listed(&hub, true).await), (vec![], vec!["d".to_owned()]));
        until("sleep", || hub.documents_awake() == 1).await;
    }
    assert_eq!(writes.messages.lock().unwrap().len(), told, "nothing that came too late was acked");
    assert!(matches!(hub.delete(&name("never")).await, Err(HubError::NoSuchDocument(_))));
    assert_eq!(store.documents().unwrap(), 0);
}

#[tokio::test]
async fn a_deletion_is_durable_before_it_is_answered() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(MemoryStore::new());
    let hub = start(&dir, store.clone(), HubOptions::default()).await;
    let (writer, writes) = join(&hub, "d");
    saved(&writer, &writes, &Typist::new(1), "gone").await;
    let before = killed(&dir);
    let deleted_ms = hub.delete(&name("d")).await.unwrap().deleted_ms;
    let after = killed(&dir);
    // Killed before it, the edit is there; killed after it, whatever the store had by then, the document is not.
    let hub = start(&before, Arc::new(MemoryStore::new()), HubOptions::default()).await;
    assert_eq!(hub.text(&name("d")).await.unwrap(), "gone");
    let carried = Arc::new(MemoryStore::new());
    for _ in 0..2 {
        let copy = killed(&after);
        let hub = start(&copy, carried.clone(), HubOptions::default()).await;
        let (_peer, sink) = join(&hub, "d");
        until("the newcomer is closed", || was_closed(&sink)).await;
        assert_eq!(hub.text(&name("d")).await, Err(HubError::Deleted { doc: name("d"), deleted_ms }));
    }
    assert_eq!(carried.documents().unwrap(), 0);
}

#[tokio::test]
async fn a_sleeping_document_is_deleted_unread_even_a_damaged_one() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let hub = start(&dir, store.clone(), quick()).await;
    hub.import(&name("d"), Typist::new(1).types("text").into()).await.unwrap();
    until("sleep", || hub.documents_awake() == 0).await;
    let loads = store.loads.load(Ordering::SeqCst);
    store.damaged.store(true, Ordering::SeqCst);
    hub.delete(&name("d")).await.unwrap();
    assert_eq!(store.loads.load(Ordering::SeqCst), loads);
    store.damaged.store(false, Ordering::SeqCst);
    until("sleep", || hub.documents_awake() == 0).await;
    assert!(is_deleted(hub.text(&name("d")).await));
    let stored = store.load(&name("d")).unwrap().unwrap();
    assert!(stored.log.is_empty() && stored.snapshot.is_empty());
}

/// Found by reading: the pieces that came after the deletion made a document anew that held but those. And then by this
/// test: those that came while the deletion was written were answered when the document would have fallen asleep.
#[tokio::test]
async fn a_deletion_in_the_midst_of_an_import_in_pieces_ends_it() {
    let dir = TempDir::new().unwrap();
    let hub = start(&dir, Arc::new(MemoryStore::new()), HubOptions::default()).await;
    let update: Bytes = Typist::new(1).types(&"warp and weft ".repeat(MESSAGE_BYTES_MAX / 13)).into();
    assert!(update.len() > MESSAGE_BYTES_MAX);
    let delete = async {
        while !hub.text(&name("d")).await.is_ok_and(|text| !text.is_empty()) {
            tokio::task::yield_now().await;
        }
        hub.delete(&name("d")).await.unwrap();
    };
    let doc = name("d");
    let both = async { tokio::join!(hub.import(&doc, update), delete) };
    let (imported, ()) = tokio::time::timeout(DEADLINE, both).await.expect("an answer before the document would sleep");
    assert!(
        imported.is_err_and(|error| matches!(error, HubError::Deleted { .. })),
        "there were pieces after the deletion"
    );
    assert!(is_deleted(hub.text(&name("d")).await));
}

#[tokio::test]
async fn only_an_import_makes_it_anew_and_says_so() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(MemoryStore::new());
    let hub = start(&dir, store.clone(), HubOptions::default()).await;
    let old = Typist::new(1);
    hub.import(&name("d"), old.types("old ").into()).await.unwrap();
    hub.delete(&name("d")).await.unwrap();
    // What brings nothing, and what is refused, leaves it deleted.
    let nothing = hub.import(&name("d"), Bytes::from_static(&[0, 0])).await.unwrap();
    assert_eq!((nothing.recreated, nothing.accepted_bytes), (false, 0));
    assert!(matches!(hub.import(&name("d"), Bytes::from_static(&[9, 9])).await, Err(HubError::BadUpdate(_))));
    assert!(is_deleted(hub.text(&name("d")).await));

    let new = Typist::new(2);
    let report = hub.import(&name("d"), new.types("new").into()).await.unwrap();
    assert!(report.recreated);
    let again = hub.import(&name("d"), new.types("er").into()).await.unwrap();
    assert!(!again.recreated);
    let (peer, sink) = join(&hub, "d");
    sync(&peer, &sink).await;
    assert_eq!(sink.text(), "newer");
    saved(&peer, &sink, &new, " still").await;
    // All of it in one journal, as a kill leaves it, and again over what was carried of it.
    let copy = killed(&dir);
    assert_eq!((listed(&hub, false).await, listed(&hub, true).await), (vec!["d".to_owned()], vec![]));
    for store in [Arc::new(MemoryStore::new()), store] {
        let copy = killed(&copy);
        let again = start(&copy, store, HubOptions::default()).await;
        assert_eq!(again.text(&name("d")).await.unwrap(), "newer still");
    }
    // And deleted once more.
    hub.delete(&name("d")).await.unwrap();
    assert!(was_closed(&sink) && is_deleted(hub.text(&name("d")).await));
}

/// Writers, sleep, compaction and deletion at the same time: an edit is either gone with the document or was refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_that_race_with_a_deletion_are_gone_or_refused() {
    let dir = TempDir::new().unwrap();
    let hub = start(&dir, Watched::new(), quick()).await;
    for round in 0..40u64 {
        let doc = format!("d{}", round % 3);
        let seed = Typist::new(1_000 + round);
        hub.import(&name(&doc), seed.types("import").into()).await.unwrap();
        let mut writers = Vec::new();
        for client in 1..=3 {
            let (peer, sink) = join(&hub, &doc);
            writers.push(tokio::spawn(async move {
                let typist = Typist::new(round * 10 + client);
                while !was_closed(&sink) {
                    // An error says that the task has gone meanwhile, which closes the session.
                    if peer.send(ClientMessage::Update(&typist.types("x"))).await.is_err() {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
                sink
            }));
        }
        let folding = tokio::spawn({
            let (hub, doc) = (hub.clone(), name(&doc));
            async move { hub.compact(&doc, false).await }
        });
        tokio::time::sleep(Duration::from_millis(round % 7)).await;
        hub.delete(&name(&doc)).await.unwrap();
        for writer in writers {
            let sink = tokio::time::timeout(DEADLINE, writer).await.expect("every writer is told").unwrap();
            assert!(was_closed(&sink), "round {round}");
        }
        match folding.await.unwrap() {
            Ok(_) | Err(HubError::Deleted { .. }) => {}
            Err(other) => panic!("round {round}: {other}"),
        }
        assert!(is_deleted(hub.text(&name(&doc)).await), "round {round}");
    }
    assert!(listed(&hub, false).await.is_empty());
    assert_eq!(listed(&hub, true).await, ["d0", "d1", "d2"]);
}

#[tokio::test]
async fn s7_a_deletion_that_cannot_be_kept_is_not_answered_with_yes() {
    let dir = TempDir::new().unwrap();
    let store = Watched::new();
    let hub = start(&dir, store.clone(), quick()).await;
    let (writer, writes) = join(&hub, "d");
    let typist = Typist::new(1);
    saved(&writer, &writes, &typist, "kept").await;
    store.fails.store(true, Ordering::SeqCst);
    writer.send(ClientMessage::Update(&typist.types(" too"))).await.unwrap();
    until("the failure", || matches!(hub.readiness(), Readiness::StorageFailed(_))).await;
    assert!(matches!(hub.delete(&name("d")).await, Err(HubError::Storage(_))));
    let (reader, reads) = join(&hub, "d");
    sync(&reader, &reads).await;
    assert_eq!(reads.text(), "kept too");
}
