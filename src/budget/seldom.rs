//! What may be done now and then, however often there is a reason to.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Lets some through, then one in a while, and counts the others.
pub struct Seldom<C: Clock = MonotonicClock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    passed_over: AtomicU64,
}

impl Seldom {
    /// One in `every`, and `at_once` of them to begin with.
    pub fn new(every: Duration, at_once: NonZeroU32) -> Self {
        Self::with_clock(every, at_once, MonotonicClock)
    }
}

impl<C: Clock> Seldom<C> {
    fn with_clock(every: Duration, at_once: NonZeroU32, clock: C) -> Self {
        // None only of no time at all, which is no limit either.
        let quota = Quota::with_period(every).unwrap_or(Quota::per_second(NonZeroU32::MAX)).allow_burst(at_once);
        Self { limiter: RateLimiter::direct_with_clock(quota, clock), passed_over: AtomicU64::new(0) }
    }

    /// Whether it is to be done this time; and if so, how often it was not since.
    pub fn now(&self) -> Option<u64> {
        if self.limiter.check().is_ok() {
            Some(self.passed_over.swap(0, Ordering::Relaxed))
        } else {
            self.passed_over.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn some_pass_then_one_in_a_while_and_none_is_forgotten() {
        let (clock, at_once) = (FakeRelativeClock::default(), NonZeroU32::new(3).unwrap());
        let seldom = Seldom::with_clock(Duration::from_secs(60), at_once, clock.clone());
        let passed: Vec<_> = (0..100).filter_map(|_| seldom.now()).collect();
        assert_eq!(passed, [0, 0, 0]);
        clock.advance(Duration::from_secs(59));
        assert_eq!(seldom.now(), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!((seldom.now(), seldom.now()), (Some(98), None));
    }
}
