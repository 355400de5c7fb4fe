//! Frames in every split, against a table and against what was sent.

use super::*;
use proptest::prelude::*;

/// A message that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owned {
    Binary(Vec<u8>),
    Text(String),
    Oversized(Vec<u8>),
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
            Message::Oversized(bytes) => Owned::Oversized(bytes.to_vec()),
            Message::Ping(bytes) => Owned::Ping(bytes.to_vec()),
            Message::Pong(bytes) => Owned::Pong(bytes.to_vec()),
            Message::Close { code, reason } => Owned::Close(code, reason.to_owned()),
        }
    }
}

/// Feeds pieces to one decoder and collects what comes out.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
    decode_with(&mut Decoder::default(), pieces)
}

fn decode_with<'a>(decoder: &mut Decoder, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
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

#[test]
fn what_is_too_large_can_be_passed_over() {
    let large: Vec<u8> = (0..5_000u32).map(|i| i as u8).collect();
    let whole = client::binary(&large);
    let pieces = [client::frame(super::BINARY, &large[..2_000]), client::frame(FIN, &large[2_000..])].concat();
    for large in [whole, pieces] {
        let bytes = [client::binary(b"before"), large, client::binary(b"after")].concat();
        for step in [bytes.len(), 1, 700, 4_096] {
            let mut decoder = Decoder::default();
            decoder.allow(3_000, true).unwrap();
            let got = decode_with(&mut decoder, bytes.chunks(step));
            let kept: Vec<u8> = (0..OVERSIZED_KEPT_BYTES as u32).map(|i| i as u8).collect();
            let expected =
                [Owned::Binary(b"before".to_vec()), Owned::Oversized(kept), Owned::Binary(b"after".to_vec())];
            assert_eq!(got, expected, "in pieces of {step}");
            assert_eq!(decoder.held_bytes(), 0);
        }
    }
    // One that is allowed less while it comes ends the connection, unless it is passed over.
    let mut decoder = Decoder::default();
    let begun = client::binary(&large);
    assert_eq!(decode_with(&mut decoder, [&begun[..100]]), []);
    assert_eq!(decoder.begun().map(<[u8]>::len), Some(92));
    assert_eq!(decoder.allow(3_000, false), Err(FrameError::TooLarge { bytes: 5_000 }));
    assert!(decoder.ended());
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
