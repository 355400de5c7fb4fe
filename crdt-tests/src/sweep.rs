//! Simulations run over many seeds. `WEFT_SEED` repeats one of them; `WEFT_SEEDS` runs more than usual.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Runs `simulate` with `usual` seeds, or as the environment says, and names the seed when one fails.
pub fn sweep(usual: u64, simulate: impl Fn(u64, &mut ChaCha8Rng)) {
    let number = |name| std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|_| panic!("{name} is no number")));
    let seeds = match number("WEFT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WEFT_SEEDS").unwrap_or(usual),
    };
    for seed in seeds {
        let _named = Named(seed);
        simulate(seed, &mut ChaCha8Rng::seed_from_u64(seed));
    }
}

struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("repeat with WEFT_SEED={}", self.0);
        }
    }
}
