//! Who wrote what, and how much of it was acknowledged: what must be there after a crash, and what cannot be.
//!
//! Each [`Hand`] writes a root text of its own, whose letters follow from its client id, so that a ledger holds numbers
//! and no text. After a crash a document is right when each hand's text ends at the end of one of its edits, no earlier
//! than the last one that was acked (nothing acked is missing) and no later than the last one that was sent, letter for
//! letter (nothing is there that nobody sent). What a check has found is the floor of the next one: what was shown once
//! must stay.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use yrs::updates::decoder::Decode;
use yrs::{ClientID, Doc, GetString, OffsetKind, Options, ReadTxn, StateVector, Text, Transact, Update};

/// The letter at a position of a hand's text.
fn letter(client: u64, at: u64) -> char {
    let mixed = (client ^ at.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    char::from(b'a' + (mixed % 26) as u8)
}

fn root(client: u64) -> String {
    format!("hand-{client}")
}

/// Somebody who writes at the end of a text of their own.
pub struct Hand {
    doc: Doc,
    seen: StateVector,
    account: Account,
}

/// What became of a hand's edits.
#[derive(Debug, Clone)]
pub struct Account {
    client: u64,
    /// Length of its text after each edit that was sent.
    ends: Vec<u64>,
    /// How many of them were acked.
    acked: usize,
}

impl Hand {
    /// One with a client id of its own; a hand that came back from a crash would have to be told what it lost, so each
    /// life of a server has fresh ones.
    pub fn new(rng: &mut impl Rng) -> Self {
        let client = rng.random_range(1..1 << 40);
        let options = Options { offset_kind: OffsetKind::Utf16, ..Options::with_client_id(ClientID::new(client)) };
        let account = Account { client, ends: Vec::new(), acked: 0 };
        Self { doc: Doc::with_options(options), seen: StateVector::default(), account }
    }

    /// Writes so many letters, at least one, and gives the update.
    pub fn write(&mut self, letters: usize) -> Vec<u8> {
        let from = self.account.ends.last().copied().unwrap_or(0);
        let to = from + letters.max(1) as u64;
        let chunk: String = (from..to).map(|at| letter(self.account.client, at)).collect();
        let text = self.doc.get_or_insert_text(&*root(self.account.client));
        let mut txn = self.doc.transact_mut();
        text.push(&mut txn, &chunk);
        let update = txn.encode_state_as_update_v1(&self.seen);
        self.seen = txn.state_vector();
        self.account.ends.push(to);
        update
    }

    /// Edits sent so far.
    pub fn sent(&self) -> usize {
        self.account.ends.len()
    }

    /// Edits acked so far.
    pub fn acked(&self) -> usize {
        self.account.acked
    }

    /// Its first `edits` edits were acked.
    pub fn ack(&mut self, edits: usize) {
        assert!(edits <= self.sent(), "an ack for edit {edits}, and only {} were sent", self.sent());
        self.account.acked = self.account.acked.max(edits);
    }

    /// It writes no more.
    pub fn account(self) -> Account {
        self.account
    }
}

/// A number of letters between 1 and `max`: mostly few, as people type, and now and then any power of two up to it.
pub fn letters(rng: &mut impl Rng, max: usize) -> usize {
    match rng.random_range(0..10) {
        0..=4 => rng.random_range(1..=40),
        5..=7 => rng.random_range(1..=2_000),
        _ => (1usize << rng.random_range(0..=usize::BITS - 1 - max.leading_zeros())) + rng.random_range(0..=1),
    }
    .min(max)
}

/// What is found where a document should be.
#[derive(Debug, Clone)]
pub enum Found {
    /// A document, as one update; an empty one where nothing was ever written.
    Document(Vec<u8>),
    /// That it was deleted.
    Deleted,
}

/// Whether a document may, must or must not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Kept,
    /// Its deletion was asked for and not answered.
    Doubtful,
    Deleted,
}

#[derive(Debug, Clone)]
struct Page {
    accounts: Vec<Account>,
    fate: Fate,
}

/// All documents of one data directory.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pages: BTreeMap<String, Page>,
    totals: Totals,
}

/// What was done, for the record.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Edits acked.
    pub acked: u64,
    /// Edits sent whose ack never came.
    pub unanswered: u64,
    /// Of those, how many were there afterwards.
    pub unanswered_kept: u64,
    /// Documents compared.
    pub documents_checked: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.acked += other.acked;
        self.unanswered += other.unanswered;
        self.unanswered_kept += other.unanswered_kept;
        self.documents_checked += other.documents_checked;
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { acked, unanswered, unanswered_kept, documents_checked } = self;
        write!(
            f,
            "{acked} edits acked, {unanswered} unanswered ({unanswered_kept} of them kept), {documents_checked} documents compared"
        )
    }
}

impl Ledger {
    /// Enters what a hand did to a document.
    pub fn enter(&mut self, doc: &str, account: Account) {
        self.totals.acked += account.acked as u64;
        self.totals.unanswered += (account.ends.len() - account.acked) as u64;
        let page = self.pages.entry(doc.into()).or_insert(Page { accounts: Vec::new(), fate: Fate::Kept });
        page.accounts.push(account);
    }

    /// A deletion was asked for; nothing is known of its end.
    pub fn ask_deletion(&mut self, doc: &str) {
        let page = self.pages.get_mut(doc).expect("a document that was written to");
        if page.fate == Fate::Kept {
            page.fate = Fate::Doubtful;
        }
    }

    /// A deletion was confirmed.
    pub fn confirm_deletion(&mut self, doc: &str) {
        self.pages.get_mut(doc).expect("a document that was written to").fate = Fate::Deleted;
    }

    /// Names of all documents, deleted ones too.
    pub fn documents(&self) -> Vec<String> {
        self.pages.keys().cloned().collect()
    }

    /// Names of those that are certainly there: something of them was acked, and nobody asked for their deletion.
    pub fn certain(&self) -> Vec<String> {
        let is_certain = |page: &Page| page.fate == Fate::Kept && page.accounts.iter().any(|a| a.acked > 0);
        self.pages.iter().filter(|(_, page)| is_certain(page)).map(|(doc, _)| doc.clone()).collect()
    }

    /// Takes a document out of the ledger.
    pub fn leave_out(&mut self, doc: &str) {
        self.pages.remove(doc);
    }

    /// A copy that begins to count anew.
    pub fn without_totals(&self) -> Self {
        Self { pages: self.pages.clone(), totals: Totals::default() }
    }

    /// What is certain of `later`, a copy of this one to which more was entered, when it was looked at some time between
    /// the two: all that is here; of what was entered since, any may be there already.
    pub fn seen_before(&self, later: &Self) -> Self {
        let mut seen = later.without_totals();
        for (doc, page) in &mut seen.pages {
            let known = self.pages.get(doc).map_or(0, |page| page.accounts.len());
            page.accounts.iter_mut().skip(known).for_each(|account| account.acked = 0);
        }
        seen
    }

    /// What was done so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Compares every document with what `read` finds in its place.
    ///
    /// # Panics
    /// When something acked is missing, or something is there that nobody sent; says what and where.
    pub fn check(&mut self, when: impl std::fmt::Display, mut read: impl FnMut(&str) -> Found) {
        for (doc, page) in &mut self.pages {
            let found = read(doc);
            let kept = page.check(found).unwrap_or_else(|wrong| panic!("{when}: document {doc:?}: {wrong}"));
            self.totals.unanswered_kept += kept;
            self.totals.documents_checked += 1;
        }
    }
}

impl Page {
    /// Returns how many unanswered edits were there.
    fn check(&mut self, found: Found) -> Result<u64, String> {
        let update = match (found, self.fate) {
            (Found::Deleted, Fate::Kept) => return Err("is deleted, and nobody asked for that".into()),
            (Found::Deleted, Fate::Doubtful | Fate::Deleted) => {
                self.fate = Fate::Deleted;
                return Ok(0);
            }
            (Found::Document(_), Fate::Deleted) => return Err("is back from its confirmed deletion".into()),
            (Found::Document(update), Fate::Kept | Fate::Doubtful) => update,
        };
        self.fate = Fate::Kept;
        let doc = Doc::with_options(Options { offset_kind: OffsetKind::Utf16, ..Options::default() });
        let decoded = Update::decode_v1(&update).map_err(|e| format!("cannot be decoded: {e}"))?;
        doc.transact_mut().apply_update(decoded).map_err(|e| format!("cannot be applied: {e}"))?;
        if doc.transact().store().pending_update().is_some() {
            return Err("waits for an update that is missing".into());
        }
        let mut kept = 0;
        for account in &mut self.accounts {
            let text = doc.get_or_insert_text(&*root(account.client)).get_string(&doc.transact());
            kept += account.check(&text)?;
        }
        let known: BTreeSet<u64> = self.accounts.iter().map(|account| account.client).collect();
        let stranger =
            doc.transact().state_vector().iter().map(|(client, _)| client.get()).find(|c| !known.contains(c));
        stranger.map_or(Ok(kept), |stranger| Err(format!("holds edits of client {stranger}, who never wrote to it")))
    }
}

impl Account {
    fn check(&mut self, text: &str) -> Result<u64, String> {
        let (client, found) = (self.client, text.len() as u64);
        let wrong = text.chars().zip(0..).find(|(c, at)| *c != letter(client, *at));
        if let Some((_, at)) = wrong {
            return Err(format!("letter {at} of client {client} is not what was sent"));
        }
        let edits = match found {
            0 => 0,
            _ => {
                let after = self.ends.iter().position(|end| *end == found);
                after.map(|n| n + 1).ok_or_else(|| format!("{found} letters of client {client} are not whole edits"))?
            }
        };
        if edits < self.acked {
            let (acked, sent) = (self.acked, self.ends.len());
            return Err(format!("of client {client} only {edits} edits are there; {acked} of {sent} were acked"));
        }
        let kept = (edits - self.acked) as u64;
        self.ends.truncate(edits);
        self.acked = edits;
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed;

    fn three_edits() -> (Account, Vec<Vec<u8>>) {
        let mut hand = Hand::new(&mut seed::rng(1, 1));
        let updates = [5, 1, 9].map(|letters| hand.write(letters)).to_vec();
        hand.ack(2);
        (hand.account(), updates)
    }

    fn found(updates: &[Vec<u8>]) -> Found {
        let doc = Doc::new();
        for update in updates {
            doc.transact_mut().apply_update(Update::decode_v1(update).expect("sound")).expect("applied");
        }
        Found::Document(doc.transact().encode_state_as_update_v1(&StateVector::default()))
    }

    fn check(fate: Fate, found: Found) -> Result<u64, String> {
        Page { accounts: vec![three_edits().0], fate }.check(found)
    }

    #[test]
    fn what_was_acked_must_be_there_and_what_was_not_may_be() {
        let (_, updates) = three_edits();
        assert_eq!(check(Fate::Kept, found(&updates)), Ok(1));
        assert_eq!(check(Fate::Kept, found(&updates[..2])), Ok(0));
        assert!(check(Fate::Kept, found(&updates[..1])).unwrap_err().contains("only 1 edits are there; 2 of 3"));
        assert!(check(Fate::Kept, found(&[])).unwrap_err().contains("only 0 edits"));
        assert!(check(Fate::Kept, found(&[updates[0].clone(), updates[2].clone()])).unwrap_err().contains("waits"));
    }

    #[test]
    fn what_nobody_sent_must_not_be_there() {
        let (account, updates) = three_edits();
        let mut stranger = Hand::new(&mut seed::rng(2, 2));
        let foreign = stranger.write(3);
        let with = |update: Vec<u8>| found(&[&updates[..], &[update]].concat());
        assert!(check(Fate::Kept, with(foreign)).unwrap_err().contains("never wrote"));
        // The same client and root, more than it sent.
        let mut more = Hand::new(&mut seed::rng(1, 1));
        let updates: Vec<_> = [5, 1, 9, 1].map(|letters| more.write(letters)).into();
        assert_eq!(more.account.client, account.client);
        assert!(check(Fate::Kept, found(&updates)).unwrap_err().contains("not whole edits"));
    }

    #[test]
    fn what_was_shown_once_must_stay() {
        let (account, updates) = three_edits();
        let mut page = Page { accounts: vec![account], fate: Fate::Kept };
        assert_eq!(page.check(found(&updates)), Ok(1));
        assert!(page.check(found(&updates[..2])).is_err());
    }

    #[test]
    fn deletions_are_confirmed_or_open() {
        let (_, updates) = three_edits();
        assert!(check(Fate::Kept, Found::Deleted).is_err());
        assert_eq!(check(Fate::Doubtful, Found::Deleted), Ok(0));
        assert_eq!(check(Fate::Doubtful, found(&updates)), Ok(1));
        assert!(check(Fate::Deleted, found(&updates)).is_err());
    }
}
