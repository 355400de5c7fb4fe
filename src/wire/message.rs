//! Messages as the rooms inside speak of them, whatever the dialect they came in or go out by.

use bytes::Bytes;

use crate::ids::Access;

/// What a client asks or tells, borrowed from its frame. Every payload has passed its validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// "This is what I know; what am I missing?" Carries a state vector.
    SyncStep1(&'a [u8]),
    /// The answer to our SyncStep1. Carries an update.
    SyncStep2(&'a [u8]),
    /// A change. Carries an update.
    Update(&'a [u8]),
    /// Presence of one or more clients, in y-protocols' awareness encoding.
    Awareness(&'a [u8]),
    /// "Send me everybody's presence."
    QueryAwareness,
    /// "Tell me when all I sent before is durable", answered with the same bytes (message 102, WIRE §2).
    AckRequest(&'a [u8]),
}

impl<'a> ClientMessage<'a> {
    /// What it carries.
    pub fn payload(&self) -> &'a [u8] {
        match self {
            ClientMessage::SyncStep1(payload)
            | ClientMessage::SyncStep2(payload)
            | ClientMessage::Update(payload)
            | ClientMessage::Awareness(payload)
            | ClientMessage::AckRequest(payload) => payload,
            ClientMessage::QueryAwareness => &[],
        }
    }
}

/// What the server tells a peer. Payloads are shared, never copied per peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// "This is what I know; send what I am missing." Carries a state vector.
    SyncStep1(Bytes),
    /// The answer to a SyncStep1: the only thing that makes a client `synced` (WIRE §1). Carries an update.
    SyncStep2(Bytes),
    /// A change. Carries an update.
    Update(Bytes),
    /// Presence, in y-protocols' awareness encoding.
    Awareness(Bytes),
    /// "Send whose presence you know." Only to Hocuspocus clients: others announce themselves anew unasked (WIRE g10, g12).
    QueryAwareness,
    /// Everything before the matching [`ClientMessage::AckRequest`] is durable. Carries its bytes.
    Ack(Bytes),
    /// Access is refused, with a reason for people (y-websocket only warns, WIRE §1).
    PermissionDenied(Bytes),
    /// Access is granted, and this much of it. Only Hocuspocus clients are told.
    Granted(Access),
    /// "Your token is about to expire; send another one." Only to Hocuspocus clients.
    TokenWanted,
    /// So many writes are durable, in the order in which they came (WIRE h4). Only to Hocuspocus clients.
    Confirmed(u32),
    /// A write was refused. Only Hocuspocus clients are told.
    Refused,
    /// A text from an application's server to its clients. Only to Hocuspocus clients.
    Stateless(Bytes),
}
