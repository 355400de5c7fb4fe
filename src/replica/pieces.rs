//! A very large update, cut into updates that can be taken, logged and shown one after the other.
//!
//! What an admin brings may be a whole document that grew elsewhere, larger than any message and any record of the
//! journal. Its pieces come in an order of causes, so that each one can be integrated when those before it have been, and
//! whoever stops in the middle has a state that its authors could have seen, except for deletes, which come last. Merging
//! all of them is merging the update.

use std::collections::{BTreeMap, VecDeque};

use super::order::{Order, Rows, Source, is_divisible};
use crate::ids::{ClientId, Clock};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::wire::WireError;
use crate::wire::update::{Builder, Section, Walker};

/// Why an update cannot be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// It was not validated.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// One indivisible value is too large for any message.
    #[error("a single value of {bytes} bytes is in it; at most {max} are allowed")]
    ValueTooLarge {
        /// Its size.
        bytes: usize,
        /// The most there may be.
        max: usize,
    },
}

/// The pieces of one update, made when they are asked for.
pub struct Pieces<'a> {
    /// Size at which a piece is done, bytes.
    bytes: usize,
    order: Order,
    rows: Rows<'a, Sections<'a>>,
    /// The deletes, until they are cut.
    deletes: Option<Walker<'a>>,
    delete_pieces: VecDeque<Vec<u8>>,
}

/// The structs of each client and their first tick.
struct Sections<'a>(BTreeMap<ClientId, (Clock, &'a [u8])>);

impl<'a> Source<'a> for Sections<'a> {
    fn rows(&self, client: ClientId, _: Clock) -> Option<(Clock, &'a [u8])> {
        self.0.get(&client).copied()
    }
}

impl<'a> Pieces<'a> {
    /// Cuts `update`, which was validated, at about `bytes`. Reads it once; nothing is copied yet.
    ///
    /// # Errors
    /// [`CutError::ValueTooLarge`] when some piece would be larger than [`MESSAGE_BYTES_MAX`].
    pub fn new(update: &'a [u8], bytes: usize) -> Result<Self, CutError> {
        let (mut walker, count) = Walker::new(update)?;
        let (mut sections, mut order) = (BTreeMap::new(), Order::default());
        for _ in 0..count {
            let Section { client, clock: first, structs } = walker.section()?;
            let (start, mut end) = (walker.position(), first);
            for _ in 0..structs {
                let item = walker.next(client, end)?;
                let size = item.to - item.from;
                // Room for the head of a section, and for what the piece holds already.
                let max = MESSAGE_BYTES_MAX - bytes.min(MESSAGE_BYTES_MAX / 2) - 64;
                if size > max && !is_divisible(&item) {
                    return Err(CutError::ValueTooLarge { bytes: size, max });
                }
                end = item.end();
            }
            sections.insert(client, (first, update.get(start..walker.position()).unwrap_or_default()));
            order.extend(client, first, end);
        }
        let rows = Rows::new(Sections(sections));
        Ok(Self { bytes, order, rows, deletes: Some(walker), delete_pieces: VecDeque::new() })
    }

    /// The next piece; `None` when there are no more.
    ///
    /// # Errors
    /// Only when the update was not validated.
    pub fn next_piece(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        if let Some(piece) = self.order.next_piece(&mut self.rows, self.bytes)? {
            return Ok(Some(piece.update));
        }
        if let Some(deletes) = self.deletes.take() {
            self.delete_pieces = cut_deletes(deletes, self.bytes)?;
        }
        Ok(self.delete_pieces.pop_front())
    }
}

/// Updates of about `bytes` bytes that delete together what the delete set does at which `walker` stands.
///
/// # Errors
/// Only when it was not validated.
pub fn cut_deletes(mut walker: Walker<'_>, bytes: usize) -> Result<VecDeque<Vec<u8>>, WireError> {
    /// A client, a clock and a length, at most.
    const RANGE_BYTES: usize = 18;
    let ranges_max = (bytes / RANGE_BYTES).max(1);
    let (mut piece, mut ranges, mut pieces) = (Builder::default(), 0, VecDeque::new());
    walker.delete_set(|client, from, to| {
        piece.delete(client, from, to);
        ranges += 1;
        if ranges == ranges_max {
            ranges = 0;
            pieces.push_back(std::mem::take(&mut piece).finish());
        }
    })?;
    if !piece.is_empty() {
        pieces.push_back(piece.finish());
    }
    Ok(pieces)
}
