//! What comes before a WebSocket is one: requests, names, handshakes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rand::Rng;

use super::frames::ends;
use super::{Run, Stage};
use crate::message;
use crate::socket::Socket;

pub(super) const ATTACKS: &[(&str, Run)] = &[
    ("noise instead of HTTP", |stage| {
        let noise: Vec<u8> = (0..4_096).map(|_| stage.rng.random()).collect();
        ask(stage, &noise);
    }),
    ("TLS to a plain port", |stage| drop(ask(stage, &[0x16, 3, 1, 0, 200, 1, 0, 0]))),
    ("HTTP/2 and HTTP/0.9", |stage| {
        ask(stage, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        ask(stage, b"GET /x\r\n\r\n");
    }),
    ("a request line of 1 MB", |stage| {
        drop(ask(stage, &[b"GET /", &vec![b'a'; 1 << 20][..], b" HTTP/1.1\r\n\r\n"].concat()))
    }),
    ("10,000 headers", |stage| {
        drop(ask(stage, &["GET /x HTTP/1.1\r\n", &"X-H: 1\r\n".repeat(10_000), "\r\n"].concat().into_bytes()))
    }),
    ("a body of 10^12 bytes", |stage| {
        ask(stage, b"POST /d/a/update HTTP/1.1\r\nHost: weft\r\nContent-Length: 999999999999\r\n\r\nabc");
    }),
    ("compression is offered", |stage| {
        let answer = upgrade(stage, "/attacked", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        assert!(answer.starts_with("HTTP/1.1 101") && !answer.to_ascii_lowercase().contains("deflate"), "{answer}");
    }),
    ("admin paths on the public port", |stage| {
        for path in ["/metrics", "/api/v1/docs", "/api/v1/drain", "/api/v1/connections", "/api/v1/docs/attacked"] {
            let answer =
                head(stage, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes());
            assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer}");
        }
    }),
    ("names that are none", |stage| {
        for path in ["", "%00", "a%00b", "%ff%fe", &"x".repeat(513), "..%2f..%2fetc%2fpasswd", "%0a%1b%5b31m", "*", ">"]
        {
            if let Ok(mut socket) = Socket::try_connect(stage.addr, path) {
                socket.send(message::step1_empty());
                socket.next(Duration::from_millis(20));
            }
        }
    }),
    ("many documents are opened", |stage| {
        for _ in 0..100 {
            let doc = format!("empty/{:016x}", stage.rng.random::<u64>());
            Socket::greet(stage.addr, &doc).cut();
        }
    }),
    ("handshakes that never end", |stage| {
        let half: Vec<TcpStream> = (0..100)
            .filter_map(|_| {
                let mut stream = TcpStream::connect(stage.addr).ok()?;
                stream.write_all(b"GET /attacked HTTP/1.1\r\nHost: w").ok()?;
                Some(stream)
            })
            .collect();
        // Somebody honest does not wait for them.
        Socket::greet(stage.addr, super::ROOM).pull(&[0]);
        half.iter().take(1).for_each(|stream| ends(stream, "a handshake that never ends"));
    }),
    ("connections come and go", |stage| {
        let open: Vec<_> = (0..300).filter_map(|_| TcpStream::connect(stage.addr).ok()).collect();
        drop(open);
        Socket::greet(stage.addr, super::ROOM).pull(&[0]);
    }),
];

/// Sends, and gives what comes back before the end.
fn ask(stage: &Stage<'_>, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(stage.addr).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let _ = stream.write_all(request);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends, and gives the head of what comes back. Does not hang up before: who does need not be answered.
fn head(stage: &Stage<'_>, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(stage.addr).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(request).expect("it is taken");
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        answer.extend(byte);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks for a WebSocket, and gives the head of the answer.
fn upgrade(stage: &Stage<'_>, path: &str, headers: &str) -> String {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    head(stage, request.as_bytes())
}
