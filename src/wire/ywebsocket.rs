//! The y-websocket dialect (WIRE §1): one protocol message per frame (g1), the document named by the URL.

use bytes::Bytes;

use super::lib0::{Reader, var_uint_len, write_var_uint};
use super::message::{ClientMessage, ServerMessage};
use super::{WireError, awareness, state_vector, update};
use crate::limits::{ACK_BYTES_MAX, MESSAGES_PER_FRAME_MAX};

const SYNC: u64 = 0;
const AWARENESS: u64 = 1;
const AUTH: u64 = 2;
const QUERY_AWARENESS: u64 = 3;
/// y-sweet's "sync status", also understood from y-websocket clients (contract 2.2).
const ACK: u64 = 102;

const SYNC_STEP_1: u64 = 0;
const SYNC_STEP_2: u64 = 1;
const SYNC_UPDATE: u64 = 2;

/// A message that no client acts on but every client counts as a sign of life (WIRE g4): awareness of nobody.
pub const KEEPALIVE: &[u8] = &[1, 1, 0];

/// Parses the only message of a binary frame, and validates what it carries.
///
/// # Errors
/// As [`parse_next`], and when more follows; the frame must be dropped whole.
pub fn parse(frame: &[u8]) -> Result<Option<ClientMessage<'_>>, WireError> {
    match parse_next(frame)? {
        (message, []) => Ok(message),
        (_, rest) => Err(WireError::TrailingBytes(rest.len())),
    }
}

/// The messages of a frame, each by itself; every one of them is valid.
///
/// # Errors
/// The first thing that is wrong, or that there are more than [`MESSAGES_PER_FRAME_MAX`].
pub fn split(frame: &[u8]) -> Result<Vec<&[u8]>, WireError> {
    let (mut messages, mut left) = (Vec::new(), frame);
    while !left.is_empty() {
        if messages.len() == MESSAGES_PER_FRAME_MAX {
            let max = MESSAGES_PER_FRAME_MAX as u64;
            return Err(WireError::TooLarge { what: "number of messages in a frame", size: max + 1, max });
        }
        let (_, rest) = parse_next(left)?;
        messages.extend(left.get(..left.len() - rest.len()));
        left = rest;
    }
    Ok(messages)
}

/// Parses the first of the messages in a binary frame, and gives what follows it. Stock clients send one in each (g1);
/// those of Yjs 14 read several and may send them.
///
/// `Ok(None)` means a message that is understood and needs no action. Trailing bytes after `QueryAwareness` are ignored,
/// since y-sweet's client sends some (WIRE §1).
///
/// # Errors
/// Any [`WireError`].
pub fn parse_next(frame: &[u8]) -> Result<(Option<ClientMessage<'_>>, &[u8]), WireError> {
    let mut reader = Reader::new(frame);
    let message = match reader.var_uint()? {
        SYNC => {
            let step = reader.var_uint()?;
            let payload = reader.var_bytes()?;
            match step {
                SYNC_STEP_1 => {
                    state_vector::validate(payload)?;
                    ClientMessage::SyncStep1(payload)
                }
                SYNC_STEP_2 => {
                    update::validate(payload)?;
                    ClientMessage::SyncStep2(payload)
                }
                SYNC_UPDATE => {
                    update::validate(payload)?;
                    ClientMessage::Update(payload)
                }
                tag => return Err(WireError::UnknownTag { what: "sync message", tag }),
            }
        }
        AWARENESS => {
            let payload = reader.var_bytes()?;
            awareness::validate(payload)?;
            ClientMessage::Awareness(payload)
        }
        // PermissionDenied is for clients; from one it says nothing.
        AUTH => return Ok((None, &[])),
        QUERY_AWARENESS => return Ok((Some(ClientMessage::QueryAwareness), &[])),
        ACK => {
            let payload = reader.var_bytes()?;
            if payload.len() > ACK_BYTES_MAX {
                let (size, max) = (payload.len() as u64, ACK_BYTES_MAX as u64);
                return Err(WireError::TooLarge { what: "ack request", size, max });
            }
            ClientMessage::AckRequest(payload)
        }
        tag => return Err(WireError::UnknownTag { what: "message type", tag }),
    };
    Ok((Some(message), reader.rest()))
}

/// The bytes that go before the payload of `message`, and the payload; together they are one protocol message. `None`
/// when the dialect has no words for it.
pub fn encode_parts(message: &ServerMessage) -> Option<(Vec<u8>, &Bytes)> {
    let (tags, payload): (&[u8], &Bytes) = match message {
        ServerMessage::SyncStep1(sv) => (&[SYNC as u8, SYNC_STEP_1 as u8], sv),
        ServerMessage::SyncStep2(update) => (&[SYNC as u8, SYNC_STEP_2 as u8], update),
        ServerMessage::Update(update) => (&[SYNC as u8, SYNC_UPDATE as u8], update),
        ServerMessage::Awareness(entries) => (&[AWARENESS as u8], entries),
        ServerMessage::Ack(bytes) => (&[ACK as u8], bytes),
        ServerMessage::PermissionDenied(reason) => (&[AUTH as u8, 0], reason),
        ServerMessage::Granted(_)
        | ServerMessage::QueryAwareness
        | ServerMessage::TokenWanted
        | ServerMessage::Confirmed(_)
        | ServerMessage::Refused
        | ServerMessage::Stateless(_) => return None,
    };
    let mut head = Vec::with_capacity(tags.len() + var_uint_len(payload.len() as u64));
    head.extend_from_slice(tags);
    write_var_uint(&mut head, payload.len() as u64);
    Some((head, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_clients_frames_are_understood() {
        assert_eq!(parse(&[0, 0, 1, 0]), Ok(Some(ClientMessage::SyncStep1(&[0]))));
        assert_eq!(parse(&[0, 1, 2, 0, 0]), Ok(Some(ClientMessage::SyncStep2(&[0, 0]))));
        assert_eq!(parse(&[0, 2, 2, 0, 0]), Ok(Some(ClientMessage::Update(&[0, 0]))));
        assert_eq!(parse(KEEPALIVE), Ok(Some(ClientMessage::Awareness(&[0]))));
        assert_eq!(parse(&[3]), Ok(Some(ClientMessage::QueryAwareness)));
        assert_eq!(parse(&[3, 1, 0]), Ok(Some(ClientMessage::QueryAwareness)), "y-sweet's trailing bytes");
        assert_eq!(parse(&[102, 1, 0]), Ok(Some(ClientMessage::AckRequest(&[0]))));
        assert_eq!(parse(&[2, 0, 1, b'x']), Ok(None));
    }

    #[test]
    fn g1_a_frame_is_one_message_and_whole() {
        assert_eq!(parse(&[0, 0, 1, 0, 0]), Err(WireError::TrailingBytes(1)));
        assert_eq!(parse(&[0, 0, 2, 0]), Err(WireError::Truncated));
        assert_eq!(parse(&[]), Err(WireError::Truncated));
        assert!(matches!(parse(&[0, 3, 0]), Err(WireError::UnknownTag { .. })));
        assert!(matches!(parse(&[9]), Err(WireError::UnknownTag { .. })));
        assert!(matches!(parse(&[&[102, 17][..], &[0; 17]].concat()), Err(WireError::TooLarge { .. })));
    }

    #[test]
    fn several_messages_in_a_frame_are_taken_apart() {
        let three = [&[0, 0, 1, 0][..], &[0, 2, 2, 0, 0], &[102, 1, 7]];
        assert_eq!(split(&three.concat()), Ok(three.to_vec()));
        assert_eq!(split(&[3, 1, 0]), Ok(vec![&[3, 1, 0][..]]), "y-sweet's trailing bytes");
        assert_eq!(split(&[0, 0, 1, 0, 9]), Err(WireError::UnknownTag { what: "message type", tag: 9 }));
        assert_eq!(split(&[0, 0, 1, 0, 0]), Err(WireError::Truncated));
        assert!(split(&KEEPALIVE.repeat(MESSAGES_PER_FRAME_MAX)).is_ok());
        assert!(matches!(split(&KEEPALIVE.repeat(MESSAGES_PER_FRAME_MAX + 1)), Err(WireError::TooLarge { .. })));
    }

    #[test]
    fn what_the_server_says_is_laid_out_as_wire_1_wants() {
        let bytes = |bytes: &'static [u8]| Bytes::from_static(bytes);
        let encode = |message: &ServerMessage| {
            let (head, payload) = encode_parts(message).unwrap();
            [&head[..], payload].concat()
        };
        assert_eq!(encode(&ServerMessage::SyncStep1(bytes(&[0]))), [0, 0, 1, 0]);
        assert_eq!(encode(&ServerMessage::SyncStep2(bytes(&[0, 0]))), [0, 1, 2, 0, 0]);
        assert_eq!(encode(&ServerMessage::Update(bytes(&[0, 0]))), [0, 2, 2, 0, 0]);
        assert_eq!(encode(&ServerMessage::Awareness(bytes(&[0]))), KEEPALIVE);
        assert_eq!(encode(&ServerMessage::Ack(bytes(&[7]))), [102, 1, 7]);
        assert_eq!(encode(&ServerMessage::PermissionDenied(bytes(b"no"))), [2, 0, 2, b'n', b'o']);
        assert_eq!(encode_parts(&ServerMessage::Confirmed(1)), None, "stock clients would log an unknown message");
    }
}
