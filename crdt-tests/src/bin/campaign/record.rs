//! Rows of `crdt-tests/LEDGER.md`: what was done when, to which commit, and what came of it.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crdt_tests::campaign::Tally;
use crdt_tests::server::workspace;

/// Begins a table.
const HEADER: &str = "| date | commit | campaign | count | seed | result |\n|---|---|---|---|---|---|";

/// The rows of this run of the program.
pub struct Record {
    seed: u64,
    date: String,
    commit: String,
    rows: Vec<String>,
}

impl Record {
    /// None yet.
    pub fn new(seed: u64) -> Self {
        let said = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).current_dir(workspace()).output();
            output.map_or_else(|_| "unknown".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let mut commit = said("git", &["rev-parse", "--short", "HEAD"]);
        // What earlier runs entered changes nothing of the program.
        if !said("git", &["status", "--porcelain", "--untracked-files=no", ":!crdt-tests/LEDGER.md"]).is_empty() {
            commit.push_str(" + changes");
        }
        Self { seed, date: said("date", &["-u", "+%F"]), commit, rows: Vec::new() }
    }

    /// Enters what came of a part of a campaign: what it did, that it had to be skipped, or that it found a broken promise.
    pub fn enter(&mut self, campaign: &str, part: &str, outcome: Option<Option<Tally>>, took: Duration) {
        let (count, result) = match outcome {
            Some(Some(tally)) => (tally.rounds, format!("held; {}", tally.totals)),
            Some(None) => (0, "SKIPPED".into()),
            None => (0, "BROKEN".into()),
        };
        let (date, commit, seed, took) = (&self.date, &self.commit, self.seed, took.as_secs());
        println!("{campaign}, {part}: {count} in {took} s: {result}");
        self.rows.push(format!("| {date} | {commit} | {campaign}: {part} | {count} | {seed} | {result} |"));
    }

    /// Appends the rows to the ledger.
    pub fn append(self) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("LEDGER.md");
        let ledger = std::fs::read_to_string(&path).expect("LEDGER.md is part of the repository");
        let mut file = OpenOptions::new().append(true).open(&path).expect("LEDGER.md is part of the repository");
        if !ledger.lines().last().is_some_and(|line| line.starts_with('|')) {
            writeln!(file, "\n{HEADER}").expect("written");
        }
        for row in self.rows {
            writeln!(file, "{row}").expect("written");
        }
        println!("entered in {}", path.display());
    }
}
