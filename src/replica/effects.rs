//! What a document wants done. The hub carries it out in the order of the fields.

use std::time::Instant;

use bytes::Bytes;

use crate::ids::{PeerId, Seq};
use crate::wire::close::CloseReason;
use crate::wire::message::ServerMessage;

/// How a message to one peer may be treated when that peer reads slowly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// Small and irreplaceable.
    Control,
    /// Presence; a later message says it again.
    Presence,
    /// A whole answer; nothing smaller can replace it.
    Answer,
    /// A part of an answer. When it has left for the socket, [`super::Event::CaughtUp`] asks for the next.
    Portion,
}

/// The result of one turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be appended to the journal, first of all: positions are dense and follow the last ones.
    pub append: Vec<(Seq, Bytes)>,
    /// Peers that had a part in that.
    pub senders: Vec<PeerId>,
    /// One update to every peer in [`super::Replica::audience`] except the one named, which sent all of it.
    pub broadcast: Option<(Bytes, Option<PeerId>)>,
    /// One awareness message to every peer that has joined, including those whose presence it is (WIRE h12).
    pub presence: Option<Bytes>,
    /// Messages to single peers, in order.
    pub send: Vec<(PeerId, ServerMessage, Weight)>,
    /// Fates of [`super::Event::Offered`] updates: bytes accepted, bytes parked, or the error.
    pub offered: Vec<(u64, Offered)>,
    /// Peers to be disconnected.
    pub close: Vec<(PeerId, CloseReason)>,
    /// When to come back with [`super::Event::Timer`], if nothing else happens before.
    pub wake_at: Option<Instant>,
    /// What became of the updates.
    pub tally: Tally,
}

/// What became of the updates of a turn, by number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// They brought something new.
    pub applied: u32,
    /// Bytes of those.
    pub applied_bytes: u64,
    /// They brought nothing new.
    pub known: u32,
    /// They wait for a missing one, all or part of them.
    pub parked: u32,
    /// Nothing may be written now, or not by this peer.
    pub refused_read_only: u32,
    /// There is no room for another one that waits, or in the document.
    pub refused_limit: u32,
    /// Of those: in the document.
    pub refused_size: u32,
    /// They cannot be integrated.
    pub malformed: u32,
}

/// What became of an offered update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// The position that must be durable before it can be called saved.
    pub seq: Seq,
    /// Bytes of new content.
    pub accepted_bytes: usize,
    /// Bytes that wait for a missing update.
    pub parked_bytes: usize,
    /// It was refused.
    pub refused: Option<&'static str>,
}
