//! What peers are told of the document: one answer for each question, one diff for each who fell behind, at once or in
//! [`super::portions`]. Equal questions are answered once.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::encoded::Shape;
use super::peers::Peer;
use super::portions::{Bringing, Next, Shared, Sizes};
use super::{Effects, Replica, Weight};
use crate::ids::PeerId;
use crate::limits::{ANSWERS_BYTES_MAX, ANSWERS_KEPT_FOR, ANSWERS_MAX};
use crate::wire::message::ServerMessage;
use crate::wire::state_vector::{self, StateVector};
use crate::wire::update;

/// Answers of the current state.
#[derive(Default)]
pub(super) struct Answers {
    version: u64,
    clocks: Option<(Arc<StateVector>, Bytes)>,
    /// By the question's bytes. Cleared when the state changes; a storm of reconnects asks the same few.
    diffs: Vec<(Vec<u8>, Bytes)>,
    /// When somebody last asked for one of them; `None` in this turn.
    asked_at: Option<Instant>,
}

impl Answers {
    fn diff(&mut self, question: &[u8]) -> Option<Bytes> {
        let (_, diff) = self.diffs.iter().find(|(asked, _)| asked == question)?;
        self.asked_at = None;
        Some(diff.clone())
    }

    fn keep(&mut self, question: Vec<u8>, diff: Bytes) {
        self.asked_at = None;
        let kept = &mut self.diffs;
        kept.push((question, diff));
        // The last one stays whatever its size: it is the one that a storm of newcomers asks for.
        while kept.len() > 1
            && (kept.len() > ANSWERS_MAX || kept.iter().map(|(_, diff)| diff.len()).sum::<usize>() > ANSWERS_BYTES_MAX)
        {
            kept.remove(0);
        }
    }

    /// Forgets what nobody has asked for any more in [`ANSWERS_KEPT_FOR`], and says when there will be something to forget.
    fn forget(&mut self, version: u64, now: Instant) -> Option<Instant> {
        let until = *self.asked_at.get_or_insert(now) + ANSWERS_KEPT_FOR;
        if self.version != version || until <= now {
            self.diffs = Vec::new();
        }
        (!self.diffs.is_empty()).then_some(until)
    }
}

impl Replica {
    /// Answers a SyncStep1 with exactly one SyncStep2 (WIRE g2, g3).
    pub(super) fn answer(&mut self, id: PeerId, question: &[u8], effects: &mut Effects) {
        match self.peers.get_mut(&id) {
            None => {}
            Some(Peer { bringing: Some(bringing), .. }) => {
                // It was asked before, and is being answered.
                bringing.asked = true;
            }
            Some(_) => {
                let known = Arc::new(state_vector::decode(question).unwrap_or_default());
                self.bring(id, known, true, effects)
            }
        }
    }

    /// A slow peer has drained: one diff from what it is known to have replaces all it did not get.
    pub(super) fn catch_up(&mut self, id: PeerId, effects: &mut Effects) {
        let Some(peer) = self.peers.get(&id) else { return };
        if peer.bringing.is_some() {
            return self.bring_on(id, effects);
        }
        // An answer may have brought the content meanwhile, or it was only presence that was dropped.
        if peer.behind {
            self.bring(id, peer.base.clone(), false, effects);
        }
        if let Some(everyone) = self.awareness.everyone() {
            effects.send.push((id, ServerMessage::Awareness(everyone), Weight::Presence));
        }
    }

    /// Sends a peer that knows `known` the rest, at once or the first portion of it (WIRE g5).
    fn bring(&mut self, id: PeerId, known: Arc<StateVector>, asked: bool, effects: &mut Effects) {
        // A crowd asks the same: what is kept tells how large it is without a look at the document.
        self.renew_answers();
        let kept = self.answers.diff(&state_vector::encode(&known)).map(|diff| diff.len());
        if kept.unwrap_or_else(|| self.content.diff_bytes(&known)) <= self.sizes.whole_max {
            return self.bring_rest(id, known, asked, effects);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.follows_since = None;
        peer.bringing = Some(Bringing::new(&known, asked, &self.content, &mut self.shared));
        peer.base = known;
        self.bring_on(id, effects)
    }

    /// Sends a peer that knows `known` the rest in one frame.
    fn bring_rest(&mut self, id: PeerId, known: Arc<StateVector>, asked: bool, effects: &mut Effects) {
        self.renew_answers();
        let question = state_vector::encode(&known);
        let diff = self.answers.diff(&question).unwrap_or_else(|| {
            let diff = Bytes::from(self.content.diff(&known));
            self.answers.keep(question, diff.clone());
            diff
        });
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.base = known;
        peer.follow(self.turn);
        let message = if asked { ServerMessage::SyncStep2(diff) } else { ServerMessage::Update(diff) };
        effects.send.push((id, message, Weight::Answer));
    }

    /// The portion before has left: the next one, or the end.
    fn bring_on(&mut self, id: PeerId, effects: &mut Effects) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(mut bringing) = peer.bringing.take() else { return };
        match bringing.next(&mut self.content, self.shared.as_mut(), &self.sizes) {
            Ok(Next::Portion(portion)) => {
                peer.bringing = Some(bringing);
                effects.send.push((id, ServerMessage::Update(portion), Weight::Portion));
                return;
            }
            Ok(Next::All(known)) => {
                peer.base = Arc::new(known);
                peer.follow(self.turn);
                if bringing.asked {
                    let nothing = ServerMessage::SyncStep2(Bytes::from_static(update::EMPTY));
                    effects.send.push((id, nothing, Weight::Answer));
                }
            }
            Ok(Next::Rest(known)) => self.bring_rest(id, Arc::new(known), bringing.asked, effects),
            // What was walked once can be walked again.
            Err(_) => {
                let known = peer.base.clone();
                self.bring_rest(id, known, bringing.asked, effects)
            }
        }
        // It may have missed presence while its outbox was full.
        if let Some(everyone) = self.awareness.everyone() {
            effects.send.push((id, ServerMessage::Awareness(everyone), Weight::Presence));
        }
    }

    /// Forgets the shared portions when nobody takes them any more, or most of them is not in the document any more; then
    /// each who is under way goes on alone.
    pub(super) fn forget_shared(&mut self) {
        let is_over = |shared: &mut Shared| shared.is_idle() || shared.is_stale(&self.content.structs, &self.sizes);
        let Some(shared) = self.shared.take_if(is_over).filter(|shared| !shared.is_idle()) else { return };
        for peer in self.peers.values_mut() {
            peer.bringing.iter_mut().for_each(|bringing| bringing.leave(&shared, &self.content));
        }
    }

    /// Cuts answers by other sizes than [`Sizes::default`], for tests.
    pub fn cut_answers_by(&mut self, sizes: Sizes) {
        self.sizes = sizes;
    }

    /// Keeps what it holds by other sizes than [`Shape::default`], for tests.
    pub fn keep_by(&mut self, shape: Shape) {
        let content = &mut self.content;
        content.structs = std::mem::take(&mut content.structs).shaped(shape, &content.nesting);
    }

    /// The diff that answers `question`, a validated state vector.
    pub fn diff(&mut self, question: &[u8]) -> Bytes {
        self.renew_answers();
        if let Some(diff) = self.answers.diff(question) {
            return diff;
        }
        let known = state_vector::decode(question).unwrap_or_default();
        self.content.diff(&known).into()
    }

    /// Forgets answers that nobody asks for any more; when to do so next.
    pub(super) fn forget_answers(&mut self, now: Instant) -> Option<Instant> {
        self.answers.forget(self.content.version, now)
    }

    /// The state vector, and its bytes.
    pub fn clocks(&mut self) -> (Arc<StateVector>, Bytes) {
        self.renew_answers();
        let clocks = &self.content.clocks;
        let new = || (Arc::new(clocks.clone()), Bytes::from(state_vector::encode(clocks)));
        self.answers.clocks.get_or_insert_with(new).clone()
    }

    fn renew_answers(&mut self) {
        if self.answers.version != self.content.version {
            self.answers = Answers { version: self.content.version, ..Answers::default() };
        }
    }
}
