//! libFuzzer over the target named in `WEFT_FUZZ_TARGET`; its own options are on the command line. See `campaign fuzz`.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use weft_fuzz::gauge::Counting;
use weft_fuzz::{Target, driver, mutate};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn target() -> &'static Target {
    static TARGET: OnceLock<&Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("WEFT_FUZZ_TARGET").expect("WEFT_FUZZ_TARGET names a target");
        weft_fuzz::targets::named(&name).unwrap_or_else(|| panic!("there is no target {name}"))
    })
}

fuzz_target!(|input: &[u8]| {
    driver::run(target(), input);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // libFuzzer knows what was compared with what, we know what integers look like.
    if seed.is_multiple_of(3) {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut input = data[..size].to_vec();
    let max = max_size.min(target().bytes_max);
    mutate::mutate(&mut input, &[], target().words, max, &mut ChaCha8Rng::seed_from_u64(seed.into()));
    data[..input.len()].copy_from_slice(&input);
    input.len()
});
