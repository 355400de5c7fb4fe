//! Yjs as referee: random sessions of real Yjs documents through weft end with the same content, state vector and delete
//! set in every client, in weft's export, and after a restart and a compaction.

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, Js, State, VERSIONS};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use rand::seq::IndexedRandom;
use rand::{Rng, RngCore};

const SESSIONS: u64 = 30;

fn session(js: &Js, server: &Server, seed: u64, number: u64) -> (String, State) {
    let mut rng = seed::rng(seed, number);
    let room = format!("session {number}");
    let clients: Vec<Client<'_>> =
        (0..rng.random_range(3..=5)).map(|n| js.open(VERSIONS[n % VERSIONS.len()], server, &room)).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    for _ in 0..30 {
        let client = clients.choose(&mut rng).expect("clients");
        match rng.random_range(0..10) {
            0 => drop(client.run("provider.disconnect()")),
            1 | 2 => drop(client.run("provider.connect()")),
            3 => client.cut(),
            // Everybody has the same before the next edits, so that they build on each other.
            4 if rng.random_bool(0.5) => {
                all.iter().for_each(|client| drop(client.run("provider.connect()")));
                js.converged(&all);
            }
            _ => client.edit(rng.next_u64(), rng.random_range(1..=12)),
        }
    }
    all.iter().for_each(|client| drop(client.run("provider.connect()")));
    js.synced(&all);
    let state = js.converged(&all);
    all.iter().for_each(|client| client.ack());
    (room, state)
}

#[test]
fn p2_random_sessions_agree_with_yjs() {
    let seed = seed::seed("p2_random_sessions_agree_with_yjs");
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    let mut ended: Vec<(String, State)> = Vec::new();
    let exported = |cli: &Cli, room: &str| js.load(&cli.export_update(room));
    for number in 0..SESSIONS {
        let (room, state) = session(&js, &server, seed, number);
        exported(&cli, &room).assert_same(&state, format_args!("{room}: weft's export differs from Yjs"));
        let fresh = js.open(VERSIONS[2], &server, &room);
        fresh.synced();
        fresh.state().assert_same(&state, format_args!("{room}: a fresh client differs"));
        ended.push((room, state));
    }
    for step in ["killed and restarted", "compacted online", "compacted, drained, restarted", "compacted offline"] {
        match step {
            "killed and restarted" => server.kill(),
            "compacted online" => drop(cli.done(&["compact", "--all"])),
            "compacted, drained, restarted" => server.drain(),
            _ => {
                server.drain();
                cli.done(&["compact", "--all"]);
                for (room, state) in &ended {
                    exported(&cli, room).assert_same(state, format_args!("{room}, {step}"));
                }
            }
        }
        if step != "compacted online" {
            server.restart();
        }
        for (room, state) in &ended {
            let fresh = js.open(VERSIONS[0], &server, room);
            fresh.synced();
            fresh.state().assert_same(state, format_args!("{room}, {step}: a fresh client differs"));
            exported(&cli, room).assert_same(state, format_args!("{room}, {step}: the export differs"));
        }
    }
}
