//! What one connection spends, and what becomes of who spends too much: first it waits, since nothing more is read from it
//! until all is paid for, and who goes on to want far more than its rates is closed (WIRE §6).
//!
//! What is read is counted here, what documents have had to do about it arrives in [`Charged`]. Both are only added up, and
//! settled when they have come to something: an idle connection, or one of a person who types, hardly ever comes to it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::accounts::{Full, Seat};
use crate::budget::{Bill, Buckets, Counts, Kind, Purse, Rates};
use crate::hub::Charge;
use crate::limits::{
    RATE_BURST, RATE_DISGRACED_MAX, RATE_PAUSE_MAX, RATE_QUESTION_MESSAGES, RATE_SETTLE_BYTES, RATE_SETTLE_CPU,
    RATE_SETTLE_MESSAGES, RATE_SETTLE_STRUCTS,
};
use crate::metrics::Counter;

/// Who has spent too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Per {
    /// One connection.
    Connection,
    /// All of one address.
    Address,
    /// All of one user.
    User,
}

impl Per {
    const ALL: [Per; 3] = [Per::Connection, Per::Address, Per::User];

    /// For metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Per::Connection => "connection",
            Per::Address => "address",
            Per::User => "user",
        }
    }
}

/// How often it came to something, for metrics.
#[derive(Default)]
pub(super) struct OverBudget {
    slowed: [Counts; Per::ALL.len()],
    closed: [Counts; Per::ALL.len()],
    /// Connections that found no place, by whose there was none.
    refused: [Counter; Per::ALL.len()],
    refused_opens: [Counter; Per::ALL.len()],
}

impl OverBudget {
    /// Counts one that is made to wait.
    pub(super) fn note_slowed(&self, per: Per, kind: Kind) {
        self.slowed[per as usize].note(kind);
    }

    /// Counts one that is not served any more.
    pub(super) fn note_closed(&self, per: Per, kind: Kind) {
        self.closed[per as usize].note(kind);
    }

    /// Counts a connection that found no place.
    pub(super) fn note_refused(&self, per: Per, why: Full) {
        match why {
            Full::Connections => self.refused[per as usize].add(1),
            Full::Opens => self.refused_opens[per as usize].add(1),
        }
    }

    /// Everything: whose, what there was too much of, what was done, how often.
    pub(super) fn all(&self) -> Vec<(&'static str, &'static str, &'static str, u64)> {
        let mut all = Vec::new();
        for per in Per::ALL {
            let (at, name) = (per as usize, per.name());
            all.extend(self.slowed[at].get().map(|(kind, number)| (name, kind, "slowed", number)));
            all.extend(self.closed[at].get().map(|(kind, number)| (name, kind, "closed", number)));
            if per != Per::Connection {
                all.push((name, Full::Connections.name(), "refused", self.refused[at].get()));
                all.push((name, Full::Opens.name(), "refused", self.refused_opens[at].get()));
            }
        }
        all
    }
}

/// What every connection may spend.
pub(super) struct Budgets {
    rates: Rates,
    patience: Duration,
    over: Arc<OverBudget>,
    /// Addresses of connections that were closed for what they spent: who comes back has no burst for a while, or it would
    /// be better off than before.
    disgraced: Mutex<HashMap<IpAddr, Instant>>,
    /// Their number.
    disgraced_now: AtomicUsize,
}

impl Budgets {
    pub(super) fn new(rates: Rates, patience: Duration, over: Arc<OverBudget>) -> Self {
        Self { rates, patience, over, disgraced: Mutex::default(), disgraced_now: AtomicUsize::new(0) }
    }

    /// How long who goes on is only slowed.
    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    fn disgrace(&self, address: Option<IpAddr>) {
        let Some(address) = address else { return };
        let mut disgraced = self.disgraced.lock().unwrap_or_else(PoisonError::into_inner);
        disgraced.retain(|_, since| since.elapsed() < RATE_BURST);
        if disgraced.len() < RATE_DISGRACED_MAX {
            disgraced.insert(address, Instant::now());
        }
        self.disgraced_now.store(disgraced.len(), Ordering::Relaxed);
    }

    fn is_disgraced(&self, address: Option<IpAddr>) -> bool {
        if self.disgraced_now.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let disgraced = self.disgraced.lock().unwrap_or_else(PoisonError::into_inner);
        address.and_then(|address| disgraced.get(&address)).is_some_and(|since| since.elapsed() < RATE_BURST)
    }
}

/// What documents charge a connection for; and whose it is, once that is known.
#[derive(Default)]
pub(super) struct Charged {
    cpu_ns: AtomicU64,
    structs: AtomicU64,
    questions: AtomicU32,
    opens: AtomicU32,
    user: Mutex<Option<Seat>>,
}

impl Charged {
    /// What a turn has cost.
    pub(super) fn charge(&self, charge: Charge) {
        let cpu_ns = u64::try_from(charge.cpu.as_nanos()).unwrap_or(u64::MAX);
        self.cpu_ns.fetch_add(cpu_ns, Ordering::Relaxed);
        if charge.structs > 0 {
            self.structs.fetch_add(charge.structs, Ordering::Relaxed);
        }
        if charge.questions > 0 {
            self.questions.fetch_add(charge.questions, Ordering::Relaxed);
        }
    }

    /// One more document.
    pub(super) fn opened(&self) {
        self.opens.fetch_add(1, Ordering::Relaxed);
    }

    /// Whose connection it is; the first one counts.
    pub(super) fn belongs_to(&self, user: Option<Seat>) {
        let mut belongs_to = self.user.lock().unwrap_or_else(PoisonError::into_inner);
        if belongs_to.is_none() {
            *belongs_to = user;
        }
    }

    /// Whether that is known.
    pub(super) fn has_user(&self) -> bool {
        self.user.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The connection has ended.
    pub(super) fn leave(&self) {
        *self.user.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn user_purse(&self) -> Option<Purse> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.purse()
    }

    fn is_much(&self) -> bool {
        self.cpu_ns.load(Ordering::Relaxed) >= RATE_SETTLE_CPU.as_nanos() as u64
            || self.structs.load(Ordering::Relaxed) >= RATE_SETTLE_STRUCTS
            || self.questions.load(Ordering::Relaxed) * RATE_QUESTION_MESSAGES >= RATE_SETTLE_MESSAGES
            || self.opens.load(Ordering::Relaxed) > 1
    }
}

/// Whether a connection may be read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may.
    Go,
    /// Not before then.
    Wait(Instant),
    /// It has wanted too much for too long.
    End,
}

/// What one connection has spent.
pub(super) struct Spending {
    budgets: Arc<Budgets>,
    /// Where it comes from, as far as can be believed.
    address: Option<IpAddr>,
    seat: Option<Seat>,
    messages: u32,
    bytes: u32,
    /// Made when there is something to pay.
    purses: Option<Box<Purses>>,
}

struct Purses {
    own: Purse,
    address: Option<Purse>,
    user: Option<Purse>,
    /// Nothing is read before.
    until: Option<Instant>,
    /// How long it was made to wait, less half of the time that has passed.
    waited: Duration,
    /// When that was so.
    at: Instant,
}

impl Spending {
    pub(super) fn new(budgets: Arc<Budgets>, address: Option<IpAddr>, seat: Option<Seat>) -> Self {
        Self { budgets, address, seat, messages: 0, bytes: 0, purses: None }
    }

    /// Bytes that were read.
    pub(super) fn read(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Messages that were in them, of whatever kind.
    pub(super) fn heard(&mut self, messages: u64) {
        self.messages = self.messages.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
    }

    /// How long nothing is to be read, if that is so.
    pub(super) fn until(&self) -> Option<Instant> {
        self.purses.as_ref()?.until
    }

    /// Whether more may be read. Looks at no clock unless there is something to settle.
    pub(super) fn verdict(&mut self, charged: &Charged) -> Verdict {
        if let Some(until) = self.until() {
            if Instant::now() < until {
                return Verdict::Wait(until);
            }
        } else if self.messages < RATE_SETTLE_MESSAGES && self.bytes < RATE_SETTLE_BYTES && !charged.is_much() {
            return Verdict::Go;
        }
        self.settle(charged)
    }

    /// Pays what is owed, as far as that is possible.
    fn settle(&mut self, charged: &Charged) -> Verdict {
        let bill = self.bill(charged);
        let now = Instant::now();
        let budgets = self.budgets.clone();
        let purses = self.purses(charged, now);
        let passed = now.saturating_duration_since(std::mem::replace(&mut purses.at, now));
        purses.waited = purses.waited.saturating_sub(passed / 2);
        let mut longest: Option<(Per, Kind, Duration)> = None;
        for (per, purse) in purses.all() {
            purse.charge(&bill);
            if let Some((kind, wait)) = purse.pay()
                && longest.is_none_or(|(.., longest)| longest < wait)
            {
                longest = Some((per, kind, wait));
            }
        }
        let Some((per, kind, wait)) = longest else {
            purses.until = None;
            return Verdict::Go;
        };
        let wait = wait.min(RATE_PAUSE_MAX);
        purses.waited += wait;
        let is_over = purses.waited > budgets.patience;
        if purses.until.is_none() {
            budgets.over.note_slowed(per, kind);
        }
        purses.until = Some(now + wait);
        if is_over {
            budgets.over.note_closed(per, kind);
            budgets.disgrace(self.address);
            return Verdict::End;
        }
        Verdict::Wait(now + wait)
    }

    /// What has come together since the last time.
    fn bill(&mut self, charged: &Charged) -> Bill {
        let mut bill = Bill::default();
        let questions = charged.questions.swap(0, Ordering::Relaxed);
        let cpu_us = charged.cpu_ns.swap(0, Ordering::Relaxed) / 1_000;
        bill.add(Kind::Messages, u64::from(std::mem::take(&mut self.messages)));
        bill.add(Kind::Messages, u64::from(questions) * u64::from(RATE_QUESTION_MESSAGES));
        bill.add(Kind::Bytes, u64::from(std::mem::take(&mut self.bytes)));
        bill.add(Kind::Structs, charged.structs.swap(0, Ordering::Relaxed));
        bill.add(Kind::Cpu, cpu_us);
        bill.add(Kind::Opens, u64::from(charged.opens.swap(0, Ordering::Relaxed)));
        bill
    }

    fn purses(&mut self, charged: &Charged, now: Instant) -> &mut Purses {
        let Self { budgets, address, seat, purses, .. } = self;
        let purses = purses.get_or_insert_with(|| {
            let full = !budgets.is_disgraced(*address);
            let buckets = if full { Buckets::full(&budgets.rates) } else { Buckets::empty(&budgets.rates) };
            let own = Purse::new(Arc::new(buckets));
            let address = seat.as_ref().and_then(Seat::purse);
            Box::new(Purses { own, address, user: None, until: None, waited: Duration::ZERO, at: now })
        });
        if purses.user.is_none() {
            purses.user = charged.user_purse();
        }
        purses
    }

    /// The connection ends. What it has not settled is still owed by those whom it shared a budget with.
    pub(super) fn end(&mut self, charged: &Charged) {
        let shares = self.seat.as_ref().is_some_and(|seat| seat.purse().is_some()) || charged.user_purse().is_some();
        if shares {
            self.settle(charged);
        }
        charged.leave();
        self.seat = None;
    }
}

impl Purses {
    fn all(&mut self) -> impl Iterator<Item = (Per, &mut Purse)> {
        let address = self.address.iter_mut().map(|purse| (Per::Address, purse));
        let user = self.user.iter_mut().map(|purse| (Per::User, purse));
        std::iter::once((Per::Connection, &mut self.own)).chain(address).chain(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spending(rates: &str, patience: Duration) -> (Arc<OverBudget>, Spending) {
        let over = Arc::<OverBudget>::default();
        let rates = rates.parse::<crate::budget::RatesGiven>().unwrap().or(Rates::default());
        let budgets = Budgets::new(rates, patience, over.clone());
        (over, Spending::new(Arc::new(budgets), Some([192, 0, 2, 7].into()), None))
    }

    fn counted(over: &OverBudget) -> Vec<(&'static str, &'static str, &'static str, u64)> {
        over.all().into_iter().filter(|(.., number)| *number > 0).collect()
    }

    #[test]
    fn who_spends_little_owes_nothing_that_is_looked_at() {
        let (over, mut spending) = spending("messages=1,bytes=1000", Duration::MAX);
        let charged = Charged::default();
        spending.heard(u64::from(RATE_SETTLE_MESSAGES) - 1);
        spending.read(100);
        charged.charge(Charge { cpu: RATE_SETTLE_CPU / 2, structs: 10, questions: 1 });
        assert_eq!(spending.verdict(&charged), Verdict::Go);
        assert!(spending.purses.is_none() && counted(&over).is_empty());
        // It adds up.
        spending.heard(1);
        let before = Instant::now();
        let Verdict::Wait(until) = spending.verdict(&charged) else { panic!("more than a minute's worth") };
        assert!(until >= before + RATE_PAUSE_MAX, "64 and a question, at one a second");
        assert_eq!(counted(&over), [("connection", "messages", "slowed", 1)]);
        assert_eq!(spending.verdict(&charged), Verdict::Wait(until), "nothing is paid meanwhile");
    }

    #[test]
    fn what_documents_charge_is_paid_like_what_is_read() {
        for charge in [
            Charge { cpu: Duration::from_secs(61), ..Charge::default() },
            Charge { structs: 100_000, ..Charge::default() },
            Charge { questions: 100, ..Charge::default() },
        ] {
            let (over, mut spending) = spending("cpu-ms=1000,structs=100,messages=10", Duration::MAX);
            let charged = Charged::default();
            charged.charge(charge);
            assert!(matches!(spending.verdict(&charged), Verdict::Wait(_)), "{charge:?}");
            assert_eq!(counted(&over).len(), 1);
        }
    }

    #[test]
    fn who_goes_on_is_closed_and_has_no_burst_when_it_comes_back() {
        let (over, mut spending) = spending("messages=1", Duration::from_millis(50));
        let charged = Charged::default();
        spending.heard(1_000);
        assert_eq!(spending.verdict(&charged), Verdict::End, "a second's pause is more than its patience");
        assert_eq!(counted(&over), [("connection", "messages", "slowed", 1), ("connection", "messages", "closed", 1)]);
        let again = |address: [u8; 4]| {
            let mut again = Spending::new(spending.budgets.clone(), Some(address.into()), None);
            again.heard(60);
            again.bytes = RATE_SETTLE_BYTES;
            again.verdict(&charged)
        };
        assert_ne!(again([192, 0, 2, 7]), Verdict::Go);
        assert_eq!(again([192, 0, 2, 8]), Verdict::Go, "others come as ever");
    }
}
