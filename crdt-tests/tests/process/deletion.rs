//! `weft rm` (contract 2.1, WIRE §6): stock clients are told, cannot bring a document back, and only an import can.

use std::time::{Duration, Instant};

use crdt_tests::cli::{Cli, path_str};
use crdt_tests::js::{Close, Js, LATEST, VERSIONS};
use crdt_tests::message::{self, Writer};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::socket::Socket;
use crdt_tests::wait::PATIENCE;
use rand::Rng;
use serde_json::json;

/// How the last connection of a client ended, once it has ended at all.
fn told(client: &crdt_tests::js::Client<'_>) -> Close {
    client.wait("me.closes.length > 0 && me.closes.at(-1).code === 4404");
    client.closes().pop().expect("it was closed")
}

#[test]
fn wire_6_clients_of_a_deleted_document_are_told_and_cannot_bring_it_back() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let (cli, js) = (Cli::of(&server), Js::start());
    let online: Vec<_> = VERSIONS.iter().map(|version| js.open(version, &server, "plans")).collect();
    let away: Vec<_> = VERSIONS.iter().map(|version| js.open(version, &server, "plans")).collect();
    let other = js.open(LATEST, &server, "plans/other");
    other.synced();
    other.run("text.insert(0, 'kept')");
    other.ack();
    online[0].run("text.insert(0, 'secret ')");
    online[0].ack();
    for client in online.iter().chain(&away) {
        client.wait("text.toString() === 'secret '");
    }
    for client in &away {
        client.disconnect();
        client.run("text.insert(0, 'typed offline ')");
    }

    let report = cli.done(&["rm", "plans", "--json"]).json();
    assert_eq!((&report["deleted"][0]["name"], &report["deleted"][0]["peers"]), (&json!("plans"), &json!(3)));
    for client in &online {
        let close = told(client);
        assert_eq!((close.code, &*close.reason), (4404, "document deleted"), "{}", client.version);
    }
    // 3.1.0 takes 44xx for final; older ones come back with all they have, and are told every time.
    let latest = online.last().expect("three");
    latest.wait("provider.shouldConnect === false && provider.ws === null");
    for client in &away {
        client.run("provider.connect()");
        told(client);
        assert_eq!(client.get::<u64>("me.closes.filter(close => close.code === 1006).length"), 0, "{}", client.version);
        client.run("provider.disconnect()");
    }
    for client in online.iter().chain(&away) {
        client.run("provider.disconnect()");
    }
    assert!(other.get::<bool>("provider.wsconnected"), "others are not disturbed");

    // Gone from everywhere: not listed, not exported, also not after a restart.
    let mut server = server;
    for restarted in [false, true] {
        assert_eq!(cli.done(&["ls", "--json"]).json()["docs"][0]["name"], "plans/other");
        let tombstones = cli.done(&["ls", "--deleted", "--json"]).json();
        assert_eq!(tombstones["docs"][0]["name"], "plans");
        assert_eq!(tombstones["docs"][0]["deleted_ms"], report["deleted"][0]["deleted_ms"]);
        for args in [&["show", "plans"][..], &["export", "plans"], &["compact", "plans"], &["rm", "plans"]] {
            let refused = cli.run(args);
            assert_eq!(refused.code, 1, "{args:?}: {}", refused.stderr);
            assert!(refused.stderr.contains("was deleted on 20"), "{args:?}: {}", refused.stderr);
        }
        let refused = cli.run(&["export", "plans"]);
        assert!(refused.stderr.contains("weft import"), "{}", refused.stderr);
        if !restarted {
            server.kill();
            server.restart();
        }
    }
    let late = js.open(LATEST, &server, "plans");
    told(&late);
    assert_eq!(late.get::<String>("text.toString()"), "");

    // The explicit act: the document is made anew from this alone, and everybody may come again.
    let file = data.outer().join("update");
    std::fs::write(&file, Writer::new(5).append("new plans")).expect("written");
    let said = cli.done(&["import", "plans", path_str(&file)]).text();
    assert!(said.contains("had been deleted and was made anew"), "{said}");
    assert_eq!(cli.done(&["import", "plans", path_str(&file), "--json"]).json()["recreated"], false);
    late.run("provider.connect()");
    late.synced();
    assert_eq!(late.get::<String>("text.toString()"), "new plans");
    late.run("text.insert(0, 'our ')");
    late.ack();
    assert_eq!(cli.done(&["export", "plans", "--format", "text"]).text(), "our new plans");
    assert!(cli.done(&["ls", "--deleted", "--json"]).json()["docs"].as_array().expect("a list").is_empty());
}

#[test]
fn c2_1_rm_says_the_same_online_and_offline() {
    let (data, said) = (DataDir::new(), ["online", "offline"]);
    let mut server = Server::start(&data);
    let mut outputs = Vec::new();
    for mode in said {
        if mode == "offline" {
            server.drain();
        }
        let cli = Cli::on(data.path());
        let file = data.outer().join("update");
        std::fs::write(&file, Writer::new(7).append("text")).expect("written");
        for doc in ["a", "b/ä", "kept"] {
            cli.done(&["import", doc, path_str(&file)]);
        }
        let some = cli.run(&["rm", "a", "never", "b/ä", "a", "--json"]);
        assert_eq!(some.code, 1, "{mode}: {}", some.stderr);
        assert!(some.stderr.contains("\"never\" does not exist"), "{mode}: {}", some.stderr);
        let mut report = some.json();
        for deleted in report["deleted"].as_array_mut().expect("a list") {
            assert!(deleted["deleted_ms"].as_u64().is_some_and(|ms| ms > 1_700_000_000_000), "{mode}: {deleted}");
            deleted["deleted_ms"] = 0.into();
        }
        let list = |args: &[&str]| cli.done(args).json()["docs"].as_array().expect("a list").len();
        outputs.push((report, list(&["ls", "--json"]), list(&["ls", "--deleted", "--json"])));
        assert_eq!(cli.run(&["rm", "--json"]).code, 2);
        let table = cli.done(&["rm", "kept"]).text();
        assert!(table.starts_with("DELETED\tAT\tEDITORS CLOSED\nkept\t20") && table.ends_with("\t0\n"), "{table}");
    }
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!((outputs[0].1, outputs[0].2), (1, 2));
    assert_eq!(outputs[0].0["failed"][0]["name"], "never");
}

/// Killed at any moment around a deletion: the document is there with all that was acked, or deleted, and deleted if the
/// command said so.
#[test]
fn p1_kill_9_around_a_deletion() {
    let rounds = 16;
    let seed = seed::seed("p1_kill_9_around_a_deletion");
    let mut rng = seed::rng(seed, 0);
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let (mut deleted, mut kept) = (0, 0);
    for round in 0..rounds {
        let doc = format!("doc {round}");
        let mut socket = Socket::connect(server.addr(), &format!("doc%20{round}"));
        socket.pull(&[0]);
        socket.send(message::update(&Writer::new(round + 1).append(&"x".repeat(rng.random_range(1..100_000)))));
        socket.ack();
        let cli = Cli::of(&server);
        // In the journal only, or carried over, or folded as well.
        match rng.random_range(0..3) {
            0 => {}
            1 => drop(cli.done(&["ls"])),
            _ => drop(cli.done(&["compact", &doc])),
        }
        let wait = Duration::from_micros(rng.random_range(0..40_000));
        let killer = Instant::now();
        let rm = std::thread::spawn({
            let (cli, doc) = (cli.clone(), doc.clone());
            // A checkpoint right behind it, to be killed in that too.
            move || (cli.run(&["rm", &doc]), cli.run(&["ls"])).0
        });
        std::thread::sleep(wait.saturating_sub(killer.elapsed()));
        server.kill();
        let answered = rm.join().expect("it ran").code == 0;
        server.restart();
        let export = cli.run(&["export", &doc, "--format", "text"]);
        match export.code {
            0 => {
                assert!(!answered, "round {round}: {doc} was deleted, and is there");
                assert!(!export.stdout.is_empty(), "round {round}: an acked edit is lost");
                kept += 1;
            }
            1 => {
                assert!(export.stderr.contains("was deleted"), "round {round}: {}", export.stderr);
                // Its old client comes back with everything.
                let mut old = Socket::connect(server.addr(), &format!("doc%20{round}"));
                old.send(message::step2(&Writer::new(round + 1).append("again")));
                assert_eq!(old.until_closed(PATIENCE), Some(4404), "round {round}");
                deleted += 1;
            }
            code => panic!("round {round}: exit code {code}: {}", export.stderr),
        }
    }
    println!("{rounds} kills: {deleted} deleted, {kept} kept whole");
}

/// An old server, of before there were deletions, would show what is deleted; so it must not open the directory at all.
#[test]
fn s10_the_directory_says_that_it_may_hold_tombstones() {
    let data = DataDir::new();
    Options::new(data.path()).start().drain();
    let format = std::fs::read_to_string(data.path().join("FORMAT")).expect("is there");
    assert_eq!(format.trim(), weft::data_dir::FORMAT.to_string());
    const { assert!(weft::data_dir::FORMAT >= 2) };
}
