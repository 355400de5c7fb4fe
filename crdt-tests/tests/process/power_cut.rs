//! The power goes in the midst of things; a sample of what `campaign power-cut` does for longer.

use std::panic::{self, AssertUnwindSafe};

use crdt_tests::campaign::ground;
use crdt_tests::campaign::storm::{self, Activity};
use crdt_tests::faults::{self, Fault, How};
use crdt_tests::ledger::Ledger;
use crdt_tests::power::{Disk, Kind};
use crdt_tests::seed;
use crdt_tests::server::{Options, Server};
use crdt_tests::skip::skipped;
use crdt_tests::writers::{self, Writers};

/// On each file system: in each activity once.
const CUTS: usize = Activity::ALL.len();

#[test]
fn p1_power_cuts_lose_nothing_acked() {
    let seed = seed::seed("p1_power_cuts_lose_nothing_acked");
    for kind in Kind::ALL {
        // Says itself why it cannot run here.
        if let Some(tally) = storm::power_cuts(kind, CUTS, seed) {
            println!("{tally}");
        }
    }
}

/// The check above can fail: were acks sent without a sync, or did the disk lie about it, the first cut would show it.
#[test]
fn p1_a_power_cut_shows_syncs_that_did_not_happen() {
    let Some(library) = faults::library() else { return skipped("a library can be preloaded under glibc only") };
    for kind in Kind::ALL {
        let Some(disk) = Disk::mount(kind, ground()) else { continue };
        let (data, report) = (disk.path().join("data"), disk.path().join("report"));
        // Its journal and its store are on the disk before the lies begin.
        Server::start_on(&data).drain();
        let fault = Fault { nth: 1, how: How::Lie, sticks: true };
        let mut options = Options::new(&data);
        options.env.extend(faults::environment(library, &data, &report, Some(fault)));
        let mut server = options.start();
        let mut ledger = Ledger::default();
        let writers = Writers::start(server.addr(), &["a".into(), "b".into()], 1_000, &mut seed::rng(1, 0));
        writers.until_acked(50, || false);
        disk.cut();
        server.kill();
        writers.leave(&mut ledger);
        assert!(ledger.totals().acked >= 50);
        disk.restore();
        let looked = panic::catch_unwind(AssertUnwindSafe(|| {
            let server = Server::start_on(&data);
            ledger.check("after lies", |doc| writers::read(server.addr(), doc));
        }));
        let cause = looked.expect_err("acked edits were never synced, and nobody noticed");
        let cause = cause.downcast_ref::<String>().expect("a panic with a text");
        println!("{}: noticed: {cause}", kind.name());
        assert!(cause.contains("were acked") || cause.contains("ended"), "{cause}");
    }
}
