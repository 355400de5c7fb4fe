//! What is done to the log, and whether it shows.

use super::*;
use crate::limits::{AUDIT_SEGMENT_BYTES, AUDIT_SEGMENTS_MAX};

fn entry(act: &str, detail: &str) -> Entry {
    Entry {
        at: 1,
        who: "local".into(),
        act: act.into(),
        detail: Some(detail.into()),
        doc: Some("notes/\u{7}\"hash\":\"x\"}".into()),
        result: "done".into(),
        ..Entry::default()
    }
}

fn written(records: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for from in [0, records / 2] {
        // Opened anew half way.
        let audit = Audit::open(dir.path()).expect("opens");
        let until = if from == 0 { records / 2 } else { records };
        for n in from..until {
            audit.append(entry("delete", &n.to_string())).expect("is written");
        }
    }
    dir
}

fn flaws(dir: &Path) -> Vec<Flaw> {
    verify(dir, None).expect("is read").flaws
}

fn only_segment(dir: &Path) -> PathBuf {
    segments(dir).expect("is listed").pop().expect("one").1
}

#[test]
fn an_untouched_log_is_good() {
    let dir = written(20);
    let report = verify(dir.path(), None).expect("is read");
    assert_eq!((report.records, report.first, report.last, &*report.flaws), (20, 1, 20, &[][..]));
    let (last, hash) = (report.last, report.hash);
    assert!(verify(dir.path(), Some((last, &hash))).expect("is read").flaws.is_empty());
    assert!(!verify(dir.path(), Some((last - 1, &hash))).expect("is read").flaws.is_empty());
    assert!(!verify(dir.path(), Some((last + 1, &hash))).expect("is read").flaws.is_empty());
    // Nothing was ever recorded: nothing is wrong.
    let empty = tempfile::tempdir().expect("a directory");
    assert!(flaws(empty.path()).is_empty());
    drop(Audit::open(empty.path()).expect("opens"));
    assert!(flaws(empty.path()).is_empty());
}

#[test]
fn every_byte_that_changes_shows() {
    let dir = written(4);
    let path = only_segment(dir.path());
    let good = std::fs::read(&path).expect("is read");
    for at in 0..good.len() {
        for flip in [1, 0x20] {
            let mut bad = good.clone();
            bad[at] ^= flip;
            std::fs::write(&path, &bad).expect("is written");
            assert!(!flaws(dir.path()).is_empty(), "byte {at} ^ {flip}");
        }
    }
}

#[test]
fn what_is_dropped_moved_doubled_cut_or_added_shows() {
    let dir = written(6);
    let path = only_segment(dir.path());
    let good = std::fs::read_to_string(&path).expect("is read");
    let lines: Vec<&str> = good.lines().collect();
    let mut tampered: Vec<(String, String)> = Vec::new();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    for at in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(at);
        tampered.push((format!("drop {at}"), joined(&without)));
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at]);
        tampered.push((format!("double {at}"), joined(&doubled)));
        if at > 0 {
            let mut swapped = lines.clone();
            swapped.swap(at - 1, at);
            tampered.push((format!("swap {at}"), joined(&swapped)));
            tampered.push((format!("begin with {at}"), joined(&lines[at..])));
        }
        tampered.push((format!("cut before {at}"), joined(&lines[..at])));
    }
    for bytes in 0..good.len() {
        tampered.push((format!("cut at {bytes}"), good[..bytes].to_owned()));
    }
    tampered.push(("a line more".into(), format!("{good}{}\n", lines[0])));
    tampered.push(("a line that is none".into(), format!("{good}{{}}\n")));
    // A record forged with its own hash, and one whose follower was made to fit, but nobody else.
    let (forged, _) =
        line::write(&line::Record { seq: 3, prev: "0".repeat(64), entry: entry("show", "x") }).expect("fits");
    let mut with_forged = lines.clone();
    with_forged[2] = forged.trim_end();
    tampered.push(("forged".into(), joined(&with_forged)));
    for (what, text) in tampered {
        std::fs::write(&path, &text).expect("is written");
        assert!(!flaws(dir.path()).is_empty(), "{what}");
    }
    std::fs::write(&path, &good).expect("is written");
    assert!(flaws(dir.path()).is_empty());
    for head in ["", "{}", "{\"seq\":1"] {
        std::fs::write(head_file(dir.path()), head).expect("is written");
        assert!(!flaws(dir.path()).is_empty(), "head {head:?}");
    }
    std::fs::remove_file(head_file(dir.path())).expect("is removed");
    assert!(!flaws(dir.path()).is_empty());
}

#[test]
fn what_a_crash_leaves_is_no_tampering_and_a_cut_stays_one() {
    let dir = written(6);
    let path = only_segment(dir.path());
    let good = std::fs::read_to_string(&path).expect("is read");
    // A record behind the head, and half of another one: nobody was told of either.
    let head = std::fs::read(head_file(dir.path())).expect("is read");
    Audit::open(dir.path()).expect("opens").append(entry("rm", "late")).expect("is written");
    std::fs::write(head_file(dir.path()), &head).expect("is written");
    let mut longer = std::fs::read_to_string(&path).expect("is read");
    longer.push_str("{\"seq\":8,\"pre");
    std::fs::write(&path, &longer).expect("is written");
    assert!(flaws(dir.path()).is_empty());
    Audit::open(dir.path()).expect("opens").append(entry("rm", "later")).expect("is written");
    let report = verify(dir.path(), None).expect("is read");
    assert_eq!((report.last, &*report.flaws), (8, &[][..]));
    // Whoever cuts the log and lets weft go on does not get away with it.
    std::fs::write(&path, &good[..good.len() / 2]).expect("is written");
    Audit::open(dir.path()).expect("opens").append(entry("rm", "after")).expect("is written");
    assert!(!flaws(dir.path()).is_empty());
}

#[test]
fn the_log_is_bounded_and_says_where_it_begins() {
    let dir = tempfile::tempdir().expect("a directory");
    let audit = Audit::open(dir.path()).expect("opens");
    let long = "x".repeat(AUDIT_SEGMENT_BYTES as usize / 2);
    let records = 2 * (AUDIT_SEGMENTS_MAX + 3);
    for _ in 0..records {
        audit.append(entry("import", &long)).expect("is written");
    }
    let report = verify(dir.path(), None).expect("is read");
    assert_eq!((report.last, &*report.flaws), (records as u64, &[][..]));
    assert!(report.first > 1 && segments(dir.path()).expect("is listed").len() == AUDIT_SEGMENTS_MAX);
    drop(audit);
    let audit = Audit::open(dir.path()).expect("opens");
    audit.append(entry("import", "y")).expect("is written");
    assert!(flaws(dir.path()).is_empty());
    let oldest = segments(dir.path()).expect("is listed").remove(0).1;
    std::fs::remove_file(oldest).expect("is removed");
    assert!(!flaws(dir.path()).is_empty());
}
