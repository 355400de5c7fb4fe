//! The catalogue of attacks: each a case that runs beside canaries, who edit and must notice nothing.
//!
//! A case is one burst of at most a few seconds; [`run`] runs cases on one server, each once in order or as chance mixes
//! them, and judges by what the canaries saw, by the server's memory, and by what is on disk after a kill. [`rows`] is the
//! specification's table with the case or the test for each of its rows.

pub(crate) mod canaries;
mod documents;
mod floods;
mod frames;
mod http;
mod others;
pub mod rows;

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use self::canaries::Canaries;
use self::others::Others;
use crate::process;
use crate::seed;
use crate::server::{DataDir, Server};

/// The document under attack, in which two of the canaries are.
pub const ROOM: &str = "attacked";
/// How much longer than in quiet the slowest hundredth of the canaries' edits may take, in hundredths…
const SLOWER_PERCENT: u32 = 150;
/// …and beside that, in the document that is not attacked. Attacker, canaries and server share the cores; who waits for
/// somebody else's attack waits for more than this. Where the machine does other things too, it is longer by as much.
const FLOOR: Duration = Duration::from_millis(20);
/// …and in the one that is. It has one replica, and what any of its editors wrote is integrated before what came after it:
/// the largest updates of the catalogue keep yrs busy for a tenth of a second or more.
const FLOOR_IN_ROOM: Duration = Duration::from_millis(200);
/// One run at a time: two would judge each other.
static ALONE: Mutex<()> = Mutex::new(());
/// How much the server's memory may grow: several of the largest messages, at once, and documents that names made.
const GROWTH_BYTES_MAX: u64 = 384 << 20;
/// How long canaries edit in quiet before.
const QUIET: Duration = Duration::from_secs(3);

/// What a case may use.
pub struct Stage<'a> {
    /// The public listener.
    pub addr: SocketAddr,
    /// Chance.
    pub rng: &'a mut ChaCha8Rng,
}

/// One kind of attack.
pub struct Attack {
    /// In a few words, as a row of [`rows`] names it.
    pub name: &'static str,
    run: Run,
}

/// One burst.
type Run = fn(&mut Stage<'_>);

/// All of them.
pub fn catalogue() -> Vec<Attack> {
    let rooms = [frames::ATTACKS, http::ATTACKS, documents::ATTACKS, floods::ATTACKS];
    rooms.into_iter().flatten().map(|&(name, run)| Attack { name, run }).collect()
}

/// How many of which.
pub enum Length {
    /// Each once, in order.
    Once,
    /// As chance mixes them, for so long.
    Mixed(Duration),
}

/// Attacks one server, and gives how many attacks there were.
///
/// # Panics
/// When a canary noticed something, when the server's memory grew too much, or when it is not whole afterwards.
pub fn run(length: &Length, seed: u64) -> u64 {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let mut rng = seed::rng(seed, 1);
    let canaries = Canaries::start(server.addr(), ROOM, &mut rng);
    std::thread::sleep(QUIET);
    canaries.begin("attacks");
    let others = Others::begin();
    let before = process::rss_bytes(server.pid());
    process::reset_peak(server.pid());
    let attacks = catalogue();
    let mut count = 0;
    let mut attack = |attack: &Attack, rng: &mut ChaCha8Rng| {
        let (began, heard) = (Instant::now(), canaries.heard());
        (attack.run)(&mut Stage { addr: server.addr(), rng });
        canaries.alive(attack.name, heard);
        println!("{:>6.0?}  {}", began.elapsed(), attack.name);
        count += 1;
    };
    match length {
        Length::Once => attacks.iter().for_each(|one| attack(one, &mut rng)),
        Length::Mixed(time) => {
            let began = Instant::now();
            while began.elapsed() < *time {
                let one = &attacks[rng.random_range(0..attacks.len())];
                attack(one, &mut rng);
            }
        }
    }
    server.assert_alive();
    let grown = process::peak_rss_bytes(server.pid()).saturating_sub(before);
    let others = others.share();
    let songs = canaries.finish();
    let document = songs.check(server.addr());
    println!(
        "{count} attacks, {} edits of canaries; memory grew by at most {} MB, the document has {} MB",
        songs.count(),
        grown >> 20,
        document >> 20
    );
    println!("others had {:.0} % of the machine", others * 100.0);
    for (pair, (place, floor)) in [("in the room", FLOOR_IN_ROOM), ("elsewhere", FLOOR)].into_iter().enumerate() {
        let [quiet, attacked] = ["quiet", "attacks"].map(|phase| songs.p99(pair, phase));
        println!("p99 {place}: {quiet:.1?} in quiet, {attacked:.1?} under attack");
        // What takes so long on a machine of one's own takes longer on a part of it.
        let most = quiet * SLOWER_PERCENT / 100 + floor.div_f64(1.0 - others);
        assert!(
            attacked <= most,
            "p99 {place}: {attacked:?} under attack, {quiet:?} in quiet, at most {most:?} is right"
        );
    }
    assert!(grown <= GROWTH_BYTES_MAX, "memory grew by {} MB", grown >> 20);

    // What canaries wrote is on disk, and what is on disk opens.
    server.kill();
    server.restart();
    songs.check(server.addr());
    count
}
