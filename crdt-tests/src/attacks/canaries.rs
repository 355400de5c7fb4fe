//! Clients of the stock protocol who write and read beside an attack: two in the document under attack, two in another.
//! Every edit must arrive, in order and acked, on a connection that is never closed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rand::Rng;
use weft::ids::ClientId;
use weft::wire::update::{Kind, Walker};

use crate::message::{self, Writer};
use crate::socket::Socket;

/// Between two edits of one canary, as of people who type.
const PAUSE: Duration = Duration::from_millis(40);
/// An edit that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// The document that nobody attacks.
const ELSEWHERE: &str = "elsewhere";

/// Canaries at work.
pub struct Canaries {
    shared: Arc<Shared>,
    pairs: Vec<JoinHandle<Song>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    heard: [AtomicU64; 2],
    /// What is going on.
    phase: Mutex<&'static str>,
    took: Mutex<Vec<Took>>,
}

/// How long an edit took from one canary to the other, which pair's it was, and what was going on.
#[derive(Debug, Clone, Copy)]
struct Took {
    pair: usize,
    phase: &'static str,
    time: Duration,
}

/// What one canary wrote.
struct Song {
    doc: String,
    client: u64,
    text: String,
}

/// What became of it all.
pub struct Songs {
    songs: Vec<Song>,
    took: Vec<Took>,
}

impl Canaries {
    /// They begin, in quiet.
    pub fn start(addr: SocketAddr, room: &str, rng: &mut impl Rng) -> Self {
        let shared = Arc::new(Shared { phase: Mutex::new("quiet"), ..Shared::default() });
        let pair = |(at, doc): (usize, &str)| {
            let (shared, doc, client) = (shared.clone(), doc.to_owned(), rng.random_range(1 << 40..1 << 50));
            thread::spawn(move || sing(addr, doc, client, &shared, at))
        };
        let pairs = [room, ELSEWHERE].into_iter().enumerate().map(pair).collect();
        Self { shared, pairs }
    }

    /// From now on something else is going on.
    pub fn begin(&self, phase: &'static str) {
        *self.shared.phase.lock().expect("no canary has panicked") = phase;
    }

    /// Edits heard so far, by the pair in the room and by the other one.
    pub fn heard(&self) -> [u64; 2] {
        self.shared.heard.each_ref().map(|heard| heard.load(Ordering::SeqCst))
    }

    /// Both pairs have gone on since then, or do so in time.
    ///
    /// # Panics
    /// When one does not.
    pub fn alive(&self, after: &str, since: [u64; 2]) {
        let began = Instant::now();
        while self.heard().iter().zip(since).any(|(now, then)| *now <= then) {
            assert!(!self.pairs.iter().any(JoinHandle::is_finished), "after {after:?} a canary is dead");
            assert!(began.elapsed() < PATIENCE, "after {after:?} canaries hear nothing: {since:?}, {:?}", self.heard());
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// They end.
    pub fn finish(self) -> Songs {
        self.shared.over.store(true, Ordering::SeqCst);
        let songs = self.pairs.into_iter().map(|pair| pair.join().expect("a canary noticed something")).collect();
        Songs { songs, took: std::mem::take(&mut self.shared.took.lock().expect("no canary has panicked")) }
    }
}

/// One canary writes, the other listens, until it is over.
fn sing(addr: SocketAddr, doc: String, client: u64, shared: &Shared, at: usize) -> Song {
    let (mut writer, mut singer) = (Writer::new(client), Socket::connect(addr, &doc));
    let (sung, listens) = mpsc::channel::<(String, Instant)>();
    let mut ear = Socket::connect(addr, &doc);
    // Both follow the document before the first edit.
    singer.pull(&[0]);
    ear.pull(&[0]);
    let text = thread::scope(|scope| {
        let listener = scope.spawn(move || {
            let mut heard = String::new();
            let mut seen = ear.frames.len();
            for (whole, began) in listens {
                while heard.len() < whole.len() {
                    assert!(began.elapsed() < PATIENCE, "an edit was not heard; closed: {:?}", ear.closed);
                    ear.next(Duration::from_secs(1));
                    for frame in &ear.frames[seen..] {
                        message::update_in(frame)
                            .into_iter()
                            .for_each(|update| heard.push_str(&said_by(client, update)));
                    }
                    // Memory of the test is not what is measured.
                    ear.frames.clear();
                    seen = 0;
                }
                // Several may come as one, when the server was busy.
                assert!(
                    heard.starts_with(&whole),
                    "edits arrive in order and once: {whole:?} was written, {heard:?} heard"
                );
                let phase = *shared.phase.lock().expect("no canary has panicked");
                shared.took.lock().expect("no canary has panicked").push(Took {
                    pair: at,
                    phase,
                    time: began.elapsed(),
                });
                shared.heard[at].fetch_add(1, Ordering::SeqCst);
            }
            assert_eq!(ear.closed, None, "a canary was disconnected");
        });
        let mut text = String::new();
        for number in 0u64.. {
            if shared.over.load(Ordering::SeqCst) {
                break;
            }
            let chunk = format!("{number},");
            let update = writer.append(&chunk);
            text.push_str(&chunk);
            let began = Instant::now();
            singer.send(message::update(&update));
            sung.send((text.clone(), began)).expect("the other canary listens");
            if number % 25 == 24 {
                singer.ack();
            }
            singer.poll();
            assert_eq!(singer.closed, None, "a canary was disconnected");
            singer.frames.clear();
            thread::sleep(PAUSE);
        }
        singer.ack();
        drop(sung);
        listener.join().expect("a canary noticed something");
        text
    });
    Song { doc, client, text }
}

/// What one client says in an update, whoever else does.
fn said_by(client: u64, update: &[u8]) -> String {
    let (mut walker, sections) = Walker::new(update).expect("the server sends updates");
    let mut said = String::new();
    for _ in 0..sections {
        let section = walker.section().expect("a section");
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let item = walker.next(section.client, clock).expect("a struct");
            clock = item.end();
            if let (true, Kind::String(text)) = (section.client == ClientId(client), item.kind) {
                said.push_str(text);
            }
        }
    }
    said
}

impl Songs {
    /// Edits that were heard.
    pub fn count(&self) -> usize {
        self.took.len()
    }

    /// What 99 of 100 edits of a pair took at most while this was going on: of that in the room, or of the other one.
    pub fn p99(&self, pair: usize, phase: &str) -> Duration {
        let of = |took: &&Took| (took.pair, took.phase) == (pair, phase);
        let mut took: Vec<_> = self.took.iter().filter(of).map(|took| took.time).collect();
        took.sort_unstable();
        took.get(took.len() * 99 / 100).copied().unwrap_or_default()
    }

    /// Whoever asks the server reads what canaries wrote; how large the largest of the documents is, bytes.
    ///
    /// # Panics
    /// When something is missing.
    pub fn check(&self, addr: SocketAddr) -> u64 {
        let check = |Song { doc, client, text }: &Song| {
            let state = Socket::connect(addr, doc).pull(&[0]);
            assert_eq!(said_by(*client, &state), *text, "document {doc:?}");
            state.len() as u64
        };
        self.songs.iter().map(check).max().unwrap_or_default()
    }
}
