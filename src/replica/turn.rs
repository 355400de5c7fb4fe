//! What one turn gathers: everything that was waiting, whose edits become one record and one frame.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::effects::Offered;
use super::gate::Gated;
use crate::ids::{ClientId, Clock, PeerId};
use crate::wire::update::Builder;

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
    pub(super) fn add(&mut self, update: &'a [u8], gated: Gated<'a>) {
        if gated.is_empty() {
            return;
        }
        if gated.whole && self.one.is_none() && self.many.is_empty() {
            self.one = Some((update, gated));
            return;
        }
        self.spill();
        add_to(&mut self.many, &gated);
    }

    /// Moves the only update in with the others.
    fn spill(&mut self) {
        if let Some((_, gated)) = self.one.take() {
            add_to(&mut self.many, &gated);
        }
    }

    /// Takes over the content of a turn that lived shorter. What it parked again is the caller's concern.
    pub(super) fn absorb(&mut self, other: Turn<'_>) {
        self.freed = true;
        self.spill();
        if let Some((_, gated)) = &other.one {
            add_to(&mut self.many, gated);
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

fn add_to(builder: &mut Builder, gated: &Gated<'_>) {
    for run in &gated.runs {
        builder.structs(run.client, run.from, run.structs, &[&run.head, run.rest]);
    }
    for &(client, from, to) in &gated.deletes {
        builder.delete(client, from, to);
    }
}
