//! How near the journal comes to a bare file: 64 closed-loop writers, each waiting for its record to be durable,
//! against the same writers on the least code that keeps the same promise (a queue, one write, one fdatasync). All in
//! one run, taken in turns, because a shared machine's disk changes from minute to minute; compare only figures of one
//! run.
//!
//! `cargo bench -p crdt-tests --bench journal [-- SECONDS_PER_TURN]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crdt_tests::bare_log::{self, BareLog, Space, Waiter};
use hdrhistogram::Histogram;
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

/// A writer's place to sleep, as the journal wakes it.
#[derive(Default)]
struct Sleeper(Waiter);

impl DurableSink for Sleeper {
    fn durable(&self, seq: Seq) {
        self.0.durable(seq.0);
    }
    fn failed(&self) {
        eprintln!("the journal failed");
        std::process::exit(1);
    }
}

/// Lets the writers run on the journal, and returns records per second and their latencies in µs.
async fn load(journal: &Journal, turn: Duration) -> (f64, Histogram<u64>) {
    let start = Instant::now();
    let writers = (0..WRITERS).map(|w| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let (sleeper, doc) = (Arc::new(Sleeper::default()), DocName::parse(&format!("bench/{w}")).expect("a name"));
            let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
            for seq in 1.. {
                let begun = Instant::now();
                if begun - start > turn {
                    break;
                }
                let update = update(seq * WRITERS as u64 + w as u64);
                let record = Record::update(doc.clone(), Seq(seq), update);
                journal.append(vec![record], Some(sleeper.clone())).await.expect("an append");
                sleeper.0.wait_for(seq).await;
                latencies.saturating_record(begun.elapsed().as_micros() as u64);
            }
            latencies
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut latencies = Histogram::<u64>::new(3).expect("a histogram");
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
                let path = dir.path().join("bare");
                let (rate, latencies) = match which {
                    0 => {
                        bare_log::measure(&Arc::new(BareLog::start(&path, Space::Growing)), WRITERS, turn, update).await
                    }
                    1 => {
                        bare_log::measure(&Arc::new(BareLog::start(&path, Space::Prepared)), WRITERS, turn, update)
                            .await
                    }
                    _ => load(&journal, turn).await,
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
