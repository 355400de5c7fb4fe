//! Who is let in, and what those are told who are not.

use super::*;

fn assert_denial(got: &Got) {
    assert!(matches!(got, Got::Binary(payload) if payload.starts_with(&[2, 0])), "{got:?}");
}

#[tokio::test]
async fn wire_6_whoever_is_denied_is_told_held_and_closed() {
    let notes = Notes::new(100);
    let server = start_guarded(&notes);
    let elsewhere = format!("/a?token={}", token("b", 60));
    for (path, code) in [("/a", 4401), ("/a?token=x.y.z", 4401), (&elsewhere, 4403)] {
        let mut client = Client::connect(&server, path).await;
        let began = Instant::now();
        assert_denial(&client.next().await);
        // What it sends is heard by nobody.
        client.send(&note(b"let me in")).await;
        assert_eq!(client.next().await, Got::Close(Some(code)), "{path}");
        assert!(began.elapsed() > Duration::from_millis(250), "{:?}", began.elapsed());
        client.send(&client::frame(0x88, &[0x11, 0x31])).await;
        assert_eq!(client.next().await, Got::Eof);
    }
    until("all are gone", || server.connections() == 0).await;
    assert!(notes.taken().is_empty() && notes.0.sinks.lock().unwrap().is_empty());

    let path = format!("/a?x&token={}", token("*", 60));
    let mut client = Client::connect(&server, &path).await;
    client.send(&note(b"hello")).await;
    until("the message has come", || notes.taken() == [b"hello"]).await;
    let headers = format!("{HANDSHAKE}Authorization: Bearer {}\r\n", token("b", 60));
    let _client = Client::request(&server, "/b", &headers, &greeting()).await;
    until("both have joined", || notes.present() == 2).await;
}

#[tokio::test]
async fn a_denied_client_may_leave_early_and_may_not_pour() {
    let notes = Notes::new(0);
    let server = start_guarded(&notes);
    let mut client = Client::connect(&server, "/a").await;
    assert_denial(&client.next().await);
    client.send(&client::frame(0x88, &[])).await;
    assert_eq!(client.next().await, Got::Close(None));
    assert_eq!(client.next().await, Got::Eof);

    // The largest message there may be is announced, and comes: after some of it the socket is not read any more, and
    // when it is again, to let the client see its close frame, nothing is set aside.
    let mut client = Client::connect(&server, "/a").await;
    assert_denial(&client.next().await);
    let mut message = client::binary(&vec![7; MESSAGE_BYTES_MAX]);
    message.truncate(MESSAGE_BYTES_MAX);
    let (mut reader, mut writer) = client.0.into_split();
    let pouring = tokio::spawn(async move { writer.write_all(&message).await.is_ok() });
    let mut seen = Vec::new();
    let closed = tokio::time::timeout(PATIENCE, reader.read_to_end(&mut seen)).await.expect("the connection ends");
    assert!(closed.is_err() || seen.windows(4).any(|frame| frame[0] == 0x88 && frame[2..] == 4401u16.to_be_bytes()));
    drop(pouring.await);
    until("it is gone", || server.connections() == 0).await;
}

#[tokio::test]
async fn wire_6_a_token_that_expires_ends_its_session() {
    let notes = Notes::new(10);
    let server = start_guarded(&notes);
    let mut client = Client::connect(&server, &format!("/a?token={}", token("a", 2))).await;
    let began = Instant::now();
    until("the client has joined", || notes.present() == 1).await;
    let code = loop {
        match client.next().await {
            Got::Close(code) => break code,
            Got::Ping => client.send(&client::frame(0x8a, b"")).await,
            Got::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(4501));
    assert!((900..3_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    until("the client has left", || notes.present() == 0).await;
}
