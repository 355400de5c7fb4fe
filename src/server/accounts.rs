//! What all connections of one address, or of one user, may have together: how many they are, and what they spend.
//!
//! An account is looked up once for each connection, which holds on to it by a [`Seat`] from then on, so that nothing is
//! looked up, and no lock taken, for what it sends. Where nothing is limited there are no accounts at all.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::budget::{Bill, Buckets, Kind, Purse, Rates};
use crate::config::Proxies;
use crate::limits::{ACCOUNTS_KEPT, RATE_BURST};

/// What each account may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Connections at once; `None` for any number.
    pub connections_max: Option<usize>,
    /// What they may spend together.
    pub rates: Rates,
}

/// The accounts of all who have any.
pub(super) struct Accounts<K> {
    allowance: Allowance,
    known: Mutex<Known<K>>,
}

struct Known<K> {
    accounts: HashMap<K, Arc<Account>>,
    /// When there are so many, those that nobody needs are let go.
    sweep_at: usize,
}

struct Account {
    connections: AtomicUsize,
    /// `None` where nothing is limited but the number of connections.
    buckets: Option<Arc<Buckets>>,
    /// When the last connection ended.
    left: Mutex<Instant>,
}

/// A connection's place in an account. A clone is the same place.
#[derive(Clone)]
pub(super) struct Seat(Arc<Occupied>);

struct Occupied(Arc<Account>);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// As many connections as there may be.
    Connections,
    /// As many opened lately as there may be.
    Opens,
}

impl Full {
    /// What there is too much of, for metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Full::Connections => "connections",
            Full::Opens => Kind::Opens.name(),
        }
    }
}

impl<K: Hash + Eq> Accounts<K> {
    pub(super) fn new(allowance: Allowance) -> Self {
        Self { allowance, known: Mutex::new(Known { accounts: HashMap::new(), sweep_at: ACCOUNTS_KEPT }) }
    }

    /// What is spent without a connection of one's own; `None` where nothing is limited.
    pub(super) fn purse(&self, key: impl FnOnce() -> K) -> Option<Purse> {
        if self.allowance.rates.is_unlimited() {
            return None;
        }
        let account = self.known().account(key(), &self.allowance.rates);
        *account.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        account.buckets.clone().map(Purse::new)
    }

    /// What is under this lock is never half changed, so a poisoned one is as good.
    fn known(&self) -> MutexGuard<'_, Known<K>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more connection; `None` where nothing is limited.
    pub(super) fn seat(&self, key: impl FnOnce() -> K) -> Result<Option<Seat>, Full> {
        let Allowance { connections_max, rates } = &self.allowance;
        if connections_max.is_none() && rates.is_unlimited() {
            return Ok(None);
        }
        let mut known = self.known();
        let account = known.account(key(), rates);
        // Only under the lock are they counted up.
        if connections_max.is_some_and(|max| account.connections.load(Ordering::Relaxed) >= max) {
            return Err(Full::Connections);
        }
        if let Some(buckets) = &account.buckets {
            let (mut purse, mut one) = (Purse::new(buckets.clone()), Bill::default());
            one.add(Kind::Opens, 1);
            purse.charge(&one);
            if purse.pay().is_some() {
                return Err(Full::Opens);
            }
        }
        account.connections.fetch_add(1, Ordering::Relaxed);
        Ok(Some(Seat(Arc::new(Occupied(account)))))
    }
}

impl<K: Hash + Eq> Known<K> {
    fn account(&mut self, key: K, rates: &Rates) -> Arc<Account> {
        if self.accounts.len() >= self.sweep_at {
            self.accounts.retain(|_, account| account.is_needed());
            self.sweep_at = ACCOUNTS_KEPT.max(2 * self.accounts.len());
        }
        let account = self.accounts.entry(key).or_insert_with(|| {
            let buckets = (!rates.is_unlimited()).then(|| Arc::new(Buckets::full(rates)));
            Arc::new(Account { connections: AtomicUsize::new(0), buckets, left: Mutex::new(Instant::now()) })
        });
        account.clone()
    }
}

impl Account {
    /// Without it something would be forgotten: who is connected, or what was spent not long ago.
    fn is_needed(&self) -> bool {
        let lately = || self.left.lock().unwrap_or_else(PoisonError::into_inner).elapsed() < RATE_BURST;
        self.connections.load(Ordering::Relaxed) > 0 || (self.buckets.is_some() && lately())
    }
}

impl Seat {
    /// What its connection spends from.
    pub(super) fn purse(&self) -> Option<Purse> {
        self.0.0.buckets.clone().map(Purse::new)
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        *self.0.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The accounts of addresses.
pub(super) struct Addresses {
    accounts: Accounts<IpAddr>,
    proxies: Proxies,
}

impl Addresses {
    pub(super) fn new(allowance: Allowance, proxies: Proxies) -> Self {
        Self { accounts: Accounts::new(allowance), proxies }
    }

    /// As [`Accounts::purse`], for who is there.
    pub(super) fn purse(&self, address: IpAddr) -> Option<Purse> {
        let key = self.key(address)?;
        self.accounts.purse(|| key)
    }

    /// A place for a connection from there. Loopback has as much as it likes: it is the same machine, or a proxy on it that
    /// nobody has declared, behind which everybody is; and so has a declared proxy that does not say for whom it comes.
    pub(super) fn seat(&self, address: IpAddr) -> Result<Option<Seat>, Full> {
        match self.key(address) {
            Some(key) => self.accounts.seat(|| key),
            None => Ok(None),
        }
    }

    fn key(&self, address: IpAddr) -> Option<IpAddr> {
        accountable(address).filter(|_| !self.proxies.trusts(address))
    }
}

/// Whose account it is: in IPv6 a line has a whole network of 64 bits to itself.
pub(super) fn accountable(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        address if address.is_loopback() => None,
        IpAddr::V6(v6) => Some(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => Some(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(connections_max: Option<usize>, rates: &str) -> Allowance {
        let rates = rates.parse::<crate::budget::RatesGiven>().unwrap().or(Rates::default());
        Allowance { connections_max, rates }
    }

    #[test]
    fn places_are_counted_and_given_back() {
        let accounts = Accounts::new(allowance(Some(2), "off"));
        let one = accounts.seat(|| "ada").unwrap().unwrap();
        let two = accounts.seat(|| "ada").unwrap();
        assert_eq!(accounts.seat(|| "ada").err(), Some(Full::Connections));
        assert!(accounts.seat(|| "bob").unwrap().is_some());
        let same = one.clone();
        drop(one);
        assert_eq!(accounts.seat(|| "ada").err(), Some(Full::Connections), "the same place is still held");
        drop((same, two));
        assert!(accounts.seat(|| "ada").unwrap().is_some());
    }

    #[test]
    fn coming_and_going_is_spent_as_well() {
        let accounts = Accounts::new(allowance(None, "opens=1"));
        for _ in 0..RATE_BURST.as_secs() {
            drop(accounts.seat(|| 7).unwrap());
        }
        assert_eq!(accounts.seat(|| 7).err(), Some(Full::Opens));
        assert!(accounts.seat(|| 8).is_ok());
    }

    #[test]
    fn where_nothing_is_limited_nothing_is_kept() {
        let accounts = Accounts::new(Allowance::default());
        assert!(accounts.seat(|| 7).unwrap().is_none());
        assert!(accounts.known.lock().unwrap().accounts.is_empty());
    }

    #[test]
    fn accounts_of_who_is_gone_are_let_go() {
        let accounts = Accounts::new(allowance(Some(1), "off"));
        let stays = accounts.seat(|| usize::MAX).unwrap();
        for key in 0..3 * ACCOUNTS_KEPT {
            drop(accounts.seat(|| key).unwrap());
        }
        assert!(accounts.known.lock().unwrap().accounts.len() <= ACCOUNTS_KEPT);
        assert_eq!(accounts.seat(|| usize::MAX).err(), Some(Full::Connections));
        drop(stays);
    }

    #[test]
    fn an_address_is_a_line() {
        let of = |text: &str| accountable(text.parse().unwrap()).map(|key| key.to_string());
        assert_eq!(of("127.0.0.1"), None);
        assert_eq!(of("::ffff:127.9.9.9"), None);
        assert_eq!(of("::1"), None);
        assert_eq!(of("::ffff:192.0.2.7").as_deref(), Some("192.0.2.7"));
        assert_eq!(of("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::"));
    }
}
