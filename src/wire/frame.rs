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
/// What is kept of a message that is too large: enough for the address with which some begin.
const OVERSIZED_KEPT_BYTES: usize = 1 << 10;
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
    /// The beginning of a message that was too large and is not kept, see [`Decoder::allow`].
    Oversized(&'a [u8]),
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
    /// Payload bytes.
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
#[derive(Debug)]
pub struct Decoder {
    /// Largest message taken, bytes; at most [`MESSAGE_BYTES_MAX`].
    message_bytes_max: usize,
    /// Larger ones are passed over instead of ending the connection.
    passes_over: bool,
    /// The message that is coming is such a one: of it only the beginning is kept.
    oversized: bool,
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

impl Default for Decoder {
    fn default() -> Self {
        Self {
            message_bytes_max: MESSAGE_BYTES_MAX,
            passes_over: false,
            oversized: false,
            head: [0; HEAD_BYTES_MAX],
            head_had: 0,
            partial: None,
            open: None,
            message: Vec::new(),
            control: Vec::new(),
            spent: Spent::Nothing,
            ended: false,
        }
    }
}

impl Decoder {
    /// From now on messages may have so many bytes, at most [`MESSAGE_BYTES_MAX`]; larger ones are passed over
    /// ([`Message::Oversized`]), or an error.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] when the one that is coming has more already.
    pub fn allow(&mut self, message_bytes_max: usize, passes_over: bool) -> Result<(), FrameError> {
        if self.message_bytes_max == message_bytes_max && self.passes_over == passes_over {
            return Ok(());
        }
        self.message_bytes_max = message_bytes_max.min(MESSAGE_BYTES_MAX);
        self.passes_over = passes_over;
        let coming = self.partial.map_or(0, |Partial { head, had }| match head.kind {
            FrameKind::Data { .. } => head.payload - had,
            FrameKind::Control(_) => 0,
        });
        let waiting = if matches!(self.spent, Spent::Message) { 0 } else { self.message.len() };
        let bytes = (waiting + coming) as u64;
        if bytes > self.message_bytes_max as u64 && !self.oversized {
            self.ended = true;
            return Err(FrameError::TooLarge { bytes });
        }
        Ok(())
    }

    /// The beginning of a binary message that has not come whole; `None` before its first byte.
    pub fn begun(&self) -> Option<&[u8]> {
        (self.open == Some(DataKind::Binary) && !self.message.is_empty()).then_some(&self.message[..])
    }

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
                    let whole = self.message.len().saturating_add(head.payload - had);
                    if whole > self.message_bytes_max && !self.oversized {
                        self.oversized = true;
                        self.message.truncate(OVERSIZED_KEPT_BYTES);
                        self.message.shrink_to_fit();
                    }
                    let payload: &'x [u8] = if in_place && last && self.open.is_none() && !self.oversized {
                        bytes
                    } else {
                        // Doubles at most what came: a peer pays in bytes sent for what it makes us set aside.
                        let kept = match self.oversized {
                            true => bytes.len().min(OVERSIZED_KEPT_BYTES - self.message.len()),
                            false => bytes.len(),
                        };
                        self.message.extend_from_slice(bytes.get(..kept).unwrap_or_default());
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
                    if std::mem::take(&mut self.oversized) {
                        return Ok(Some(Message::Oversized(payload)));
                    }
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
        let message_bytes_max = if self.passes_over { u64::MAX } else { self.message_bytes_max as u64 };
        match parse_head(&self.head[..had + more], self.open, self.message.len(), message_bytes_max)? {
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
/// last fragment is awaited, `message_bytes` what came of it, of which there may be `message_bytes_max`.
fn parse_head(
    bytes: &[u8],
    open: Option<DataKind>,
    message_bytes: usize,
    message_bytes_max: u64,
) -> Result<Option<Head>, FrameError> {
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
        if bytes > message_bytes_max {
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
mod tests;
