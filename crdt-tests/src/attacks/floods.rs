//! Too much of what is allowed.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use rand::Rng;

use super::frames::{masked, settle};
use super::{ROOM, Run};
use crate::hocuspocus;
use crate::message;
use crate::socket::Socket;

pub(super) const ATTACKS: &[(&str, Run)] = &[
    ("a flood of pings", |stage| {
        let socket = Socket::greet(stage.addr, ROOM);
        flood(socket.stream(), &masked(0x89, &[0x84], b"ping").repeat(1_000), 30);
    }),
    ("a flood of questions", |stage| {
        let socket = Socket::greet(stage.addr, ROOM);
        flood(socket.stream(), &masked(0x82, &[0x84], &message::step1_empty()).repeat(100), 10);
    }),
    ("a flood of presence", |stage| {
        let mut socket = Socket::greet(stage.addr, ROOM);
        let client = stage.rng.random_range(1 << 30..1 << 39);
        for clock in 0..2_000 {
            socket.send(message::awareness(&[(client, clock, "{\"cursor\":1}")]));
            socket.poll();
            socket.frames.clear();
        }
        settle(&mut socket);
    }),
    ("presence of thousands", |stage| {
        let mut socket = Socket::greet(stage.addr, ROOM);
        let first: u64 = stage.rng.random_range(1 << 30..1 << 39);
        for part in 0..10 {
            let entries: Vec<_> = (0..1_000).map(|n| (first + part * 1_000 + n, 1, "{}")).collect();
            socket.send(message::awareness(&entries));
        }
        settle(&mut socket);
    }),
    ("presence of others is nulled", |stage| {
        let mut socket = Socket::greet(stage.addr, ROOM);
        let entries: Vec<_> = (0..1_000).map(|client| (client, 1 << 30, "null")).collect();
        socket.send(message::awareness(&entries));
        settle(&mut socket);
    }),
    ("megabytes before any word of who it is", |stage| {
        let lines: Vec<TcpStream> = (0..20)
            .map(|_| {
                let socket = Socket::connect(stage.addr, "");
                let address = hocuspocus::frame(ROOM, &[0, 2]);
                let head = [&masked(0x82, &[0xff, 0, 0, 0, 0, 0, 0x50, 0, 0], &[])[..], &address].concat();
                let _ = (&mut socket.stream()).write_all(&head);
                flood(socket.stream(), &vec![0; 64 << 10], 4);
                socket.stream().try_clone().expect("a stream")
            })
            .collect();
        drop(lines);
    }),
    ("hundreds of documents on one connection", |stage| {
        let mut line = hocuspocus::Line::connect(stage.addr, "");
        for _ in 0..300 {
            line.say(&format!("fan/{:08x}", stage.rng.random::<u32>()), hocuspocus::auth(""));
            line.socket.poll();
            line.socket.frames.clear();
            if line.socket.closed.is_some() {
                break;
            }
        }
    }),
    ("messages of the largest size", |stage| {
        let mut socket = Socket::greet(stage.addr, ROOM);
        // An update that claims what is not there: read whole, and refused.
        let update = [&[1, 1, 5, 0, 4, 1, 1, b't'][..], &vec![0xff; 8 << 20]].concat();
        socket.send(message::update(&update));
        settle(&mut socket);
    }),
    ("readers that do not read", |stage| {
        let idle: Vec<Socket> = (0..30)
            .map(|_| {
                let mut socket = Socket::connect(stage.addr, ROOM);
                (0..20).for_each(|_| socket.send(message::step1_empty()));
                socket
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300));
        drop(idle);
    }),
    ("a storm of joining and leaving", |stage| {
        for _ in 0..60 {
            let mut socket = Socket::greet(stage.addr, ROOM);
            socket.send(message::awareness(&[(stage.rng.random_range(1 << 30..1 << 39), 1, "{}")]));
            socket.cut();
        }
    }),
];

/// The same bytes again and again, as far as they are taken; what comes back is not read.
fn flood(mut stream: &TcpStream, bytes: &[u8], times: usize) {
    stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
    for _ in 0..times {
        if stream.write_all(bytes).is_err() {
            return;
        }
    }
}
