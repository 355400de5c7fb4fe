//! P1: `kill -9` at any moment loses nothing that was acked.

use crdt_tests::campaign::stock;
use crdt_tests::campaign::storm::{self, Activity};
use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, Js, Kind, VERSIONS};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};

/// Kills under stock clients of each kind; `campaign stock` does this for longer.
const STOCK_KILLS: usize = 6;
/// Kills in the midst of everything that writes, each once.
const KILLS: usize = Activity::ALL.len();

#[test]
fn p1_kill_9_loses_nothing_that_stock_clients_were_shown_as_saved() {
    let seed = seed::seed("p1_kill_9_loses_nothing_that_stock_clients_were_shown_as_saved");
    for kind in Kind::ALL {
        let tally = stock::kills(kind, STOCK_KILLS, seed);
        println!("{tally}");
        assert!(
            tally.totals.acked > STOCK_KILLS as u64 * 10,
            "hardly anything was acked, so hardly anything was tested"
        );
    }
}

#[test]
fn p1_kill_9_in_the_midst_of_anything_loses_nothing_acked() {
    let seed = seed::seed("p1_kill_9_in_the_midst_of_anything_loses_nothing_acked");
    let tally = storm::kills(KILLS, seed).expect("every process can be killed");
    println!("{tally}");
    assert!(tally.totals.acked > KILLS as u64 * 5, "hardly anything was acked, so hardly anything was tested");
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
