//! What waits for the writer, and whether the journal still takes more. Bounded in bytes by [`super::Shared::budget`],
//! of which every entry holds a part.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use super::DurableSink;
use super::error::JournalError;
use super::record::Record;
use crate::ids::Seq;
use crate::limits::JOURNAL_SYNC_PACE;

/// One call of [`super::Journal::append`].
pub(super) struct Append {
    pub(super) records: Vec<Record>,
    pub(super) sink: Option<Arc<dyn DurableSink>>,
    /// Of the last record.
    pub(super) seq: Seq,
    /// Bytes of the budget to give back.
    pub(super) cost: usize,
    /// When it was queued.
    pub(super) since: Instant,
    /// Nobody waits for it yet.
    pub(super) lazy: bool,
}

pub(super) enum Entry {
    Append(Append),
    /// Seal the segment. Dropping the sender means that it failed.
    Rotate {
        done: oneshot::Sender<()>,
        cost: usize,
    },
    /// End once everything before is durable.
    Close {
        done: oneshot::Sender<()>,
    },
}

/// Only ever moves downwards.
enum Phase {
    Open,
    /// Nothing new; the writer finishes what is queued.
    Closing,
    Closed,
    Failed(String),
}

impl Phase {
    fn refusal(&self) -> Option<JournalError> {
        match self {
            Phase::Open => None,
            Phase::Closing | Phase::Closed => Some(JournalError::Closed),
            Phase::Failed(cause) => Some(JournalError::Failed(cause.clone())),
        }
    }
}

pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    entries: VecDeque<Entry>,
    phase: Phase,
    /// The writer sleeps, so the next entry must wake it. Saves a system call for all others.
    is_idle: bool,
    /// When what is written is to be synced; none when everything is.
    sync_at: Option<Instant>,
    /// Somebody waits for all there is.
    hurry: bool,
}

impl Queue {
    pub(super) fn new() -> Queue {
        let state = State { entries: VecDeque::new(), phase: Phase::Open, is_idle: false, sync_at: None, hurry: false };
        Queue { state: Mutex::new(state), wake: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_into(&self, mut state: MutexGuard<'_, State>, entry: Entry) {
        state.entries.push_back(entry);
        self.wake(state);
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wake = std::mem::take(&mut state.is_idle);
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Whether the writer sleeps.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.state().is_idle
    }

    /// Whether what is written now is written after all that was appended before.
    pub(super) fn is_clear(&self) -> bool {
        let state = self.state();
        state.entries.is_empty() && matches!(state.phase, Phase::Open)
    }

    /// Something was written past the queue, for which somebody waits or, when it is `lazy`, nobody does.
    pub(super) fn written(&self, lazy: bool) {
        let mut state = self.state();
        let is_first = state.sync_at.is_none();
        state.sync_at.get_or_insert_with(|| Instant::now() + JOURNAL_SYNC_PACE);
        state.hurry |= !lazy;
        if is_first || !lazy {
            self.wake(state);
        }
    }

    /// Has all that was appended so far synced without further delay.
    pub(super) fn hurry(&self) {
        let mut state = self.state();
        let is_synced = state.is_idle && state.sync_at.is_none() && state.entries.is_empty();
        if !is_synced {
            state.hurry = true;
            self.wake(state);
        }
    }

    /// Errors: `Closed` or `Failed`; the entry is dropped then.
    pub(super) fn push(&self, entry: Entry) -> Result<(), JournalError> {
        let state = self.state();
        if let Some(refusal) = state.phase.refusal() {
            return Err(refusal);
        }
        self.push_into(state, entry);
        Ok(())
    }

    /// Takes nothing new from now on. `None` when the writer has already ended well.
    pub(super) fn close(&self) -> Result<Option<oneshot::Receiver<()>>, JournalError> {
        let mut state = self.state();
        match state.phase {
            Phase::Open | Phase::Closing => {
                state.phase = Phase::Closing;
                let (done, closed) = oneshot::channel();
                self.push_into(state, Entry::Close { done });
                Ok(Some(closed))
            }
            Phase::Closed => Ok(None),
            Phase::Failed(ref cause) => Err(JournalError::Failed(cause.clone())),
        }
    }

    /// As `close`, when there is nobody left to wait for it.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Closing;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// For the writer: waits until there is something to write or to sync. False when there will be no more.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state();
        loop {
            if matches!(state.phase, Phase::Failed(_)) {
                return false;
            }
            let left = state.sync_at.map(|at| at.saturating_duration_since(Instant::now()));
            if !state.entries.is_empty() || state.hurry || left.is_some_and(|left| left.is_zero()) {
                return true;
            }
            if !matches!(state.phase, Phase::Open) {
                return false;
            }
            state.is_idle = true;
            state = match left {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.wake.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            state.is_idle = false;
        }
    }

    /// For the writer, which has the pen: takes all there is into `taken`, which is empty; whether it is to be synced.
    /// Errors: `Failed`; nothing may be written or synced any more (S7).
    pub(super) fn take(&self, taken: &mut VecDeque<Entry>) -> Result<bool, JournalError> {
        self.has_not_failed()?;
        let mut state = self.state();
        std::mem::swap(&mut state.entries, taken);
        Ok(std::mem::take(&mut state.hurry) || state.sync_at.is_some_and(|at| at <= Instant::now()))
    }

    /// For the writer, which has the pen: what is written is synced, or else is to be.
    pub(super) fn sync_at(&self, at: Option<Instant>) {
        let mut state = self.state();
        state.sync_at = at.map(|at| state.sync_at.map_or(at, |before| before.min(at)));
    }

    /// For the writer, at its end: what came too late (only `Close` can), to be answered.
    pub(super) fn finish(&self) -> VecDeque<Entry> {
        let mut state = self.state();
        if matches!(state.phase, Phase::Open | Phase::Closing) {
            state.phase = Phase::Closed;
        }
        std::mem::take(&mut state.entries)
    }

    /// Refuses everything from now on and returns what waits, to be told. The first cause stays.
    pub(super) fn fail(&self, cause: &str) -> VecDeque<Entry> {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Failed(_)) {
            state.phase = Phase::Failed(cause.to_owned());
        }
        let entries = std::mem::take(&mut state.entries);
        drop(state);
        self.wake.notify_one();
        entries
    }

    /// Since when the first append has been waiting.
    pub(super) fn oldest(&self) -> Option<Instant> {
        oldest(&self.state().entries)
    }

    /// Errors: `Failed`.
    pub(super) fn has_not_failed(&self) -> Result<(), JournalError> {
        match &self.state().phase {
            Phase::Failed(cause) => Err(JournalError::Failed(cause.clone())),
            Phase::Open | Phase::Closing | Phase::Closed => Ok(()),
        }
    }

    /// Why nothing is taken any more.
    pub(super) fn refusal(&self) -> JournalError {
        self.state().phase.refusal().unwrap_or(JournalError::Closed)
    }
}

/// Since when the first append of these has been waiting.
pub(super) fn oldest(entries: &VecDeque<Entry>) -> Option<Instant> {
    entries.iter().find_map(|entry| match entry {
        Entry::Append(append) => Some(append.since),
        Entry::Rotate { .. } | Entry::Close { .. } => None,
    })
}

/// Tells everyone whose entry will not be written.
pub(super) fn tell_failed(entries: &mut VecDeque<Entry>) {
    for entry in entries.drain(..) {
        if let Entry::Append(Append { sink: Some(sink), .. }) = entry {
            sink.failed();
        }
    }
}
