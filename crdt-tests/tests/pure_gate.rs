//! The gate and the builder against yrs: what is cut out of an update is what yrs itself would have sent.

use crdt_tests::author::{Author, Habit, apply, listener, view};
use crdt_tests::sweep::sweep;
use rand::Rng;
use std::time::Instant;
use weft::ids::{Access, ClientId, PeerId};
use weft::replica::delete_set::DeleteSet;
use weft::replica::gate::gate;
use weft::replica::{Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::message::ClientMessage;
use weft::wire::state_vector::{self, StateVector};
use weft::wire::update::{self, Builder, Walker};
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{ReadTxn, Transact};

/// The clients of an update in the order of its sections, and its bytes without the delete set.
fn structs_of(update: &[u8]) -> (Vec<u64>, &[u8]) {
    let (mut walker, sections) = Walker::new(update).unwrap();
    let mut clients = Vec::new();
    for _ in 0..sections {
        let section = walker.section().unwrap();
        clients.push(section.client.0);
        let mut clock = section.clock;
        for _ in 0..section.structs {
            clock = walker.next(section.client, clock).unwrap().end();
        }
    }
    (clients, &update[..walker.position()])
}

/// What of `update` is new to somebody at `known`.
fn news(update: &[u8], known: &StateVector) -> Vec<u8> {
    let gated = gate(update, known, &DeleteSet::default()).unwrap();
    assert!(gated.parked.is_none(), "nothing is missing");
    let mut builder = Builder::default();
    for run in &gated.runs {
        builder.structs(run.client, run.from, run.structs, &[&run.head, run.rest]);
    }
    gated.deletes.iter().for_each(|&(client, from, to)| builder.delete(client, from, to));
    builder.finish()
}

#[test]
fn a_block_is_cut_as_yrs_cuts_it_at_every_tick() {
    sweep(20, |_, rng| {
        for habit in [Habit::Typist, Habit::Everything] {
            // Without garbage collection long blocks keep their content, and the cuts go through it.
            let mut author = Author::new(rng.random_range(1..1 << 53), habit, false);
            (0..40).for_each(|_| drop(author.edit(rng)));
            let whole = author.diff(&yrs::StateVector::default());
            let client = ClientId(structs_of(&whole).0[0]);
            let clocks = state_vector::decode(&author.state_vector().encode_v1()).unwrap()[&client];
            for clock in 1..clocks {
                let known = StateVector::from([(client, clock)]);
                let theirs = yrs::StateVector::decode_v1(&state_vector::encode(&known)).unwrap();
                let theirs = author.diff(&theirs);
                let ours = news(&whole, &known);
                assert_eq!(structs_of(&ours).1, structs_of(&theirs).1, "at tick {clock}");
            }
        }
    });
}

#[test]
fn what_is_known_is_left_out_and_the_rest_is_enough() {
    sweep(20, |_, rng| {
        let mut authors = [4, 1 << 40].map(|client| Author::new(client, Habit::Everything, false));
        for _ in 0..60 {
            let (who, other) = if rng.random() { (0, 1) } else { (1, 0) };
            authors[who].edit(rng);
            if rng.random_ratio(1, 6) {
                let diff = authors[who].diff(&authors[other].state_vector());
                authors[other].hear(&diff);
            }
        }
        let [one, other] = authors.map(|author| author.diff(&yrs::StateVector::default()));
        let (told_all, told_news) = (listener(), listener());
        [&one, &other].iter().for_each(|update| apply(&told_all, update));
        apply(&told_news, &other);
        let known = state_vector::decode(&told_news.transact().state_vector().encode_v1()).unwrap();
        let news = news(&one, &known);
        assert!(news.len() < one.len());
        apply(&told_news, &news);
        assert!(!told_news.transact().has_missing_updates());
        assert_eq!(told_news.transact().snapshot(), told_all.transact().snapshot());
        assert_eq!(view(&told_news), view(&told_all));
    });
}

#[test]
fn a_turn_of_many_is_one_update_as_yjs_wants_it() {
    sweep(40, |_, rng| {
        let mut authors = [9, 70_000, 3, 1 << 45].map(|client| Author::new(client, Habit::Everything, true));
        let mut updates = Vec::new();
        for _ in 0..30 {
            let who = rng.random_range(0..4);
            updates.push(authors[who].edit(rng));
            let other = rng.random_range(0..4);
            let diff = authors[who].diff(&authors[other].state_vector());
            authors[other].hear(&diff);
        }
        let mut replica = Replica::new();
        let mut events = vec![Event::Joined(PeerId(1), Access::Write, Dialect::YWebsocket)];
        events.extend(updates.iter().map(|update| Event::Message(PeerId(1), ClientMessage::Update(update))));
        let effects = replica.handle(&events, Instant::now());
        assert_eq!(effects.append.len(), 1);
        let (merged, except) = effects.broadcast.unwrap();
        assert_eq!(except, Some(PeerId(1)), "no echo to the one who sent all of it");
        update::validate(&merged).unwrap();
        let (clients, _) = structs_of(&merged);
        assert!(clients.is_sorted_by(|a, b| a > b), "largest client first: {clients:?}");

        let (one_by_one, at_once) = (listener(), listener());
        updates.iter().for_each(|update| apply(&one_by_one, update));
        apply(&at_once, &merged);
        assert!(!at_once.transact().has_missing_updates());
        assert_eq!(view(&one_by_one), view(&at_once));
        let snapshot = |doc: &yrs::Doc| doc.transact().snapshot();
        assert_eq!(snapshot(&one_by_one), snapshot(&at_once));
    });
}
