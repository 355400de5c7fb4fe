//! Hands at work on a server: raw sockets that send edits as fast as acks allow, and count what was acked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::Rng;

use crate::ledger::{self, Account, Found, Hand, Ledger};
use crate::message;
use crate::seed;
use crate::socket::Socket;
use crate::wait::{self, PATIENCE};

/// Edits that one hand sends before it waits for an ack.
const WINDOW: usize = 8;
/// Close code of a document that was deleted (WIRE §6).
const DELETED: u16 = 4404;
/// How soon a hand notices that it was told something.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Hands that write until the server is gone, or they are told to stop.
pub struct Writers {
    threads: Vec<JoinHandle<(String, Account)>>,
    told: Arc<Told>,
}

#[derive(Default)]
struct Told {
    /// Send nothing more, wait for the acks.
    to_finish: AtomicBool,
    /// Wait for nothing more.
    to_leave: AtomicBool,
    acked: AtomicU64,
}

impl Writers {
    /// One hand for each of these documents (named as in a path), with edits of up to `letters_max` letters.
    pub fn start(addr: SocketAddr, documents: &[String], letters_max: usize, rng: &mut impl Rng) -> Self {
        let told = Arc::new(Told::default());
        let start = |doc: &String| {
            let (doc, told, seed) = (doc.clone(), told.clone(), rng.random());
            std::thread::spawn(move || {
                let account = write(addr, &doc, letters_max, seed, &told);
                (doc, account)
            })
        };
        Self { threads: documents.iter().map(start).collect(), told }
    }

    /// Edits acked so far, of all hands together.
    pub fn acked(&self) -> u64 {
        self.told.acked.load(Ordering::Relaxed)
    }

    /// Whether no hand writes any more.
    pub fn are_over(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until so many more edits are acked, no hand writes any more, or `given_up`.
    pub fn until_acked(&self, edits: u64, mut given_up: impl FnMut() -> bool) {
        let enough = self.acked() + edits;
        wait::until("edits are acked", PATIENCE, || {
            (self.acked() >= enough || self.are_over() || given_up()).then_some(())
        });
    }

    /// Lets them end once all they sent is acked, or their connections have ended, or `given_up`; enters what they did.
    pub fn finish(self, into: &mut Ledger, mut given_up: impl FnMut() -> bool) {
        self.told.to_finish.store(true, Ordering::Relaxed);
        wait::until("what was sent is acked", PATIENCE, || (self.are_over() || given_up()).then_some(()));
        self.leave(into);
    }

    /// Ends them, and enters what they did; for a server that is gone.
    pub fn leave(self, into: &mut Ledger) {
        self.told.to_finish.store(true, Ordering::Relaxed);
        self.told.to_leave.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let (doc, account) = thread.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
            into.enter(&doc, account);
        }
    }
}

fn write(addr: SocketAddr, doc: &str, letters_max: usize, seed: u64, told: &Told) -> Account {
    let mut rng = seed::rng(seed, 0);
    let mut hand = Hand::new(&mut rng);
    let Ok(mut socket) = Socket::try_connect(addr, doc) else { return hand.account() };
    while socket.closed.is_none() && !told.to_finish.load(Ordering::Relaxed) {
        let update = hand.write(ledger::letters(&mut rng, letters_max));
        send(&mut socket, &hand, &update);
        until_outstanding(&mut socket, &mut hand, rng.random_range(0..WINDOW), told);
    }
    until_outstanding(&mut socket, &mut hand, 0, told);
    hand.account()
}

fn send(socket: &mut Socket, hand: &Hand, update: &[u8]) {
    socket.send(message::update(update));
    socket.send(message::ack(hand.sent() as u64));
}

/// Reads acks until no more than `outstanding` edits wait for theirs, or there is no reason to wait any more.
fn until_outstanding(socket: &mut Socket, hand: &mut Hand, outstanding: usize, told: &Told) {
    while hand.sent() - hand.acked() > outstanding && socket.closed.is_none() {
        // A connection that was cut may still hold acks that came before.
        let leaving = told.to_leave.load(Ordering::Relaxed);
        let Some(frame) = socket.next(LOOK_EVERY) else {
            if leaving {
                return;
            }
            continue;
        };
        // Nothing of what others write is of interest, and a storm of it would fill the memory.
        socket.frames.clear();
        if let [102, payload @ ..] = &frame[..] {
            let number = message::Reader(message::Reader(payload).var_bytes()).var_uint() as usize;
            told.acked.fetch_add((number - hand.acked()) as u64, Ordering::Relaxed);
            hand.ack(number);
        }
    }
}

/// Sends one edit to a document, and enters it. Whether its ack came within `patience`.
pub fn write_once(addr: SocketAddr, doc: &str, patience: Duration, into: &mut Ledger, rng: &mut impl Rng) -> bool {
    let mut hand = Hand::new(rng);
    if let Ok(mut socket) = Socket::try_connect(addr, doc) {
        let update = hand.write(rng.random_range(1..100));
        send(&mut socket, &hand, &update);
        let start = std::time::Instant::now();
        while hand.acked() == 0 && start.elapsed() < patience && socket.closed.is_none() {
            until_outstanding(&mut socket, &mut hand, 0, &Told { to_leave: true.into(), ..Told::default() });
        }
    }
    let is_acked = hand.acked() > 0;
    into.enter(doc, hand.account());
    is_acked
}

/// What a server shows of a document to somebody who knows nothing.
pub fn read(addr: SocketAddr, doc: &str) -> Found {
    try_read(addr, doc).unwrap_or_else(|closed| panic!("document {doc:?} cannot be read: closed {closed:?}"))
}

/// As [`read`]; an error is the close code that came instead, if one did.
pub fn try_read(addr: SocketAddr, doc: &str) -> Result<Found, Option<u16>> {
    let mut socket = Socket::connect(addr, doc);
    socket.send(message::step1_empty());
    let mut answer = message::Answer::default();
    while let Some(frame) = socket.next(PATIENCE) {
        if let Some(update) = answer.take(&frame) {
            return Ok(Found::Document(update));
        }
    }
    match socket.closed.flatten() {
        Some(DELETED) => Ok(Found::Deleted),
        closed => Err(closed),
    }
}
