//! P4: hostile bytes cost the socket that sent them its frame or its connection, and nothing else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crdt_tests::admin::Admin;
use crdt_tests::cli::Cli;
use crdt_tests::hostile::{self, Frame};
use crdt_tests::js::{Client, Js, LATEST, State};
use crdt_tests::message::{self, Writer};
use crdt_tests::process;
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use serde_json::{Value, json};

/// What 5 bytes may make a server touch: nothing like the half gigabyte they ask for.
const MEMORY_BYTES_MAX: u64 = 64 << 20;

/// Two clients in the document under attack, who notice everything that is not as it should be.
struct Canaries<'js> {
    js: &'js Js,
    clients: [Client<'js>; 2],
    room: String,
    songs: u64,
}

impl<'js> Canaries<'js> {
    fn in_room(js: &'js Js, server: &Server, room: &str) -> Self {
        let clients = [0, 1].map(|_| js.open(LATEST, server, room));
        js.synced(&clients.each_ref());
        Self { js, clients, room: room.to_owned(), songs: 0 }
    }

    /// Each edits, the other sees it, and the server acks it.
    fn sing(&mut self, after: &str) {
        for (singer, listener) in [(0, 1), (1, 0)] {
            self.songs += 1;
            let song = json!(self.songs);
            let said = |what: &str, answer: Result<Value, String>| {
                answer.unwrap_or_else(|e| panic!("after {after:?} {what}: {e}"));
            };
            let patience = Duration::from_secs(15);
            let singer = json!({ "client": self.clients[singer].name, "code": "map.set('song', args)", "args": song });
            said("a canary cannot edit", self.js.try_call("run", singer.clone(), patience));
            let heard =
                json!({ "client": self.clients[listener].name, "code": "map.get('song') === args", "args": song });
            said("a canary does not see the other's edit", self.js.try_call("wait", heard, patience));
            let ack = json!({ "client": singer["client"] });
            said("a canary is not acked", self.js.try_call("ack", ack, patience));
        }
    }

    /// Never disconnected, nothing odd received, and the store holds what they hold.
    fn check(&self, server: &Server) -> State {
        let state = self.js.converged(&self.clients.each_ref());
        for client in &self.clients {
            assert_eq!(client.opens(), 1, "a canary was disconnected: {:?}", client.closes());
            assert_eq!(client.run("me.textFrames"), 0);
        }
        let exported = self.js.load(&Cli::of(server).export_update(&self.room));
        assert_eq!(exported.content, state.content, "the export differs from what the canaries hold");
        state
    }
}

/// Sends each frame on a fresh socket of the canaries' document; the canaries sing after each.
fn attack(frames: &[Frame], canaries_every: usize) {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let mut canaries = Canaries::in_room(&js, &server, "attacked");
    canaries.clients[0].run("text.insert(0, 'innocent'); array.push([1, 2, 3])");
    canaries.sing("nothing yet");
    let before = process::rss_bytes(server.pid());
    process::reset_peak(server.pid());
    let mut socket = Socket::greet(server.addr(), "attacked");
    for (number, (name, frame)) in frames.iter().enumerate() {
        if socket.closed.is_some() {
            socket = Socket::greet(server.addr(), "attacked");
        }
        socket.send(frame.clone());
        if number % canaries_every == 0 || number + 1 == frames.len() {
            // The attacker's own barrier, answered or not: the frame has been dealt with when the canaries sing.
            socket.send(message::ack(number as u64));
            let echo = message::ack(number as u64);
            while socket.next(Duration::from_secs(10)).is_some_and(|frame| frame != echo) {}
            server.assert_alive();
            canaries.sing(name);
        } else {
            socket.poll(); // only to notice a close
        }
    }
    let grown = process::peak_rss_bytes(server.pid()).saturating_sub(before);
    println!("{} frames, server memory grew by at most {} MB", frames.len(), grown >> 20);
    assert!(grown < MEMORY_BYTES_MAX, "hostile frames made the server's memory grow by {grown} bytes");
    let state = canaries.check(&server);
    drop((socket, canaries));

    // Nothing undecodable was stored: what is on disk opens, says the same, compacts, and says the same again.
    server.kill();
    server.restart();
    let cli = Cli::of(&server);
    for step in ["restarted", "compacted", "compacted and restarted"] {
        let fresh = js.open(LATEST, &server, "attacked");
        fresh.synced();
        let read = fresh.state();
        assert_eq!(read.content, state.content, "{step}");
        assert!(!read.pending, "{step}: a fresh client waits for something");
        assert_eq!(js.load(&cli.export_update("attacked")).content, state.content, "{step}");
        match step {
            "restarted" => drop(cli.done(&["compact", "attacked"])),
            "compacted" => {
                server.drain();
                server.restart();
            }
            _ => {}
        }
    }
}

#[test]
fn p4_broken_messages() {
    attack(&hostile::broken_messages(), 1);
}

#[test]
fn p4_lying_state_vectors_and_awareness() {
    attack(&[hostile::lying_state_vectors(), hostile::lying_awareness()].concat(), 1);
}

#[test]
fn p4_lying_updates() {
    attack(&hostile::lying_updates(), 1);
}

#[test]
fn p4_trapping_updates() {
    attack(&hostile::trapping_updates(), 20);
}

#[test]
fn p4_noise() {
    let seed = seed::seed("p4_noise");
    attack(&hostile::noise(&mut seed::rng(seed, 0), 4_000), 50);
}

/// Bytes that break the WebSocket protocol itself, and frames too large or of the wrong kind.
#[test]
fn p4_broken_websockets() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let mut canaries = Canaries::in_room(&js, &server, "attacked");
    let before = process::rss_bytes(server.pid());
    process::reset_peak(server.pid());

    let masked = |first: u8, len: &[u8], payload: &[u8]| [&[first], len, &[0, 0, 0, 0], payload].concat();
    let raw: Vec<(&str, Vec<u8>)> = vec![
        ("an unmasked frame", vec![0x82, 2, 0, 0]),
        ("reserved bits", masked(0xf2, &[0x82], &[3, 0])),
        ("a reserved opcode", masked(0x83, &[0x81], &[3])),
        ("a reserved control opcode", masked(0x8b, &[0x81], &[3])),
        ("a ping of 200 bytes", masked(0x89, &[0xfe, 0, 200], &[7; 200])),
        ("a fragmented ping", masked(0x09, &[0x81], &[7])),
        ("a continuation of nothing", masked(0x80, &[0x81], &[3])),
        ("a frame that claims 2^62 bytes", masked(0x82, &[0xff, 0x40, 0, 0, 0, 0, 0, 0, 0], &[0; 64])),
        ("a frame that claims 2^63 bytes", masked(0x82, &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], &[0; 64])),
        ("a frame that claims 1 GB", masked(0x82, &[0xff, 0, 0, 0, 0, 0x40, 0, 0, 0], &[0; 64])),
        ("a close frame of 1 byte", masked(0x88, &[0x81], &[3])),
        ("a close frame with code 1005", masked(0x88, &[0x82], &[0x03, 0xed])),
        ("text that is not UTF-8", masked(0x81, &[0x82], &[0xff, 0xff])),
        ("noise", (0..4_096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()),
    ];
    for (name, bytes) in &raw {
        let mut socket = Socket::connect(server.addr(), "attacked");
        socket.send_raw(bytes);
        // Every one of these is a violation that cannot be read past: the connection must end.
        let mut rest = Vec::new();
        socket.stream().set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
        let ended = socket.stream().read_to_end(&mut rest);
        let reset = |e: &std::io::Error| {
            matches!(e.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
        };
        assert!(ended.as_ref().is_ok() || ended.as_ref().is_err_and(reset), "{name}: still open: {ended:?}");
        canaries.sing(name);
    }

    // A message in fragments of one byte is legal.
    let mut writer = Writer::new(31);
    let honest = message::update(&writer.append("in pieces"));
    let mut socket = Socket::connect(server.addr(), "pieces");
    socket.pull(&[0]);
    for (at, byte) in honest.iter().enumerate() {
        let first = if at == 0 { 0x02 } else { 0x00 } | if at + 1 == honest.len() { 0x80 } else { 0x00 };
        socket.send_raw(&masked(first, &[0x81], &[*byte]));
        if at == honest.len() / 2 {
            socket.send_raw(&masked(0x89, &[0x81], &[9])); // a ping between fragments, also legal
        }
    }
    socket.ack();
    let fresh = js.open(LATEST, &server, "pieces");
    fresh.synced();
    assert_eq!(fresh.run("text.toString()"), "in pieces");

    // A text frame is not for documents: dropped or closed, never answered with text.
    let mut socket = Socket::greet(server.addr(), "attacked");
    socket.send_text("__YPS:hello");
    socket.send(message::ack(1));
    while socket.closed.is_none() && socket.next(Duration::from_secs(10)).is_some_and(|frame| frame != message::ack(1))
    {
    }
    canaries.sing("a text frame");

    // Far too large, really sent: the connection ends with a code, the memory does not follow.
    let mut socket = Socket::connect(server.addr(), "attacked");
    let header = masked(0x82, &[0xff, 0, 0, 0, 0, 0x10, 0, 0, 0], &[]); // 256 MiB
    socket.send_raw(&header);
    let block = vec![0u8; 1 << 20];
    for _ in 0..256 {
        if socket.stream().write_all(&block).is_err() {
            break;
        }
    }
    canaries.sing("256 MB in one frame");
    drop(socket);

    // Many bad messages on one socket end it, and with a code that stops a client that would only do it again (WIRE §6).
    let mut socket = Socket::greet(server.addr(), "attacked");
    for _ in 0..1_000 {
        socket.send([77, 77, 77]);
    }
    assert_eq!(socket.until_closed(Duration::from_secs(15)), Some(4400), "a thousand malformed messages");
    canaries.sing("a thousand malformed messages");

    let grown = process::peak_rss_bytes(server.pid()).saturating_sub(before);
    println!("server memory grew by at most {} MB", grown >> 20);
    assert!(grown < 2 * MEMORY_BYTES_MAX, "the server's memory grew by {grown} bytes");
    canaries.check(&server);
    server.assert_alive();
}

/// HTTP that is no HTTP, names that are no names, and handshakes that never end.
#[test]
fn p4_broken_handshakes() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let mut canaries = Canaries::in_room(&js, &server, "attacked");
    let addr = server.addr();
    let upgrade = |path: &str, more: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: weft\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let requests: Vec<(&str, Vec<u8>)> = vec![
        ("noise", vec![0x16, 0x03, 0x01, 0, 200, 1, 0, 0]),
        ("a request line of 1 MB", [b"GET /".to_vec(), vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n".to_vec()].concat()),
        ("headers of 1 MB", upgrade("/x", &format!("X-Big: {}\r\n", "x".repeat(1 << 20))).into_bytes()),
        ("10,000 headers", upgrade("/x", &"X-H: 1\r\n".repeat(10_000)).into_bytes()),
        ("a plain GET of a document", b"GET /attacked HTTP/1.1\r\nHost: weft\r\n\r\n".to_vec()),
        ("a POST", b"POST /attacked HTTP/1.1\r\nHost: weft\r\nContent-Length: 999999999999\r\n\r\n".to_vec()),
        ("a negative length", b"POST /attacked HTTP/1.1\r\nHost: weft\r\nContent-Length: -1\r\n\r\n".to_vec()),
        ("no key", b"GET /x HTTP/1.1\r\nHost: weft\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /x\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
    ];
    for (name, bytes) in &requests {
        let mut stream = TcpStream::connect(addr).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(15))).expect("a timeout");
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP/1.1 101"), "{name} was upgraded: {}", String::from_utf8_lossy(&answer));
        canaries.sing(name);
    }

    // Names that break contract 2.2. Some servers refuse the upgrade, weft may also accept and close for good (WIRE §6).
    for path in ["", "%00", "a%00b", "%ff%fe", &"x".repeat(513), &"%C3%A4".repeat(257)] {
        match Socket::try_connect(addr, path) {
            Err(_) => {}
            Ok(mut socket) => {
                socket.send(message::step1_empty());
                let code = socket.until_closed(Duration::from_secs(15));
                assert!(matches!(code, Some(4400..=4499)), "the name {path:?} was closed with {code:?}");
            }
        }
        canaries.sing(path);
    }
    let longest = "x".repeat(512);
    assert_eq!(Socket::connect(addr, &longest).pull(&[0]), [0, 0], "512 bytes are a name");

    // Half-open handshakes pile up and are dropped; nobody else waits for them.
    let half_open: Vec<TcpStream> = (0..300)
        .map(|_| {
            let mut stream = TcpStream::connect(addr).expect("connected");
            stream.write_all(b"GET /attacked HTTP/1.1\r\nHost: w").expect("sent");
            stream
        })
        .collect();
    canaries.sing("300 half-open handshakes");
    for mut stream in half_open {
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(
            !matches!(&ended, Err(e) if e.kind() == std::io::ErrorKind::WouldBlock),
            "a half-open handshake is still open"
        );
    }
    let metrics = Admin::of(&server).get("/metrics").text();
    let timeouts = metrics.lines().find_map(|line| line.strip_prefix("weft_connects_total{result=\"timeout\"} "));
    assert!(timeouts.and_then(|n| n.parse::<u64>().ok()) >= Some(300), "{timeouts:?} of 300 are counted");
    canaries.check(&server);
    server.assert_alive();
}
