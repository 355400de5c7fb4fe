//! The suite that every [`Store`] passes: one function for each rule, taking a maker of empty stores.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{Deletion, DocHead, Listed, LogAppend, Snapshot, Store, StoreError, VacuumProgress};
use crate::ids::{DocName, Seq};
use crate::limits::DOC_NAME_BYTES_MAX;

/// A maker of empty stores.
pub(super) type Make<'a> = &'a dyn Fn() -> Box<dyn Store>;

/// The suite as tests of the calling module; the argument makes an empty store.
macro_rules! suite {
    ($make:expr) => {
        $crate::store::contract::suite!($make;
            st1_load_returns_snapshot_then_log
            st1_an_append_is_seen_whole_whatever_its_size
            st2_replay_adds_nothing_twice
            st2_positions_that_leave_a_gap_are_refused_and_nothing_is_written
            st4_install_replaces_and_creates
            st4_an_older_snapshot_is_passed_over
            st5_install_removes_exactly_what_it_covers
            st8_list_is_sorted_and_pages
            st9_a_deletion_leaves_a_tombstone_and_no_contents
            st9_a_replay_deletes_nothing_twice_and_nothing_that_came_later
            st9_only_what_comes_after_a_tombstone_makes_the_document_live_again
            st10_tombstones_are_neither_counted_nor_listed_unless_asked_for
            st11_names_are_paged_and_restored_documents_are_as_they_were
            st11_what_does_not_add_up_is_not_restored
            st12_live_bytes_follow_what_is_stored
            st12_a_vacuum_changes_nothing_that_can_be_read
            names_that_are_prefixes_of_each_other_do_not_mix
            heads_count_and_date
            large_documents_and_long_names
            nothing_is_there_at_first
        );
    };
    ($make:expr; $($rule:ident)*) => {
        $(#[test]
        fn $rule() {
            $crate::store::contract::$rule(&$make);
        })*
    };
}
pub(super) use suite;

fn doc(name: &str) -> DocName {
    DocName::parse(name).expect("a valid name")
}

/// Updates `from..=to`, each saying its document and position.
pub(super) fn append(name: &str, from: u64, to: u64) -> LogAppend {
    let update = |seq| (Seq(seq), Bytes::from(format!("{name}#{seq}")));
    LogAppend { doc: doc(name), updates: (from..=to).map(update).collect() }
}

pub(super) fn snapshot(covers: u64, updates: &[&str]) -> Snapshot {
    let updates = updates.iter().map(|u| Bytes::copy_from_slice(u.as_bytes())).collect();
    Snapshot { covers: Seq(covers), updates }
}

/// A document in one line: snapshot position and updates, then the log. Checks that the head agrees.
pub(super) fn show(store: &dyn Store, name: &str) -> String {
    let Some(stored) = store.load(&doc(name)).expect("loads") else { return "none".to_owned() };
    let head = &stored.head;
    assert_eq!(store.head(&doc(name)).expect("has a head").as_ref(), Some(head));
    assert_eq!(head.log_updates, stored.log.len() as u64);
    assert_eq!(head.log_bytes, stored.log.iter().map(|(_, u)| u.len() as u64).sum::<u64>());
    assert_eq!(head.snapshot_bytes, stored.snapshot.iter().map(|u| u.len() as u64).sum::<u64>());
    assert_eq!(head.last_seq, stored.log.last().map_or(head.snapshot_seq, |(seq, _)| *seq));
    let text = |u: &Bytes| String::from_utf8_lossy(u).into_owned();
    let snapshot: Vec<_> = stored.snapshot.iter().map(text).collect();
    let log: Vec<_> = stored.log.iter().map(|(seq, u)| format!("{seq}:{}", text(u))).collect();
    format!("@{} [{}] [{}]", head.snapshot_seq, snapshot.join(" "), log.join(" "))
}

pub(super) fn nothing_is_there_at_first(make: Make<'_>) {
    let store = make();
    assert_eq!(show(&*store, "d"), "none");
    assert_eq!(store.head(&doc("d")).expect("asks"), None);
    assert!(store.list(Listed::All, "", None, 10).expect("lists").is_empty());
    assert_eq!(store.documents().expect("counts"), 0);
    store.append(&[], 1).expect("an empty call is fine");
    store.append(&[LogAppend { doc: doc("d"), updates: Vec::new() }], 1).expect("an empty append is fine");
    assert_eq!(show(&*store, "d"), "none");
    assert_eq!(store.documents().expect("counts"), 0);
    store.make_durable().expect("syncs");
    store.bytes_on_disk().expect("measures");
}

pub(super) fn st1_load_returns_snapshot_then_log(make: Make<'_>) {
    let store = make();
    store.append(&[append("d", 1, 3), append("e", 1, 1)], 1).expect("appends");
    store.append(&[append("d", 4, 4)], 2).expect("appends");
    assert_eq!(show(&*store, "d"), "@0 [] [1:d#1 2:d#2 3:d#3 4:d#4]");
    store.install_snapshot(&doc("d"), &snapshot(4, &["state", "parked"]), 3).expect("installs");
    store.append(&[append("d", 5, 6)], 4).expect("appends");
    store.make_durable().expect("syncs");
    assert_eq!(show(&*store, "d"), "@4 [state parked] [5:d#5 6:d#6]");
    assert_eq!(show(&*store, "e"), "@0 [] [1:e#1]");
}

pub(super) fn st1_an_append_is_seen_whole_whatever_its_size(make: Make<'_>) {
    let store = make();
    // Around the sizes at which records are cut, and empty updates too.
    let sizes = [0, 1, 2_900, 2_950, 2_951, 2_952, 2_953, 3_000, 5_999, 6_000, 70_000, 0, 300_000];
    let updates: Vec<_> = (1..).map(Seq).zip(sizes).map(|(seq, n)| (seq, Bytes::from(vec![seq.0 as u8; n]))).collect();
    for one in &updates {
        store.append(&[LogAppend { doc: doc("each"), updates: vec![one.clone()] }], 1).expect("appends");
    }
    store.append(&[LogAppend { doc: doc("all"), updates: updates.clone() }], 1).expect("appends");
    for name in ["each", "all"] {
        let stored = store.load(&doc(name)).expect("loads").expect("is there");
        assert_eq!(stored.log, updates);
    }
    assert_eq!(store.head(&doc("each")).expect("has a head").map(|h| h.log_records), Some(sizes.len() as u64));
    assert_eq!(store.head(&doc("all")).expect("has a head").map(|h| h.log_records), Some(1));
}

pub(super) fn st2_replay_adds_nothing_twice(make: Make<'_>) {
    let store = make();
    store.append(&[append("d", 1, 3)], 1).expect("appends");
    let before = store.head(&doc("d")).expect("has a head");
    store.append(&[append("d", 1, 3), append("d", 2, 2)], 9).expect("replays");
    assert_eq!(store.head(&doc("d")).expect("has a head"), before);
    store.append(&[append("d", 2, 5), append("d", 4, 6)], 9).expect("replays in part");
    assert_eq!(show(&*store, "d"), "@0 [] [1:d#1 2:d#2 3:d#3 4:d#4 5:d#5 6:d#6]");
    store.install_snapshot(&doc("d"), &snapshot(6, &["s"]), 9).expect("installs");
    store.append(&[append("d", 1, 7)], 9).expect("replays over a snapshot");
    assert_eq!(show(&*store, "d"), "@6 [s] [7:d#7]");
}

pub(super) fn st2_positions_that_leave_a_gap_are_refused_and_nothing_is_written(make: Make<'_>) {
    let store = make();
    store.append(&[append("d", 1, 2)], 1).expect("appends");
    let mut holed = append("d", 3, 6);
    holed.updates.remove(1);
    for bad in [append("d", 4, 5), append("new", 2, 3), holed] {
        let refused = store.append(&[append("other", 1, 1), bad.clone()], 2).expect_err("refuses the gap");
        assert!(matches!(refused, StoreError::Damaged { doc, .. } if doc == bad.doc));
    }
    assert_eq!(show(&*store, "d"), "@0 [] [1:d#1 2:d#2]");
    assert_eq!(show(&*store, "other"), "none");
    assert_eq!(show(&*store, "new"), "none");
    assert_eq!(store.documents().expect("counts"), 1);
}

pub(super) fn st4_install_replaces_and_creates(make: Make<'_>) {
    let store = make();
    store.install_snapshot(&doc("d"), &snapshot(7, &["one"]), 1).expect("creates");
    assert_eq!(show(&*store, "d"), "@7 [one] []");
    assert_eq!(store.documents().expect("counts"), 1);
    store.install_snapshot(&doc("d"), &snapshot(7, &["two", "", "three"]), 2).expect("replaces at the same position");
    assert_eq!(show(&*store, "d"), "@7 [two  three] []");
    store.append(&[append("d", 1, 9)], 3).expect("appends");
    store.install_snapshot(&doc("d"), &snapshot(20, &["four"]), 4).expect("covers more than the log");
    assert_eq!(show(&*store, "d"), "@20 [four] []");
    store.append(&[append("d", 10, 21)], 5).expect("appends");
    assert_eq!(show(&*store, "d"), "@20 [four] [21:d#21]");
    store.install_snapshot(&doc("empty"), &snapshot(0, &[]), 6).expect("creates an empty document");
    assert_eq!(show(&*store, "empty"), "@0 [] []");
    store.append(&[append("empty", 1, 1)], 7).expect("appends");
    assert_eq!(show(&*store, "empty"), "@0 [] [1:empty#1]");
    assert_eq!(store.documents().expect("counts"), 2);
}

pub(super) fn st4_an_older_snapshot_is_passed_over(make: Make<'_>) {
    let store = make();
    store.append(&[append("d", 1, 5)], 1).expect("appends");
    store.install_snapshot(&doc("d"), &snapshot(4, &["new"]), 2).expect("installs");
    store.install_snapshot(&doc("d"), &snapshot(3, &["old"]), 3).expect("passes over");
    assert_eq!(show(&*store, "d"), "@4 [new] [5:d#5]");
}

pub(super) fn st5_install_removes_exactly_what_it_covers(make: Make<'_>) {
    for covers in 0..=9 {
        let store = make();
        for (from, to) in [(1, 3), (4, 4), (5, 9)] {
            store.append(&[append("d", from, to), append("dd", from, to)], 1).expect("appends");
        }
        let untouched = show(&*store, "dd");
        store.install_snapshot(&doc("d"), &snapshot(covers, &["s"]), 2).expect("installs");
        let left: Vec<_> = (covers + 1..=9).map(|seq| format!("{seq}:d#{seq}")).collect();
        assert_eq!(show(&*store, "d"), format!("@{covers} [s] [{}]", left.join(" ")));
        let records = [3, 4, 9].iter().filter(|last| **last > covers).count() as u64;
        assert_eq!(store.head(&doc("d")).expect("has a head").map(|h| h.log_records), Some(records));
        assert_eq!(show(&*store, "dd"), untouched);
        // And again, from within a record that is left in part.
        store.append(&[append("d", 10, 11)], 3).expect("appends");
        store.install_snapshot(&doc("d"), &snapshot(10, &["t"]), 4).expect("installs");
        assert_eq!(show(&*store, "d"), "@10 [t] [11:d#11]");
    }
}

pub(super) fn st8_list_is_sorted_and_pages(make: Make<'_>) {
    let store = make();
    let mut names: Vec<String> =
        ["b", "a/2", "a/10", "a", "ä", "a/", "Z", "b\u{1}", "日本"].map(str::to_owned).to_vec();
    let appends: Vec<_> = names.iter().map(|name| append(name, 1, 2)).collect();
    store.append(&appends, 5).expect("appends");
    names.sort();
    let list = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let listed = store.list(Listed::Live, prefix, after.map(doc).as_ref(), limit).expect("lists");
        listed
            .into_iter()
            .map(|(name, head)| {
                assert_eq!(Some(head), store.head(&name).expect("has a head"));
                name.as_str().to_owned()
            })
            .collect()
    };
    assert_eq!(list("", None, 100), names);
    assert_eq!(list("a", None, 100), ["a", "a/", "a/10", "a/2"]);
    assert_eq!(list("a/", Some("a/10"), 100), ["a/2"]);
    assert_eq!(list("a/", Some("A"), 1), ["a/"]);
    assert!(list("a/", Some("b"), 100).is_empty());
    assert!(list("c", None, 100).is_empty());
    assert!(list("", None, 0).is_empty());
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = list("", after.as_deref(), 2);
        let Some(last) = page.last() else { break };
        after = Some(last.clone());
        paged.extend(page);
    }
    assert_eq!(paged, names);
    assert_eq!(store.documents().expect("counts"), names.len() as u64);
}

pub(super) fn st11_names_are_paged_and_restored_documents_are_as_they_were(make: Make<'_>) {
    let from = make();
    for (from_seq, to) in [(1, 3), (4, 9)] {
        from.append(&[append("both", from_seq, to), append("log", from_seq, to)], 100 * to).expect("appends");
    }
    from.install_snapshot(&doc("both"), &snapshot(5, &["state", "parked"]), 2_000).expect("installs");
    from.install_snapshot(&doc("snapshot"), &snapshot(7, &["all"]), 3_000).expect("installs");
    from.install_snapshot(&doc("empty"), &snapshot(0, &[]), 4_000).expect("installs");
    from.append(&[append("gone", 1, 3)], 5_000).expect("appends");
    delete(&*from, "gone", 4, 6_000);
    let into = make();
    let mut after = None;
    let mut names = Vec::new();
    while let Some(name) = from.names(after.as_ref(), 1).expect("lists").pop() {
        into.restore(&name, &from.load(&name).expect("loads").expect("is there")).expect("restores");
        names.push(name.to_string());
        after = Some(name);
    }
    assert_eq!(names, ["both", "empty", "gone", "log", "snapshot"]);
    into.make_durable().expect("syncs");
    assert_eq!(into.documents().expect("counts"), 4);
    for name in &names {
        assert_eq!(show(&*into, name), show(&*from, name));
        let times = |store: &dyn Store| {
            let head = store.head(&doc(name)).expect("asks").expect("has a head");
            (head.created_ms, head.updated_ms, head.deleted_ms)
        };
        assert_eq!(times(&*into), times(&*from), "{name}");
    }
    // It lives on from where it was.
    into.append(&[append("both", 1, 10)], 5_000).expect("appends");
    into.install_snapshot(&doc("both"), &snapshot(9, &["new"]), 6_000).expect("installs");
    assert_eq!(show(&*into, "both"), "@9 [new] [10:both#10]");
}

pub(super) fn st11_what_does_not_add_up_is_not_restored(make: Make<'_>) {
    let store = make();
    store.append(&[append("d", 1, 3)], 1).expect("appends");
    let good = store.load(&doc("d")).expect("loads").expect("is there");
    let before = store.head(&doc("d")).expect("asks");
    store.restore(&doc("d"), &good).expect_err("is there already");
    assert_eq!(store.head(&doc("d")).expect("asks"), before);
    let mut gap = good.clone();
    gap.log.remove(1);
    let mut short = good.clone();
    short.log.pop();
    for bad in [gap, short] {
        store.restore(&doc("new"), &bad).expect_err("leaves a gap");
        assert_eq!(show(&*store, "new"), "none");
    }
    assert_eq!(store.documents().expect("counts"), 1);
}

pub(super) fn delete(store: &dyn Store, name: &str, seq: u64, at_ms: u64) {
    store.delete(&[Deletion { doc: doc(name), seq: Seq(seq), at_ms }]).expect("deletes");
}

fn deleted_ms(store: &dyn Store, name: &str) -> Option<u64> {
    store.head(&doc(name)).expect("asks").expect("has a head").deleted_ms
}

pub(super) fn st9_a_deletion_leaves_a_tombstone_and_no_contents(make: Make<'_>) {
    let store = make();
    store.append(&[append("d", 1, 3), append("dd", 1, 2)], 100).expect("appends");
    store.install_snapshot(&doc("d"), &snapshot(2, &["state", "parked"]), 200).expect("installs");
    // Records 4 and 5 went with the deletion before they came here, and nobody misses them.
    delete(&*store, "d", 6, 300);
    assert_eq!(show(&*store, "d"), "@6 [] []");
    let head = store.head(&doc("d")).expect("asks").expect("has a head");
    let position = DocHead { last_seq: Seq(6), snapshot_seq: Seq(6), ..DocHead::default() };
    assert_eq!(head, DocHead { created_ms: 100, updated_ms: 300, deleted_ms: Some(300), ..position });
    assert_eq!(show(&*store, "dd"), "@0 [] [1:dd#1 2:dd#2]");
    // One that was never stored: made and deleted within one journal.
    delete(&*store, "brief", 2, 400);
    assert_eq!((show(&*store, "brief"), deleted_ms(&*store, "brief")), ("@2 [] []".to_owned(), Some(400)));
    store.delete(&[]).expect("an empty call is fine");
}

pub(super) fn st9_a_replay_deletes_nothing_twice_and_nothing_that_came_later(make: Make<'_>) {
    let store = make();
    let replay = |at_ms| {
        store.append(&[append("d", 1, 3)], 1).expect("replays");
        delete(&*store, "d", 4, at_ms);
        store.append(&[append("d", 5, 6)], 2).expect("replays");
    };
    replay(10);
    let before = store.head(&doc("d")).expect("asks");
    assert_eq!((show(&*store, "d"), deleted_ms(&*store, "d")), ("@4 [] [5:d#5 6:d#6]".to_owned(), None));
    replay(20);
    assert_eq!(store.head(&doc("d")).expect("asks"), before);
    delete(&*store, "d", 7, 30);
    replay(40);
    delete(&*store, "d", 7, 50);
    assert_eq!((show(&*store, "d"), deleted_ms(&*store, "d")), ("@7 [] []".to_owned(), Some(30)));
    // Twice in one call, as one checkpoint may find it.
    let twice = [8, 9].map(|seq| Deletion { doc: doc("d"), seq: Seq(seq), at_ms: seq * 10 });
    store.delete(&twice).expect("deletes");
    assert_eq!((show(&*store, "d"), deleted_ms(&*store, "d")), ("@9 [] []".to_owned(), Some(90)));
    assert_eq!(store.documents().expect("counts"), 0);
}

pub(super) fn st9_only_what_comes_after_a_tombstone_makes_the_document_live_again(make: Make<'_>) {
    let store = make();
    store.append(&[append("d", 1, 3)], 100).expect("appends");
    delete(&*store, "d", 4, 200);
    // A fold that read the document before it was deleted, and one that claims the very position.
    for covers in [3, 4] {
        store.install_snapshot(&doc("d"), &snapshot(covers, &["old"]), 300).expect("passes over");
    }
    store.append(&[append("d", 1, 4)], 300).expect("passes over");
    assert_eq!((show(&*store, "d"), deleted_ms(&*store, "d")), ("@4 [] []".to_owned(), Some(200)));
    store.append(&[append("d", 6, 7)], 400).expect_err("position 5 is missing");
    assert_eq!(deleted_ms(&*store, "d"), Some(200));

    store.append(&[append("d", 5, 6)], 500).expect("appends");
    store.install_snapshot(&doc("d"), &snapshot(3, &["old"]), 600).expect("passes over");
    assert_eq!(show(&*store, "d"), "@4 [] [5:d#5 6:d#6]");
    let head = store.head(&doc("d")).expect("asks").expect("has a head");
    assert_eq!((head.created_ms, head.updated_ms, head.deleted_ms), (500, 500, None));
    store.install_snapshot(&doc("d"), &snapshot(5, &["new"]), 700).expect("installs");
    assert_eq!(show(&*store, "d"), "@5 [new] [6:d#6]");

    delete(&*store, "d", 7, 800);
    store.install_snapshot(&doc("d"), &snapshot(9, &["restored"]), 900).expect("installs");
    assert_eq!((show(&*store, "d"), deleted_ms(&*store, "d")), ("@9 [restored] []".to_owned(), None));
    assert_eq!(store.documents().expect("counts"), 1);
}

pub(super) fn st10_tombstones_are_neither_counted_nor_listed_unless_asked_for(make: Make<'_>) {
    let store = make();
    let appends: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| append(name, 1, 1)).into();
    store.append(&appends, 1).expect("appends");
    for name in ["a", "c", "e"] {
        delete(&*store, name, 2, 2);
    }
    store.append(&[append("e", 3, 3)], 3).expect("appends");
    assert_eq!(store.documents().expect("counts"), 3);
    let list = |listed, after: Option<&str>, limit| -> String {
        let found = store.list(listed, "", after.map(doc).as_ref(), limit).expect("lists");
        found.into_iter().map(|(name, _)| name.to_string()).collect()
    };
    assert_eq!([Listed::Live, Listed::Deleted, Listed::All].map(|l| list(l, None, 9)), ["bde", "ac", "abcde"]);
    // A page is full of what was asked for.
    assert_eq!((list(Listed::Live, None, 2), list(Listed::Live, Some("b"), 2)), ("bd".to_owned(), "de".to_owned()));
    assert_eq!(list(Listed::Deleted, Some("a"), 2), "c");
}

pub(super) fn st12_live_bytes_follow_what_is_stored(make: Make<'_>) {
    let store = make();
    let live = |store: &dyn Store| store.live_bytes().expect("counts");
    assert_eq!(live(&*store), 0);
    assert_eq!(store.live_bytes_of(&doc("d")).expect("counts"), 0);
    let updates = |from: u64| (from..from + 10).map(|seq| (Seq(seq), Bytes::from(vec![7; 1_000]))).collect();
    store.append(&[LogAppend { doc: doc("d"), updates: updates(1) }, append("e", 1, 2)], 1).expect("appends");
    let appended = live(&*store);
    assert!((10_000..12_000).contains(&appended), "{appended}");
    let parts = ["d", "e"].map(|name| store.live_bytes_of(&doc(name)).expect("counts"));
    assert_eq!(parts.iter().sum::<u64>(), appended);
    store.append(&[LogAppend { doc: doc("d"), updates: updates(1) }], 1).expect("replays");
    assert_eq!(live(&*store), appended);
    store.append(&[LogAppend { doc: doc("d"), updates: updates(11) }], 1).expect("appends");
    assert!((appended + 10_000..appended + 12_000).contains(&live(&*store)));
    store.install_snapshot(&doc("d"), &snapshot(20, &["all of it"]), 2).expect("installs");
    let folded = live(&*store);
    assert!(folded < 1_000, "{folded}");
    assert_eq!(folded, store.live_bytes_of(&doc("d")).expect("counts") + parts[1]);
}

pub(super) fn st12_a_vacuum_changes_nothing_that_can_be_read(make: Make<'_>) {
    let store = make();
    for round in 0..20 {
        store
            .append(&[append("d", round * 9 + 1, round * 9 + 9), append("e", round + 1, round + 1)], 1)
            .expect("appends");
        store.install_snapshot(&doc("d"), &snapshot(round * 9 + 5, &[&"s".repeat(9_000)]), 2).expect("installs");
    }
    store.make_durable().expect("syncs");
    let all = |store: &dyn Store| {
        let listed = store.list(Listed::Live, "", None, 9).expect("lists");
        let live = store.live_bytes().expect("counts");
        (["d", "e"].map(|name| show(store, name)), listed, live, store.documents().expect("counts"))
    };
    let before = all(&*store);
    let mut told = Vec::new();
    let report = store
        .vacuum(&mut |progress| {
            told.push(progress);
            ControlFlow::Continue(())
        })
        .expect("vacuums");
    assert_eq!(told.last(), Some(&VacuumProgress::Exchanging));
    assert_eq!((report.documents, report.live_bytes_before, report.live_bytes_after), (2, before.2, before.2));
    assert_eq!((report.damaged_records, report.disk_bytes_after), (0, store.bytes_on_disk().expect("measures")));
    assert_eq!(all(&*store), before);
    store.append(&[append("d", 1, 200)], 3).expect("appends");
    store.make_durable().expect("syncs");
    assert!(show(&*store, "d").ends_with("200:d#200]"));
}

pub(super) fn names_that_are_prefixes_of_each_other_do_not_mix(make: Make<'_>) {
    let store = make();
    let names = ["a", "aa", "a\u{1}", "a/", "aaa", "h", "l", "r", "s"];
    for round in 0..3 {
        let appends: Vec<_> = names.iter().map(|n| append(n, round * 2 + 1, round * 2 + 2)).collect();
        store.append(&appends, 1).expect("appends");
    }
    store.install_snapshot(&doc("a"), &snapshot(6, &["s"]), 2).expect("installs");
    store.install_snapshot(&doc("aaa"), &snapshot(5, &["t"]), 2).expect("installs");
    for name in names {
        let log = |from: u64| (from..=6).map(|seq| format!("{seq}:{name}#{seq}")).collect::<Vec<_>>().join(" ");
        let expected = match name {
            "a" => "@6 [s] []".to_owned(),
            "aaa" => format!("@5 [t] [{}]", log(6)),
            _ => format!("@0 [] [{}]", log(1)),
        };
        assert_eq!(show(&*store, name), expected);
    }
}

pub(super) fn heads_count_and_date(make: Make<'_>) {
    let store = make();
    store.append(&[append("d", 1, 3)], 100).expect("appends");
    store.append(&[append("d", 4, 4)], 200).expect("appends");
    let head = store.head(&doc("d")).expect("asks").expect("has a head");
    assert_eq!((head.created_ms, head.updated_ms), (100, 200));
    assert_eq!((head.log_records, head.log_updates, head.log_bytes, head.snapshot_bytes), (2, 4, 12, 0));
    store.install_snapshot(&doc("d"), &snapshot(4, &["1234", "5"]), 300).expect("installs");
    let head = store.head(&doc("d")).expect("asks").expect("has a head");
    // A compaction is no change of the document.
    assert_eq!((head.created_ms, head.updated_ms), (100, 200));
    assert_eq!((head.log_records, head.log_updates, head.log_bytes, head.snapshot_bytes), (0, 0, 0, 5));
}

pub(super) fn large_documents_and_long_names(make: Make<'_>) {
    let store = make();
    let large: Vec<u8> = (0..5_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let large = Bytes::from(large);
    for name in ["x".repeat(DOC_NAME_BYTES_MAX), "ä".repeat(DOC_NAME_BYTES_MAX / 2), "short".to_owned()] {
        let updates = vec![(Seq(1), large.clone())];
        store.append(&[LogAppend { doc: doc(&name), updates }], 1).expect("appends");
        let stored = store.load(&doc(&name)).expect("loads").expect("is there");
        assert_eq!(stored.log, [(Seq(1), large.clone())]);
        let whole = Snapshot { covers: Seq(1), updates: vec![large.clone(), Bytes::from_static(b"parked")] };
        store.install_snapshot(&doc(&name), &whole, 2).expect("installs");
        let stored = store.load(&doc(&name)).expect("loads").expect("is there");
        assert_eq!(stored.snapshot, whole.updates);
        assert!(stored.log.is_empty());
    }
}
