//! RFC 6455: however the network cuts the bytes, the same messages come of them, and memory follows what came.

use weft::limits::MESSAGE_BYTES_MAX;
use weft::wire::frame::{CONTROL_BYTES_MAX, Decoder, FrameError, Input, Message};

use crate::parts::Parts;

/// Reads a connection.
pub fn run(input: &[u8]) {
    let mut parts = Parts::of(input);
    let (step, bound) = (usize::from(parts.choice()), parts.choice());
    let bytes = parts.rest();
    // Some connections may say little only, and some may say too much.
    let bound = (bound & 1 == 1).then_some((usize::from(bound) * 4, bound & 2 == 2));
    let whole = decode(bytes, bytes.len().max(1), bound);
    let pieces = decode(bytes, step.max(1), bound);
    assert_eq!(whole, pieces, "in pieces of {step}");
}

/// A message that outlives its buffer.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Binary(Vec<u8>),
    Text(String),
    Oversized,
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Error(FrameError),
}

fn decode(bytes: &[u8], step: usize, bound: Option<(usize, bool)>) -> Vec<Said> {
    let mut decoder = Decoder::default();
    if let Some((bytes_max, passes_over)) = bound {
        decoder.allow(bytes_max, passes_over).expect("nothing has come yet");
    }
    let mut said = Vec::new();
    let mut came = 0;
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        came += piece.len();
        let mut input = Input::new(&mut piece);
        loop {
            match decoder.next(&mut input) {
                Ok(None) => break,
                Ok(Some(message)) => said.push(match message {
                    Message::Binary(payload) => {
                        assert!(payload.len() <= bound.map_or(MESSAGE_BYTES_MAX, |(max, _)| max));
                        Said::Binary(payload.to_vec())
                    }
                    Message::Text(text) => Said::Text(text.to_owned()),
                    // Its beginning is kept, however much of it came at once.
                    Message::Oversized(_) => Said::Oversized,
                    Message::Ping(payload) => {
                        assert!(payload.len() <= CONTROL_BYTES_MAX);
                        Said::Ping(payload.to_vec())
                    }
                    Message::Pong(payload) => Said::Pong(payload.to_vec()),
                    Message::Close { code, reason } => Said::Close(code, reason.to_owned()),
                }),
                Err(error) => {
                    assert!(decoder.ended());
                    // How much was announced depends on how much has come.
                    let error = match error {
                        FrameError::TooLarge { .. } => FrameError::TooLarge { bytes: 0 },
                        other => other,
                    };
                    said.push(Said::Error(error));
                    break;
                }
            }
        }
        // A vector may be twice as large as what is in it.
        assert!(decoder.held_bytes() <= 2 * came + 64, "{} bytes held of {came}", decoder.held_bytes());
    }
    said
}
