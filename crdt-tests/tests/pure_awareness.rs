//! Presence: clients that keep y-protocols' rules, with their echoes and their sleep, on connections that break. When all
//! is quiet everybody sees exactly those who are there, with what they said last.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crdt_tests::sweep::sweep;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use weft::ids::{Access, ClientId, PeerId};
use weft::limits::AWARENESS_PAUSE;
use weft::replica::{Effects, Event, Replica};
use weft::wire::awareness::{self, Entry};
use weft::wire::dialect::Dialect;
use weft::wire::message::{ClientMessage, ServerMessage};

/// A client as y-protocols' awareness.js and y-websocket make it.
struct Client {
    own: u64,
    /// Clock and state of everybody heard of, itself among them.
    states: BTreeMap<u64, (u32, Option<String>)>,
    peer: Option<PeerId>,
    up: VecDeque<Vec<u8>>,
    down: VecDeque<Bytes>,
    /// y-websocket sends back what it hears (g10), Hocuspocus ≥ 4.5 does not.
    echoes: bool,
}

impl Client {
    fn set(&mut self, state: Option<String>) {
        let clock = self.states.get(&self.own).map_or(0, |(clock, _)| clock + 1);
        self.states.insert(self.own, (clock, state));
        self.send(&[self.own]);
    }

    fn send(&mut self, clients: &[u64]) {
        if self.peer.is_some() {
            let entries: Vec<_> = clients
                .iter()
                .map(|client| {
                    let (clock, state) = &self.states[client];
                    Entry { client: ClientId(*client), clock: *clock, state: state.as_deref() }
                })
                .collect();
            self.up.push_back(awareness::encode(entries.into_iter()));
        }
    }

    /// `applyAwarenessUpdate`.
    fn hear(&mut self, message: &[u8]) {
        let mut changed = Vec::new();
        for entry in awareness::entries(message).unwrap().map(Result::unwrap) {
            let known = self.states.get(&entry.client.0);
            let news = known.is_none_or(|(clock, state)| {
                *clock < entry.clock || (*clock == entry.clock && entry.state.is_none() && state.is_some())
            });
            if !news {
                continue;
            }
            if entry.client.0 == self.own && entry.state.is_none() && self.states[&self.own].1.is_some() {
                // Somebody thinks it is gone: it says again that it is there.
                self.states.get_mut(&self.own).unwrap().0 = entry.clock + 1;
                self.send(&[self.own]);
                continue;
            }
            self.states.insert(entry.client.0, (entry.clock, entry.state.map(str::to_owned)));
            changed.push(entry.client.0);
        }
        if self.echoes && !changed.is_empty() {
            self.send(&changed);
        }
    }

    fn sees(&self) -> BTreeMap<u64, String> {
        self.states.iter().filter_map(|(client, (_, state))| Some((*client, state.clone()?))).collect()
    }
}

struct Room {
    replica: Replica,
    clients: Vec<Client>,
    now: Instant,
    /// When the replica wants a turn.
    wake_at: Option<Instant>,
    next_peer: u64,
    sent: usize,
}

impl Room {
    fn new(rng: &mut ChaCha8Rng) -> Self {
        let client = |own| Client {
            own,
            states: BTreeMap::from([(own, (0, Some("{}".to_owned())))]),
            peer: None,
            up: VecDeque::new(),
            down: VecDeque::new(),
            echoes: rng.random(),
        };
        let clients = (1..=5).map(client).collect();
        Self { replica: Replica::new(), clients, now: Instant::now(), wake_at: None, next_peer: 1, sent: 0 }
    }

    fn turn(&mut self, events: &[Event<'_>]) {
        let effects: Effects = self.replica.handle(events, self.now);
        self.wake_at = effects.wake_at;
        for client in &mut self.clients {
            let Some(peer) = client.peer else { continue };
            client.down.extend(effects.presence.clone());
            self.sent += usize::from(effects.presence.is_some());
            for (_, message, _) in effects.send.iter().filter(|(to, ..)| *to == peer) {
                if let ServerMessage::Awareness(entries) = message {
                    client.down.push_back(entries.clone());
                }
            }
        }
    }

    fn connect(&mut self, n: usize) {
        let peer = PeerId(self.next_peer);
        self.next_peer += 1;
        let client = &mut self.clients[n];
        client.peer = Some(peer);
        // On opening a client announces itself, at the clock it has (g12).
        client.send(&[client.own]);
        self.turn(&[Event::Joined(peer, Access::Write, Dialect::YWebsocket)]);
    }

    /// The connection breaks; the server may learn of it much later.
    fn disconnect(&mut self, n: usize) -> PeerId {
        let client = &mut self.clients[n];
        client.up.clear();
        client.down.clear();
        // What a client without a connection shows of others is gone; it forgets them (y-websocket's onclose).
        let own = client.own;
        client.states.retain(|id, _| *id == own);
        client.peer.take().unwrap()
    }

    fn up(&mut self, n: usize) {
        let client = &mut self.clients[n];
        if let (Some(peer), Some(message)) = (client.peer, client.up.pop_front()) {
            awareness::validate(&message).unwrap();
            // Its SyncStep2 comes after its first words.
            let answered = [0, 0];
            let events = [
                Event::Message(peer, ClientMessage::Awareness(&message)),
                Event::Message(peer, ClientMessage::SyncStep2(&answered)),
            ];
            self.turn(&events);
        }
    }

    fn down(&mut self, n: usize) {
        if let Some(message) = self.clients[n].down.pop_front() {
            self.clients[n].hear(&message);
        }
    }

    /// Time passes, and what was to come with it comes.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.wake_at.is_some_and(|due| due <= self.now) {
            self.turn(&[Event::Timer]);
        }
    }

    /// What is told a little later, so that more can be told with it, is still to come.
    fn holds_back(&self) -> bool {
        self.wake_at.is_some_and(|due| due <= self.now + AWARENESS_PAUSE)
    }

    fn settle(&mut self) {
        let busy = |client: &Client| !client.up.is_empty() || !client.down.is_empty();
        let mut rounds = 0;
        while self.clients.iter().any(busy) || self.holds_back() {
            self.pass(AWARENESS_PAUSE / 3);
            (0..5).for_each(|n| {
                self.up(n);
                self.down(n);
            });
            rounds += 1;
            assert!(rounds < 10_000, "presence never comes to rest");
        }
    }
}

#[test]
fn g9_to_g12_everybody_sees_exactly_those_who_are_there() {
    sweep(300, |_, rng| come_and_go(rng, false));
}

#[test]
fn g11_sleepers_see_everybody_again_within_two_renewals() {
    sweep(300, |_, rng| come_and_go(rng, true));
}

fn come_and_go(rng: &mut ChaCha8Rng, sleepers: bool) {
    let mut room = Room::new(rng);
    let mut half_open = Vec::new();
    for step in 0..300 {
        let n = rng.random_range(0..5);
        room.pass(Duration::from_millis(rng.random_range(0..20)));
        match (rng.random_range(0..24), room.clients[n].peer.is_some()) {
            (0, true) => half_open.push(room.disconnect(n)),
            (0..3, false) => room.connect(n),
            (3, _) if !half_open.is_empty() => {
                let gone = half_open.remove(rng.random_range(0..half_open.len()));
                room.turn(&[Event::Left(gone)]);
            }
            (4..7, true) => room.clients[n].set(Some(format!("{{\"at\":{step}}}"))),
            // It slept, takes the others for gone, and says so (g11).
            (7, true) if sleepers => {
                let others: Vec<u64> = room.clients[n].sees().into_keys().filter(|id| *id != n as u64 + 1).collect();
                for other in &others {
                    room.clients[n].states.get_mut(other).unwrap().1 = None;
                }
                room.clients[n].send(&others);
            }
            (8..16, _) => room.up(n),
            _ => room.down(n),
        }
    }
    for gone in half_open {
        room.turn(&[Event::Left(gone)]);
    }
    room.settle();
    // Who took others for gone needs to hear from them again: everybody renews its state every 15 s.
    for _ in 0..if sleepers { 2 } else { 0 } {
        room.now += Duration::from_secs(15);
        room.turn(&[Event::Timer]);
        for n in 0..5 {
            if room.clients[n].peer.is_some() {
                let state = room.clients[n].states[&(n as u64 + 1)].1.clone();
                room.clients[n].set(state);
            }
        }
        room.settle();
    }
    let there: BTreeMap<u64, String> = room
        .clients
        .iter()
        .filter(|client| client.peer.is_some())
        .map(|client| (client.own, client.states[&client.own].1.clone().unwrap()))
        .collect();
    assert_eq!(room.replica.census().present, there.len());
    for client in room.clients.iter().filter(|client| client.peer.is_some()) {
        assert_eq!(client.sees(), there, "client {}", client.own);
    }
}

#[test]
fn g10_echoes_die_out_at_once() {
    use rand::SeedableRng;
    let mut room = Room::new(&mut ChaCha8Rng::seed_from_u64(1));
    room.clients.iter_mut().for_each(|client| client.echoes = true);
    (0..5).for_each(|n| room.connect(n));
    room.settle();
    room.sent = 0;
    room.pass(AWARENESS_PAUSE);
    room.clients[0].set(Some("{\"cursor\":1}".to_owned()));
    room.settle();
    assert_eq!(room.sent, 5, "one cursor move is one message to each, its own client included (h12)");
}
