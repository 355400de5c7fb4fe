//! Where one of several documents of a connection puts its frames, and that the client is let in with the first of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::opening::Opening;
use crate::hub::{Charge, Delivery, FrameKind, PeerSink, Sender};
use crate::ids::{Access, Principal};
use crate::server::outbox::{Outbox, Place};
use crate::wire::close::CloseReason;
use crate::wire::dialect::Address;
use crate::wire::message::ServerMessage;

/// One document's way into the connection's outbox.
pub(super) struct DocumentSink {
    outbox: Arc<Outbox>,
    opening: Arc<Opening>,
    pub(super) place: Place,
    pub(super) address: Address,
    principal: Option<Principal>,
    sender: Sender,
    /// What the client is let in with.
    granted: Access,
    /// It was told so.
    greeted: AtomicBool,
    /// The client has left the document, or was sent out of it.
    ended: AtomicBool,
}

impl DocumentSink {
    pub(super) fn new(
        outbox: Arc<Outbox>,
        opening: Arc<Opening>,
        (place, address): (Place, Address),
        granted: Access,
        (principal, sender): (Option<Principal>, Sender),
    ) -> Self {
        let (greeted, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { outbox, opening, place, address, principal, sender, granted, greeted, ended }
    }

    /// Tells the client that it is let in, if it does not know.
    pub(super) fn greet(&self) {
        if !self.greeted.swap(true, Ordering::SeqCst) {
            self.opening.begin(&self.outbox);
            if let Some(frame) = self.address.frames(&ServerMessage::Granted(self.granted)) {
                self.outbox.deliver_for(self.place, &frame, FrameKind::Control);
            }
        }
    }

    pub(super) fn is_greeted(&self) -> bool {
        self.greeted.load(Ordering::SeqCst)
    }

    /// Takes nothing more, and drops what waits.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.outbox.forget(self.place);
    }
}

/// Tells the client at `address` that the document is not open to it. Outside of any document's place, so that it goes
/// out whatever becomes of that.
pub(super) fn deny((outbox, opening): (&Outbox, &Opening), address: &Address, reason: &'static str) {
    let denied = ServerMessage::PermissionDenied(Bytes::from_static(reason.as_bytes()));
    if let Some(frame) = address.frames(&denied) {
        opening.begin(outbox);
        outbox.deliver(&frame, FrameKind::Control);
    }
}

impl PeerSink for DocumentSink {
    fn deliver(&self, frame: &Bytes, kind: FrameKind) -> Delivery {
        if self.ended.load(Ordering::SeqCst) {
            return Delivery::Closed;
        }
        if self.is_greeted() {
            return self.outbox.deliver_for(self.place, frame, kind);
        }
        self.opening.begin(&self.outbox);
        let delivery = self.outbox.deliver_for(self.place, frame, kind);
        self.greet();
        delivery
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
            deny((&self.outbox, &self.opening), &self.address, reason.denial());
            self.outbox.note_ended(self.place);
        }
    }
}
