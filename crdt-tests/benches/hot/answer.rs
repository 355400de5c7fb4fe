//! What a client that asks is told.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion};
use weft::ids::{Access, PeerId};
use weft::replica::{Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::message::ClientMessage;

use crate::inputs::Inputs;

/// Somebody who has nothing, somebody who misses a hundred edits, and somebody who misses nothing; and the first of all, for
/// whom the document is loaded.
pub fn run(criterion: &mut Criterion, inputs: &Inputs) {
    let mut group = criterion.benchmark_group("answer");
    let mut replica = inputs.replica();
    let (_, clocks) = replica.clocks();
    for (name, knows) in [
        ("to a fresh client", &[0][..]),
        ("to one who misses 100 edits", &inputs.history.state_vector),
        ("to one who has all", &clocks),
    ] {
        group.bench_function(name, |bencher| bencher.iter(|| ask(&mut replica, black_box(knows))));
    }
    group.sample_size(10);
    group.bench_function("to a fresh client, cold", |bencher| {
        bencher.iter_batched(|| (), |()| ask(&mut inputs.replica(), &[0]), BatchSize::PerIteration);
    });
    group.finish();
}

fn ask(replica: &mut Replica, state_vector: &[u8]) -> usize {
    let peer = PeerId(1);
    let events = [
        Event::Joined(peer, Access::Write, Dialect::YWebsocket),
        Event::Message(peer, ClientMessage::SyncStep1(state_vector)),
    ];
    let sent = replica.handle(&events, Instant::now()).send.len();
    replica.handle(&[Event::Left(peer)], Instant::now());
    sent
}
