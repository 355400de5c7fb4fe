//! Presence: weft's own awareness table (WIRE g9–g12). Never stored, never parsed beyond being JSON at all.
//!
//! Why not yrs's: it never forgets anyone, lacks the timeout, and bumps the clock on removal, which hides a client that
//! comes right back (WIRE g12, DEPENDENCIES A1).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use bytes::Bytes;

use crate::ids::{ClientId, Clock, PeerId, Principal};
use crate::limits::{
    AWARENESS_BYTES_MAX, AWARENESS_CLIENTS_MAX, AWARENESS_CLIENTS_PER_PEER_MAX, AWARENESS_ORPHAN_TTL, AWARENESS_PAUSE,
    AWARENESS_STALE, AWARENESS_TOMBSTONE_TTL,
};
use crate::wire::awareness::{self, Entry};

/// Who is here, in one document.
#[derive(Debug, Default)]
pub struct Awareness {
    clients: BTreeMap<ClientId, Presence>,
    /// Bytes of their states.
    bytes: usize,
    /// Whom a peer speaks for: the id that it announced first and alone is its own, others it merely brought along.
    own: BTreeMap<PeerId, ClientId>,
    /// The same the other way round; the latest claim counts.
    claims: BTreeMap<ClientId, PeerId>,
    /// Who peers are, where that is known.
    principals: BTreeMap<PeerId, Principal>,
    /// Peers that have answered us: what they say from now on may be an echo.
    settled: BTreeSet<PeerId>,
    /// How many present clients each peer introduced.
    introduced: BTreeMap<PeerId, usize>,
    /// Clients whose entry changed since [`Awareness::take_changes`].
    changed: BTreeSet<ClientId>,
    /// When changes were last announced.
    announced: Option<Instant>,
    /// When the next entry expires…
    due: Option<Instant>,
    /// …unless something has changed since that was found out.
    due_is_stale: bool,
}

#[derive(Debug)]
struct Presence {
    clock: Clock,
    /// JSON text, or `None` for a tombstone.
    state: Option<Box<str>>,
    /// The live peer that introduced it.
    owner: Option<PeerId>,
    /// When the entry last changed, for expiry.
    since: Instant,
}

impl Presence {
    fn bytes(&self) -> usize {
        self.state.as_ref().map_or(0, |state| state.len())
    }
}

impl Awareness {
    /// Says who a peer is. Without it, it may be anybody.
    pub fn introduce(&mut self, peer: PeerId, principal: Principal) {
        self.principals.insert(peer, principal);
    }

    /// The peer has answered our SyncStep1, so it has heard of the others. What stock clients say of themselves on opening
    /// comes earlier (WIRE §1).
    pub fn settle(&mut self, peer: PeerId) {
        self.settled.insert(peer);
    }

    /// Takes in one validated awareness message. Returns what to answer this peer alone, if anything: tombstones of
    /// entries that it believes alive, upon which its client announces itself anew (WIRE g12).
    pub fn apply(&mut self, peer: PeerId, message: &[u8], now: Instant) -> Option<Bytes> {
        let Ok(entries) = awareness::entries(message) else { return None };
        let alone = entries.left() == 1;
        let mut tombstones = Vec::new();
        for entry in entries.map_while(Result::ok) {
            if alone && entry.state.is_some() && self.may_claim(peer, &entry, now) {
                self.own.insert(peer, entry.client);
                self.claims.insert(entry.client, peer);
                if let Some(presence) = self.clients.get_mut(&entry.client)
                    && presence.state.is_some()
                {
                    hand_over(&mut self.introduced, presence, Some(peer));
                }
            }
            if self.clients.len() >= AWARENESS_CLIENTS_MAX && !self.clients.contains_key(&entry.client) {
                // The living go before the dead, or one peer could fill the table with the latter.
                let changed = &self.changed;
                self.clients.retain(|client, presence| presence.state.is_some() || changed.contains(client));
            }
            if self.accepts(peer, &entry) {
                self.set(peer, &entry, now);
            } else if let Some(presence) = self.clients.get(&entry.client)
                && presence.state.is_none()
                && entry.state.is_some()
                && self.own.get(&peer) == Some(&entry.client)
            {
                tombstones.push((entry.client, presence.clock));
            }
        }
        if tombstones.is_empty() {
            return None;
        }
        let entries = tombstones.iter().map(|&(client, clock)| Entry { client, clock, state: None });
        Some(awareness::encode(entries).into())
    }

    /// A client's first words are about itself, and about nobody else. Claiming by them moves ownership even when nothing
    /// else is new: a socket that replaces a dead one announces an unchanged clock (WIRE g12). Of a peer that is no longer
    /// new, the same words may be an echo (WIRE g10), so they only claim whom nobody speaks for.
    ///
    /// Somebody else's id cannot be claimed while that one is there, or anybody could speak for everybody; but one that has long
    /// been silent may be the same person, whose old line is half dead.
    fn may_claim(&self, peer: PeerId, entry: &Entry<'_>, now: Instant) -> bool {
        if self.own.contains_key(&peer) {
            return false;
        }
        let known = self.clients.get(&entry.client);
        if self.is_claimed_by_another(peer, entry.client) {
            return known.is_some_and(|known| {
                known.state.is_some() && known.since + AWARENESS_STALE <= now && known.clock < entry.clock
            });
        }
        !self.settled.contains(&peer) || known.is_none_or(|known| known.owner.is_none())
    }

    /// Whether somebody is here to speak for the client who is certainly not this peer's principal.
    fn is_claimed_by_another(&self, peer: PeerId, client: ClientId) -> bool {
        let Some(other) = self.claims.get(&client).filter(|other| **other != peer) else { return false };
        match (self.principals.get(other), self.principals.get(&peer)) {
            (Some(other), Some(own)) => other != own,
            (None, _) | (_, None) => false,
        }
    }

    /// WIRE g9 with ownership: newer clocks win; the same clock can only remove. Of somebody whose own socket lives, others
    /// know nothing newer: a null is the opinion of a client that slept (WIRE g11), anything else has come a detour.
    fn accepts(&self, peer: PeerId, entry: &Entry<'_>) -> bool {
        let Some(known) = self.clients.get(&entry.client) else {
            // A tombstone of somebody unknown is no news.
            return entry.state.is_some() && self.has_room_for(peer) && self.has_bytes_for(entry) && is_json(entry);
        };
        let newer = known.clock < entry.clock;
        let removes = known.clock == entry.clock && entry.state.is_none() && known.state.is_some();
        if !(newer || removes) {
            return false;
        }
        // Also of who shows nothing of itself now.
        if self.is_claimed_by_another(peer, entry.client) && self.own.get(&peer) != Some(&entry.client) {
            return false;
        }
        if let Some(owner) = known.owner.filter(|owner| *owner != peer) {
            let speaks_for = |peer| self.own.get(peer) == Some(&entry.client);
            if entry.state.is_none() || (speaks_for(&owner) && !speaks_for(&peer)) {
                return false;
            }
        }
        self.has_bytes_for(entry) && is_json(entry)
    }

    fn has_bytes_for(&self, entry: &Entry<'_>) -> bool {
        let known = self.clients.get(&entry.client).map_or(0, Presence::bytes);
        let new = entry.state.map_or(0, str::len);
        new <= known || self.bytes - known + new <= AWARENESS_BYTES_MAX
    }

    fn has_room_for(&self, peer: PeerId) -> bool {
        self.clients.len() < AWARENESS_CLIENTS_MAX
            && self.introduced.get(&peer).is_none_or(|count| *count < AWARENESS_CLIENTS_PER_PEER_MAX)
    }

    fn set(&mut self, peer: PeerId, entry: &Entry<'_>, now: Instant) {
        let claimed_by_other = self.claims.get(&entry.client).is_some_and(|owner| *owner != peer);
        let presence = self.clients.entry(entry.client).or_insert(Presence {
            clock: entry.clock,
            state: None,
            owner: None,
            since: now,
        });
        presence.clock = entry.clock;
        presence.since = now;
        self.bytes -= presence.bytes();
        presence.state = entry.state.map(Into::into);
        self.bytes += presence.bytes();
        if presence.state.is_none() {
            hand_over(&mut self.introduced, presence, None);
        } else if presence.owner.is_none() && !claimed_by_other {
            hand_over(&mut self.introduced, presence, Some(peer));
        }
        self.changed.insert(entry.client);
        self.due_is_stale = true;
    }

    /// The peer's connection ended: whom it spoke for is gone, at the same clock (WIRE g12).
    pub fn leave(&mut self, peer: PeerId, now: Instant) {
        if let Some(own) = self.own.remove(&peer)
            && self.claims.get(&own) == Some(&peer)
        {
            self.claims.remove(&own);
        }
        self.settled.remove(&peer);
        self.principals.remove(&peer);
        for (&client, presence) in &mut self.clients {
            if presence.owner == Some(peer) {
                bury(presence, now, &mut self.bytes);
                self.changed.insert(client);
                self.due_is_stale = true;
            }
        }
        self.introduced.remove(&peer);
    }

    /// Removes states that nobody alive speaks for and old tombstones. Returns when to look again.
    pub fn expire(&mut self, now: Instant) -> Option<Instant> {
        if !self.due_is_stale && self.due.is_none_or(|due| due > now) {
            return self.due;
        }
        let (changed, bytes) = (&mut self.changed, &mut self.bytes);
        let mut next: Option<Instant> = None;
        self.clients.retain(|&client, presence| {
            if presence.state.is_some() && presence.owner.is_none() && presence.since + AWARENESS_ORPHAN_TTL <= now {
                bury(presence, now, bytes);
                changed.insert(client);
            }
            let due = match (&presence.state, presence.owner) {
                (Some(_), Some(_)) => return true,
                (Some(_), None) => presence.since + AWARENESS_ORPHAN_TTL,
                (None, _) => presence.since + AWARENESS_TOMBSTONE_TTL,
            };
            let keep = due > now || changed.contains(&client);
            if keep {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
            keep
        });
        // What is kept only to be announced may go at the next look.
        self.due_is_stale = next.is_some_and(|next| next <= now);
        self.due = next;
        next
    }

    /// As [`Awareness::take_changes`], but not twice within [`AWARENESS_PAUSE`]: then it says when, and what changes until then
    /// goes along.
    pub fn announce(&mut self, now: Instant) -> (Option<Bytes>, Option<Instant>) {
        if self.changed.is_empty() {
            return (None, None);
        }
        match self.announced.map(|last| last + AWARENESS_PAUSE).filter(|due| *due > now) {
            Some(due) => (None, Some(due)),
            None => {
                self.announced = Some(now);
                (self.take_changes(), None)
            }
        }
    }

    /// What changed since the last call, as one message with the last state of each client; `None` when nothing did.
    pub fn take_changes(&mut self) -> Option<Bytes> {
        if self.changed.is_empty() {
            return None;
        }
        let changed = std::mem::take(&mut self.changed);
        let entries: Vec<_> = changed.iter().filter_map(|client| self.entry(*client)).collect();
        Some(awareness::encode(entries.into_iter()).into())
    }

    /// Everyone present, as one message; `None` when nobody is.
    pub fn everyone(&self) -> Option<Bytes> {
        let present = self.clients.iter().filter(|(_, presence)| presence.state.is_some());
        let entries: Vec<_> = present.filter_map(|(client, _)| self.entry(*client)).collect();
        (!entries.is_empty()).then(|| awareness::encode(entries.into_iter()).into())
    }

    /// How many are present.
    pub fn present(&self) -> usize {
        self.clients.values().filter(|presence| presence.state.is_some()).count()
    }

    fn entry(&self, client: ClientId) -> Option<Entry<'_>> {
        let presence = self.clients.get(&client)?;
        Some(Entry { client, clock: presence.clock, state: presence.state.as_deref() })
    }
}

/// Notes who introduced a client from now on.
fn hand_over(introduced: &mut BTreeMap<PeerId, usize>, presence: &mut Presence, owner: Option<PeerId>) {
    if let Some(last) = presence.owner
        && let Some(count) = introduced.get_mut(&last)
    {
        *count = count.saturating_sub(1);
    }
    if let Some(owner) = owner {
        *introduced.entry(owner).or_default() += 1;
    }
    presence.owner = owner;
}

fn bury(presence: &mut Presence, now: Instant, bytes: &mut usize) {
    *bytes -= presence.bytes();
    presence.state = None;
    presence.owner = None;
    presence.since = now;
}

/// A state that is not JSON would throw in every client that gets it, and take the other entries of its message along.
fn is_json(entry: &Entry<'_>) -> bool {
    entry.state.is_none_or(|state| serde_json::from_str::<serde::de::IgnoredAny>(state).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);

    fn message(entries: &[(u64, Clock, Option<&'static str>)]) -> Vec<u8> {
        let entries = entries.iter().map(|&(client, clock, state)| Entry { client: ClientId(client), clock, state });
        awareness::encode(entries.collect::<Vec<_>>().into_iter())
    }

    fn decoded(bytes: Option<Bytes>) -> Vec<(u64, Clock, Option<String>)> {
        let bytes = bytes.unwrap_or_else(|| Bytes::from_static(&[0]));
        let entries = awareness::entries(&bytes).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.client.0, entry.clock, entry.state.map(str::to_owned))).collect()
    }

    fn state(client: u64, clock: Clock, state: &str) -> (u64, Clock, Option<String>) {
        (client, clock, Some(state.to_owned()))
    }

    #[test]
    fn g9_newer_wins_and_the_same_clock_only_removes() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(7, 1, Some("{}"))]), now);
        assert_eq!(decoded(table.take_changes()), [state(7, 1, "{}")]);
        table.apply(A, &message(&[(7, 1, Some("{\"x\":1}"))]), now);
        assert_eq!(table.take_changes(), None, "same clock, other state: stale");
        table.apply(A, &message(&[(7, 1, None)]), now);
        assert_eq!(decoded(table.take_changes()), [(7, 1, None)]);
        table.apply(A, &message(&[(7, 1, None)]), now);
        assert_eq!(table.take_changes(), None, "already gone");
    }

    #[test]
    fn g10_echoes_change_nothing_and_claim_nothing() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(7, 1, Some("{}"))]), now);
        table.apply(B, &message(&[(8, 1, Some("{}"))]), now);
        table.take_changes();
        table.apply(B, &message(&[(7, 1, Some("{}"))]), now);
        assert_eq!(table.take_changes(), None);
        table.leave(B, now);
        assert_eq!(decoded(table.take_changes()), [(8, 1, None)], "only its own id goes with it");
    }

    #[test]
    fn g11_a_sleeper_cannot_evict_the_living() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(7, 3, Some("{}"))]), now);
        table.take_changes();
        table.apply(B, &message(&[(7, 3, None)]), now);
        assert_eq!(table.take_changes(), None);
        assert_eq!(decoded(table.everyone()), [state(7, 3, "{}")]);
    }

    #[test]
    fn g12_removal_keeps_the_clock_and_a_rejoiner_gets_the_tombstone() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(7, 5, Some("{}"))]), now);
        table.leave(A, now);
        assert_eq!(decoded(table.take_changes()), [(7, 5, None)]);
        let reply = table.apply(B, &message(&[(7, 5, Some("{}"))]), now);
        assert_eq!(decoded(reply), [(7, 5, None)]);
        table.apply(B, &message(&[(7, 6, Some("{}"))]), now);
        assert_eq!(decoded(table.take_changes()), [state(7, 6, "{}")]);
    }

    #[test]
    fn g12_a_socket_that_replaces_a_dead_one_keeps_its_presence() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(7, 5, Some("{}"))]), now);
        table.take_changes();
        // The same tab on a new socket, before the old one is known to be dead.
        assert_eq!(table.apply(B, &message(&[(7, 5, Some("{}"))]), now), None);
        table.leave(A, now);
        assert_eq!(table.take_changes(), None);
        assert_eq!(table.present(), 1);
    }

    #[test]
    fn who_merely_relays_does_not_own() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(8, 0, Some("{}"))]), now);
        // A's tab passes on what it heard from 7 over BroadcastChannel before 7's own socket speaks.
        table.apply(A, &message(&[(7, 1, Some("{}"))]), now);
        table.apply(B, &message(&[(7, 1, Some("{}"))]), now);
        table.take_changes();
        table.leave(A, now);
        assert_eq!(decoded(table.take_changes()), [(8, 0, None)]);
    }

    #[test]
    fn g10_an_echo_of_one_other_claims_nobody() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(7, 1, Some("{}"))]), now);
        table.take_changes();
        // B shows nothing of itself, so its first words are an echo.
        table.settle(B);
        table.apply(B, &message(&[(7, 1, Some("{}"))]), now);
        table.leave(A, now);
        assert_eq!(decoded(table.take_changes()), [(7, 1, None)]);
        table.apply(B, &message(&[(9, 1, Some("{}"))]), now);
        table.take_changes();
        table.leave(B, now);
        assert_eq!(decoded(table.take_changes()), [(9, 1, None)], "it may still introduce itself later");
    }

    #[test]
    fn nobody_else_moves_the_cursor_of_one_who_is_there() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(7, 1, Some("{}"))]), now);
        table.apply(B, &message(&[(8, 1, Some("{}"))]), now);
        table.take_changes();
        table.apply(B, &message(&[(7, 9, Some("{\"forged\":true}"))]), now);
        assert_eq!(table.take_changes(), None);
        table.apply(A, &message(&[(7, 2, Some("{}"))]), now);
        assert_eq!(decoded(table.take_changes()), [state(7, 2, "{}")]);
    }

    /// As [`Awareness::default`], with `A` and `B` two users.
    fn of_two() -> Awareness {
        let mut table = Awareness::default();
        table.introduce(A, Principal(1));
        table.introduce(B, Principal(2));
        table
    }

    #[test]
    fn g12_a_presence_is_taken_over_by_the_same_user_and_by_nobody_else() {
        let (mut table, now) = (of_two(), Instant::now());
        table.apply(A, &message(&[(7, 5, Some("{}"))]), now);
        table.take_changes();
        // B's first words are in A's name: to move its cursor, to end it with its own leaving, to be told of tombstones.
        for forged in [5, 6, 100] {
            table.apply(B, &message(&[(7, forged, Some("{\"forged\":true}"))]), now);
            table.apply(B, &message(&[(7, forged, None)]), now);
        }
        table.leave(B, now);
        assert_eq!(table.take_changes(), None);
        // A on another socket, the old one being half dead.
        let again = PeerId(3);
        table.introduce(again, Principal(1));
        table.apply(again, &message(&[(7, 5, Some("{}"))]), now);
        table.leave(A, now);
        assert_eq!((table.take_changes(), table.present()), (None, 1));
        table.apply(again, &message(&[(7, 6, Some("{\"x\":1}"))]), now);
        assert_eq!(decoded(table.take_changes()), [state(7, 6, "{\"x\":1}")]);
    }

    #[test]
    fn who_shows_nothing_of_itself_is_not_shown_by_others() {
        let (mut table, now) = (of_two(), Instant::now());
        table.apply(A, &message(&[(7, 5, Some("{}"))]), now);
        table.apply(A, &message(&[(7, 6, None)]), now);
        table.take_changes();
        table.apply(B, &message(&[(7, 7, Some("{\"forged\":true}"))]), now + 2 * AWARENESS_STALE);
        assert_eq!(table.take_changes(), None);
        table.apply(A, &message(&[(7, 7, Some("{}"))]), now);
        assert_eq!(decoded(table.take_changes()), [state(7, 7, "{}")]);
    }

    #[test]
    fn g12_who_comes_back_from_another_address_has_its_presence_when_the_old_line_is_silent() {
        let (mut table, now) = (of_two(), Instant::now());
        table.apply(A, &message(&[(7, 5, Some("{}"))]), now);
        table.take_changes();
        // What stock clients do: at once, and again every 15 s.
        table.apply(B, &message(&[(7, 5, Some("{}"))]), now);
        table.settle(B);
        for (after_s, clock, shown) in [(15, 6, false), (30, 7, true), (45, 8, true)] {
            let now = now + std::time::Duration::from_secs(after_s);
            table.apply(B, &message(&[(7, clock, Some("{}"))]), now);
            assert_eq!(table.take_changes().is_some(), shown, "{after_s}");
        }
        table.leave(A, now);
        assert_eq!(table.present(), 1);
        table.leave(B, now);
        assert_eq!(table.present(), 0);
    }

    #[test]
    fn a_lone_change_is_told_at_once_and_those_that_follow_together() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        let step = |table: &mut Awareness, clock, at| {
            table.apply(A, &message(&[(7, clock, Some("{}"))]), at);
            table.announce(at)
        };
        let (told, due) = step(&mut table, 1, now);
        assert_eq!((decoded(told), due), (vec![state(7, 1, "{}")], None));
        for clock in 2..10 {
            assert_eq!(step(&mut table, clock, now + AWARENESS_PAUSE / 10), (None, Some(now + AWARENESS_PAUSE)));
        }
        let (told, due) = table.announce(now + AWARENESS_PAUSE);
        assert_eq!((decoded(told), due), (vec![state(7, 9, "{}")], None));
        assert_eq!(table.announce(now + AWARENESS_PAUSE), (None, None));
        let (told, _) = step(&mut table, 10, now + 2 * AWARENESS_PAUSE);
        assert_eq!(decoded(told), [state(7, 10, "{}")]);
    }

    #[test]
    fn presence_is_bounded_in_bytes_and_what_is_gone_makes_room() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        let large = format!("\"{}\"", "x".repeat(16_000)).leak();
        let all = AWARENESS_BYTES_MAX / large.len();
        for client in 0..=all as u64 {
            table.apply(PeerId(client), &message(&[(client, 1, Some(large))]), now);
        }
        assert_eq!(table.present(), all, "the last one finds no room");
        table.apply(PeerId(0), &message(&[(0, 2, Some("{}"))]), now);
        table.leave(PeerId(1), now);
        assert_eq!(table.bytes, (all - 2) * large.len() + 2);
        table.apply(PeerId(1_000), &message(&[(1_000, 1, Some(large))]), now);
        assert_eq!(table.present(), all);
        for client in 0..=1_000 {
            table.leave(PeerId(client), now);
        }
        assert_eq!((table.present(), table.bytes), (0, 0));
    }

    #[test]
    fn tombstones_make_room_for_the_living() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        for client in 0..AWARENESS_CLIENTS_MAX as u64 {
            table.apply(A, &message(&[(client, 1, Some("{}"))]), now);
            table.apply(A, &message(&[(client, 1, None)]), now);
            table.take_changes();
        }
        assert_eq!((table.clients.len(), table.present()), (AWARENESS_CLIENTS_MAX, 0));
        table.apply(B, &message(&[(99_999, 1, Some("{}"))]), now);
        assert_eq!((table.clients.len(), table.present()), (1, 1));
    }

    #[test]
    fn orphans_and_tombstones_expire() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        table.apply(A, &message(&[(7, 1, Some("{}"))]), now);
        table.leave(A, now);
        table.take_changes();
        let due = table.expire(now).unwrap();
        assert_eq!(due, now + AWARENESS_TOMBSTONE_TTL);
        assert_eq!(table.expire(due), None);
        assert!(table.clients.is_empty());
    }

    #[test]
    fn presence_is_bounded_per_peer_and_must_be_json() {
        let (mut table, now) = (Awareness::default(), Instant::now());
        for client in 0..AWARENESS_CLIENTS_PER_PEER_MAX as u64 + 5 {
            table.apply(A, &message(&[(client, 1, Some("{}"))]), now);
        }
        assert_eq!(table.present(), AWARENESS_CLIENTS_PER_PEER_MAX);
        table.apply(B, &message(&[(99, 1, Some("{not json"))]), now);
        assert_eq!(table.present(), AWARENESS_CLIENTS_PER_PEER_MAX);
    }
}
