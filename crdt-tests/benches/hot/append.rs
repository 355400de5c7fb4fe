//! The journal takes a record; whether it is on disk is another matter, and `--bench journal` measures it.

use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, Throughput};
use weft::ids::{DocName, Seq};
use weft::journal::{Journal, JournalOptions, Record};

use crate::inputs::Inputs;

/// Records that are handed over at a time.
const BATCH: u64 = 100;

/// Hands over, and waits until the journal has taken it.
pub fn run(criterion: &mut Criterion, inputs: &Inputs) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let dir = tempfile::tempdir_in(".").expect("a directory");
    let journal = runtime.block_on(async {
        Journal::open(&dir.path().join("journal"), JournalOptions::default()).expect("a journal").0
    });
    let (doc, update, seq) = (DocName::parse("bench").expect("a name"), inputs.update(), AtomicU64::new(0));
    let mut group = criterion.benchmark_group("journal append");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("100 records", |bencher| {
        bencher.to_async(&runtime).iter(|| async {
            let record = |_| Record::update(doc.clone(), Seq(seq.fetch_add(1, Ordering::Relaxed) + 1), update.clone());
            journal.append((0..BATCH).map(record).collect(), None).await.expect("an append");
            journal.remove(&journal.sealed()).expect("a removal");
        });
    });
    group.finish();
    runtime.block_on(journal.close()).expect("a close");
}
