//! Bytes that no honest client sends, on connections of their own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rand::Rng;

use super::{ROOM, Run, Stage};
use crate::hocuspocus;
use crate::hostile::{self, Frame};
use crate::message;
use crate::socket::Socket;

/// Longest time to wait for an ack.
const SETTLES: Duration = Duration::from_millis(500);

pub(super) const ATTACKS: &[(&str, Run)] = &[
    ("broken messages", |stage| each(stage, hostile::broken_messages(), 40)),
    ("lying state vectors", |stage| each(stage, hostile::lying_state_vectors(), 40)),
    ("lying awareness", |stage| each(stage, hostile::lying_awareness(), 40)),
    ("lying updates", |stage| each(stage, hostile::lying_updates(), 60)),
    ("random and mutated bytes", |stage| {
        let noise = hostile::noise(stage.rng, 200);
        each(stage, noise, 200);
    }),
    ("an unmasked frame", |stage| broken(stage, &[0x82, 2, 0, 0])),
    ("reserved bits", |stage| broken(stage, &masked(0xf2, &[0x82], &[3, 0]))),
    ("a reserved opcode", |stage| broken(stage, &masked(0x83, &[0x81], &[3]))),
    ("a reserved control opcode", |stage| broken(stage, &masked(0x8b, &[0x81], &[3]))),
    ("a ping of 200 bytes", |stage| broken(stage, &masked(0x89, &[0xfe, 0, 200], &[7; 200]))),
    ("a fragmented ping", |stage| broken(stage, &masked(0x09, &[0x81], &[7]))),
    ("a continuation of nothing", |stage| broken(stage, &masked(0x80, &[0x81], &[3]))),
    ("a claim of 2^62 bytes", |stage| broken(stage, &masked(0x82, &[0xff, 0x40, 0, 0, 0, 0, 0, 0, 0], &[0; 64]))),
    ("a claim of 2^63 bytes", |stage| broken(stage, &masked(0x82, &[0xff, 0x80, 0, 0, 0, 0, 0, 0, 0], &[0; 64]))),
    ("a claim of 65 MiB", |stage| broken(stage, &masked(0x82, &[0xff, 0, 0, 0, 0, 4, 0x10, 0, 0], &[0; 64]))),
    ("a close frame of one byte", |stage| broken(stage, &masked(0x88, &[0x81], &[3]))),
    ("close codes of nobody", |stage| {
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            broken(stage, &masked(0x88, &[0x82], &code.to_be_bytes()));
        }
    }),
    ("text that is not UTF-8", |stage| broken(stage, &masked(0x81, &[0x82], &[0xff, 0xff]))),
    ("text frames", |stage| {
        let mut socket = Socket::greet(stage.addr, ROOM);
        (0..20).for_each(|_| socket.send_text("__YPS:hello"));
        settle(&mut socket);
    }),
    ("fragments of one byte", fragments),
    ("opcodes that only servers may say", opcodes),
];

/// A client's frame with a mask of zeros.
pub(super) fn masked(first: u8, len: &[u8], payload: &[u8]) -> Vec<u8> {
    [&[first], len, &[0, 0, 0, 0], payload].concat()
}

/// Some of the frames, on as many sockets as it takes.
fn each(stage: &mut Stage<'_>, mut frames: Vec<Frame>, most: usize) {
    let mut socket = Socket::greet(stage.addr, ROOM);
    while frames.len() > most {
        frames.swap_remove(stage.rng.random_range(0..frames.len()));
    }
    for (_, frame) in frames {
        if socket.closed.is_some() {
            socket = Socket::greet(stage.addr, ROOM);
        }
        socket.send(frame);
        socket.poll();
        socket.frames.clear();
    }
    settle(&mut socket);
}

/// What was sent has been dealt with, or will not be: what was refused is never acked.
pub(super) fn settle(socket: &mut Socket) {
    let echo = message::ack(1 << 30);
    socket.send(echo.clone());
    let began = Instant::now();
    while let Some(left) = SETTLES.checked_sub(began.elapsed())
        && socket.next(left).is_some_and(|frame| frame != echo)
    {
        socket.frames.clear();
    }
}

/// Bytes that end a connection, for nobody else.
fn broken(stage: &mut Stage<'_>, bytes: &[u8]) {
    let mut socket = Socket::connect(stage.addr, ROOM);
    socket.send_raw(bytes);
    ends(socket.stream(), "a broken frame");
}

/// The connection ends.
pub(super) fn ends(mut stream: &TcpStream, what: &str) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    let open = ended.is_err_and(|e| matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert!(!open, "{what}: the connection is still open");
}

/// Half a million pieces of a message that never ends, with pings between them.
fn fragments(stage: &mut Stage<'_>) {
    let mut socket = Socket::connect(stage.addr, ROOM);
    socket.send_raw(&masked(0x02, &[0x81], &[0]));
    let piece = [masked(0x00, &[0x81], &[0]).repeat(1_000), masked(0x89, &[0x80], &[])].concat();
    for _ in 0..50 {
        if (&mut socket.stream()).write_all(&piece).is_err() {
            break;
        }
    }
    socket.cut();
}

/// Every message type, to a document that it may speak of.
fn opcodes(stage: &mut Stage<'_>) {
    let mut line = hocuspocus::Line::connect(stage.addr, "");
    line.say(ROOM, hocuspocus::auth(""));
    for opcode in (0..=255u8).filter(|opcode| *opcode != 7) {
        if line.socket.closed.is_some() {
            line = hocuspocus::Line::connect(stage.addr, "");
            line.say(ROOM, hocuspocus::auth(""));
        }
        line.say(ROOM, [opcode, 1, 2, 0, 0]);
        line.socket.poll();
    }
}
