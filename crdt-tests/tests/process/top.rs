//! `weft top`, as a program and as a person without a terminal see it.

use crdt_tests::cli::Cli;
use crdt_tests::message;
use crdt_tests::message::Writer;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use serde_json::Value;

#[test]
fn c2_1_top_shows_what_happens_and_wants_a_server() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let mut writer = Writer::new(3);
    let mut socket = Socket::connect(server.addr(), "busy");
    let _idle = Socket::greet(server.addr(), "idle");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                socket.send(message::update(&writer.append("x")));
                socket.ack();
            }
        });
        let output = cli.run(&["top", "--once", "--json", "--interval", "500ms"]);
        let table = cli.run(&["top", "--interval", "200ms"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        (output, table)
    });
    let (json, table) = output;
    assert_eq!((json.code, json.text().lines().count()), (0, 1), "{json:?}");
    let now: Value = json.json();
    assert_eq!((&now["connections"], &now["documents"]), (&2.into(), &2.into()), "{now}");
    for rate in ["updates_per_s", "acks_per_s", "received_bytes_per_s", "sent_bytes_per_s", "ack_p50_ms", "ack_p99_ms"]
    {
        assert!(now[rate].as_f64().is_some_and(|rate| rate > 0.0), "{rate}: {now}");
    }
    assert_eq!(now["docs"][0]["name"], "busy", "{now}");
    assert!(now["docs"][0]["updates_per_s"].as_f64() > Some(0.0) && now["docs"][1]["name"] == "idle", "{now}");
    // Not a terminal: one plain table, and the end.
    assert_eq!(table.code, 0, "{table:?}");
    assert!(table.text().contains("busy\t1\t") && !table.text().contains('\u{1b}'), "{}", table.text());

    server.kill();
    let dead = cli.run(&["top", "--once"]);
    assert_eq!((dead.code, dead.stdout.len()), (3, 0), "{dead:?}");
    let nowhere = tempfile::tempdir().unwrap();
    let absent = Cli::on(nowhere.path()).run(&["top"]);
    assert!(absent.code == 3 && absent.stderr.contains("weft serve"), "{absent:?}");
}
