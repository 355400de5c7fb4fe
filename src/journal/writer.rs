//! The one thread that syncs: gathers what waits, writes it once, syncs it once, and only then says so (S1).
//!
//! What somebody waits for is not delayed. While a sync is under way, appends gather in the queue and make up the next
//! group; the slower the disk, the larger the groups. What nobody waits for is synced with what comes after it, at the
//! latest after [`JOURNAL_SYNC_PACE`]. While there is nothing to do here, appends are written by those who make them
//! ([`super::pen`]). Any failed write or sync ends it: the kernel has marked the pages clean, so
//! a second sync would succeed and mean nothing (S7). Only for want of room a write is tried again (S9): nothing of it has
//! been synced, and nothing counts before it is.

use std::collections::VecDeque;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Shared;
use super::error::JournalError;
use super::pen::{Pen, Waiting};
use super::prepare::Preparer;
use super::queue::{self, Append, Entry};
use super::record::Record;
use crate::limits::{JOURNAL_GROUP_BYTES_MAX, JOURNAL_SYNC_PACE};

pub(super) struct Writer {
    shared: Arc<Shared>,
    preparer: Preparer,
    /// Taken from the queue, not yet encoded.
    taken: VecDeque<Entry>,
    closers: Vec<oneshot::Sender<()>>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, preparer: Preparer) -> Writer {
        Writer { shared, preparer, taken: VecDeque::new(), closers: Vec::new() }
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
        let unsynced = {
            let mut pen = self.shared.pen();
            // Files first, answers last: who has waited for `close` may open the directory at once.
            pen.active = None;
            std::mem::take(&mut pen.waiting)
        };
        if let Some(cause) = &failure {
            let mut refused = self.shared.refuse_all(cause);
            for sink in unsynced.into_iter().filter_map(|waiting| waiting.sink) {
                sink.failed();
            }
            queue::tell_failed(&mut self.taken);
            // Who waits for `close` is among these, and finds all others told.
            queue::tell_failed(&mut refused);
        }
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
        let shared = self.shared.clone();
        while shared.queue.wait() {
            let mut pen = shared.pen();
            let mut is_due = shared.queue.take(&mut self.taken)?;
            shared.stats.writing(pen.oldest().or_else(|| queue::oldest(&self.taken)));
            while let Some(entry) = self.taken.pop_front() {
                match entry {
                    Entry::Append(append) => {
                        is_due |= !append.lazy;
                        self.gather(&mut pen, append)?;
                    }
                    Entry::Rotate { done, cost } => {
                        self.commit(&mut pen)?;
                        self.seal(&mut pen)?;
                        shared.budget.add_permits(cost);
                        let _ = done.send(());
                    }
                    Entry::Close { done } => self.closers.push(done),
                }
            }
            match is_due {
                true => self.commit(&mut pen)?,
                false => self.write(&mut pen)?,
            }
        }
        let mut pen = shared.pen();
        // Of a journal that has failed, what is written stays unacknowledged.
        shared.queue.has_not_failed()?;
        self.commit(&mut pen)?;
        self.seal(&mut pen)
    }

    /// Encodes an append. Commits on the way when there is much of it or the segment is full.
    fn gather(&self, pen: &mut Pen, append: Append) -> Result<(), JournalError> {
        let encoded = append.records.iter().try_for_each(|record| self.encode(pen, record));
        // After an error it is told with all the others.
        pen.owe(append);
        encoded
    }

    fn encode(&self, pen: &mut Pen, record: &Record) -> Result<(), JournalError> {
        let len = record.encoded_len();
        if pen.encoded_len() + len > JOURNAL_GROUP_BYTES_MAX {
            self.commit(pen)?;
        }
        if pen.active.as_ref().is_some_and(|active| !active.has_room(pen.encoded_len(), len)) {
            self.commit(pen)?;
            self.seal(pen)?;
        }
        if pen.active.is_none() {
            pen.active = Some(self.preparer.take()?);
        }
        pen.encode(record);
        Ok(())
    }

    /// Writes what is encoded, waiting for room on the disk if there is none.
    fn write_patiently(&self, pen: &mut Pen) -> Result<(), JournalError> {
        let mut waited = false;
        pen.write(&mut |error| {
            waited = true;
            self.shared.wait_for_room(error)
        })?;
        if waited {
            self.shared.found_room();
        }
        Ok(())
    }

    /// Writes what is encoded, to be synced soon.
    fn write(&self, pen: &mut Pen) -> Result<(), JournalError> {
        self.write_patiently(pen)?;
        if pen.oldest().is_some() {
            self.shared.queue.sync_at(Some(Instant::now() + JOURNAL_SYNC_PACE));
        }
        Ok(())
    }

    /// Makes the group durable and tells those who wait for it.
    fn commit(&self, pen: &mut Pen) -> Result<(), JournalError> {
        self.write_patiently(pen)?;
        self.shared.queue.sync_at(None);
        let Some((bytes, took)) = pen.sync()? else { return Ok(()) };
        self.shared.stats.sync.observe(took);
        self.shared.bytes_pending.fetch_add(bytes, Ordering::Relaxed);
        let now = Instant::now();
        while let Some(Waiting { sink, seq, cost, records, since }) = pen.waiting.pop_front() {
            self.shared.stats.acked(records, now.saturating_duration_since(since));
            self.shared.budget.add_permits(cost);
            if let Some(sink) = sink {
                sink.durable(seq);
            }
        }
        self.shared.stats.writing(queue::oldest(&self.taken));
        Ok(())
    }

    /// Ends the active segment if it holds any record. Everything in it is committed.
    fn seal(&self, pen: &mut Pen) -> Result<(), JournalError> {
        if let Some(active) = pen.active.take_if(|active| active.records > 0) {
            let id = active.id;
            let sealed = active.seal(&mut |error| self.shared.wait_for_room(error))?;
            self.shared.shelf.put_sealed(id, sealed);
        }
        Ok(())
    }
}
