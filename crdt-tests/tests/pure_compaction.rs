//! Folding a log: the fold says what the log says, folds of folds too, and a fold that does not is never used.

use bytes::Bytes;
use crdt_tests::author::{Author, Habit, apply, listener, view};
use crdt_tests::sweep::sweep;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use weft::ids::Seq;
use weft::replica::compaction::{FoldError, fold, verify};
use weft::replica::content::Content;
use weft::replica::{LoadError, Replica};
use weft::wire::merge::merge;
use weft::wire::update;
use yrs::{ReadTxn, Transact};

/// A log with some of its updates missing, so that others wait.
fn log_with_gaps(rng: &mut ChaCha8Rng, habit: Habit, gaps: bool) -> Vec<Vec<u8>> {
    let mut authors = [5, u64::from(u32::MAX)].map(|client| Author::new(client, habit, true));
    let mut log = Vec::new();
    for _ in 0..50 {
        let who = rng.random_range(0..2);
        let update = authors[who].edit(rng);
        if !gaps || rng.random_ratio(9, 10) {
            log.push(update);
        }
        if rng.random_ratio(1, 4) {
            let diff = authors[who].diff(&authors[1 - who].state_vector());
            authors[1 - who].hear(&diff);
        }
    }
    log
}

fn slices<T: AsRef<[u8]>>(updates: &[T]) -> impl Iterator<Item = &[u8]> {
    updates.iter().map(AsRef::as_ref)
}

fn load<T: AsRef<[u8]>>(updates: &[T]) -> Replica {
    Replica::load(slices(updates), Seq(updates.len() as u64)).unwrap()
}

#[test]
fn s6_a_fold_says_what_its_log_says() {
    sweep(15, |_, rng| {
        for habit in [Habit::Typist, Habit::Everything, Habit::Subdocuments] {
            for gaps in [false, true] {
                let log = log_with_gaps(rng, habit, gaps);
                let folded = fold(slices(&log)).unwrap();
                slices(&folded.updates).for_each(|update| update::validate(update).unwrap());
                let (mut of_log, mut of_fold) = (load(&log), load(&folded.updates));
                assert_eq!(folded.clocks, of_log.census().clocks);
                assert_eq!(of_log.census().clocks, of_fold.census().clocks);
                assert_eq!(of_log.census().parked_bytes, of_fold.census().parked_bytes, "what waits is kept");
                assert_eq!(Content::of(&of_log.state()).unwrap(), Content::of(&of_fold.state()).unwrap());
                if !gaps {
                    assert_eq!(folded.updates.len(), 1, "nothing waits");
                    let (reference, told) = (listener(), listener());
                    log.iter().for_each(|update| apply(&reference, update));
                    apply(&told, &folded.updates[0]);
                    assert_eq!(view(&reference), view(&told));
                    assert_eq!(reference.transact().state_vector(), told.transact().state_vector());
                }

                // Folding the fold changes nothing more, and what comes later fits onto either.
                let again = fold(slices(&folded.updates)).unwrap();
                assert_eq!(again.updates.len(), folded.updates.len());
                assert_eq!(again.clocks, folded.clocks);
                assert_eq!(Content::of(&load(&again.updates).state()).unwrap(), Content::of(&of_log.state()).unwrap());
            }
        }
    });
}

/// What newcomers are sent of a document that nobody has read (`hub/unread`).
#[test]
fn a_log_merged_says_what_follows_on_the_fold_of_what_was_before_it() {
    sweep(15, |_, rng| {
        for habit in [Habit::Typist, Habit::Everything, Habit::Subdocuments] {
            let log = log_with_gaps(rng, habit, false);
            let (before, after) = log.split_at(rng.random_range(0..log.len()));
            let all = merge(slices(&log)).unwrap().expect("nothing is missing");
            assert!(all.from_start);
            let tail = merge(slices(after)).unwrap().expect("nothing is missing in between");
            let (reference, whole, told) = (listener(), listener(), listener());
            log.iter().for_each(|update| apply(&reference, update));
            apply(&whole, &all.update);
            if !before.is_empty() {
                fold(slices(before)).unwrap().updates.iter().for_each(|update| apply(&told, update));
            }
            apply(&told, &tail.update);
            for doc in [&whole, &told] {
                assert_eq!(view(&reference), view(doc));
                assert_eq!(reference.transact().state_vector(), doc.transact().state_vector());
            }
        }
    });
}

#[test]
fn s6_what_waits_goes_on_after_the_fold_as_before_it() {
    sweep(15, |_, rng| {
        let log = log_with_gaps(rng, Habit::Everything, false);
        let missing = rng.random_range(0..log.len() - 1);
        let mut gappy = log.clone();
        let late = gappy.remove(missing);
        let mut updates = fold(slices(&gappy)).unwrap().updates;
        updates.push(Bytes::from(late));
        let (mut folded, mut whole) = (load(&updates), load(&log));
        assert_eq!(folded.census().parked_updates, 0);
        assert_eq!(folded.census().clocks, whole.census().clocks);
        assert_eq!(Content::of(&folded.state()).unwrap(), Content::of(&whole.state()).unwrap());
    });
}

#[test]
fn s6_a_planted_difference_is_caught() {
    let mut author = Author::new(5, Habit::Typist, true);
    let mut rng = <ChaCha8Rng as rand::SeedableRng>::seed_from_u64(1);
    let log: Vec<_> = (0..30).map(|_| author.edit(&mut rng)).collect();
    let folded = fold(slices(&log)).unwrap().updates;
    verify(slices(&log), &folded).unwrap();

    // A tick is missing.
    let short = fold(slices(&log[..29])).unwrap().updates;
    assert!(matches!(verify(slices(&log), &short), Err(FoldError::Differs("state vector"))));
    // The deletes are missing.
    let mut undeleted = folded[0].to_vec();
    let (mut walker, sections) = update::Walker::new(&undeleted).unwrap();
    for _ in 0..sections {
        let section = walker.section().unwrap();
        let mut clock = section.clock;
        for _ in 0..section.structs {
            clock = walker.next(section.client, clock).unwrap().end();
        }
    }
    undeleted.truncate(walker.position());
    undeleted.push(0);
    // Ticks that came deleted say so themselves, so one delete of something that is there is added to the log.
    let mut with_delete = log.clone();
    with_delete.push(delete_first_living_tick(&log));
    let complete = fold(slices(&with_delete)).unwrap().updates;
    verify(slices(&with_delete), &complete).unwrap();
    assert!(matches!(verify(slices(&with_delete), &[undeleted.into()]), Err(FoldError::Differs("delete set"))));
    // One letter is another one.
    let mut other = folded[0].to_vec();
    let at = other.iter().rposition(|byte| *byte == b'e').unwrap();
    other[at] = b'i';
    assert!(matches!(verify(slices(&log), &[other.into()]), Err(FoldError::Differs("content"))));
    // Something that waited is gone.
    let gappy: Vec<_> = log.iter().enumerate().filter(|(n, _)| *n != 10).map(|(_, update)| update.clone()).collect();
    let with_waiting = fold(slices(&gappy)).unwrap().updates;
    verify(slices(&gappy), &with_waiting).unwrap();
    assert!(matches!(verify(slices(&gappy), &with_waiting[..1]), Err(FoldError::Differs("waiting updates"))));
}

fn delete_first_living_tick(log: &[Vec<u8>]) -> Vec<u8> {
    let doc = listener();
    log.iter().for_each(|update| apply(&doc, update));
    let text = doc.get_or_insert_text("text");
    let mut txn = doc.transact_mut();
    yrs::Text::remove_range(&text, &mut txn, 0, 1);
    txn.encode_update_v1()
}

#[test]
fn s6_what_waits_may_have_come_by_another_way() {
    // "x" and "y" of client 5 wait for their neighbour; then the "x" comes as garbage, which needs no neighbour.
    let waits = vec![1, 2, 5, 0, 0x84, 9, 0, 1, b'x', 0x84, 9, 0, 1, b'y', 0];
    let garbage = vec![1, 1, 5, 0, 0, 1, 0];
    let log = [waits, garbage];
    let folded = fold(slices(&log)).unwrap();
    assert_eq!(folded.updates.len(), 2);
    assert_eq!(&folded.updates[1][..], [1, 1, 5, 1, 0x84, 9, 0, 1, b'y', 0], "what is left of it");
}

#[test]
fn a_log_that_does_not_load_is_not_folded() {
    let log = [vec![0, 0], vec![1, 2, 3]];
    assert!(matches!(fold(slices(&log)), Err(FoldError::Load(LoadError::Malformed { at: 1, bytes: 3, .. }))));
}
