//! S7: when the disk fails, acks stop, nothing acked is lost, reading goes on, and `/ready` says so.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crdt_tests::js::{Js, LATEST};
use crdt_tests::message::{self, Writer};
use crdt_tests::mount::SmallDisk;
use crdt_tests::server::Options;
use crdt_tests::socket::Socket;
use crdt_tests::wait::{self, PATIENCE};

/// Status of a plain GET.
fn status(addr: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(addr).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

#[test]
fn s7_a_full_disk_stops_acks_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount(256 << 20) else { return };
    let mut options = Options::new(disk.inside().join("data"));
    options.wrapper = disk.wrapper();
    let mut server = options.start();
    let js = Js::start();
    assert_eq!((status(server.addr(), "/ready"), status(server.addr(), "/health")), (200, 200));

    let mut writer = Writer::new(42);
    let mut acked = String::new();
    let mut socket = Socket::connect(server.addr(), "full");
    socket.pull(&[0]);
    let chunk = |number: usize| format!("{number} {}\n", "x".repeat(200_000));
    for number in 0..5 {
        socket.send(message::update(&writer.append(&chunk(number))));
        socket.ack();
        acked.push_str(&chunk(number));
    }
    disk.fill();
    // Segments that were made beforehand still have room, so some acks may come yet; then they must stop.
    let mut number = 5;
    loop {
        assert!(number < 1_000, "acks go on after 200 MB on a full disk");
        socket.send(message::update(&writer.append(&chunk(number))));
        let request = message::ack(1_000 + number as u64);
        socket.send(request.clone());
        let mut echoed = false;
        while let Some(frame) = socket.next(Duration::from_secs(3)) {
            if frame == request {
                echoed = true;
                break;
            }
        }
        if !echoed {
            break;
        }
        acked.push_str(&chunk(number));
        number += 1;
    }
    // Refused for now, not for ever: a client that is sent away is told to come back.
    assert!(matches!(socket.closed, None | Some(Some(1013))), "closed with {:?}", socket.closed);
    wait::until("/ready says that storage failed", PATIENCE, || (status(server.addr(), "/ready") == 503).then_some(()));
    assert_eq!(status(server.addr(), "/health"), 200);
    server.assert_alive();

    // Readable still.
    let reader = js.open(LATEST, &server, "full");
    reader.synced();
    reader.wait_with("text.toString().startsWith(args)", acked.clone().into());
    // Not one ack more, from anybody, also when there is room again: a failed write is never retried (S7).
    disk.free();
    let mut other = Socket::connect(server.addr(), "other");
    other.send(message::update(&Writer::new(43).append("late")));
    other.send(message::ack(9));
    while let Some(frame) = other.next(Duration::from_secs(2)) {
        assert_ne!(frame, message::ack(9), "an ack after a failed write");
    }
    drop(reader);

    // What was acked is there once the operator has made room and started it again.
    server.kill();
    server.restart();
    assert_eq!(status(server.addr(), "/ready"), 200);
    let fresh = js.open(LATEST, &server, "full");
    fresh.synced();
    let text: String = fresh.get("text.toString()");
    assert!(text.starts_with(&acked), "of {} acked bytes not all are there ({} bytes)", acked.len(), text.len());
    assert!(!fresh.state().pending);
    // And it takes edits again.
    fresh.run("text.insert(0, 'again')");
    fresh.ack();
}

/// Nothing half done on a disk that is full from the start.
#[test]
fn c9_a_full_disk_refuses_the_start() {
    let Some(disk) = SmallDisk::mount(32 << 20) else { return };
    disk.fill();
    let mut options = Options::new(disk.inside().join("data"));
    options.wrapper = disk.wrapper();
    let refusal = options.try_start().err().expect("must not start on a full disk");
    super::refusals::assert_refused(&refusal, &["data"]);
}
