//! What admins did: a log that only grows, in which every record holds the hash of the one before it, so that none can be
//! changed, dropped, moved or added later without a trace (HARDENING §1).
//!
//! `audit/` in the data directory has segments, named by the number of their first record, and `head.json`: the newest
//! record's number and hash, and the number of the oldest that is kept. A record is one line of JSON; its last member is
//! the SHA-256 of everything before it in the line, its `prev` the hash of the record before. The head is written after
//! the record, so a log that ends before its head was cut, and one that ends behind it was interrupted by a crash.
//!
//! An act is recorded before it is begun and again with what came of it; both are on disk before it is answered. Knows
//! nothing of documents, sockets or tokens: who and what are words to it.

mod line;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::verify::{Flaw, Report, verify};
pub use self::writer::{Audit, AuditError};

/// Of the record before the first.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// One thing that was done, or is about to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When, milliseconds since 1970.
    pub at: u64,
    /// Who: `local` for the local credential or this machine's commands, `token` and its subject for a token.
    pub who: String,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What, in one word.
    pub act: String,
    /// To which document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<String>,
    /// What else there is to say of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// `begun`, `done`, or why not.
    pub result: String,
}

/// The newest record, and the oldest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Number of the newest, from 1; 0 of none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// Number of the oldest that is kept; those before it were removed to bound the log.
    pub first: u64,
}

impl Default for Head {
    fn default() -> Self {
        Self { seq: 0, hash: NO_HASH.to_owned(), first: 1 }
    }
}

fn head_file(dir: &Path) -> PathBuf {
    dir.join("head.json")
}

/// The segments, by the number of their first record.
fn segments(dir: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(first) = name.strip_suffix(".jsonl").and_then(|digits| digits.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn segment_file(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.jsonl"))
}
