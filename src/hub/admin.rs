//! What admins ask of documents, and the reports they get; the same on the wire (`/api/v1`) and on the command line.

use serde::{Deserialize, Serialize};

use crate::ids::{DocName, Seq};

/// Which documents to list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListQuery {
    /// Only names that start with this.
    #[serde(default)]
    pub prefix: String,
    /// Only names after this one, by bytes; for paging.
    #[serde(default)]
    pub after: Option<DocName>,
    /// At most this many.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// One line of `weft ls`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocSummary {
    /// The document.
    pub name: DocName,
    /// Bytes of its snapshot.
    pub snapshot_bytes: u64,
    /// Bytes of its update log after the snapshot.
    pub log_bytes: u64,
    /// Records in that log.
    pub log_records: u64,
    /// Last change carried into the store, milliseconds since 1970.
    pub updated_ms: u64,
    /// Peers connected now.
    pub peers: u64,
}

/// What `weft show` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocReport {
    /// Name, sizes, peers.
    #[serde(flatten)]
    pub summary: DocSummary,
    /// First stored, milliseconds since 1970.
    pub created_ms: u64,
    /// Position of the last record.
    pub last_seq: Seq,
    /// Position the snapshot covers.
    pub snapshot_seq: Seq,
    /// Bytes of the whole state as one update.
    pub state_bytes: u64,
    /// The state vector: per client, how many clock ticks are known; sorted by client.
    pub state_vector: Vec<(u64, u32)>,
    /// Distinct clients ever seen.
    pub clients: u64,
    /// Clock ticks that were deleted, of all.
    pub deleted_ticks: u64,
    /// All clock ticks.
    pub ticks: u64,
    /// Updates parked because they wait for a missing one.
    pub parked_updates: u64,
    /// Their bytes.
    pub parked_bytes: u64,
    /// Shared root types with their kind ("text", "map", "array", "xml").
    pub roots: Vec<(String, String)>,
}

/// What an import did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// The document.
    pub name: DocName,
    /// Bytes of the update offered.
    pub offered_bytes: u64,
    /// Bytes of it that were new; 0 when everything was known.
    pub accepted_bytes: u64,
    /// Bytes of it that wait for a missing update.
    pub parked_bytes: u64,
}

/// What a compaction did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactReport {
    /// The document.
    pub name: DocName,
    /// Log records before.
    pub log_records: u64,
    /// Log bytes before.
    pub log_bytes: u64,
    /// Snapshot bytes before.
    pub snapshot_bytes_before: u64,
    /// Snapshot bytes after; with a dry run, of the snapshot that was built and verified, then thrown away.
    pub snapshot_bytes_after: u64,
    /// Whether anything was written.
    pub written: bool,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}
