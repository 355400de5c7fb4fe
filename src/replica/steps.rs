//! An update of very many clients, or of very many edits, cut into updates of few that can be integrated one after the
//! other.
//!
//! yrs goes through the clients of an update by recursion, so 20,000 of them in 200 kB overflow a stack of 2 MiB, and it
//! searches its stack of waiting structs from end to end. No bound on what may be sent would help: old documents have had
//! that many clients.
//!
//! And when a transaction ends, yrs joins neighbours typed one after the other, each time copying all that it has joined
//! so far and freeing none of it before the last: 20,000 edits of 9 bytes, as a flood brings in one turn, took 2 GB.

use std::collections::BTreeMap;

use super::delete_set::DeleteSet;
use super::gate::gate;
use crate::ids::{ClientId, Clock};
use crate::limits::{CLOCK_MAX, INTEGRATE_BYTES_MAX, INTEGRATE_CLIENTS_MAX, INTEGRATE_STRUCTS_MAX};
use crate::wire::WireError;
use crate::wire::state_vector::StateVector;
use crate::wire::update::{Builder, Kind, Walker};

/// Whether `update` has more clients, or more edits that yrs will join, than it should be given at once. A snapshot, in
/// which everything is joined already, needs no steps however large it is.
pub fn needs_steps(update: &[u8]) -> bool {
    if update.len() <= INTEGRATE_BYTES_MAX {
        return Walker::new(update).is_ok_and(|(_, sections)| sections > INTEGRATE_CLIENTS_MAX as u64);
    }
    has_much_to_join(update).unwrap_or(false)
}

fn has_much_to_join(update: &[u8]) -> Result<bool, WireError> {
    let (mut walker, sections) = Walker::new(update)?;
    if sections > INTEGRATE_CLIENTS_MAX as u64 {
        return Ok(true);
    }
    let mut joins = 0;
    for _ in 0..sections {
        let section = walker.section()?;
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let item = walker.next(section.client, clock)?;
            let follows = item.origin.is_some_and(|id| id.client == section.client && id.clock + 1 == clock);
            joins += usize::from(follows || matches!(item.kind, Kind::Gc));
            clock = item.end();
        }
    }
    Ok(joins > INTEGRATE_STRUCTS_MAX)
}

/// The steps, in an order of causes; deletes come last. `update` has passed the gate, so whatever it does not bring itself
/// is there.
///
/// # Errors
/// Only when `update` was not validated.
pub fn steps(update: &[u8]) -> Result<Vec<Vec<u8>>, WireError> {
    let (mut walker, sections) = Walker::new(update)?;
    let mut cursors: BTreeMap<ClientId, (Walker<'_>, Clock)> = BTreeMap::new();
    let mut known = StateVector::new();
    let mut elsewhere = StateVector::new();
    for _ in 0..sections {
        let section = walker.section()?;
        cursors.insert(section.client, (walker.clone(), section.clock));
        known.insert(section.client, section.clock);
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let item = walker.next(section.client, clock)?;
            clock = item.end();
            elsewhere.extend(item.dependencies().map(|id| (id.client, (CLOCK_MAX - 1) as Clock)));
        }
    }
    for (client, clock) in elsewhere {
        known.entry(client).or_insert(clock);
    }

    let mut steps = Vec::new();
    let mut step = Builder::default();
    let (mut clients, mut structs) = (0, 0);
    let mut last = None;
    for (client, item) in gate(update, &known, &DeleteSet::default())?.traits {
        // Structs of one client mostly come in a row, so counting changes counts clients, or more than there are.
        if last.replace(client) != Some(client) {
            clients += 1;
        }
        if clients > INTEGRATE_CLIENTS_MAX || structs == INTEGRATE_STRUCTS_MAX {
            steps.push(std::mem::take(&mut step).finish());
            (clients, structs) = (1, 0);
        }
        structs += 1;
        let Some((walker, clock)) = cursors.get_mut(&client) else { continue };
        let from = walker.position();
        walker.next(client, *clock)?;
        step.structs(client, *clock, 1, &[update.get(from..walker.position()).unwrap_or_default()]);
        *clock = item.to;
    }
    walker.delete_set(|client, from, to| step.delete(client, from, to))?;
    steps.push(step.finish());
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::lib0::write_var_uint;
    use crate::wire::update::validate;

    /// Each client's only struct stands behind that of the next smaller one.
    fn chain(clients: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_var_uint(&mut bytes, clients);
        for client in (1..=clients).rev() {
            bytes.push(1);
            write_var_uint(&mut bytes, client);
            bytes.push(0);
            if client == 1 {
                bytes.extend([4, 1, 1, b't', 1, b'x']);
            } else {
                bytes.push(0x84);
                write_var_uint(&mut bytes, client - 1);
                bytes.extend([0, 1, b'x']);
            }
        }
        bytes.extend([1, 1, 1, 0, 1]);
        bytes
    }

    #[test]
    fn steps_are_small_valid_and_ready_one_after_the_other() {
        let clients = 3 * INTEGRATE_CLIENTS_MAX as u64 + 1;
        let update = chain(clients);
        assert!(needs_steps(&update) && !needs_steps(&chain(clients / 4)));
        let steps = steps(&update).unwrap();
        assert_eq!(steps.len(), 4);
        let (mut known, mut deleted) = (StateVector::new(), 0);
        for step in &steps {
            validate(step).unwrap();
            assert!(!needs_steps(step));
            let gated = gate(step, &known, &DeleteSet::default()).unwrap();
            assert!(gated.parked.is_none());
            known.extend(gated.runs.iter().map(|run| (run.client, run.to)));
            deleted += gated.deletes.len();
        }
        assert_eq!((known.len() as u64, deleted), (clients, 1));
    }

    /// What a flood brings in one turn: found by a process test, in which it took 2 GB.
    #[test]
    fn many_edits_of_one_client_come_in_small_steps() {
        let edits = 20_000;
        let mut builder = Builder::default();
        builder.structs(ClientId(1), 0, 1, &[&[4, 1, 1, b't', 1, b'x']]);
        for clock in 1..edits {
            let mut item = vec![0x84, 1];
            write_var_uint(&mut item, clock - 1);
            item.extend([1, b'x']);
            builder.structs(ClientId(1), clock as Clock, 1, &[&item]);
        }
        let update = builder.finish();
        assert!(needs_steps(&update));
        let steps = steps(&update).unwrap();
        assert_eq!(steps.len(), (edits as usize).div_ceil(INTEGRATE_STRUCTS_MAX));
        assert!(steps.iter().all(|step| !needs_steps(step)));
    }
}
