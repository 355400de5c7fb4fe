//! What only shows after half a minute: the clients' watchdog (g4), and lines that went silent (WIRE §6, "peer dead").

use std::time::{Duration, Instant};

use crdt_tests::js::{Client, Js, VERSIONS};
use crdt_tests::message;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use serde_json::json;

/// Stock clients look every 3 s whether the last message is older than 30 s, so this is where they would have closed.
const WATCHDOG: Duration = Duration::from_secs(35);
/// Pings go out every 20–30 s and two may be missed, so a dead peer is gone by now.
const DEAD_PEER: Duration = Duration::from_secs(95);

#[test]
fn g4_lone_clients_stay_and_a_silent_line_does_not() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let start = Instant::now();
    // With presence a client renews it every 15 s and hears its echo; without, only the server's keep-alive is left.
    let lone: Vec<Client<'_>> = VERSIONS
        .iter()
        .flat_map(|version| [json!({}), json!({ "awareness": null })].map(|options| (version, options)))
        .enumerate()
        .map(|(number, (version, options))| js.open_with(version, &server, &format!("lone {number}"), options))
        .collect();
    js.synced(&lone.iter().collect::<Vec<_>>());

    // A line that went silent: it neither closes nor answers pings. Its presence must not stay for ever.
    let mut watcher = Socket::connect(server.addr(), "dead");
    watcher.pull(&[0]);
    let mut dead = Socket::connect(server.addr(), "dead");
    dead.pull(&[0]);
    dead.send(message::awareness(&[(66, 3, r#"{"alive":true}"#)]));
    let told_of_dead = |frame: &[u8], gone: bool| {
        let entries = message::presences(frame).unwrap_or_default();
        entries.iter().any(|p| p.client == 66 && (p.json == "null") == gone)
    };
    watcher.until("presence of the silent one", |frame| told_of_dead(frame, false));

    // The one real sleep of the suite: the watchdogs must have had their chance. Reading answers the server's pings.
    let mut gone_after = None;
    while start.elapsed() < WATCHDOG {
        if watcher.next(WATCHDOG.saturating_sub(start.elapsed())).is_some_and(|frame| told_of_dead(&frame, true)) {
            gone_after = Some(start.elapsed());
        }
        assert!(watcher.closed.is_none(), "a watcher that answers pings was dropped");
    }
    for client in &lone {
        client.run("text.insert(0, 'still here')");
        client.ack();
        let closes = client.closes();
        assert!(closes.is_empty() && client.opens() == 1, "{} was disconnected: {closes:?}", client.name);
        let heard = client.traffic();
        assert!(heard.in_kinds.contains_key("awareness"), "{}: no keep-alive: {heard:?}", client.name);
    }
    let gone_after = gone_after.unwrap_or_else(|| {
        while !watcher.next(DEAD_PEER.saturating_sub(start.elapsed())).is_some_and(|frame| told_of_dead(&frame, true)) {
            assert!(watcher.closed.is_none(), "a watcher that answers pings was dropped");
            assert!(start.elapsed() < DEAD_PEER, "the presence of a dead peer is still there after {DEAD_PEER:?}");
        }
        start.elapsed()
    });
    println!("a line that went silent was noticed after {gone_after:.1?}");
    drop(dead);
}
