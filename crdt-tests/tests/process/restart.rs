//! Draining, restarting, and what must be there afterwards.

use std::time::Duration;

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, HOCUSPOCUS, Js, LATEST, State, VERSIONS, YSWEET};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use crdt_tests::wait::PATIENCE;
use serde_json::json;

#[test]
fn c2_1_sigterm_drains_with_1012_and_keeps_everything() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> =
        (0..9).map(|n| js.open(VERSIONS[n % 3], &server, &format!("room {}", n % 2))).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    for (number, client) in clients.iter().enumerate() {
        client.edit(number as u64, 30);
        client.ack();
    }
    let rooms: [Vec<&Client<'_>>; 2] = [0, 1].map(|room| clients.iter().skip(room).step_by(2).collect());
    let states = rooms.each_ref().map(|room| js.converged(room));

    for client in &clients {
        client.run("provider.shouldConnect = false");
    }
    server.drain();
    for client in &clients {
        client.wait("provider.ws === null");
        let codes: Vec<u16> = client.closes().iter().map(|close| close.code).collect();
        assert_eq!(codes, [1012], "{} must be told to come back", client.name);
    }
    assert_eq!(server.more_stdout(), Vec::<String>::new(), "stdout is for the addresses only");

    server.restart();
    for (room, state) in states.iter().enumerate() {
        let fresh = js.open(VERSIONS[2], &server, &format!("room {room}"));
        fresh.synced();
        fresh.state().assert_same(state, format_args!("room {room} after a drain and a restart"));
    }
    // A drained directory starts cleanly a second time, and nothing is left in it that only a crash would leave.
    server.drain();
    server.restart();
    for (room, state) in states.iter().enumerate() {
        let exported = js.load(&Cli::of(&server).export_update(&format!("room {room}")));
        exported.assert_same(state, format_args!("room {room} after a second drain"));
    }
}

/// Edits sent a moment before SIGTERM, without waiting for anything: whoever was acked is there, and an edit that the drain
/// refused was not acked.
#[test]
fn p1_acks_are_kept_through_a_drain_under_load() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    for round in 0..3 {
        let clients: Vec<Client<'_>> = (0..4).map(|n| js.open(VERSIONS[n % 3], &server, "drain")).collect();
        js.synced(&clients.iter().collect::<Vec<_>>());
        for (number, client) in clients.iter().enumerate() {
            client.run("provider.shouldConnect = false");
            client.storm(&format!("{round}.{number}"));
        }
        crdt_tests::js::storms_acked(&js, &clients, 200);
        server.drain();
        let accounts: Vec<_> = clients.iter().map(Client::storm_stop).collect();
        drop(clients);
        server.restart();
        let fresh = js.open(VERSIONS[2], &server, "drain");
        fresh.synced();
        let tokens: Vec<String> = fresh.get("array.toJSON()");
        for (number, account) in accounts.iter().enumerate() {
            for token in 1..=account.acked {
                let token = format!("{round}.{number}-{token}");
                assert!(tokens.contains(&token), "{token} was acked ({account:?}) and is gone after a drain");
            }
        }
    }
}

/// A second signal ends at once; nothing acked is lost (contract 2.1).
#[test]
fn c2_1_a_second_signal_ends_at_once() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let mut socket = Socket::connect(server.addr(), "second");
    socket.pull(&[0]);
    let mut writer = Writer::new(5);
    socket.send(message::update(&writer.append("acked")));
    socket.ack();
    // The socket does not read, so that its close frame goes unanswered and the drain has something to wait for.
    server.ask_to_drain();
    server.ask_to_drain();
    server.wait_exit(Duration::from_secs(5));
    server.restart();
    let mut fresh = Socket::connect(server.addr(), "second");
    assert_eq!(fresh.pull(&[0]), writer.all());
}

/// An update that waits for a missing one is durable too, also through compaction; it counts once the missing one is there.
#[test]
fn p2_out_of_order_updates_over_restarts() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let mut writer = Writer::new(77);
    let updates: Vec<Vec<u8>> = ["one ", "two ", "three ", "four"].iter().map(|chunk| writer.append(chunk)).collect();
    for (step, index) in [3, 1, 2, 0].into_iter().enumerate() {
        let mut socket = Socket::connect(server.addr(), "gap");
        socket.pull(&[0]);
        socket.send(message::update(&updates[index]));
        socket.ack();
        if index != 0 {
            // Asked for what is missing (DESIGN §5); the first SyncStep1 came on joining.
            let asked = |frames: &[Vec<u8>]| frames.iter().filter(|frame| frame.starts_with(&[0, 0])).count();
            let frames = &socket.frames;
            assert!(asked(frames) >= 2, "step {step}: a gap was not asked about: {frames:02x?}");
            let fresh = js.open(VERSIONS[2], &server, "gap");
            fresh.synced();
            assert_eq!(fresh.run("text.toString()"), "", "step {step}: text from after a gap is shown");
        }
        match step {
            0 => server.kill(),
            1 => {
                let compacted = Cli::of(&server).run(&["compact", "gap"]);
                assert_eq!(compacted.code, 0, "{compacted:?}");
                server.kill();
            }
            2 => {
                server.drain();
                let compacted = Cli::of(&server).run(&["compact", "gap"]);
                assert_eq!(compacted.code, 0, "{compacted:?}");
            }
            _ => break,
        }
        server.restart();
    }
    for restarted in [false, true] {
        if restarted {
            server.kill();
            server.restart();
        }
        let fresh = js.open(VERSIONS[0], &server, "gap");
        fresh.synced();
        assert_eq!(fresh.run("text.toString()"), "one two three four", "restarted: {restarted}");
        assert!(!fresh.state().pending);
    }
}

/// While there is a gap, a client that asks gets what can be shown, and others' edits go on.
#[test]
fn p4_a_gap_does_not_hold_up_others() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let mut writer = Writer::new(78);
    writer.append("never sent");
    let mut socket = Socket::connect(server.addr(), "others");
    socket.pull(&[0]);
    socket.send(message::update(&writer.append("parked")));
    socket.ack();
    let [a, b] = [0, 1].map(|_| js.open(VERSIONS[2], &server, "others"));
    js.synced(&[&a, &b]);
    a.run("text.insert(0, 'from a'); map.set('a', 1)");
    b.wait("text.toString() === 'from a'");
    b.ack();
    let state = js.converged(&[&a, &b]);
    let late = js.open(VERSIONS[1], &server, "others");
    late.synced();
    late.state().assert_same(&state, "a late joiner");
}

/// A socket that never says goodbye does not hold up the drain.
#[test]
fn c2_1_a_silent_client_does_not_hold_up_the_drain() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let silent: Vec<Socket> = (0..20).map(|_| Socket::greet(server.addr(), "silent")).collect();
    let half_open = std::net::TcpStream::connect(server.addr()).expect("connected");
    server.ask_to_drain();
    let status = server.wait_exit(PATIENCE);
    assert!(status.success(), "{status}");
    drop((silent, half_open));
}

/// Who comes first after a restart is sent what is stored before the server has read it (`hub/unread`): what the log adds is
/// there when the client calls itself synced, and what it writes at once is kept.
#[test]
fn the_first_client_after_a_restart_has_all_when_it_is_synced() {
    const OTHERS: [&str; 2] = [HOCUSPOCUS[2], YSWEET];
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let rooms: Vec<String> = (0..VERSIONS.len() + OTHERS.len()).map(|n| format!("cold-{n}")).collect();
    for room in &rooms {
        let author = js.open(LATEST, &server, room);
        author.synced();
        author.run("for (let i = 0; i < 4000; i++) text.insert(text.length, `word ${i} `); text.delete(7, 1000)");
        author.ack();
        Cli::of(&server).done(&["compact", room]);
        author.edit(7, 30);
        author.ack();
    }
    let states: Vec<State> = rooms.iter().map(|room| js.load(&Cli::of(&server).export_update(room))).collect();
    server.drain();
    server.restart();
    for ((version, room), state) in VERSIONS.iter().zip(&rooms).zip(&states) {
        let first = js.open_with(version, &server, room, json!({ "connect": false }));
        first.run("provider.on('sync', () => { me.atSync ??= text.length })");
        first.connect();
        let (at_sync, whole) = (first.get::<u64>("return me.atSync"), first.get::<u64>("return text.length"));
        assert_eq!(at_sync, whole, "{version}: the rest came later");
        first.state().assert_same(state, format_args!("{version}, the first after a restart"));
    }
    for (version, room) in VERSIONS.iter().chain(&OTHERS).zip(&rooms) {
        // Asleep or awake, written to at once by one and read by another.
        let [writer, reader] = [js.open(version, &server, room), js.open(version, &server, room)];
        writer.edit(8, 30);
        js.synced(&[&writer, &reader]);
        writer.ack();
        let converged = js.converged(&[&writer, &reader]);
        js.load(&Cli::of(&server).export_update(room)).assert_same(&converged, format_args!("{room}, exported"));
    }
}
