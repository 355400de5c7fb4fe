//! Figures for the README: what weft costs under load, each edit accounted for.
//!
//! `cargo run --release -p crdt-tests --bin load -- [ingest|cold-open|idle|acks|all|million] [--runs N]
//! [--connections N] [--writers N] [--seconds N] [--documents N] [--json]`
//!
//! Builds and starts the release binary itself, on fresh directories below `--dir` (default: the system's temporary one, so
//! name a directory on the disk that counts). Prints a table, or one JSON object with `--json`.

mod acks;
mod cold_open;
mod disk;
mod idle;
mod ingest;
mod line;
mod million;
mod open_loop;
mod report;

use std::path::PathBuf;

use crdt_tests::server::{self, Options, Profile, Server};

use report::Report;

/// What the command line asks for.
struct Plan {
    what: String,
    runs: usize,
    connections: usize,
    writers: usize,
    documents: usize,
    seconds: u64,
    json: bool,
    dir: PathBuf,
    binary: PathBuf,
}

impl Plan {
    fn fresh_dir(&self) -> tempfile::TempDir {
        tempfile::Builder::new().prefix("weft-load-").tempdir_in(&self.dir).expect("cannot make a directory")
    }

    fn start(&self, data: PathBuf) -> Server {
        Options::with_binary(self.binary.clone(), data).env("WEFT_LOG_LEVEL", "warn").start()
    }
}

fn main() {
    let mut plan = Plan {
        what: "all".into(),
        runs: 3,
        connections: 5_000,
        writers: 64,
        documents: 1_000_000,
        seconds: 5,
        json: false,
        dir: std::env::temp_dir(),
        binary: PathBuf::new(),
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_else(|| usage(&format!("{arg} needs a value")));
        let number = |text: String| text.parse().unwrap_or_else(|_| usage(&format!("not a number: {text}")));
        match arg.as_str() {
            "--runs" => plan.runs = number(value()),
            "--connections" => plan.connections = number(value()),
            "--writers" => plan.writers = number(value()),
            "--documents" => plan.documents = number(value()),
            "--seconds" => plan.seconds = number(value()) as u64,
            "--dir" => plan.dir = value().into(),
            "--binary" => plan.binary = value().into(),
            "--json" => plan.json = true,
            "ingest" | "cold-open" | "idle" | "acks" | "all" | "million" => plan.what = arg,
            _ => usage(&format!("unknown argument {arg}")),
        }
    }
    if plan.binary.as_os_str().is_empty() {
        plan.binary = server::build(Profile::Release);
    }
    let mut report = Report::default();
    let all = plan.what == "all";
    if all || plan.what == "ingest" || plan.what == "cold-open" {
        match ingest::prepare() {
            Some(history) if plan.what == "cold-open" => cold_open::run(&plan, &history, &mut report),
            Some(history) => {
                ingest::run(&plan, &history, &mut report);
                if all {
                    cold_open::run(&plan, &history, &mut report);
                }
            }
            None => report.note("automerge-paper is absent: ingest and cold-open skipped"),
        }
    }
    if all || plan.what == "idle" {
        idle::run(&plan, &mut report);
    }
    if all || plan.what == "acks" {
        acks::run(&plan, &mut report);
        open_loop::run(&plan, &mut report);
    }
    // Takes minutes and a gigabyte, so only when asked for.
    if plan.what == "million" {
        million::run(&plan, &mut report);
    }
    report.print(plan.json);
}

fn usage(problem: &str) -> ! {
    eprintln!(
        "{problem}\nusage: load [ingest|cold-open|idle|acks|all|million] [--runs N] [--connections N] [--writers N] \
         [--seconds N] [--documents N] [--dir DIR] [--binary FILE] [--json]"
    );
    std::process::exit(2);
}
