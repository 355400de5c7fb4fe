//! Hands cases to worker processes and counts what came of them. A worker that hangs or ends is a result, too.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::damage::Damage;
use super::judge::Verdict;

/// A case that takes longer hangs: most take some 20 ms, the slowest wait a second for sled's lock.
const HUNG_AFTER: Duration = Duration::from_secs(30);
/// Cases after which a worker is replaced: panics inside sled leave memory and threads behind.
const CASES_A_WORKER: usize = 2_000;

/// How a sweep goes about it.
#[derive(Debug, Clone)]
pub struct Sweep {
    /// The program whose `worker TEMPLATE SCRATCH` is a worker.
    pub program: PathBuf,
    /// Arguments before TEMPLATE and SCRATCH.
    pub args: Vec<String>,
    /// The directory that is damaged.
    pub template: PathBuf,
    /// Where copies are made; best in memory.
    pub scratch: PathBuf,
    /// Workers at once.
    pub workers: usize,
    /// No case is begun after this.
    pub time: Duration,
}

/// What came of all cases.
#[derive(Debug, Default)]
pub struct Tally {
    /// By file kind and kind of damage: how many ended how.
    pub rows: BTreeMap<(String, &'static str), BTreeMap<&'static str, u64>>,
    /// What must not happen, up to [`Tally::OFFENDERS_MAX`], with the case.
    pub offenders: Vec<(Damage, Verdict)>,
    /// By text, some reasons of refusals with a case each.
    pub refusals: BTreeMap<String, (u64, Damage)>,
    /// Cases that were done.
    pub cases: u64,
    /// Cases that were not begun in time.
    pub left: u64,
}

impl Tally {
    /// More than these are counted, not kept.
    pub const OFFENDERS_MAX: usize = 50;

    fn add(&mut self, damage: Damage, verdict: Verdict) {
        self.cases += 1;
        let kind = match &damage {
            Damage::Flip { .. } => "flip",
            Damage::Truncate { .. } => "truncate",
        };
        let row = self.rows.entry((file_kind(damage.file()), kind)).or_default();
        *row.entry(verdict.kind()).or_default() += 1;
        match &verdict {
            Verdict::Right | Verdict::RightAndReported | Verdict::Named => {}
            Verdict::Refused(why) | Verdict::RefusedThenRight(why) | Verdict::RefusedThenLess(why) => {
                let why: String = why.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
                self.refusals.entry(why).or_insert((0, damage)).0 += 1;
            }
            Verdict::NotRepaired(_) | Verdict::Silent(_) | Verdict::Wrong(_) | Verdict::Died(_)
                if self.offenders.len() < Self::OFFENDERS_MAX =>
            {
                self.offenders.push((damage, verdict));
            }
            Verdict::NotRepaired(_) | Verdict::Silent(_) | Verdict::Wrong(_) | Verdict::Died(_) => {}
        }
    }

    /// How many cases ended so.
    pub fn count(&self, kind: &str) -> u64 {
        self.rows.values().filter_map(|row| row.get(kind)).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((file, kind), row) in &self.rows {
            let all: u64 = row.values().sum();
            write!(f, "{file:24} {kind:9} {all:7} cases:")?;
            for (verdict, n) in row {
                write!(f, "  {verdict} {n} ({:.1} %)", 100.0 * *n as f64 / all as f64)?;
            }
            writeln!(f)?;
        }
        for (why, (n, damage)) in &self.refusals {
            writeln!(f, "refused {n} times, e.g. {damage:?}: {why}")?;
        }
        for (damage, verdict) in &self.offenders {
            writeln!(f, "{damage:?}: {verdict:?}")?;
        }
        write!(f, "{} cases, {} left", self.cases, self.left)
    }
}

/// A file's path without the numbers in it.
fn file_kind(path: &Path) -> String {
    path.to_string_lossy().chars().filter(|c| !c.is_ascii_digit()).collect()
}

struct Worker {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    done: usize,
}

impl Worker {
    fn start(sweep: &Sweep, number: usize) -> Self {
        let mut command = Command::new(&sweep.program);
        command.args(&sweep.args).arg(&sweep.template).arg(sweep.scratch.join(format!("copy-{number}")));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cannot start a worker");
        let stdout = child.stdout.take().expect("piped");
        let (to, answers) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        let stdin = child.stdin.take().expect("piped");
        Self { child, stdin, answers, done: 0 }
    }

    fn ask(&mut self, damage: &Damage) -> Verdict {
        self.done += 1;
        let line = serde_json::to_string(damage).expect("encodes");
        if writeln!(self.stdin, "{line}").is_err() {
            return self.end("it had ended");
        }
        match self.answers.recv_timeout(HUNG_AFTER) {
            Ok(line) => serde_json::from_str(&line).expect("a verdict"),
            Err(mpsc::RecvTimeoutError::Timeout) => self.end("it hung"),
            Err(mpsc::RecvTimeoutError::Disconnected) => self.end("it ended"),
        }
    }

    fn end(&mut self, what: &str) -> Verdict {
        self.done = CASES_A_WORKER;
        let _ = self.child.kill();
        let status = self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
        Verdict::Died(format!("{what}: {status}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the cases until all are done or the time is up.
pub fn sweep(sweep: &Sweep, cases: Vec<Damage>) -> Tally {
    let (ends, tally, cases) = (Instant::now() + sweep.time, Mutex::new(Tally::default()), Mutex::new(cases));
    let (tally, cases) = (Arc::new(tally), Arc::new(cases));
    std::thread::scope(|scope| {
        for number in 0..sweep.workers {
            let (tally, cases) = (tally.clone(), cases.clone());
            scope.spawn(move || {
                let mut worker = None;
                while Instant::now() < ends {
                    let Some(damage) = cases.lock().expect("not poisoned").pop() else { break };
                    let asked = worker.get_or_insert_with(|| Worker::start(sweep, number));
                    let verdict = asked.ask(&damage);
                    if asked.done >= CASES_A_WORKER {
                        worker = None;
                    }
                    tally.lock().expect("not poisoned").add(damage, verdict);
                }
            });
        }
    });
    let mut tally = std::mem::take(&mut *tally.lock().expect("not poisoned"));
    tally.left = cases.lock().expect("not poisoned").len() as u64;
    for number in 0..sweep.workers {
        let _ = std::fs::remove_dir_all(sweep.scratch.join(format!("copy-{number}")));
    }
    tally
}
