//! The cases: which byte of which file, or where a file ends.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::template::Template;

/// One thing that happens to one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Damage {
    /// One byte changes.
    Flip {
        /// Below the data directory.
        file: PathBuf,
        /// Position.
        at: u64,
        /// What the byte is combined with; not zero.
        xor: u8,
    },
    /// The file ends early.
    Truncate {
        /// Below the data directory.
        file: PathBuf,
        /// Its new length.
        len: u64,
    },
}

impl Damage {
    /// Which file.
    pub fn file(&self) -> &Path {
        match self {
            Damage::Flip { file, .. } | Damage::Truncate { file, .. } => file,
        }
    }

    /// Does it in `dir`.
    pub fn apply(&self, dir: &Path) {
        match self {
            Damage::Flip { file, at, xor } => {
                let file = OpenOptions::new().read(true).write(true).open(dir.join(file)).expect("a scratch file");
                let mut byte = [0];
                file.read_exact_at(&mut byte, *at).expect("within the file");
                file.write_all_at(&[byte[0] ^ xor], *at).expect("a scratch file");
            }
            Damage::Truncate { file, len } => {
                let file = OpenOptions::new().write(true).open(dir.join(file)).expect("a scratch file");
                file.set_len(*len).expect("a scratch file");
            }
        }
    }
}

/// Every case of a directory: each byte of what is written flipped once, each length of it, and `zeros` places picked in
/// the zeros of each file; in random order, so that the first few are a fair sample.
pub fn cases(template: &Template, zeros: usize, rng: &mut impl Rng) -> Vec<Damage> {
    let mut cases = Vec::new();
    for (file, sparse) in &template.files {
        let mut add = |at: u64, rng: &mut dyn rand::RngCore| {
            cases.push(Damage::Flip { file: file.clone(), at, xor: 1 << (rng.next_u32() % 8) });
            cases.push(Damage::Truncate { file: file.clone(), len: at });
        };
        for (start, part) in &sparse.parts {
            for at in *start..*start + part.len() as u64 {
                add(at, rng);
            }
        }
        let written: u64 = sparse.parts.iter().map(|(_, part)| part.len() as u64).sum();
        for _ in 0..if written < sparse.len { zeros } else { 0 } {
            add(rng.random_range(0..sparse.len), rng);
        }
    }
    cases.shuffle(rng);
    cases
}
