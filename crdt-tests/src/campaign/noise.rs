//! Random and mutated messages through real sockets, in all three dialects, beside canaries: what `fuzz/` tells a function,
//! told to the server (HARDENING §2, random and mutated bytes).
//!
//! Messages come of the corpora of `fuzz/` and of the recordings of stock clients, with a few bytes changed. How many
//! came through is the server's own count of what it understood and of what it could not.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::Tally;
use crate::admin::Admin;
use crate::attacks::canaries::Canaries;
use crate::ledger::Totals;
use crate::load::dialect::frame;
use crate::server::{DataDir, Options, workspace};
use crate::socket::Socket;
use crate::wait::PATIENCE;
use crate::{hocuspocus, message, process, recording, seed};

/// The document of the canaries in which noise is made, too.
const ROOM: &str = "noise";
/// Of so many connections one goes there: it grows by what is valid by chance, and every client that joins reads it.
const ROOM_EVERY: u64 = 512;
/// Connections to another document before the next one begins, for the same reason.
const DOCUMENT_EVERY: u64 = 512;
/// Those who make noise. The first one speaks as y-sweet's clients do, who are held for a while before they are sent away,
/// since they come back at once (WIRE g-s3).
const THREADS: u64 = 4;
/// Messages of one connection, which as a rule ends before it has said all: of malformed ones a few are passed over.
const MESSAGES: usize = 48;
/// Longest message.
const BYTES_MAX: usize = 4 << 10;
/// How much the server's memory may grow: a few hundred small documents and sessions.
const GROWTH_BYTES_MAX: u64 = 128 << 20;
/// Between two looks at the server's count.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Sends noise until the server has received so many messages.
///
/// # Panics
/// When a canary noticed something, when the server dies, hangs, takes too much memory, or is not whole afterwards.
pub fn run(messages: u64, seed: u64) -> Tally {
    let data = DataDir::new();
    // It is to be read, not slowed.
    let mut server = Options::new(data.path()).arg("--rate-per-connection").arg("off").start();
    let (addr, admin) = (server.addr(), Admin::of(&server));
    let canaries = Canaries::start(addr, ROOM, &mut seed::rng(seed, 0));
    let before = process::rss_bytes(server.pid());
    process::reset_peak(server.pid());
    let (seeds, over, connections) = (Seeds::read(), AtomicBool::new(false), AtomicU64::new(0));
    let received = thread::scope(|scope| {
        // However this ends, those who make noise do.
        let _over = Over(&over);
        let crowd: Vec<_> = (1..=THREADS)
            .map(|stream| {
                let (seeds, over, connections) = (&seeds, &over, &connections);
                let mut rng = seed::rng(seed, stream);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let number = connections.fetch_add(1, Ordering::Relaxed);
                        converse(addr, number, stream == 1, seeds, &mut rng);
                    }
                })
            })
            .collect();
        loop {
            server.assert_alive();
            assert!(!crowd.iter().any(thread::ScopedJoinHandle::is_finished), "who makes noise has ended");
            let received = received(&admin);
            if received >= messages {
                break received;
            }
            let heard = canaries.heard();
            thread::sleep(LOOK_EVERY);
            canaries.alive("noise", heard);
        }
    });
    let grown = process::peak_rss_bytes(server.pid()).saturating_sub(before);
    let songs = canaries.finish();
    songs.check(addr);
    println!(
        "{received} messages on {} connections, {} edits of canaries; memory grew by at most {} MB",
        connections.into_inner(),
        songs.count(),
        grown >> 20
    );
    assert!(grown <= GROWTH_BYTES_MAX, "memory grew by {} MB", grown >> 20);
    let said = server.stderr();
    let panics: Vec<&str> = said.lines().filter(|line| line.contains("panicked")).collect();
    assert!(panics.is_empty(), "{panics:?}");
    server.kill();
    server.restart();
    songs.check(server.addr());
    Tally { what: "noise".into(), rounds: received, totals: Totals::default() }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Messages that the server has received, understood or not.
fn received(admin: &Admin) -> u64 {
    let text = admin.get("/metrics").text();
    let count = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        value.unwrap_or_else(|| panic!("no {name} in the metrics")) as u64
    };
    count("weft_received_messages_total") + count("weft_malformed_messages_total")
}

/// What messages are made of.
struct Seeds {
    /// As y-websocket's and y-sweet's clients say them.
    plain: Vec<Vec<u8>>,
    /// As Hocuspocus' providers do, with an address before them.
    addressed: Vec<Vec<u8>>,
}

impl Seeds {
    fn read() -> Self {
        let corpus = |target: &str| -> Vec<Vec<u8>> {
            let dir = workspace().join("fuzz/corpus").join(target);
            let mut paths: Vec<_> =
                fs::read_dir(dir).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
            paths.sort();
            paths.iter().map(|path| fs::read(path).expect("an input")).collect()
        };
        let recorded = recording::all().into_iter().flat_map(|(_, lines)| lines);
        let mut plain: Vec<_> = recorded.filter_map(|line| line.frame("c>s")).collect();
        plain.extend(corpus("ywebsocket"));
        for update in corpus("update") {
            plain.extend([message::update(&update), message::step2(&update)]);
        }
        plain.extend(corpus("state_vector").iter().map(|vector| message::step1(vector)));
        plain.extend(corpus("awareness").iter().map(|presence| [vec![1], message::var_bytes(presence)].concat()));
        plain.retain(|message| message.len() <= BYTES_MAX);
        Self { plain, addressed: corpus("hocuspocus") }
    }
}

/// One connection, from its handshake to its end, which must come.
fn converse(addr: SocketAddr, number: u64, is_ysweet: bool, seeds: &Seeds, rng: &mut ChaCha8Rng) {
    let doc =
        if number.is_multiple_of(ROOM_EVERY) { ROOM.to_owned() } else { format!("{ROOM}-{}", number / DOCUMENT_EVERY) };
    let is_hocuspocus = !is_ysweet && rng.random_ratio(1, 2);
    let path = match (is_hocuspocus, is_ysweet) {
        (true, _) => String::new(),
        (_, true) => format!("d/{doc}/ws/{doc}"),
        _ => doc.clone(),
    };
    let first = if is_hocuspocus { hocuspocus::frame(&doc, &hocuspocus::auth("")) } else { message::step1_empty() };
    let mut bytes = frame(&[], &first);
    for _ in 0..rng.random_range(1..=MESSAGES) {
        let foreign = is_hocuspocus && rng.random_ratio(1, 4);
        let mut message = if foreign { &seeds.addressed } else { &seeds.plain }.choose(rng).expect("a seed").clone();
        if rng.random_ratio(7, 8) {
            mutate(&mut message, &seeds.plain, rng);
        }
        if is_hocuspocus && !foreign {
            message = hocuspocus::frame(&doc, &message);
        }
        bytes.extend(frame(&[], &message));
    }
    let mut end = frame(&[], &[]);
    end[0] = 0x88;
    bytes.extend(end);
    if rng.random_ratio(1, 8) {
        mutate(&mut bytes, &seeds.plain, rng);
    }
    let socket = Socket::connect(addr, &path);
    let mut stream = socket.stream();
    // It may have heard enough before we have said all.
    let said = stream.write_all(&bytes).and_then(|()| stream.shutdown(Shutdown::Write));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut heard = [0; 16 << 10];
    loop {
        match stream.read(&mut heard) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                let open = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!open, "connection {number} to {doc:?} is still open; all was said: {said:?}");
                break;
            }
        }
    }
}

/// Changes a few bytes, as fuzzers do.
fn mutate(bytes: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut ChaCha8Rng) {
    const TELLING: [u8; 8] = [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, 0xc0];
    for _ in 0..rng.random_range(1..=5) {
        let at = rng.random_range(0..=bytes.len());
        let to = rng.random_range(at..=bytes.len().min(at + 32));
        match rng.random_range(0..8) {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
            1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = rng.random()),
            2 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = *TELLING.choose(rng).expect("some")),
            3 => drop(bytes.drain(at..to)),
            4 => {
                let again = bytes[at..to].to_vec();
                drop(bytes.splice(at..at, again));
            }
            // A number, perhaps one of which a length or a clock is made.
            5 => drop(
                bytes.splice(at..to.min(at + 1), message::var_uint(rng.random::<u64>() >> rng.random_range(0..64))),
            ),
            6 => {
                drop(bytes.splice(at..at, (0..rng.random_range(1..16)).map(|_| rng.random::<u8>()).collect::<Vec<_>>()))
            }
            _ => {
                let other = others.choose(rng).expect("a seed");
                let from = rng.random_range(0..=other.len());
                drop(bytes.splice(at.., other[from..].iter().copied()));
            }
        }
    }
    bytes.truncate(MESSAGES * BYTES_MAX);
}
