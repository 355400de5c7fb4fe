//! Updates that wait for a missing one: kept within bounds, found again by what they wait for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::gate::Parked;
use crate::ids::{ClientId, Clock, PeerId, Principal};
use crate::limits::{PARKED_BYTES_MAX, PARKED_SENDER_SHARE, PARKED_UPDATES_MAX};
use crate::wire::update;

/// The parked updates of one document.
#[derive(Debug, Default)]
pub struct ParkingLot {
    updates: BTreeMap<u64, Waiting>,
    /// What waits for a tick: client, tick, update.
    waits: BTreeSet<(ClientId, Clock, u64)>,
    /// To recognise what is offered again.
    held: BTreeMap<Bytes, u64>,
    taken: Taken,
    /// What those have of it who have a share.
    shares: BTreeMap<Share, Taken>,
    structs: u64,
    next: u64,
}

/// Whose share of the lot an update takes. Not its author's: an author can call himself anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// A user's, or an address's where users have no names.
    Principal(Principal),
    /// A peer's of whom nothing else is known.
    Peer(PeerId),
    /// That of all who bring updates without being peers.
    Others,
}

#[derive(Debug)]
struct Waiting {
    update: Bytes,
    misplaced: bool,
    structs: u64,
    share: Option<Share>,
}

/// How much of the lot is taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Taken {
    bytes: usize,
    updates: usize,
}

impl Taken {
    fn has_room(self, bytes: usize, one_in: usize) -> bool {
        self.bytes + bytes <= PARKED_BYTES_MAX / one_in && self.updates < PARKED_UPDATES_MAX / one_in
    }

    fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.updates += 1;
    }

    fn remove(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.updates -= 1;
    }
}

/// What became of an update offered for parking.
#[derive(Debug, PartialEq, Eq)]
pub enum Parking {
    /// It waits now; the bytes belong into the log.
    Parked(Bytes),
    /// The same bytes wait already.
    Known,
    /// [`PARKED_BYTES_MAX`] or [`PARKED_UPDATES_MAX`] is reached, or the part of it that is its sender's.
    Full,
}

impl ParkingLot {
    /// Parks an update unless it waits already or there is no room, also in its sender's share where it takes one. `force` parks
    /// what was logged before, whatever the bounds (they held when it was logged).
    pub fn park(&mut self, parked: Parked, share: Option<Share>, force: bool) -> Parking {
        let Parked { update, missing, misplaced } = parked;
        let update = Bytes::from(update);
        if self.held.contains_key(&update) {
            return Parking::Known;
        }
        let of_sender = share.and_then(|share| self.shares.get(&share)).copied().unwrap_or_default();
        let sender_has_room = share.is_none() || of_sender.has_room(update.len(), PARKED_SENDER_SHARE);
        if !(force || sender_has_room && self.taken.has_room(update.len(), 1)) {
            return Parking::Full;
        }
        let id = self.next;
        self.next += 1;
        self.taken.add(update.len());
        if let Some(share) = share {
            self.shares.entry(share).or_default().add(update.len());
        }
        let structs = update::structs(&update);
        self.structs += structs;
        self.waits.extend(missing.iter().map(|(client, clock)| (*client, *clock, id)));
        self.held.insert(update.clone(), id);
        self.updates.insert(id, Waiting { update: update.clone(), misplaced, structs, share });
        Parking::Parked(update)
    }

    /// Takes out the updates that waited for a tick of `client` below `known`, with whose share they took.
    pub fn take_ready(&mut self, client: ClientId, known: Clock) -> Vec<(Bytes, Option<Share>)> {
        let ids: BTreeSet<u64> = self.waits.range((client, 0, 0)..(client, known, 0)).map(|wait| wait.2).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        self.waits.retain(|wait| !ids.contains(&wait.2));
        ids.iter().filter_map(|id| self.remove(*id)).collect()
    }

    fn remove(&mut self, id: u64) -> Option<(Bytes, Option<Share>)> {
        let Waiting { update, misplaced: _, structs, share } = self.updates.remove(&id)?;
        self.held.remove(&update);
        self.structs -= structs;
        self.taken.remove(update.len());
        if let Some(share) = share
            && let Some(of_sender) = self.shares.get_mut(&share)
        {
            of_sender.remove(update.len());
            if of_sender.updates == 0 {
                self.shares.remove(&share);
            }
        }
        Some((update, share))
    }

    /// What a fold keeps of the waiting updates, oldest first: all but the misplaced ones.
    pub fn kept(&self) -> impl Iterator<Item = &Bytes> {
        self.updates.values().filter(|waiting| !waiting.misplaced).map(|waiting| &waiting.update)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.updates.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty()
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.taken.bytes
    }

    /// Their structs.
    pub fn structs(&self) -> u64 {
        self.structs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(update: &[u8], clock: Clock) -> Parked {
        Parked { update: update.to_vec(), missing: [(ClientId(1), clock)].into(), misplaced: false }
    }

    #[test]
    fn what_waits_is_found_by_what_it_waits_for() {
        let mut lot = ParkingLot::default();
        assert!(matches!(lot.park(waiting(b"a", 5), None, false), Parking::Parked(_)));
        assert_eq!(lot.park(waiting(b"a", 5), None, false), Parking::Known);
        assert!(lot.take_ready(ClientId(1), 5).is_empty());
        assert_eq!(lot.take_ready(ClientId(1), 6), [(Bytes::from_static(b"a"), None)]);
        assert!(lot.is_empty() && lot.bytes() == 0 && lot.waits.is_empty());
    }

    #[test]
    fn the_lot_is_bounded_in_number_and_bytes() {
        let mut lot = ParkingLot::default();
        for n in 0..PARKED_UPDATES_MAX as u64 {
            assert!(matches!(lot.park(waiting(&n.to_be_bytes(), 1), None, false), Parking::Parked(_)));
        }
        assert_eq!(lot.park(waiting(b"one more", 1), None, false), Parking::Full);
        let mut lot = ParkingLot::default();
        assert!(matches!(lot.park(waiting(&vec![0; PARKED_BYTES_MAX], 1), None, false), Parking::Parked(_)));
        assert_eq!(lot.park(waiting(b"x", 1), None, false), Parking::Full);
        assert!(matches!(lot.park(waiting(b"x", 1), None, true), Parking::Parked(_)), "what was logged must load");
    }

    #[test]
    fn one_sender_has_a_share_of_the_lot_and_gets_it_back() {
        let (mut lot, own) = (ParkingLot::default(), PARKED_BYTES_MAX / PARKED_SENDER_SHARE);
        let (greedy, other) = (Some(Share::Principal(Principal(1))), Some(Share::Peer(PeerId(1))));
        // One struct, and many zeros behind it: the lot does not read what it keeps.
        let large = [&[1, 1, 1, 0][..], &vec![0; own - 4]].concat();
        assert!(matches!(lot.park(waiting(&large, 7), greedy, false), Parking::Parked(_)));
        assert_eq!((lot.bytes(), lot.structs()), (own, 1));
        assert_eq!(lot.park(waiting(b"x", 1), greedy, false), Parking::Full);
        for n in 0..(PARKED_UPDATES_MAX / PARKED_SENDER_SHARE) as u64 {
            assert!(matches!(lot.park(waiting(&n.to_be_bytes(), 1), other, false), Parking::Parked(_)));
        }
        assert_eq!(lot.park(waiting(b"x", 1), other, false), Parking::Full, "in number as well");
        assert!(matches!(lot.park(waiting(b"x", 1), None, false), Parking::Parked(_)), "there is room for others");
        // What goes on and waits anew takes the same share.
        let mut ready = lot.take_ready(ClientId(1), 8);
        assert_eq!(ready.pop().unwrap().1, None);
        assert!(ready.iter().any(|(_, share)| *share == greedy) && lot.shares.is_empty());
        assert_eq!((lot.taken, lot.structs()), (Taken::default(), 0));
    }
}
