//! The segment that is written, and who waits for what is in it. The writer's thread holds it while it works; while that
//! sleeps, whoever appends may write with it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::DurableSink;
use super::error::JournalError;
use super::queue::Append;
use super::record::{self, Record};
use super::segment::{ActiveSegment, Wait, no_room};
use crate::ids::Seq;
use crate::limits::{JOURNAL_GROUP_BYTES_MAX, JOURNAL_WRITE_THROUGH_BYTES_MAX};

#[derive(Default)]
pub(super) struct Pen {
    /// None until the first record, and after a seal.
    pub(super) active: Option<ActiveSegment>,
    /// Records encoded and not yet written; reused, so that a record costs no allocation here. Empty while the writer sleeps.
    encoded: Vec<u8>,
    encoded_records: u64,
    /// Of records that are written and not synced.
    unsynced_bytes: u64,
    /// Appends whose last record is encoded or written, and not synced.
    pub(super) waiting: VecDeque<Waiting>,
}

/// Who waits for an append to become durable.
pub(super) struct Waiting {
    pub(super) sink: Option<Arc<dyn DurableSink>>,
    pub(super) seq: Seq,
    pub(super) cost: usize,
    pub(super) records: u64,
    pub(super) since: Instant,
}

impl Pen {
    /// Since when the first has been waiting.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.since)
    }

    /// Notes who waits for an append, all of which is encoded.
    pub(super) fn owe(&mut self, append: Append) {
        let Append { records, sink, seq, cost, since, lazy: _ } = append;
        self.waiting.push_back(Waiting { sink, seq, cost, records: records.len() as u64, since });
    }

    /// Bytes that are encoded and not written.
    pub(super) fn encoded_len(&self) -> usize {
        self.encoded.len()
    }

    /// Encodes a record for the active segment, which has room for it.
    pub(super) fn encode(&mut self, record: &Record) {
        let Some(active) = &self.active else { return };
        record::encode(&mut self.encoded, active.salt, active.group(), record);
        self.encoded_records += 1;
    }

    /// Writes what is encoded.
    pub(super) fn write(&mut self, wait: Wait<'_>) -> Result<(), JournalError> {
        let Some(active) = self.active.as_mut().filter(|_| !self.encoded.is_empty()) else { return Ok(()) };
        let bytes = self.encoded.len() as u64;
        active.write(&mut self.encoded, self.encoded_records, wait)?;
        self.encoded.shrink_to(JOURNAL_GROUP_BYTES_MAX);
        self.encoded_records = 0;
        self.unsynced_bytes += bytes;
        Ok(())
    }

    /// Syncs what is written, if that is anything: bytes of its records, and how long it took.
    pub(super) fn sync(&mut self) -> Result<Option<(u64, Duration)>, JournalError> {
        let Some(active) = self.active.as_mut().filter(|_| self.unsynced_bytes > 0) else { return Ok(None) };
        let took = active.sync()?;
        Ok(Some((std::mem::take(&mut self.unsynced_bytes), took)))
    }

    /// Whether an append is small and fits into the segment as it is.
    pub(super) fn has_room_for(&self, append: &Append) -> bool {
        let bytes: usize = append.records.iter().map(Record::encoded_len).sum();
        let has_room = |active: &ActiveSegment| active.records > 0 && active.has_room(0, bytes);
        bytes <= JOURNAL_WRITE_THROUGH_BYTES_MAX && self.active.as_ref().is_some_and(has_room)
    }

    /// Writes an append for which there is room. After an error nothing of it counts; only for want of room may it be
    /// tried again.
    pub(super) fn write_through(&mut self, append: &Append) -> Result<(), JournalError> {
        for record in &append.records {
            self.encode(record);
        }
        let written = self.write(&mut no_room);
        self.encoded.clear();
        self.encoded_records = 0;
        written
    }
}
