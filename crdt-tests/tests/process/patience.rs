//! What only shows after half a minute: lines that went silent (WIRE §6, "peer dead").

use std::time::{Duration, Instant};

use crdt_tests::message;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;

/// Pings go out every 20–30 s and two may be missed, so a dead peer is gone by now.
const DEAD_PEER: Duration = Duration::from_secs(95);

#[test]
fn wire_6_a_silent_line_is_noticed() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let start = Instant::now();
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

    // Reading answers the server's pings.
    while !watcher.next(DEAD_PEER.saturating_sub(start.elapsed())).is_some_and(|frame| told_of_dead(&frame, true)) {
        assert!(watcher.closed.is_none(), "a watcher that answers pings was dropped");
        assert!(start.elapsed() < DEAD_PEER, "the presence of a dead peer is still there after {DEAD_PEER:?}");
    }
    println!("a line that went silent was noticed after {:.1?}", start.elapsed());
    drop(dead);
}
