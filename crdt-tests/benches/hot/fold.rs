//! What a worker costs: the same logs are folded in this process, in a worker that is there, and in one that has to be started.

use std::time::Duration;

use bytes::Bytes;
use crdt_tests::server;
use criterion::{BatchSize, Criterion, Throughput};
use weft::limits::{WORKER_MEMORY, WORKER_TIMEOUT};
use weft::worker::{Integrator, Isolation};

use crate::inputs::Inputs;

/// Updates of the small log.
const FEW: usize = 100;

/// A few keystrokes, the text as a snapshot with a few more, and its whole history.
pub fn run(criterion: &mut Criterion, inputs: &Inputs) {
    let bytes = |updates: &[Vec<u8>]| updates.iter().map(|update| Bytes::copy_from_slice(update)).collect::<Vec<_>>();
    let history = &inputs.history;
    let few = bytes(&history.updates[..history.updates.len().min(FEW)]);
    let tail = [vec![Bytes::copy_from_slice(&history.state)], bytes(&inputs.edits)].concat();
    let all = bytes(&history.updates);
    let worker =
        Isolation::Worker { program: server::binary().to_owned(), memory: WORKER_MEMORY, patience: WORKER_TIMEOUT };
    for (name, log, seconds) in
        [("100 keystrokes", few, 5), ("a snapshot and 100 keystrokes", tail, 10), ("every keystroke", all, 60)]
    {
        let mut group = criterion.benchmark_group(format!("fold {name}"));
        group.sample_size(10).measurement_time(Duration::from_secs(seconds));
        group.throughput(Throughput::Elements(log.len() as u64));
        for (place, isolation) in [("in this process", Isolation::None), ("in a worker", worker.clone())] {
            let integrator = Integrator::new(isolation);
            group.bench_function(place, |bencher| {
                bencher.iter(|| integrator.fold(|| Ok(log.clone())).expect("a honest log"));
            });
            assert_eq!(integrator.workers().lost, 0);
        }
        let integrator = Integrator::new(worker.clone());
        group.bench_function("in a worker that is started for it", |bencher| {
            // Twice: once it has just been busy.
            let end = || (0..2).for_each(|_| integrator.rest());
            bencher.iter_batched(
                end,
                |()| integrator.fold(|| Ok(log.clone())).expect("a honest log"),
                BatchSize::PerIteration,
            );
        });
        assert_eq!(integrator.workers().lost, 0);
        group.finish();
    }
}
