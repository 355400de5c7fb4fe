//! One seed for everything random in a test: from `WEFT_SEED`, else fresh; always printed, so that a failure can be repeated.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The seed of this run, printed with the test's name.
pub fn seed(test: &str) -> u64 {
    let seed = match std::env::var("WEFT_SEED") {
        Ok(text) => text.trim().parse().unwrap_or_else(|_| panic!("WEFT_SEED is not a number: {text:?}")),
        Err(_) => rand::random::<u32>().into(),
    };
    println!("{test}: repeat with WEFT_SEED={seed}");
    seed
}

/// Chance that repeats with the seed; `stream` tells apart independent users of one seed.
pub fn rng(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}
