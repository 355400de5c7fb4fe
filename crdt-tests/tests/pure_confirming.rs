//! Simulation of Hocuspocus providers as their sources have them (WIRE h4): each counts what it sends, except what it kept
//! while it was away, which it sends upon the first frame it hears. Lines that stall and break, a server that dies.
//! Checkers: who shows "saved" has lost nothing should the server die at once (P1); nobody's count falls below zero; and it
//! comes to zero, but for deletions made between the pong and the first frame, of which nothing tells when they were made.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use crdt_tests::author::{Author, Habit};
use crdt_tests::sweep::sweep;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use weft::ids::{Access, PeerId, Seq};
use weft::replica::{Backlog, Effects, Event, Replica};
use weft::wire::dialect::Dialect;
use weft::wire::message::{ClientMessage, ServerMessage};
use weft::wire::update;
use yrs::StateVector;
use yrs::updates::decoder::Decode;
use yrs::updates::encoder::Encode;

/// What goes up a line.
#[derive(Debug)]
enum Up {
    Step1(Vec<u8>),
    Step2(Vec<u8>),
    Update(Vec<u8>),
    Pong,
}

/// What comes down it.
#[derive(Debug)]
enum Down {
    Ping,
    /// It is let in; of no consequence but that it is a frame.
    Granted,
    Frame(ServerMessage),
}

/// A provider, and the server's end of its line.
struct Provider {
    author: Author,
    // Its page.
    unsynced: u64,
    kept: Vec<Vec<u8>>,
    /// All that its user ever did.
    made: Vec<Vec<u8>>,
    /// It has heard a frame on this line.
    has_heard: bool,
    /// It has been asked on this line.
    was_asked: bool,
    /// Its line has answered the ping.
    has_ponged: bool,
    /// Deletions made when nothing tells of it.
    doubtful: u64,
    // The line: to the server, from it, and what has arrived and waits for the page.
    is_open: bool,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    arrived: VecDeque<Down>,
    // The server's end.
    id: PeerId,
    is_greeted: bool,
    backlog: Backlog,
}

impl Provider {
    fn new(client: u64) -> Self {
        Self {
            author: Author::new(client, Habit::Typist, true),
            unsynced: 0,
            kept: Vec::new(),
            made: Vec::new(),
            has_heard: false,
            was_asked: false,
            has_ponged: false,
            doubtful: 0,
            is_open: false,
            up: VecDeque::new(),
            down: VecDeque::new(),
            arrived: VecDeque::new(),
            id: PeerId(0),
            is_greeted: false,
            backlog: Backlog::default(),
        }
    }

    /// `startSync`.
    fn connect(&mut self, id: PeerId) {
        (self.is_open, self.has_heard, self.was_asked, self.has_ponged) = (true, false, false, false);
        (self.id, self.is_greeted, self.backlog) = (id, false, Backlog::default());
        (self.unsynced, self.doubtful) = (1, 0);
        self.up.push_back(Up::Step1(self.author.state_vector().encode_v1()));
    }

    fn disconnect(&mut self) {
        self.is_open = false;
        self.up.clear();
        self.down.clear();
        self.arrived.clear();
    }

    /// `documentUpdateHandler`.
    fn edit(&mut self, rng: &mut ChaCha8Rng) {
        let update = self.author.edit(rng);
        if update == [0, 0] {
            return;
        }
        self.unsynced += 1;
        self.made.push(update.clone());
        if !self.is_open {
            return self.kept.push(update);
        }
        let tells = update::structs(&update) > 0;
        self.doubtful += u64::from(!tells && self.has_ponged && !self.was_asked);
        self.up.push_back(Up::Update(update));
    }

    /// The line takes in what came: the network's part of a browser, which answers pings by itself.
    fn arrive(&mut self) {
        match self.down.pop_front() {
            Some(Down::Ping) => {
                self.has_ponged = true;
                self.up.push_back(Up::Pong);
            }
            Some(down) => self.arrived.push_back(down),
            None => {}
        }
    }

    /// The page hears what has arrived; whether it shows "saved" now and did not before.
    fn hear(&mut self) -> bool {
        let Some(down) = self.arrived.pop_front() else { return false };
        if !std::mem::replace(&mut self.has_heard, true) {
            self.up.extend(self.kept.drain(..).map(Up::Update));
        }
        match down {
            Down::Frame(ServerMessage::SyncStep1(question)) => {
                self.was_asked = true;
                let known = StateVector::decode_v1(&question).unwrap();
                self.up.push_back(Up::Step2(self.author.diff(&known)));
            }
            Down::Frame(ServerMessage::SyncStep2(update) | ServerMessage::Update(update)) => self.author.hear(&update),
            Down::Frame(ServerMessage::Confirmed(count)) => {
                self.unsynced = self.unsynced.checked_sub(count.into()).expect("no more is confirmed than was counted");
                return self.unsynced == 0;
            }
            Down::Frame(_) | Down::Granted | Down::Ping => {}
        }
        false
    }

    /// The server's end sends a frame, the first one behind a ping, and what lets in right behind that.
    fn send(&mut self, frame: Option<ServerMessage>) {
        let is_first = !std::mem::replace(&mut self.is_greeted, true);
        if is_first {
            self.down.push_back(Down::Ping);
        }
        self.down.extend(frame.map(Down::Frame));
        if is_first {
            self.down.push_back(Down::Granted);
        }
    }
}

struct World {
    providers: Vec<Provider>,
    replica: Replica,
    log: Vec<Bytes>,
    durable: usize,
    next_id: u64,
    joined: Vec<PeerId>,
    left: Vec<PeerId>,
    now: Instant,
    saved: u64,
    decided: u64,
}

impl World {
    fn turn(&mut self, most: usize, rng: &mut ChaCha8Rng) {
        let mut heard = Vec::new();
        for _ in 0..most {
            let n = rng.random_range(0..self.providers.len());
            let provider = &mut self.providers[n];
            let Some(up) = provider.up.pop_front() else { continue };
            let backlog = match up {
                Up::Pong => Backlog::Coming,
                Up::Step2(_) if provider.is_greeted => Backlog::Through,
                _ => provider.backlog,
            };
            let step = (backlog > provider.backlog).then_some(backlog);
            provider.backlog = provider.backlog.max(backlog);
            heard.push((provider.id, step, up));
        }
        let (joined, left) = (std::mem::take(&mut self.joined), std::mem::take(&mut self.left));
        let mut events: Vec<Event<'_>> = left.into_iter().map(Event::Left).collect();
        events.extend(joined.into_iter().map(|id| Event::Joined(id, Access::Write, Dialect::Hocuspocus)));
        for (id, step, up) in &heard {
            events.extend(step.map(|backlog| Event::Backlog(*id, backlog)));
            events.extend(match up {
                Up::Step1(bytes) => Some(Event::Message(*id, ClientMessage::SyncStep1(bytes))),
                Up::Step2(bytes) => Some(Event::Message(*id, ClientMessage::SyncStep2(bytes))),
                Up::Update(bytes) => Some(Event::Message(*id, ClientMessage::Update(bytes))),
                Up::Pong => None,
            });
        }
        events.push(Event::Durable(Seq(self.durable as u64)));
        let Effects { append, broadcast, send, .. } = self.replica.handle(&events, self.now);
        self.log.extend(append.into_iter().map(|(_, update)| update));
        let audience: Vec<PeerId> = self.replica.audience().collect();
        for provider in self.providers.iter_mut().filter(|provider| provider.is_open) {
            if let Some((update, except)) = &broadcast
                && audience.contains(&provider.id)
                && *except != Some(provider.id)
            {
                provider.send(Some(ServerMessage::Update(update.clone())));
            }
        }
        for (id, message, _) in send {
            if let Some(provider) = self.providers.iter_mut().find(|provider| provider.is_open && provider.id == id) {
                provider.send(Some(message));
            }
        }
    }

    fn hear(&mut self, n: usize) {
        if self.providers[n].hear() {
            self.saved += 1;
            // P1: should the server die now, all that its user did is there.
            let log = self.log[..self.durable].iter().map(|update| &update[..]);
            let mut survivor = Replica::load(log, Seq(self.durable as u64)).unwrap();
            let again: Vec<_> = self.providers[n].made.iter().map(|update| Event::Offered(0, update)).collect();
            let news = survivor.handle(&again, self.now).append;
            assert!(news.is_empty(), "provider {n} shows saved what is not on disk");
        }
    }

    fn connect(&mut self, n: usize) {
        self.next_id += 1;
        self.joined.push(PeerId(self.next_id));
        self.providers[n].connect(PeerId(self.next_id));
    }

    fn disconnect(&mut self, n: usize) {
        if self.providers[n].is_open {
            self.left.push(self.providers[n].id);
            self.providers[n].disconnect();
        }
    }

    fn crash(&mut self) {
        (0..self.providers.len()).for_each(|n| self.providers[n].disconnect());
        self.log.truncate(self.durable);
        self.replica = Replica::load(self.log.iter().map(|update| &update[..]), Seq(self.durable as u64)).unwrap();
        (self.joined, self.left) = (Vec::new(), Vec::new());
    }

    fn settle(&mut self, rng: &mut ChaCha8Rng) {
        for n in 0..self.providers.len() {
            if !self.providers[n].is_open {
                self.connect(n);
            }
        }
        for _ in 0..400 {
            self.durable = self.log.len();
            self.turn(8, rng);
            for n in 0..self.providers.len() {
                self.providers[n].arrive();
                self.hear(n);
            }
        }
        for (n, provider) in self.providers.iter().enumerate() {
            assert!(provider.up.is_empty() && provider.down.is_empty() && provider.arrived.is_empty());
            assert_eq!(provider.unsynced, provider.doubtful, "provider {n} shows what is not");
            self.decided += u64::from(provider.doubtful == 0);
        }
    }
}

#[test]
fn p1_h4_counts_come_to_zero_when_all_is_saved_and_not_before() {
    let (saved, decided, all) = (Cell::new(0), Cell::new(0), Cell::new(0));
    sweep(300, |_, rng| {
        let mut world = World {
            providers: [5, 1 << 31].map(Provider::new).into(),
            replica: Replica::new(),
            log: Vec::new(),
            durable: 0,
            next_id: 0,
            joined: Vec::new(),
            left: Vec::new(),
            now: Instant::now(),
            saved: 0,
            decided: 0,
        };
        for _ in 0..300 {
            let n = rng.random_range(0..world.providers.len());
            match rng.random_range(0..100) {
                0..3 => world.disconnect(n),
                3 => world.crash(),
                4..16 if !world.providers[n].is_open => world.connect(n),
                // The document is slow: the client is told of being let in first.
                16 if world.providers[n].is_open && !world.providers[n].is_greeted => world.providers[n].send(None),
                17..35 => world.providers[n].edit(rng),
                35..50 => world.turn(rng.random_range(1..6), rng),
                50..60 => world.durable = rng.random_range(world.durable..=world.log.len()),
                60..80 => world.providers[n].arrive(),
                _ => world.hear(n),
            }
        }
        world.settle(rng);
        saved.set(saved.get() + world.saved);
        decided.set(decided.get() + world.decided);
        all.set(all.get() + world.providers.len() as u64);
    });
    println!("{} times saved, {} of {} counts at zero in the end", saved.get(), decided.get(), all.get());
    assert!(saved.get() > 0 && decided.get() * 10 > all.get() * 9, "{} of {}", decided.get(), all.get());
}
