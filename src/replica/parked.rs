//! Updates that wait for a missing one: kept within bounds, found again by what they wait for.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::gate::Parked;
use crate::ids::{ClientId, Clock};
use crate::limits::{PARKED_BYTES_MAX, PARKED_UPDATES_MAX};

/// The parked updates of one document.
#[derive(Debug, Default)]
pub struct ParkingLot {
    updates: BTreeMap<u64, Waiting>,
    /// What waits for a tick: client, tick, update.
    waits: BTreeSet<(ClientId, Clock, u64)>,
    /// To recognise what is offered again.
    held: BTreeMap<Bytes, u64>,
    bytes: usize,
    next: u64,
}

#[derive(Debug)]
struct Waiting {
    update: Bytes,
    misplaced: bool,
}

/// What became of an update offered for parking.
#[derive(Debug, PartialEq, Eq)]
pub enum Parking {
    /// It waits now; the bytes belong into the log.
    Parked(Bytes),
    /// The same bytes wait already.
    Known,
    /// [`PARKED_BYTES_MAX`] or [`PARKED_UPDATES_MAX`] is reached.
    Full,
}

impl ParkingLot {
    /// Parks an update unless it waits already or there is no room. `force` parks what was logged before, whatever the
    /// bounds (they held when it was logged).
    pub fn park(&mut self, parked: Parked, force: bool) -> Parking {
        let Parked { update, missing, misplaced } = parked;
        let update = Bytes::from(update);
        if self.held.contains_key(&update) {
            return Parking::Known;
        }
        if !force && (self.bytes + update.len() > PARKED_BYTES_MAX || self.updates.len() >= PARKED_UPDATES_MAX) {
            return Parking::Full;
        }
        let id = self.next;
        self.next += 1;
        self.bytes += update.len();
        self.waits.extend(missing.iter().map(|(client, clock)| (*client, *clock, id)));
        self.held.insert(update.clone(), id);
        self.updates.insert(id, Waiting { update: update.clone(), misplaced });
        Parking::Parked(update)
    }

    /// Takes out the updates that waited for a tick of `client` below `known`.
    pub fn take_ready(&mut self, client: ClientId, known: Clock) -> Vec<Bytes> {
        let ids: BTreeSet<u64> = self.waits.range((client, 0, 0)..(client, known, 0)).map(|wait| wait.2).collect();
        if ids.is_empty() {
            return Vec::new();
        }
        self.waits.retain(|wait| !ids.contains(&wait.2));
        let taken: Vec<Bytes> = ids.iter().filter_map(|id| Some(self.updates.remove(id)?.update)).collect();
        for update in &taken {
            self.held.remove(update);
            self.bytes -= update.len();
        }
        taken
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
        self.bytes
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
        assert!(matches!(lot.park(waiting(b"a", 5), false), Parking::Parked(_)));
        assert_eq!(lot.park(waiting(b"a", 5), false), Parking::Known);
        assert!(lot.take_ready(ClientId(1), 5).is_empty());
        assert_eq!(lot.take_ready(ClientId(1), 6), [Bytes::from_static(b"a")]);
        assert!(lot.is_empty() && lot.bytes() == 0 && lot.waits.is_empty());
    }

    #[test]
    fn the_lot_is_bounded_in_number_and_bytes() {
        let mut lot = ParkingLot::default();
        for n in 0..PARKED_UPDATES_MAX as u64 {
            assert!(matches!(lot.park(waiting(&n.to_be_bytes(), 1), false), Parking::Parked(_)));
        }
        assert_eq!(lot.park(waiting(b"one more", 1), false), Parking::Full);
        let mut lot = ParkingLot::default();
        assert!(matches!(lot.park(waiting(&vec![0; PARKED_BYTES_MAX], 1), false), Parking::Parked(_)));
        assert_eq!(lot.park(waiting(b"x", 1), false), Parking::Full);
        assert!(matches!(lot.park(waiting(b"x", 1), true), Parking::Parked(_)), "what was logged must load");
    }
}
