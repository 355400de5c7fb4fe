//! The public listener over a real socket: any head, any path, any frames. It answers HTTP or nothing, ends the connection,
//! and others are answered as before.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use weft::hub::{Hub, HubOptions};
use weft::journal::{Journal, JournalOptions};
use weft::server::{Address, DrainFlag, Server, ServerOptions, Sessions};
use weft::store::memory::MemoryStore;

use crate::parts::Parts;

/// How long an answer may take; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections after which somebody honest asks whether the server is there.
const CANARY_EVERY: u64 = 64;

/// Makes one connection.
pub fn run(input: &[u8]) {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let mut parts = Parts::of(input);
    let request = match parts.choice() % 3 {
        0 => parts.rest().to_vec(),
        1 => upgrade(&mut parts, true),
        _ => upgrade(&mut parts, false),
    };
    let answer = exchange(&request);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
    assert!(!answer.starts_with(b"HTTP/1.1 500 "), "{}", String::from_utf8_lossy(&answer));
    if RUNS.fetch_add(1, Ordering::Relaxed).is_multiple_of(CANARY_EVERY) {
        let answer = ask(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", false);
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
}

/// A request for a WebSocket at any path, with any headers, and then frames: masked as a client's, or any bytes.
fn upgrade(parts: &mut Parts<'_>, well_formed: bool) -> Vec<u8> {
    let (path, headers) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let head = " HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut request = [b"GET /", path, head.as_bytes(), headers, b"\r\n"].concat();
    for frame in parts {
        if well_formed {
            request.extend([0x82, 0xfe]);
            request.extend((frame.len().min(0xffff) as u16).to_be_bytes());
            request.extend([0; 4]);
        }
        request.extend(&frame[..frame.len().min(0xffff)]);
    }
    request
}

/// Sends and ends; gives all that comes back until the other side ends. Who hangs up need not be answered.
fn exchange(request: &[u8]) -> Vec<u8> {
    ask(request, true)
}

/// Sends, and hangs up or waits for the answer.
fn ask(request: &[u8], hangs_up: bool) -> Vec<u8> {
    let mut stream = TcpStream::connect(server()).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    let sent = stream.write_all(request);
    if hangs_up {
        let _ = sent.and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let kind = error.kind();
        assert!(
            !matches!(kind, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
            "no end in {PATIENCE:?}"
        );
    }
    answer
}

/// The listener, with documents in memory, which lives as long as the process.
fn server() -> SocketAddr {
    static SERVER: OnceLock<(Runtime, Server, TempDir)> = OnceLock::new();
    let (_, server, _) = SERVER.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let dir = TempDir::new().expect("a directory");
        let server = runtime.block_on(async {
            let (journal, _) =
                Journal::open(&dir.path().join("journal"), JournalOptions::default()).expect("a journal");
            let hub = Hub::start(journal, Arc::new(MemoryStore::new()), HubOptions::default()).await.expect("a hub");
            let address = Address::take(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
            Server::start(address, &ServerOptions::open(), hub, Sessions::default(), DrainFlag::default())
                .expect("a listener")
        });
        (runtime, server, dir)
    });
    server.local_addr()
}
