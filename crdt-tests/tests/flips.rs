//! Damage is found, named, isolated and repaired: a sample of [`crdt_tests::flips`], as many cases as a minute holds. All of
//! them: `cargo run --release -p crdt-tests --bin flips -- 36000`.

use std::time::Duration;

use crdt_tests::flips::{self, Size, Sweep, Tally, Template};
use crdt_tests::seed;

#[test]
fn any_flipped_byte_and_any_truncation_is_survived() {
    let scratch = flips::scratch();
    let template = scratch.path().join("template");
    Template::make(&template, Size::Chunks);
    let mut cases = flips::cases(&Template::read(&template), 20, &mut seed::rng(seed::seed("flips"), 0));
    // The small files have few bytes, and would hardly be met among those of the database.
    cases.sort_by_key(|case| case.file().ends_with("db"));
    let small = cases.iter().filter(|case| !case.file().ends_with("db")).count();
    cases.drain(small.min(400)..small);
    cases.truncate(1_200);
    cases.reverse();
    let sweep = Sweep {
        program: env!("CARGO_BIN_EXE_flips").into(),
        args: vec!["worker".into()],
        template,
        scratch: scratch.path().to_owned(),
        workers: 2,
        time: Duration::from_secs(45),
    };
    let tally: Tally = flips::sweep(&sweep, cases);
    println!("{tally}");
    assert!(tally.offenders.is_empty(), "{tally}");
    assert!(tally.cases > 50, "{tally}");
}
