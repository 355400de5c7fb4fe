//! The one thread that writes: gathers what waits, writes it once, syncs it once, and only then says so (S1).
//!
//! There is no artificial delay. While a sync is under way, appends gather in the queue and make up the next group; the
//! slower the disk, the larger the groups. Any failed write or sync ends it: the kernel has marked the pages clean, so
//! a second sync would succeed and mean nothing (S7). Only for want of room a write is tried again (S9): nothing of it has
//! been synced, and nothing counts before it is.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use super::error::JournalError;
use super::prepare::Preparer;
use super::queue::{self, Append, Entry};
use super::record;
use super::segment::ActiveSegment;
use super::{DurableSink, Shared};
use crate::ids::Seq;
use crate::limits::JOURNAL_GROUP_BYTES_MAX;

pub(super) struct Writer {
    shared: Arc<Shared>,
    preparer: Preparer,
    /// None until the first record, and after a seal.
    active: Option<ActiveSegment>,
    /// Records encoded and not yet written; reused, so that a record costs no allocation here.
    group: Vec<u8>,
    group_records: u64,
    /// Appends whose last record is in `group`.
    waiting: VecDeque<Waiting>,
    /// Taken from the queue, not yet encoded.
    taken: VecDeque<Entry>,
    closers: Vec<oneshot::Sender<()>>,
}

struct Waiting {
    sink: Option<Arc<dyn DurableSink>>,
    seq: Seq,
    cost: usize,
    records: u64,
    since: Instant,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, preparer: Preparer) -> Writer {
        Writer {
            shared,
            preparer,
            active: None,
            group: Vec::new(),
            group_records: 0,
            waiting: VecDeque::new(),
            taken: VecDeque::new(),
            closers: Vec::new(),
        }
    }

    /// The life of the writer's thread.
    pub(super) fn run(mut self) {
        // A sink belongs to someone else; its panic must not leave everyone waiting for a thread that is gone.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| self.write_until_closed()));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the journal's writer panicked".to_owned()),
        };
        if let Some(cause) = &failure {
            self.shared.fail(cause);
            for waiting in self.waiting.drain(..) {
                if let Some(sink) = waiting.sink {
                    sink.failed();
                }
            }
            queue::tell_failed(&mut self.taken);
        }
        // Files first, answers last: who has waited for `close` may open the directory at once.
        self.active = None;
        self.preparer.stop(&self.shared);
        let late = self.shared.queue.finish();
        self.shared.budget.close();
        let late = late.into_iter().filter_map(|entry| match entry {
            Entry::Close { done } => Some(done),
            Entry::Append(_) | Entry::Rotate { .. } => None,
        });
        if failure.is_none() {
            for done in self.closers.into_iter().chain(late) {
                let _ = done.send(());
            }
        }
    }

    fn write_until_closed(&mut self) -> Result<(), JournalError> {
        while self.shared.queue.take(&mut self.taken) {
            self.shared.stats.writing(self.taken.iter().find_map(|entry| match entry {
                Entry::Append(append) => Some(append.since),
                Entry::Rotate { .. } | Entry::Close { .. } => None,
            }));
            while let Some(entry) = self.taken.pop_front() {
                match entry {
                    Entry::Append(append) => self.gather(append)?,
                    Entry::Rotate { done, cost } => {
                        self.commit()?;
                        self.seal()?;
                        self.shared.budget.add_permits(cost);
                        let _ = done.send(());
                    }
                    Entry::Close { done } => self.closers.push(done),
                }
            }
            self.commit()?;
            self.shared.stats.writing(None);
        }
        self.seal()
    }

    /// Encodes an append into the group. Commits on the way when the group or the segment is full.
    fn gather(&mut self, append: Append) -> Result<(), JournalError> {
        let Append { records, sink, seq, cost, since } = append;
        for record in &records {
            if let Err(error) = self.encode(record) {
                self.shared.fail(&error.to_string());
                if let Some(sink) = sink {
                    sink.failed();
                }
                return Err(error);
            }
        }
        self.waiting.push_back(Waiting { sink, seq, cost, records: records.len() as u64, since });
        Ok(())
    }

    fn encode(&mut self, record: &record::Record) -> Result<(), JournalError> {
        let len = record.encoded_len();
        if self.group.len() + len > JOURNAL_GROUP_BYTES_MAX {
            self.commit()?;
        }
        if self.active.as_ref().is_some_and(|active| !active.has_room(self.group.len(), len)) {
            self.commit()?;
            self.seal()?;
        }
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(self.preparer.take()?),
        };
        record::encode(&mut self.group, active.salt, active.group(), record);
        self.group_records += 1;
        Ok(())
    }

    /// Makes the group durable and tells those who wait for it.
    fn commit(&mut self) -> Result<(), JournalError> {
        let Some(active) = self.active.as_mut().filter(|_| !self.group.is_empty()) else {
            return Ok(());
        };
        let bytes = self.group.len() as u64;
        let mut waited = false;
        let synced_in = active.commit(&mut self.group, self.group_records, &mut |error| {
            waited = true;
            self.shared.wait_for_room(error)
        })?;
        self.shared.stats.sync.observe(synced_in);
        if waited {
            self.shared.found_room();
        }
        self.shared.bytes_pending.fetch_add(bytes, Ordering::Relaxed);
        self.group.clear();
        self.group.shrink_to(JOURNAL_GROUP_BYTES_MAX);
        self.group_records = 0;
        let now = Instant::now();
        while let Some(Waiting { sink, seq, cost, records, since }) = self.waiting.pop_front() {
            self.shared.stats.acked(records, now.saturating_duration_since(since));
            self.shared.budget.add_permits(cost);
            if let Some(sink) = sink {
                sink.durable(seq);
            }
        }
        Ok(())
    }

    /// Ends the active segment if it holds any record. Everything in it is committed.
    fn seal(&mut self) -> Result<(), JournalError> {
        if let Some(active) = self.active.take_if(|active| active.records > 0) {
            let id = active.id;
            let sealed = active.seal(&mut self.group, &mut |error| self.shared.wait_for_room(error))?;
            self.shared.shelf.put_sealed(id, sealed);
        }
        Ok(())
    }
}
