//! Where one of several documents of a connection puts its frames.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::hub::{Charge, Delivery, FrameKind, PeerSink, Sender};
use crate::ids::Principal;
use crate::server::outbox::{Outbox, Place};
use crate::wire::close::CloseReason;
use crate::wire::dialect::Address;
use crate::wire::message::ServerMessage;

/// One document's way into the connection's outbox.
pub(super) struct DocumentSink {
    outbox: Arc<Outbox>,
    pub(super) place: Place,
    pub(super) address: Address,
    principal: Option<Principal>,
    sender: Sender,
    /// The client has left the document, or was sent out of it.
    ended: AtomicBool,
}

impl DocumentSink {
    pub(super) fn new(
        outbox: Arc<Outbox>,
        place: Place,
        address: Address,
        (principal, sender): (Option<Principal>, Sender),
    ) -> Self {
        Self { outbox, place, address, principal, sender, ended: AtomicBool::new(false) }
    }

    /// Takes nothing more, and drops what waits.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.outbox.forget(self.place);
    }
}

/// Tells the client at `address` that the document is not open to it. Outside of any document's place, so that it goes
/// out whatever becomes of that.
pub(super) fn deny(outbox: &Outbox, address: &Address, reason: &'static str) {
    let denied = ServerMessage::PermissionDenied(Bytes::from_static(reason.as_bytes()));
    if let Some(frame) = address.frames(&denied) {
        outbox.deliver(&frame, FrameKind::Control);
    }
}

impl PeerSink for DocumentSink {
    fn deliver(&self, frame: &Bytes, kind: FrameKind) -> Delivery {
        if self.ended.load(Ordering::SeqCst) {
            return Delivery::Closed;
        }
        self.outbox.deliver_for(self.place, frame, kind)
    }

    fn is_idle(&self) -> bool {
        self.outbox.is_idle()
    }

    fn principal(&self) -> Option<Principal> {
        self.principal
    }

    fn sender(&self) -> Sender {
        self.sender.clone()
    }

    fn charge(&self, charge: Charge) {
        self.outbox.charge(charge);
    }

    fn close(&self, reason: CloseReason) {
        if !reason.is_of_document() {
            return self.outbox.close(reason);
        }
        if !self.ended.swap(true, Ordering::SeqCst) {
            deny(&self.outbox, &self.address, reason.denial());
            self.outbox.note_ended(self.place);
        }
    }
}
