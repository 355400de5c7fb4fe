//! P1: `kill -9` at any moment loses nothing that was acked.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crdt_tests::cli::Cli;
use crdt_tests::js::{self, Client, Js, VERSIONS};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use rand::Rng;

/// What was acked, by room: everything in it must be there for ever.
#[derive(Default)]
struct Ledger {
    acked: [Vec<String>; ROOMS],
    edits_acked: u64,
    edits_unanswered: u64,
}

const ROOMS: usize = 2;
const WRITERS: usize = 4;

#[test]
fn p1_kill_9_loses_nothing_acked() {
    let rounds: u64 = std::env::var("WEFT_KILL_ROUNDS").map_or(24, |text| text.parse().expect("a number of rounds"));
    let seed = seed::seed("p1_kill_9_loses_nothing_acked");
    let mut rng = seed::rng(seed, 0);
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let mut ledger = Ledger::default();
    let start = Instant::now();
    let mut survivors = 0;
    for round in 0..rounds {
        let writers: Vec<Client<'_>> =
            (0..WRITERS).map(|n| js.open(VERSIONS[n % 3], &server, &format!("ledger {}", n % ROOMS))).collect();
        js.synced(&writers.iter().collect::<Vec<_>>());
        for (number, writer) in writers.iter().enumerate() {
            writer.run("provider.shouldConnect = false");
            writer.storm(&format!("{round}.{number}"));
        }
        js::storms_acked(&js, &writers, rng.random_range(1..400));
        // Some rounds die inside a compaction, some with a checkpoint or a snapshot just begun.
        let compaction = rng.random_bool(0.4).then(|| {
            let cli = Cli::of(&server);
            std::thread::spawn(move || cli.run(&["compact", "--all"]))
        });
        std::thread::sleep(Duration::from_micros(rng.random_range(0..30_000)));
        server.kill();
        if let Some(compaction) = compaction {
            // Done or cut short; anything but a hang or a panic is fine.
            let output = compaction.join().expect("the compaction ran");
            assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        }
        for (number, writer) in writers.iter().enumerate() {
            let account = writer.storm_stop();
            ledger.edits_acked += account.acked;
            ledger.edits_unanswered += account.sent - account.acked;
            ledger.acked[number % ROOMS].extend((1..=account.acked).map(|token| format!("{round}.{number}-{token}")));
        }
        // The writers are gone before the restart: what a fresh client reads can only come from the disk.
        drop(writers);
        server.restart();
        for (room, acked) in ledger.acked.iter().enumerate() {
            let fresh = js.open(VERSIONS[2], &server, &format!("ledger {room}"));
            fresh.synced();
            let tokens: Vec<String> = fresh.get("array.toJSON()");
            assert!(!fresh.state().pending, "round {round}: something waits for an update that was lost");
            let there: HashSet<&str> = tokens.iter().map(String::as_str).collect();
            assert_eq!(there.len(), tokens.len(), "round {round}: an edit is there twice");
            let lost: Vec<&String> = acked.iter().filter(|token| !there.contains(token.as_str())).collect();
            assert!(lost.is_empty(), "round {round}: {} acked edits are lost: {lost:?}", lost.len());
            survivors = tokens.len().max(survivors);
        }
    }
    println!(
        "{rounds} kills in {:.1?}: {} edits acked, {} unanswered, 0 acked edits lost; the larger document holds {survivors}",
        start.elapsed(),
        ledger.edits_acked,
        ledger.edits_unanswered,
    );
    assert!(ledger.edits_acked > rounds * 10, "hardly anything was acked, so hardly anything was tested");
    // And the whole of it, compacted, once more.
    let cli = Cli::of(&server);
    let before: Vec<_> = (0..ROOMS).map(|room| js.load(&cli.export_update(&format!("ledger {room}")))).collect();
    cli.done(&["compact", "--all"]);
    server.kill();
    server.restart();
    for (room, state) in before.iter().enumerate() {
        js.load(&cli.export_update(&format!("ledger {room}")))
            .assert_same(state, format_args!("ledger {room}, compacted"));
    }
}

/// The clients of a killed server come back and everybody ends up equal, acked or not: their own replicas heal it.
#[test]
fn p2_survivors_heal_the_server() {
    let seed = seed::seed("p2_survivors_heal_the_server");
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> = (0..6).map(|n| js.open(VERSIONS[n % 3], &server, "heal")).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    for round in 0..5u64 {
        for (number, client) in clients.iter().enumerate() {
            client.edit(seed + round * 100 + number as u64, 20);
        }
        server.kill();
        for (number, client) in clients.iter().enumerate() {
            client.edit(seed + 50 + round * 100 + number as u64, 5);
        }
        server.restart();
        js.synced(&all);
        let state = js.converged(&all);
        js.load(&Cli::of(&server).export_update("heal")).assert_same(&state, format_args!("round {round}"));
    }
}
