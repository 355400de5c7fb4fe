//! `weft health`, as a container's health check runs it.

use crdt_tests::cli::Cli;
use crdt_tests::server::{DataDir, Server};

#[test]
fn c2_3_health_follows_the_server() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let ready = cli.run(&["health", "--json"]);
    assert_eq!((ready.code, ready.json()["ready"].as_bool()), (0, Some(true)), "{ready:?}");
    assert_eq!(ready.json()["listen"], server.addr().to_string());

    // Killed: what it announced is still there, but nobody answers.
    server.kill();
    let dead = cli.run(&["health"]);
    assert_eq!((dead.code, dead.stdout.len()), (3, 0), "{dead:?}");
    assert_eq!(dead.stderr.lines().count(), 1, "{}", dead.stderr);

    let nowhere = tempfile::tempdir().unwrap();
    let absent = Cli::on(nowhere.path()).run(&["health"]);
    assert_eq!(absent.code, 3, "{absent:?}");
    assert!(absent.stderr.contains("weft serve"), "{}", absent.stderr);
}
