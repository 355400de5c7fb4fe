//! A circuit breaker: who does not answer is left alone for a while, and is tried with one question then. Pure: time is
//! an argument.

use std::time::{Duration, Instant};

use crate::limits::{WEBHOOK_FAILURES_MAX, WEBHOOK_PAUSE_MAX, WEBHOOK_PAUSE_MIN};

/// Whether questions may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    /// They may; so many in a row have failed.
    Closed { failures: u32 },
    /// They may not until then.
    Open { until: Instant, pause: Duration },
    /// One is being asked, and decides.
    HalfOpen { pause: Duration },
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Breaker {
    /// Whether a question may be asked at `now`. Each that may must be followed by its outcome.
    pub(super) fn permit(&mut self, now: Instant) -> bool {
        match *self {
            Breaker::Closed { .. } => true,
            Breaker::Open { until, pause } if until <= now => {
                *self = Breaker::HalfOpen { pause };
                true
            }
            Breaker::Open { .. } | Breaker::HalfOpen { .. } => false,
        }
    }

    /// A question was answered, whatever the answer was. Late answers to questions of before count as much as any.
    pub(super) fn answered(&mut self) {
        *self = Breaker::default();
    }

    /// A question was not answered, or not understandably.
    pub(super) fn failed(&mut self, now: Instant) {
        *self = match *self {
            Breaker::Closed { failures } if failures + 1 < WEBHOOK_FAILURES_MAX => {
                Breaker::Closed { failures: failures + 1 }
            }
            Breaker::Closed { .. } => Breaker::Open { until: now + WEBHOOK_PAUSE_MIN, pause: WEBHOOK_PAUSE_MIN },
            Breaker::HalfOpen { pause } => {
                let pause = (2 * pause).min(WEBHOOK_PAUSE_MAX);
                Breaker::Open { until: now + pause, pause }
            }
            // One of those that were under way when it opened.
            open @ Breaker::Open { .. } => open,
        };
    }

    /// For the metrics.
    pub(super) fn is_closed(self) -> bool {
        matches!(self, Breaker::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_some_failures_in_a_row_and_closes_after_one_answer() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for round in 0..3 {
            for _ in 1..WEBHOOK_FAILURES_MAX {
                assert!(breaker.permit(now));
                breaker.failed(now);
            }
            // One answer in between, and it counts anew.
            breaker.answered();
            assert_eq!(breaker, Breaker::default(), "round {round}");
        }
        for _ in 0..WEBHOOK_FAILURES_MAX {
            assert!(breaker.permit(now));
            breaker.failed(now);
        }
        let mut pause = WEBHOOK_PAUSE_MIN;
        while pause < 3 * WEBHOOK_PAUSE_MAX {
            assert!(!breaker.permit(now) && !breaker.is_closed());
            breaker.failed(now);
            now += pause.min(WEBHOOK_PAUSE_MAX);
            assert!(breaker.permit(now), "one may try after {pause:?}");
            assert!(!breaker.permit(now), "and nobody beside it");
            breaker.failed(now);
            assert!(!breaker.permit(now));
            pause *= 2;
        }
        now += WEBHOOK_PAUSE_MAX;
        assert!(breaker.permit(now));
        breaker.answered();
        assert!(breaker.is_closed() && breaker.permit(now) && breaker.permit(now));
    }
}
