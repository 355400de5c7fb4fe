//! Is it an update?

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use weft::wire::lib0::write_var_uint;
use weft::wire::update;

use crate::inputs::Inputs;

/// An update of so many garbage-collected structs of each client.
fn hostile(structs: &[usize]) -> Vec<u8> {
    let mut bytes = vec![structs.len() as u8];
    for (client, structs) in (1..).zip(structs) {
        write_var_uint(&mut bytes, *structs as u64);
        bytes.extend([9 - client, 0]);
        bytes.extend([0, 1].repeat(*structs));
    }
    bytes.push(0);
    bytes
}

/// One keystroke, and the whole text.
pub fn run(criterion: &mut Criterion, inputs: &Inputs) {
    let mut group = criterion.benchmark_group("validate");
    for (name, bytes) in [("one keystroke", &inputs.edits[0]), ("the large text", &inputs.history.state)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| update::validate(black_box(bytes))));
    }
    // HARDENING §2: 10 million structs are refused in less than 50 ms, however they are spread over clients.
    for (name, bytes) in
        [("10 M structs", hostile(&[10_000_000])), ("4 and 6 M structs", hostile(&[4_000_000, 6_000_000]))]
    {
        assert!(update::validate(&bytes).is_err());
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| update::validate(black_box(&bytes))));
    }
    group.finish();
}
