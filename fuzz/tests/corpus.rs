//! Every input that was ever found worth keeping, once, as ordinary tests.

use weft_fuzz::gauge::Counting;
use weft_fuzz::{TARGETS, corpus, driver, targets};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn replay(name: &str) {
    let target = targets::named(name).expect("a target");
    for input in corpus::read(name) {
        // The test's output is shown when it fails, and then this is its last line.
        println!("{name}/{}", input.name);
        driver::run(target, &input.bytes);
    }
}

macro_rules! each_target {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn no_target_is_forgotten() {
            assert_eq!([$(stringify!($name)),*], *TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
        }
    };
}

each_target! {
    ywebsocket hocuspocus frame state_vector update replica load diff awareness token keys names http journal store backup
    audit migrate
}
