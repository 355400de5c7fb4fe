//! Recordings of stock clients: weft's parser understands every frame, and the server holds in the end what the recorded
//! document held.

use crdt_tests::js::{Js, LATEST};
use crdt_tests::message;
use crdt_tests::process;
use crdt_tests::recording::{self, Line};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use weft::wire::message::ClientMessage;
use weft::wire::ywebsocket;

#[test]
fn w1_every_recorded_frame_is_understood() {
    for (name, lines) in recording::all() {
        let mut kinds = std::collections::BTreeMap::new();
        for line in &lines {
            let Line::Frame { dir, meaning, hex } = line else { continue };
            let frame = recording::bytes(hex);
            let parsed = ywebsocket::parse(&frame).unwrap_or_else(|e| panic!("{name}: {meaning}: {e}: {hex}"));
            let (kind, payload) = match parsed {
                Some(ClientMessage::SyncStep1(payload)) => ("SyncStep1", payload),
                Some(ClientMessage::SyncStep2(payload)) => ("SyncStep2", payload),
                Some(ClientMessage::Update(payload)) => ("Update", payload),
                Some(ClientMessage::Awareness(payload)) => ("Awareness", payload),
                Some(ClientMessage::QueryAwareness) => ("QueryAwareness", &[][..]),
                other => panic!("{name}: {meaning} was read as {other:?}"),
            };
            assert!(meaning.starts_with(kind), "{name}: {meaning} was read as {kind}");
            assert!(frame.ends_with(payload), "{name}: {meaning}: the payload is the rest of the frame");
            // Whatever is cut off is noticed.
            if kind != "QueryAwareness" {
                for len in 0..frame.len() {
                    assert!(
                        ywebsocket::parse(&frame[..len]).is_err(),
                        "{name}: {meaning}, cut off at {len}, was taken"
                    );
                }
            }
            *kinds.entry((dir.clone(), kind)).or_insert(0) += 1;
        }
        println!("{name}: {kinds:?}");
        assert!(kinds.len() >= 9, "{name}: a recording has all kinds of messages in both directions");
    }
}

#[test]
fn p2_recorded_sessions_replayed_raw() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    for (name, lines) in recording::all() {
        // What the recorded server sent came from others: here from this one. Most of it the server has already.
        let mut others = Socket::connect(server.addr(), &name);
        others.pull(&[0]);
        let mut client: Option<Socket> = None;
        let mut expected = None;
        for line in &lines {
            match line {
                Line::Event { event } if event == "open" => client = Some(Socket::connect(server.addr(), &name)),
                Line::Event { .. } => {
                    if let Some(mut socket) = client.take() {
                        socket.ack();
                        socket.close();
                    }
                }
                Line::End { end } => expected = Some(end),
                Line::Scene { .. } | Line::Frame { .. } => {}
            }
            if let Some(frame) = line.frame("c>s") {
                client.as_mut().expect("open").send(frame);
            } else if let Some(update) = line.frame("s>c").as_deref().and_then(message::update_in) {
                others.send(message::update(update));
                others.ack();
            }
        }
        others.ack();
        let expected = expected.expect("a recording has an end");
        for restarted in [false, true] {
            if restarted {
                server.kill();
                server.restart();
            }
            let fresh = js.open(LATEST, &server, &name);
            fresh.synced();
            let state = fresh.state();
            assert_eq!(state.content, expected.content, "{name}, restarted: {restarted}");
            assert!(!state.pending, "{name}: something still waits");
            let vector: String = fresh.get("Buffer.from(Y.encodeStateVector(doc)).toString('hex')");
            assert_eq!(vector, expected.state_vector, "{name}, restarted: {restarted}");
        }
    }
    server.assert_alive();
}

/// The recordings are what these clients do today: recorded anew, they say the same bytes.
#[test]
fn w0_recordings_are_reproducible() {
    crdt_tests::js::ensure_packages();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut child = std::process::Command::new("node")
        .arg("record.mjs")
        .arg(folder.path())
        .current_dir(crdt_tests::js::folder())
        .spawn()
        .expect("cannot run node");
    assert!(process::wait_exit(&mut child, "recording", crdt_tests::wait::PATIENCE).success());
    for (name, lines) in recording::all() {
        let again = recording::read(&folder.path().join(&name));
        let said = |lines: &[Line]| lines.iter().filter_map(|line| line.frame("c>s")).collect::<Vec<_>>();
        assert_eq!(said(&again), said(&lines), "{name} differs when recorded anew");
    }
}

/// What clients of Yjs 14 may send (g1): several messages in one frame are heard in their order, all of them or none.
#[test]
fn g1_several_messages_in_one_frame_are_heard() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let stock = js.open(LATEST, &server, "several");
    stock.synced();
    let mut writer = message::Writer::new(7);
    let mut socket = Socket::connect(server.addr(), "several");
    let (one, two) = (writer.append("one "), writer.append("two "));
    let presence = message::awareness(&[(7, 1, r#"{"name":"seven"}"#)]);
    socket.send(
        [message::step1_empty(), presence, message::update(&one), message::update(&two), message::ack(9)].concat(),
    );
    let echo = socket.until("the ack at its end", |frame| frame == message::ack(9));
    assert_eq!(echo, message::ack(9));
    stock.wait("text.toString() === 'one two ' && awareness.getStates().get(7)?.name === 'seven'");
    // One of them is no good: nothing of the frame is heard, and its sender goes on.
    let three = writer.append("three");
    socket.send([message::update(&three), vec![77]].concat());
    socket.ack();
    assert_eq!(stock.run("text.toString()"), "one two ");
    socket.send([message::update(&three), message::QUERY_AWARENESS.to_vec()].concat());
    socket.ack();
    stock.wait("text.toString() === 'one two three'");
    // More than an inbox takes at once: what has to wait keeps its order.
    let flood: Vec<Vec<u8>> = (0..60).map(|_| message::update(&writer.append(&"x".repeat(200_000)))).collect();
    socket.send([flood.concat(), message::ack(10)].concat());
    socket.until("the ack at its end", |frame| frame == message::ack(10));
    stock.wait("text.length === 60 * 200000 + 13");
    assert_eq!((stock.opens(), socket.closed), (1, None));
}
