//! The catalogue of attacks beside canaries: each once, in one process that none kills; and mixed, for
//! `WEFT_ATTACK_SECONDS`, 10 unless it says otherwise.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crdt_tests::attacks::rows::{GETTING_IN, MESSAGES, Proof, table};
use crdt_tests::attacks::{Length, catalogue, run};
use crdt_tests::campaign::noise;
use crdt_tests::seed;
use crdt_tests::server::workspace;

#[test]
fn p4_every_attack_in_one_process_and_it_is_killed_by_none() {
    assert!(catalogue().len() >= 24);
    run(&Length::Once, seed::seed("p4_every_attack"));
}

#[test]
fn p4_mixed_attacks() {
    let seconds = std::env::var("WEFT_ATTACK_SECONDS").map_or(10, |text| text.parse().expect("a number of seconds"));
    run(&Length::Mixed(Duration::from_secs(seconds)), seed::seed("p4_mixed_attacks"));
}

/// CI's part of the campaign `noise`.
#[test]
fn p4_noise_through_sockets() {
    noise::run(200_000, seed::seed("p4_noise_through_sockets"));
}

/// Every row names cases and tests that are there, and no case is without a row but those that are only kinds of garbage.
#[test]
fn every_row_is_proven_by_what_there_is() {
    println!("{}", table());
    let cases: BTreeSet<&str> = catalogue().iter().map(|attack| attack.name).collect();
    let mut sources = String::new();
    ["src", "crdt-tests/tests", "fuzz/tests"].iter().for_each(|root| read(&workspace().join(root), &mut sources));
    for (row, proofs) in GETTING_IN.iter().chain(MESSAGES) {
        assert!(!proofs.is_empty(), "{row}");
        for proof in *proofs {
            match proof {
                Proof::Case(name) => assert!(cases.contains(name), "{row}: there is no case {name:?}"),
                // A function, or a target of `fuzz/`, which is a test by the same name.
                Proof::Test(name) => {
                    let is_test = sources.contains(&format!("fn {name}("))
                        || crdt_tests::campaign::fuzz::targets().iter().any(|target| target == name);
                    assert!(is_test, "{row}: there is no test {name}");
                }
                Proof::Open(why) => assert!(!why.is_empty()),
            }
        }
    }
}

fn read(dir: &Path, into: &mut String) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}
