//! Flips every byte of a small data directory and cuts each of its files at every place, one at a time, and prints what
//! came of it: `cargo run --release -p crdt-tests --bin flips -- [SECONDS [PART-OF-A-PATH]]`; `WEFT_SEED` repeats a run.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crdt_tests::flips::{self, Size, Sweep, Template};
use crdt_tests::seed;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, template, scratch] = &args[..]
        && word == "worker"
    {
        flips::worker(template.as_ref(), scratch.as_ref());
        return ExitCode::SUCCESS;
    }
    let seconds = args.first().map_or(600, |text| text.parse().expect("SECONDS is a number"));
    let part = args.get(1).cloned().unwrap_or_default();
    let scratch = flips::scratch();
    let template = scratch.path().join("template");
    Template::make(&template, Size::Chunks);
    let mut cases = flips::cases(&Template::read(&template), 200, &mut seed::rng(seed::seed("flips"), 0));
    cases.retain(|case| case.file().to_string_lossy().contains(&part));
    println!("{} cases", cases.len());
    let tally = flips::sweep(
        &Sweep {
            program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("flips")),
            args: vec!["worker".into()],
            template,
            scratch: scratch.path().to_owned(),
            workers: 2,
            time: Duration::from_secs(seconds),
        },
        cases,
    );
    println!("{tally}");
    if tally.offenders.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
