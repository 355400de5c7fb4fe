//! The audit log: any files are judged without harm, what was written is found whole, and a change to it is found.

use std::fs;
use std::path::Path;

use weft::audit::{Audit, Entry, verify};

use super::scratch;
use crate::parts::Parts;

/// Records of one log.
const RECORDS_MAX: usize = 6;

/// Verifies one log.
pub fn run(input: &[u8]) {
    let mut parts = Parts::of(input);
    let dir = scratch();
    match parts.choice() % 2 {
        0 => {
            fs::write(dir.path().join("head.json"), parts.next().unwrap_or_default()).expect("written");
            for (first, segment) in (0..3).map(|n| 1 + n * 4).zip(parts) {
                fs::write(dir.path().join(format!("{first:020}.jsonl")), segment).expect("written");
            }
            let report = verify(dir.path(), None).expect("files can be read");
            assert!(report.records == 0 || report.first <= report.last || !report.flaws.is_empty());
        }
        _ => changed(dir.path(), &mut parts),
    }
}

fn changed(dir: &Path, parts: &mut Parts<'_>) {
    let (place, how) = (parts.choice(), parts.choice());
    let log = Audit::open(dir).expect("a new log");
    let mut count = 0;
    for part in parts.take(RECORDS_MAX) {
        let text = String::from_utf8_lossy(part).into_owned();
        let entry = Entry {
            at: 7,
            who: "local".to_owned(),
            act: text.clone(),
            doc: Some(text),
            result: "done".to_owned(),
            ..Entry::default()
        };
        log.append(entry).expect("there is room");
        count += 1;
    }
    drop(log);
    let report = verify(dir, None).expect("read");
    assert_eq!((report.records, &report.flaws[..]), (count, &[][..]), "what was written is whole");
    let segment = dir.join(format!("{:020}.jsonl", 1));
    let Ok(written) = fs::read(&segment) else { return };
    let mut lines: Vec<Vec<u8>> = written.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let at = usize::from(place) % lines.len();
    match how % 4 {
        0 => {
            let byte = usize::from(how) * lines[at].len() / 256;
            lines[at][byte] ^= 1 << (place % 8);
        }
        1 => drop(lines.remove(at)),
        2 => lines.insert(at, lines[at].clone()),
        _ => lines.swap(at, 0),
    }
    let lines = lines.concat();
    if lines != written {
        fs::write(&segment, lines).expect("written");
        let after = verify(dir, None).expect("read");
        // By itself, or by the hash of the newest that somebody noted.
        let noted = verify(dir, Some((report.last, &report.hash))).expect("read");
        assert!(!after.flaws.is_empty() && !noted.flaws.is_empty(), "the change was not seen");
    }
}
