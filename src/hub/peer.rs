//! The two sides of one peer in one document: what the document says to it, and what it says to the document.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::mailbox::{Mail, Mailbox};
use super::{HubError, Sender};
use crate::ids::{Access, PeerId, Principal};
use crate::replica::Backlog;
use crate::wire::close::CloseReason;
use crate::wire::message::ClientMessage;

/// What kind of frame it is, which decides what may be dropped when a reader is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// Document content that a later diff can replace.
    Document,
    /// Presence; a later full presence message can replace it.
    Awareness,
    /// Small and irreplaceable: SyncStep1, acks. Never dropped; bounded by what the peer itself sent.
    Control,
    /// A whole answer (SyncStep2, a catch-up diff). Accepted even when larger than the bound, since nothing smaller can
    /// replace it; while it is queued nothing else of the document is.
    Answer,
    /// A part of an answer, taken whatever waits. When all has left, [`PeerHandle::caught_up`] is to say so, upon which
    /// the next one comes: so at most one waits.
    Portion,
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Written or queued.
    Taken,
    /// The bound was reached: this frame and every queued document or awareness frame that had not begun were dropped, of
    /// whatever document. The peer is behind until it reports [`PeerHandle::caught_up`].
    Behind,
    /// The connection is gone.
    Closed,
}

/// What a peer's messages of one turn cost the document.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// Its share of the time that a processor was busy with the turn, by bytes.
    pub cpu: Duration,
    /// Structs in its updates.
    pub structs: u64,
    /// How often it asked for what it misses.
    pub questions: u32,
}

/// Where a peer's frames go; implemented by the connection's outbox. Called from the document's task: never blocks.
pub trait PeerSink: Send + Sync + 'static {
    /// Takes complete WebSocket frames (header included, as built by `wire::frame`), shared between peers; as a rule one.
    fn deliver(&self, frame: &Bytes, kind: FrameKind) -> Delivery;
    /// Whether everything taken so far has left for the kernel.
    fn is_idle(&self) -> bool;
    /// Says that a write of this peer was refused, so that nothing it sends will be taken any more. Ends the connection
    /// with `reason`, unless its dialect has a better way.
    fn refuse(&self, reason: CloseReason) {
        self.close(reason);
    }
    /// Who it is whose frames these are, if that can be told.
    fn principal(&self) -> Option<Principal> {
        None
    }
    /// The same for people, should something that it sent turn out to do harm.
    fn sender(&self) -> Sender {
        Sender::Unknown
    }
    /// Says what it has cost so far, for those who see to it that nobody costs too much.
    fn charge(&self, _charge: Charge) {}
    /// Asks the connection to send a close frame with this reason after what is queued, and to end; or, where it has other
    /// documents and the reason is about this one, to deny it this one.
    fn close(&self, reason: CloseReason);
}

/// A session's hold on a document. Dropping it leaves the document, which clears the peer's presence.
pub struct PeerHandle {
    pub(super) id: PeerId,
    pub(super) mailbox: Arc<Mailbox>,
}

impl PeerHandle {
    /// Hands a validated message to the document's task. Waits while the document's inbox is full, which is how
    /// back-pressure reaches the socket. Copies the payload; the frame may be reused afterwards.
    ///
    /// # Errors
    /// [`HubError::Reloading`] when the document's task ended; the session should close with [`CloseReason::Reload`].
    pub async fn send(&self, message: ClientMessage<'_>) -> Result<(), HubError> {
        self.mailbox.send(self.id, message).await.map_err(|_| HubError::Reloading(self.mailbox.doc.clone()))
    }

    /// Says that the outbox has drained after [`Delivery::Behind`], which the document answers with one diff, or after a
    /// [`FrameKind::Portion`], upon which it sends the next. `lost` says so of document frames that were dropped for another
    /// document's sake, of which this one does not know.
    pub fn caught_up(&self, lost: bool) {
        // Should the task have ended, the session is being closed anyway.
        let _ = self.mailbox.post(Mail::CaughtUp(self.id, lost));
    }

    /// From now on the peer may do this much.
    pub fn set_access(&self, access: Access) {
        let _ = self.mailbox.post(Mail::Access(self.id, access));
    }

    /// The peer has said something too large to be taken: its writes are refused from now on.
    pub fn said_too_much(&self) {
        let _ = self.mailbox.post(Mail::Unacceptable(self.id));
    }

    /// The peer has come so far with what it kept while it was away.
    pub fn note_backlog(&self, backlog: Backlog) {
        let _ = self.mailbox.post(Mail::Backlog(self.id, backlog));
    }
}

impl Drop for PeerHandle {
    fn drop(&mut self) {
        let _ = self.mailbox.post(Mail::Leave(self.id));
    }
}
