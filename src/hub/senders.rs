//! Who sent which records, for when one of them is found to break whoever integrates it (HARDENING §2): such an update is
//! known by its position only long after it was accepted, and its sender may have left.
//!
//! Kept in memory while the records are in the log, within bounds; a restart forgets it. A document has a ledger from its
//! first record on, which outlives its sleep.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::{DocName, PeerId, Seq};
use crate::limits::{SENDERS_DOCUMENTS_KEPT, SENDERS_LOOKED_BACK, SENDERS_MAX};

/// Somebody who sends updates, in words for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sender {
    /// It cannot be told.
    #[default]
    Unknown,
    /// A client.
    Client {
        /// The subject of its token, if it has one.
        user: Option<Arc<str>>,
        /// Where it comes from, if that can be told.
        from: Option<SocketAddr>,
    },
    /// Whoever may import.
    Import,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Unknown => f.write_str("unknown"),
            Sender::Import => f.write_str("an import"),
            Sender::Client { user, from } => {
                match user {
                    // Quoted, so that a user's name cannot pass for more than that.
                    Some(user) => write!(f, "user {user:?}")?,
                    None => f.write_str("somebody")?,
                }
                from.map_or(Ok(()), |from| write!(f, " from {from}"))
            }
        }
    }
}

/// The ledgers of all documents that have one.
pub(super) struct Senders(Mutex<Ledgers>);

struct Ledgers {
    by_doc: BTreeMap<DocName, Arc<Ledger>>,
    /// When there are so many, those of sleeping documents go.
    look_at: usize,
}

/// Who sent the records of one document that are not folded yet, as far as there is room: the newest.
#[derive(Default)]
pub(super) struct Ledger(Mutex<VecDeque<Entry>>);

/// Records that one peer sent, or had a part in, without a gap.
struct Entry {
    from: Seq,
    to: Seq,
    peer: Option<PeerId>,
    sender: Arc<Sender>,
}

impl Default for Senders {
    fn default() -> Self {
        Self(Mutex::new(Ledgers { by_doc: BTreeMap::new(), look_at: SENDERS_DOCUMENTS_KEPT }))
    }
}

impl Senders {
    /// The ledger of `doc`, for the one task that writes in it.
    pub(super) fn ledger(&self, doc: &DocName) -> Arc<Ledger> {
        let mut ledgers = self.ledgers();
        if let Some(ledger) = ledgers.by_doc.get(doc) {
            return ledger.clone();
        }
        if ledgers.by_doc.len() >= ledgers.look_at {
            ledgers.by_doc.retain(|_, ledger| Arc::strong_count(ledger) > 1);
            ledgers.look_at = SENDERS_DOCUMENTS_KEPT.max(2 * ledgers.by_doc.len());
        }
        let ledger = Arc::<Ledger>::default();
        ledgers.by_doc.insert(doc.clone(), ledger.clone());
        ledger
    }

    /// Who sent the record at `seq`; several when it was made of what they sent at the same time, none when nobody knows.
    pub(super) fn of(&self, doc: &DocName, seq: Seq) -> Vec<(Option<PeerId>, Arc<Sender>)> {
        let Some(ledger) = self.ledgers().by_doc.get(doc).cloned() else { return Vec::new() };
        let entries = ledger.entries();
        let had_a_part = entries.iter().filter(|entry| entry.from <= seq && seq <= entry.to);
        had_a_part.map(|entry| (entry.peer, entry.sender.clone())).collect()
    }

    /// The records of `doc` up to `covers` are no records any more.
    pub(super) fn forget(&self, doc: &DocName, covers: Seq) {
        let mut ledgers = self.ledgers();
        let Some(ledger) = ledgers.by_doc.get(doc) else { return };
        let nothing_left = {
            let mut entries = ledger.entries();
            entries.retain(|entry| entry.to > covers);
            entries.shrink_to_fit();
            entries.is_empty()
        };
        if nothing_left && Arc::strong_count(ledger) == 1 {
            ledgers.by_doc.remove(doc);
        }
    }

    fn ledgers(&self) -> MutexGuard<'_, Ledgers> {
        // Whoever panics under this lock leaves whole entries behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Notes that `sender` had a part in the records `from..=to`, the newest ones.
    pub(super) fn note(&self, from: Seq, to: Seq, peer: Option<PeerId>, sender: &Arc<Sender>) {
        let mut entries = self.entries();
        let recent = entries.iter_mut().rev().take(SENDERS_LOOKED_BACK);
        // Who goes on typing takes no more room.
        for entry in recent {
            if entry.peer == peer && entry.to.next() >= from && entry.sender == *sender {
                entry.to = entry.to.max(to);
                return;
            }
        }
        if entries.len() == SENDERS_MAX {
            entries.pop_front();
        }
        entries.push_back(Entry { from, to, peer, sender: sender.clone() });
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(name: &str) -> DocName {
        DocName::parse(name).unwrap()
    }

    fn user(name: &str) -> Arc<Sender> {
        Arc::new(Sender::Client { user: Some(name.into()), from: Some("192.0.2.1:80".parse().unwrap()) })
    }

    fn told(senders: &Senders, name: &str, seq: u64) -> Vec<String> {
        senders.of(&doc(name), Seq(seq)).iter().map(|(_, sender)| sender.to_string()).collect()
    }

    #[test]
    fn a_record_is_traced_to_all_who_had_a_part_in_it() {
        let (senders, ada, bob) = (Senders::default(), user("ada"), user("b\"\nob"));
        let ledger = senders.ledger(&doc("d"));
        let note = |from, to, peer: u64, who| ledger.note(Seq(from), Seq(to), Some(PeerId(peer)), who);
        note(1, 1, 1, &ada);
        note(2, 3, 1, &ada);
        note(3, 3, 2, &bob);
        note(5, 5, 1, &ada);
        assert_eq!(ledger.entries().len(), 3, "who goes on is one entry");
        assert_eq!(told(&senders, "d", 2), ["user \"ada\" from 192.0.2.1:80"]);
        assert_eq!(told(&senders, "d", 3), ["user \"ada\" from 192.0.2.1:80", r#"user "b\"\nob" from 192.0.2.1:80"#]);
        assert!(told(&senders, "d", 4).is_empty() && told(&senders, "other", 1).is_empty());
        assert_eq!(Sender::Client { user: None, from: None }.to_string(), "somebody");
    }

    #[test]
    fn what_is_folded_is_forgotten_and_the_rest_is_bounded() {
        let (senders, ada, bob) = (Senders::default(), user("ada"), user("bob"));
        let ledger = senders.ledger(&doc("d"));
        for seq in 1..=2 * SENDERS_MAX as u64 {
            let who = if seq % 2 == 0 { &ada } else { &bob };
            ledger.note(Seq(2 * seq), Seq(2 * seq), Some(PeerId(seq % 2)), who);
        }
        assert_eq!(ledger.entries().len(), SENDERS_MAX);
        assert!(told(&senders, "d", 2).is_empty() && told(&senders, "d", 4 * SENDERS_MAX as u64).len() == 1);
        senders.forget(&doc("d"), Seq(4 * SENDERS_MAX as u64 - 1));
        assert_eq!(ledger.entries().len(), 1);
        drop(ledger);
        senders.forget(&doc("d"), Seq(u64::MAX));
        assert!(senders.ledgers().by_doc.is_empty(), "a document that is folded and asleep takes nothing");
    }

    #[test]
    fn ledgers_of_sleeping_documents_are_bounded_in_number() {
        let (senders, ada) = (Senders::default(), user("ada"));
        let awake = senders.ledger(&doc("awake"));
        awake.note(Seq(1), Seq(1), None, &ada);
        for n in 0..2 * SENDERS_DOCUMENTS_KEPT {
            senders.ledger(&doc(&n.to_string())).note(Seq(1), Seq(1), None, &ada);
            assert!(senders.ledgers().by_doc.len() <= SENDERS_DOCUMENTS_KEPT);
        }
        assert_eq!(told(&senders, "awake", 1).len(), 1);
    }
}
