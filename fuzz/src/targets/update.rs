//! One update: what the validator takes, yrs decodes, can be walked, cut anywhere and put together again.

use std::collections::BTreeMap;

use weft::ids::{ClientId, Clock};
use weft::limits::UPDATE_STRUCTS_MAX;
use weft::replica::delete_set::DeleteSet;
use weft::replica::gate::gate;
use weft::replica::steps::{needs_steps, steps};
use weft::wire::merge::merge;
use weft::wire::state_vector::StateVector;
use weft::wire::update::{Builder, Kind, Parent, Walker, validate, write_part};
use yrs::updates::decoder::Decode;

/// Reads one.
pub fn run(input: &[u8]) {
    let valid = validate(input);
    if valid.is_err() {
        // What a log holds is gated without being validated before.
        assert!(gate(input, &StateVector::new(), &DeleteSet::default()).is_err(), "{valid:?}");
        return;
    }
    yrs::Update::decode_v1(input).expect("yrs decodes what we take");
    check_cuts(input);
    check_gate(input);
    check_merge(input);
    if needs_steps(input) {
        for step in steps(input).expect("a valid update has steps") {
            assert_eq!(validate(&step), Ok(()), "a step");
        }
    }
}

/// Merged alone, it says what it said.
fn check_merge(input: &[u8]) {
    let Some(merged) = merge([input]).expect("a valid update can be walked") else { return };
    assert_eq!(validate(&merged.update), Ok(()), "merged");
    assert_eq!(coverage(&merged.update), coverage(input), "merged");
}

/// Per client the ticks that an update has, and what it deletes.
pub type Coverage = (BTreeMap<ClientId, Vec<(Clock, Clock)>>, DeleteSet);

/// What an update holds, holes left out.
///
/// # Panics
/// When it is not valid.
pub fn coverage(update: &[u8]) -> Coverage {
    let (mut walker, sections) = Walker::new(update).expect("a valid update");
    let mut ticks: BTreeMap<ClientId, Vec<(Clock, Clock)>> = BTreeMap::new();
    for _ in 0..sections {
        let section = walker.section().expect("a section");
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let item = walker.next(section.client, clock).expect("a struct");
            clock = item.end();
            if item.kind == Kind::Skip {
                continue;
            }
            let runs = ticks.entry(section.client).or_default();
            match runs.last_mut() {
                Some((_, to)) if *to == item.clock => *to = clock,
                _ => runs.push((item.clock, clock)),
            }
        }
    }
    let mut deleted = DeleteSet::default();
    walker.delete_set(|client, from, to| deleted.insert(client, from, to)).expect("a delete set");
    (ticks, deleted)
}

/// Whether some struct may lie about where it stands: it says that it has a neighbour to its right, or one to its left that
/// is not what its author wrote just before it.
///
/// Yjs and yrs place a struct by its neighbours without looking whether they are, or ever were, beside each other. Where
/// they were not, the order that comes of it depends on what was there or joined before, and with it which of two values
/// under one key counts; so replicas of a hostile author's document differ, as those of Yjs do. Nobody can tell from bytes.
///
/// The same is so of several values in one struct where values stand under a key, which no author makes while they live:
/// when the last of them is deleted, the others are or are not, by when yrs learns of it.
pub fn may_lie_about_order<'a>(log: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let (mut elsewhere, mut keyed, mut several) = (false, false, false);
    for update in log {
        let (mut walker, sections) = Walker::new(update).expect("a valid update");
        for _ in 0..sections {
            let section = walker.section().expect("a section");
            let mut clock = section.clock;
            for _ in 0..section.structs {
                let item = walker.next(section.client, clock).expect("a struct");
                elsewhere |= item.right_origin.is_some()
                    || item.origin.is_some_and(|left| (left.client, left.clock + 1) != (section.client, clock));
                keyed |= item.keyed;
                let may_be_keyed = item.keyed || item.parent == Parent::Implied;
                several |= may_be_keyed && item.len > 1 && matches!(item.kind, Kind::String(_) | Kind::Any);
                clock = item.end();
            }
        }
    }
    elsewhere || keyed && several
}

/// Every struct is cut in the middle, and the halves are a valid update with the same ticks.
fn check_cuts(update: &[u8]) {
    let (mut walker, sections) = Walker::new(update).expect("valid");
    let mut builder = Builder::default();
    let mut structs = 0;
    for _ in 0..sections {
        let section = walker.section().expect("valid");
        structs += section.structs;
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let item = walker.next(section.client, clock).expect("valid");
            assert!(item.len > 0 && item.from < item.to && item.to <= update.len());
            let cuttable = matches!(item.kind, Kind::Gc | Kind::Skip | Kind::Deleted | Kind::String(_) | Kind::Any);
            let middle = if cuttable { item.len / 2 } else { 0 };
            for (from, to) in [(0, middle), (middle, item.len)] {
                if from < to {
                    let mut part = Vec::new();
                    write_part(&mut part, update, section.client, &item, from, to);
                    builder.structs(section.client, clock + from, 1, &[&part]);
                }
            }
            for bytes in [1, 16] {
                let mut from = 0;
                while from < item.len {
                    let end = item.end_within(update, from, bytes);
                    assert!(end > from && end <= item.len, "{end} of {} from {from}", item.len);
                    from = end;
                }
            }
            clock = item.end();
        }
    }
    assert!(structs <= UPDATE_STRUCTS_MAX);
    walker.delete_set(|client, from, to| builder.delete(client, from, to)).expect("valid");
    assert!(builder.is_empty() || structs > 0 || update.len() > 2);
    let again = builder.finish();
    assert_eq!(validate(&again), Ok(()), "cut up and put together");
    assert_eq!(coverage(&again), coverage(update));
    yrs::Update::decode_v1(&again).expect("yrs decodes what we put together");
}

/// What the gate lets through and what it holds back is together what came.
fn check_gate(update: &[u8]) {
    let gated = gate(update, &StateVector::new(), &DeleteSet::default()).expect("a valid update");
    let mut builder = Builder::default();
    for run in &gated.runs {
        assert!(run.from == 0 && run.to > 0, "nothing is known yet");
        builder.structs(run.client, run.from, run.structs, &[&run.head, run.rest]);
    }
    for &(client, from, to) in &gated.deletes {
        builder.delete(client, from, to);
    }
    let ready = builder.finish();
    assert_eq!(validate(&ready), Ok(()), "what is ready");
    let (mut ticks, mut deleted) = coverage(&ready);
    if let Some(parked) = &gated.parked {
        assert_eq!(validate(&parked.update), Ok(()), "what waits");
        assert!(!parked.missing.is_empty(), "it waits for something");
        let (waiting, deletes) = coverage(&parked.update);
        for (client, runs) in waiting {
            for (from, to) in runs {
                let ready = ticks.entry(client).or_default();
                match ready.last_mut() {
                    Some((_, end)) if *end == from => *end = to,
                    _ => ready.push((from, to)),
                }
            }
        }
        deletes.iter().for_each(|(client, from, to)| deleted.insert(client, from, to));
    }
    let (all, all_deleted) = coverage(update);
    assert_eq!((ticks, deleted), (all, all_deleted));
    if gated.whole {
        assert!(gated.parked.is_none());
    }
}
