//! Content that is well formed and means harm, in the room of the canaries.

use rand::Rng;

use super::frames::settle;
use super::{ROOM, Run, Stage};
use crate::hostile;
use crate::message::{self, var_bytes, var_uint};
use crate::socket::Socket;

pub(super) const ATTACKS: &[(&str, Run)] = &[
    ("clock gaps without end", |stage| {
        let client = stranger(stage);
        let gap = |n: u64| one_client(client, 2 * n + 1, &[vec![0, 1]]);
        say(stage, (0..2_000).map(gap));
    }),
    ("types nested too deeply, then deleted", |stage| {
        let client = stranger(stage);
        say(stage, [hostile::nested_types(client, 20_000), deletion(client, 0, 1)]);
    }),
    ("types nested as deeply as allowed, then deleted", |stage| {
        let client = stranger(stage);
        say(stage, [hostile::nested_types(client, 200), deletion(client, 0, 1)]);
    }),
    ("overlapping blocks of one client", |stage| {
        let client = stranger(stage);
        let entry = [&[0x28, 1][..], &var_bytes(b"m"), &var_bytes(b"k"), &[1, 126]].concat();
        say(stage, [one_client(client, 1, &[entry]), one_client(client, 0, &[text(b"hello world")])]);
    }),
    ("a client id of somebody else", |stage| {
        // Whoever comes second with another content at a known clock is not heard.
        let client = stranger(stage);
        say(stage, [one_client(client, 0, &[text(b"first")]), one_client(client, 0, &[text(b"other")])]);
    }),
    ("other content behind a known beginning", |stage| {
        let client = stranger(stage);
        let arrays = one_client(
            client,
            0,
            &[[&[7, 1][..], &var_bytes(b"nest"), &[0]].concat(), [&[7, 0][..], &var_uint(client), &[0, 0]].concat()],
        );
        let tail = one_client(client, 1, &[[&[0x84][..], &var_uint(client), &[0], &var_bytes(b"xyz")].concat()]);
        say(stage, [arrays, tail]);
    }),
    ("text between garbage and a value", |stage| {
        let client = stranger(stage);
        let value = [&[8, 1][..], &var_bytes(b"values"), &[1, 126]].concat();
        let between = [&[0xc4][..], &var_uint(client), &[1], &var_uint(client), &[0], &var_bytes(b"x")].concat();
        say(stage, [one_client(client, 0, &[value, vec![0, 1]]), one_client(client, 2, &[between])]);
    }),
    ("a deletion of what nobody has", |stage| {
        let client = stranger(stage);
        say(stage, [deletion(client, 1_000_000, 1_000_000), deletion(client, 0, (1 << 31) - 2)]);
    }),
    ("a million garbage-collected structs", |stage| {
        let client = stranger(stage);
        let structs = vec![vec![0, 1]; 200_000];
        say(stage, [one_client(client, 0, &structs)]);
    }),
    ("a claim of 10 million structs", |stage| {
        let client = stranger(stage);
        let header = [var_uint(1), var_uint(10_000_000), var_uint(client), var_uint(0)].concat();
        say(stage, [[&header[..], &[0, 1].repeat(4_000_000)].concat()]);
    }),
    ("a map of 20,000 keys", |stage| {
        let client = stranger(stage);
        let entry = |n: u32| {
            [&[0x28, 1][..], &var_bytes(b"large"), &var_bytes(&n.to_be_bytes().map(|b| b & 0x7f)), &[1, 126]].concat()
        };
        say(stage, [one_client(client, 0, &(0..20_000).map(entry).collect::<Vec<_>>())]);
    }),
    ("updates of one character", |stage| {
        let client = stranger(stage);
        let first = one_client(client, 0, &[text(b"x")]);
        let next = |clock: u64| {
            let item = [&[0x84][..], &var_uint(client), &var_uint(clock - 1), &var_bytes(b"x")].concat();
            one_client(client, clock, &[item])
        };
        say(stage, std::iter::once(first).chain((1..3_000).map(next)));
    }),
];

/// A client id that nobody has.
fn stranger(stage: &mut Stage<'_>) -> u64 {
    stage.rng.random_range(1 << 30..1 << 39)
}

fn one_client(client: u64, clock: u64, structs: &[Vec<u8>]) -> Vec<u8> {
    let header = [var_uint(1), var_uint(structs.len() as u64), var_uint(client), var_uint(clock)].concat();
    [header, structs.concat(), var_uint(0)].concat()
}

fn text(text: &[u8]) -> Vec<u8> {
    [&[4, 1][..], &var_bytes(b"graffiti"), &var_bytes(text)].concat()
}

fn deletion(client: u64, clock: u64, len: u64) -> Vec<u8> {
    [var_uint(0), var_uint(1), var_uint(client), var_uint(1), var_uint(clock), var_uint(len)].concat()
}

/// One after the other, on as many sockets as it takes.
fn say(stage: &mut Stage<'_>, updates: impl IntoIterator<Item = Vec<u8>>) {
    let mut socket = Socket::greet(stage.addr, ROOM);
    for update in updates {
        if socket.closed.is_some() {
            break;
        }
        socket.send(message::update(&update));
        socket.poll();
        socket.frames.clear();
    }
    settle(&mut socket);
}
