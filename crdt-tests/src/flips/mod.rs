//! What a data directory comes to when one byte of it flips, or one of its files is cut short: every place, one at a time.
//!
//! A [`Template`] is a small directory made by the real binary. A worker process ([`worker`]) makes a damaged copy for
//! each case, opens it as `weft serve` does, and compares what it serves with the truth; a process of its own, because
//! damage may hang or end one. [`sweep`] hands out the cases and counts the [`Verdict`]s.

mod damage;
mod judge;
mod template;
mod workers;

pub use damage::{Damage, cases};
pub use judge::{Verdict, worker};
pub use template::{Size, Template};
pub use workers::{Sweep, Tally, sweep};

/// A directory for copies, in memory where there is a place for it.
pub fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    let dir = builder.prefix("weft-flips-");
    let made = if memory.is_dir() { dir.tempdir_in(memory).or_else(|_| dir.tempdir()) } else { dir.tempdir() };
    made.expect("cannot make a temporary directory")
}
