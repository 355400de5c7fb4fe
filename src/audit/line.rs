//! One record as a line, and back.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Entry;

/// What a record says beside its own hash.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) seq: u64,
    /// Hash of the record before.
    pub(super) prev: String,
    #[serde(flatten)]
    pub(super) entry: Entry,
}

/// The record as a line with its end, and its hash.
pub(super) fn write(record: &Record) -> serde_json::Result<(String, String)> {
    let mut line = serde_json::to_string(record)?;
    line.pop();
    let hash = hash(line.as_bytes());
    line.push_str(",\"hash\":\"");
    line.push_str(&hash);
    line.push_str("\"}\n");
    Ok((line, hash))
}

/// What a line, without its end, says, and its hash. `None` when it is no record, or not as it was written.
pub(super) fn read(line: &str) -> Option<(Record, String)> {
    let (body, rest) = line.rsplit_once(",\"hash\":\"")?;
    let given = rest.strip_suffix("\"}")?;
    if given != hash(body.as_bytes()) {
        return None;
    }
    // What is behind the hash in the line would not be covered by it; there is nothing.
    let record = serde_json::from_str(&format!("{body}}}")).ok()?;
    Some((record, given.to_owned()))
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
