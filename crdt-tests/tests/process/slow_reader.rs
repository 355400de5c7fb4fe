//! P4, P6: who reads slowly hurts only himself, costs no memory, and has everything once he reads again.

use std::time::{Duration, Instant};

use crdt_tests::js::{Client, Js, LATEST};
use crdt_tests::message::{self, Reader, Writer};
use crdt_tests::process;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use serde_json::json;
use yrs::updates::decoder::Decode;
use yrs::{Doc, GetString, Map, ReadTxn, Transact, Update};

const SLOW_READERS: usize = 12;
/// Twelve queues of this would be 600 MB; what the kernel holds for each socket is a few MB.
const TRAFFIC_BYTES: u64 = 50 << 20;
/// Journal, checkpoint and compaction of so much traffic together take up to 350 MB, readers or not.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// Edits that make much traffic and a small document: each replaces the value of one key by 64 kB. Gives the longest time
/// from an edit to the client that reads.
fn much_traffic(writer: &Client<'_>, canary: &Client<'_>) -> Duration {
    let mut slowest = Duration::ZERO;
    for round in 0..TRAFFIC_BYTES / (64 << 10) {
        let start = Instant::now();
        let value = json!({ "round": round });
        writer.run_with(
            "map.set('value', args.round + 'x'.repeat(65536)); text.insert(0, `${args.round} `)",
            value.clone(),
        );
        canary.wait_with("text.toString().startsWith(`${args.round} `)", value);
        slowest = slowest.max(start.elapsed());
    }
    writer.ack();
    slowest
}

#[test]
fn p4_slow_readers_cost_nothing_and_converge() {
    let js = Js::start();
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let [writer, canary] = [0, 1].map(|_| js.open(LATEST, &server, "slow"));
    js.synced(&[&writer, &canary]);
    writer.run("text.insert(0, 'start')");
    writer.ack();
    let mut slow: Vec<Socket> = (0..SLOW_READERS).map(|_| Socket::connect(server.addr(), "slow")).collect();
    for socket in &mut slow {
        socket.pull(&[0]);
    }
    let slowest = much_traffic(&writer, &canary);
    let rounds = TRAFFIC_BYTES / (64 << 10);
    let peak = process::peak_rss_bytes(server.pid());
    println!(
        "{} MB to {SLOW_READERS} readers that do not read: server memory {} MB at most; slowest edit to a reader that \
         does: {slowest:.1?}",
        TRAFFIC_BYTES >> 20,
        peak >> 20,
    );
    assert!(peak < MEMORY_BYTES_MAX, "the server's memory grew to {peak} bytes");
    assert!(slowest < Duration::from_secs(5), "an edit took {slowest:?} to a reader that reads");
    server.assert_alive();

    // Now they read. Whoever is still connected gets to the present state by what he is sent, without asking.
    let state = js.converged(&[&writer, &canary]);
    let mut connected = 0;
    for (number, socket) in slow.iter_mut().enumerate() {
        let last = format!("{} ", rounds - 1);
        let doc = Doc::new();
        let text = doc.get_or_insert_text("text");
        let map = doc.get_or_insert_map("map");
        let mut applied = 0;
        let start = Instant::now();
        loop {
            while applied < socket.frames.len() {
                if let Some(update) = message::update_in(&socket.frames[applied]) {
                    let update = Update::decode_v1(update).expect("the server sends sound updates");
                    doc.transact_mut().apply_update(update).expect("applied");
                }
                applied += 1;
            }
            if text.get_string(&doc.transact()).starts_with(&last) {
                connected += 1;
                break;
            }
            socket.next(Duration::from_secs(1));
            if socket.closed.is_some() {
                // At the hard cap a reader may be sent away with "come back" (WIRE §6).
                assert!(matches!(socket.closed, Some(Some(1012 | 1013) | None)), "closed with {:?}", socket.closed);
                break;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "slow reader {number} never caught up");
        }
        if socket.closed.is_none() {
            let txn = doc.transact();
            assert!(!txn.has_missing_updates(), "slow reader {number} was left with a gap");
            assert_eq!(map.len(&txn), 1);
            let received: usize = socket.frames.iter().map(Vec::len).sum();
            assert!((received as u64) < TRAFFIC_BYTES, "slow reader {number} was sent all {received} bytes one by one");
            drop(txn);
            let vector = {
                use yrs::updates::encoder::Encode;
                doc.transact().state_vector().encode_v1()
            };
            // His state is the others' state: nothing is missing.
            let diff = socket.pull(&vector);
            assert_eq!(Reader(&diff).var_uint(), 0, "slow reader {number} still misses structs");
        }
    }
    println!("{connected} of {SLOW_READERS} slow readers caught up on their old connection");
    assert!(connected > 0, "every slow reader was sent away; the design is to mark them behind");
    let late = js.open(LATEST, &server, "slow");
    late.synced();
    js.converged(&[&writer, &canary, &late]).assert_same(&state, "a late joiner changes nothing");
}

/// A reader that dribbles stays behind for long, yet is never lost and never blocks.
#[test]
fn p4_a_stock_client_that_pauses_converges() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let [writer, pauser] = [0, 1].map(|_| js.open(LATEST, &server, "pause"));
    js.synced(&[&writer, &pauser]);
    for round in 0..3 {
        pauser.run("provider.ws._socket.pause()");
        writer.run_with(
            "for (let i = 0; i < 200; i++) { map.set('value', 'x'.repeat(65536)); text.insert(0, `${args.round}`) }",
            json!({ "round": round }),
        );
        writer.ack();
        pauser.run("provider.ws._socket.resume()");
        js.converged(&[&writer, &pauser]);
    }
    assert_eq!(pauser.opens(), 1, "the pausing client was disconnected: {:?}", pauser.closes());
}

/// Small updates of one flooding writer.
const FLOOD_UPDATES: usize = 20_000;
/// A few hundred kB of text and what waits on its way.
const FLOOD_MEMORY_BYTES_MAX: u64 = 256 << 20;

/// A writer that floods is slowed by back-pressure, and others' edits go on (P4).
#[test]
fn p4_a_flood_of_updates_is_taken_at_the_servers_pace() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let [a, b] = [0, 1].map(|_| js.open(LATEST, &server, "quiet"));
    js.synced(&[&a, &b]);
    let addr = server.addr();
    // Appending one by one makes one long run of text, which costs yrs a larger block each time.
    let flood = |number: u64| {
        move || {
            let mut socket = Socket::connect(addr, &format!("flood {number}").replace(' ', "%20"));
            socket.pull(&[0]);
            let mut writer = Writer::new(number + 1);
            for _ in 0..FLOOD_UPDATES {
                socket.send(message::update(&writer.append("flooding ")));
            }
            socket.ack();
            (socket.pull(&[0]), writer.all())
        }
    };
    let floods = [0, 1, 2].map(|number| std::thread::spawn(flood(number)));
    let mut slowest = Duration::ZERO;
    for round in 0..100 {
        let start = Instant::now();
        a.run_with("map.set('round', args)", json!(round));
        b.wait_with("map.get('round') === args", json!(round));
        slowest = slowest.max(start.elapsed());
    }
    for flood in floods {
        let (stored, sent) = flood.join().expect("the flood went through");
        js.load(&stored).assert_same(&js.load(&sent), "what a flood left");
    }
    let peak = process::peak_rss_bytes(server.pid());
    println!("beside a flood: slowest edit {slowest:.1?}, memory {} MB at most", peak >> 20);
    assert!(slowest < Duration::from_secs(5), "an edit of another document took {slowest:?}");
    assert!(peak < FLOOD_MEMORY_BYTES_MAX, "memory grew to {peak} bytes");
    server.assert_alive();
}
