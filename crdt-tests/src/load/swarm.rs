//! Very many connections in one thread: the thinnest clients there can be, so that what is measured is the server.
//!
//! Nothing here decides what is sent. A scenario sends, takes [`Swarm::turn`]s and hears what came; pings and the server's
//! SyncStep1 are answered on the way, as every client does.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::Outcome;
use super::dialect::{self, Dialect, Heard};
use super::poller::{Poller, Ready};
use crate::message;

/// Read in one go.
const SCRATCH_BYTES: usize = 256 << 10;
/// A buffer that grew beyond this for one message is given back.
const KEPT_BYTES: usize = 64 << 10;
/// Connections from one address of loopback: each has some 28,000 ports, and those of connections that ended rest a minute.
const LINES_PER_ADDRESS: usize = 20_000;

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Upgrading,
    Open,
    Closed,
}

struct Line {
    stream: Option<TcpStream>,
    phase: Phase,
    dialect: Dialect,
    head: Vec<u8>,
    /// What a frame is still missing the rest of.
    inbound: Vec<u8>,
    /// What the socket did not take yet.
    outbound: Vec<u8>,
    /// Sent once the WebSocket is open.
    greeting: Vec<u8>,
    room: String,
}

/// The connections; each is known by a number that is never given twice.
pub struct Swarm {
    poller: Poller,
    lines: Vec<Line>,
    scratch: Vec<u8>,
    ready: Vec<Ready>,
    /// Bytes written to sockets.
    pub sent_bytes: u64,
    /// Bytes read from sockets.
    pub received_bytes: u64,
}

impl Swarm {
    /// Of nobody.
    pub fn new() -> Outcome<Self> {
        let poller = Poller::new().map_err(|e| format!("no epoll: {e}"))?;
        Ok(Self {
            poller,
            lines: Vec::new(),
            scratch: vec![0; SCRATCH_BYTES],
            ready: Vec::new(),
            sent_bytes: 0,
            received_bytes: 0,
        })
    }

    /// Begins to connect to a room; whatever the client knows, it will ask for the rest as soon as it is let in.
    pub fn open(&mut self, addr: SocketAddr, dialect: Dialect, room: &str, state_vector: &[u8]) -> Outcome<usize> {
        let key = self.lines.len();
        let stream = connect(addr, key).map_err(|e| format!("cannot connect to {addr}: {e}"))?;
        self.poller.add(&stream, key, true).map_err(|e| format!("cannot watch a socket: {e}"))?;
        let head = dialect.head(room);
        let greeting = dialect.greeting(&head, state_vector);
        self.lines.push(Line {
            stream: Some(stream),
            phase: Phase::Connecting,
            dialect,
            head,
            inbound: Vec::new(),
            outbound: Vec::new(),
            greeting,
            room: room.to_owned(),
        });
        Ok(key)
    }

    /// How many connections there ever were.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there never was one.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether this one is open.
    pub fn is_open(&self, line: usize) -> bool {
        self.lines[line].phase == Phase::Open
    }

    /// Bytes that the line's socket has not taken yet.
    pub fn backlog(&self, line: usize) -> usize {
        self.lines[line].outbound.len()
    }

    /// A message about the line's document as a frame, to be sent with [`Swarm::send`].
    pub fn frame(&self, line: usize, body: &[u8]) -> Vec<u8> {
        dialect::frame(&self.lines[line].head, body)
    }

    /// Sends frames.
    pub fn send(&mut self, line: usize, frames: &[u8]) -> Outcome<()> {
        let Line { stream: Some(stream), outbound, .. } = &mut self.lines[line] else {
            return Err("the server has closed a connection".into());
        };
        let mut rest = frames;
        if outbound.is_empty() {
            while !rest.is_empty() {
                match stream.write(rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(format!("cannot send: {e}")),
                }
            }
            if !rest.is_empty() {
                self.poller.change(&*stream, line, true).map_err(|e| e.to_string())?;
            }
        }
        outbound.extend_from_slice(rest);
        self.sent_bytes += frames.len() as u64;
        Ok(())
    }

    /// Sends one message.
    pub fn say(&mut self, line: usize, body: &[u8]) -> Outcome<()> {
        let frame = self.frame(line, body);
        self.send(line, &frame)
    }

    /// Ends a connection without a goodbye.
    pub fn drop_line(&mut self, line: usize) {
        self.lines[line] = Line {
            stream: None,
            phase: Phase::Closed,
            inbound: Vec::new(),
            outbound: Vec::new(),
            greeting: Vec::new(),
            ..std::mem::replace(&mut self.lines[line], Line::nobody())
        };
    }

    /// Waits until something comes or it is `until`, and lets `hear` know what came: of which line, when, and what.
    pub fn turn(&mut self, until: Instant, hear: &mut dyn FnMut(usize, Instant, Heard<'_>)) -> Outcome<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.poller.wait(until, &mut ready).map_err(|e| format!("cannot wait: {e}"))?;
        let now = Instant::now();
        for event in &ready {
            // One that was dropped since.
            if self.lines[event.key].stream.is_none() {
                continue;
            }
            if let Err(why) = self.serve(*event, now, hear) {
                self.drop_line(event.key);
                hear(event.key, now, Heard::Closed(&why));
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn serve(&mut self, event: Ready, now: Instant, hear: &mut dyn FnMut(usize, Instant, Heard<'_>)) -> Outcome<()> {
        let key = event.key;
        let line = &mut self.lines[key];
        let Some(stream) = line.stream.as_mut() else { return Ok(()) };
        if line.phase == Phase::Connecting {
            sockopt::socket_error(&*stream).and_then(|error| error).map_err(|e| format!("cannot connect: {e}"))?;
            if !event.write {
                return Ok(());
            }
            line.phase = Phase::Upgrading;
            line.outbound = upgrade(&line.dialect.path(&line.room)).into_bytes();
        }
        if event.write {
            while !line.outbound.is_empty() {
                match stream.write(&line.outbound) {
                    Ok(written) => drop(line.outbound.drain(..written)),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(format!("cannot send: {e}")),
                }
            }
            if line.outbound.is_empty() {
                line.outbound = Vec::new();
                self.poller.change(&*stream, key, false).map_err(|e| e.to_string())?;
            }
        }
        if !event.read {
            return Ok(());
        }
        let read = match stream.read(&mut self.scratch) {
            Ok(0) => return Err("the line ended".into()),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(format!("cannot read: {e}")),
        };
        self.received_bytes += read as u64;
        let mut inbound = std::mem::take(&mut line.inbound);
        let scratch = std::mem::take(&mut self.scratch);
        let taken = if inbound.is_empty() {
            let taken = self.take_in(key, &scratch[..read], now, hear);
            if let Ok(taken) = taken {
                inbound.extend_from_slice(&scratch[taken..read]);
            }
            taken
        } else {
            inbound.extend_from_slice(&scratch[..read]);
            let taken = self.take_in(key, &inbound, now, hear);
            if let Ok(taken) = taken {
                inbound.drain(..taken);
            }
            taken
        };
        self.scratch = scratch;
        taken?;
        if inbound.is_empty() && inbound.capacity() > KEPT_BYTES {
            inbound = Vec::new();
        }
        self.lines[key].inbound = inbound;
        Ok(())
    }

    /// Hears all that is complete in `bytes`; how many bytes that was.
    fn take_in(
        &mut self,
        key: usize,
        bytes: &[u8],
        now: Instant,
        hear: &mut dyn FnMut(usize, Instant, Heard<'_>),
    ) -> Outcome<usize> {
        let mut at = 0;
        if self.lines[key].phase == Phase::Upgrading {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                let status = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
                return Err(format!("refused: {}", String::from_utf8_lossy(status)));
            }
            at = end + 4;
            self.lines[key].phase = Phase::Open;
            hear(key, now, Heard::Opened);
            let greeting = std::mem::take(&mut self.lines[key].greeting);
            self.send(key, &greeting)?;
        }
        while let Some((opcode, payload)) = dialect::split(&bytes[at..]) {
            let message = &bytes[at + payload.start..at + payload.end];
            at += payload.end;
            match opcode {
                2 => {
                    let heard = self.lines[key].dialect.hear(message);
                    if heard == Heard::Asked {
                        self.say(key, &message::step2(&[0, 0]))?;
                    }
                    hear(key, now, heard);
                }
                8 => {
                    let code = message.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]]));
                    return Err(format!("the server closed with {code}"));
                }
                9 => {
                    let mut pong = dialect::frame(&[], message);
                    pong[0] = 0x8a;
                    self.send(key, &pong)?;
                }
                0 => return Err("a fragmented message".into()),
                _ => {}
            }
        }
        Ok(at)
    }

    /// Takes turns until `done` says so. It is told what is heard, and asked after each turn; an error at the deadline.
    pub fn until(
        &mut self,
        what: &str,
        patience: Duration,
        mut hear: impl FnMut(usize, Instant, Heard<'_>),
        mut done: impl FnMut() -> bool,
    ) -> Outcome<()> {
        let deadline = Instant::now() + patience;
        while !done() {
            if Instant::now() >= deadline {
                return Err(format!("not within {} s: {what}", patience.as_secs()));
            }
            self.turn(deadline, &mut hear)?;
        }
        Ok(())
    }
}

impl Line {
    fn nobody() -> Self {
        Self {
            stream: None,
            phase: Phase::Closed,
            dialect: Dialect::YWebsocket,
            head: Vec::new(),
            inbound: Vec::new(),
            outbound: Vec::new(),
            greeting: Vec::new(),
            room: String::new(),
        }
    }
}

/// Begins to connect, without waiting for the server to accept.
fn connect(addr: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    let family = number / LINES_PER_ADDRESS;
    if family > 0 {
        let from = Ipv4Addr::new(127, 0, (family >> 8) as u8, ((family + 1) & 0xff) as u8);
        rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    }
    match rustix::net::connect(&socket, &addr) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(e) => return Err(e.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn upgrade(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}
