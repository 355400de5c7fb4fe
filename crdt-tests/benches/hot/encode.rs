//! The frame that is handed to all readers of a turn.

use std::hint::black_box;

use criterion::Criterion;
use weft::wire::message::ServerMessage;
use weft::wire::{frame, hocuspocus, ywebsocket};

use crate::inputs::Inputs;

/// One for each dialect.
pub fn run(criterion: &mut Criterion, inputs: &Inputs) {
    let mut group = criterion.benchmark_group("encode");
    let message = ServerMessage::Update(inputs.update());
    group.bench_function("y-websocket", |bencher| {
        bencher.iter(|| {
            let (head, payload) = ywebsocket::encode_parts(black_box(&message)).expect("has words for it");
            frame::binary(&[&head, payload])
        });
    });
    group.bench_function("hocuspocus", |bencher| {
        bencher.iter(|| hocuspocus::frames(black_box("a-document"), black_box(&message)));
    });
    group.finish();
}
