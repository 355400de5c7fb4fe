//! `kill -9` under the edits of stock clients from npm: what their users were shown as saved is there for the next reader
//! (P1). y-websocket's, which show nothing, are acked by message 102.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use rand::Rng;

use super::{Tally, ground};
use crate::cli::Cli;
use crate::js::{self, Account, Client, Js, Kind};
use crate::ledger::Totals;
use crate::seed;
use crate::server::Server;
use crate::wait::PATIENCE;

const ROOMS: usize = 2;
const WRITERS: usize = 4;

/// What the writers of a room did, by the prefix of their tokens.
type Room = BTreeMap<String, Account>;

/// So many kills under clients of this kind, of every release in turn.
pub fn kills(kind: Kind, rounds: usize, seed: u64) -> Tally {
    let mut rng = seed::rng(seed, 0);
    let version = |number: usize| kind.versions()[number % kind.versions().len()];
    let place = ground();
    let mut server = Server::start_on(place.path().join("data"));
    let js = Js::start();
    let mut rooms: [Room; ROOMS] = Default::default();
    let mut totals = Totals::default();
    for round in 0..rounds {
        let writers: Vec<Client<'_>> =
            (0..WRITERS).map(|n| js.open(version(round + n), &server, &room_name(n % ROOMS))).collect();
        js.synced(&writers.iter().collect::<Vec<_>>());
        for (number, writer) in writers.iter().enumerate() {
            writer.stay_away();
            writer.storm(&format!("{round}.{number}"));
        }
        js::storms_acked(&js, &writers, rng.random_range(1..400));
        // Some rounds die inside a compaction, some with a checkpoint or a snapshot just begun.
        let compaction = rng.random_bool(0.4).then(|| Cli::of(&server).start(&["compact", "--all"]));
        std::thread::sleep(Duration::from_micros(rng.random_range(0..30_000)));
        server.kill();
        if let Some(compaction) = compaction {
            // Done or cut short; anything but a hang or a panic is fine.
            let output = compaction.wait(PATIENCE);
            assert!((0..=3).contains(&output.code) && !output.stderr.contains("panicked"), "{output:?}");
        }
        for (number, writer) in writers.iter().enumerate() {
            let account = writer.storm_stop();
            totals.acked += account.acked;
            totals.unanswered += account.sent - account.acked;
            rooms[number % ROOMS].insert(format!("{round}.{number}"), account);
        }
        // The writers are gone before the restart: what a fresh client reads can only come from the disk.
        drop(writers);
        server.restart();
        let mut kept = 0;
        for (number, room) in rooms.iter().enumerate() {
            totals.documents_checked += 1;
            let fresh = js.open(version(round), &server, &room_name(number));
            fresh.synced();
            let state = fresh.state();
            let what = format!("seed {seed}, round {round}, room {number}");
            assert!(!state.pending, "{what}: something waits for an update that was lost");
            kept += check(&fresh.get::<Vec<String>>("array.toJSON()"), room, &what);
            // What the admin gets and what clients get are one document.
            js.load(&Cli::of(&server).export_update(&room_name(number))).assert_same(&state, &what);
        }
        // Of all rounds so far.
        totals.unanswered_kept = kept;
    }
    Tally { what: format!("kill -9 under {} clients", kind.name()), rounds: rounds as u64, totals }
}

fn room_name(number: usize) -> String {
    format!("ledger-{number}")
}

/// Compares tokens with what was sent and acked; returns how many are there that were not acked.
fn check(tokens: &[String], room: &Room, what: &str) -> u64 {
    let there: HashSet<&str> = tokens.iter().map(String::as_str).collect();
    assert_eq!(there.len(), tokens.len(), "{what}: an edit is there twice");
    let mut found = 0;
    for (prefix, account) in room {
        let is_there = |number: &u64| there.contains(&*format!("{prefix}-{number}"));
        let lost: Vec<u64> = (1..=account.acked).filter(|number| !is_there(number)).collect();
        assert!(lost.is_empty(), "{what}: of writer {prefix} acked edits are lost: {lost:?}");
        found += (1..=account.sent).filter(is_there).count();
    }
    assert_eq!(found, there.len(), "{what}: something is there that nobody sent");
    (found as u64) - room.values().map(|account| account.acked).sum::<u64>()
}
