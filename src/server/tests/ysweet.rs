//! y-sweet's sockets: told by status whether they are let in, kept patient while an ack is outstanding, and not sent away
//! for a write that was refused.

use super::*;

/// `66 01 00`, as its client asks.
const ASK: [u8; 3] = [102, 1, 0];

/// What its client has that we lack: nothing.
const STEP2: [u8; 5] = [0, 1, 2, 0, 0];

async fn status(server: &Server, path: &str) -> String {
    let (_, head) = Client::request(server, path, HANDSHAKE, b"").await;
    head.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn wire_6_y_sweet_clients_are_denied_by_status() {
    let notes = Notes::new(10);
    let server = start_guarded(&notes);
    let good = token("a", 100);
    for (path, expected) in [
        ("/d/a/ws/a".to_owned(), "401"),
        ("/d/a/ws/a?token=x".to_owned(), "401"),
        (format!("/d/a/ws/a?token={}", token("a", 0)), "401"),
        (format!("/d/b/ws/b?token={good}"), "403"),
        (format!("/d/a/ws/b?token={good}"), "400"),
        (format!("/d/a/ws/a?token={good}"), "101"),
    ] {
        assert_eq!(status(&server, &path).await, expected, "{path}");
    }
    let deleted = HubError::Deleted { doc: DocName::parse("a").unwrap(), deleted_ms: 1 };
    for (error, expected) in [(deleted, "404"), (HubError::Draining, "503"), (HubError::Storage("x".into()), "503")] {
        *notes.0.refuse_join.lock().unwrap() = Some(error);
        assert_eq!(status(&server, &format!("/d/a/ws/a?token={good}")).await, expected);
    }
}

#[tokio::test]
async fn g_s2_an_ack_that_does_not_come_is_made_up_for_by_keep_alives() {
    let notes = Notes::new(10);
    let server = start_fast(&notes);
    let mut client = Client::connect(&server, "/d/a/ws/a").await;
    until("the client has joined", || notes.present() == 1).await;
    client.send(&client::binary(&STEP2)).await;
    for _ in 0..2 {
        let asked = Instant::now();
        client.send(&client::binary(&ASK)).await;
        let next = loop {
            match client.next().await {
                Got::Ping => {}
                next => break next,
            }
        };
        assert_eq!(next, Got::Binary(crate::wire::ywebsocket::KEEPALIVE.to_vec()));
        // Otherwise it would come 200 ms after the last message only.
        assert!(asked.elapsed() < Duration::from_millis(170), "{:?}", asked.elapsed());
    }
    assert_eq!(notes.taken(), [&[0, 0][..], &[0], &[0]]);
    // Nothing is owed to one that asks and is answered.
    let sink = notes.sink("a");
    let asked = Instant::now();
    client.send(&client::binary(&ASK)).await;
    until("the request has come", || notes.taken().len() == 4).await;
    sink.deliver(&frame::binary(&[&ASK]), FrameKind::Control);
    assert_eq!(client.next().await, Got::Binary(ASK.to_vec()));
    let next = loop {
        match client.next().await {
            Got::Ping => {}
            next => break next,
        }
    };
    assert_eq!(next, Got::Binary(crate::wire::ywebsocket::KEEPALIVE.to_vec()));
    assert!(asked.elapsed() >= Duration::from_millis(195), "{:?}", asked.elapsed());
}

/// It has no way to make room in the document's inbox, so what it asked behind a held message is kept in mind for it.
#[tokio::test]
async fn g_s2_a_client_is_kept_patient_while_its_document_takes_nothing() {
    let notes = Notes::new(0);
    let server = start_fast(&notes);
    let mut client = Client::connect(&server, "/d/a/ws/a").await;
    let asked = Instant::now();
    client.send(&[client::binary(&STEP2), client::binary(&ASK)].concat()).await;
    assert_eq!(client.next().await, Got::Binary(crate::wire::ywebsocket::KEEPALIVE.to_vec()));
    assert!(asked.elapsed() < Duration::from_millis(170), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn g_s3_whoever_would_come_back_at_once_is_not_sent_away_or_held() {
    let notes = Notes::new(10);
    let server = start_fast(&notes);
    let mut client = Client::connect(&server, "/d/a/ws/a").await;
    until("the client has joined", || notes.present() == 1).await;
    let sink = notes.sink("a");
    sink.refuse(CloseReason::DiskFull);
    sink.deliver(&frame::binary(&[b"still here"]), FrameKind::Document);
    assert_eq!(client.next().await, Got::Binary(b"still here".to_vec()));
    for (reason, held) in [(CloseReason::Overloaded, true), (CloseReason::Restart, false)] {
        let mut client = Client::connect(&server, "/d/a/ws/a").await;
        until("the client has joined", || notes.present() == 2).await;
        let closed = Instant::now();
        notes.sink("a").close(reason);
        loop {
            match client.next().await {
                Got::Close(code) => break assert_eq!(code, Some(reason.code(dialect::Dialect::YSweet))),
                Got::Ping | Got::Binary(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(closed.elapsed() >= FAST.hold.0, held, "{reason:?}: {:?}", closed.elapsed());
        until("the client has left", || notes.present() == 1).await;
    }
}

/// It asks about all that it did while it was away before it has said what that was.
#[tokio::test]
async fn p1_an_early_request_for_an_ack_waits_until_the_client_has_said_what_it_has() {
    for room in [10, 1] {
        let notes = Notes::new(room);
        let server = start_fast(&notes);
        let mut client = Client::connect(&server, "/d/a/ws/a").await;
        let messages = [&[102, 1, 5][..], &[102, 1, 6]].map(client::binary);
        client.send(&[messages.concat(), client::binary(&[3])].concat()).await;
        until("the message between has come", || !notes.taken().is_empty()).await;
        assert_eq!(notes.taken(), [b"query"], "the requests wait");
        client.send(&[client::binary(&STEP2), client::binary(&[102, 1, 7])].concat()).await;
        if room == 1 {
            notes.0.inbox.add_permits(10);
        }
        until("all have come", || notes.taken().len() == 4).await;
        assert_eq!(notes.taken()[1..], [&[0, 0][..], &[6], &[7]], "of the early ones, the last");
    }
}
