//! What the webhook said lately, so that a crowd that comes back does not ask it a thousand times the same. Pure: time is
//! an argument. Holds no token, only what a token hashes to.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::Verdict;
use crate::ids::DocName;
use crate::limits::WEBHOOK_CACHE_ENTRIES_MAX;

/// A token and a document.
pub(super) type Question = [u8; 32];

pub(super) fn question(token: &str, doc: &DocName) -> Question {
    // The length keeps a token that ends like a name begins from being taken for another.
    let length = (token.len() as u64).to_le_bytes();
    Sha256::new().chain_update(length).chain_update(token).chain_update(doc.as_str()).finalize().into()
}

/// The newest answers.
pub(super) struct Cache {
    answers: HashMap<Question, (Verdict, Instant)>,
    /// By age. One that was asked again is in it twice, and goes with the newer one's end.
    order: VecDeque<(Question, Instant)>,
    kept: Duration,
}

impl Cache {
    /// One that keeps answers so long.
    pub(super) fn new(kept: Duration) -> Self {
        Self { answers: HashMap::new(), order: VecDeque::new(), kept }
    }

    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<&Verdict> {
        self.answers.get(question).filter(|(_, until)| now < *until).map(|(verdict, _)| verdict)
    }

    pub(super) fn put(&mut self, question: Question, verdict: Verdict, now: Instant) {
        let until = now + self.kept;
        self.answers.insert(question, (verdict, until));
        self.order.push_back((question, until));
        while self.order.front().is_some_and(|(_, until)| *until <= now) || self.order.len() > WEBHOOK_CACHE_ENTRIES_MAX
        {
            let Some((oldest, until)) = self.order.pop_front() else { return };
            if self.answers.get(&oldest).is_some_and(|(_, newest)| *newest == until) {
                self.answers.remove(&oldest);
            }
        }
    }

    pub(super) fn forget(&mut self, question: &Question) {
        self.answers.remove(question);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_kept_for_a_while_and_not_without_bound() {
        let doc = |name: &str| DocName::parse(name).expect("a name");
        assert_ne!(question("ab", &doc("c")), question("a", &doc("bc")));
        let (mut cache, now) = (Cache::new(Duration::from_secs(10)), Instant::now());
        let (asked, later) = (question("t", &doc("d")), now + Duration::from_secs(6));
        cache.put(asked, Verdict::Denied, now);
        assert_eq!(cache.get(&asked, later), Some(&Verdict::Denied));
        cache.put(asked, Verdict::Denied, later);
        let much_later = now + Duration::from_secs(12);
        assert!(cache.get(&asked, much_later).is_some(), "the newer one is still good");
        cache.put(question("u", &doc("d")), Verdict::Denied, much_later);
        assert!(cache.get(&asked, much_later).is_some(), "and did not go with the older");
        cache.forget(&asked);
        assert!(cache.get(&asked, much_later).is_none());
        for n in 0..3 * WEBHOOK_CACHE_ENTRIES_MAX {
            cache.put(question(&n.to_string(), &doc("d")), Verdict::Denied, now);
        }
        assert!(cache.answers.len() <= WEBHOOK_CACHE_ENTRIES_MAX && cache.order.len() <= WEBHOOK_CACHE_ENTRIES_MAX);
        // Nothing is kept where nothing is to be kept.
        let mut none = Cache::new(Duration::ZERO);
        none.put(asked, Verdict::Denied, now);
        assert!(none.get(&asked, now).is_none() && none.order.is_empty());
    }
}
