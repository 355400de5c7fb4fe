//! Reads the whole log and says what is wrong with it. Changes nothing, and may run while a server writes.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde::Serialize;

use super::{Head, NO_HASH, head_file, line, segments};
use crate::limits::{AUDIT_FLAWS_MAX, AUDIT_LINE_BYTES_MAX};

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flaw {
    /// Which file, if it is one.
    pub file: Option<String>,
    /// Which line of it, from 1.
    pub line: Option<u64>,
    /// What.
    pub what: String,
}

/// What was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Records read.
    pub records: u64,
    /// Number of the oldest; those before it were removed to bound the log.
    pub first: u64,
    /// Number of the newest.
    pub last: u64,
    /// Hash of the newest: noted elsewhere, it tells later whether the log up to here is still the same.
    pub hash: String,
    /// What is wrong, at most so many; empty when all is well.
    pub flaws: Vec<Flaw>,
}

impl Report {
    fn flaw(&mut self, file: Option<&Path>, line: Option<u64>, what: impl Into<String>) {
        if self.flaws.len() < AUDIT_FLAWS_MAX {
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.flaws.push(Flaw { file: file.map(name), line, what: what.into() });
        }
    }
}

/// What the head says; `None` when there is none that can be read.
fn read_head(dir: &Path) -> io::Result<Option<Head>> {
    match fs::read(head_file(dir)) {
        Ok(text) if text.trim_ascii().is_empty() => Ok(Some(Head::default())),
        Ok(text) => Ok(serde_json::from_slice(&text).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the log in `dir`. `expected` is a number and the hash that its record had, noted elsewhere.
///
/// # Errors
/// When it cannot be read, or is not there.
pub fn verify(dir: &Path, expected: Option<(u64, &str)>) -> io::Result<Report> {
    let mut report = Report::default();
    // Before the records, so that whatever it says is among them.
    let head = read_head(dir)?;
    let segments = segments(dir)?;
    if head.is_none() && (head_file(dir).exists() || !segments.is_empty()) {
        report.flaw(Some(&head_file(dir)), None, "the head is missing or damaged, so the end of the log may be cut");
    }
    let head = head.unwrap_or_default();
    // Hash and number of the record that was read last.
    let mut before = (0, NO_HASH.to_owned());
    let (mut seen_head, mut seen_expected) = (head.seq == 0, expected.is_none());
    for (index, (named, path)) in segments.iter().enumerate() {
        let mut reader = BufReader::new(File::open(path)?);
        let mut number = 0;
        loop {
            let mut text = Vec::new();
            let read = reader.by_ref().take(AUDIT_LINE_BYTES_MAX + 1).read_until(b'\n', &mut text)?;
            if read == 0 {
                break;
            }
            number += 1;
            if text.pop() != Some(b'\n') {
                // Being written, or interrupted: nobody was told that it is done. The head tells when there was more.
                if index + 1 < segments.len() || read as u64 > AUDIT_LINE_BYTES_MAX {
                    report.flaw(Some(path), Some(number), "the line has no end");
                }
                break;
            }
            let record = std::str::from_utf8(&text).ok().and_then(line::read);
            let Some((record, hash)) = record else {
                report.flaw(Some(path), Some(number), "the record is not as it was written");
                continue;
            };
            if report.records == 0 {
                report.first = record.seq;
                if record.seq == 1 && record.prev != NO_HASH {
                    report.flaw(Some(path), Some(number), "there was a record before the first");
                }
            } else if (record.seq, &record.prev) != (before.0 + 1, &before.1) {
                let what = format!("record {} does not follow record {}", record.seq, before.0);
                report.flaw(Some(path), Some(number), what);
            }
            if number == 1 && record.seq != *named {
                report.flaw(Some(path), Some(1), format!("record {} begins a file named {named}", record.seq));
            }
            report.records += 1;
            if record.seq == head.seq {
                seen_head = true;
                if hash != head.hash {
                    report.flaw(Some(path), Some(number), "it is not the record that the head names");
                }
            }
            if let Some((seq, wanted)) = expected
                && seq == record.seq
            {
                seen_expected = true;
                if !hash.eq_ignore_ascii_case(wanted) {
                    report.flaw(Some(path), Some(number), "it is not the record that was expected");
                }
            }
            before = (record.seq, hash);
        }
    }
    (report.last, report.hash) = before;
    // A crash leaves at most one record that the head does not name; others may have come while this was read.
    if read_head(dir)?.is_some_and(|head| head.seq + 1 < report.last) {
        report.flaw(Some(&head_file(dir)), None, "the head was set back");
    }
    if !seen_head {
        let what = format!("record {}, the newest by the head, is not there: the log was cut", head.seq);
        report.flaw(None, None, what);
    }
    if report.records > 0 && report.first != head.first {
        let what = format!("the log begins with record {}, but should with {}", report.first, head.first);
        report.flaw(None, None, what);
    }
    if !seen_expected {
        report.flaw(None, None, "the record that was expected is not there");
    }
    Ok(report)
}
