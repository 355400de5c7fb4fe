//! What the functions are given: the large text, and keystrokes in it.

use bytes::Bytes;
use crdt_tests::load::text::{self, History};
use weft::ids::Seq;
use weft::replica::Replica;

/// How many edits the returning client misses.
const MISSED: u32 = 100;

/// Made once.
pub struct Inputs {
    /// The history of the text.
    pub history: History,
    /// Keystrokes all over it, by somebody who has it.
    pub edits: Vec<Vec<u8>>,
}

impl Inputs {
    /// Where the paper is absent, our own text stands in for it.
    pub fn new() -> Self {
        let history = text::history(usize::MAX);
        let mut hand = text::insider(&history, 2_000_000_011);
        let edits = (0..MISSED).map(&mut hand).collect();
        Self { history, edits }
    }

    /// A replica with the text and the edits.
    pub fn replica(&self) -> Replica {
        let updates = std::iter::once(&self.history.state).chain(&self.edits).map(Vec::as_slice);
        Replica::load(updates, Seq(1 + u64::from(MISSED))).expect("a document")
    }

    /// One edit, as a turn hands it on.
    pub fn update(&self) -> Bytes {
        Bytes::copy_from_slice(&self.edits[0])
    }
}
