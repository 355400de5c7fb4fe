//! How many documents are awake and how much memory is in use, and what is done when it is too much: documents without editors
//! are put to sleep sooner, and when that does not help, no further one is woken for a client, or nobody joins any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::{HubError, Inner};
use crate::ids::DocName;
use crate::limits::{IDLE_AFTER_HIGH, MEMORY_LOOKED_AT_EVERY, PRESSURE_HIGH_SHARE, RELIEVE_EVERY};
use crate::metrics::Counter;

/// Whether there are many documents awake, or much memory is in use.
pub(super) struct Pressure {
    documents_max: usize,
    memory_max: u64,
    many_awake: AtomicBool,
    much_memory: AtomicBool,
    /// Memory in use when it was last looked at, bytes; 0 unless it is bounded.
    memory: AtomicU64,
    rose: Notify,
    /// Documents that were not woken.
    pub(super) refused: Counter,
    /// Who was not let in for want of memory.
    pub(super) refused_for_memory: Counter,
}

impl Pressure {
    pub(super) fn new(documents_max: usize, memory_max: Option<u64>) -> Self {
        Self {
            documents_max,
            memory_max: memory_max.unwrap_or(u64::MAX),
            many_awake: AtomicBool::new(false),
            much_memory: AtomicBool::new(false),
            memory: AtomicU64::new(0),
            rose: Notify::new(),
            refused: Counter::default(),
            refused_for_memory: Counter::default(),
        }
    }

    /// Says how many are awake now.
    pub(super) fn note(&self, awake: usize) {
        self.set(&self.many_awake, awake >= self.documents_max - self.documents_max / PRESSURE_HIGH_SHARE);
    }

    /// Says how much memory is in use, bytes.
    fn note_memory(&self, bytes: u64) {
        self.memory.store(bytes, Ordering::Relaxed);
        self.set(&self.much_memory, bytes >= self.memory_max - self.memory_max / PRESSURE_HIGH_SHARE as u64);
    }

    fn set(&self, mark: &AtomicBool, is_high: bool) {
        if mark.swap(is_high, Ordering::Relaxed) != is_high && is_high {
            self.rose.notify_one();
        }
    }

    fn is_high(&self) -> bool {
        self.many_awake.load(Ordering::Relaxed) || self.much_memory.load(Ordering::Relaxed)
    }

    fn memory_is_full(&self) -> bool {
        self.memory.load(Ordering::Relaxed) >= self.memory_max
    }

    /// How long a document stays awake without anybody, where that is `idle_after` as a rule.
    pub(super) fn idle_after(&self, idle_after: Duration) -> Duration {
        if self.is_high() { idle_after.min(IDLE_AFTER_HIGH) } else { idle_after }
    }
}

impl Inner {
    /// Whether a client may have this document: when there is memory, and it is awake or one more may be.
    pub(super) fn admit(&self, doc: &DocName) -> Result<(), HubError> {
        if self.pressure.memory_is_full() {
            self.pressure.refused_for_memory.add(1);
            return Err(HubError::MemoryFull);
        }
        let awake = self.awake();
        if awake.len() < self.pressure.documents_max || awake.contains_key(doc) {
            return Ok(());
        }
        drop(awake);
        self.pressure.refused.add(1);
        Err(HubError::TooManyDocuments)
    }

    /// While there are many, has those that nobody is in look whether they may sleep, and stores what keeps them awake.
    pub(super) async fn relieve_forever(self: Arc<Self>) {
        loop {
            self.pressure.rose.notified().await;
            while self.pressure.is_high() {
                let alone: Vec<_> = self.awake().values().filter(|mailbox| mailbox.peers() == 0).cloned().collect();
                tracing::debug!(alone = alone.len(), "many documents are awake, or much memory is in use");
                alone.iter().for_each(|mailbox| mailbox.announce());
                // What this cannot store is said by the checkpoints that are made anyway.
                let _ = self.checkpoint_if_possible().await;
                tokio::time::sleep(RELIEVE_EVERY).await;
            }
        }
    }

    /// Looks at the memory in use, if there is a bound on it.
    pub(super) async fn watch_memory(self: Arc<Self>) {
        if self.options.memory_max.is_none() {
            return;
        }
        if resident_bytes().is_none() {
            tracing::warn!("this system does not say how much memory is in use; --max-memory has no effect");
            return;
        }
        let mut was_full = false;
        loop {
            // Without an answer there is none to go by, and nobody is turned away.
            self.pressure.note_memory(resident_bytes().unwrap_or(0));
            let is_full = self.pressure.memory_is_full();
            if is_full && !was_full {
                let (bytes, most) = (self.pressure.memory.load(Ordering::Relaxed), self.pressure.memory_max);
                tracing::warn!(bytes, most, "nobody joins a document until memory is free again (--max-memory)");
            }
            was_full = is_full;
            tokio::time::sleep(MEMORY_LOOKED_AT_EVERY).await;
        }
    }
}

/// Memory of this process, bytes; `None` where the system does not say it this way.
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_quarter_is_high() {
        let pressure = Pressure::new(8, Some(80));
        let after = |awake| {
            pressure.note(awake);
            pressure.idle_after(Duration::from_secs(30))
        };
        assert_eq!(after(5), Duration::from_secs(30));
        assert_eq!(after(6), IDLE_AFTER_HIGH);
        assert_eq!(pressure.idle_after(Duration::ZERO), Duration::ZERO);
        assert_eq!(after(5), Duration::from_secs(30));
        for (bytes, is_high, is_full) in [(59, false, false), (60, true, false), (79, true, false), (80, true, true)] {
            pressure.note_memory(bytes);
            assert_eq!((pressure.is_high(), pressure.memory_is_full()), (is_high, is_full), "{bytes}");
        }
        pressure.note_memory(3);
        assert!(!pressure.is_high() && !pressure.memory_is_full());
        let unbounded = Pressure::new(8, None);
        unbounded.note_memory(u64::MAX >> 1);
        assert!(!unbounded.is_high() && !unbounded.memory_is_full());
    }

    #[test]
    fn the_system_says_how_much_memory_is_in_use() {
        // Tests beside this one take and free memory; this much is there in any case.
        let filled = std::hint::black_box(vec![1u8; 64 << 20]);
        let bytes = resident_bytes().expect("a system with /proc");
        assert!(bytes >= filled.len() as u64, "{bytes}");
    }
}
