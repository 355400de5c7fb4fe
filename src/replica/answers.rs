//! What peers are told of the document: one answer for each question, one diff for each who fell behind, at once or in
//! [`super::portions`]. Equal questions are answered once.

use std::sync::Arc;

use bytes::Bytes;

use super::encoded::Shape;
use super::peers::Peer;
use super::portions::{Bringing, Portions, Sizes};
use super::{Effects, Replica, Weight};
use crate::ids::PeerId;
use crate::limits::{ANSWERS_BYTES_MAX, ANSWERS_MAX, PORTIONS_ROUNDS_MAX};
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
}

impl Answers {
    fn diff(&self, question: &[u8]) -> Option<Bytes> {
        self.diffs.iter().find(|(asked, _)| asked == question).map(|(_, diff)| diff.clone())
    }

    fn keep(&mut self, question: Vec<u8>, diff: Bytes) {
        let kept = &mut self.diffs;
        kept.push((question, diff));
        // The last one stays whatever its size: it is the one that a storm of newcomers asks for.
        while kept.len() > 1
            && (kept.len() > ANSWERS_MAX || kept.iter().map(|(_, diff)| diff.len()).sum::<usize>() > ANSWERS_BYTES_MAX)
        {
            kept.remove(0);
        }
    }
}

/// What answers a question.
enum Answer {
    /// One update, for one frame.
    Whole(Bytes),
    /// More than one frame should hold.
    InPortions(Arc<Portions>),
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
                self.bring(id, known, true, 0, effects)
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
            self.bring(id, peer.base.clone(), false, 0, effects);
        }
        if let Some(everyone) = self.awareness.everyone() {
            effects.send.push((id, ServerMessage::Awareness(everyone), Weight::Presence));
        }
    }

    /// Sends a peer that knows `known` the rest, at once or the first portion of it (WIRE g5).
    fn bring(&mut self, id: PeerId, known: Arc<StateVector>, asked: bool, rounds: u32, effects: &mut Effects) {
        let answer = self.answer_to(&known, rounds);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.base = known.clone();
        match answer {
            Answer::Whole(diff) => {
                peer.follow(self.turn);
                let message = if asked { ServerMessage::SyncStep2(diff) } else { ServerMessage::Update(diff) };
                effects.send.push((id, message, Weight::Answer));
            }
            Answer::InPortions(portions) => {
                peer.follows_since = None;
                peer.bringing = Some(Bringing::new(portions, known, asked, rounds));
                self.bring_on(id, effects)
            }
        }
    }

    /// The portion before has left: the next one, or the end.
    fn bring_on(&mut self, id: PeerId, effects: &mut Effects) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(mut bringing) = peer.bringing.take() else { return };
        if let Some(portion) = bringing.next_portion() {
            peer.bringing = Some(bringing);
            effects.send.push((id, ServerMessage::Update(portion), Weight::Portion));
            return;
        }
        let base = Arc::new(bringing.base());
        if bringing.is_all(self.content.version) {
            peer.base = base;
            peer.follow(self.turn);
            if bringing.asked {
                let nothing = ServerMessage::SyncStep2(Bytes::from_static(update::EMPTY));
                effects.send.push((id, nothing, Weight::Answer));
            }
        } else {
            self.bring(id, base, bringing.asked, bringing.rounds + 1, effects);
        }
        // It may have missed presence while its outbox was full.
        if let Some(everyone) = self.awareness.everyone() {
            effects.send.push((id, ServerMessage::Awareness(everyone), Weight::Presence));
        }
    }

    /// What somebody lacks who knows `known`.
    fn answer_to(&mut self, known: &StateVector, rounds: u32) -> Answer {
        // A crowd that knows nothing is under way with one cut, whatever was added since: that comes at the end.
        if known.is_empty()
            && let Some(portions) = self.cut.upgrade()
        {
            return Answer::InPortions(portions);
        }
        let question = state_vector::encode(known);
        self.renew_answers();
        if let Some(diff) = self.answers.diff(&question).filter(|diff| diff.len() <= self.sizes.whole_max) {
            return Answer::Whole(diff);
        }
        let diff = self.content.diff(known);
        if diff.len() <= self.sizes.whole_max || rounds >= PORTIONS_ROUNDS_MAX {
            let diff = Bytes::from(diff);
            self.answers.keep(question, diff.clone());
            return Answer::Whole(diff);
        }
        if diff.len() > self.sizes.own_max
            && !known.is_empty()
            && let Some(portions) = self.cut_whole()
        {
            return Answer::InPortions(portions);
        }
        match self.cut(&diff) {
            Some(portions) => {
                if known.is_empty() {
                    self.cut = Arc::downgrade(&portions);
                }
                Answer::InPortions(portions)
            }
            None => Answer::Whole(diff.into()),
        }
    }

    /// The whole document, cut; the same for all as long as one of them is under way with it.
    fn cut_whole(&mut self) -> Option<Arc<Portions>> {
        if let Some(portions) = self.cut.upgrade() {
            return Some(portions);
        }
        let state = self.content.diff(&StateVector::new());
        let portions = self.cut(&state);
        if let Some(portions) = &portions {
            self.cut = Arc::downgrade(portions);
        }
        portions
    }

    fn cut(&mut self, update: &[u8]) -> Option<Arc<Portions>> {
        let (clocks, _) = self.clocks();
        Portions::cut(update, self.sizes.portion, clocks, self.content.version).map(Arc::new)
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
        let diff = Bytes::from(self.content.diff(&known));
        self.answers.keep(question.to_vec(), diff.clone());
        diff
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
