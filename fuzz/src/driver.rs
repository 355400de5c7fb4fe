//! Runs a target under guard, once or for a while, with inputs that chance makes of its corpus.
//!
//! Everything follows from a seed, which is printed. An input that makes a target panic, hold too much memory or take too
//! long is kept in `found/`; of one that kills the process, a file that outlives it holds a copy.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Target, corpus, gauge, mutate};

/// A run that takes longer hangs: the slowest take milliseconds, and the machine may be busy.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// Memory that any run may take…
const MEMORY_BYTES: usize = 8 << 20;
/// …and for each byte of its input beside it. yrs keeps some 200 bytes for the smallest struct, of 2 bytes, and a target
/// may hold several copies of a document to compare them.
const MEMORY_PER_BYTE: usize = 2_000;

/// Runs a target once.
///
/// # Panics
/// As the target does, or when it took too much memory.
pub fn run(target: &Target, input: &[u8]) {
    let peak = gauge::peak_of(|| (target.run)(input));
    let most = MEMORY_BYTES + input.len() * MEMORY_PER_BYTE;
    assert!(peak <= most, "{} bytes of input took {peak} bytes of memory, at most {most} are right", input.len());
}

/// Runs a target for a while, and says how often.
///
/// # Panics
/// With the seed and the place of the input that made the target fail.
pub fn drive(target: &'static Target, time: Duration, seed: u64) -> u64 {
    let inputs = corpus::read(target.name);
    let all: Vec<&[u8]> = inputs.iter().map(|input| &input.bytes[..]).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let black_box = BlackBox::new(target);
    println!(
        "{}: seed {seed}, {} inputs; a process that dies leaves its last in {}",
        target.name,
        all.len(),
        black_box.path.display()
    );
    let watch = Watch::over(target);
    let began = Instant::now();
    let mut runs = 0;
    while began.elapsed() < time {
        let mut input = all.choose(&mut rng).map_or_else(Vec::new, |input| input.to_vec());
        // Now and then nothing but chance.
        if rng.random_ratio(1, 200) {
            input = (0..rng.random_range(0..200)).map(|_| rng.random()).collect();
        }
        mutate::mutate(&mut input, &all, target.words, target.bytes_max, &mut rng);
        black_box.note(&input);
        watch.begins(&input);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run(target, &input))) {
            let kept = corpus::keep_found(target.name, &input);
            eprintln!("{}, seed {seed}, run {runs}: kept in {}", target.name, kept.display());
            std::panic::resume_unwind(panic);
        }
        watch.ended();
        runs += 1;
    }
    drop(watch);
    black_box.remove();
    println!("{}: {runs} runs", target.name);
    runs
}

/// The input of the current run, where a process that dies leaves it.
struct BlackBox {
    path: PathBuf,
    file: File,
}

impl BlackBox {
    fn new(target: &Target) -> Self {
        let path = std::env::temp_dir().join(format!("weft-fuzz-{}-{}", target.name, std::process::id()));
        let file = File::create(&path).expect("a file for the last input");
        Self { path, file }
    }

    fn note(&self, input: &[u8]) {
        self.file.write_all_at(input, 0).and_then(|()| self.file.set_len(input.len() as u64)).expect("noted");
    }

    fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// When the current run began, and its input; none before the first.
type Current = Option<(Instant, Vec<u8>)>;

/// Ends the process when a run does not end: nothing else can.
struct Watch {
    current: Arc<Mutex<Current>>,
    _ends: mpsc::Sender<()>,
}

impl Watch {
    fn over(target: &'static Target) -> Self {
        let current = Arc::new(Mutex::new(Current::None));
        let (ends, ended) = mpsc::channel();
        let watched = current.clone();
        thread::spawn(move || {
            while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let current = watched.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                if let Some((began, input)) = &*current
                    && began.elapsed() > HANGS_AFTER
                {
                    let kept = corpus::keep_found(target.name, input);
                    eprintln!("{} hangs on {}", target.name, kept.display());
                    std::process::abort();
                }
            }
        });
        Self { current, _ends: ends }
    }

    fn begins(&self, input: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (began, copy) = current.get_or_insert_with(|| (Instant::now(), Vec::new()));
        *began = Instant::now();
        copy.clear();
        copy.extend_from_slice(input);
    }

    fn ended(&self) {
        if let Some((began, _)) = &mut *self.current.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            *began = Instant::now();
        }
    }
}
