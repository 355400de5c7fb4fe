//! Simulation of peers that edit at once, on connections that stall, break and come back, to a server that dies and loads
//! what was durable. Checkers: everybody ends with the same document, and an ack never runs ahead of the disk.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use crdt_tests::author::{Author, Habit, view};
use crdt_tests::sweep::sweep;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use weft::ids::{Access, PeerId, Seq};
use weft::replica::encoded::Shape;
use weft::replica::portions::Sizes;
use weft::replica::{Effects, Event, Replica, Weight};
use weft::wire::dialect::Dialect;
use weft::wire::message::{ClientMessage, ServerMessage};
use weft::wire::update;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;
use yrs::{ReadTxn, StateVector, Transact};

/// What a client says, owned.
#[derive(Debug, Clone)]
enum Said {
    Step1(Vec<u8>),
    Step2(Vec<u8>),
    Update(Vec<u8>),
    /// The number of the request.
    WantAck(u8),
}

struct Link {
    author: Author,
    client: u64,
    id: PeerId,
    joined: bool,
    up: VecDeque<Said>,
    /// Frames and whether a slow outbox drops them.
    down: VecDeque<(ServerMessage, bool)>,
    slow: bool,
    /// Updates sent on this connection, and how many of them when each ack was asked for.
    sent: Vec<Vec<u8>>,
    asked: Vec<usize>,
    questions: usize,
    answers: usize,
}

struct World {
    links: Vec<Link>,
    replica: Replica,
    log: Vec<Bytes>,
    durable: usize,
    next_peer: u64,
    /// For the next turn.
    news: Vec<News>,
    now: Instant,
    transcript: Vec<String>,
    acks: usize,
    sizes: Sizes,
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum News {
    Joined(PeerId),
    Left(PeerId),
    FellBehind(PeerId),
    CaughtUp(PeerId),
    Flushed(PeerId),
}

impl World {
    fn new(habit: Habit, gc: bool, sizes: Sizes, shape: Shape) -> Self {
        let link = |client| Link {
            author: Author::new(client, habit, gc),
            client,
            id: PeerId(0),
            joined: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            slow: false,
            sent: Vec::new(),
            asked: Vec::new(),
            questions: 0,
            answers: 0,
        };
        Self {
            links: [11, 700, u64::from(u32::MAX), 1 << 50].map(link).into(),
            replica: {
                let mut replica = Replica::new();
                replica.cut_answers_by(sizes);
                replica.keep_by(shape);
                replica
            },
            log: Vec::new(),
            durable: 0,
            next_peer: 1,
            news: Vec::new(),
            now: Instant::now(),
            transcript: Vec::new(),
            acks: 0,
            sizes,
            shape,
        }
    }

    fn connect(&mut self, n: usize) {
        let link = &mut self.links[n];
        link.id = PeerId(self.next_peer);
        self.next_peer += 1;
        link.joined = true;
        link.slow = false;
        link.asked.clear();
        link.sent.clear();
        (link.questions, link.answers) = (1, 0);
        link.up.push_back(Said::Step1(link.author.state_vector().encode_v1()));
        self.news.push(News::Joined(link.id));
    }

    fn disconnect(&mut self, n: usize) {
        let link = &mut self.links[n];
        if std::mem::take(&mut link.joined) {
            self.news.push(News::Left(link.id));
        }
        link.up.clear();
        link.down.clear();
    }

    /// The author edits; a client without a connection keeps it for later.
    fn edit(&mut self, n: usize, rng: &mut ChaCha8Rng) {
        let link = &mut self.links[n];
        let update = link.author.edit(rng);
        if link.joined {
            link.sent.push(update.clone());
            link.up.push_back(Said::Update(update));
            if rng.random() {
                link.up.push_back(Said::WantAck(link.asked.len() as u8));
                link.asked.push(link.sent.len());
            }
        }
    }

    /// One turn of the document's task, with up to `most` messages.
    fn turn(&mut self, most: usize, rng: &mut ChaCha8Rng) {
        let news = std::mem::take(&mut self.news);
        let mut said = Vec::new();
        for _ in 0..most {
            let link = &mut self.links[rng.random_range(0..4)];
            if link.joined
                && let Some(message) = link.up.pop_front()
            {
                said.push((link.id, message));
            }
        }
        let numbers: Vec<[u8; 1]> = (0..=u8::MAX).map(|n| [n]).collect();
        let mut events: Vec<Event<'_>> = news
            .iter()
            .map(|news| match *news {
                News::Joined(id) => Event::Joined(id, Access::Write, Dialect::YWebsocket),
                News::Left(id) => Event::Left(id),
                News::FellBehind(id) => Event::FellBehind(id),
                News::CaughtUp(id) => Event::CaughtUp { peer: id, lost: false },
                News::Flushed(id) => Event::Flushed(id),
            })
            .collect();
        events.extend(said.iter().map(|(id, said)| {
            Event::Message(
                *id,
                match said {
                    Said::Step1(bytes) => ClientMessage::SyncStep1(bytes),
                    Said::Step2(bytes) => ClientMessage::SyncStep2(bytes),
                    Said::Update(bytes) => ClientMessage::Update(bytes),
                    Said::WantAck(n) => ClientMessage::AckRequest(&numbers[usize::from(*n)]),
                },
            )
        }));
        events.push(Event::Durable(Seq(self.durable as u64)));
        let effects = self.replica.handle(&events, self.now);
        self.carry_out(effects, rng);
    }

    fn carry_out(&mut self, effects: Effects, rng: &mut ChaCha8Rng) {
        self.transcript.push(format!("{:?} {:?} {:?}", effects.append, effects.broadcast, effects.send));
        assert!(effects.close.is_empty(), "nobody misbehaves");
        self.log.extend(effects.append.into_iter().map(|(_, update)| update));
        if let Some((update, except)) = effects.broadcast {
            let audience: Vec<PeerId> = self.replica.audience().collect();
            for link in self.links.iter_mut().filter(|link| link.joined && audience.contains(&link.id)) {
                if except == Some(link.id) {
                    continue;
                }
                // A slow outbox drops this frame and all queued ones of its kind, and says so.
                if link.slow || rng.random_ratio(1, 12) {
                    link.down.retain(|(_, droppable)| !droppable);
                    if !std::mem::replace(&mut link.slow, true) {
                        self.news.push(News::FellBehind(link.id));
                    }
                } else {
                    link.down.push_back((ServerMessage::Update(update.clone()), true));
                }
            }
        }
        for (id, message, weight) in effects.send {
            let Some(link) = self.links.iter_mut().find(|link| link.joined && link.id == id) else { continue };
            if let ServerMessage::Ack(n) = &message {
                // Everything this connection said before it asked must be no news after a crash right now.
                let log = self.log[..self.durable].iter().map(|update| &update[..]);
                let mut survivor = Replica::load(log, Seq(self.durable as u64)).unwrap();
                let before = &link.sent[..link.asked[usize::from(n[0])]];
                let again = before.iter().map(|update| Event::Offered(0, update)).collect::<Vec<_>>();
                assert!(survivor.handle(&again, self.now).append.is_empty(), "acked and not durable");
                self.acks += 1;
            }
            // The outbox drops nothing, and says when this has left.
            link.slow |= weight == Weight::Portion;
            link.answers += usize::from(matches!(message, ServerMessage::SyncStep2(_)));
            assert!(link.answers <= link.questions, "one answer for each question");
            // Only a later answer replaces an answer.
            if weight == Weight::Answer && rng.random() {
                link.down.retain(|(_, droppable)| !droppable);
            }
            link.down.push_back((message, false));
        }
    }

    /// The client takes one frame.
    fn receive(&mut self, n: usize) {
        let link = &mut self.links[n];
        match link.down.pop_front() {
            Some((ServerMessage::SyncStep1(question), _)) => {
                let known = StateVector::decode_v1(&question).unwrap();
                link.up.push_back(Said::Step2(link.author.diff(&known)));
            }
            Some((ServerMessage::SyncStep2(update) | ServerMessage::Update(update), _)) => {
                update::validate(&update).unwrap();
                link.author.hear(&update);
                assert!(!link.author.doc.transact().has_missing_updates(), "what is sent never has a gap");
            }
            Some(_) => {}
            None if link.joined && link.slow => {
                link.slow = false;
                self.news.push(News::CaughtUp(link.id));
            }
            None if link.joined => self.news.push(News::Flushed(link.id)),
            None => {}
        }
    }

    /// The process dies; what was durable is loaded again.
    fn crash(&mut self) {
        self.log.truncate(self.durable);
        let log = self.log.iter().map(|update| &update[..]);
        self.replica = Replica::load(log, Seq(self.durable as u64)).unwrap();
        self.replica.cut_answers_by(self.sizes);
        self.replica.keep_by(self.shape);
        (0..4).for_each(|n| self.disconnect(n));
        self.news.clear();
    }

    /// Everybody comes back, and nothing gets lost any more.
    fn settle(&mut self, rng: &mut ChaCha8Rng) {
        (0..4).filter(|n| !self.links[*n].joined).collect::<Vec<_>>().into_iter().for_each(|n| self.connect(n));
        for _ in 0..2_000 {
            self.durable = self.log.len();
            self.turn(8, rng);
            (0..4).for_each(|n| self.receive(n));
        }
        assert!(self.links.iter().all(|link| link.up.is_empty()));
    }

    fn check_converged(&mut self) {
        let expected = view(&self.links[0].author.doc);
        let (_, clocks) = self.replica.clocks();
        let clocks = StateVector::decode_v1(&clocks).unwrap();
        for link in &self.links {
            assert_eq!(link.author.state_vector(), clocks, "client {}", link.client);
            assert_eq!(view(&link.author.doc), expected, "client {}", link.client);
            assert_eq!(link.questions, link.answers, "every question is answered");
        }
        let census = self.replica.census();
        assert_eq!((census.parked_updates, census.peers), (0, 4));
    }
}

fn simulate(habit: Habit, rng: &mut ChaCha8Rng) -> (Vec<String>, usize) {
    // Answers small and large for their lines (WIRE g5): the same peers, and the same promises.
    let (whole_max, portion) = (rng.random_range(20..200), rng.random_range(1..100));
    let cut = Sizes { whole_max, portion, shared_min: rng.random_range(0..2_000) };
    let sizes = if rng.random() { cut } else { Sizes::default() };
    let tiny = Shape { chunk: rng.random_range(1..40), collect: rng.random_range(1..80), collect_min: 1 };
    let shape = if rng.random() { tiny } else { Shape::default() };
    let mut world = World::new(habit, rng.random(), sizes, shape);
    for _ in 0..400 {
        let n = rng.random_range(0..4);
        match rng.random_range(0..120) {
            0..2 => world.disconnect(n),
            2 => world.crash(),
            3..15 if !world.links[n].joined => world.connect(n),
            15..36 => world.edit(n, rng),
            36..72 => world.turn(rng.random_range(1..8), rng),
            72..78 => world.durable = rng.random_range(world.durable..=world.log.len()),
            _ => world.receive(n),
        }
    }
    world.settle(rng);
    world.check_converged();
    (world.transcript, world.acks)
}

#[test]
fn p1_p2_p3_peers_converge_and_acks_are_durable() {
    let acks = Cell::new(0);
    sweep(40, |_, rng| {
        for habit in [Habit::Typist, Habit::Everything] {
            acks.set(acks.get() + simulate(habit, rng).1);
        }
    });
    assert!(acks.get() > 0, "nothing was put to the test");
}

#[test]
fn one_seed_makes_one_history() {
    use rand::SeedableRng;
    for seed in 0..4 {
        let run = || simulate(Habit::Typist, &mut ChaCha8Rng::seed_from_u64(seed));
        assert_eq!(run(), run(), "seed {seed}");
    }
}
