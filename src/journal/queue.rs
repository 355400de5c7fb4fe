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
}

impl Queue {
    pub(super) fn new() -> Queue {
        let state = State { entries: VecDeque::new(), phase: Phase::Open, is_idle: false };
        Queue { state: Mutex::new(state), wake: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push_into(&self, mut state: MutexGuard<'_, State>, entry: Entry) {
        state.entries.push_back(entry);
        let wake = std::mem::take(&mut state.is_idle);
        drop(state);
        if wake {
            self.wake.notify_one();
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

    /// For the writer: waits and takes all there is into `taken`, which is empty. False when there will be no more.
    pub(super) fn take(&self, taken: &mut VecDeque<Entry>) -> bool {
        let mut state = self.state();
        loop {
            if !state.entries.is_empty() {
                std::mem::swap(&mut state.entries, taken);
                return true;
            }
            if !matches!(state.phase, Phase::Open) {
                return false;
            }
            state.is_idle = true;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
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
        self.state().entries.iter().find_map(|entry| match entry {
            Entry::Append(append) => Some(append.since),
            Entry::Rotate { .. } | Entry::Close { .. } => None,
        })
    }

    /// Why nothing is taken any more.
    pub(super) fn refusal(&self) -> JournalError {
        self.state().phase.refusal().unwrap_or(JournalError::Closed)
    }
}

/// Tells everyone whose entry will not be written.
pub(super) fn tell_failed(entries: &mut VecDeque<Entry>) {
    for entry in entries.drain(..) {
        if let Entry::Append(Append { sink: Some(sink), .. }) = entry {
            sink.failed();
        }
    }
}
