//! The three dialects as frames of a client, and what a server says in them.

use serde::Deserialize;

use crate::message::{self, Reader};

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// The document in the path.
    YWebsocket,
    /// The document in each frame.
    Hocuspocus,
    /// y-websocket's frames at a path of its own, with acks.
    YSweet,
}

/// What a server said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard<'a> {
    /// The WebSocket is open.
    Opened,
    /// It asks what we have (SyncStep1); answered by the swarm already.
    Asked,
    /// It answers what we asked (SyncStep2).
    Answer(&'a [u8]),
    /// An edit, or several.
    Update(&'a [u8]),
    /// The next of our writes is safe (Hocuspocus).
    Saved,
    /// Everything up to this number of ours is safe (y-sweet's message, which weft answers to y-websocket clients, too).
    Echo(u64),
    /// A write, or all of it, was refused.
    Refused,
    /// Presence and the like.
    Other,
    /// The connection has ended, and why.
    Closed(&'a str),
}

impl Dialect {
    /// The path of the request that opens a document.
    pub fn path(self, room: &str) -> String {
        match self {
            Dialect::YWebsocket => format!("/{room}"),
            Dialect::Hocuspocus => "/".into(),
            Dialect::YSweet => format!("/d/{room}/ws/{room}"),
        }
    }

    /// What each frame about a document begins with.
    pub fn head(self, room: &str) -> Vec<u8> {
        match self {
            Dialect::YWebsocket | Dialect::YSweet => Vec::new(),
            Dialect::Hocuspocus => message::var_bytes(room.as_bytes()),
        }
    }

    /// The first frames of a client that knows `state_vector`.
    pub fn greeting(self, head: &[u8], state_vector: &[u8]) -> Vec<u8> {
        let ask = frame(head, &message::step1(state_vector));
        match self {
            Dialect::YWebsocket | Dialect::YSweet => ask,
            Dialect::Hocuspocus => [frame(head, &crate::hocuspocus::auth("")), ask].concat(),
        }
    }

    /// What a frame of the server means.
    pub fn hear(self, message: &[u8]) -> Heard<'_> {
        let body = match self {
            Dialect::YWebsocket | Dialect::YSweet => message,
            Dialect::Hocuspocus => {
                let mut reader = Reader(message);
                // A ping has no address.
                if message.len() > 1 {
                    reader.var_bytes();
                }
                reader.0
            }
        };
        match body {
            [0, 0, ..] => Heard::Asked,
            [0, 1, rest @ ..] => Heard::Answer(Reader(rest).var_bytes()),
            [0, 2, rest @ ..] => Heard::Update(Reader(rest).var_bytes()),
            [102, rest @ ..] => Heard::Echo(Reader(Reader(rest).var_bytes()).var_uint()),
            [8, 1] if self == Dialect::Hocuspocus => Heard::Saved,
            [8, ..] | [2, 1, ..] if self == Dialect::Hocuspocus => Heard::Refused,
            [2, ..] if self != Dialect::Hocuspocus => Heard::Refused,
            _ => Heard::Other,
        }
    }
}

/// A binary frame of a client with an all-zero mask, which leaves the payload as it is.
pub fn frame(head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x82];
    let len = head.len() + body.len();
    match len {
        0..=125 => bytes.push(0x80 | len as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(head);
    bytes.extend(body);
    bytes
}

/// The first frame in bytes from a server: its opcode, where its payload is, and so where it ends; none while it is not
/// complete.
pub fn split(bytes: &[u8]) -> Option<(u8, std::ops::Range<usize>)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (head, len) = match second {
        126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into()),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    (bytes.len() >= head + len).then_some((first & 0x0f, head..head + len))
}
