//! The targets of `fuzz/` under libFuzzer, which learns from the branches that are taken; also under AddressSanitizer, which
//! sees what yrs does to its memory.
//!
//! Both need every crate built with instrumentation, so they have target directories of their own. The flags are stable
//! ones of rustc but for the sanitizer, for which a stable compiler is told that it is a nightly one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Tally;
use crate::ledger::Totals;
use crate::server::workspace;

const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// What libFuzzer learns from.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
                        -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
                        -Cllvm-args=-sanitizer-coverage-pc-table";

/// One campaign.
pub struct Plan {
    /// For all targets together.
    pub time: Duration,
    /// At a time.
    pub threads: usize,
    /// Under AddressSanitizer.
    pub asan: bool,
    /// What new branches were found with goes into the corpus.
    pub keep: bool,
    /// Where it all begins.
    pub seed: u64,
}

/// The names of all targets: each has a corpus.
pub fn targets() -> Vec<String> {
    let corpus = fs::read_dir(workspace().join("fuzz/corpus")).expect("fuzz/corpus is part of the repository");
    let mut names: Vec<_> =
        corpus.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Builds the driver.
///
/// # Panics
/// When that fails.
pub fn build(asan: bool) -> PathBuf {
    let dir = workspace().join(if asan { "target/fuzz-asan" } else { "target/fuzz" });
    let mut flags = COVERAGE.to_owned();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if asan {
        flags.push_str(" -Zsanitizer=address");
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    let built = cargo
        .args([
            "build",
            "-p",
            "weft-fuzz",
            "--features",
            "guided",
            "--bin",
            "guided",
            "--target",
            TRIPLE,
            "--target-dir",
        ])
        .arg(&dir)
        .env("RUSTFLAGS", flags)
        .current_dir(workspace())
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the driver cannot be built; it needs a C++ compiler");
    dir.join(TRIPLE).join("debug/guided")
}

/// Runs the targets with these names, and counts their runs.
///
/// # Panics
/// When one fails; what made it fail is in `fuzz/found`.
pub fn run(driver: &Path, names: &[String], plan: &Plan) -> Tally {
    // Each gets its part of the time, on its part of the machine.
    let rounds = names.len().div_ceil(plan.threads) as u32;
    let each = plan.time / rounds.max(1);
    let mut runs = 0;
    let mut failed = Vec::new();
    for together in names.chunks(plan.threads) {
        let begun: Vec<_> = together.iter().map(|name| Run::begin(driver, name, each, plan)).collect();
        for run in begun {
            match run.end(driver, plan.keep) {
                Ok(count) => runs += count,
                Err(name) => failed.push(name),
            }
        }
    }
    assert!(failed.is_empty(), "{failed:?} failed; see fuzz/found, and above");
    let sanitizer = if plan.asan { " under AddressSanitizer" } else { "" };
    Tally { what: format!("fuzz{sanitizer}"), rounds: runs, totals: Totals::default() }
}

struct Run {
    name: String,
    child: std::process::Child,
    found: tempfile::TempDir,
    log: PathBuf,
}

impl Run {
    fn begin(driver: &Path, name: &str, time: Duration, plan: &Plan) -> Self {
        let found = super::ground();
        let log = found.path().join("log");
        let inputs = found.path().join("inputs");
        let kept = workspace().join("fuzz/found").join(name);
        [&inputs, &kept].iter().for_each(|dir| fs::create_dir_all(dir).expect("a directory"));
        let output = fs::File::create(&log).expect("a file");
        let child = command(driver, name)
            .arg(&inputs)
            .arg(corpus(name))
            .arg(format!("-max_total_time={}", time.as_secs()))
            .arg(format!("-seed={}", plan.seed as u32))
            .arg(format!("-artifact_prefix={}/", kept.display()))
            .args(["-timeout=60", "-rss_limit_mb=4096", "-print_final_stats=1", "-detect_leaks=0", "-max_len=16384"])
            .stdout(Stdio::null())
            .stderr(output)
            .spawn()
            .expect("the driver was built");
        println!("fuzz: {name} for {} s", time.as_secs());
        Self { name: name.to_owned(), child, found, log }
    }

    /// How many runs there were; its name when one failed.
    fn end(mut self, driver: &Path, keep: bool) -> Result<u64, String> {
        let status = self.child.wait().expect("it ends");
        let log = String::from_utf8_lossy(&fs::read(&self.log).expect("its log")).into_owned();
        if !status.success() {
            let last: Vec<&str> = log.lines().rev().take(60).collect();
            last.iter().rev().for_each(|line| println!("{line}"));
            return Err(self.name);
        }
        if keep {
            let merged = command(driver, &self.name)
                .args(["-merge=1", "-max_len=4096"])
                .arg(corpus(&self.name))
                .arg(self.found.path().join("inputs"))
                .stderr(Stdio::null())
                .status();
            assert!(merged.is_ok_and(|status| status.success()), "the corpus of {} cannot be merged", self.name);
        }
        let stat =
            |name: &str| log.lines().find_map(|line| line.strip_prefix(name)).and_then(|n| n.trim().parse().ok());
        let runs: u64 = stat("stat::number_of_executed_units:").expect("the driver says how often");
        let new: u64 = stat("stat::new_units_added:").unwrap_or(0);
        println!("fuzz: {}: {runs} runs, {new} inputs took a new way", self.name);
        Ok(runs)
    }
}

fn command(driver: &Path, name: &str) -> Command {
    let mut command = Command::new(driver);
    // Documents that yrs broke are leaked on purpose (DEPENDENCIES, safe use 6).
    command.env("WEFT_FUZZ_TARGET", name).env("ASAN_OPTIONS", "detect_leaks=0").current_dir(workspace().join("fuzz"));
    command
}

fn corpus(name: &str) -> PathBuf {
    workspace().join("fuzz/corpus").join(name)
}
