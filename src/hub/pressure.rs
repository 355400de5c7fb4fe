//! How many documents are awake, and what is done when they are too many: those without editors are put to sleep sooner, and
//! when that does not help, no further one is woken for a client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::{HubError, Inner};
use crate::ids::DocName;
use crate::limits::{DOCUMENTS_HIGH_SHARE, IDLE_AFTER_HIGH, RELIEVE_EVERY};
use crate::metrics::Counter;

/// Whether there are many documents awake.
pub(super) struct Pressure {
    max: usize,
    is_high: AtomicBool,
    rose: Notify,
    /// Documents that were not woken.
    pub(super) refused: Counter,
}

impl Pressure {
    pub(super) fn new(max: usize) -> Self {
        Self { max, is_high: AtomicBool::new(false), rose: Notify::new(), refused: Counter::default() }
    }

    /// Says how many are awake now.
    pub(super) fn note(&self, awake: usize) {
        let is_high = awake >= self.max - self.max / DOCUMENTS_HIGH_SHARE;
        if self.is_high.load(Ordering::Relaxed) != is_high {
            self.is_high.store(is_high, Ordering::Relaxed);
            if is_high {
                self.rose.notify_one();
            }
        }
    }

    /// How long a document stays awake without anybody, where that is `idle_after` as a rule.
    pub(super) fn idle_after(&self, idle_after: Duration) -> Duration {
        if self.is_high.load(Ordering::Relaxed) { idle_after.min(IDLE_AFTER_HIGH) } else { idle_after }
    }
}

impl Inner {
    /// Whether a client may have this document: when it is awake, or one more may be.
    pub(super) fn admit(&self, doc: &DocName) -> Result<(), HubError> {
        let awake = self.awake();
        if awake.len() < self.pressure.max || awake.contains_key(doc) {
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
            while self.pressure.is_high.load(Ordering::Relaxed) {
                let alone: Vec<_> = self.awake().values().filter(|mailbox| mailbox.peers() == 0).cloned().collect();
                tracing::debug!(alone = alone.len(), "many documents are awake");
                alone.iter().for_each(|mailbox| mailbox.announce());
                // What this cannot store is said by the checkpoints that are made anyway.
                let _ = self.checkpoint_if_possible().await;
                tokio::time::sleep(RELIEVE_EVERY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_quarter_is_high() {
        let pressure = Pressure::new(8);
        let after = |awake| {
            pressure.note(awake);
            pressure.idle_after(Duration::from_secs(30))
        };
        assert_eq!(after(5), Duration::from_secs(30));
        assert_eq!(after(6), IDLE_AFTER_HIGH);
        assert_eq!(pressure.idle_after(Duration::ZERO), Duration::ZERO);
        assert_eq!(after(5), Duration::from_secs(30));
    }
}
