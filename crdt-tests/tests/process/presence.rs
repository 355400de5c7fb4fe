//! Awareness: weft's own table with ownership, same-clock removal, null-eviction filter and tombstone reply (g9–g12).

use std::time::{Duration, Instant};

use crdt_tests::js::{Client, Js, VERSIONS};
use crdt_tests::message::{self, Presence};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::Secret;
use crdt_tests::wait::PATIENCE;
use serde_json::json;
use weft::ids::Access;

/// "At once": below the 15 s after which stock clients renew their state anyway, and below their 30 s timeout.
const AT_ONCE: Duration = Duration::from_secs(10);

pub(super) fn sees(watcher: &Client<'_>, other: &Client<'_>, name: &str) {
    let code = "awareness.getStates().get(args.id)?.user?.name === args.name";
    watcher.wait_within(code, json!({ "id": other.id, "name": name }), AT_ONCE);
}

pub(super) fn sees_nothing_of(watcher: &Client<'_>, other: &Client<'_>) {
    watcher.wait_within("!awareness.getStates().has(args.id)", json!({ "id": other.id }), AT_ONCE);
}

/// A raw watcher of one room, who goes through what he was told in order.
struct Watcher {
    socket: Socket,
    heard: usize,
}

impl Watcher {
    fn join(server: &Server, room: &str) -> Self {
        let mut socket = Socket::connect(server.addr(), room);
        socket.pull(&[0]);
        Self { socket, heard: 0 }
    }

    fn say(&mut self, client: u64, clock: u64, json: &str) {
        self.socket.send(message::awareness(&[(client, clock, json)]));
    }

    /// The next presence that is wanted; what comes before it is passed over.
    fn until(&mut self, what: &str, wanted: impl Fn(&Presence) -> bool) -> Presence {
        let start = Instant::now();
        loop {
            while self.heard < self.socket.frames.len() {
                let entries = message::presences(&self.socket.frames[self.heard]).unwrap_or_default();
                self.heard += 1;
                if let Some(found) = entries.into_iter().find(|presence| wanted(presence)) {
                    return found;
                }
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(self.socket.next(left).is_some(), "no {what}; closed: {:?}", self.socket.closed);
        }
    }

    /// Everything told about this client since the start.
    fn told(&self, client: u64) -> Vec<Presence> {
        let entries = self.socket.frames.iter().filter_map(|frame| message::presences(frame)).flatten();
        entries.filter(|presence| presence.client == client).collect()
    }
}

#[test]
fn g12_a_removal_keeps_the_clock_and_a_stale_return_is_told() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut watcher = Watcher::join(&server, "clock");
    let mut guest = Watcher::join(&server, "clock");
    guest.say(71, 5, r#"{"name":"guest"}"#);
    let seen = watcher.until("presence of 71", |p| p.client == 71);
    assert_eq!((seen.clock, seen.json.as_str()), (5, r#"{"name":"guest"}"#));
    guest.socket.cut();
    let gone = watcher.until("removal of 71", |p| p.client == 71 && p.json == "null");
    assert_eq!(gone.clock, 5, "the removal carries the clock of the state it removes");

    // It returns with an unchanged clock, as a reconnecting tab does: the server tells it of the tombstone, and it
    // announces itself again.
    let mut back = Watcher::join(&server, "clock");
    back.say(71, 5, r#"{"name":"back"}"#);
    let told = back.until("tombstone of 71", |p| p.client == 71 && p.json == "null");
    assert_eq!(told.clock, 5);
    back.say(71, 6, r#"{"name":"back"}"#);
    let seen = watcher.until("return of 71", |p| p.client == 71 && p.json != "null");
    assert_eq!((seen.clock, seen.json.as_str()), (6, r#"{"name":"back"}"#));
}

#[test]
fn g11_nobody_removes_another_ones_presence() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let [a, b] = [0, 1].map(|_| js.open(VERSIONS[2], &server, "evict"));
    js.synced(&[&a, &b]);
    b.run("awareness.setLocalStateField('user', { name: 'b' })");
    sees(&a, &b, "b");
    a.run("me.removed = []; awareness.on('change', ({ removed }) => me.removed.push(...removed))");
    let clock: u64 = b.get("awareness.meta.get(doc.clientID).clock");

    // As a client does that slept for 30 s (WIRE g11), and as a hostile one does.
    let mut evictor = Socket::connect(server.addr(), "evict");
    evictor.pull(&[0]);
    for clock in [clock, clock + 1, clock + 100] {
        evictor.send(message::awareness(&[(b.id, clock, "null")]));
    }
    evictor.ack();
    a.ack();
    assert_eq!(a.run("me.removed"), json!([]), "somebody else's null removed b");
    let late = js.open(VERSIONS[2], &server, "evict");
    sees(&late, &b, "b");
    // b still moves afterwards.
    b.run("awareness.setLocalStateField('user', { name: 'b moved' })");
    sees(&a, &b, "b moved");
}

#[test]
fn g9_an_older_clock_changes_nothing() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut watcher = Watcher::join(&server, "older");
    let mut speaker = Watcher::join(&server, "older");
    speaker.say(80, 9, r#"{"v":9}"#);
    watcher.until("clock 9", |p| p.client == 80);
    speaker.say(80, 8, r#"{"v":8}"#);
    speaker.say(80, 9, r#"{"v":"other at 9"}"#);
    speaker.say(80, 10, r#"{"v":10}"#);
    watcher.until("clock 10", |p| p.client == 80 && p.clock == 10);
    let seen: Vec<u64> = watcher.told(80).iter().map(|p| p.clock).collect();
    assert_eq!(seen, [9, 10]);
}

/// g10: every stock client sends back each remote change it applies; relaying those would square the traffic.
#[test]
fn g10_echoes_are_not_relayed() {
    const CLIENTS: usize = 20;
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> = (0..CLIENTS).map(|n| js.open(VERSIONS[n % 3], &server, "echo")).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    let everybody = json!({ "ids": clients.iter().map(|c| c.id).collect::<Vec<_>>() });
    for client in &clients {
        client.wait_with("args.ids.every(id => awareness.getStates().has(id))", everybody.clone());
    }
    // Two rounds of acks: after the first all echoes have been sent, after the second all that they caused has been received.
    let settle = || {
        for _ in 0..2 {
            for client in &clients {
                client.ack();
            }
        }
    };
    settle();
    for client in &clients {
        client.traffic();
    }
    let mover = &clients[0];
    let moves = 10;
    for cursor in 0..moves {
        mover.run_with("awareness.setLocalStateField('cursor', args.cursor)", json!({ "cursor": cursor }));
        for client in &clients {
            let code = "awareness.getStates().get(args.id)?.cursor === args.cursor";
            client.wait_with(code, json!({ "id": mover.id, "cursor": cursor }));
        }
    }
    settle();
    let received: u64 =
        clients.iter().skip(1).map(|c| c.traffic().in_kinds.get("awareness").copied().unwrap_or(0)).sum();
    let deliveries = moves * (CLIENTS as u64 - 1);
    println!("{moves} moves to {} others: {received} awareness frames received", CLIENTS - 1);
    assert!(received >= deliveries, "every move was seen, so at least {deliveries} frames");
    // Clients renew their own states every 15 s, which may fall into the test once; echoes would be over 3,000.
    assert!(received <= deliveries + CLIENTS as u64 * CLIENTS as u64, "{received} frames for {deliveries} deliveries");
}

/// WIRE §1: message 3 asks for everybody's presence.
#[test]
fn w1_query_awareness_is_answered() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut speaker = Watcher::join(&server, "query");
    speaker.say(90, 1, r#"{"n":1}"#);
    speaker.socket.ack();
    let mut asker = Watcher::join(&server, "query");
    asker.until("presence on joining", |p| p.client == 90);
    asker.socket.send(message::QUERY_AWARENESS);
    asker.until("presence again", |p| p.client == 90);
    // y-sweet's client sends bytes after it (WIRE §1).
    asker.socket.send([message::QUERY_AWARENESS, &[1, 0]].concat());
    asker.until("presence once more", |p| p.client == 90);
}

/// Of one burst, others get the last state of each client: presence is coalesced per turn and never out of order.
#[test]
fn g10_a_burst_ends_with_the_last_state() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut watcher = Watcher::join(&server, "burst");
    let mut speaker = Watcher::join(&server, "burst");
    for clock in 1..=1_000 {
        speaker.say(95, clock, &clock.to_string());
    }
    watcher.until("the last state", |p| p.client == 95 && p.clock == 1_000);
    let told = watcher.told(95);
    assert!(told.is_sorted_by_key(|p| p.clock), "clocks went backwards");
    assert_eq!(told.last().map(|p| p.json.as_str()), Some("1000"));
}

/// HARDENING §2: who introduced a presence owns it. Another user's first words cannot be in its name, whatever the clock; the same
/// user takes it over at once, the old line being half dead.
#[test]
fn hardening_2_a_presence_belongs_to_its_user() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let js = Js::start();
    let token = |user: &str| secret.good_for(user, &["*"], Access::Write, 600);
    let (ada, eve) = (token("ada"), token("eve"));
    let [victim, friend] = [0, 1].map(|_| js.open_with_tokens(VERSIONS[2], &server, "owned", &[&ada]));
    js.synced(&[&victim, &friend]);
    victim.run("awareness.setLocalStateField('user', { name: 'ada' })");
    sees(&friend, &victim, "ada");
    let clock: u64 = victim.get("awareness.meta.get(doc.clientID).clock");
    friend.run(
        "me.changes = []; awareness.on('change', ({ updated, removed }) => me.changes.push(...updated, ...removed))",
    );
    for forged in [clock, clock + 1, clock + 1_000, (1 << 31) - 1] {
        // The first words of a socket that has answered nothing yet: that is how clients introduce themselves.
        let mut thief = Socket::connect(server.addr(), &format!("owned?token={eve}"));
        thief.send(message::step1_empty());
        thief.send(message::awareness(&[(victim.id, forged, r#"{"user":{"name":"eve"}}"#)]));
        thief.send(message::awareness(&[(victim.id, forged, "null")]));
        thief.ack();
        thief.cut();
    }
    friend.ack();
    assert_eq!(friend.run("me.changes"), json!([]), "somebody else's words were passed on");
    sees(&friend, &victim, "ada");

    // The same user, on another line: the client's own clock goes on.
    let mut again = Socket::connect(server.addr(), &format!("owned?token={ada}"));
    again.send(message::step1_empty());
    again.send(message::awareness(&[(victim.id, clock + 1, r#"{"user":{"name":"ada again"}}"#)]));
    sees(&friend, &victim, "ada again");
    victim.cut_and_stay();
    again.ack();
    sees(&friend, &victim, "ada again");
    again.cut();
    sees_nothing_of(&friend, &victim);
}

/// HARDENING §2: at most 20 messages about presence a second in a document, of which the first is at once.
#[test]
fn hardening_2_presence_is_told_twenty_times_a_second() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut watcher = Watcher::join(&server, "storm");
    let mut speakers: Vec<Watcher> = (0..5).map(|_| Watcher::join(&server, "storm")).collect();
    let heard = |watcher: &Watcher| {
        let frames = watcher.socket.frames.iter();
        frames.filter(|frame| message::presences(frame).is_some_and(|entries| !entries.is_empty())).count()
    };
    let start = Instant::now();
    let mut clock = 0;
    while start.elapsed() < Duration::from_secs(2) {
        clock += 1;
        for (at, speaker) in speakers.iter_mut().enumerate() {
            speaker.say(100 + at as u64, clock, "{}");
        }
        // Fast, but not so fast that the server hears of it much later.
        std::thread::sleep(Duration::from_millis(2));
    }
    let last = |watcher: &Watcher, client| watcher.told(client).last().map(|p| p.clock);
    while (0..5).any(|at| last(&watcher, 100 + at) != Some(clock)) {
        assert!(watcher.socket.next(PATIENCE).is_some(), "the last states did not come");
    }
    let (told, took) = (heard(&watcher), start.elapsed().as_secs_f64());
    println!("{} changes in {took:.1} s: {told} messages", clock * 5);
    assert!(told as f64 <= 20.0 * took + 2.0, "{told} messages in {took} s");
    assert!(told >= 10, "{told} messages are too few to look alive");
    // A lone one is not kept waiting, not even for a pause.
    let mut fastest = Duration::MAX;
    for clock in clock + 1..clock + 6 {
        std::thread::sleep(Duration::from_millis(60));
        let start = Instant::now();
        speakers[0].say(100, clock, "{}");
        watcher.until("a lone change", |p| p.client == 100 && p.clock == clock);
        fastest = fastest.min(start.elapsed());
    }
    assert!(fastest < Duration::from_millis(40), "a lone change took {fastest:?}");
}
