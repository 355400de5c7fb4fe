//! Messages of y-websocket's and y-sweet's clients: what is taken is written again as it came.

use bytes::Bytes;
use weft::limits::MESSAGES_PER_FRAME_MAX;
use weft::wire::message::{ClientMessage, ServerMessage};
use weft::wire::{WireError, awareness, state_vector, update, ywebsocket};

/// Reads one frame.
pub fn run(input: &[u8]) {
    if let Ok((message, rest)) = ywebsocket::parse_next(input) {
        let read = &input[..input.len() - rest.len()];
        if let Some(message) = message {
            check_payload(message);
            if let Some(again) = as_server(message) {
                let (head, payload) = ywebsocket::encode_parts(&again).expect("the dialect has words for it");
                assert_eq!([&head[..], payload].concat(), read, "{message:?}");
            }
        }
        assert_eq!(ywebsocket::parse(input).is_ok(), rest.is_empty());
    }
    match ywebsocket::split(input) {
        Ok(messages) => {
            assert!(messages.len() <= MESSAGES_PER_FRAME_MAX);
            assert_eq!(messages.concat(), input, "nothing between them is lost");
            messages.iter().for_each(|message| assert!(ywebsocket::parse(message).is_ok()));
        }
        Err(WireError::TooLarge { .. }) => {}
        Err(_) => assert!(ywebsocket::parse(input).is_err()),
    }
}

/// What was taken has passed the validator of its kind.
pub fn check_payload(message: ClientMessage<'_>) {
    let valid = match message {
        ClientMessage::SyncStep1(payload) => state_vector::validate(payload),
        ClientMessage::SyncStep2(payload) | ClientMessage::Update(payload) => update::validate(payload),
        ClientMessage::Awareness(payload) => awareness::validate(payload),
        ClientMessage::QueryAwareness | ClientMessage::AckRequest(_) => Ok(()),
    };
    assert_eq!(valid, Ok(()), "{message:?}");
}

/// The same from a server, where it says that too; bytes behind a query are ignored, so that one is not written again.
pub fn as_server(message: ClientMessage<'_>) -> Option<ServerMessage> {
    let payload = Bytes::copy_from_slice(message.payload());
    Some(match message {
        ClientMessage::SyncStep1(_) => ServerMessage::SyncStep1(payload),
        ClientMessage::SyncStep2(_) => ServerMessage::SyncStep2(payload),
        ClientMessage::Update(_) => ServerMessage::Update(payload),
        ClientMessage::Awareness(_) => ServerMessage::Awareness(payload),
        ClientMessage::AckRequest(_) => ServerMessage::Ack(payload),
        ClientMessage::QueryAwareness => return None,
    })
}
