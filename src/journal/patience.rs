//! Waiting for room on a full disk (S9). Not for a failed sync: that is never tried again (S7).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::limits::JOURNAL_SPACE_RETRY;

/// How long the journal's threads go on trying.
#[derive(Default)]
pub(super) struct Patience {
    ended: Mutex<bool>,
    wake: Condvar,
}

impl Patience {
    /// Waits until it is worth another try. False when the journal is closing: nobody may be kept waiting any more.
    pub(super) fn wait(&self) -> bool {
        let ended = self.ended();
        let waited = self.wake.wait_timeout_while(ended, JOURNAL_SPACE_RETRY, |ended| !*ended);
        let (ended, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !*ended
    }

    /// From now on nobody waits.
    pub(super) fn end(&self) {
        *self.ended() = true;
        self.wake.notify_all();
    }

    fn ended(&self) -> MutexGuard<'_, bool> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
