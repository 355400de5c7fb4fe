//! How near the journal comes to a bare file: 64 closed-loop writers, each waiting for its record to be durable,
//! against the same writers on the least code that keeps the same promise (a queue, one write, one fdatasync). All in
//! one run, taken in turns, because a shared machine's disk changes from minute to minute; compare only figures of one
//! run.
//!
//! `cargo bench -p crdt-tests --bench journal [-- SECONDS_PER_TURN]`

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::Notify;
use weft::ids::{DocName, Seq};
use weft::journal::{DurableSink, Journal, JournalOptions, Record};

const WRITERS: usize = 64;
const ROUNDS: usize = 5;

/// 30 B to 1 kB, mean near 130 B, as edits are.
fn update(n: u64) -> Bytes {
    let n = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let len = if n.is_multiple_of(16) { 200 + n % 800 } else { 30 + n % 130 };
    Bytes::from(vec![n as u8; len as usize])
}

/// One writer's place to sleep.
#[derive(Default)]
struct Waiter {
    done: AtomicU64,
    wake: Notify,
}

impl Waiter {
    async fn wait_for(&self, seq: u64) {
        while self.done.load(Ordering::Acquire) < seq {
            self.wake.notified().await;
        }
    }
}

impl DurableSink for Waiter {
    fn durable(&self, seq: Seq) {
        self.done.store(seq.0, Ordering::Release);
        self.wake.notify_one();
    }
    fn failed(&self) {
        eprintln!("the journal failed");
        std::process::exit(1);
    }
}

struct Bare {
    queue: Mutex<Vec<(Bytes, Arc<Waiter>, u64)>>,
    wake: Condvar,
    ended: AtomicBool,
}

impl Bare {
    fn start(path: &Path, prealloc: bool) -> (Arc<Bare>, std::thread::JoinHandle<()>) {
        let bare = Arc::new(Bare { queue: Mutex::default(), wake: Condvar::new(), ended: AtomicBool::new(false) });
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a file");
        if prealloc {
            for _ in 0..256 {
                (&file).write_all(&vec![0; 1 << 20]).expect("space");
            }
        }
        file.sync_all().expect("a sync");
        let thread = std::thread::spawn({
            let bare = bare.clone();
            move || bare.write(&file)
        });
        (bare, thread)
    }

    fn write(&self, file: &File) {
        let (mut taken, mut group, mut at) = (Vec::new(), Vec::new(), 0);
        loop {
            {
                let mut queue = self.queue.lock().expect("the lock");
                while queue.is_empty() {
                    if self.ended.load(Ordering::Acquire) {
                        return;
                    }
                    queue = self.wake.wait(queue).expect("the lock");
                }
                std::mem::swap(&mut *queue, &mut taken);
            }
            group.clear();
            taken.iter().for_each(|(bytes, ..)| group.extend_from_slice(bytes));
            file.write_all_at(&group, at).expect("a write");
            file.sync_data().expect("a sync");
            at += group.len() as u64;
            for (_, waiter, seq) in taken.drain(..) {
                waiter.durable(Seq(seq));
            }
        }
    }

    fn append(&self, bytes: Bytes, waiter: Arc<Waiter>, seq: u64) {
        self.queue.lock().expect("the lock").push((bytes, waiter, seq));
        self.wake.notify_one();
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

#[derive(Clone)]
enum Log {
    Bare(Arc<Bare>),
    Journal(Journal),
}

/// Lets the writers run, and returns records per second and their latencies in µs.
async fn load(log: &Log, turn: Duration) -> (f64, Histogram<u64>) {
    let start = Instant::now();
    let writers = (0..WRITERS).map(|w| {
        let log = log.clone();
        tokio::spawn(async move {
            let (waiter, doc) = (Arc::new(Waiter::default()), DocName::parse(&format!("bench/{w}")).expect("a name"));
            let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a histogram");
            for seq in 1.. {
                let begun = Instant::now();
                if begun - start > turn {
                    break;
                }
                let update = update(seq * WRITERS as u64 + w as u64);
                match &log {
                    Log::Bare(bare) => bare.append(update, waiter.clone(), seq),
                    Log::Journal(journal) => {
                        let record = Record::update(doc.clone(), Seq(seq), update);
                        journal.append(vec![record], Some(waiter.clone())).await.expect("an append");
                    }
                }
                waiter.wait_for(seq).await;
                latencies.saturating_record(begun.elapsed().as_micros() as u64);
            }
            latencies
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut latencies = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).expect("a histogram");
    for writer in writers {
        latencies.add(writer.await.expect("a writer")).expect("the same shape");
    }
    (latencies.len() as f64 / start.elapsed().as_secs_f64(), latencies)
}

fn main() {
    let seconds = std::env::args().filter_map(|arg| arg.parse::<f64>().ok()).next().unwrap_or(1.0);
    let turn = Duration::from_secs_f64(seconds);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir_in(".").expect("a directory");
    let mut rates: [Vec<f64>; 3] = Default::default();
    runtime.block_on(async {
        let (journal, _) = Journal::open(&dir.path().join("journal"), JournalOptions::default()).expect("a journal");
        // Carries segments away as a checkpoint would, so that files are recycled.
        let carrier = tokio::spawn({
            let journal = journal.clone();
            async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let journal = journal.clone();
                    let removed = tokio::task::spawn_blocking(move || journal.remove(&journal.sealed()));
                    removed.await.expect("a thread").expect("a removal");
                }
            }
        });
        for round in 1..=ROUNDS {
            for (which, name) in ["bare, growing file", "bare, preallocated", "journal"].into_iter().enumerate() {
                let (rate, latencies) = if which < 2 {
                    let (bare, thread) = Bare::start(&dir.path().join("bare"), which == 1);
                    let measured = load(&Log::Bare(bare.clone()), turn).await;
                    bare.end();
                    thread.join().expect("the bare writer");
                    measured
                } else {
                    load(&Log::Journal(journal.clone()), turn).await
                };
                let at = |q| latencies.value_at_quantile(q);
                println!(
                    "round {round}  {name:20} {rate:9.0} records/s   ack p50 {:5} p99 {:6} max {:7} µs",
                    at(0.5),
                    at(0.99),
                    latencies.max()
                );
                rates[which].push(rate);
            }
        }
        carrier.abort();
        journal.close().await.expect("a close");
    });
    let [growing, preallocated, journal] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    println!(
        "medians: journal {journal:.0} records/s = {:.0} % of the bare growing file, {:.0} % of the bare preallocated one",
        100.0 * journal / growing,
        100.0 * journal / preallocated
    );
}
