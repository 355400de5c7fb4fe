//! Every target under inputs that chance makes of its corpus: for `WEFT_FUZZ_SECONDS` each, a second unless it says
//! otherwise. By the same numbers each time, so that what it finds is about the change at hand; another
//! `WEFT_SEED` looks elsewhere, and campaigns look everywhere.

use std::time::Duration;

use weft_fuzz::gauge::Counting;
use weft_fuzz::{driver, targets};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn mutated(name: &str) {
    let number = |name| std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is no number")));
    let time = Duration::from_secs(number("WEFT_FUZZ_SECONDS").unwrap_or(1));
    let seed = number("WEFT_SEED").unwrap_or(1);
    let runs = driver::drive(targets::named(name).expect("a target"), time, seed);
    assert!(runs > 0);
}

macro_rules! each_target {
    ($($name:ident)*) => { $(#[test] fn $name() { mutated(stringify!($name)); })* };
}

each_target! {
    ywebsocket hocuspocus frame state_vector update replica load diff awareness token keys names http journal store backup
    audit migrate
}
