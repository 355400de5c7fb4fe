//! Hocuspocus frames as bytes, written here independently of `weft::wire`, and a connection that speaks them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::message::{Reader, var_bytes};
use crate::socket::Socket;
use crate::wait::PATIENCE;

/// "This write is durable."
pub const SAVED: &[u8] = &[8, 1];
/// "This write was refused."
pub const REFUSED: &[u8] = &[8, 0];
/// "Send another token."
pub const TOKEN_WANTED: &[u8] = &[2, 0];
/// "I leave."
pub const CLOSE: &[u8] = &[7];
/// Awareness of nobody, behind an address.
pub const KEEPALIVE: &[u8] = &[1, 1, 0];

/// An Auth with a token.
pub fn auth(token: &str) -> Vec<u8> {
    [vec![2, 0], var_bytes(token.as_bytes())].concat()
}

/// What the server says when it lets in.
pub fn granted(scope: &str) -> Vec<u8> {
    [vec![2, 2], var_bytes(scope.as_bytes())].concat()
}

/// A stateless message.
pub fn stateless(text: &str) -> Vec<u8> {
    [vec![5], var_bytes(text.as_bytes())].concat()
}

/// The reason, if this is a denial.
pub fn denial(body: &[u8]) -> Option<String> {
    let rest = body.strip_prefix(&[2, 1])?;
    Some(String::from_utf8(Reader(rest).var_bytes().to_vec()).expect("UTF-8"))
}

/// A frame about the document at `address`. Messages of y-websocket ([`crate::message`]) go behind it as they are.
pub fn frame(address: &str, body: &[u8]) -> Vec<u8> {
    [var_bytes(address.as_bytes()), body.to_vec()].concat()
}

/// The address of a frame, and what is behind it.
pub fn split(frame: &[u8]) -> (String, Vec<u8>) {
    let mut reader = Reader(frame);
    let address = String::from_utf8(reader.var_bytes().to_vec()).expect("UTF-8");
    (address, reader.0.to_vec())
}

/// One connection with any number of documents.
pub struct Line {
    /// Below it.
    pub socket: Socket,
    /// How many of the frames have been looked at, by address.
    read: HashMap<String, usize>,
}

impl Line {
    /// Connects; `path` does not matter to the server.
    pub fn connect(addr: SocketAddr, path: &str) -> Self {
        Self { socket: Socket::connect(addr, path), read: HashMap::new() }
    }

    /// Says something of one document.
    pub fn say(&mut self, address: &str, body: impl AsRef<[u8]>) {
        self.socket.send(frame(address, body.as_ref()));
    }

    /// Reads until something that satisfies `wanted` is said of the document, after what was found there last.
    pub fn until(&mut self, address: &str, what: &str, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
        loop {
            let from = self.read.get(address).copied().unwrap_or(0);
            for (at, frame) in self.socket.frames.iter().enumerate().skip(from) {
                let (of, body) = split(frame);
                if of == address && wanted(&body) {
                    self.read.insert(address.to_owned(), at + 1);
                    return body;
                }
            }
            self.read.insert(address.to_owned(), self.socket.frames.len());
            if self.socket.next(PATIENCE).is_none() {
                let said = self.said(address);
                panic!("no {what} for {address:?}; closed: {:?}, said: {said:?}", self.socket.closed);
            }
        }
    }

    /// Begins to sync and waits for the answer; the update in it.
    pub fn pull(&mut self, address: &str) -> Vec<u8> {
        self.say(address, crate::message::step1_empty());
        let answer = self.until(address, "SyncStep2", |body| body.starts_with(&[0, 1]));
        crate::message::update_in(&answer).expect("a SyncStep2 holds an update").to_vec()
    }

    /// Enters a document and syncs as a provider does; the update that it gets.
    pub fn join(&mut self, address: &str, token: &str) -> Vec<u8> {
        self.say(address, auth(token));
        let update = self.pull(address);
        self.say(address, crate::message::step2(&[0, 0]));
        self.until(address, "a confirmation", |body| body == SAVED);
        update
    }

    /// Everything said of the document so far.
    pub fn said(&self, address: &str) -> Vec<Vec<u8>> {
        self.socket
            .frames
            .iter()
            .map(|frame| split(frame))
            .filter(|(of, _)| of == address)
            .map(|(_, body)| body)
            .collect()
    }

    /// How often something was said of the document so far.
    pub fn count(&self, address: &str, of: &[u8]) -> usize {
        self.said(address).iter().filter(|body| body.starts_with(of)).count()
    }

    /// Waits until something said after this has been answered, so that whatever was to be said before has been.
    pub fn settle(&mut self, address: &str) {
        let before = self.count(address, &[0, 1]);
        self.say(address, crate::message::step1_empty());
        let mut seen = before;
        while seen == before {
            assert!(self.socket.next(PATIENCE).is_some(), "no answer; closed: {:?}", self.socket.closed);
            seen = self.count(address, &[0, 1]);
        }
        self.read.insert(address.to_owned(), self.socket.frames.len());
    }

    /// The close code at the end of the connection.
    pub fn until_closed(&mut self, deadline: Duration) -> Option<u16> {
        self.socket.until_closed(deadline)
    }
}
