//! How the journal is doing, for those who watch over it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Shared;
use crate::metrics::{Durations, Histogram};

/// Counted by the writer and by whoever appends.
#[derive(Default)]
pub(super) struct Stats {
    /// From append to durable.
    pub(super) ack: Histogram,
    /// Syncs alone.
    pub(super) sync: Histogram,
    /// Records appended and not yet durable.
    unacked: AtomicU64,
    /// Since when the oldest append has been waiting that the writer has taken; none while it sleeps.
    writing_since: Mutex<Option<Instant>>,
}

impl Stats {
    pub(super) fn appended(&self, records: u64) {
        self.unacked.fetch_add(records, Ordering::Relaxed);
    }

    /// One append became durable.
    pub(super) fn acked(&self, records: u64, took: Duration) {
        self.unacked.fetch_sub(records, Ordering::Relaxed);
        self.ack.observe(took);
    }

    pub(super) fn writing(&self, since: Option<Instant>) {
        *self.writing_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// How the journal is doing.
#[derive(Debug, Clone, Default)]
pub struct JournalFigures {
    /// From append to durable, which is when acks leave.
    pub ack: Durations,
    /// Syncs of the journal's files alone.
    pub sync: Durations,
    /// Records appended and not yet durable.
    pub unacked: u64,
    /// How long the oldest of them has been waiting.
    pub oldest_unacked: Duration,
    /// Bytes of records that no checkpoint has carried into the store yet.
    pub bytes_pending: u64,
    /// The file system that the journal is on; none when it does not say.
    pub disk: Option<Disk>,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that may still be written.
    pub free_bytes: u64,
    /// Bytes altogether.
    pub total_bytes: u64,
}

impl Shared {
    pub(super) fn figures(&self) -> JournalFigures {
        let stats = &self.stats;
        let writing_since = *stats.writing_since.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = writing_since.or_else(|| self.queue.oldest());
        JournalFigures {
            ack: stats.ack.snapshot(),
            sync: stats.sync.snapshot(),
            unacked: stats.unacked.load(Ordering::Relaxed),
            oldest_unacked: oldest.map_or(Duration::ZERO, |since| since.elapsed()),
            bytes_pending: self.bytes_pending.load(Ordering::Relaxed),
            disk: rustix::fs::statvfs(&self.dir).ok().map(|stat| Disk {
                free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
                total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            }),
        }
    }
}
