//! The real binary on a disk whose Nth operation fails, for each N until there are no more.
//!
//! Whatever fails, and however: a command ends with an exit code of the contract, a server stops acking and stays
//! readable (S7), nobody panics; and afterwards, on a disk that works again, all that was acked is there and nothing else.

use std::collections::BTreeMap;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::seq::{IndexedRandom, SliceRandom};

use super::{Tally, calm, ground};
use crate::cli::{Cli, Output};
use crate::faults::{self, Fault, How, Operation};
use crate::ledger::{Ledger, Totals};
use crate::seed;
use crate::server::Options;
use crate::wait::PATIENCE;

/// Something that is done to a data directory, and may fail half way.
pub struct Scenario {
    /// What the record calls it.
    pub name: &'static str,
    /// Makes what there is before, on a disk that works.
    pub prepare: fn(&Ground, &mut Ledger),
    /// Does it on the disk that fails.
    pub act: fn(&Ground, &mut Ledger),
}

/// Where one attempt happens.
pub struct Ground {
    /// All of it; the disk that fails.
    pub dir: PathBuf,
    report: PathBuf,
    library: &'static Path,
    fault: Option<Fault>,
    /// Of this attempt.
    pub seed: u64,
}

impl Ground {
    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn environment(&self) -> Vec<(String, String)> {
        faults::environment(self.library, &self.dir, &self.report, self.fault)
    }

    /// Whether what fails is only want of space, which the server leaves by itself (S9).
    pub fn may_recover(&self) -> bool {
        self.fault.is_none_or(|fault| fault.how == How::Enospc)
    }

    /// Whether nothing works any more on the disk once it has failed.
    pub fn fails_for_good(&self) -> bool {
        self.fault.is_some_and(|fault| fault.sticks)
    }

    /// Commands on the disk that fails.
    pub fn cli(&self) -> Cli {
        Cli::on(self.data()).envs(self.environment())
    }

    /// A server on the disk that fails.
    pub fn server(&self) -> Options {
        let mut options = Options::new(self.data());
        options.env.extend(self.environment());
        options
    }

    /// Commands on a disk that works.
    pub fn calm_cli(&self) -> Cli {
        Cli::on(self.data())
    }

    /// Runs a command on the disk that fails. It must end in order: an exit code of the contract, and no panic.
    pub fn run(&self, args: &[&str]) -> Output {
        let output = self.cli().start(args).wait(PATIENCE);
        let fault = self.fault.map(|fault| fault.to_string()).unwrap_or_default();
        assert!(
            (0..=3).contains(&output.code),
            "{fault}: weft {args:?} ended with {}:\n{}",
            output.code,
            output.stderr
        );
        assert_no_panic(&output.stderr, format_args!("{fault}: weft {args:?}"));
        if output.code != 0 {
            assert!(!output.stderr.trim().is_empty(), "{fault}: weft {args:?} ended with {} in silence", output.code);
        }
        output
    }
}

/// sled panics at what it cannot read or write; weft catches that, and the message still reaches stderr. Panics of our own
/// are bugs.
pub fn assert_no_panic(stderr: &str, what: impl std::fmt::Display) {
    let ours = stderr.lines().find(|line| line.contains("panicked at") && !line.contains("/sled-0.34"));
    assert!(ours.is_none(), "{what} panicked:\n{stderr}");
}

/// How much of it is tried.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// Each operation, in each way.
    Everything,
    /// So many operations of each scenario, chosen by the seed.
    Sample(usize),
}

/// Which ways of failing make a difference to an operation of this name.
fn ways(operation: &str) -> &'static [(How, bool)] {
    const WRITE: &[(How, bool)] = &[
        (How::Eio, false),
        (How::Eio, true),
        (How::Enospc, false),
        (How::Enospc, true),
        (How::Short, false),
        (How::Torn, false),
    ];
    const SYNC: &[(How, bool)] = &[(How::Eio, false), (How::Eio, true), (How::Lost, false)];
    const OTHER: &[(How, bool)] = &[(How::Eio, false), (How::Eio, true), (How::Enospc, false)];
    match operation {
        "write" => WRITE,
        "fsync" | "fdatasync" | "sync_file_range" | "syncfs" => SYNC,
        _ => OTHER,
    }
}

/// Tries one scenario, and returns what was done. None where the library cannot be used.
pub fn run(scenario: &Scenario, extent: Extent, seed: u64, threads: usize) -> Option<Tally> {
    let library = faults::library()?;
    let place = ground();
    let (dir, report) = (place.path().join("disk"), place.path().join("report"));
    std::fs::create_dir(&dir).expect("made");
    let whole = Ground { dir, report, library, fault: None, seed };
    let mut before = Ledger::default();
    (scenario.prepare)(&whole, &mut before);
    let before = before.without_totals();

    // Once without a fault, to learn how many operations there are and which.
    let (_, operations) = attempt(scenario, &whole, &before, None);
    assert!(!operations.is_empty(), "{}: nothing was done on the disk", scenario.name);
    let plans = plans(&operations, extent, seed);
    let (next, done) = (AtomicUsize::new(0), Mutex::new((Totals::default(), 0)));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(fault) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (totals, operations) = attempt(scenario, &whole, &before, Some(*fault));
                    let mut done = done.lock().expect("no attempt has failed");
                    done.0 += totals;
                    done.1 += usize::from(operations.iter().any(|operation| operation.failed));
                }
            });
        }
    });
    let (totals, happened) = done.into_inner().expect("no attempt has failed");
    // How threads take turns decides on the last few operations, and a fault past the last one is none.
    assert!(happened * 2 >= plans.len(), "{}: only {happened} of {} faults happened", scenario.name, plans.len());
    let what = format!("{}, {} operations", scenario.name, operations.len());
    Some(Tally { what, rounds: happened as u64, totals })
}

/// Which faults are tried.
fn plans(operations: &[Operation], extent: Extent, seed: u64) -> Vec<Fault> {
    let faults = |(nth, operation): (u64, &Operation)| {
        ways(&operation.name).iter().map(move |&(how, sticks)| Fault { nth, how, sticks }).collect::<Vec<_>>()
    };
    let Extent::Sample(count) = extent else { return (1..).zip(operations).flat_map(faults).collect() };
    // A new segment is filled by dozens of equal writes; each kind of operation is to have its chance.
    let mut kinds = BTreeMap::<(&str, &str), Vec<(u64, &Operation)>>::new();
    for (nth, operation) in (1..).zip(operations) {
        kinds.entry((&operation.name, &operation.path)).or_default().push((nth, operation));
    }
    let mut rng = seed::rng(seed, 1);
    let mut kinds: Vec<_> = kinds.into_values().collect();
    kinds.shuffle(&mut rng);
    let chosen = kinds.iter().cycle().take(count).filter_map(|kind| kind.choose(&mut rng).copied());
    let chosen: Vec<_> = chosen.collect();
    chosen.into_iter().filter_map(|operation| faults(operation).choose(&mut rng).copied()).collect()
}

/// Copies what was prepared, acts on the copy, and looks at it on a disk that works. Returns what was done, and which
/// operations there were.
fn attempt(scenario: &Scenario, whole: &Ground, before: &Ledger, fault: Option<Fault>) -> (Totals, Vec<Operation>) {
    let place = ground();
    let (dir, report) = (place.path().join("disk"), place.path().join("report"));
    copy(&whole.dir, &dir);
    let seed = whole.seed ^ fault.map_or(0, |fault| fault.nth << 8 | fault.how as u64);
    let ground = Ground { dir, report, library: whole.library, fault, seed };
    let mut ledger = before.clone();
    let told = panic::catch_unwind(AssertUnwindSafe(|| {
        (scenario.act)(&ground, &mut ledger);
        calm::check(&ground.data(), &mut ledger, "on a disk that works again", seed);
    }));
    let operations = faults::operations(&ground.report, &ground.dir);
    if let Err(cause) = told {
        let failed = operations.iter().find(|operation| operation.failed);
        let failed = failed.map_or("nothing failed".into(), |op| format!("{} of {}", op.name, op.path));
        let fault = fault.map_or("no fault".into(), |fault| fault.to_string());
        eprintln!("{} with seed {}: {fault} ({failed})", scenario.name, whole.seed);
        eprintln!("What it left is kept in {}", place.keep().display());
        panic::resume_unwind(cause);
    }
    (ledger.totals(), operations)
}

/// Copies a directory; what is zero becomes a hole, since the journal's files are mostly that.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::FileExt;
    const BLOCK: usize = 64 << 10;
    std::fs::create_dir(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("listed");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().expect("known").is_dir() {
            copy(&source, &target);
            continue;
        }
        let bytes = std::fs::read(&source).expect("read");
        let file = std::fs::File::create(&target).expect("created");
        file.set_len(bytes.len() as u64).expect("sized");
        file.set_permissions(entry.metadata().expect("known").permissions()).expect("permitted");
        for (block, at) in bytes.chunks(BLOCK).zip((0u64..).step_by(BLOCK)) {
            if block.iter().any(|byte| *byte != 0) {
                file.write_all_at(block, at).expect("written");
            }
        }
    }
}
