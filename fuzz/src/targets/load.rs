//! Path 2 of an update: what lies in a store is loaded, folded and verified, whatever it is.

use std::time::Instant;

use bytes::Bytes;
use weft::ids::Seq;
use weft::replica::content::Content;
use weft::replica::{Event, LoadError, Replica, compaction};

use super::update::may_lie_about_order;
use crate::parts::Parts;

/// Updates of one document that are loaded.
const UPDATES_MAX: usize = 60;

/// Loads the updates of an input.
pub fn run(input: &[u8]) {
    let updates: Vec<&[u8]> = Parts::of(input).take(UPDATES_MAX).collect();
    let load = |updates: &[&[u8]]| Replica::load(updates.iter().copied(), Seq(updates.len() as u64));
    let mut loaded = match load(&updates) {
        Ok(loaded) => loaded,
        Err(LoadError::Malformed { .. }) => {
            assert!(compaction::fold(updates.iter().copied()).is_err(), "what does not load is not folded either");
            return;
        }
    };
    if may_lie_about_order(logged(&updates).iter().map(|update| &update[..])) {
        return;
    }
    let folded = compaction::fold(updates.iter().copied()).expect("what loads can be folded");
    compaction::verify(updates.iter().copied(), &folded.updates).expect("and says the same");
    let folded: Vec<&[u8]> = folded.updates.iter().map(|update| &update[..]).collect();
    let mut again = load(&folded).expect("what was folded loads");
    let (one, other) = (read(&mut loaded), read(&mut again));
    assert_eq!(one.to_json(), other.to_json());
    let _ = one.to_text();
    let twice = compaction::fold(folded.iter().copied()).expect("and can be folded again");
    assert_eq!(twice.clocks, loaded.census().clocks);
    // Damage in the middle of a log costs that update, never the process.
    for skipped in 0..updates.len().min(8) {
        let rest: Vec<&[u8]> = updates.iter().enumerate().filter(|(at, _)| *at != skipped).map(|(_, u)| *u).collect();
        if let Ok(mut rest) = load(&rest) {
            let _ = read(&mut rest);
        }
    }
}

fn read(replica: &mut Replica) -> Content {
    Content::of(&replica.state()).expect("what the gate lets through is integrated")
}

/// What a replica would have logged of these updates, had they come from a peer.
fn logged(updates: &[&[u8]]) -> Vec<Bytes> {
    let mut replica = Replica::new();
    let mut offer = |update: &&[u8]| replica.handle(&[Event::Offered(0, update)], Instant::now()).append;
    updates.iter().flat_map(|update| offer(update).into_iter().map(|(_, bytes)| bytes)).collect()
}
