//! Is it new, and is all there that it builds on?

use std::hint::black_box;

use criterion::Criterion;
use weft::replica::delete_set::DeleteSet;
use weft::replica::gate::gate;
use weft::wire::state_vector::{self, StateVector};

use crate::inputs::Inputs;

/// A keystroke that is new, one that is known, and the whole text to somebody who has it and to somebody who has nothing.
pub fn run(criterion: &mut Criterion, inputs: &Inputs) {
    let mut group = criterion.benchmark_group("gate");
    let known = state_vector::decode(&inputs.history.state_vector).expect("a state vector");
    let (edit, text) = (&inputs.edits[0], &inputs.history.state);
    let nothing = StateVector::default();
    let last = inputs.history.updates.last().expect("edits");
    for (name, update, known) in [
        ("a new keystroke", edit, &known),
        ("a known keystroke", last, &known),
        ("the large text, known", text, &known),
        ("the large text, new", text, &nothing),
    ] {
        let deleted = DeleteSet::default();
        group.bench_function(name, |bencher| bencher.iter(|| gate(black_box(update), known, &deleted)));
    }
    group.finish();
}
