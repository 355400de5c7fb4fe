//! WIRE g5: what does not fit one frame goes out in portions, each when the one before it has left, and a SyncStep2 ends it.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use crdt_tests::author::{Author, Habit, apply, listener, view};
use crdt_tests::sweep::sweep;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use weft::ids::{Access, PeerId, Seq};
use weft::replica::encoded::Shape;
use weft::replica::portions::Sizes;
use weft::replica::{Effects, Event, Replica, Weight};
use weft::wire::dialect::Dialect;
use weft::wire::message::{ClientMessage, ServerMessage};
use yrs::updates::encoder::Encode;
use yrs::{Doc, ReadTxn, StateVector, Text, Transact};

const SIZES: Sizes = Sizes { whole_max: 300, portion: 100, shared_min: 1 << 20 };

fn handle(replica: &mut Replica, events: &[Event<'_>]) -> Effects {
    replica.handle(events, Instant::now())
}

/// What one peer is told, of the document.
fn told(effects: Effects, peer: PeerId) -> VecDeque<(ServerMessage, Weight)> {
    let of_content =
        |message: &ServerMessage| matches!(message, ServerMessage::SyncStep2(_) | ServerMessage::Update(_));
    let told = effects.send.into_iter().filter(|(id, message, _)| *id == peer && of_content(message));
    told.map(|(_, message, weight)| (message, weight)).collect()
}

fn ask(replica: &mut Replica, peer: PeerId, doc: &Doc) -> VecDeque<(ServerMessage, Weight)> {
    let question = doc.transact().state_vector().encode_v1();
    let join = [
        Event::Joined(peer, Access::Write, Dialect::YWebsocket),
        Event::Message(peer, ClientMessage::SyncStep1(&question)),
    ];
    told(handle(replica, &join), peer)
}

/// Takes portions until `most` of them have come or a SyncStep2 has; gives them.
fn take(
    replica: &mut Replica,
    peer: PeerId,
    mut next: VecDeque<(ServerMessage, Weight)>,
    doc: &Doc,
    most: usize,
) -> Vec<Bytes> {
    let mut portions = Vec::new();
    loop {
        let (message, weight) = next.pop_front().expect("there is an end");
        assert!(next.is_empty(), "one at a time");
        let (ServerMessage::SyncStep2(update) | ServerMessage::Update(update)) = &message else { unreachable!() };
        apply(doc, update);
        assert!(!doc.transact().has_missing_updates(), "an order of causes");
        match message {
            ServerMessage::SyncStep2(_) => {
                assert_eq!(weight, Weight::Answer);
                return portions;
            }
            _ => {
                assert_eq!(weight, Weight::Portion);
                portions.push(update.clone());
            }
        }
        if portions.len() == most {
            return portions;
        }
        next = told(handle(replica, &[Event::CaughtUp { peer, lost: false }]), peer);
    }
}

fn replica_of(author: &Author) -> Replica {
    let whole = author.diff(&StateVector::default());
    let mut replica = Replica::load([&whole[..]], Seq(1)).unwrap();
    replica.cut_answers_by(SIZES);
    replica
}

fn long_author(rng: &mut impl Rng) -> Author {
    let mut author = Author::new(7, Habit::Everything, rng.random());
    while author.diff(&StateVector::default()).len() < 3_000 {
        author.edit(rng);
    }
    author
}

/// An edit that changes something.
fn edit(author: &mut Author, rng: &mut ChaCha8Rng) -> Vec<u8> {
    loop {
        let update = author.edit(rng);
        if update != [0, 0] {
            return update;
        }
    }
}

#[test]
fn g5_portions_lead_to_the_whole_and_what_comes_meanwhile_comes_at_the_end() {
    sweep(20, |_, rng| {
        let mut author = long_author(rng);
        let mut replica = replica_of(&author);
        let (peer, doc) = (PeerId(1), listener());
        let first = ask(&mut replica, peer, &doc);
        let portions = take(&mut replica, peer, first, &doc, 5);
        assert_eq!(portions.len(), 5);
        // It does not follow yet: an edit would have a gap for it.
        let news = edit(&mut author, rng);
        let effects = handle(
            &mut replica,
            &[
                Event::Joined(PeerId(2), Access::Write, Dialect::YWebsocket),
                Event::Message(PeerId(2), ClientMessage::Update(&news)),
            ],
        );
        assert!(effects.broadcast.is_some() && !replica.audience().any(|id| id == peer));
        // It asks once more, and is being answered.
        let again = doc.transact().state_vector().encode_v1();
        let effects = handle(&mut replica, &[Event::Message(peer, ClientMessage::SyncStep1(&again))]);
        assert!(told(effects, peer).is_empty());
        let next = told(handle(&mut replica, &[Event::CaughtUp { peer, lost: false }]), peer);
        take(&mut replica, peer, next, &doc, usize::MAX);
        assert_eq!(view(&doc), view(&author.doc));
        assert_eq!(doc.transact().snapshot(), author.doc.transact().snapshot());
        // And from now on it follows.
        let news = edit(&mut author, rng);
        handle(&mut replica, &[Event::Message(PeerId(2), ClientMessage::Update(&news))]);
        assert!(replica.audience().any(|id| id == peer));
        assert!(
            told(handle(&mut replica, &[Event::CaughtUp { peer, lost: false }]), peer).is_empty(),
            "nothing is owed"
        );
    });
}

#[test]
fn g5_whoever_comes_back_gets_the_rest_and_a_crowd_shares_one_cut() {
    sweep(20, |_, rng| {
        let author = long_author(rng);
        let mut replica = replica_of(&author);
        let docs = [listener(), listener()];
        let [one, other] = [PeerId(1), PeerId(2)];
        let next = ask(&mut replica, one, &docs[0]);
        let begun = take(&mut replica, one, next, &docs[0], 8);
        let next = ask(&mut replica, other, &docs[1]);
        let whole = take(&mut replica, other, next, &docs[1], usize::MAX);
        assert!(begun.iter().zip(&whole).all(|(a, b)| a.as_ptr() == b.as_ptr()), "the same bytes");
        assert_eq!(view(&docs[1]), view(&author.doc));

        handle(&mut replica, &[Event::Left(one), Event::Left(other)]);
        let next = ask(&mut replica, PeerId(3), &docs[0]);
        let rest = take(&mut replica, PeerId(3), next, &docs[0], usize::MAX);
        let bytes = |portions: &[Bytes]| portions.iter().map(Bytes::len).sum::<usize>();
        assert!(bytes(&rest) <= bytes(&whole[8..]) + 100, "{} for {}", bytes(&rest), bytes(&whole[8..]));
        assert_eq!(view(&docs[0]), view(&author.doc));
        assert_eq!(docs[0].transact().snapshot(), author.doc.transact().snapshot());
    });
}

#[test]
fn g5_who_is_slow_goes_on_alone_when_most_of_what_is_shared_is_deleted() {
    sweep(20, |_, rng| {
        let author = long_author(rng);
        let mut replica = replica_of(&author);
        replica.cut_answers_by(Sizes { shared_min: 0, ..SIZES });
        replica.keep_by(Shape { chunk: 64, collect: 1 << 20, collect_min: 1 });
        let docs = [listener(), listener()];
        let [slow, quick] = [PeerId(1), PeerId(2)];
        let next = ask(&mut replica, slow, &docs[0]);
        let begun = take(&mut replica, slow, next, &docs[0], 8);
        let next = ask(&mut replica, quick, &docs[1]);
        let all = take(&mut replica, quick, next, &docs[1], usize::MAX);
        assert!(begun.iter().zip(&all).all(|(a, b)| a.as_ptr() == b.as_ptr()), "the same bytes");
        // A text that is most of the document comes and goes, and newcomers take what there is.
        let text = author.doc.get_or_insert_text("a text that comes and goes");
        for n in 0..6 {
            let before = author.state_vector();
            let mut txn = author.doc.transact_mut();
            match text.len(&txn) {
                0 => text.insert(&mut txn, 0, &format!("{n} {}", "long ".repeat(2_000))),
                len => text.remove_range(&mut txn, 0, len),
            }
            drop(txn);
            let news = author.diff(&before);
            handle(&mut replica, &[Event::Offered(0, &news)]);
            let (newcomer, doc) = (PeerId(10 + n), listener());
            let next = ask(&mut replica, newcomer, &doc);
            take(&mut replica, newcomer, next, &doc, usize::MAX);
            assert_eq!(view(&doc), view(&author.doc));
        }
        let next = told(handle(&mut replica, &[Event::CaughtUp { peer: slow, lost: false }]), slow);
        let rest = take(&mut replica, slow, next, &docs[0], usize::MAX);
        let bytes = |portions: &[Bytes]| portions.iter().map(Bytes::len).sum::<usize>();
        let whole = replica.state().len();
        assert!(bytes(&begun) + bytes(&rest) <= whole + 2_000, "{} and {} of {whole}", bytes(&begun), bytes(&rest));
        assert_eq!(view(&docs[0]), view(&author.doc));
        assert_eq!(docs[0].transact().snapshot(), author.doc.transact().snapshot());
    });
}

#[test]
fn g5_a_small_document_is_one_step2_as_ever() {
    let mut replica = Replica::new();
    let update = crdt_tests::message::Writer::new(5).append(&"small ".repeat(10_000));
    handle(&mut replica, &[Event::Offered(0, &update)]);
    let (peer, doc) = (PeerId(1), listener());
    let mut answer = ask(&mut replica, peer, &doc);
    assert!(matches!(answer.pop_front(), Some((ServerMessage::SyncStep2(_), Weight::Answer))) && answer.is_empty());
}
