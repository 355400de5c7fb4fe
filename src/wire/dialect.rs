//! Which protocol a client speaks, and under which address each of its documents is spoken of.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::message::ServerMessage;
use super::{frame, hocuspocus, ywebsocket};

/// The protocols of stock clients (contract 2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// y-websocket's: the document is the URL's path (WIRE §1).
    #[default]
    YWebsocket,
    /// y-sweet's: y-websocket's with acks, at paths of its own, and with clients of other manners (WIRE §2).
    YSweet,
    /// @hocuspocus/provider's: each frame names its document, and one connection can have many (WIRE §3).
    Hocuspocus,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Dialect; 3] = [Dialect::YWebsocket, Dialect::YSweet, Dialect::Hocuspocus];

    /// The dialect of a client whose first message is this (WIRE §5): a y-websocket client begins with a sync message,
    /// whose first byte is 0; in a Hocuspocus frame that would be an empty address, which is illegal. Whoever says nothing
    /// in it is taken for the former, which has rules for garbage.
    pub fn of_first_frame(frame: &[u8]) -> Self {
        match frame.first() {
            Some(0) | None => Dialect::YWebsocket,
            Some(_) => Dialect::Hocuspocus,
        }
    }

    /// A short name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Dialect::YWebsocket => "ywebsocket",
            Dialect::YSweet => "ysweet",
            Dialect::Hocuspocus => "hocuspocus",
        }
    }

    /// Whether a client counts its writes and wants each one confirmed (WIRE h4), instead of asking for an ack.
    pub fn confirms_each_write(self) -> bool {
        self == Dialect::Hocuspocus
    }
}

/// How one document is spoken of on one connection. A clone shares the text.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// Not at all: the connection has only one. So for y-sweet's clients, whose messages are the same.
    #[default]
    YWebsocket,
    /// By this string, which begins each frame: the document's name, or name, NUL and session id (WIRE §3).
    Hocuspocus(Arc<str>),
}

impl Address {
    /// The dialect that it is of.
    pub fn dialect(&self) -> Dialect {
        match self {
            Address::YWebsocket => Dialect::YWebsocket,
            Address::Hocuspocus(_) => Dialect::Hocuspocus,
        }
    }

    /// `message` in whole WebSocket frames, one after the other and as a rule one; `None` when the dialect has no words
    /// for it. The payload is copied once.
    pub fn frames(&self, message: &ServerMessage) -> Option<Bytes> {
        match self {
            Address::YWebsocket => {
                ywebsocket::encode_parts(message).map(|(head, payload)| frame::binary(&[&head, payload]))
            }
            Address::Hocuspocus(address) => hocuspocus::frames(address, message),
        }
    }
}

/// As a name in a log: quoted and escaped.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::YWebsocket => f.write_str("ywebsocket"),
            Address::Hocuspocus(address) => write!(f, "hocuspocus {address:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_tells_the_dialect() {
        assert_eq!(Dialect::of_first_frame(&[0, 0, 1, 0]), Dialect::YWebsocket);
        assert_eq!(Dialect::of_first_frame(b"\x04doc1\x02\x00\x03tok\x054.8.0"), Dialect::Hocuspocus);
        assert_eq!(Dialect::of_first_frame(b""), Dialect::YWebsocket);
    }
}
