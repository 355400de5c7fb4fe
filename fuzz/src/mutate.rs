//! Changes an input as an attacker would who knows how the formats are built: integers at their edges, counts beside what
//! they count, parts doubled, moved and taken from other inputs.

use rand::Rng;
use rand::seq::IndexedRandom;
use weft::wire::lib0::write_var_uint;

/// Integers at which something changes.
const EDGES: [u64; 24] = [
    0,
    1,
    2,
    7,
    63,
    64,
    127,
    128,
    255,
    256,
    1_000,
    1 << 14,
    1 << 16,
    1 << 20,
    (1 << 28) - 1,
    1 << 28,
    (1 << 31) - 2,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 32,
    (1 << 53) - 1,
    1 << 53,
    u64::MAX,
];

/// Changes `input` in one to four ways. `others` are inputs to take from, `words` what the format is made of.
pub fn mutate(input: &mut Vec<u8>, others: &[&[u8]], words: &[&[u8]], bytes_max: usize, rng: &mut impl Rng) {
    for _ in 0..rng.random_range(1..=4) {
        change(input, others, words, rng);
    }
    input.truncate(bytes_max);
}

fn change(input: &mut Vec<u8>, others: &[&[u8]], words: &[&[u8]], rng: &mut impl Rng) {
    let at = rng.random_range(0..=input.len());
    let to = (at + rng.random_range(0..=16)).min(input.len());
    match rng.random_range(0..14) {
        0 if at < input.len() => input[at] ^= 1 << rng.random_range(0..8),
        1 if at < input.len() => input[at] = rng.random(),
        2 if at < input.len() => input[at] = input[at].wrapping_add(rng.random_range(1..=3)),
        3 if at < input.len() => input[at] = input[at].wrapping_sub(rng.random_range(1..=3)),
        4 => drop(input.drain(at..to)),
        5 => {
            let again = input[at..to].repeat(1 << rng.random_range(0..5));
            drop(input.splice(at..at, again));
        }
        6 => {
            let moved: Vec<u8> = input.drain(at..to).collect();
            let at = rng.random_range(0..=input.len());
            drop(input.splice(at..at, moved));
        }
        // An integer in the place of the one that stands there, or between two others.
        7..=9 => {
            let mut edge = Vec::new();
            write_var_uint(
                &mut edge,
                EDGES.choose(rng).copied().unwrap_or_default().wrapping_add(rng.random_range(0..2)),
            );
            let end = at + input[at..].iter().take_while(|byte| **byte >= 0x80).count() + 1;
            let end = if rng.random_ratio(1, 4) { at } else { end.min(input.len()) };
            drop(input.splice(at..end, edge));
        }
        10 => {
            if let Some(word) = words.choose(rng) {
                let end = if rng.random() { at } else { (at + word.len()).min(input.len()) };
                drop(input.splice(at..end, word.iter().copied()));
            }
        }
        11 | 12 => {
            if let Some(other) = others.choose(rng) {
                let from = rng.random_range(0..=other.len());
                let until = if rng.random_ratio(1, 4) {
                    other.len()
                } else {
                    (from + rng.random_range(0..=64)).min(other.len())
                };
                drop(input.splice(at..at, other[from..until].iter().copied()));
            }
        }
        _ if rng.random_ratio(1, 4) => input.truncate(at),
        _ => {
            let noise: Vec<u8> = (0..rng.random_range(1..=8)).map(|_| rng.random()).collect();
            drop(input.splice(at..at, noise));
        }
    }
}
