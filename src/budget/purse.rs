//! What is owed, and the buckets that it is paid from: GCRA, by `governor`, one atomic for each rate.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::{Bill, Kind, Rates};
use crate::limits::RATE_BURST;

/// One bucket for each rate. Shared by all that draw from it, without a lock.
pub struct Buckets<C: Clock = MonotonicClock> {
    buckets: [Option<Bucket<C>>; Kind::ALL.len()],
    clock: C,
}

struct Bucket<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    /// What it holds when it is full.
    burst: NonZeroU32,
}

impl Buckets {
    /// Full ones.
    pub fn full(rates: &Rates) -> Self {
        Self::with_clock(rates, MonotonicClock)
    }

    /// For who has spent everything just before.
    pub fn empty(rates: &Rates) -> Self {
        let buckets = Self::full(rates);
        for bucket in buckets.buckets.iter().flatten() {
            // All of it is there to be taken.
            let _ = bucket.limiter.check_n(bucket.burst);
        }
        buckets
    }
}

impl<C: Clock> Buckets<C> {
    fn with_clock(rates: &Rates, clock: C) -> Self
    where
        C: Clone,
    {
        let bucket = |kind| {
            let rate = rates.of(kind)?;
            let burst = u64::from(rate.get()).saturating_mul(RATE_BURST.as_secs());
            let burst = NonZeroU32::new(u32::try_from(burst).unwrap_or(u32::MAX)).unwrap_or(rate);
            let quota = Quota::per_second(rate).allow_burst(burst);
            Some(Bucket { limiter: RateLimiter::direct_with_clock(quota, clock.clone()), burst })
        };
        Self { buckets: Kind::ALL.map(bucket), clock }
    }

    /// Takes `much`, or nothing and says how long to wait for it. More than there can ever be is taken as often as the bucket
    /// can be emptied: what is left of it is given back.
    fn take(&self, kind: Kind, much: u64) -> Result<u64, Duration> {
        let Some(bucket) = &self.buckets[kind as usize] else { return Ok(0) };
        let now = u32::try_from(much).unwrap_or(u32::MAX).min(bucket.burst.get());
        let Some(now) = NonZeroU32::new(now) else { return Ok(0) };
        match bucket.limiter.check_n(now) {
            Ok(Ok(())) | Err(_) => Ok(much - u64::from(now.get())),
            Ok(Err(until)) => Err(until.wait_time_from(self.clock.now())),
        }
    }
}

/// What somebody owes to some buckets.
pub struct Purse<C: Clock = MonotonicClock> {
    buckets: Arc<Buckets<C>>,
    owed: Bill,
}

impl<C: Clock> Purse<C> {
    /// One that owes nothing.
    pub fn new(buckets: Arc<Buckets<C>>) -> Self {
        Self { buckets, owed: Bill::default() }
    }

    /// Owes that much more.
    pub fn charge(&mut self, bill: &Bill) {
        for kind in Kind::ALL {
            self.owed.add(kind, bill.of(kind));
        }
    }

    /// Pays what can be paid now. `Some` is what takes longest of the rest, and how long.
    pub fn pay(&mut self) -> Option<(Kind, Duration)> {
        let mut longest: Option<(Kind, Duration)> = None;
        for kind in Kind::ALL {
            let owed = self.owed.of_mut(kind);
            while *owed > 0 {
                match self.buckets.take(kind, *owed) {
                    Ok(left) => *owed = left,
                    Err(wait) => {
                        if longest.is_none_or(|(_, longest)| longest < wait) {
                            longest = Some((kind, wait));
                        }
                        break;
                    }
                }
            }
        }
        longest
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn bill(kind: Kind, much: u64) -> Bill {
        let mut bill = Bill::default();
        bill.add(kind, much);
        bill
    }

    fn purses(given: &str) -> (FakeRelativeClock, [Purse<FakeRelativeClock>; 2]) {
        let rates = given.parse::<super::super::RatesGiven>().unwrap().or(Rates::default());
        let clock = FakeRelativeClock::default();
        let buckets = Arc::new(Buckets::with_clock(&rates, clock.clone()));
        (clock, [Purse::new(buckets.clone()), Purse::new(buckets)])
    }

    fn spend<C: Clock>(purse: &mut Purse<C>, kind: Kind, much: u64) -> Option<Duration> {
        purse.charge(&bill(kind, much));
        purse.pay().map(|(_, wait)| wait)
    }

    #[test]
    fn a_minutes_worth_goes_at_once_and_then_it_is_the_rate() {
        let (clock, [mut purse, _]) = purses("messages=100");
        assert_eq!(spend(&mut purse, Kind::Messages, 6_000), None);
        let wait = spend(&mut purse, Kind::Messages, 50).unwrap();
        assert_eq!(wait, Duration::from_millis(500));
        clock.advance(wait / 2);
        assert!(purse.pay().is_some(), "all of it or nothing");
        clock.advance(wait / 2);
        assert_eq!(purse.pay(), None);
        let (mut waited, before) = (Duration::ZERO, 1_000);
        for _ in 0..before / 10 {
            if let Some(wait) = spend(&mut purse, Kind::Messages, 10) {
                waited += wait;
                clock.advance(wait);
                assert_eq!(purse.pay(), None);
            }
        }
        assert_eq!(waited, Duration::from_secs(10), "{before} messages at 100 a second");
        clock.advance(RATE_BURST);
        assert_eq!(spend(&mut purse, Kind::Messages, 6_000), None, "full again after a minute");
    }

    #[test]
    fn what_is_larger_than_the_bucket_is_paid_in_parts() {
        let (clock, [mut purse, _]) = purses("cpu-ms=1");
        let mut wait = spend(&mut purse, Kind::Cpu, 150_000);
        let mut waited = Duration::ZERO;
        while let Some(more) = wait {
            clock.advance(more);
            waited += more;
            wait = purse.pay().map(|(_, wait)| wait);
        }
        assert_eq!(waited, Duration::from_secs(90), "150 ms, of which 60 were there");
    }

    #[test]
    fn a_bucket_is_shared_by_all_who_draw_from_it() {
        let (clock, [mut one, mut other]) = purses("bytes=1000,structs=10");
        assert_eq!(spend(&mut one, Kind::Bytes, 60_000), None);
        assert_eq!(spend(&mut other, Kind::Structs, 600), None, "of another kind there is enough");
        assert_eq!(spend(&mut other, Kind::Messages, u64::MAX), None, "and this one has no limit");
        assert_eq!(spend(&mut other, Kind::Bytes, 2_000), Some(Duration::from_secs(2)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(other.pay(), None);
    }

    #[test]
    fn the_longest_wait_counts() {
        let (_, [mut purse, _]) = purses("messages=1,opens=1");
        purse.charge(&bill(Kind::Messages, 61));
        purse.charge(&bill(Kind::Opens, 60));
        assert_eq!(purse.pay(), Some((Kind::Messages, Duration::from_secs(1))), "a whole minute's worth went first");
        purse.charge(&bill(Kind::Opens, 3));
        assert_eq!(purse.pay().map(|(_, wait)| wait).unwrap(), Duration::from_secs(3));
    }
}
