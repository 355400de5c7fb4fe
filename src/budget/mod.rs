//! How much anybody may have of what the server does: rates a second, and a [minute's worth](crate::limits::RATE_BURST) of
//! each at once, so that a paste, an import or a return after a long time away is nothing special.
//!
//! What something cost is known when it is done, so it is paid for afterwards: a [`Purse`] notes what is owed, and says how
//! long to wait before it is paid. Whoever owes is not read from meanwhile, which is how back-pressure reaches whoever
//! sends too much. What an idle connection has costs nothing, since a purse is only made for who has spent something.
//!
//! Who owes whom is the business of those who use this: a connection and its address and user `server`'s, a document `hub`'s.

mod purse;
mod rates;
mod seldom;

use crate::metrics::Counter;

pub use self::purse::{Buckets, Purse};
pub use self::rates::{Kind, Rates, RatesGiven};
pub use self::seldom::Seldom;

/// What something cost, by [`Kind`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bill([u64; Kind::ALL.len()]);

impl Bill {
    /// Adds so much of one kind.
    pub fn add(&mut self, kind: Kind, much: u64) {
        let sum = self.of_mut(kind);
        *sum = sum.saturating_add(much);
    }

    /// How much of it is of this kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    fn of_mut(&mut self, kind: Kind) -> &mut u64 {
        &mut self.0[kind as usize]
    }
}

/// How often something happened for want of each kind.
#[derive(Debug, Default)]
pub struct Counts([Counter; Kind::ALL.len()]);

impl Counts {
    /// Counts one.
    pub fn note(&self, kind: Kind) {
        self.0[kind as usize].add(1);
    }

    /// Name and number of each.
    pub fn get(&self) -> [(&'static str, u64); Kind::ALL.len()] {
        Kind::ALL.map(|kind| (kind.name(), self.0[kind as usize].get()))
    }
}
