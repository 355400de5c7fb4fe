//! Campaigns against the promise that nothing acked is ever lost (P1): the same code for CI, where it runs for seconds,
//! and for the command `campaign`, where it runs for as long as one likes.

use std::path::Path;

use crate::ledger::Totals;

pub mod calm;
pub mod full;
pub mod fuzz;
pub mod noise;
pub mod nth;
pub mod scenarios;
pub mod stock;
pub mod storm;

/// What was done, for the record.
#[derive(Debug, Clone)]
pub struct Tally {
    /// Of what.
    pub what: String,
    /// How often something was broken.
    pub rounds: u64,
    /// Edits and documents.
    pub totals: Totals,
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} times; {}", self.what, self.rounds, self.totals)
    }
}

/// A directory for files that need no real disk, in memory where there is such a place.
pub fn ground() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("weft-campaign-").tempdir_in(place).expect("cannot make a temporary directory")
}
