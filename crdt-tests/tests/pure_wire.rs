//! The wire's own codecs and validator against yrs: honest bytes pass and mean the same, hostile bytes harm nobody.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Instant;

use crdt_tests::author::{Author, Habit};
use crdt_tests::sweep::sweep;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft::ids::{Access, PeerId, Seq};
use weft::replica::content::Content;
use weft::replica::delete_set::DeleteSet;
use weft::replica::gate::gate;
use weft::replica::{Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::message::ClientMessage;
use weft::wire::state_vector::StateVector;
use weft::wire::update::{self, Builder};

/// Two authors that sometimes hear each other; returns their updates, in an order in which each can be integrated.
fn session(seed: u64, habit: Habit, gc: bool, edits: usize) -> (Vec<Vec<u8>>, [Author; 2]) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut authors = [Author::new(7, habit, gc), Author::new(u64::from(u32::MAX) - seed, habit, gc)];
    let mut updates = Vec::new();
    for _ in 0..edits {
        let (who, other) = if rng.random() { (0, 1) } else { (1, 0) };
        updates.push(authors[who].edit(&mut rng));
        if rng.random_ratio(1, 3) {
            let diff = authors[who].diff(&authors[other].state_vector());
            authors[other].hear(&diff);
        }
    }
    (updates, authors)
}

#[test]
fn every_honest_update_is_valid() {
    sweep(30, |seed, rng| {
        for habit in [Habit::Typist, Habit::Everything, Habit::Subdocuments] {
            let (updates, authors) = session(seed, habit, seed % 2 == 0, 40);
            let check = |update: &[u8]| {
                update::validate(update).unwrap_or_else(|e| panic!("seed {seed} {habit:?}: {e}: {update:?}"));
                gate(update, &StateVector::new(), &DeleteSet::default()).unwrap();
            };
            updates.iter().for_each(|update| check(update));
            for _ in 0..10 {
                let some = rng.random_range(2..9);
                let some: Vec<&[u8]> = updates.choose_multiple(rng, some).map(Vec::as_slice).collect();
                check(&yrs::merge_updates_v1(some).unwrap());
                let from = yrs::encode_state_vector_from_update_v1(updates.choose(rng).unwrap()).unwrap();
                let from = <yrs::StateVector as yrs::updates::decoder::Decode>::decode_v1(&from).unwrap();
                check(&authors[0].diff(&from));
            }
            for author in &authors {
                check(&author.diff(&yrs::StateVector::default()));
            }
        }
    });
}

/// Offers `bytes` as a peer would, to an empty document and to one that knows `before`; then uses the document.
fn offer(before: &[&[u8]], bytes: &[u8]) -> &'static str {
    if update::validate(bytes).is_err() {
        return "invalid";
    }
    gate(bytes, &StateVector::new(), &DeleteSet::default()).expect("valid bytes can be gated");
    let mut replica = Replica::load(before.iter().copied(), Seq::ZERO).unwrap();
    let message = Event::Message(PeerId(1), ClientMessage::Update(bytes));
    let effects =
        replica.handle(&[Event::Joined(PeerId(1), Access::Write, Dialect::YWebsocket), message], Instant::now());
    let breaks = |replica: &mut Replica| {
        let read = Content::of(&replica.state());
        read.inspect_err(|error| eprintln!("{error}: {bytes:?}")).is_err()
    };
    if breaks(&mut replica) {
        return "broke the document";
    }
    if let Some(update) = &effects.broadcast {
        update::validate(&update.0).expect("what is sent on is valid");
        let everything: Vec<_> = replica.census().clocks.into_iter().map(|(client, to)| (client, 0, to)).collect();
        let mut delete = Builder::default();
        everything.into_iter().for_each(|(client, from, to)| delete.delete(client, from, to));
        let delete = delete.finish();
        let message = Event::Message(PeerId(1), ClientMessage::Update(&delete));
        replica.handle(&[message], Instant::now());
        update::validate(&replica.state()).unwrap();
        if breaks(&mut replica) {
            return "broke the document";
        }
    }
    match (effects.close.is_empty(), effects.append.len()) {
        (false, _) => "refused",
        (true, 0) => "nothing new",
        (true, _) if effects.broadcast.is_none() => "parked",
        (true, 1) => "integrated",
        (true, _) => "integrated in part",
    }
}

#[test]
fn mutated_updates_are_refused_or_harmless() {
    let fates = RefCell::new(BTreeMap::new());
    sweep(6, |seed, rng| {
        for habit in [Habit::Everything, Habit::Subdocuments] {
            let (updates, authors) = session(seed, habit, seed % 2 == 0, 12);
            let full = authors[0].diff(&yrs::StateVector::default());
            let before: Vec<&[u8]> = updates.iter().map(Vec::as_slice).collect();
            for (n, update) in updates.iter().chain([&full]).enumerate() {
                for end in 0..update.len() {
                    assert!(
                        update::validate(&update[..end]).is_err(),
                        "seed {seed}: {:?} is cut short",
                        &update[..end]
                    );
                }
                for at in 0..update.len() {
                    for _ in 0..4 {
                        let mut bytes = update.clone();
                        bytes[at] = match rng.random_range(0..3) {
                            0 => rng.random(),
                            1 => bytes[at] ^ (1 << rng.random_range(0..8)),
                            _ => bytes[at].wrapping_add(if rng.random() { 1 } else { 255 }),
                        };
                        *fates.borrow_mut().entry(offer(&before[..n.min(before.len())], &bytes)).or_insert(0) += 1;
                    }
                }
            }
        }
    });
    let fates = fates.into_inner();
    println!("{fates:?}");
    assert!(fates["integrated"] > 500 && fates["invalid"] > 500, "{fates:?}");
    assert_eq!(fates.get("broke the document"), None, "{fates:?}");
}
