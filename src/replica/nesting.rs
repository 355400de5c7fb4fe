//! What hangs in what. yrs recurses along the depth of shared types when it deletes and frees, so a chain of some ten
//! thousand would end the process (DEPENDENCIES A3), and it gives up in the middle of an update in which something hangs
//! in what is no shared type. Both are refused here, before yrs sees them.
//!
//! An item's bytes name its parent only when it has no neighbour; else it hangs where its neighbour hangs. So the parent
//! of every tick is kept, as runs: text typed into one type by one client is one run, however long.

use std::collections::BTreeMap;

use super::gate::{Carries, Place, Trait};
use crate::ids::{ClientId, Clock};
use crate::limits::TYPE_DEPTH_MAX;
use crate::wire::update::Id;

/// Index into [`Nesting::depths`]; 0 stands for every root type.
type TypeNo = u32;

/// Marks runs that came deleted: what they were is unknown, so they may have been a type.
const CAME_DELETED: TypeNo = 1 << 31;

/// Where each tick hangs, and how deep that is.
#[derive(Debug)]
pub struct Nesting {
    depths: Vec<u32>,
    types: BTreeMap<Id, TypeNo>,
    /// Per client: first tick of each run, and where the run hangs, perhaps with [`CAME_DELETED`].
    runs: BTreeMap<ClientId, Vec<(Clock, TypeNo)>>,
}

/// Why a struct cannot be where it wants to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// A type would hang deeper than [`TYPE_DEPTH_MAX`].
    TooDeep,
    /// It hangs in what is no shared type. No client makes such a struct.
    NotInAType,
}

impl Default for Nesting {
    fn default() -> Self {
        Self { depths: vec![0], types: BTreeMap::new(), runs: BTreeMap::new() }
    }
}

impl Nesting {
    /// Notes a struct that is being accepted. Structs of one client come in the order of their clocks.
    pub fn add(&mut self, client: ClientId, item: &Trait<'_>) -> Result<(), Misplaced> {
        let parent = match item.place {
            Place::Root(_) | Place::Nowhere => 0,
            Place::In(id) => match self.types.get(&id) {
                Some(number) => *number,
                // yrs drops what hangs in something deleted.
                None if self.run_of(id) & CAME_DELETED != 0 => 0,
                None => return Err(Misplaced::NotInAType),
            },
            Place::Beside(id) => self.run_of(id) & !CAME_DELETED,
        };
        let run = if item.carries == Carries::Deleted { parent | CAME_DELETED } else { parent };
        let runs = self.runs.entry(client).or_default();
        if runs.last().is_none_or(|(_, last)| *last != run) {
            runs.push((item.from, run));
        }
        if item.carries == Carries::SharedType {
            let depth = self.depths[parent as usize] + 1;
            if depth > TYPE_DEPTH_MAX {
                return Err(Misplaced::TooDeep);
            }
            self.types.insert(Id { client, clock: item.from }, self.depths.len() as TypeNo);
            self.depths.push(depth);
        }
        Ok(())
    }

    /// Takes back what was noted of `client` from tick `from` on, because the update was refused.
    pub fn forget(&mut self, client: ClientId, from: Clock) {
        if let Some(runs) = self.runs.get_mut(&client) {
            runs.retain(|(start, _)| *start < from);
        }
        let (first, last) = (Id { client, clock: from }, Id { client, clock: Clock::MAX });
        let types: Vec<Id> = self.types.range(first..=last).map(|(id, _)| *id).collect();
        for number in types.iter().filter_map(|id| self.types.remove(id)) {
            self.depths.truncate(number as usize);
        }
    }

    fn run_of(&self, id: Id) -> TypeNo {
        let Some(runs) = self.runs.get(&id.client) else { return 0 };
        let behind = runs.partition_point(|(from, _)| *from <= id.clock);
        behind.checked_sub(1).map_or(0, |at| runs[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: ClientId = ClientId(1);

    fn item(at: Clock, place: Place<'static>, carries: Carries) -> Trait<'static> {
        Trait { from: at, to: at + 1, place, carries }
    }

    #[test]
    fn depth_is_counted_through_neighbours_too() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), Carries::SharedType)).unwrap();
        let mut inner = 0;
        let mut clock = 1;
        let mut depth = 1;
        loop {
            // A plain item in the type, then a type that names only this item as its neighbour.
            nesting.add(C, &item(clock, Place::In(Id { client: C, clock: inner }), Carries::Content)).unwrap();
            let beside = Place::Beside(Id { client: C, clock });
            if nesting.add(C, &item(clock + 1, beside, Carries::SharedType)).is_err() {
                break;
            }
            depth += 1;
            inner = clock + 1;
            clock += 2;
        }
        assert_eq!(depth, TYPE_DEPTH_MAX);
    }

    #[test]
    fn what_hangs_in_no_type_is_refused_unless_it_came_deleted() {
        let mut nesting = Nesting::default();
        let id = |clock| Id { client: C, clock };
        nesting.add(C, &item(0, Place::Root("r"), Carries::Content)).unwrap();
        assert_eq!(nesting.add(C, &item(1, Place::In(id(0)), Carries::Content)), Err(Misplaced::NotInAType));
        nesting.add(C, &item(1, Place::Root("r"), Carries::SharedType)).unwrap();
        nesting.add(C, &item(2, Place::In(id(1)), Carries::Deleted)).unwrap();
        nesting.add(C, &item(3, Place::In(id(2)), Carries::Content)).unwrap();
        nesting.add(C, &item(4, Place::Beside(id(2)), Carries::SharedType)).unwrap();
        assert_eq!(nesting.depths, [0, 1, 2], "a deleted neighbour still tells where its neighbours hang");
    }

    #[test]
    fn siblings_do_not_add_up() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), Carries::SharedType)).unwrap();
        for clock in 1..5_000 {
            nesting.add(C, &item(clock, Place::In(Id { client: C, clock: 0 }), Carries::SharedType)).unwrap();
        }
        assert_eq!(nesting.runs[&C].len(), 2, "one run in the root, one in the type");
    }
}
