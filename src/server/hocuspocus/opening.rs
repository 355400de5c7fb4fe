//! How a connection begins, so that it can be told what its client made before and what after it came.
//!
//! A provider that is back begins to sync at once. What it made while it was away it sends upon the first frame that it
//! hears, behind its SyncStep1 and behind what was made meanwhile; that, it counts, and what it had kept, it does not
//! (WIRE h4). Updates of deletions alone look the same either way. So a ping goes out ahead of the first frame: what comes
//! before its pong was made just now. And the first frame is a question, where the document can ask one soon enough: behind
//! the answer nothing comes that was kept.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::server::outbox::Outbox;

/// A ping that no other is like.
static PING_FRAME: Bytes = Bytes::from_static(b"\x89\x04open");

/// Whether a connection has been told anything.
#[derive(Debug, Default)]
pub(super) struct Opening(Mutex<bool>);

impl Opening {
    /// Whether this is what comes back of the ping.
    pub(super) fn is_pong(payload: &[u8]) -> bool {
        PING_FRAME.ends_with(payload) && payload.len() + 2 == PING_FRAME.len()
    }

    /// To be called ahead of each frame that may be the first one.
    pub(super) fn begin(&self, outbox: &Outbox) {
        let mut has_begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *has_begun, true) {
            outbox.deliver_quietly(&PING_FRAME);
        }
    }

    pub(super) fn has_begun(&self) -> bool {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
