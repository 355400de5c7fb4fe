//! The disk fills up under the server to the last byte, over and over, and has room again (S9).

use std::path::Path;

use rand::Rng;

use super::Tally;
use crate::http;
use crate::ledger::{Ledger, Totals};
use crate::mount::SmallDisk;
use crate::seed;
use crate::server::{Options, Server};
use crate::wait::{self, PATIENCE};
use crate::writers::{self, Writers};

const DISK_BYTES: u64 = 512 << 20;
/// Rounds on one disk, so that documents do not fill it by themselves.
const ROUNDS_OF_A_DISK: usize = 4;
const LETTERS_MAX: usize = 64 << 10;

/// So many times full. None where a small disk cannot be mounted.
pub fn fills(rounds: usize, seed: u64) -> Option<Tally> {
    let mut rng = seed::rng(seed, 0);
    let mut tally = Tally { what: "a full disk".into(), rounds: 0, totals: Totals::default() };
    while tally.rounds < rounds as u64 {
        let disk = SmallDisk::mount_ext4(DISK_BYTES)?;
        let data = disk.outside().join("data");
        let mut ledger = Ledger::default();
        let mut server = start(&data);
        for _ in 0..ROUNDS_OF_A_DISK.min(rounds - tally.rounds as usize) {
            tally.rounds += 1;
            let when = format!("round {}", tally.rounds);
            let addr = server.addr();
            let writers = Writers::start(addr, &["a", "a", "b"].map(str::to_owned), LETTERS_MAX, &mut rng);
            writers.until_acked(rng.random_range(1..60), || false);
            disk.fill();
            // Segments that were made beforehand still take some: on a slow machine minutes of writing.
            while http::is_ready(addr) && !writers.are_over() {
                writers.until_acked(10, || !http::is_ready(addr));
            }
            wait::until("the server says that the disk is full", PATIENCE, || (!http::is_ready(addr)).then_some(()));
            writers.leave(&mut ledger);
            server.assert_alive();
            ledger.clone().check(format_args!("{when}, while full"), |doc| writers::read(addr, doc));
            let is_killed = rng.random_bool(0.3);
            if is_killed {
                server.kill();
            }
            disk.free();
            if is_killed {
                server = start(&data);
            }
            let addr = server.addr();
            wait::until("there is room again, and the server sees it", PATIENCE, || http::is_ready(addr).then_some(()));
            ledger.check(format_args!("{when}, with room again"), |doc| writers::read(addr, doc));
            assert!(writers::write_once(addr, "a", PATIENCE, &mut ledger, &mut rng), "{when}: an edit is not acked");
        }
        server.kill();
        let server = start(&data);
        ledger.check("at the end", |doc| writers::read(server.addr(), doc));
        tally.totals += ledger.totals();
    }
    Some(tally)
}

/// Without a reserve, so that writes do fail.
fn start(data: &Path) -> Server {
    Options::new(data).arg("--min-free-bytes").arg("0").start()
}
