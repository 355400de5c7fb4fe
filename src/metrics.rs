//! Numbers that rise while weft works, cheap enough to be counted where things happen. How they are shown is the
//! server's concern.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// How many were counted.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The sum of what several say of themselves, each of which may say something else later.
#[derive(Debug, Default)]
pub struct Sum(AtomicU64);

impl Sum {
    /// One of them, which has said `before`, says `now`.
    pub fn shift(&self, before: u64, now: u64) {
        // It wraps around, so that a fall is a rise.
        self.0.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// All together.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something was tried, and whether the last time went well.
#[derive(Debug, Default)]
pub struct Tries {
    ok: Counter,
    failed: Counter,
    failing: AtomicBool,
}

impl Tries {
    /// Counts one.
    pub fn note(&self, ok: bool) {
        if ok { &self.ok } else { &self.failed }.add(1);
        self.failing.store(!ok, Ordering::Relaxed);
    }

    /// How often it went well, how often not.
    pub fn get(&self) -> (u64, u64) {
        (self.ok.get(), self.failed.get())
    }

    /// Whether it did not, the last time.
    pub fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}

/// Files that a running server reads anew when it is told to (SIGHUP).
#[derive(Debug, Default)]
pub struct Reloads {
    /// The keys of tokens.
    pub keys: Tries,
    /// The list of revoked tokens.
    pub revocations: Tries,
    /// Certificate and key of TLS.
    pub tls: Tries,
    /// What the auth webhook is sent.
    pub webhook: Tries,
}

impl Reloads {
    /// Each with its name.
    pub fn all(&self) -> [(&'static str, &Tries); 4] {
        [("keys", &self.keys), ("revocations", &self.revocations), ("tls", &self.tls), ("webhook", &self.webhook)]
    }
}

/// Upper bounds of a histogram's buckets, microseconds; a last one has none. From below a fast disk's sync to beyond all
/// patience, in steps of 2 to 2.5.
pub const BOUNDS_US: [u64; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

/// How long things took.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts something that took so long.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn snapshot(&self) -> Durations {
        Durations {
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// What a [`Histogram`] had counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    /// How many in each bucket of [`BOUNDS_US`], the last one beyond all bounds.
    pub counts: Vec<u64>,
    /// All durations together, microseconds.
    pub sum_us: u64,
}

impl Durations {
    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// What came after `earlier`, an older snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Durations) -> Durations {
        let before = earlier.counts.iter().copied().chain(std::iter::repeat(0));
        Durations {
            counts: self.counts.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).collect(),
            sum_us: self.sum_us.saturating_sub(earlier.sum_us),
        }
    }

    /// A duration that the part `q` of them did not exceed, taken as evenly spread within a bucket; `None` of nothing.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let rank = q * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0);
        for (bucket, count) in self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0) {
            let upper = BOUNDS_US.get(bucket).copied();
            lower = bucket.checked_sub(1).and_then(|before| BOUNDS_US.get(before).copied()).unwrap_or(lower);
            if below + count as f64 >= rank {
                let part = ((rank - below) / count as f64).clamp(0.0, 1.0);
                let within = upper.map_or(0.0, |upper| (upper - lower) as f64 * part);
                return Some(Duration::from_micros(lower + within as u64));
            }
            below += count as f64;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_bucket_that_bounds_them() {
        let histogram = Histogram::default();
        for us in [0, 50, 51, 1_000, 31_000_000] {
            histogram.observe(Duration::from_micros(us));
        }
        let all = histogram.snapshot();
        assert_eq!((all.counts[0], all.counts[1], all.counts[4], all.counts[18]), (2, 1, 1, 1));
        assert_eq!((all.count(), all.sum_us), (5, 31_001_101));
        histogram.observe(Duration::from_micros(70));
        let later = histogram.snapshot().since(&all);
        assert_eq!((later.count(), later.counts[1], later.sum_us), (1, 1, 70));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        assert_eq!(Durations::default().quantile(0.5), None);
        let histogram = Histogram::default();
        for _ in 0..99 {
            histogram.observe(Duration::from_micros(400));
        }
        histogram.observe(Duration::from_secs(4));
        let all = histogram.snapshot();
        let of = |q| all.quantile(q).unwrap();
        assert!((250..=500).contains(&of(0.5).as_micros()), "{:?}", of(0.5));
        assert!((250..=500).contains(&of(0.99).as_micros()), "{:?}", of(0.99));
        assert!((2_500..=5_000).contains(&of(0.999).as_millis()), "{:?}", of(0.999));
    }
}
