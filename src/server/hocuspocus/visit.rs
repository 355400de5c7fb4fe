//! A client's stay at one address: what it says before it is let in, and what it holds once it is.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::sink::DocumentSink;

/// How far a client has come with one document.
pub(super) enum Visit<P> {
    /// It has said something and no token has come.
    Waiting(Waiting),
    /// It is in.
    Joined(Joined<P>),
    /// It was turned away. What it says is passed over until it sends another token or leaves (WIRE h5, h9).
    Denied,
}

/// What waits for a token (WIRE h1). Nothing of the document is touched meanwhile.
pub(super) struct Waiting {
    /// When it is denied.
    pub(super) until: Instant,
    /// Whole frames, in order. Bounded over all documents of the connection.
    pub(super) frames: Vec<Box<[u8]>>,
}

/// A place in a document.
pub(super) struct Joined<P> {
    pub(super) peer: Arc<P>,
    pub(super) sink: Arc<DocumentSink>,
    /// When it is told of being let in, if the document has said nothing by then.
    pub(super) greet_by: Option<Instant>,
    /// When its token has expired.
    pub(super) ends: Option<SystemTime>,
    /// It was asked for another token, and that one has not come yet.
    pub(super) asked: bool,
    /// Messages of it that were too large.
    pub(super) oversized: u32,
}

impl<P> Drop for Joined<P> {
    /// Whatever the hub has still to say to it, nobody at this address is to hear (WIRE h6).
    fn drop(&mut self) {
        self.sink.end();
    }
}

/// What waits for tokens on one connection.
#[derive(Debug, Default)]
pub(super) struct Load {
    pub(super) bytes: usize,
    pub(super) messages: usize,
}

impl Load {
    pub(super) fn add(&mut self, frame: &[u8]) {
        self.bytes += frame.len();
        self.messages += 1;
    }

    pub(super) fn remove(&mut self, frames: &[Box<[u8]>]) {
        self.bytes -= frames.iter().map(|frame| frame.len()).sum::<usize>();
        self.messages -= frames.len();
    }
}
