//! P4, HARDENING §2: who wants more than its share is slowed, then sent away; others notice nothing, and who is honest is
//! never slowed at all.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crdt_tests::admin::Admin;
use crdt_tests::hocuspocus::{self, Line};
use crdt_tests::js::{Client, HOCUSPOCUS, Js, Kind, LATEST, YSWEET};
use crdt_tests::load::dialect;
use crdt_tests::message::{self, Writer};
use crdt_tests::process;
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::Secret;
use crdt_tests::wait::{PATIENCE, until};
use serde_json::json;
use weft::ids::Access;

use super::ysweet;

/// A sample of the metrics.
fn metric(admin: &Admin, sample: &str) -> f64 {
    let text = admin.get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')).map(str::parse);
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).expect("a number")
}

fn over_budget(admin: &Admin, per: &str, budget: &str, action: &str) -> f64 {
    metric(admin, &format!("weft_over_budget_total{{per=\"{per}\",budget=\"{budget}\",action=\"{action}\"}}"))
}

/// Everything that was slowed, closed or refused, whoever it was.
fn all_over_budget(admin: &Admin) -> Vec<String> {
    let text = admin.get("/metrics").text();
    let over = text.lines().filter(|line| line.starts_with("weft_over_budget_total{") && !line.ends_with(" 0"));
    over.map(str::to_owned).collect()
}

/// Writes to one document until told to stop or sent away; gives the close code, and counts what went into the socket.
fn flood(
    addr: SocketAddr,
    doc: &str,
    frames: impl Fn(u64) -> Vec<u8>,
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> Option<u16> {
    let mut socket = Socket::connect(addr, doc);
    socket.pull(&[0]);
    socket.stream().set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let frame = frames(number);
        let mut frame = &dialect::frame(&[], &frame)[..];
        while !frame.is_empty() && !stop.load(Ordering::Relaxed) {
            // Slowed, a write times out: the socket is full.
            match (&mut socket.stream()).write(frame) {
                Ok(taken) => frame = frame.get(taken..).unwrap_or_default(),
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    socket.poll();
                }
                Err(_) => socket.poll(),
            }
            if let Some(code) = socket.closed {
                return code;
            }
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    None
}

/// Edits of one and the other, each seen by the other; gives the longest time that took.
fn sing(clients: &[Client<'_>; 2], rounds: u64) -> Duration {
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        for (singer, listener) in [(0, 1), (1, 0)] {
            let start = Instant::now();
            clients[singer].run_with("map.set('song', args)", json!([round, singer]));
            clients[listener]
                .wait_with("JSON.stringify(map.get('song')) === JSON.stringify(args)", json!([round, singer]));
            slowest = slowest.max(start.elapsed());
        }
        clients[0].ack();
    }
    slowest
}

/// WIRE §6, rate limited: back-pressure first; who goes on is closed with 1013, and is no better off for coming back.
#[test]
fn w6_a_flood_is_slowed_then_sent_away_and_its_room_goes_on() {
    let data = DataDir::new();
    let rates = "messages=100";
    let server =
        Options::new(data.path()).arg("--rate-per-connection").arg(rates).arg("--rate-patience").arg("3s").start();
    let (admin, js) = (Admin::of(&server), Js::start());
    let clients = [0, 1].map(|_| js.open(LATEST, &server, "flooded"));
    js.synced(&clients.each_ref());
    let addr = server.addr();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    // Of a kilobyte each, or one read alone would hold more of them than a minute's worth.
    let state = format!("{:?}", "x".repeat(1_000));
    let presence = |number| message::awareness(&[(77, number + 1, &state)]);
    std::thread::scope(|scope| {
        let flooded = scope.spawn(|| flood(addr, "flooded", presence, &stop, &sent));
        until("the flood is slowed", PATIENCE, || {
            (over_budget(&admin, "connection", "messages", "slowed") >= 1.0).then_some(())
        });
        let slowest = sing(&clients, 10);
        assert!(slowest < Duration::from_secs(2), "an edit took {slowest:?} beside a flood");
        assert_eq!(flooded.join().expect("it ends"), Some(1013));
    });
    assert_eq!(over_budget(&admin, "connection", "messages", "closed"), 1.0);
    assert_eq!(metric(&admin, "weft_disconnects_total{code=\"1013\",reason=\"over-budget\"}"), 1.0);
    // A minute's worth at once, and the rate for the six seconds or so that it was borne with; a read that has begun counts.
    let received = metric(&admin, "weft_received_messages_total");
    assert!((6_000.0..24_000.0).contains(&received), "{received} messages");
    // Without its burst it is slowed at once.
    let again = std::thread::scope(|scope| {
        let flooded = scope.spawn(|| flood(addr, "flooded", presence, &stop, &sent));
        let before = metric(&admin, "weft_received_messages_total");
        assert_eq!(flooded.join().expect("it ends"), Some(1013));
        metric(&admin, "weft_received_messages_total") - before
    });
    assert!(again < received / 2.0, "{again} messages after {received}");
    sing(&clients, 3);
    assert!(clients.iter().all(|client| client.opens() == 1), "a neighbour was disconnected");
}

/// g-s2, WIRE §6: y-sweet's client gives its connection up when it hears nothing for 3 s after it has asked whether it is saved, and
/// would come back with all of it; slowed, it is kept patient, and saved in the end.
#[test]
fn w6_a_slowed_y_sweet_client_stays_and_is_saved() {
    let data = DataDir::new();
    let server = Options::new(data.path()).arg("--rate-per-connection").arg("messages=20").start();
    let (admin, js) = (Admin::of(&server), Js::start());
    let client = ysweet::open(&js, &server, "slowed");
    client.synced();
    // An edit and a question about it each: seven hundred more messages than a minute's worth, at twenty a second… and a few
    // more seconds than its patience.
    client.run("for (let i = 0; i < 700; i++) text.insert(0, 'x')");
    until("it is slowed", PATIENCE, || (over_budget(&admin, "connection", "messages", "slowed") >= 1.0).then_some(()));
    ysweet::saved(&client);
    assert_eq!((client.opens(), client.closes().len()), (1, 0), "it gave its connection up");
    let other = js.open(LATEST, &server, "slowed");
    other.synced();
    assert_eq!(other.run("text.length"), 700);
}

/// Every kind is limited, and told apart.
#[test]
fn p4_each_budget_slows_its_own_kind_of_flood() {
    let data = DataDir::new();
    let rates = "messages=off,bytes=off,structs=off,cpu-ms=off,opens=off";
    for (kind, rate) in [("bytes", "100000"), ("structs", "1000"), ("cpu-ms", "2")] {
        let rates = format!("{rates},{kind}={rate}");
        let server = Options::new(data.path()).arg("--rate-per-connection").arg(rates).start();
        let admin = Admin::of(&server);
        let addr = server.addr();
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let writers: Vec<Vec<u8>> = {
            let mut writer = Writer::new(1 + rate.len() as u64);
            (0..20_000).map(|n| message::update(&writer.append(&format!("{n} {}", "much of it ".repeat(40))))).collect()
        };
        let edits = |number: u64| writers[number as usize % writers.len()].clone();
        std::thread::scope(|scope| {
            let flooded = scope.spawn(|| flood(addr, "much", edits, &stop, &sent));
            until(kind, PATIENCE, || (over_budget(&admin, "connection", kind, "slowed") >= 1.0).then_some(()));
            stop.store(true, Ordering::Relaxed);
            assert_eq!(flooded.join().expect("it ends"), None, "it was not borne with for long yet");
        });
        let over = all_over_budget(&admin);
        assert!(over.len() == 1 && over[0].contains(kind), "{over:?}");
    }
}

/// Stock clients that paste, come back with a day's edits, and come many from one address: none of them is ever slowed.
#[test]
fn p4_honest_clients_are_never_slowed_by_default() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let (admin, js) = (Admin::of(&server), Js::start());
    let [a, b] = [0, 1].map(|_| js.open(LATEST, &server, "honest"));
    js.synced(&[&a, &b]);
    a.run("text.insert(0, 'pasted '.repeat(4 << 20))");
    a.ack();
    b.wait("text.length === 7 * (4 << 20)");
    b.disconnect();
    b.run("for (let i = 0; i < 10000; i++) map.set('offline' + i % 100, i)");
    b.connect();
    b.synced();
    // Each by itself, as fast as they go.
    b.run("for (let i = 0; i < 10000; i++) map.set('typed', i)");
    b.ack();
    a.wait("map.get('typed') === 9999 && map.get('offline99') === 9999");
    let crowd: Vec<Client<'_>> = (0..30).map(|_| js.open(LATEST, &server, "honest room")).collect();
    js.synced(&crowd.iter().collect::<Vec<_>>());
    for client in &crowd {
        client.run("awareness.setLocalStateField('user', { name: 'somebody' }); text.insert(0, 'x')");
    }
    crowd[0].wait("text.length === 30");
    assert_eq!(all_over_budget(&admin), Vec::<String>::new());
}

/// A WebSocket of somebody behind a proxy, or the status that it got instead.
fn connect_from(server: &Server, doc: &str, from: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(server.addr()).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    write!(stream, "GET /{doc} HTTP/1.1\r\nHost: weft\r\n{from}{handshake}\r\n\r\n").expect("writes");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).expect("an answer") == 0 {
            break;
        }
        head.extend_from_slice(&byte);
    }
    let head = String::from_utf8(head).expect("a head");
    if !head.starts_with("HTTP/1.1 101") {
        return Err(head);
    }
    say(&stream, &message::step1_empty());
    Ok(stream)
}

fn say(stream: &TcpStream, message: &[u8]) {
    let mut stream = stream;
    stream.write_all(&dialect::frame(&[], message)).expect("writes");
}

/// What one address may have, it has in all its connections together; which address that is, a declared proxy says. Who
/// comes from loopback, and whom the proxy does not name, is not counted.
#[test]
fn p4_an_address_has_its_share_and_no_more() {
    let data = DataDir::new();
    let server = ["--trusted-proxy", "127.0.0.1", "--max-connections-per-address", "2"]
        .iter()
        .chain(&["--rate-per-address", "messages=5,opens=1"])
        .fold(Options::new(data.path()), |options, arg| options.arg(*arg))
        .start();
    let admin = Admin::of(&server);
    let from = |address: &str| format!("X-Forwarded-For: {address}\r\n");
    let mut ada = vec![connect_from(&server, "a", &from("192.0.2.1")).expect("the first")];
    ada.push(connect_from(&server, "b", &from("192.0.2.1")).expect("the second"));
    let refused = connect_from(&server, "c", &from("192.0.2.1")).expect_err("the third of two");
    assert!(refused.starts_with("HTTP/1.1 503") && refused.to_lowercase().contains("retry-after"), "{refused}");
    assert_eq!(over_budget(&admin, "address", "connections", "refused"), 1.0);
    let bob = connect_from(&server, "a", &from("192.0.2.2")).expect("another address");
    let nobody: Vec<TcpStream> = (0..5).map(|_| connect_from(&server, "a", "").expect("loopback")).collect();
    drop(ada.pop());
    let mut back = until("there is a place again", PATIENCE, || connect_from(&server, "b", &from("192.0.2.1")).ok());

    // Both of the same address draw from the same minute's worth of 300.
    for stream in [&ada[0], &back] {
        for _ in 0..200 {
            say(stream, &[1, 1, 0]);
        }
    }
    until("they are slowed", PATIENCE, || (over_budget(&admin, "address", "messages", "slowed") >= 1.0).then_some(()));
    for _ in 0..200 {
        say(&bob, &[1, 1, 0]);
        say(&nobody[0], &[1, 1, 0]);
    }
    say(&bob, &message::ack(7));
    let mut bob = bob;
    let mut heard = Vec::new();
    while !heard.windows(3).any(|window| window == message::ack(7)) {
        let mut piece = [0; 1024];
        let taken = bob.read(&mut piece).expect("bob is answered");
        assert!(taken > 0, "bob was sent away");
        heard.extend_from_slice(&piece[..taken]);
    }
    // And to come and go costs as well: a minute's worth is 60.
    let mut came = 0;
    let refused = loop {
        drop(back);
        match until("a place or none", PATIENCE, || match connect_from(&server, "b", &from("192.0.2.1")) {
            Err(_) if over_budget(&admin, "address", "opens", "refused") == 0.0 => None,
            other => Some(other),
        }) {
            Ok(stream) => back = stream,
            Err(refused) => break refused,
        }
        came += 1;
        assert!(came < 200, "nobody counts who comes and goes");
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
}

/// What is asked by HTTP is of the same share: it is answered later, and not at all for who does not stop asking.
#[test]
fn p4_what_is_asked_by_http_is_part_of_a_share() {
    let data = DataDir::new();
    let server = ["--trusted-proxy", "127.0.0.1", "--rate-per-address", "messages=1", "--rate-patience", "2s"]
        .iter()
        .fold(Options::new(data.path()), |options, arg| options.arg(*arg))
        .start();
    let (admin, addr) = (Admin::of(&server), server.addr());
    let ask = move |from: &str| {
        let mut stream = TcpStream::connect(addr).expect("connects");
        let headers = format!("Host: 127.0.0.1\r\nX-Forwarded-For: {from}\r\nConnection: close");
        write!(stream, "GET /d/none/as-update HTTP/1.1\r\n{headers}\r\n\r\n").expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer.get(9..12).map(str::to_owned).expect("a status")
    };
    for _ in 0..60 {
        assert_eq!(ask("192.0.2.1"), "404");
    }
    let crowd: Vec<_> = (0..12).map(|_| std::thread::spawn(move || ask("192.0.2.1"))).collect();
    let statuses: Vec<String> = crowd.into_iter().map(|one| one.join().expect("it is answered")).collect();
    assert!(statuses.iter().all(|status| status == "404" || status == "429"), "{statuses:?}");
    assert!(statuses.iter().any(|status| status == "429"), "{statuses:?}");
    assert!(over_budget(&admin, "address", "messages", "slowed") >= 1.0);
    assert!(over_budget(&admin, "address", "messages", "closed") >= 1.0);
    assert_eq!(ask("192.0.2.2"), "404");
}

/// The same for a user, whatever the address: by the subject of its token, in every dialect.
#[test]
fn p4_a_user_has_its_share_and_no_more() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = ["--max-connections-per-user", "2", "--rate-per-user", "messages=5"]
        .iter()
        .fold(secret.options(&data), |options, arg| options.arg(*arg))
        .start();
    let (admin, js) = (Admin::of(&server), Js::start());
    let token = |user: &str| secret.good_for(user, &["*"], Access::Write, 600);
    let (ada, bob) = (token("ada"), token("bob"));
    let path = |doc: &str, token: &str| format!("{doc}?token={token}");
    let mut first = Socket::greet(server.addr(), &path("a", &ada));
    let mut second = Line::connect(server.addr(), "");
    second.join("b", &ada);
    let mut third = Socket::greet(server.addr(), &path("c", &ada));
    assert_eq!(third.until_closed(PATIENCE), Some(1013));
    let mut fourth = Line::connect(server.addr(), "");
    fourth.say("b", hocuspocus::auth(&ada));
    assert_eq!(fourth.until_closed(PATIENCE), Some(1013));
    assert_eq!(over_budget(&admin, "user", "connections", "refused"), 2.0);
    // A stock client of another user is served, and so is one of ada's own once there is a place.
    let other = js.open_with_tokens(LATEST, &server, "a", &[&bob]);
    other.synced();
    let own = js.open_with_tokens(LATEST, &server, "a", &[&ada]);
    own.wait("me.closes.length >= 1");
    first.close();
    own.synced();
    for _ in 0..400 {
        second.say("b", [1, 1, 0]);
    }
    until("ada is slowed", PATIENCE, || (over_budget(&admin, "user", "messages", "slowed") >= 1.0).then_some(()));
    other.run("text.insert(0, 'bob is not')");
    other.ack();
}

/// A document that costs too much slows those who write to it, and no other document.
#[test]
fn p4_a_document_has_its_share_and_no_more() {
    let data = DataDir::new();
    let server = Options::new(data.path()).arg("--rate-per-document").arg("messages=50").start();
    let (admin, js) = (Admin::of(&server), Js::start());
    let clients = [0, 1].map(|_| js.open(LATEST, &server, "elsewhere"));
    js.synced(&clients.each_ref());
    let addr = server.addr();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let flooded = scope.spawn(|| flood(addr, "busy", |_| vec![1, 1, 0], &stop, &sent));
        until("the document waits", PATIENCE, || {
            (over_budget(&admin, "document", "messages", "slowed") >= 1.0).then_some(())
        });
        let slowest = sing(&clients, 5);
        assert!(slowest < Duration::from_secs(2), "an edit of another document took {slowest:?}");
        stop.store(true, Ordering::Relaxed);
        flooded.join().expect("it ends");
    });
}

/// HARDENING §2: a document has a size. Whoever writes beyond it is told so, nothing of that is kept, everybody reads on, and
/// whoever makes it smaller makes room.
#[test]
fn p4_a_document_has_its_size_and_no_more() {
    let data = DataDir::new();
    let server = Options::new(data.path()).arg("--max-document-bytes").arg("20000").start();
    let (admin, js) = (Admin::of(&server), Js::start());
    let (author, reader) = (js.open(LATEST, &server, "d"), js.open(LATEST, &server, "d"));
    js.synced(&[&author, &reader]);
    author.run("text.insert(0, 'x'.repeat(15000))");
    author.ack();
    author.run("text.insert(0, 'y'.repeat(6000))");
    author.wait("me.closes.length > 0");
    assert_eq!(author.closes()[0].code, 4413);
    assert_eq!(metric(&admin, "weft_updates_total{result=\"refused_limit\"}"), 1.0);
    reader.wait("text.length === 15000");
    // A reader's keystrokes still fit; then it selects half of it and deletes that.
    reader.run("text.insert(0, 'z')");
    reader.ack();
    reader.run("text.delete(0, 10001)");
    reader.ack();
    reader.run("text.insert(0, 'y'.repeat(6000))");
    reader.ack();
    assert_eq!((reader.opens(), reader.closes().len()), (1, 0));
    let late = js.open(LATEST, &server, "d");
    late.synced();
    assert_eq!(late.run("text.length"), 11_000);
    // An admin's import is not limited, and what is there is there after a restart.
    let large = Writer::new(99).append(&"large ".repeat(10_000));
    admin.send_with("POST", "/api/v1/docs/d/update", &[], &large).ok();
    drop(server);
    let server = Options::new(data.path()).arg("--max-document-bytes").arg("20000").start();
    let mut socket = Socket::connect(server.addr(), "d");
    assert!(socket.pull(&[0]).len() > 60_000);
    socket.send(message::update(&Writer::new(98).append("no more")));
    assert_eq!(socket.until_closed(PATIENCE), Some(4413));
}

/// The same for clients that are told otherwise than by a close code (WIRE §6): what does not fit is refused in band, or never
/// acked; what makes the document smaller is still taken, and then what did not fit does.
#[test]
fn p4_a_document_has_its_size_in_every_dialect() {
    let data = DataDir::new();
    let server = Options::new(data.path()).arg("--max-document-bytes").arg("20000").start();
    let (admin, js) = (Admin::of(&server), Js::start());
    for (number, version) in HOCUSPOCUS.into_iter().chain([YSWEET]).enumerate() {
        let room = format!("full-{number}");
        let (author, reader) = (js.open(version, &server, &room), js.open(LATEST, &server, &room));
        js.synced(&[&author, &reader]);
        author.run("text.insert(0, 'x'.repeat(15000))");
        author.ack();
        author.traffic();
        author.run("text.insert(0, 'y'.repeat(6000))");
        let (told, unsaved) = match Kind::of(version) {
            Kind::Hocuspocus => ("(me.traffic.inKinds.refused ?? 0) > 0", "!me.isSaved"),
            // It would close and come back if it heard nothing at all (g-s2).
            _ => ("(me.traffic.inKinds.awareness ?? 0) >= 2", "provider.hasLocalChanges"),
        };
        author.wait(told);
        assert_eq!(metric(&admin, "weft_updates_total{result=\"refused_limit\"}"), (number + 1) as f64, "{version}");
        assert!(author.get::<bool>(unsaved), "{version}");
        // What is deleted is taken from the very same client, and does not make the rest saved.
        author.run("text.delete(6000, 500)");
        reader.wait("text.length === 14500");
        assert!(author.get::<bool>(unsaved), "{version}");
        assert_eq!((author.opens(), author.closes().len()), (1, 0), "{version}");
        // Now there is room, and what is missing comes when it comes back; y-sweet's is called back for that.
        author.run("text.delete(6000, 9500)");
        if Kind::of(version) == Kind::Hocuspocus {
            reader.wait("text.length === 5000");
            author.cut();
        }
        reader.wait("text.length === 11000");
        author.ack();
        assert_eq!(author.opens(), 2, "{version}");
        let late = js.open(LATEST, &server, &room);
        late.synced();
        assert_eq!(late.run("text.length"), 11_000, "{version}");
    }
}

/// Issue 5, storms: memory within the budget given by a flag. Who is there notices nothing; who comes is told to come again, and
/// is let in when there is room.
#[test]
fn p4_beyond_its_memory_the_server_lets_nobody_in_until_documents_sleep() {
    const MAX: u64 = 160 << 20;
    let data = DataDir::new();
    let server = Options::new(data.path()).arg("--max-memory").arg(MAX.to_string()).start();
    let (admin, js) = (Admin::of(&server), Js::start());
    let clients = [0, 1].map(|_| js.open(LATEST, &server, "room"));
    js.synced(&clients.each_ref());
    sing(&clients, 2);
    let (mut open, start) = (Vec::new(), Instant::now());
    let refused = (0..200).find_map(|n| {
        let mut socket = Socket::connect(server.addr(), &format!("large/{n}"));
        socket.send(message::step1_empty());
        let first = socket.next(PATIENCE).expect("an answer");
        // "Permission denied" is what stock clients are told before such a close.
        if first.first() == Some(&2) {
            return Some(socket);
        }
        socket.send(message::update(&Writer::new(n + 1).append(&"x".repeat(4 << 20))));
        socket.ack();
        open.push(socket);
        None
    });
    let peak = process::peak_rss_bytes(server.pid());
    println!("{} documents of 4 MiB, peak {} MiB of {}, {:.1?}", open.len(), peak >> 20, MAX >> 20, start.elapsed());
    assert_eq!(refused.expect("there is an end").until_closed(PATIENCE), Some(1013));
    assert!(open.len() > 5 && peak < MAX + (64 << 20), "{} open, {peak} bytes", open.len());
    assert!(over_budget(&admin, "server", "memory", "refused") >= 1.0);
    assert!(sing(&clients, 2) < Duration::from_secs(2));

    drop(open);
    let start = Instant::now();
    until("they sleep", PATIENCE, || (metric(&admin, "weft_docs_open") < 5.0).then_some(()));
    until("memory is free again", PATIENCE, || {
        (metric(&admin, "weft_resident_memory_bytes") < MAX as f64 * 0.9).then_some(())
    });
    println!("room again after {:.1?}", start.elapsed());
    let late = js.open(LATEST, &server, "large/0");
    late.wait("text.length === 4194304");
    sing(&clients, 1);
}

/// HARDENING §2, many documents opened: memory bounded, existing rooms unaffected. `WEFT_NAMES` says how many names, 6,000 unless
/// it does.
#[test]
fn p4_who_opens_many_documents_finds_an_end_and_others_notice_nothing() {
    const MAX: usize = 400;
    let names = std::env::var("WEFT_NAMES").map_or(6_000, |text| text.parse().expect("a number of names"));
    let data = DataDir::new();
    let server = Options::new(data.path())
        .arg("--max-open-documents")
        .arg(MAX.to_string())
        .arg("--rate-per-connection")
        .arg("opens=off")
        .start();
    let (admin, js) = (Admin::of(&server), Js::start());
    let clients = [0, 1].map(|_| js.open(LATEST, &server, "room"));
    js.synced(&clients.each_ref());
    sing(&clients, 2);
    let before = process::rss_bytes(server.pid());
    let (mut opened, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    let mut line: Option<Line> = None;
    for name in 0..names {
        let mut current = line.take().unwrap_or_else(|| Line::connect(server.addr(), ""));
        let name = format!("name {name}");
        current.say(&name, hocuspocus::auth(""));
        current.say(&name, message::step1_empty());
        // It may be sent away at any of these; then it comes back.
        let answered = |line: &mut Line| line.socket.next(PATIENCE).is_some();
        if answered(&mut current) && current.socket.closed.is_none() {
            current.say(&name, [7]);
            opened += 1;
        }
        current.socket.poll();
        match current.socket.closed {
            Some(code) => {
                assert_eq!(code, Some(1013));
                refused += 1;
            }
            None => line = Some(current),
        }
        if opened % 1_000 == 0 {
            slowest = slowest.max(sing(&clients, 1));
        }
        let open = metric_if(&admin, name.ends_with("99"), "weft_docs_open");
        assert!(open <= MAX as f64, "{open} documents are open");
    }
    let grown = process::rss_bytes(server.pid()).saturating_sub(before);
    println!(
        "{opened} of {names} names opened, {refused} refused, memory grew by {} kB, slowest edit {slowest:?}",
        grown >> 10
    );
    assert!(refused > 0 && opened > MAX, "{opened} opened, {refused} refused");
    assert!(metric(&admin, "weft_over_budget_total{per=\"server\",budget=\"documents\",action=\"refused\"}") >= 1.0);
    assert!(grown < 64 << 20, "memory grew by {grown} bytes");
    assert!(slowest < Duration::from_secs(2), "an edit took {slowest:?}");
    drop(line);
    // They fall asleep long before the half minute that documents stay otherwise; then there is room again.
    let start = Instant::now();
    until("most of them sleep", PATIENCE, || (metric(&admin, "weft_docs_open") < MAX as f64 * 0.8).then_some(()));
    println!("room again after {:.1?}", start.elapsed());
    let late = js.open(LATEST, &server, "another room");
    late.synced();
    sing(&clients, 1);
    assert!(clients.iter().all(|client| client.opens() == 1), "a neighbour was disconnected");
}

/// Asks for a metric only now and then, since that takes time.
fn metric_if(admin: &Admin, now: bool, sample: &str) -> f64 {
    if now { metric(admin, sample) } else { 0.0 }
}
