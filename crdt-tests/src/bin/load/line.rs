//! The thinnest WebSocket client: prepared frames go out as they are, so that what is measured is the server.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crdt_tests::message;

/// A binary frame of a client with an all-zero mask, which leaves the payload as it is.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x82];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// The first frame in `bytes`: its opcode, where its payload is, and where it ends; none while it is not complete.
pub fn split(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (head, len) = match second {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    (bytes.len() >= head + len).then_some((first & 0x0f, head..head + len))
}

/// The request that opens a document.
pub fn upgrade(room: &str) -> String {
    format!(
        "GET /{room} HTTP/1.1\r\nHost: weft\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// One connection.
pub struct Line {
    /// The socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
}

impl Line {
    /// Connects and shakes hands.
    pub fn connect(addr: SocketAddr, room: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.write_all(upgrade(room).as_bytes())?;
        let mut line = Self { stream, buffer: Vec::new(), start: 0 };
        let end = loop {
            if let Some(at) = line.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            line.fill()?;
        };
        assert!(line.buffer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&line.buffer));
        line.start = end;
        Ok(line)
    }

    fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let len = self.buffer.len();
        self.buffer.resize(len + (64 << 10), 0);
        let read = self.stream.read(&mut self.buffer[len..]);
        self.buffer.truncate(len + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Sends one message.
    pub fn send(&mut self, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(payload))
    }

    /// The next binary message; pings are answered.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let Some((opcode, payload)) = split(&self.buffer[self.start..]) else {
                self.fill()?;
                continue;
            };
            let message = self.buffer[self.start + payload.start..self.start + payload.end].to_vec();
            self.start += payload.end;
            match opcode {
                2 => return Ok(message),
                8 => return Err(io::Error::new(io::ErrorKind::ConnectionAborted, format!("closed: {message:?}"))),
                9 => {
                    let mut pong = frame(&message);
                    pong[0] = 0x8a;
                    self.stream.write_all(&pong)?;
                }
                _ => {}
            }
        }
    }

    /// Waits for this message.
    pub fn until(&mut self, wanted: impl Fn(&[u8]) -> bool) -> io::Result<Vec<u8>> {
        loop {
            let message = self.receive()?;
            if wanted(&message) {
                return Ok(message);
            }
        }
    }

    /// Asks for everything and waits for it.
    pub fn pull(&mut self) -> io::Result<Vec<u8>> {
        self.send(&message::step1_empty())?;
        let answer = self.until(|message| message.starts_with(&[0, 1]))?;
        Ok(message::update_in(&answer).expect("a SyncStep2 holds an update").to_vec())
    }
}

/// The text of a document given as one update.
pub fn text_of(update: &[u8]) -> String {
    use yrs::updates::decoder::Decode;
    use yrs::{Doc, GetString, Transact, Update};

    let doc = Doc::new();
    let text = doc.get_or_insert_text("text");
    doc.transact_mut().apply_update(Update::decode_v1(update).expect("a sound update")).expect("applied");
    text.get_string(&doc.transact())
}

/// Letters of a document's text, as the server has it.
pub fn stored(addr: SocketAddr, room: &str) -> usize {
    let update = Line::connect(addr, room).and_then(|mut line| line.pull());
    text_of(&update.expect("synced")).len()
}
