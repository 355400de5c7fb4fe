//! Answers to state vectors, compared with what Yrs makes of the same bytes: the same ticks, and no deletion less.

use std::time::Instant;

use weft::ids::{Access, ClientId, Clock, PeerId, Seq};
use weft::replica::delete_set::DeleteSet;
use weft::replica::{Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::message::{ClientMessage, ServerMessage};
use weft::wire::{state_vector, update};

use super::replica::Held;
use super::update::{coverage, may_lie_about_order};
use crate::parts::Parts;
use crate::script::{Authors, Choices};

/// Updates of the document.
const UPDATES_MAX: usize = 40;

/// Asks a document of an input's updates with its state vector.
pub fn run(input: &[u8]) {
    let mut parts = Parts::of(input);
    let (question, updates) = match parts.choice() {
        255 => {
            let question = parts.next().unwrap_or_default().to_vec();
            (question, parts.take(UPDATES_MAX).map(<[u8]>::to_vec).collect())
        }
        _ => {
            let (mut choices, mut authors) = (Choices::of(parts.rest()), Authors::default());
            let mut updates = Vec::new();
            while !choices.is_empty() && updates.len() < UPDATES_MAX {
                updates.push(authors.update(&mut choices));
            }
            (authors.state_vector(&mut Choices::of(input)), updates)
        }
    };
    check(&question, &updates);
}

fn check(question: &[u8], updates: &[Vec<u8>]) {
    let Ok(known) = state_vector::decode(question) else { return };
    let mut replica = Replica::new();
    let (now, peer) = (Instant::now(), PeerId(1));
    replica.handle(&[Event::Joined(peer, Access::Write, Dialect::YWebsocket)], now);
    let mut log = Vec::new();
    for update in updates.iter().filter(|update| update::validate(update).is_ok()) {
        let effects = replica.handle(&[Event::Message(peer, ClientMessage::Update(update))], now);
        log.extend(effects.broadcast.map(|(update, _)| update));
    }
    if log.is_empty() {
        return;
    }
    let reader = PeerId(2);
    let ask = ClientMessage::SyncStep1(question);
    let joined = Event::Joined(reader, Access::Read, Dialect::YSweet);
    let effects = replica.handle(&[joined, Event::Message(reader, ask)], now);
    let answers: Vec<_> = effects.send.into_iter().filter_map(|(_, message, _)| answer(message)).collect();
    let [ours] = &answers[..] else { panic!("{} answers to one question", answers.len()) };

    let (ticks, deleted) = coverage(ours);
    // By count: from where the question ends to where the document ends, for each client, and nothing else.
    let clocks = replica.census().clocks;
    let known_of = |client: &ClientId| known.get(client).copied().unwrap_or(0);
    let wanted: Vec<(ClientId, Vec<(Clock, Clock)>)> = clocks
        .iter()
        .filter(|(client, end)| known_of(client) < **end)
        .map(|(client, end)| (*client, vec![(known_of(client), *end)]))
        .collect();
    assert_eq!(ticks.into_iter().collect::<Vec<_>>(), wanted);

    // By Yrs, from bytes alone, out of the same log. It sees only what has passed the gate (DEPENDENCIES, safe use 1).
    let merged = yrs::merge_updates_v1(log.iter().map(|update| &update[..])).expect("Yrs merges what was broadcast");
    let theirs = yrs::diff_updates_v1(&merged, question).expect("Yrs answers what we answer");
    let (their_ticks, their_deletes) = coverage(&theirs);
    assert_eq!(their_ticks.into_iter().collect::<Vec<_>>(), wanted, "Yrs says otherwise");
    assert!(holds(&deleted, &their_deletes), "a deletion is missing");

    // Whoever has nothing gets all of it by any answer to nothing.
    let state = replica.state();
    let mut newcomer = Replica::load([&state[..]], Seq(1)).expect("it loads");
    let ordered = !may_lie_about_order(log.iter().map(|update| &update[..]));
    assert_eq!(Held::by(&mut newcomer, ordered), Held::by(&mut replica, ordered));
}

fn answer(message: ServerMessage) -> Option<Vec<u8>> {
    match message {
        ServerMessage::SyncStep2(update) => Some(update.to_vec()),
        _ => None,
    }
}

/// Whether `all` has everything of `some`.
fn holds(all: &DeleteSet, some: &DeleteSet) -> bool {
    let mut missing = false;
    for (client, from, to) in some.iter() {
        all.for_each_missing(client, from, to, |_, _| missing = true);
    }
    !missing
}
