//! What a reader may do to a document, message by message, without sockets (HARDENING §1, read-only).

use std::time::Instant;

use bytes::Bytes;
use crdt_tests::message::Writer;
use weft::ids::{Access, PeerId};
use weft::replica::{Effects, Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::message::{ClientMessage, ServerMessage};

const WRITER: PeerId = PeerId(1);
const READER: PeerId = PeerId(2);

/// A document with one edit of the writer, which both peers follow.
fn document(writer: &mut Writer) -> Replica {
    let mut replica = Replica::new();
    let ask = |peer| Event::Message(peer, ClientMessage::SyncStep1(&[0]));
    let now = Instant::now();
    replica.handle(
        &[
            Event::Joined(WRITER, Access::Write, Dialect::YWebsocket),
            Event::Joined(READER, Access::Read, Dialect::YWebsocket),
            ask(WRITER),
            ask(READER),
        ],
        now,
    );
    let update = writer.append("mine");
    let effects = replica.handle(&[Event::Message(WRITER, ClientMessage::Update(&update))], now);
    replica.handle(&[Event::Durable(replica.last_seq())], now);
    assert_eq!(effects.append.len(), 1);
    replica
}

fn acks(effects: &Effects) -> usize {
    effects.send.iter().filter(|(_, message, _)| matches!(message, ServerMessage::Ack(_))).count()
}

#[test]
fn a_reader_changes_nothing_by_any_message_and_is_never_acked_for_news() {
    let mut stranger = Writer::new(9);
    let first = stranger.append("not ");
    let second = stranger.append("mine");
    // Whole, with a gap (it would be parked), and the same as an answer.
    for update in [&first, &second] {
        for message in [ClientMessage::Update(update), ClientMessage::SyncStep2(update)] {
            let mut replica = document(&mut Writer::new(1));
            let before = replica.state();
            let ack = ClientMessage::AckRequest(&[7]);
            let events = [Event::Message(READER, message), Event::Message(READER, ack)];
            let effects = replica.handle(&events, Instant::now());
            assert!(
                effects.append.is_empty() && effects.broadcast.is_none() && effects.close.is_empty(),
                "{effects:?}"
            );
            assert_eq!(acks(&effects), 0, "{effects:?}");
            let later = replica.handle(&[Event::Message(READER, ack)], Instant::now());
            assert_eq!(acks(&later), 0, "once refused, nothing is called saved: {later:?}");
            assert_eq!(replica.state(), before);
            assert_eq!(replica.census().parked_updates, 0);
            // The writer is not affected, and the reader goes on to see what it does.
            let events = [Event::Message(WRITER, message), Event::Message(WRITER, ack)];
            let effects = replica.handle(&events, Instant::now());
            assert_eq!(effects.append.len(), 1);
            assert!(replica.audience().any(|peer| peer == READER));
            assert_eq!(effects.broadcast.is_some(), update == &first);
        }
    }
}

/// Otherwise a reader's editor would for ever show that something is unsaved (WIRE h4, g14).
#[test]
fn a_reader_that_brings_nothing_new_is_acked() {
    let mut writer = Writer::new(1);
    let mut replica = document(&mut writer);
    let all = writer.all();
    let events = [
        Event::Message(READER, ClientMessage::SyncStep2(&[0, 0])),
        Event::Message(READER, ClientMessage::Update(&all)),
        Event::Message(READER, ClientMessage::AckRequest(&[7])),
    ];
    let effects = replica.handle(&events, Instant::now());
    assert!(effects.append.is_empty());
    assert!(effects.send.contains(&(
        READER,
        ServerMessage::Ack(Bytes::from_static(&[7])),
        weft::replica::Weight::Control
    )));
}

#[test]
fn a_reader_asks_and_shows_presence() {
    let mut writer = Writer::new(1);
    let mut replica = document(&mut writer);
    let presence = [1, 7, 0, 2, b'{', b'}'];
    let events = [
        Event::Message(READER, ClientMessage::SyncStep1(&[0])),
        Event::Message(READER, ClientMessage::Awareness(&presence)),
    ];
    let effects = replica.handle(&events, Instant::now());
    let answered = |(id, message, _): &(PeerId, ServerMessage, _)| {
        *id == READER && matches!(message, ServerMessage::SyncStep2(update) if update[..] == writer.all()[..])
    };
    assert!(effects.send.iter().any(answered), "{effects:?}");
    assert!(effects.presence.is_some(), "readers are shown to the others");
}
