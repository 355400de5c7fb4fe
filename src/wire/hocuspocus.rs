//! The Hocuspocus dialect (WIRE §3): every frame begins with the address of the document that it is about.
//!
//! Frames of documents are those of y-websocket behind the address; the rest is authentication, confirmations, and
//! messages that applications send each other. What only servers may say (types 4 and 6), or what clients cannot
//! understand, is neither taken nor sent.

use bytes::Bytes;

use super::lib0::{Reader, var_uint_len, write_var_bytes, write_var_uint};
use super::message::{ClientMessage, ServerMessage};
use super::{WireError, awareness, frame, state_vector, update};
use crate::ids::{Access, DocName, DocNameError};
use crate::limits::{DOC_NAME_BYTES_MAX, SESSION_ID_BYTES_MAX, STATELESS_BYTES_MAX};

const SYNC: u8 = 0;
const AWARENESS: u8 = 1;
const AUTH: u8 = 2;
const QUERY_AWARENESS: u8 = 3;
const STATELESS: u8 = 5;
const CLOSE: u8 = 7;
const SYNC_STATUS: u8 = 8;
/// The answer to a ping that weft never sends: a frame of this one byte, without an address.
const PONG: u8 = 10;

const SYNC_STEP_1: u8 = 0;
const SYNC_STEP_2: u8 = 1;
const SYNC_UPDATE: u8 = 2;

const AUTH_TOKEN: u8 = 0;
const AUTH_DENIED: u8 = 1;
const AUTH_GRANTED: u8 = 2;

/// What separates a document's name from a session id (WIRE h13).
const SESSION_SEPARATOR: char = '\0';
/// Longest address, bytes: a name, the separator, a session id.
const ADDRESS_BYTES_MAX: usize = DOC_NAME_BYTES_MAX + 1 + SESSION_ID_BYTES_MAX;
/// Longest version that a provider may tell, bytes.
const VERSION_BYTES_MAX: usize = 64;

/// One frame of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// About the document at an address.
    To(&'a str, Said<'a>),
    /// About the connection, and in no need of an answer.
    Pong,
}

/// What a client says of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said<'a> {
    /// To the document, validated.
    Document(ClientMessage<'a>),
    /// "This is who I am": a token, empty where there is none.
    Auth(&'a str),
    /// From application to application.
    Stateless(&'a str),
    /// "I leave this document."
    Close,
}

/// Parses one binary frame and validates what it carries. Bytes behind a message are an error, but behind an Auth, where
/// providers add their version.
///
/// # Errors
/// Any [`WireError`]; the frame must be dropped whole.
pub fn parse(frame: &[u8]) -> Result<Frame<'_>, WireError> {
    if frame == [PONG] {
        return Ok(Frame::Pong);
    }
    let mut reader = Reader::new(frame);
    let address = reader.var_string()?;
    if address.len() > ADDRESS_BYTES_MAX {
        return Err(too_large("address", address.len(), ADDRESS_BYTES_MAX));
    }
    let said = match u8::try_from(reader.var_uint()?).unwrap_or(u8::MAX) {
        SYNC => Said::Document(sync(&mut reader)?),
        AWARENESS => {
            let payload = reader.var_bytes()?;
            awareness::validate(payload)?;
            Said::Document(ClientMessage::Awareness(payload))
        }
        AUTH => return Ok(Frame::To(address, auth(&mut reader)?)),
        QUERY_AWARENESS => Said::Document(ClientMessage::QueryAwareness),
        STATELESS => {
            let payload = reader.var_string()?;
            if payload.len() > STATELESS_BYTES_MAX {
                return Err(too_large("stateless message", payload.len(), STATELESS_BYTES_MAX));
            }
            Said::Stateless(payload)
        }
        CLOSE => return Ok(Frame::To(address, Said::Close)),
        tag => return Err(WireError::UnknownTag { what: "message type", tag: tag.into() }),
    };
    reader.end()?;
    Ok(Frame::To(address, said))
}

fn sync<'a>(reader: &mut Reader<'a>) -> Result<ClientMessage<'a>, WireError> {
    let step = reader.var_uint()?;
    let payload = reader.var_bytes()?;
    Ok(match u8::try_from(step).unwrap_or(u8::MAX) {
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
        _ => return Err(WireError::UnknownTag { what: "sync message", tag: step }),
    })
}

fn auth<'a>(reader: &mut Reader<'a>) -> Result<Said<'a>, WireError> {
    let tag = reader.var_uint()?;
    if tag != u64::from(AUTH_TOKEN) {
        return Err(WireError::UnknownTag { what: "auth message", tag });
    }
    let token = reader.var_string()?;
    if !reader.is_empty() {
        let version = reader.var_string()?;
        if version.len() > VERSION_BYTES_MAX {
            return Err(too_large("version", version.len(), VERSION_BYTES_MAX));
        }
    }
    reader.end()?;
    Ok(Said::Auth(token))
}

fn too_large(what: &'static str, size: usize, max: usize) -> WireError {
    WireError::TooLarge { what, size: size as u64, max: max as u64 }
}

/// The document that an address is about (WIRE h11, h13). Names of nothing but white space are refused, as clients of this
/// dialect expect it.
///
/// # Errors
/// What is wrong with its name.
pub fn doc_name(address: &str) -> Result<DocName, DocNameError> {
    let (name, session) = address.split_once(SESSION_SEPARATOR).unwrap_or((address, ""));
    if session.contains(SESSION_SEPARATOR) {
        return Err(DocNameError::Nul);
    }
    if name.trim().is_empty() {
        return Err(DocNameError::Empty);
    }
    DocName::parse(name)
}

/// The address at which a frame begins, as far as it is here; for frames that are refused unread.
pub fn address_of(beginning: &[u8]) -> Option<&str> {
    let address = Reader::new(beginning).var_string().ok()?;
    (address.len() <= ADDRESS_BYTES_MAX).then_some(address)
}

/// `message` to the peer at `address` in whole WebSocket frames, one after the other; `None` when there are no words for
/// it: acks are not asked for in this dialect.
pub fn frames(address: &str, message: &ServerMessage) -> Option<Bytes> {
    static NOTHING: Bytes = Bytes::new();
    let (tags, payload): (&[u8], Option<&Bytes>) = match message {
        ServerMessage::SyncStep1(sv) => (&[SYNC, SYNC_STEP_1], Some(sv)),
        ServerMessage::SyncStep2(update) => (&[SYNC, SYNC_STEP_2], Some(update)),
        ServerMessage::Update(update) => (&[SYNC, SYNC_UPDATE], Some(update)),
        ServerMessage::Awareness(entries) => (&[AWARENESS], Some(entries)),
        ServerMessage::PermissionDenied(reason) => (&[AUTH, AUTH_DENIED], Some(reason)),
        ServerMessage::QueryAwareness => (&[QUERY_AWARENESS], None),
        ServerMessage::TokenWanted => (&[AUTH, AUTH_TOKEN], None),
        ServerMessage::Granted(Access::Read) => (&[AUTH, AUTH_GRANTED], Some(&READ_ONLY)),
        ServerMessage::Granted(Access::Write) => (&[AUTH, AUTH_GRANTED], Some(&READ_WRITE)),
        ServerMessage::Stateless(text) => (&[STATELESS], Some(text)),
        ServerMessage::Refused => (&[SYNC_STATUS, 0], None),
        ServerMessage::Confirmed(writes) => {
            let one = frame::binary(&[&head(address, &[SYNC_STATUS, 1], None)]);
            return Some(if *writes == 1 { one } else { one.repeat(*writes as usize).into() });
        }
        ServerMessage::Ack(_) => return None,
    };
    Some(frame::binary(&[&head(address, tags, payload), payload.unwrap_or(&NOTHING)]))
}

static READ_ONLY: Bytes = Bytes::from_static(b"readonly");
static READ_WRITE: Bytes = Bytes::from_static(b"read-write");

/// All of a message but its payload.
fn head(address: &str, tags: &[u8], payload: Option<&Bytes>) -> Vec<u8> {
    let lengths = var_uint_len(address.len() as u64) + payload.map_or(0, |payload| var_uint_len(payload.len() as u64));
    let mut head = Vec::with_capacity(address.len() + tags.len() + lengths);
    write_var_bytes(&mut head, address.as_bytes());
    head.extend_from_slice(tags);
    if let Some(payload) = payload {
        write_var_uint(&mut head, payload.len() as u64);
    }
    head
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let text: String = text.split_whitespace().collect();
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// The payloads of the WebSocket frames of a message.
    fn said(message: &ServerMessage) -> Vec<Vec<u8>> {
        let frames = frames("doc1", message).unwrap();
        let (mut rest, mut payloads) = (&frames[..], Vec::new());
        while let [0x82, len @ 0..=125, behind @ ..] = rest {
            let (payload, behind) = behind.split_at(usize::from(*len));
            payloads.push(payload.to_vec());
            rest = behind;
        }
        assert!(rest.is_empty(), "{rest:?}");
        payloads
    }

    #[test]
    fn wire_3_the_captured_opening_of_4_8_0() {
        let auth = hex("04646f6331 02 00 03746f6b 05342e382e30");
        assert_eq!(parse(&auth), Ok(Frame::To("doc1", Said::Auth("tok"))));
        let step1 = hex("04646f6331 00 00 01 00");
        assert_eq!(parse(&step1), Ok(Frame::To("doc1", Said::Document(ClientMessage::SyncStep1(&[0])))));
        let awareness = hex("04646f6331 01 0a 01bbf890c506 00 02 7b7d");
        let entries = &hex("01bbf890c506 00 02 7b7d")[..];
        assert_eq!(parse(&awareness), Ok(Frame::To("doc1", Said::Document(ClientMessage::Awareness(entries)))));
    }

    #[test]
    fn wire_3_every_message_of_a_client() {
        let to_doc = |said| Ok(Frame::To("d", said));
        let document = |message| to_doc(Said::Document(message));
        assert_eq!(parse(b"\x01d\x00\x01\x02\x00\x00"), document(ClientMessage::SyncStep2(&[0, 0])));
        assert_eq!(parse(b"\x01d\x00\x02\x02\x00\x00"), document(ClientMessage::Update(&[0, 0])));
        assert_eq!(parse(b"\x01d\x03"), document(ClientMessage::QueryAwareness));
        assert_eq!(parse(b"\x01d\x02\x00\x00"), to_doc(Said::Auth("")), "2.x and 3.x tell no version");
        assert_eq!(parse(b"\x01d\x05\x02hi"), to_doc(Said::Stateless("hi")));
        assert_eq!(parse(b"\x01d\x07"), to_doc(Said::Close));
        assert_eq!(parse(b"\x01d\x07\x01x"), to_doc(Said::Close), "whatever the reason");
        assert_eq!(parse(&[10]), Ok(Frame::Pong), "h7: no address");
        assert_eq!(parse(b"\x03d\x00s\x07"), Ok(Frame::To("d\0s", Said::Close)), "h13: with a session id");
    }

    #[test]
    fn what_only_servers_may_say_and_what_is_malformed_is_refused() {
        for tag in [4, 6, 8, 9, 10, 11, 127] {
            assert!(matches!(parse(&[1, b'd', tag, 1, b'x']), Err(WireError::UnknownTag { .. })), "{tag}");
        }
        assert_eq!(parse(&[]), Err(WireError::Truncated));
        assert_eq!(parse(b"\x02d"), Err(WireError::Truncated));
        assert_eq!(parse(b"\x01\xff\x07"), Err(WireError::NotUtf8));
        assert_eq!(parse(b"\x01d\x03\x00"), Err(WireError::TrailingBytes(1)));
        assert_eq!(parse(b"\x01d\x00\x00\x01\x00\x00"), Err(WireError::TrailingBytes(1)), "g1");
        assert!(matches!(parse(b"\x01d\x00\x03\x00"), Err(WireError::UnknownTag { .. })));
        assert!(matches!(parse(b"\x01d\x02\x01\x01x"), Err(WireError::UnknownTag { .. })));
        assert!(matches!(parse(b"\x01d\x80\x80\x80\x80\x10"), Err(WireError::UnknownTag { .. })), "not cut to 0");
        let long = "x".repeat(ADDRESS_BYTES_MAX + 1);
        assert!(matches!(parse(&head(&long, &[CLOSE], None)), Err(WireError::TooLarge { .. })));
    }

    #[test]
    fn h11_names_are_what_comes_before_the_separator() {
        assert_eq!(doc_name("org.doc").unwrap().as_str(), "org.doc");
        assert_eq!(doc_name("a b/ü").unwrap().as_str(), "a b/ü");
        assert_eq!(doc_name("doc\0session").unwrap().as_str(), "doc");
        assert_eq!(doc_name("doc\0").unwrap().as_str(), "doc");
        for empty in ["", " ", "\t\n", "\0", " \0session", "\u{2003}"] {
            assert_eq!(doc_name(empty), Err(DocNameError::Empty), "{empty:?}");
        }
        assert_eq!(doc_name("a\0b\0c"), Err(DocNameError::Nul));
        assert_eq!(doc_name(&"x".repeat(513)), Err(DocNameError::TooLong(513)));
    }

    #[test]
    fn what_the_server_says_is_laid_out_as_wire_3_wants() {
        let bytes = |bytes: &'static [u8]| Bytes::from_static(bytes);
        for (message, expected) in [
            (ServerMessage::SyncStep1(bytes(&[0])), "04646f6331 00 00 01 00"),
            (ServerMessage::SyncStep2(bytes(&[0, 0])), "04646f6331 00 01 02 00 00"),
            (ServerMessage::Update(bytes(&[0, 0])), "04646f6331 00 02 02 00 00"),
            (ServerMessage::Awareness(bytes(&[0])), "04646f6331 01 01 00"),
            (ServerMessage::QueryAwareness, "04646f6331 03"),
            (ServerMessage::TokenWanted, "04646f6331 02 00"),
            (ServerMessage::PermissionDenied(bytes(b"no")), "04646f6331 02 01 02 6e6f"),
            (ServerMessage::Granted(Access::Read), "04646f6331 02 02 08 726561646f6e6c79"),
            (ServerMessage::Granted(Access::Write), "04646f6331 02 02 0a 726561642d7772697465"),
            (ServerMessage::Stateless(bytes(b"hi")), "04646f6331 05 02 6869"),
            (ServerMessage::Confirmed(1), "04646f6331 08 01"),
            (ServerMessage::Refused, "04646f6331 08 00"),
        ] {
            assert_eq!(said(&message), [hex(expected)], "{message:?}");
        }
        assert_eq!(said(&ServerMessage::Confirmed(3)), vec![hex("04646f6331 08 01"); 3], "a frame for each");
        assert_eq!(frames("doc1", &ServerMessage::Ack(bytes(&[0]))), None);
    }

    #[test]
    fn an_address_can_be_told_from_the_beginning_of_a_frame() {
        assert_eq!(address_of(b"\x04doc1\x00\x02\xff\xff\xff\x7f"), Some("doc1"));
        assert_eq!(address_of(b"\x04do"), None);
        assert_eq!(address_of(b"\x02\xff\xff"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_understood(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        /// Whatever follows a good address is judged by its type alone, and never seen as another document's.
        #[test]
        fn an_address_is_read_as_it_was_written(address in "\\PC{1,40}", rest in proptest::collection::vec(any::<u8>(), 1..60)) {
            let bytes = [head(&address, &[], None), rest].concat();
            if let Ok(Frame::To(read, _)) = parse(&bytes) {
                prop_assert_eq!(read, &address);
            }
        }

        #[test]
        fn cut_frames_are_refused(at in 0usize..16) {
            let whole = hex("04646f6331 02 00 03746f6b 05342e382e30");
            // The version may be missing, the rest may not.
            let cut = &whole[..at.min(whole.len() - 1)];
            prop_assert!(cut.len() == 11 || parse(cut).is_err());
        }
    }
}
