//! The least HTTP client: what a load balancer asks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wait::PATIENCE;

/// Status of a plain GET.
pub fn status(addr: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(addr).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

/// Whether the server says that it takes edits.
pub fn is_ready(addr: SocketAddr) -> bool {
    status(addr, "/ready") == 200
}
