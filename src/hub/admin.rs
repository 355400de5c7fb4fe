//! What admins ask of documents, and the reports they get; the same on the wire (`/api/v1`) and on the command line.

use serde::{Deserialize, Serialize};

use crate::ids::{DocName, Seq};
use crate::replica::Census;
use crate::replica::content::root_kinds;
use crate::store::{DamagedEntry, DocHead, Vacuumed};

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
    /// Tombstones of deleted documents, instead of documents.
    #[serde(default)]
    pub deleted: bool,
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
    /// When it was deleted, milliseconds since 1970; only of tombstones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_ms: Option<u64>,
    /// Its catalogue entry is damaged, so that nothing else is known of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

/// What `weft show` shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocReport {
    /// Name, sizes, peers.
    #[serde(flatten)]
    pub summary: DocSummary,
    /// Bytes it takes in the store, names, indexes and checksums included, before the disk's own overhead.
    pub live_bytes: u64,
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
    /// The document did not exist before.
    #[serde(default)]
    pub created: bool,
    /// The document had been deleted and was made anew, from this update alone.
    #[serde(default)]
    pub recreated: bool,
}

/// What a deletion did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteReport {
    /// The document.
    pub name: DocName,
    /// When, milliseconds since 1970.
    pub deleted_ms: u64,
    /// Peers that were connected, and were told.
    pub peers: u64,
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

/// What the store takes on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageReport {
    /// Documents.
    pub documents: u64,
    /// Bytes of what is stored.
    pub live_bytes: u64,
    /// Bytes of the database's files.
    pub disk_bytes: u64,
    /// The difference: what the engine needs to find its way, and what a vacuum would give back.
    pub dead_bytes: u64,
    /// Bytes in the journal that have not been carried into the store yet.
    pub journal_bytes: u64,
}

impl StorageReport {
    pub(super) fn new(documents: u64, live_bytes: u64, disk_bytes: u64) -> Self {
        let dead_bytes = disk_bytes.saturating_sub(live_bytes);
        Self { documents, live_bytes, disk_bytes, dead_bytes, journal_bytes: 0 }
    }
}

/// What a vacuum did, or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VacuumReport {
    /// Nothing was done, and what would be is an estimate.
    pub dry_run: bool,
    /// Documents moved.
    pub documents: u64,
    /// Bytes of the database's files before.
    pub disk_bytes_before: u64,
    /// The same after.
    pub disk_bytes_after: u64,
    /// Live bytes before.
    pub live_bytes_before: u64,
    /// Live bytes after; less when a crash had left something behind.
    pub live_bytes_after: u64,
    /// Records that are damaged, now as before; the first of them.
    pub damaged: Vec<DamagedEntry>,
    /// How many there are.
    pub damaged_records: u64,
    /// How long it took, milliseconds.
    pub took_ms: u64,
}

impl VacuumReport {
    pub(super) fn new(dry_run: bool, vacuumed: Vacuumed, took_ms: u64) -> Self {
        Self {
            dry_run,
            documents: vacuumed.documents,
            disk_bytes_before: vacuumed.disk_bytes_before,
            disk_bytes_after: vacuumed.disk_bytes_after,
            live_bytes_before: vacuumed.live_bytes_before,
            live_bytes_after: vacuumed.live_bytes_after,
            damaged: vacuumed.damaged,
            damaged_records: vacuumed.damaged_records,
            took_ms,
        }
    }
}

impl DocSummary {
    pub(super) fn new(name: DocName, head: &DocHead, peers: u64) -> Self {
        Self {
            name,
            snapshot_bytes: head.snapshot_bytes,
            log_bytes: head.log_bytes,
            log_records: head.log_records,
            updated_ms: head.updated_ms,
            peers,
            deleted_ms: head.deleted_ms,
            damaged: head.damaged,
        }
    }
}

impl DocReport {
    /// `head` is `None` for a document that is awake but has nothing stored.
    pub(super) fn new(doc: &DocName, head: Option<DocHead>, live_bytes: u64, census: &Census, state: &[u8]) -> Self {
        let head = head.unwrap_or_default();
        Self {
            summary: DocSummary::new(doc.clone(), &head, census.peers as u64),
            live_bytes,
            created_ms: head.created_ms,
            last_seq: head.last_seq,
            snapshot_seq: head.snapshot_seq,
            state_bytes: state.len() as u64,
            state_vector: census.clocks.iter().map(|(client, clock)| (client.0, *clock)).collect(),
            clients: census.clocks.len() as u64,
            deleted_ticks: census.deleted_ticks,
            ticks: census.clocks.values().map(|clock| u64::from(*clock)).sum(),
            parked_updates: census.parked_updates as u64,
            parked_bytes: census.parked_bytes as u64,
            roots: root_kinds(state).into_iter().map(|(name, kind)| (name, kind.name().to_owned())).collect(),
        }
    }
}
