//! What can happen to a document.

use super::peers::Backlog;
use crate::ids::{Access, PeerId, Principal, Seq};
use crate::wire::dialect::Dialect;
use crate::wire::message::ClientMessage;

/// Everything that can happen to a document, as a complete list.
#[derive(Debug, Clone, Copy)]
pub enum Event<'a> {
    /// A peer came, may do this much, and speaks this.
    Joined(PeerId, Access, Dialect),
    /// A peer that came turns out to be this one.
    Principal(PeerId, Principal),
    /// A peer may do this much from now on.
    Access(PeerId, Access),
    /// A peer has said something larger than any message may be, of which nothing is left; or something that was taken and
    /// turned out to break whoever integrates it.
    Unacceptable(PeerId),
    /// A peer's connection ended.
    Left(PeerId),
    /// A peer said something; its payload is validated.
    Message(PeerId, ClientMessage<'a>),
    /// A peer that came asked for everything, and was sent what the document was loaded from, before it was. Nothing was added
    /// to the document before this.
    Answered(PeerId),
    /// A peer has come so far with what it kept while it was away; never back.
    Backlog(PeerId, Backlog),
    /// A peer's outbox was full and dropped document frames.
    FellBehind(PeerId),
    /// That peer's outbox has drained; or a [`super::Weight::Portion`] has left it. `lost` says that document frames of it
    /// were dropped, for the sake of another document perhaps.
    CaughtUp {
        /// Whose.
        peer: PeerId,
        /// And nothing that was sent since has made up for it.
        lost: bool,
    },
    /// All that a peer was sent in earlier turns had left for its socket when this turn began.
    Flushed(PeerId),
    /// Log records up to this position are on disk.
    Durable(Seq),
    /// The journal failed (S7): nothing more can become durable.
    StorageFailed,
    /// The disk is full, or no longer: nothing new is taken meanwhile (S9).
    DiskFull(bool),
    /// An update from an admin or from a file; its fate is reported under the number given.
    Offered(u64, &'a [u8]),
    /// The same from somebody whose writes are bounded, though it is no peer.
    Contributed(u64, &'a [u8]),
    /// The document is to exist, if only empty; its fate is reported under the number given.
    Created(u64),
    /// The time asked for by [`super::Effects::wake_at`] has come.
    Timer,
}

impl Event<'_> {
    /// Bytes that came with it.
    pub fn bytes(&self) -> usize {
        match self {
            Event::Message(_, message) => message.payload().len(),
            Event::Offered(_, update) | Event::Contributed(_, update) => update.len(),
            Event::Joined(..)
            | Event::Left(_)
            | Event::Answered(_)
            | Event::Backlog(..)
            | Event::FellBehind(_)
            | Event::Principal(..)
            | Event::Access(..)
            | Event::Unacceptable(_)
            | Event::CaughtUp { .. }
            | Event::Flushed(_)
            | Event::Durable(_)
            | Event::StorageFailed
            | Event::DiskFull(_)
            | Event::Created(_)
            | Event::Timer => 0,
        }
    }
}
