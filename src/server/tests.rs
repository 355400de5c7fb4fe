//! The public listener over real loopback sockets, with documents that only take notes.

mod denials;
mod dialects;
mod ysweet;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::documents::{DocumentPeer, Documents};
use super::session::Timing;
use super::{Address, DrainFlag, Server, ServerOptions, Sessions, access};
use crate::auth::{Authority, Claims, DocPattern, Expected, Key, Keys, Revocations, SigningKey};
use crate::hub::{Backlog, Delivery, FrameKind, HubError, PeerSink, Readiness};
use crate::ids::{Access, DocName};
use crate::limits::{GARBAGE_MESSAGES_MAX, MESSAGE_BYTES_MAX, OUTBOX_BYTES_MAX, PINGS_PER_SECOND_MAX};

use crate::wire::close::CloseReason;
use crate::wire::dialect;
use crate::wire::frame::{self, client};
use crate::wire::lib0;
use crate::wire::message::ClientMessage;

/// Long enough for a loaded machine, short enough to fail a test.
const PATIENCE: Duration = Duration::from_secs(10);

// ---- documents that take notes ------------------------------------------------------------------------------------

#[derive(Clone)]
struct Notes(Arc<Inner>);

struct Inner {
    readiness: Mutex<Readiness>,
    refuse_join: Mutex<Option<HubError>>,
    /// One permit for each message that may enter.
    inbox: Semaphore,
    taken: Mutex<Vec<Vec<u8>>>,
    sinks: Mutex<HashMap<DocName, Arc<dyn PeerSink>>>,
    caught_up: AtomicUsize,
    present: AtomicUsize,
}

struct NotesPeer(Arc<Inner>);

impl Notes {
    fn new(inbox: usize) -> Self {
        Self(Arc::new(Inner {
            readiness: Mutex::new(Readiness::Ready),
            refuse_join: Mutex::default(),
            inbox: Semaphore::new(inbox),
            taken: Mutex::default(),
            sinks: Mutex::default(),
            caught_up: AtomicUsize::new(0),
            present: AtomicUsize::new(0),
        }))
    }

    fn taken(&self) -> Vec<Vec<u8>> {
        self.0.taken.lock().unwrap().clone()
    }

    fn sink(&self, doc: &str) -> Arc<dyn PeerSink> {
        self.0.sinks.lock().unwrap().get(doc).expect("nobody has joined this document").clone()
    }

    fn present(&self) -> usize {
        self.0.present.load(Ordering::SeqCst)
    }
}

impl Documents for Notes {
    type Peer = NotesPeer;

    fn join(
        &self,
        doc: &DocName,
        _: Access,
        _: dialect::Address,
        sink: Arc<dyn PeerSink>,
    ) -> Result<NotesPeer, HubError> {
        if let Some(error) = self.0.refuse_join.lock().unwrap().take() {
            return Err(error);
        }
        self.0.sinks.lock().unwrap().insert(doc.clone(), sink);
        self.0.present.fetch_add(1, Ordering::SeqCst);
        Ok(NotesPeer(self.0.clone()))
    }

    async fn open(&self, _: &DocName) -> Result<(), HubError> {
        self.0.refuse_join.lock().unwrap().take().map_or(Ok(()), Err)
    }

    async fn exists(&self, doc: &DocName) -> Result<(), HubError> {
        self.open(doc).await
    }

    async fn create(&self, doc: &DocName) -> Result<(), HubError> {
        self.open(doc).await
    }

    async fn state(&self, doc: &DocName) -> Result<Bytes, HubError> {
        Err(HubError::NoSuchDocument(doc.clone()))
    }

    async fn merge(&self, doc: &DocName, _: Bytes) -> Result<(), HubError> {
        self.open(doc).await
    }

    fn readiness(&self) -> Readiness {
        self.0.readiness.lock().unwrap().clone()
    }
}

impl DocumentPeer for NotesPeer {
    async fn send(&self, message: ClientMessage<'_>) -> Result<(), HubError> {
        if let ClientMessage::SyncStep1(_) = message {
            return Ok(());
        }
        self.0.inbox.acquire().await.unwrap().forget();
        let note = match message {
            ClientMessage::QueryAwareness => b"query".to_vec(),
            ClientMessage::AckRequest(bytes) | ClientMessage::Awareness(bytes) | ClientMessage::SyncStep2(bytes) => {
                bytes.to_vec()
            }
            other => panic!("the tests send no {other:?}"),
        };
        self.0.taken.lock().unwrap().push(note);
        Ok(())
    }

    fn caught_up(&self, _: bool) {
        self.0.caught_up.fetch_add(1, Ordering::SeqCst);
    }

    fn set_access(&self, _: Access) {}

    fn said_too_much(&self) {}

    fn note_backlog(&self, _: Backlog) {}
}

impl Drop for NotesPeer {
    fn drop(&mut self) {
        self.0.present.fetch_sub(1, Ordering::SeqCst);
    }
}

fn address() -> Address {
    Address::take(([127, 0, 0, 1], 0).into()).unwrap()
}

fn options() -> ServerOptions {
    ServerOptions { connections_max: 100, ..ServerOptions::open() }
}

fn start(notes: &Notes) -> Server {
    Server::start(address(), &options(), notes.clone(), Sessions::default(), DrainFlag::default()).unwrap()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

// ---- a client -----------------------------------------------------------------------------------------------------

/// RFC 6455 §1.3's example.
const HANDSHAKE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

struct Client(TcpStream);

#[derive(Debug, PartialEq, Eq)]
enum Got {
    Binary(Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>),
    Eof,
}

impl Client {
    /// Sends a request and gives the head of the answer.
    async fn request(server: &Server, path: &str, headers: &str, body: &[u8]) -> (Client, String) {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        let mut request = format!("GET {path} HTTP/1.1\r\nHost: weft\r\n{headers}\r\n").into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("no answer") {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        (Client(stream), String::from_utf8(head).unwrap())
    }

    /// A connection that has not said anything.
    async fn open(server: &Server, path: &str) -> Client {
        let (client, head) = Client::request(server, path, HANDSHAKE, b"").await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        client
    }

    /// A y-websocket client.
    async fn connect(server: &Server, path: &str) -> Client {
        let mut client = Client::open(server, path).await;
        client.send(&greeting()).await;
        client
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame of the server.
    async fn next(&mut self) -> Got {
        tokio::time::timeout(PATIENCE, self.next_inner()).await.expect("the server says nothing")
    }

    async fn next_inner(&mut self) -> Got {
        let Ok(first) = self.0.read_u8().await else { return Got::Eof };
        let len = match self.0.read_u8().await.unwrap() {
            126 => u64::from(self.0.read_u16().await.unwrap()),
            127 => self.0.read_u64().await.unwrap(),
            len => u64::from(len),
        };
        let mut payload = vec![0; len as usize];
        self.0.read_exact(&mut payload).await.unwrap();
        match first {
            0x82 => Got::Binary(payload),
            0x88 => Got::Close(payload.first_chunk().map(|code| u16::from_be_bytes(*code))),
            0x89 => Got::Ping,
            0x8a => Got::Pong(payload),
            other => panic!("an unexpected frame {other:#x}"),
        }
    }
}

/// An awareness message, and what the notes take down of it: the presence of one client, in about `len` bytes.
fn presence(clock: u8, len: usize) -> (Vec<u8>, Vec<u8>) {
    let state = format!("{{\"name\":\"{}\"}}", "x".repeat(len));
    let mut entries = vec![1, 7, clock];
    lib0::write_var_bytes(&mut entries, state.as_bytes());
    let mut message = vec![1];
    lib0::write_var_bytes(&mut message, &entries);
    (client::binary(&message), entries)
}

/// What a y-websocket client begins with, of which the notes take none.
fn greeting() -> Vec<u8> {
    client::binary(&[0, 0, 1, 0])
}

/// A message of at most 16 bytes that the notes take down as `tag`.
fn note(tag: &[u8]) -> Vec<u8> {
    let mut message = vec![102, tag.len() as u8];
    message.extend_from_slice(tag);
    client::binary(&message)
}

// ---- handshake and routes -----------------------------------------------------------------------------------------

#[tokio::test]
async fn the_handshake_is_answered_and_the_path_names_the_document() {
    let notes = Notes::new(10);
    let server = start(&notes);
    let offered = format!("{HANDSHAKE}Sec-WebSocket-Protocol: yauth-abc, other\r\n");
    // The first message comes in one piece with the handshake.
    let (_client, head) =
        Client::request(&server, "/notes/a%20b%2Fc?token=x", &offered, &[greeting(), note(b"early")].concat()).await;
    let head = head.to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"), "{head}");
    assert!(head.contains("sec-websocket-protocol: yauth-abc\r\n"), "{head}");
    until("the early message has come", || notes.taken() == [b"early"]).await;
    notes.sink("notes/a b/c");
}

#[tokio::test]
async fn paths_can_be_kept_raw() {
    let notes = Notes::new(10);
    let options = ServerOptions { path_decode: false, ..options() };
    let server = Server::start(address(), &options, notes.clone(), Sessions::default(), DrainFlag::default()).unwrap();
    let _client = Client::connect(&server, "/a%20b").await;
    until("the client has joined", || notes.present() == 1).await;
    notes.sink("a%20b");
}

#[tokio::test]
async fn bad_handshakes_and_plain_requests_get_a_status() {
    let notes = Notes::new(0);
    let server = start(&notes);
    for (path, headers, status) in [
        ("/", "", 200),
        ("/health", "", 200),
        ("/ready", "", 200),
        ("/document", "", 426),
        ("/document", &*HANDSHAKE.replace("13", "8"), 426),
        ("/document", &*HANDSHAKE.replace("Upgrade\r\n", "close\r\n"), 400),
        ("/document", &*HANDSHAKE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 400),
        ("/document", &*HANDSHAKE.replace("Key", "Clef"), 400),
    ] {
        let (_, head) = Client::request(&server, path, headers, b"").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {headers}: {head}");
    }
    // A document may be called like a route.
    let _client = Client::connect(&server, "/health").await;
    until("the client has joined", || notes.present() == 1).await;

    // When storage has failed reading goes on (S7); only a drain turns clients away.
    let failed = Readiness::StorageFailed("disk full".into());
    for (readiness, upgrade) in [(failed, 101), (Readiness::Draining, 503)] {
        *notes.0.readiness.lock().unwrap() = readiness;
        for (path, headers, status) in [("/health", "", 200), ("/ready", "", 503), ("/document", HANDSHAKE, upgrade)] {
            let (_, head) = Client::request(&server, path, headers, b"").await;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {head}");
        }
    }
}

#[tokio::test]
async fn the_demo_is_served_where_it_is_on_and_a_document_may_be_called_like_its_files() {
    let notes = Notes::new(0);
    for (demo, page, script) in [(true, "text/html", 200), (false, "text/plain", 426)] {
        let options = ServerOptions { demo, ..options() };
        let sessions = Sessions::default();
        let server = Server::start(address(), &options, notes.clone(), sessions, DrainFlag::default()).unwrap();
        let (_, head) = Client::request(&server, "/?doc=welcome", "", b"").await;
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains(&format!("content-type: {page}")), "{head}");
        let (_, head) = Client::request(&server, "/demo.js", "", b"").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {script} ")), "{head}");
        let present = notes.present();
        let _client = Client::connect(&server, "/demo.js").await;
        until("the client has joined", || notes.present() == present + 1).await;
    }
}

#[tokio::test]
async fn connections_over_the_cap_are_turned_away_and_places_come_back() {
    let notes = Notes::new(0);
    let options = ServerOptions { connections_max: 1, ..options() };
    let server = Server::start(address(), &options, notes.clone(), Sessions::default(), DrainFlag::default()).unwrap();
    let client = Client::connect(&server, "/a").await;
    assert_eq!(server.connections(), 1);
    let mut refused = TcpStream::connect(server.local_addr()).await.unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(client);
    until("the place is free", || server.connections() == 0).await;
    let _client = Client::connect(&server, "/a").await;
}

#[tokio::test]
async fn g6_a_bad_name_is_accepted_then_closed_4400() {
    let notes = Notes::new(0);
    let server = start(&notes);
    for path in ["/", "/a%00b", "/%ff", &format!("/{}", "x".repeat(513))] {
        let mut client = Client::connect(&server, path).await;
        assert_eq!(client.next().await, Got::Close(Some(4400)), "{path}");
    }
    assert_eq!(notes.present(), 0);
}

#[tokio::test]
async fn a_document_that_cannot_be_joined_closes_the_connection() {
    let notes = Notes::new(0);
    let server = start(&notes);
    for (error, code) in [(HubError::Draining, 1012), (HubError::Storage("x".into()), 1013)] {
        *notes.0.refuse_join.lock().unwrap() = Some(error);
        let mut client = Client::connect(&server, "/a").await;
        assert_eq!(client.next().await, Got::Close(Some(code)));
    }
}

// ---- messages -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn messages_arrive_in_order_however_they_are_cut() {
    let notes = Notes::new(1_000);
    let server = start(&notes);
    let mut client = Client::connect(&server, "/a").await;
    let (frames, notes_of): (Vec<_>, Vec<_>) = (0..100).map(|i| presence(i, usize::from(i) * 9)).unzip();
    for piece in frames.concat().chunks(97) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
    until("all have come", || notes.taken().len() == 100).await;
    assert_eq!(notes.taken(), notes_of);
}

#[tokio::test]
async fn a_full_inbox_holds_the_client_back_but_not_what_it_is_told() {
    let notes = Notes::new(1);
    let server = start(&notes);
    let mut client = Client::connect(&server, "/a").await;
    let tags: Vec<Vec<u8>> = (0..5u8).map(|i| vec![i]).collect();
    client.send(&tags.iter().flat_map(|tag| note(tag)).collect::<Vec<u8>>()).await;
    client.send(&client::frame(0x89, b"ping")).await;
    until("the first has come", || notes.taken().len() == 1).await;
    notes.sink("a").deliver(&frame::binary(&[b"news"]), FrameKind::Document);
    assert_eq!(client.next().await, Got::Binary(b"news".to_vec()));
    assert_eq!(notes.taken().len(), 1);
    notes.0.inbox.add_permits(10);
    assert_eq!(client.next().await, Got::Pong(b"ping".to_vec()));
    assert_eq!(notes.taken(), tags);
}

#[tokio::test]
async fn a_slow_reader_falls_behind_and_catches_up_once() {
    let notes = Notes::new(0);
    let server = start(&notes);
    let mut client = Client::connect(&server, "/a").await;
    until("the client has joined", || notes.present() == 1).await;
    let sink = notes.sink("a");
    let big = frame::binary(&[&[7; 64 << 10]]);
    let mut taken = 0;
    while sink.deliver(&big, FrameKind::Document) != Delivery::Behind {
        taken += 1;
        assert!(taken < 10_000, "the socket never fills");
    }
    sink.deliver(&frame::binary(&[b"control"]), FrameKind::Control);
    assert_eq!(notes.0.caught_up.load(Ordering::SeqCst), 0);

    // What had left for the kernel, at least, arrives whole; then control; what was dropped does not.
    let mut arrived = 0;
    loop {
        match client.next().await {
            Got::Binary(payload) if payload == b"control" => break,
            Got::Binary(payload) => {
                assert!(payload == [7; 64 << 10]);
                arrived += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(arrived < taken && arrived + OUTBOX_BYTES_MAX / big.len() + 1 >= taken, "{arrived} of {taken}");
    until("the document is told", || notes.0.caught_up.load(Ordering::SeqCst) == 1).await;
    assert_eq!(sink.deliver(&big, FrameKind::Awareness), Delivery::Behind);
    sink.deliver(&frame::binary(&[b"diff"]), FrameKind::Answer);
    sink.deliver(&frame::binary(&[b"more"]), FrameKind::Document);
    assert_eq!(client.next().await, Got::Binary(b"diff".to_vec()));
    assert_eq!(client.next().await, Got::Binary(b"more".to_vec()));
    assert_eq!(notes.0.caught_up.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_large_answer_leaves_whole_through_a_slow_socket() {
    let notes = Notes::new(0);
    let server = start(&notes);
    let mut client = Client::connect(&server, "/a").await;
    until("the client has joined", || notes.present() == 1).await;
    let payload: Vec<u8> = (0..20 << 20).map(|i: u32| i.to_le_bytes()[i as usize % 3]).collect();
    notes.sink("a").deliver(&frame::binary(&[&payload]), FrameKind::Answer);
    notes.sink("a").deliver(&frame::binary(&[b"after"]), FrameKind::Control);
    assert!(client.next().await == Got::Binary(payload));
    assert_eq!(client.next().await, Got::Binary(b"after".to_vec()));
}

#[tokio::test]
async fn garbage_costs_its_frame_and_too_much_of_it_the_connection() {
    let notes = Notes::new(10);
    let server = start(&notes);
    let mut client = Client::connect(&server, "/a").await;
    for i in 0..GARBAGE_MESSAGES_MAX {
        let text = i % 2 == 0;
        client.send(&if text { client::frame(0x81, b"hello") } else { client::binary(b"\x63garbage") }).await;
    }
    client.send(&note(b"still here")).await;
    until("the good message has come", || notes.taken() == [b"still here"]).await;
    client.send(&client::binary(b"")).await;
    assert_eq!(client.next().await, Got::Close(Some(4400)));
}

#[tokio::test]
async fn protocol_errors_are_closed_with_their_code_g7() {
    let notes = Notes::new(10);
    let server = start(&notes);
    let too_large = {
        let mut head = vec![0x82, 0x80 | 127];
        head.extend_from_slice(&(MESSAGE_BYTES_MAX as u64 + 1).to_be_bytes());
        head.extend_from_slice(&client::MASK);
        head
    };
    for (bytes, code) in
        [(frame::binary(&[b"unmasked"]).to_vec(), 1002), (client::frame(0x81, &[0xff]), 1007), (too_large, 4413)]
    {
        let mut client = Client::connect(&server, "/a").await;
        client.send(&bytes).await;
        assert_eq!(client.next().await, Got::Close(Some(code)));
        // Frame boundaries are lost, so the server ends its stream without waiting for our close frame.
        assert_eq!(client.next().await, Got::Eof);
    }
}

// ---- the end ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn closing_is_answered_both_ways_and_leaves_the_document() {
    let notes = Notes::new(10);
    let server = start(&notes);

    for (sent, answered) in [(&[0x0f, 0xa1][..], Some(4001)), (&[], None)] {
        let mut client = Client::connect(&server, "/a").await;
        until("the client has joined", || notes.present() == 1).await;
        client.send(&client::frame(0x88, sent)).await;
        assert_eq!(client.next().await, Got::Close(answered));
        assert_eq!(client.next().await, Got::Eof);
        until("the client has left", || notes.present() == 0 && server.connections() == 0).await;
    }

    let mut client = Client::connect(&server, "/a").await;
    until("the client has joined", || notes.present() == 1).await;
    let sink = notes.sink("a");
    sink.deliver(&frame::binary(&[b"last"]), FrameKind::Document);
    sink.close(CloseReason::Reload);
    sink.close(CloseReason::Garbage);
    assert_eq!(sink.deliver(&frame::binary(&[b"late"]), FrameKind::Document), Delivery::Closed);
    assert_eq!(client.next().await, Got::Binary(b"last".to_vec()));
    assert_eq!(client.next().await, Got::Close(Some(1012)));
    until("the client has left", || notes.present() == 0).await;
    assert_eq!(server.connections(), 1, "the socket waits for the client's answer");
    client.send(&[note(b"late"), client::frame(0x88, &[0x03, 0xf4])].concat()).await;
    assert_eq!(client.next().await, Got::Eof);
    until("the socket is gone", || server.connections() == 0).await;
    assert!(notes.taken().is_empty());
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_the_document() {
    let notes = Notes::new(10);
    let server = start(&notes);
    let client = Client::connect(&server, "/a").await;
    until("the client has joined", || notes.present() == 1).await;
    drop(client);
    until("the client has left", || notes.present() == 0 && server.connections() == 0).await;
    assert_eq!(notes.sink("a").deliver(&frame::binary(&[b"x"]), FrameKind::Document), Delivery::Closed);
}

#[tokio::test]
async fn draining_spreads_its_closes_and_refuses_newcomers() {
    let notes = Notes::new(10);
    let server = start(&notes);
    let mut clients = Vec::new();
    for i in 0..10 {
        clients.push(Client::connect(&server, &format!("/{i}")).await);
    }
    until("all have joined", || notes.present() == 10).await;
    let addr = server.local_addr();
    let began = Instant::now();
    let draining = tokio::spawn(server.drain(Duration::from_millis(500)));
    let mut leaving = Vec::new();
    for mut client in clients {
        leaving.push(tokio::spawn(async move {
            assert_eq!(client.next().await, Got::Close(Some(1012)));
            client.send(&client::frame(0x88, &[0x03, 0xf4])).await;
            began.elapsed()
        }));
    }
    let mut times = Vec::new();
    for client in leaving {
        times.push(client.await.unwrap());
    }
    draining.await.unwrap();
    times.sort();
    assert!(times[0] < Duration::from_millis(300) && times[9] > Duration::from_millis(300), "{times:?}");
    assert!(TcpStream::connect(addr).await.is_err());
    assert_eq!(notes.present(), 0);
}

// ---- time ---------------------------------------------------------------------------------------------------------

static FAST: Timing = Timing {
    keepalive: Duration::from_millis(200),
    ack_silence: Duration::from_millis(50),
    ping: Duration::from_millis(350),
    stall: Duration::from_millis(600),
    close: Duration::from_millis(300),
    hold: (Duration::from_millis(300), Duration::from_millis(600)),
    first: Duration::from_millis(400),
    greeting: Duration::from_millis(100),
    auth: Duration::from_millis(400),
    renewal: Duration::from_millis(900),
};

fn start_fast(notes: &Notes) -> Server {
    Server::start_with(address(), &options(), notes.clone(), Sessions::default(), DrainFlag::default(), &FAST).unwrap()
}

#[tokio::test]
async fn g4_silence_is_broken_and_a_client_without_pongs_is_dropped() {
    let notes = Notes::new(10);
    let server = start_fast(&notes);
    let mut client = Client::connect(&server, "/a").await;
    let (began, mut keepalives, mut pings) = (Instant::now(), 0, 0);
    loop {
        match client.next().await {
            Got::Binary(payload) => {
                assert_eq!(payload, crate::wire::ywebsocket::KEEPALIVE);
                keepalives += 1;
            }
            Got::Ping => pings += 1,
            Got::Eof => break,
            other => panic!("{other:?}"),
        }
    }
    // Pings at 350 and 700 ms go unanswered; at 1,050 ms nothing has been heard since the first.
    assert_eq!(pings, 2);
    assert!((2..=5).contains(&keepalives), "{keepalives} keep-alives");
    assert!(began.elapsed() >= Duration::from_millis(1_000), "{:?}", began.elapsed());
    until("the client has left", || notes.present() == 0).await;
}

#[tokio::test]
async fn g4_pongs_do_not_count_as_messages() {
    let notes = Notes::new(10);
    let server = start_fast(&notes);
    let mut client = Client::connect(&server, "/a").await;
    let (began, mut keepalives) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_millis(700) {
        client.send(&client::frame(0x89, b"")).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        while let Ok(got) = tokio::time::timeout(Duration::from_millis(5), client.next_inner()).await {
            keepalives += usize::from(got == Got::Binary(crate::wire::ywebsocket::KEEPALIVE.to_vec()));
        }
    }
    assert!(keepalives >= 2, "{keepalives} keep-alives");
}

#[tokio::test]
async fn whoever_answers_pings_stays() {
    let notes = Notes::new(10);
    let server = start_fast(&notes);
    let mut client = Client::connect(&server, "/a").await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1_800) {
        match client.next().await {
            Got::Ping => client.send(&client::frame(0x8a, b"")).await,
            Got::Binary(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(notes.present(), 1);
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_dropped() {
    let notes = Notes::new(10);
    let server = start_fast(&notes);
    let _client = Client::connect(&server, "/a").await;
    until("the client has joined", || notes.present() == 1).await;
    // More than the kernel will ever buffer for a loopback socket.
    notes.sink("a").deliver(&frame::binary(&[&vec![0; 64 << 20]]), FrameKind::Answer);
    until("the client is dropped", || notes.present() == 0 && server.connections() == 0).await;
}

#[tokio::test]
async fn a_client_that_does_not_answer_a_close_is_not_waited_for() {
    let notes = Notes::new(10);
    let server = start_fast(&notes);
    let mut client = Client::connect(&server, "/a").await;
    until("the client has joined", || notes.present() == 1).await;
    notes.sink("a").close(CloseReason::Overloaded);
    assert_eq!(client.next().await, Got::Close(Some(1013)));
    assert_eq!(client.next().await, Got::Eof);
}

#[tokio::test]
async fn pings_are_answered_within_bounds() {
    let notes = Notes::new(10);
    let server = start(&notes);
    let mut client = Client::connect(&server, "/a").await;
    let flood: Vec<u8> = (0..50u8).flat_map(|i| client::frame(0x89, &[i])).collect();
    client.send(&flood).await;
    for i in 0..PINGS_PER_SECOND_MAX {
        assert_eq!(client.next().await, Got::Pong(vec![i as u8]));
    }
    client.send(&note(b"after")).await;
    until("the message behind has come", || notes.taken() == [b"after"]).await;
    let quiet = tokio::time::timeout(Duration::from_millis(50), client.next_inner()).await;
    assert!(quiet.is_err(), "{quiet:?}");
}

/// A shared frame is not copied for a reader that is slow.
#[tokio::test]
async fn queued_frames_are_shared() {
    let notes = Notes::new(0);
    let server = start(&notes);
    let _client = Client::connect(&server, "/a").await;
    until("the client has joined", || notes.present() == 1).await;
    let sink = notes.sink("a");
    let answer = frame::binary(&[&vec![0; 64 << 20]]);
    sink.deliver(&answer, FrameKind::Answer);
    let queued = Bytes::from(vec![0x82, 1, 9]);
    assert_eq!(sink.deliver(&queued, FrameKind::Control), Delivery::Taken);
    assert!(!queued.is_unique());
}

// ---- access -------------------------------------------------------------------------------------------------------

const SECRET: &[u8] = b"correct horse battery staple, twice over";

fn start_guarded(notes: &Notes) -> Server {
    let keys = Keys::new(vec![Key::secret(SECRET).unwrap()]).unwrap();
    let authority = Arc::new(Authority::new(keys, Expected::default(), Revocations::none()));
    let options = ServerOptions { authority: Some(authority), ..options() };
    Server::start_with(address(), &options, notes.clone(), Sessions::default(), DrainFlag::default(), &FAST).unwrap()
}

/// A token for `doc` that is taken for `good_s` more seconds.
fn token(doc: &str, good_s: u64) -> String {
    let claims = Claims {
        subject: None,
        docs: vec![DocPattern::parse(doc).unwrap()],
        access: Access::Write,
        admin: false,
        issued_s: None,
        begins_s: None,
        expires_s: access::now_s() + good_s - crate::limits::TOKEN_LEEWAY_S,
        audience: Vec::new(),
        issuer: None,
    };
    SigningKey::secret(SECRET).unwrap().sign(&claims, None).unwrap()
}
