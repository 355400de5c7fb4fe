//! Updates cut into pieces against yrs: all pieces together are the update, each one can be taken after those before it.

use std::time::Instant;

use crdt_tests::author::{Author, Habit, apply, listener, view};
use crdt_tests::message::var_uint;
use crdt_tests::sweep::sweep;
use rand::Rng;
use weft::limits::MESSAGE_BYTES_MAX;
use weft::replica::pieces::{CutError, Pieces};
use weft::replica::{Event, Replica};
use weft::wire::update;
use yrs::{Array, GetString, ReadTxn, Transact};

fn cut(update: &[u8], bytes: usize) -> Vec<Vec<u8>> {
    let mut pieces = Pieces::new(update, bytes).unwrap();
    std::iter::from_fn(|| pieces.next_piece().unwrap()).collect()
}

/// A document that several authors wrote, who heard of each other now and then.
fn written(rng: &mut impl Rng, gc: bool) -> Author {
    let mut authors = [9, 70_000, 3, 1 << 45].map(|client| Author::new(client, Habit::Everything, gc));
    for _ in 0..60 {
        let (who, other) = (rng.random_range(0..4), rng.random_range(0..4));
        authors[who].edit(rng);
        let diff = authors[who].diff(&authors[other].state_vector());
        authors[other].hear(&diff);
    }
    let [one, others @ ..] = authors;
    others.iter().for_each(|other| one.hear(&other.diff(&one.state_vector())));
    one
}

#[test]
fn pieces_in_order_are_taken_at_once_and_make_up_the_whole() {
    sweep(20, |seed, rng| {
        let author = written(rng, seed % 2 == 0);
        let whole = author.diff(&yrs::StateVector::default());
        let expected = listener();
        apply(&expected, &whole);
        for bytes in [1, 7, 40, 300, 1 << 20] {
            let pieces = cut(&whole, bytes);
            assert!(pieces.len() >= (whole.len() / (bytes + 600)).min(4), "{} of {}", pieces.len(), whole.len());
            let (told, mut replica) = (listener(), Replica::new());
            for piece in &pieces {
                update::validate(piece).unwrap();
                apply(&told, piece);
                assert!(!told.transact().has_missing_updates(), "yrs misses something after a piece of {bytes}");
                let effects = replica.handle(&[Event::Offered(0, piece)], Instant::now());
                let (_, offered) = &effects.offered[0];
                assert_eq!((offered.parked_bytes, offered.refused), (0, None));
                assert!(effects.append.iter().all(|(_, record)| record.len() <= piece.len() + 64));
            }
            assert_eq!(view(&told), view(&expected), "pieces of {bytes}");
            assert_eq!(told.transact().snapshot(), expected.transact().snapshot());
            let state = listener();
            apply(&state, &replica.state());
            assert_eq!(view(&state), view(&expected));
        }
    });
}

#[test]
fn what_misses_something_waits_in_pieces_as_it_waits_whole() {
    sweep(20, |_, rng| {
        let mut author = written(rng, false);
        let before = author.state_vector();
        let missing = author.diff(&yrs::StateVector::default());
        for _ in 0..10 {
            author.edit(rng);
        }
        let later = author.diff(&before);
        let expected = listener();
        [&missing, &later].into_iter().for_each(|update| apply(&expected, update));
        for bytes in [1, 40] {
            let mut replica = Replica::new();
            for piece in cut(&later, bytes).into_iter().chain([missing.clone()]) {
                replica.handle(&[Event::Offered(0, &piece)], Instant::now());
            }
            assert_eq!(replica.census().parked_updates, 0, "nothing waits any more");
            let state = listener();
            apply(&state, &replica.state());
            assert_eq!(view(&state), view(&expected));
        }
    });
}

#[test]
fn long_runs_are_cut_between_characters_and_between_values() {
    let text = "aä🧶z".repeat(100);
    let mut item = vec![1, 1, 5, 0, 4, 1, 1, b't'];
    item.extend(var_uint(text.len() as u64));
    item.extend(text.as_bytes());
    item.push(0);
    for bytes in [1, 2, 5, 64] {
        let told = listener();
        let pieces = cut(&item, bytes);
        assert!(pieces.iter().all(|piece| piece.len() <= bytes.max(4) + 16), "{bytes}");
        pieces.iter().for_each(|piece| apply(&told, piece));
        assert_eq!(told.get_or_insert_text("t").get_string(&told.transact()), text, "{bytes}");
    }

    let mut list = vec![1, 1, 5, 0, 8, 1, 1, b'l', 100];
    (0..100).for_each(|n| list.extend([125, n & 63]));
    list.push(0);
    let (told, whole) = (listener(), listener());
    let pieces = cut(&list, 10);
    assert!(pieces.len() >= 20, "{}", pieces.len());
    pieces.iter().for_each(|piece| apply(&told, piece));
    apply(&whole, &list);
    let values = |doc: &yrs::Doc| {
        let list = doc.get_or_insert_array("l");
        let txn = doc.transact();
        list.iter(&txn).map(|value| value.to_string(&txn)).collect::<Vec<_>>()
    };
    assert_eq!(values(&told), values(&whole));
    assert_eq!(values(&told).len(), 100);
}

#[test]
fn a_value_that_no_message_can_hold_is_refused_before_anything_is_given() {
    let mut binary = vec![1, 1, 5, 0, 3, 1, 1, b'b'];
    binary.extend(var_uint(MESSAGE_BYTES_MAX as u64));
    binary.resize(binary.len() + MESSAGE_BYTES_MAX, 7);
    binary.push(0);
    update::validate(&binary).unwrap();
    assert!(matches!(Pieces::new(&binary, 1 << 20), Err(CutError::ValueTooLarge { .. })));
}

#[test]
fn structs_that_wait_for_each_other_are_given_all_the_same() {
    // 9@0 stands behind 5@0, which stands behind 9@0.
    let circle = [2, 1, 9, 0, 0x84, 5, 0, 1, b'x', 1, 5, 0, 0x84, 9, 0, 1, b'y', 1, 5, 1, 0, 1];
    update::validate(&circle).unwrap();
    let pieces = cut(&circle, 1);
    let structs: usize = pieces.iter().map(|piece| usize::from(piece[0])).sum();
    assert_eq!((structs, pieces.len()), (2, 3));
}
