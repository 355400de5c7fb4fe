//! Deleting a document, and what its task does afterwards: turn everybody away until nobody comes, or until an admin's
//! import makes the document anew.
//!
//! The deletion is a record of the document like any other: what was accepted before it goes with it, and nothing can be
//! accepted after it but imports. Its task stays until the store has the tombstone, so whoever comes later finds that, and
//! as long as any document does, so that clients that come again and again cost nothing but an answer.

use std::time::Instant;

use tokio::time::sleep_until;
use tracing::{info, warn};

use super::addresses::Addresses;
use super::checkpoint::now_ms;
use super::mailbox::{Batch, Import, Mail, Reply};
use super::task::{End, Task};
use super::{DeleteReport, HubError};
use crate::ids::{DocName, Seq};
use crate::journal::Record;
use crate::replica::Replica;
use crate::store::DocHead;
use crate::wire::close::CloseReason;

/// What is left of a deleted document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tombstone {
    /// Position of the deletion.
    seq: Seq,
    /// When, milliseconds since 1970.
    at_ms: u64,
}

impl Tombstone {
    /// The one in a catalogue entry; none of a live document.
    pub(super) fn of(head: &DocHead) -> Option<Self> {
        head.deleted_ms.map(|at_ms| Self { seq: head.last_seq, at_ms })
    }

    fn error(self, doc: &DocName) -> HubError {
        HubError::Deleted { doc: doc.clone(), deleted_ms: self.at_ms }
    }
}

impl Task {
    /// Deletes a document that nobody has woken yet without reading it, so that also a damaged one can be deleted.
    pub(super) async fn delete_unread(&mut self) -> Option<Tombstone> {
        let reply = self.mailbox.take_deletion()?;
        let doc = self.mailbox.doc.clone();
        match self.hub.in_store(move |store| store.head(&doc)).await {
            Ok(head) => {
                let head = head.unwrap_or_default();
                match Tombstone::of(&head) {
                    Some(tombstone) => {
                        let _ = reply.send(Err(tombstone.error(&self.mailbox.doc)));
                        Some(tombstone)
                    }
                    None => self.delete(head.last_seq, reply).await,
                }
            }
            Err(error) => {
                let _ = reply.send(Err(error));
                None
            }
        }
    }

    /// Makes the deletion durable, then tells everybody. `None`, and the admin told, when storage fails.
    pub(super) async fn delete(&mut self, last_seq: Seq, reply: Reply<DeleteReport>) -> Option<Tombstone> {
        let tombstone = Tombstone { seq: last_seq.next(), at_ms: now_ms() };
        // The journal may still be sound, but a store that has failed would never come to know of it (S7).
        if self.hub.storage_has_failed() || !self.record(tombstone).await {
            let _ = reply.send(Err(self.hub.storage_error()));
            return None;
        }
        self.durable_seen = tombstone.seq;
        // All that was imported before is durable by now; it was saved, and then it was deleted.
        self.settle_imports();
        let name = self.mailbox.doc.clone();
        let report = DeleteReport { name, deleted_ms: tombstone.at_ms, peers: self.peers.len() as u64 };
        info!(doc = ?report.name, peers = report.peers, "document deleted");
        for (_, peer) in std::mem::take(&mut self.peers) {
            peer.sink.close(CloseReason::Deleted);
        }
        self.addresses = Addresses::default();
        self.mailbox.note_peers(0);
        let _ = reply.send(Ok(report));
        Some(tombstone)
    }

    /// Appends the deletion to the journal and waits until it is on disk.
    async fn record(&mut self, tombstone: Tombstone) -> bool {
        let is_recorded = self.record_alone(tombstone).await;
        // Mail that came meanwhile has announced itself, and was left where it is.
        self.mailbox.announce();
        is_recorded
    }

    async fn record_alone(&mut self, tombstone: Tombstone) -> bool {
        let record = Record::deleted(self.mailbox.doc.clone(), tombstone.seq, tombstone.at_ms);
        let appended = self.hub.journal.append(vec![record], Some(self.mailbox.clone())).await;
        self.unsaved_since = Some(self.hub.checkpoints.begun());
        if let Err(error) = appended {
            warn!(doc = ?self.mailbox.doc, %error, "not deleted");
            return false;
        }
        loop {
            if self.mailbox.durable(true) >= tombstone.seq {
                return true;
            }
            if self.mailbox.storage_failed() {
                return false;
            }
            self.mailbox.arrival().await;
        }
    }

    /// Turns everybody away but imports.
    pub(super) async fn stay_deleted(&mut self, tombstone: Tombstone, mut batch: Batch) -> End {
        self.pending.are(0);
        let deleted = tombstone.error(&self.mailbox.doc);
        let mut checkpoints = self.hub.checkpoints.watch();
        loop {
            if !batch.mail.is_empty() {
                self.idle_since = Instant::now();
            }
            let mut mail = std::mem::take(&mut batch.mail).into_iter().peekable();
            while let Some(next) = mail.next() {
                match next {
                    Mail::Stop(stopping) => self.stopping.push(stopping),
                    Mail::Import(_, Import::Anyway, _) => {
                        // A turn of their own: were anything else in it, that could seem to make the document anew.
                        batch.mail.push(next);
                        while let Some(import) = mail.next_if(|mail| matches!(mail, Mail::Import(_, Import::Anyway, _)))
                        {
                            batch.mail.push(import);
                        }
                        if let Some(replica) = self.recreate(tombstone, &mut batch).await {
                            batch.mail.clear();
                            batch.mail.extend(mail);
                            return End::Recreated(Box::new(replica), batch);
                        }
                    }
                    other => other.turn_away(&deleted),
                }
            }
            let spare = self.mailbox.done(batch);
            if !self.stopping.is_empty() {
                return End::Stopped;
            }
            if self.may_sleep() && self.hub.forget_if_empty(&self.mailbox) {
                return End::Asleep;
            }
            let deadline = self.idle_deadline();
            let overdue = deadline <= Instant::now();
            tokio::select! {
                () = self.mailbox.arrival() => {}
                // Nothing but a checkpoint keeps it awake.
                _ = checkpoints.changed(), if overdue => {}
                () = sleep_until(deadline.into()), if !overdue => {}
            }
            batch = self.mailbox.take(spare);
        }
    }

    /// The document made anew from the imports in `batch`; `None` if they bring nothing, are refused, or cannot be kept.
    async fn recreate(&mut self, tombstone: Tombstone, batch: &mut Batch) -> Option<Replica> {
        let mut replica = Replica::load([&[][..]; 0], tombstone.seq).ok()?.bounded(self.hub.options.size_max);
        self.recreating = true;
        self.turn(&mut replica, batch).await;
        self.recreating = false;
        let is_new = replica.last_seq() > tombstone.seq && !self.mailbox.storage_failed();
        if is_new {
            info!(doc = ?self.mailbox.doc, "document made anew after its deletion");
        }
        is_new.then_some(replica)
    }
}
