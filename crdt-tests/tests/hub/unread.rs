//! Answers from what is stored, before the document is read: who has nothing is sent a document as it lies there.

use super::*;
use crdt_tests::seed;
use rand::Rng;
use weft::ids::Seq;
use weft::limits::UNREAD_BYTES_MIN;

/// Long enough not to be read first.
fn long() -> String {
    "long ".repeat(UNREAD_BYTES_MIN / 5 + 1)
}

/// A store with a document of a snapshot, and who wrote it.
fn folded(text: &str) -> (Arc<Watched>, Typist) {
    let (store, author) = (Watched::new(), Typist::new(1));
    author.types(text);
    let snapshot = Snapshot { covers: Seq(1), updates: vec![author.state().into()] };
    store.install_snapshot(&name("d"), &snapshot, 1).unwrap();
    (store, author)
}

fn kinds(sink: &Sink) -> Vec<FrameKind> {
    sink.messages.lock().unwrap().iter().map(|(kind, _)| *kind).collect()
}

async fn ask(peer: &PeerHandle, state_vector: &[u8]) {
    peer.send(ClientMessage::SyncStep1(state_vector)).await.unwrap();
}

#[tokio::test]
async fn who_has_nothing_is_answered_before_the_document_is_read() {
    use FrameKind::{Answer, Control, Document};
    let (dir, (store, author)) = (TempDir::new().unwrap(), folded(&long()));
    let hub = start(&dir, store.clone(), HubOptions::default()).await;
    // On one thread the document's task runs when this one waits, so all of these are there when it has been loaded.
    let newcomers = [join(&hub, "d"), join(&hub, "d")];
    let returning = join(&hub, "d");
    let counting = Arc::new(Sink::default());
    let address = Address::Hocuspocus("d".into());
    let counts = hub.join(&name("d"), Access::Write, address, counting.clone()).unwrap();
    for (peer, _) in &newcomers {
        ask(peer, &[0]).await;
    }
    let known = author.0.transact().state_vector();
    ask(&returning.0, &yrs::updates::encoder::Encode::encode_v1(&known)).await;
    ask(&counts, &[0]).await;
    until("all are answered", || {
        let sinks = newcomers.iter().chain([&returning]).map(|(_, sink)| sink).chain([&counting]);
        sinks.into_iter().all(|sink| kinds(sink).contains(&Answer) && kinds(sink).contains(&Control))
    })
    .await;
    for (_, sink) in &newcomers {
        // Asked for what it has only when it was known what is missing.
        assert_eq!(kinds(sink), [Answer, Control]);
        assert_eq!(sink.text(), long());
    }
    assert_eq!(kinds(&returning.1), [Control, Answer]);
    assert_eq!(kinds(&counting), [Control, Answer], "a client that counts its writes is asked first");

    let more = author.types("and more");
    newcomers[0].0.send(ClientMessage::Update(&more)).await.unwrap();
    until("the edit", || newcomers[1].1.text() == long() + "and more").await;
    assert_eq!(kinds(&newcomers[1].1), [Answer, Control, Document]);
    assert_eq!(kinds(&newcomers[0].1), [Answer, Control], "who wrote it gets no echo");
    assert_eq!(store.loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_comes_while_the_document_is_read_reaches_those_who_were_answered() {
    use FrameKind::{Answer, Control, Document};
    let (dir, (store, author)) = (TempDir::new().unwrap(), folded(&long()));
    let hub = start(&dir, store, HubOptions::default()).await;
    let [before, writer, after] = [join(&hub, "d"), join(&hub, "d"), join(&hub, "d")];
    ask(&before.0, &[0]).await;
    writer.0.send(ClientMessage::Update(&author.types("two"))).await.unwrap();
    ask(&after.0, &[0]).await;
    until("all have all", || [&before, &after].iter().all(|(_, sink)| sink.text() == long() + "two")).await;
    assert_eq!(kinds(&before.1), [Answer, Document, Control]);
    // It asked after the edit was there, so its answer is one that has it.
    assert_eq!(kinds(&after.1), [Control, Answer]);
}

/// What a client has when it calls itself synced.
fn synced(sink: &Sink) -> String {
    let before = Sink::default();
    for (kind, message) in sink.messages.lock().unwrap().iter() {
        before.messages.lock().unwrap().push((*kind, message.clone()));
        if *kind == FrameKind::Answer {
            return before.text();
        }
    }
    panic!("there is no answer")
}

#[tokio::test]
async fn what_the_log_adds_is_there_when_the_answer_is() {
    use FrameKind::{Answer, Control};
    let (dir, (store, author)) = (TempDir::new().unwrap(), folded(&long()));
    for seq in 2..=10 {
        let updates = vec![(Seq(seq), Bytes::from(author.types("more ")))];
        store.append(&[LogAppend { doc: name("d"), updates }], 1).unwrap();
    }
    let hub = start(&dir, store, HubOptions::default()).await;
    let (peer, sink) = join(&hub, "d");
    ask(&peer, &[0]).await;
    until("it was read", || sink.messages.lock().unwrap().len() == 3).await;
    assert_eq!(kinds(&sink), [Control, Answer, Control], "the log, the snapshot, and the question what we miss");
    assert_eq!(synced(&sink), long() + &"more ".repeat(9));
}

#[tokio::test]
async fn a_log_alone_is_an_answer_too() {
    use FrameKind::{Answer, Control};
    let (dir, store, author) = (TempDir::new().unwrap(), Watched::new(), Typist::new(1));
    let updates = (1..=9).map(|seq| (Seq(seq), Bytes::from(author.types(&long())))).collect();
    store.append(&[LogAppend { doc: name("d"), updates }], 1).unwrap();
    let hub = start(&dir, store, HubOptions::default()).await;
    let (peer, sink) = join(&hub, "d");
    ask(&peer, &[0]).await;
    until("it was read", || sink.messages.lock().unwrap().len() == 2).await;
    assert_eq!(kinds(&sink), [Answer, Control]);
    assert_eq!(sink.text(), long().repeat(9));
}

#[tokio::test]
async fn what_is_short_or_waits_for_more_is_read_first() {
    use FrameKind::{Answer, Control};
    let (author, late) = (Typist::new(1), Typist::new(2));
    let begun = author.types(&long());
    late.types("never comes");
    let waits = late.types(&long());
    let logs = [vec![Typist::new(3).types("short")], vec![begun.clone(), waits.clone()], vec![waits]];
    for log in logs {
        let (dir, store) = (TempDir::new().unwrap(), Watched::new());
        let updates = (1..).map(Seq).zip(log.into_iter().map(Bytes::from)).collect();
        store.append(&[LogAppend { doc: name("d"), updates }], 1).unwrap();
        let hub = start(&dir, store, HubOptions::default()).await;
        let (peer, sink) = join(&hub, "d");
        ask(&peer, &[0]).await;
        until("an answer", || kinds(&sink).contains(&Answer)).await;
        assert_eq!(kinds(&sink), [Control, Answer]);
    }
}

/// Whoever comes while others write to a document that is being opened has in the end what everybody has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomers_miss_nothing_whenever_they_come() {
    let mut rng = seed::rng(seed::seed("newcomers_miss_nothing"), 0);
    let (dir, (store, _)) = (TempDir::new().unwrap(), folded(&long()));
    let hub = start(&dir, store.clone(), quick()).await;
    let mut answered_early = 0;
    for round in 0..60u64 {
        let mut tasks = Vec::new();
        for client in 0..4u64 {
            let (hub, writes) = (hub.clone(), rng.random_ratio(1, 3));
            let pause = Duration::from_micros(rng.random_range(0..3_000));
            tasks.push(tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                let (peer, sink) = join(&hub, "d");
                ask(&peer, &[0]).await;
                if writes {
                    let typist = Typist::new(1_000 * (round + 1) + client);
                    peer.send(ClientMessage::Update(&typist.types("x"))).await.unwrap();
                }
                (peer, sink, usize::from(writes))
            }));
        }
        let mut peers = Vec::new();
        for task in tasks {
            peers.push(task.await.unwrap());
        }
        let written: usize = peers.iter().map(|(_, _, written)| written).sum();
        let whole = hub.text(&name("d")).await.unwrap();
        for (_, sink, own) in &peers {
            // What it wrote itself it is not told.
            until("it has all", || {
                sink.of_kind(FrameKind::Control).len() == 1 && sink.text().len() + own >= whole.len()
            })
            .await;
            assert_eq!(sink.of_kind(FrameKind::Answer).len(), 1, "one question, one answer");
            answered_early += usize::from(kinds(sink)[0] == FrameKind::Answer);
        }
        drop(peers);
        if written > 0 {
            hub.compact(&name("d"), false).await.unwrap();
        }
        until("it sleeps", || hub.documents_awake() == 0).await;
    }
    println!("{answered_early} of 240 were answered early");
    assert!(answered_early > 0);
}
