//! Path 1 of an update: peers of one document say what any bytes make of a script, and the document must hold what was
//! broadcast, what its log holds after a restart, what a fold of that holds, and what a newcomer is sent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use weft::ids::{Access, PeerId, Seq};
use weft::replica::compaction::{self, FoldError};
use weft::replica::content::Content;
use weft::replica::{Effects, Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::message::{ClientMessage, ServerMessage};
use weft::wire::{awareness, state_vector, update};

use super::update::may_lie_about_order;
use crate::parts::Parts;
use crate::script::{Authors, Choices};

/// Steps of a script that are taken.
const STEPS_MAX: usize = 60;

/// Plays one script, or gives peers' raw updates to a replica.
pub fn run(input: &[u8]) {
    let mut stage = Stage::new();
    match input.split_first() {
        Some((255, raw)) => {
            for (at, bytes) in Parts::of(raw).take(STEPS_MAX).enumerate() {
                if update::validate(bytes).is_ok() {
                    stage.say(PeerId(at as u64 % 3), ClientMessage::Update(bytes));
                }
            }
        }
        _ => stage.play(&mut Choices::of(input)),
    }
    stage.check();
}

/// A replica, its log, and somebody who hears every broadcast.
struct Stage {
    replica: Replica,
    log: Vec<Bytes>,
    heard: Replica,
    now: Instant,
}

const WRITERS: u64 = 3;
const LISTENER: PeerId = PeerId(100);

impl Stage {
    fn new() -> Self {
        let mut stage = Self { replica: Replica::new(), log: Vec::new(), heard: Replica::new(), now: Instant::now() };
        stage.open();
        stage
    }

    /// Everybody comes, and asks for everything.
    fn open(&mut self) {
        let dialects = [Dialect::YWebsocket, Dialect::Hocuspocus, Dialect::YSweet];
        for (peer, dialect) in (0..WRITERS).zip(dialects) {
            self.turn(&[Event::Joined(PeerId(peer), Access::Write, dialect)]);
        }
        self.turn(&[Event::Joined(LISTENER, Access::Read, Dialect::YWebsocket)]);
        let question = state_vector::encode(&self.heard.census().clocks);
        self.say(LISTENER, ClientMessage::SyncStep1(&question));
    }

    fn say(&mut self, peer: PeerId, message: ClientMessage<'_>) {
        self.turn(&[Event::Message(peer, message)]);
    }

    /// One turn, whose effects are carried out as the hub does it.
    fn turn(&mut self, events: &[Event<'_>]) {
        self.now += Duration::from_millis(10);
        let before = self.replica.last_seq();
        let effects = self.replica.handle(events, self.now);
        self.carry_out(effects, before);
    }

    fn carry_out(&mut self, effects: Effects, before: Seq) {
        let mut next = before;
        for (seq, bytes) in effects.append {
            next = next.next();
            assert_eq!(seq, next, "positions are dense");
            assert_eq!(update::validate(&bytes), Ok(()), "what is logged can be read again");
            self.log.push(bytes);
        }
        assert_eq!(self.replica.last_seq(), next);
        for (peer, message, _) in effects.send {
            match message {
                ServerMessage::SyncStep2(bytes) | ServerMessage::Update(bytes) => {
                    assert_eq!(update::validate(&bytes), Ok(()), "what is sent is valid");
                    if peer == LISTENER {
                        self.hear(&bytes);
                    }
                }
                ServerMessage::SyncStep1(bytes) => assert_eq!(state_vector::validate(&bytes), Ok(())),
                ServerMessage::Awareness(bytes) => assert_eq!(awareness::validate(&bytes), Ok(())),
                _ => {}
            }
        }
        if let Some((bytes, except)) = effects.broadcast {
            assert_eq!(update::validate(&bytes), Ok(()), "what is broadcast is valid");
            assert_ne!(except, Some(LISTENER), "it wrote nothing");
            self.hear(&bytes);
        }
    }

    fn hear(&mut self, bytes: &[u8]) {
        let effects = self.heard.handle(&[Event::Offered(0, bytes)], self.now);
        let offered = effects.offered.first().expect("its fate");
        assert_eq!((offered.1.parked_bytes, offered.1.refused), (0, None), "what is sent has no gap");
    }

    fn play(&mut self, choices: &mut Choices<'_>) {
        let mut authors = Authors::default();
        let mut said: Vec<Vec<u8>> = Vec::new();
        for _ in 0..STEPS_MAX {
            if choices.is_empty() {
                return;
            }
            let peer = PeerId(choices.pick(WRITERS as u32).into());
            match choices.pick(12) {
                // Something old once more, whoever wrote it.
                8 if !said.is_empty() => {
                    let old = said[choices.pick(said.len() as u32) as usize].clone();
                    self.say(peer, ClientMessage::SyncStep2(&old));
                }
                9 => {
                    let question = authors.state_vector(choices);
                    self.say(peer, ClientMessage::SyncStep1(&question));
                }
                10 => match choices.pick(4) {
                    0 => self.restart(),
                    1 => self.turn(&[Event::FellBehind(peer), Event::CaughtUp { peer, lost: true }]),
                    2 => self.turn(&[Event::Flushed(peer), Event::Durable(self.replica.last_seq())]),
                    _ => self.turn(&[Event::Left(peer), Event::Joined(peer, Access::Write, Dialect::YWebsocket)]),
                },
                // Several in one turn become one record.
                11 => {
                    let updates: Vec<_> = (0..=choices.pick(3)).map(|_| authors.update(choices)).collect();
                    let message =
                        |(at, update)| Event::Message(PeerId(at as u64 % WRITERS), ClientMessage::Update(update));
                    let updates: Vec<_> =
                        updates.into_iter().filter(|update| update::validate(update).is_ok()).collect();
                    self.turn(&updates.iter().map(|update| &update[..]).enumerate().map(message).collect::<Vec<_>>());
                    said.extend(updates);
                }
                _ => {
                    let update = authors.update(choices);
                    if update::validate(&update).is_ok() {
                        self.say(peer, ClientMessage::Update(&update));
                        said.push(update);
                    }
                }
            }
        }
    }

    /// The replica as its log makes it.
    fn restart(&mut self) {
        let seq = self.replica.last_seq();
        self.replica = Replica::load(self.log.iter().map(|bytes| &bytes[..]), seq).expect("what was logged loads");
        self.open();
    }

    fn check(mut self) {
        let ordered = !may_lie_about_order(self.log.iter().map(|logged| &logged[..]));
        let held = |replica: &mut Replica| Held::by(replica, ordered);
        let live = held(&mut self.replica);
        assert_eq!(held(&mut self.heard), live, "who heard it all");
        let log = || self.log.iter().map(|bytes| &bytes[..]);
        let state = self.replica.state();
        assert_eq!(update::validate(&state), Ok(()));
        let mut newcomer = Replica::load([&state[..]], Seq(1)).expect("the state loads");
        assert_eq!(held(&mut newcomer), live, "a newcomer");
        let mut loaded = Replica::load(log(), self.replica.last_seq()).expect("what was logged loads");
        assert_eq!(held(&mut loaded), live, "a restart");
        match compaction::fold(log()) {
            Ok(folded) => {
                match compaction::verify(log(), &folded.updates) {
                    Ok(()) => {}
                    Err(FoldError::Differs("content")) if !ordered => return,
                    Err(error) => panic!("it says something else: {error}"),
                }
                let folded = folded.updates.iter().map(|bytes| &bytes[..]);
                let mut again = Replica::load(folded, Seq(1)).expect("what was folded loads");
                assert_eq!(held(&mut again), live, "a fold");
            }
            Err(FoldError::Differs("content")) if !ordered => {}
            Err(error) => panic!("what was logged cannot be folded: {error}"),
        }
    }
}

/// What a replica holds, as far as two can be compared: yrs may know more deletions than the log names.
#[derive(Debug, PartialEq)]
pub struct Held {
    clocks: state_vector::StateVector,
    content: Option<serde_json::Value>,
}

impl Held {
    /// What `replica` holds, with its content where authors tell the truth about their order.
    pub fn by(replica: &mut Replica, ordered: bool) -> Self {
        let mut content = Content::of(&replica.state()).expect("what the gate lets through is integrated").to_json();
        // What a root was of which everything is deleted is known as long as yrs remembers what was in it.
        if let Some(roots) = content.as_object_mut() {
            roots.retain(|_, root| !is_empty(root));
        }
        Self { clocks: replica.census().clocks, content: ordered.then_some(content) }
    }
}

fn is_empty(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
