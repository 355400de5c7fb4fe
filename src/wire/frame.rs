//! RFC 6455 frames for a server: bytes of a socket to messages, and messages to shared frames.
//!
//! Pure: no socket, no clock, no knowledge of what a message says. [`Decoder`] takes bytes in whatever pieces the network
//! brings them; [`binary`], [`close`], [`ping`] and [`pong`] build whole frames. Extensions are never negotiated, so
//! reserved bits are always an error, and nothing is ever compressed.
//!
//! Memory: a frame that lies whole in the read buffer is unmasked there and handed out as a slice of it. Only a message
//! that arrives in pieces is collected, in a `Vec` that grows with the bytes that came, never by the length they claim,
//! and that is released as soon as the message has been looked at.

use bytes::Bytes;

use crate::limits::{CLOSE_REASON_BYTES_MAX, MESSAGE_BYTES_MAX};

/// Most payload bytes of a ping, pong or close frame (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
/// Longest header a client can send: 2 bytes, a 64-bit length, a mask.
const HEAD_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

// ---- encoding -----------------------------------------------------------------------------------------------------

/// One unmasked, unfragmented binary frame whose payload is `parts`, one after the other. One allocation.
pub fn binary(parts: &[&[u8]]) -> Bytes {
    frame(BINARY, parts)
}

/// A close frame. Without a code the payload is empty, and so the reason is left out. The reason is cut at a character
/// boundary so that it has at most [`CLOSE_REASON_BYTES_MAX`] bytes.
pub fn close(code: Option<u16>, reason: &str) -> Bytes {
    match code {
        Some(code) => {
            let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
            while !reason.is_char_boundary(end) {
                end -= 1;
            }
            frame(CLOSE, &[&code.to_be_bytes(), &reason.as_bytes()[..end]])
        }
        None => frame(CLOSE, &[]),
    }
}

/// A ping; of the payload at most [`CONTROL_BYTES_MAX`] bytes are used.
pub fn ping(payload: &[u8]) -> Bytes {
    frame(PING, &[&payload[..payload.len().min(CONTROL_BYTES_MAX)]])
}

/// A pong, which repeats the payload of the ping it answers.
pub fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, &[&payload[..payload.len().min(CONTROL_BYTES_MAX)]])
}

fn frame(opcode: u8, parts: &[&[u8]]) -> Bytes {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(10 + len);
    out.push(FIN | opcode);
    match len {
        0..=125 => out.push(len as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    Bytes::from(out)
}

// ---- decoding -----------------------------------------------------------------------------------------------------

/// One message of a client, borrowed from the read buffer or from the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A whole binary message, fragments put together; at most [`MESSAGE_BYTES_MAX`] bytes.
    Binary(&'a [u8]),
    /// A whole text message; UTF-8 was checked.
    Text(&'a str),
    /// To be answered with [`pong`]; at most [`CONTROL_BYTES_MAX`] bytes.
    Ping(&'a [u8]),
    /// An answer to a ping, or unsolicited.
    Pong(&'a [u8]),
    /// The client closes. Nothing comes after it.
    Close {
        /// Its code; `None` when the frame was empty.
        code: Option<u16>,
        /// Its reason, for people.
        reason: &'a str,
    },
}

/// How a client broke the WebSocket protocol. The connection cannot go on: frame boundaries are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A rule of RFC 6455.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message or a close reason that is not UTF-8.
    #[error("text is not valid UTF-8")]
    NotUtf8,
    /// A message over [`MESSAGE_BYTES_MAX`], refused by its header, before its bytes are read.
    #[error("a message has at least {bytes} bytes, at most {MESSAGE_BYTES_MAX} are allowed")]
    TooLarge {
        /// Bytes announced so far.
        bytes: u64,
    },
}

impl FrameError {
    /// The close code of RFC 6455 §7.4.1. A session may know better what its dialect needs (WIRE g7).
    pub fn code(self) -> u16 {
        match self {
            FrameError::Protocol(_) => 1002,
            FrameError::NotUtf8 => 1007,
            FrameError::TooLarge { .. } => 1009,
        }
    }
}

/// Bytes just read from a socket; [`Decoder::next`] takes messages off its front.
#[derive(Debug)]
pub struct Input<'b> {
    bytes: &'b mut [u8],
}

impl<'b> Input<'b> {
    /// Wraps the bytes of one read, in any split.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes }
    }

    /// What has not been decoded yet, exactly as it came. May be given to the decoder later, in a new [`Input`].
    pub fn rest(&self) -> &[u8] {
        self.bytes
    }

    fn take(&mut self, n: usize) -> &'b mut [u8] {
        let (taken, rest) = std::mem::take(&mut self.bytes).split_at_mut(n);
        self.bytes = rest;
        taken
    }
}

/// The kinds of data message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DataKind {
    Text,
    Binary,
}

/// The kinds of control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ControlKind {
    Ping,
    Pong,
    Close,
}

/// What a frame is: opcode, final bit and what came before, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FrameKind {
    /// A message or a fragment of one; `last` when it ends it.
    Data { kind: DataKind, last: bool },
    /// Whole by itself.
    Control(ControlKind),
}

/// A header that was read and checked.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind: FrameKind,
    mask: [u8; 4],
    /// Payload bytes, at most [`MESSAGE_BYTES_MAX`].
    payload: usize,
    /// Bytes of the header itself.
    bytes: usize,
}

/// A frame whose payload is still coming.
#[derive(Debug, Clone, Copy)]
struct Partial {
    head: Head,
    /// Payload bytes already collected.
    had: usize,
}

/// Turns the bytes of one client into messages. Holds no buffer while no frame is incomplete.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The start of a header that was cut by the end of a read.
    head: [u8; HEAD_BYTES_MAX],
    head_had: u8,
    /// The frame whose payload is coming.
    partial: Option<Partial>,
    /// The kind of the data message whose last fragment has not come yet.
    open: Option<DataKind>,
    /// Unmasked payload of that message, or of the data frame that is coming.
    message: Vec<u8>,
    /// Unmasked payload of the control frame that is coming, which may lie between the fragments of a message.
    control: Vec<u8>,
    /// Which of the two was handed out by the last call and can be released.
    spent: Spent,
    /// A close frame came, or an error: nothing after it has a meaning.
    ended: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum Spent {
    #[default]
    Nothing,
    Message,
    Control,
}

impl Decoder {
    /// The next message of `input`, or `None` when all its bytes were used; call until then, so that nothing is held
    /// longer than needed. After a close frame or an error everything is passed over in silence.
    ///
    /// # Errors
    /// [`FrameError`]; the connection must be closed, nothing more can be read from it.
    pub fn next<'x, 'b: 'x>(&'x mut self, input: &mut Input<'b>) -> Result<Option<Message<'x>>, FrameError> {
        match std::mem::take(&mut self.spent) {
            Spent::Nothing => {}
            Spent::Message => self.message = Vec::new(),
            Spent::Control => self.control = Vec::new(),
        }
        if self.ended {
            input.bytes = &mut [];
            return Ok(None);
        }
        loop {
            let Partial { head, had } = match self.partial.take() {
                Some(partial) => partial,
                None => match self.read_head(input) {
                    Ok(Some(head)) => Partial { head, had: 0 },
                    Ok(None) => return Ok(None),
                    Err(error) => {
                        self.ended = true;
                        return Err(error);
                    }
                },
            };
            let wanted = head.payload - had;
            let bytes = input.take(wanted.min(input.bytes.len()));
            unmask(bytes, head.mask, had);
            let complete = bytes.len() == wanted;
            let in_place = complete && had == 0;
            if !complete {
                self.partial = Some(Partial { head, had: had + bytes.len() });
            }
            match head.kind {
                FrameKind::Control(kind) => {
                    let payload: &'x [u8] = if in_place {
                        bytes
                    } else {
                        self.control.extend_from_slice(bytes);
                        if !complete {
                            return Ok(None);
                        }
                        self.spent = Spent::Control;
                        &self.control
                    };
                    self.ended = kind == ControlKind::Close;
                    return control_message(kind, payload).map(Some);
                }
                FrameKind::Data { kind, last } => {
                    let payload: &'x [u8] = if in_place && last && self.open.is_none() {
                        bytes
                    } else {
                        // Doubles at most what came: a peer pays in bytes sent for what it makes us set aside.
                        self.message.extend_from_slice(bytes);
                        self.open = Some(kind);
                        if !complete {
                            return Ok(None);
                        }
                        if !last {
                            continue;
                        }
                        self.open = None;
                        self.spent = Spent::Message;
                        &self.message
                    };
                    return match (kind, std::str::from_utf8(payload)) {
                        (DataKind::Binary, _) => Ok(Some(Message::Binary(payload))),
                        (DataKind::Text, Ok(text)) => Ok(Some(Message::Text(text))),
                        (DataKind::Text, Err(_)) => {
                            self.ended = true;
                            Err(FrameError::NotUtf8)
                        }
                    };
                }
            }
        }
    }

    /// Passes over everything from here on, and sets nothing aside any more.
    pub fn give_up(&mut self) {
        *self = Self { ended: true, ..Self::default() };
    }

    /// Whether a close frame or an error came, after which nothing can be read.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Bytes set aside for a message that is not complete; 0 between messages.
    pub fn held_bytes(&self) -> usize {
        self.message.capacity() + self.control.capacity()
    }

    /// Takes a whole header off the input, or what there is of it.
    fn read_head(&mut self, input: &mut Input<'_>) -> Result<Option<Head>, FrameError> {
        let had = usize::from(self.head_had);
        let more = input.bytes.len().min(HEAD_BYTES_MAX - had);
        self.head[had..had + more].copy_from_slice(&input.bytes[..more]);
        match parse_head(&self.head[..had + more], self.open, self.message.len())? {
            Some(head) => {
                // `head.bytes` is more than what was there before, or it would have been complete then.
                input.take(head.bytes - had);
                self.head_had = 0;
                Ok(Some(head))
            }
            None => {
                input.take(more);
                self.head_had += more as u8;
                Ok(None)
            }
        }
    }
}

/// Reads a client's frame header from its first bytes; `None` when more are needed. `open` is the kind of message whose
/// last fragment is awaited, `message_bytes` what came of it.
fn parse_head(bytes: &[u8], open: Option<DataKind>, message_bytes: usize) -> Result<Option<Head>, FrameError> {
    let [first, bytes @ ..] = bytes else { return Ok(None) };
    let last = first & FIN != 0;
    if first & RESERVED != 0 {
        return Err(FrameError::Protocol("a reserved bit is set"));
    }
    let kind = match (first & 0x0f, open) {
        (CONTINUATION, Some(kind)) => FrameKind::Data { kind, last },
        (CONTINUATION, None) => return Err(FrameError::Protocol("a continuation without a beginning")),
        (TEXT | BINARY, Some(_)) => return Err(FrameError::Protocol("a message begins inside another")),
        (TEXT, None) => FrameKind::Data { kind: DataKind::Text, last },
        (BINARY, None) => FrameKind::Data { kind: DataKind::Binary, last },
        (PING, _) => FrameKind::Control(ControlKind::Ping),
        (PONG, _) => FrameKind::Control(ControlKind::Pong),
        (CLOSE, _) => FrameKind::Control(ControlKind::Close),
        _ => return Err(FrameError::Protocol("a reserved opcode")),
    };
    if matches!(kind, FrameKind::Control(_)) && !last {
        return Err(FrameError::Protocol("a control frame is fragmented"));
    }

    let [second, bytes @ ..] = bytes else { return Ok(None) };
    if second & MASKED == 0 {
        return Err(FrameError::Protocol("a client frame is not masked"));
    }
    let short = second & !MASKED;
    if matches!(kind, FrameKind::Control(_)) && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(FrameError::Protocol("a control frame has more than 125 bytes"));
    }
    let (payload, bytes, len_bytes) = match short {
        126 => {
            let Some((len, bytes)) = bytes.split_first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*len)), bytes, 2)
        }
        127 => {
            let Some((len, bytes)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*len), bytes, 8)
        }
        short => (u64::from(short), bytes, 0),
    };
    if payload >> 63 != 0 {
        return Err(FrameError::Protocol("a length has its highest bit set"));
    }
    if (len_bytes == 2 && payload < 126) || (len_bytes == 8 && payload <= 0xffff) {
        return Err(FrameError::Protocol("a length is longer than it need be"));
    }
    // Control frames are small and lie outside the message they interrupt.
    if matches!(kind, FrameKind::Data { .. }) {
        let bytes = payload.saturating_add(message_bytes as u64);
        if bytes > MESSAGE_BYTES_MAX as u64 {
            return Err(FrameError::TooLarge { bytes });
        }
    }
    let Some((mask, _)) = bytes.split_first_chunk::<4>() else { return Ok(None) };
    Ok(Some(Head { kind, mask: *mask, payload: payload as usize, bytes: 2 + len_bytes + 4 }))
}

fn control_message(kind: ControlKind, payload: &[u8]) -> Result<Message<'_>, FrameError> {
    match kind {
        ControlKind::Ping => Ok(Message::Ping(payload)),
        ControlKind::Pong => Ok(Message::Pong(payload)),
        ControlKind::Close => match payload {
            [] => Ok(Message::Close { code: None, reason: "" }),
            [_] => Err(FrameError::Protocol("a close frame has half a code")),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !may_be_sent(code) {
                    return Err(FrameError::Protocol("a close code that must not be sent"));
                }
                let reason = std::str::from_utf8(reason).map_err(|_| FrameError::NotUtf8)?;
                Ok(Message::Close { code: Some(code), reason })
            }
        },
    }
}

/// Whether a close code may be on the wire (RFC 6455 §7.4 and the IANA registry): 1004–1006 and 1015 may not.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// XORs payload bytes that start at offset `at` of their frame with the frame's mask.
fn unmask(bytes: &mut [u8], mut mask: [u8; 4], at: usize) {
    mask.rotate_left(at % 4);
    let (blocks, tail) = bytes.as_chunks_mut::<16>();
    let wide = u128::from_ne_bytes(std::array::from_fn(|i| mask[i % 4]));
    for block in blocks {
        *block = (u128::from_ne_bytes(*block) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in tail.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// The client's side, for tests: masked frames.
#[cfg(test)]
pub(crate) mod client {
    use super::{FIN, MASKED};

    pub(crate) const MASK: [u8; 4] = [0xa1, 0x07, 0x5c, 0x3e];

    /// A masked frame with the shortest length field.
    pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![first];
        match payload.len() {
            len @ 0..=125 => out.push(MASKED | len as u8),
            len @ 126..=0xffff => {
                out.push(MASKED | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                out.push(MASKED | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&MASK);
        out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
        out
    }

    pub(crate) fn binary(payload: &[u8]) -> Vec<u8> {
        frame(FIN | super::BINARY, payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A message that owns its bytes.
    #[derive(Debug, Clone, PartialEq, Eq)]
    enum Owned {
        Binary(Vec<u8>),
        Text(String),
        Ping(Vec<u8>),
        Pong(Vec<u8>),
        Close(Option<u16>, String),
        Error(FrameError),
    }

    impl From<Message<'_>> for Owned {
        fn from(message: Message<'_>) -> Self {
            match message {
                Message::Binary(bytes) => Owned::Binary(bytes.to_vec()),
                Message::Text(text) => Owned::Text(text.to_owned()),
                Message::Ping(bytes) => Owned::Ping(bytes.to_vec()),
                Message::Pong(bytes) => Owned::Pong(bytes.to_vec()),
                Message::Close { code, reason } => Owned::Close(code, reason.to_owned()),
            }
        }
    }

    /// Feeds pieces to one decoder and collects what comes out.
    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
        let mut decoder = Decoder::default();
        let mut out = Vec::new();
        for piece in pieces {
            let mut piece = piece.to_vec();
            let mut input = Input::new(&mut piece);
            loop {
                match decoder.next(&mut input) {
                    Ok(Some(message)) => out.push(message.into()),
                    Ok(None) => break,
                    Err(error) => out.push(Owned::Error(error)),
                }
            }
            assert!(input.rest().is_empty());
        }
        out
    }

    /// One check for the whole table: the frames as one piece and byte by byte.
    #[track_caller]
    fn check(frames: &[Vec<u8>], expected: &[Owned]) {
        let bytes = frames.concat();
        assert_eq!(decode([&bytes[..]]), expected, "in one piece");
        assert_eq!(decode(bytes.chunks(1)), expected, "byte by byte");
    }

    fn protocol_error(frames: &[Vec<u8>]) -> FrameError {
        let bytes = frames.concat();
        let whole = decode([&bytes[..]]);
        assert_eq!(decode(bytes.chunks(1)), whole);
        match whole.last() {
            Some(Owned::Error(error)) => *error,
            other => panic!("expected an error, got {other:?}"),
        }
    }

    use super::client::frame as masked;

    fn binary_of(bytes: &[u8]) -> Owned {
        Owned::Binary(bytes.to_vec())
    }

    #[test]
    fn whole_messages_of_every_length_class() {
        for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536, 200_000] {
            let payload: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let bytes = masked(FIN | BINARY, &payload);
            assert_eq!(decode([&bytes[..]]), [binary_of(&payload)], "{len} bytes");
            assert_eq!(decode(bytes.chunks(977)), [binary_of(&payload)], "{len} bytes in pieces");
        }
        check(&[masked(FIN | TEXT, "κόσμε".as_bytes())], &[Owned::Text("κόσμε".into())]);
    }

    #[test]
    fn fragments_are_put_together_and_control_frames_may_lie_between() {
        check(
            &[
                masked(TEXT, b"frag"),
                masked(FIN | PING, b"p"),
                masked(CONTINUATION, b""),
                masked(FIN | PONG, b""),
                masked(CONTINUATION, b"men"),
                masked(FIN | CONTINUATION, b"ts"),
                masked(FIN | BINARY, b"next"),
            ],
            &[Owned::Ping(b"p".to_vec()), Owned::Pong(vec![]), Owned::Text("fragments".into()), binary_of(b"next")],
        );
        // A character may be cut by a fragment's end.
        check(&[masked(TEXT, &[0xce]), masked(FIN | CONTINUATION, &[0xba])], &[Owned::Text("κ".into())]);
        check(&[masked(BINARY, b""), masked(FIN | CONTINUATION, b"")], &[binary_of(b"")]);
    }

    #[test]
    fn a_million_one_byte_fragments_are_one_message() {
        let mut frames = masked(BINARY, b"x");
        let more = masked(CONTINUATION, b"x");
        for _ in 0..1_000_000 {
            frames.extend_from_slice(&more);
        }
        frames.extend(masked(FIN | CONTINUATION, b"x"));
        assert_eq!(decode(frames.chunks(65_536)), [Owned::Binary(vec![b'x'; 1_000_002])]);
    }

    #[test]
    fn broken_framing_is_1002() {
        let unmasked = binary(&[b"hello"]).to_vec();
        let mut long_16 = masked(FIN | BINARY, &[]);
        long_16[1] = MASKED | 126;
        long_16.splice(2..2, [0, 125]);
        let mut long_64 = masked(FIN | BINARY, &[]);
        long_64[1] = MASKED | 127;
        long_64.splice(2..2, 0xffff_u64.to_be_bytes());
        let mut high_bit = long_64.clone();
        high_bit[2] = 0x80;
        for (what, frames) in [
            ("unmasked", vec![unmasked]),
            ("rsv1", vec![masked(FIN | 0x40 | BINARY, b"")]),
            ("rsv2", vec![masked(FIN | 0x20 | BINARY, b"")]),
            ("rsv3", vec![masked(FIN | 0x10 | PING, b"")]),
            ("opcode 3", vec![masked(FIN | 3, b"")]),
            ("opcode 7", vec![masked(FIN | 7, b"")]),
            ("opcode 11", vec![masked(FIN | 11, b"")]),
            ("opcode 15", vec![masked(FIN | 15, b"")]),
            ("fragmented ping", vec![masked(PING, b"")]),
            ("fragmented close", vec![masked(CLOSE, b"")]),
            ("ping of 126 bytes", vec![masked(FIN | PING, &[0; 126])]),
            ("continuation first", vec![masked(FIN | CONTINUATION, b"")]),
            ("continuation after the end", vec![masked(FIN | BINARY, b""), masked(CONTINUATION, b"")]),
            ("message inside a message", vec![masked(TEXT, b"a"), masked(FIN | BINARY, b"b")]),
            ("close with one byte", vec![masked(FIN | CLOSE, &[3])]),
            ("length 125 in 16 bits", vec![long_16]),
            ("length 65535 in 64 bits", vec![long_64]),
            ("length with its highest bit", vec![high_bit]),
        ] {
            assert_eq!(protocol_error(&frames).code(), 1002, "{what}");
        }
    }

    #[test]
    fn close_codes_follow_the_registry() {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            let frame = masked(FIN | CLOSE, &[&u16::to_be_bytes(code)[..], b"bye"].concat());
            check(&[frame, masked(FIN | PING, b"late")], &[Owned::Close(Some(code), "bye".into())]);
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
            assert_eq!(protocol_error(&[masked(FIN | CLOSE, &u16::to_be_bytes(code))]).code(), 1002, "{code}");
        }
        check(&[masked(FIN | CLOSE, b"")], &[Owned::Close(None, String::new())]);
    }

    #[test]
    fn bad_utf8_is_1007() {
        for text in [&[0xff][..], &[0xc0, 0xaf], &[0xed, 0xa0, 0x80], &[0xce], &[0xf4, 0x90, 0x80, 0x80]] {
            assert_eq!(protocol_error(&[masked(FIN | TEXT, text)]), FrameError::NotUtf8, "{text:?}");
            assert_eq!(protocol_error(&[masked(TEXT, text), masked(FIN | CONTINUATION, b"")]).code(), 1007);
        }
        assert_eq!(protocol_error(&[masked(FIN | CLOSE, &[0x03, 0xe8, 0xff])]).code(), 1007);
    }

    #[test]
    fn a_message_over_the_limit_is_1009_by_its_header_alone() {
        let claim = |first: u8, len: u64| {
            let mut head = vec![first, MASKED | 127];
            head.extend_from_slice(&len.to_be_bytes());
            head
        };
        for len in [MESSAGE_BYTES_MAX as u64 + 1, 65 << 20, (1 << 63) - 1] {
            assert_eq!(protocol_error(&[claim(FIN | BINARY, len)]), FrameError::TooLarge { bytes: len });
        }
        let sum = protocol_error(&[masked(BINARY, b"abc"), claim(FIN | CONTINUATION, MESSAGE_BYTES_MAX as u64 - 2)]);
        assert_eq!(sum, FrameError::TooLarge { bytes: MESSAGE_BYTES_MAX as u64 + 1 });
        assert_eq!(sum.code(), 1009);
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut decoder = Decoder::default();
        let mut bytes = vec![FIN | BINARY, MASKED | 127];
        bytes.extend_from_slice(&(MESSAGE_BYTES_MAX as u64).to_be_bytes());
        bytes.extend_from_slice(&[0; 4 + 100]);
        assert_eq!(decoder.next(&mut Input::new(&mut bytes)), Ok(None));
        assert!((100..=200).contains(&decoder.held_bytes()), "{}", decoder.held_bytes());
    }

    #[test]
    fn a_whole_frame_is_a_slice_of_the_read_buffer_and_a_cut_one_is_released() {
        let mut decoder = Decoder::default();
        let mut bytes = client::binary(b"hello");
        let range = bytes.as_ptr_range();
        let mut input = Input::new(&mut bytes);
        let Ok(Some(Message::Binary(payload))) = decoder.next(&mut input) else { panic!("no message") };
        assert!(range.contains(&payload.as_ptr()));
        assert_eq!(decoder.held_bytes(), 0);

        let mut cut = client::binary(&[7; 1_000]);
        let mut rest = cut.split_off(500);
        assert_eq!(decoder.next(&mut Input::new(&mut cut)), Ok(None));
        assert!(decoder.held_bytes() > 0);
        let mut input = Input::new(&mut rest);
        assert_eq!(decoder.next(&mut input), Ok(Some(Message::Binary(&[7; 1_000]))));
        assert_eq!(decoder.next(&mut input), Ok(None));
        assert_eq!(decoder.held_bytes(), 0);
    }

    #[test]
    fn what_is_not_decoded_yet_is_given_back_as_it_came() {
        let mut bytes = [client::binary(b"one"), client::binary(b"two")].concat();
        let mut decoder = Decoder::default();
        let mut input = Input::new(&mut bytes);
        decoder.next(&mut input).unwrap();
        assert_eq!(input.rest(), client::binary(b"two"));
    }

    #[test]
    fn encoded_frames_have_the_shortest_header() {
        assert_eq!(binary(&[]), [0x82, 0][..]);
        assert_eq!(binary(&[b"ab", b"", b"c"]), b"\x82\x03abc"[..]);
        assert_eq!(binary(&[&[0; 126]])[..4], [0x82, 126, 0, 126]);
        assert_eq!(binary(&[&[0; 65_535]])[..4], [0x82, 126, 0xff, 0xff]);
        assert_eq!(binary(&[&[0; 65_536]])[..10], [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        assert_eq!(ping(b"x"), [0x89, 1, b'x'][..]);
        assert_eq!(pong(&[7; 200]).len(), 2 + CONTROL_BYTES_MAX);
        assert_eq!(close(None, "ignored"), [0x88, 0][..]);
        assert_eq!(close(Some(1012), "bye"), [0x88, 5, 0x03, 0xf4, b'b', b'y', b'e'][..]);
        // 124 bytes; the two-byte character that would end there is left out whole.
        let long = format!("{}é", "x".repeat(122));
        assert_eq!(close(Some(1000), &long).len(), 2 + 2 + 122);
    }

    fn any_frames() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            4 => Just(FIN | BINARY),
            1 => Just(FIN | TEXT),
            1 => Just(TEXT),
            2 => Just(BINARY),
            2 => Just(CONTINUATION),
            2 => Just(FIN | CONTINUATION),
            1 => Just(FIN | PING),
            1 => Just(FIN | PONG),
            1 => Just(FIN | CLOSE),
        ];
        let payload = prop_oneof![
            "[a-zé]{0,8}".prop_map(String::into_bytes),
            proptest::collection::vec(any::<u8>(), 0..300),
            Just(u16::to_be_bytes(1000).to_vec()),
        ];
        proptest::collection::vec((first, payload), 0..12)
            .prop_map(|frames| frames.iter().flat_map(|(first, payload)| masked(*first, payload)).collect())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            bytes in any_frames(),
            cuts in proptest::collection::vec(0..600usize, 0..20),
        ) {
            let whole = decode([&bytes[..]]);
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (piece, tail) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = tail;
            }
            pieces.push(rest);
            prop_assert_eq!(decode(pieces), whole);
        }

        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0..400usize) {
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(decode([head, tail]), decode([&bytes[..]]));
        }

        #[test]
        fn masking_is_undone_from_any_offset(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0..9usize) {
            let mut bulk = bytes.clone();
            unmask(&mut bulk, client::MASK, at);
            let one_by_one: Vec<u8> =
                bytes.iter().enumerate().map(|(i, byte)| byte ^ client::MASK[(at + i) % 4]).collect();
            prop_assert_eq!(bulk, one_by_one);
        }
    }
}
