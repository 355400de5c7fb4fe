//! How the hub is doing, for those who watch over it: counted once a turn, never once a reader.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::mailbox::Mailbox;
use super::pressure::resident_bytes;
use super::{Hub, HubError, Inner};
use crate::budget::{Counts, Kind};
use crate::ids::DocName;
use crate::journal::JournalFigures;
use crate::metrics::{Counter, Durations, Histogram, Sum};
use crate::replica::Tally;
use crate::worker::Workers;

/// Over how long a document's rates are averaged: what was twice as long ago counts a good third.
const RATE_OVER: Duration = Duration::from_secs(5);

/// Counted since the hub started.
#[derive(Default)]
pub(super) struct Stats {
    updates: Updates,
    /// Structs that wait for a missing one, in all documents that are awake.
    pending: Sum,
    /// How often a document waited since it had cost too much.
    pub(super) slowed: Counts,
    pub(super) loads: Histogram,
    pub(super) folds: Histogram,
    pub(super) folds_failed: Counter,
    pub(super) checkpoints: Histogram,
    /// Documents that were given up integrating.
    pub(super) broken: Counter,
    /// Documents whose journal records could not be stored.
    pub(super) set_aside: Counter,
    pub(super) journal_errors: Counter,
    pub(super) checkpoint_errors: Counter,
    pub(super) read_errors: Counter,
}

#[derive(Default)]
struct Updates {
    applied: Counter,
    applied_bytes: Counter,
    known: Counter,
    parked: Counter,
    refused_read_only: Counter,
    refused_limit: Counter,
    malformed: Counter,
}

impl Stats {
    /// Counts one turn of one document.
    pub(super) fn count(&self, tally: &Tally) {
        if *tally == Tally::default() {
            return;
        }
        let updates = &self.updates;
        for (counter, n) in [
            (&updates.applied, tally.applied),
            (&updates.known, tally.known),
            (&updates.parked, tally.parked),
            (&updates.refused_read_only, tally.refused_read_only),
            (&updates.refused_limit, tally.refused_limit),
            (&updates.malformed, tally.malformed),
        ] {
            if n > 0 {
                counter.add(n.into());
            }
        }
        updates.applied_bytes.add(tally.applied_bytes);
    }
}

/// How many structs wait in one document; none any more when its task has ended.
pub(super) struct Pending {
    hub: Arc<Inner>,
    said: u64,
}

impl Pending {
    pub(super) fn none(hub: Arc<Inner>) -> Self {
        Self { hub, said: 0 }
    }

    pub(super) fn are(&mut self, structs: u64) {
        self.hub.stats.pending.shift(std::mem::replace(&mut self.said, structs), structs);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.are(0);
    }
}

/// How the hub and what is below it are doing.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Documents awake now.
    pub documents_awake: usize,
    /// Updates by what became of them: name and number.
    pub updates: [(&'static str, u64); 6],
    /// Bytes of updates that brought something new.
    pub applied_bytes: u64,
    /// Structs that wait for a missing one, in all documents that are awake.
    pub pending_structs: u64,
    /// Loads of documents that slept.
    pub loads: Durations,
    /// Folds of logs into snapshots that succeeded.
    pub folds: Durations,
    /// Folds that did not.
    pub folds_failed: u64,
    /// Checkpoints.
    pub checkpoints: Durations,
    /// Documents with an update that breaks whoever integrates it; it was quarantined, and they go on without.
    pub broken: u64,
    /// Processes in which updates were integrated.
    pub workers: Workers,
    /// Documents whose journal records could not be stored and were kept aside.
    pub set_aside: u64,
    /// Failures of storage by what was done: name and number.
    pub storage_errors: [(&'static str, u64); 3],
    /// How often a document had to wait since it had cost too much, by what: name and number.
    pub slowed: [(&'static str, u64); Kind::ALL.len()],
    /// Documents that were not opened for a client since there were too many.
    pub refused_documents: u64,
    /// Who was not let in for want of memory.
    pub refused_for_memory: u64,
    /// Memory of this process, bytes, where the system says it.
    pub resident_bytes: Option<u64>,
    /// Why nothing is written any more (S7).
    pub failed: Option<String>,
    /// The journal.
    pub journal: JournalFigures,
}

/// How busy one document is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DocActivity {
    /// The document.
    pub name: DocName,
    /// Peers connected now.
    pub peers: u64,
    /// Updates a second that brought something new, over the last seconds.
    pub updates_per_s: f64,
    /// Their bytes a second.
    pub bytes_per_s: f64,
}

impl Hub {
    /// How the hub is doing. Cheap, and waits for nobody.
    pub fn figures(&self) -> Figures {
        let stats = &self.inner.stats;
        let updates = &stats.updates;
        Figures {
            documents_awake: self.documents_awake(),
            updates: [
                ("applied", updates.applied.get()),
                ("dup", updates.known.get()),
                ("pending", updates.parked.get()),
                ("refused_ro", updates.refused_read_only.get()),
                ("refused_limit", updates.refused_limit.get()),
                ("malformed", updates.malformed.get()),
            ],
            applied_bytes: updates.applied_bytes.get(),
            pending_structs: stats.pending.get(),
            loads: stats.loads.snapshot(),
            folds: stats.folds.snapshot(),
            folds_failed: stats.folds_failed.get(),
            checkpoints: stats.checkpoints.snapshot(),
            broken: stats.broken.get(),
            workers: self.inner.integration.workers(),
            set_aside: stats.set_aside.get(),
            storage_errors: [
                ("journal", stats.journal_errors.get()),
                ("checkpoint", stats.checkpoint_errors.get()),
                ("read", stats.read_errors.get()),
            ],
            slowed: stats.slowed.get(),
            refused_documents: self.inner.pressure.refused.get(),
            refused_for_memory: self.inner.pressure.refused_for_memory.get(),
            resident_bytes: resident_bytes(),
            failed: self.inner.failure().clone(),
            journal: self.inner.journal.figures(),
        }
    }

    /// Bytes that the store takes on disk, live and dead.
    ///
    /// # Errors
    /// [`HubError::Storage`].
    pub async fn store_bytes(&self) -> Result<u64, HubError> {
        self.inner.in_store(|store| store.bytes_on_disk()).await
    }

    /// The `limit` documents with most updates a second, the busiest first; those where nothing happens last.
    pub fn busiest(&self, limit: usize) -> Vec<DocActivity> {
        // Taken out of the map at once, so that nobody waits while they are compared.
        let awake: Vec<Arc<Mailbox>> = self.inner.awake().values().cloned().collect();
        let now = Instant::now();
        let mut busiest = BinaryHeap::new();
        for mailbox in awake {
            let (updates_per_s, bytes_per_s) = mailbox.rate.at(now);
            // As whole numbers, which can be ordered; micro-updates a second are fine enough.
            let rank = ((updates_per_s * 1e6) as u64, mailbox.peers());
            busiest.push(Reverse((rank, mailbox.doc.clone(), bytes_per_s.to_bits(), updates_per_s.to_bits())));
            if busiest.len() > limit {
                busiest.pop();
            }
        }
        let listed = busiest.into_sorted_vec().into_iter();
        let activity = |Reverse(((_, peers), name, bytes, updates)): Reverse<((u64, u64), DocName, u64, u64)>| {
            DocActivity { name, peers, updates_per_s: f64::from_bits(updates), bytes_per_s: f64::from_bits(bytes) }
        };
        listed.map(activity).collect()
    }
}

/// How much happens in a document, the last seconds counting most.
pub struct Rate(Mutex<Decaying>);

struct Decaying {
    updates_per_s: f64,
    bytes_per_s: f64,
    at: Instant,
}

impl Decaying {
    fn decay(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64() / RATE_OVER.as_secs_f64();
        let left = (-passed).exp();
        self.updates_per_s *= left;
        self.bytes_per_s *= left;
        self.at = self.at.max(now);
    }
}

impl Rate {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Decaying { updates_per_s: 0.0, bytes_per_s: 0.0, at: Instant::now() }))
    }

    /// Counts one turn.
    pub(super) fn count(&self, tally: &Tally, now: Instant) {
        if tally.applied == 0 {
            return;
        }
        let mut rate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rate.decay(now);
        rate.updates_per_s += f64::from(tally.applied) / RATE_OVER.as_secs_f64();
        rate.bytes_per_s += tally.applied_bytes as f64 / RATE_OVER.as_secs_f64();
    }

    /// Updates and bytes a second.
    fn at(&self, now: Instant) -> (f64, f64) {
        let mut rate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rate.decay(now);
        (rate.updates_per_s, rate.bytes_per_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_told_as_it_is_and_fades() {
        let (rate, start) = (Rate::new(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        for tick in 0..400 {
            rate.count(&Tally { applied: 2, applied_bytes: 20, ..Tally::default() }, at(tick * 100));
        }
        let (updates, bytes) = rate.at(at(40_000));
        assert!((19.0..21.0).contains(&updates) && (190.0..210.0).contains(&bytes), "{updates} {bytes}");
        let (updates, _) = rate.at(at(45_000));
        assert!((6.5..8.0).contains(&updates), "{updates}");
        assert!(rate.at(at(100_000)).0 < 0.001);
    }
}
