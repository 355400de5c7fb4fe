//! The functions that every edit goes through, one at a time, on the same inputs.
//!
//! `cargo bench -p crdt-tests --bench hot [-- FILTER]`; CI only compiles it.

mod answer;
mod append;
mod encode;
mod fold;
mod gate;
mod inputs;
mod validate;

use criterion::{Criterion, criterion_group, criterion_main};

fn all(criterion: &mut Criterion) {
    let inputs = inputs::Inputs::new();
    validate::run(criterion, &inputs);
    gate::run(criterion, &inputs);
    encode::run(criterion, &inputs);
    answer::run(criterion, &inputs);
    append::run(criterion, &inputs);
    fold::run(criterion, &inputs);
}

criterion_group! {
    name = hot;
    config = Criterion::default().sample_size(30);
    targets = all
}
criterion_main!(hot);
