//! Frames of Hocuspocus' providers, among them the one with a token: what is taken is written again as it came.

use weft::ids::DocName;
use weft::wire::frame::{self, Input, Message};
use weft::wire::hocuspocus::{self, Frame, Said};
use weft::wire::lib0::{write_var_bytes, write_var_uint};
use weft::wire::message::ServerMessage;

use super::ywebsocket::{as_server, check_payload};

/// Reads one frame.
pub fn run(input: &[u8]) {
    let _ = hocuspocus::address_of(input);
    let Ok(Frame::To(address, said)) = hocuspocus::parse(input) else { return };
    assert_eq!(hocuspocus::address_of(input), Some(address), "a frame that is refused unread is of the same document");
    if let Ok(name) = hocuspocus::doc_name(address) {
        assert!(DocName::parse(name.as_str()).is_ok() && !name.as_str().trim().is_empty());
        assert!(address.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('\0')));
    }
    let again = match said {
        Said::Document(message) => {
            check_payload(message);
            as_server(message).filter(|again| !matches!(again, ServerMessage::Ack(_)))
        }
        Said::Stateless(text) => Some(ServerMessage::Stateless(text.to_owned().into())),
        Said::Auth(token) => {
            let mut head = Vec::new();
            write_var_bytes(&mut head, address.as_bytes());
            write_var_uint(&mut head, 2);
            write_var_uint(&mut head, 0);
            write_var_bytes(&mut head, token.as_bytes());
            assert!(input.starts_with(&head), "what follows can only be a version");
            None
        }
        Said::Close => None,
    };
    if let Some(again) = again {
        let frames = hocuspocus::frames(address, &again).expect("the dialect has words for it");
        assert_eq!(payload_of(&frames), input, "{said:?}");
    }
}

/// The payload of a frame that the server wrote, which our decoder reads once it is masked.
fn payload_of(frame: &[u8]) -> Vec<u8> {
    let mut masked = frame.to_vec();
    masked[1] |= 0x80;
    let head = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    masked.splice(head..head, [0; 4]);
    let mut decoder = frame::Decoder::default();
    match decoder.next(&mut Input::new(&mut masked)) {
        Ok(Some(Message::Binary(payload))) => payload.to_vec(),
        other => panic!("{other:?}"),
    }
}
