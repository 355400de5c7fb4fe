//! Is it an update?

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use weft::wire::update;

use crate::inputs::Inputs;

/// One keystroke, and the whole text.
pub fn run(criterion: &mut Criterion, inputs: &Inputs) {
    let mut group = criterion.benchmark_group("validate");
    for (name, bytes) in [("one keystroke", &inputs.edits[0]), ("the large text", &inputs.history.state)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| update::validate(black_box(bytes))));
    }
    group.finish();
}
