//! What one turn gathers: everything that was waiting, whose edits become one record and one frame.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::effects::Offered;
use super::gate::Gated;
use super::nesting::Nesting;
use crate::ids::{ClientId, Clock, PeerId};
use crate::limits::CHUNK_BYTES;
use crate::wire::update::{Builder, Id};

/// What one turn has gathered before it is integrated.
#[derive(Default)]
pub(super) struct Turn<'a> {
    /// The only update so far, if it can be used as it is.
    pub(super) one: Option<(&'a [u8], Gated<'a>)>,
    pub(super) many: Builder,
    pub(super) senders: Vec<PeerId>,
    pub(super) parked: Vec<Bytes>,
    /// Ticks that became known, whose arrival may let parked updates go on.
    pub(super) advanced: Vec<(ClientId, Clock)>,
    /// Something in it did not come from one of the senders.
    pub(super) freed: bool,
    pub(super) asks: Vec<(PeerId, &'a [u8])>,
    /// Who may have written something that wants to be confirmed.
    pub(super) confirming: BTreeSet<PeerId>,
    pub(super) acks: Vec<(PeerId, Bytes)>,
    pub(super) returned: Vec<PeerId>,
    pub(super) offered: Vec<(u64, Offered)>,
    /// The document is to exist afterwards.
    pub(super) creates: bool,
}

impl<'a> Turn<'a> {
    /// Takes over what the gate made of `update`, which `nesting` knows.
    pub(super) fn add(&mut self, update: &'a [u8], gated: Gated<'a>, nesting: &Nesting) {
        if gated.is_empty() {
            return;
        }
        if gated.whole && self.one.is_none() && self.many.is_empty() {
            self.one = Some((update, gated));
            return;
        }
        self.spill(nesting);
        add_to(&mut self.many, &gated, nesting);
    }

    /// Moves the only update in with the others.
    fn spill(&mut self, nesting: &Nesting) {
        if let Some((_, gated)) = self.one.take() {
            add_to(&mut self.many, &gated, nesting);
        }
    }

    /// Takes over the content of a turn that lived shorter. What it parked again is the caller's concern.
    pub(super) fn absorb(&mut self, other: Turn<'_>, nesting: &Nesting) {
        self.freed = true;
        self.spill(nesting);
        if let Some((_, gated)) = &other.one {
            add_to(&mut self.many, gated, nesting);
        }
        self.many.append(other.many);
    }

    /// The turn's content as one update; `None` when there is none.
    pub(super) fn merged(&mut self) -> Option<Bytes> {
        if let Some((update, _)) = self.one.take() {
            return Some(Bytes::copy_from_slice(update));
        }
        let many = std::mem::take(&mut self.many);
        (!many.is_empty()).then(|| many.finish().into())
    }
}

/// What was typed in one turn goes on as one struct: fewer for the log, for everybody who hears of it, and for who reads it
/// again.
fn add_to(builder: &mut Builder, gated: &Gated<'_>, nesting: &Nesting) {
    for run in &gated.runs {
        let (client, head, rest) = (run.client, &run.head[..], run.rest);
        let may_be_keyed = |clock| nesting.may_be_keyed(Id { client, clock });
        // Where many structs are known not to be joined, none is looked at.
        if run.parts.is_some() || !head.is_empty() {
            builder.structs(client, run.from, run.structs, &[head, rest]);
        } else if builder.join(client, run.from, rest, CHUNK_BYTES, may_be_keyed).is_err() {
            debug_assert!(false, "what was gated is well-formed");
        }
    }
    for &(client, from, to) in &gated.deletes {
        builder.delete(client, from, to);
    }
}
