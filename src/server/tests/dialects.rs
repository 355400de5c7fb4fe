//! Who speaks, as its first byte tells.

use super::*;

/// WIRE §5: the first byte tells who speaks, wherever they connect; nobody joins anything before.
#[tokio::test]
async fn c2_2_the_first_byte_tells_the_dialect() {
    let notes = Notes::new(10);
    let server = start_fast(&notes);
    // A Hocuspocus client may connect where no document could be, and a path that names one is not its document.
    for path in ["/", "/a"] {
        let mut client = Client::open(&server, path).await;
        client.send(&client::binary(b"\x04doc1\x03")).await;
        assert_eq!(client.next().await, Got::Ping, "ahead of the first frame");
        assert_eq!(client.next().await, Got::Binary(b"\x04doc1\x02\x02\x0aread-write".to_vec()));
        until("it has joined", || notes.present() == 1).await;
        notes.sink("doc1");
        drop(client);
        until("it has left", || notes.present() == 0).await;
    }
    // The beginning of a message is enough.
    let mut slow = Client::open(&server, "/b").await;
    let mut first = client::binary(&[&[0, 2][..], &[0; 5_000]].concat());
    let rest = first.split_off(2_000);
    slow.send(&first).await;
    until("it has joined", || notes.present() == 1).await;
    drop((slow, rest));

    let mut silent = Client::open(&server, "/c").await;
    let code = loop {
        match silent.next().await {
            Got::Ping => silent.send(&client::frame(0x8a, b"")).await,
            Got::Close(code) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Some(1008), "whoever says nothing at all");
    until("all are gone", || server.connections() == 0).await;
}
