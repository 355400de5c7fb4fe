//! The Nth operation of the real binary fails; a sample of what `campaign nth` tries to exhaustion.

use crdt_tests::campaign::{nth, scenarios};
use crdt_tests::seed;
use crdt_tests::skip::skipped;

/// Of each scenario; the command tries all of them.
const FAULTS: usize = 16;

#[test]
fn p1_s7_any_operation_may_fail() {
    let seed = seed::seed("p1_s7_any_operation_may_fail");
    for scenario in scenarios::ALL {
        match nth::run(scenario, nth::Extent::Sample(FAULTS), seed, 1) {
            Some(tally) => println!("{tally}"),
            None => return skipped("a library can be preloaded under glibc only"),
        }
    }
}
