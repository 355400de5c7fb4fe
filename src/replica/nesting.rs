//! What hangs in what. Refused here, before yrs sees it, is what would harm it there: types nested so deeply that yrs,
//! which recurses along them when it deletes and frees, would overflow its stack (DEPENDENCIES A3); what hangs in no
//! shared type, at which it gives up in the middle of an update; and text in a nested type that is none, over which its
//! array iterator never ends; and what stands among the values of a key without being one, which yrs takes for one.
//!
//! An item's bytes name its parent only when it has no neighbour; else it hangs where its neighbour hangs. So the parent
//! of every tick is kept, as runs: text typed into one type by one client is one run, however long and whatever of it is
//! deleted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::gate::{Carries, Gated, Place, Trait};
use crate::ids::{ClientId, Clock};
use crate::limits::TYPE_DEPTH_MAX;
use crate::wire::update::Id;

/// Index into [`Nesting::types`]; 0 stands for nowhere.
type TypeNo = u32;

/// Marks runs that stand under a key, or beside something that does: yrs gives an item its neighbour's key.
const KEYED: TypeNo = 1 << 30;

/// What is known of the document's shared types, and where each tick hangs.
#[derive(Debug)]
pub struct Nesting {
    types: Vec<SharedType>,
    roots: BTreeMap<Box<str>, TypeNo>,
    nested: BTreeMap<Id, TypeNo>,
    /// Per client: first tick of each run, and where the run hangs, perhaps with [`KEYED`].
    runs: BTreeMap<ClientId, Vec<(Clock, TypeNo)>>,
    /// Per client: beginnings and ends of what came deleted. What it was is unknown, so it may have been a type.
    came_deleted: BTreeMap<ClientId, Vec<(Clock, Clock)>>,
}

#[derive(Debug)]
struct SharedType {
    depth: u32,
    /// Roots do not say what they are, so they may hold anything.
    takes_text: bool,
    kind: RootKind,
    /// Its key in [`Nesting::roots`] or [`Nesting::nested`].
    key: Key,
}

#[derive(Debug)]
enum Key {
    Nowhere,
    Root(Box<str>),
    Nested(Id),
}

/// A root type by what hangs in it. Where several kinds do, the later one counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RootKind {
    /// Nothing that tells: all of it came deleted.
    #[default]
    Unknown,
    /// Values in a row.
    Array,
    /// XML elements and texts.
    Xml,
    /// Characters, formats and embedded objects.
    Text,
    /// Values under keys.
    Map,
}

/// Why a struct cannot be where it wants to be. No client makes such structs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// A type would hang deeper than [`TYPE_DEPTH_MAX`].
    TooDeep,
    /// It hangs in what is no shared type, or in one that cannot hold it.
    Unfitting,
}

/// What an update adds, while it is gated. Dropped, nothing stays of it.
pub struct Addition<'n> {
    nesting: &'n mut Nesting,
    /// Types before it.
    types: usize,
    /// Per client the first tick of it.
    from: Vec<(ClientId, Clock)>,
    /// What came deleted.
    deleted: Vec<(ClientId, Clock, Clock)>,
    misplaced: Option<Misplaced>,
}

impl Addition<'_> {
    /// Notes one struct. Structs of one client come in the order of their clocks.
    pub fn add(&mut self, client: ClientId, item: &Trait<'_>) {
        if self.misplaced.is_some() {
            return;
        }
        if self.from.last().is_none_or(|(last, _)| *last != client) {
            self.from.push((client, item.from));
        }
        if item.carries == Carries::Deleted {
            match self.deleted.last_mut() {
                Some((last, _, to)) if *last == client && *to == item.from => *to = item.to,
                _ => self.deleted.push((client, item.from, item.to)),
            }
        }
        self.misplaced = self.nesting.add(client, item).err();
    }

    /// Keeps all of it, and says what of it came deleted; or nothing, when some of it is misplaced.
    pub fn keep(mut self) -> Result<Vec<(ClientId, Clock, Clock)>, Misplaced> {
        match self.misplaced {
            Some(misplaced) => Err(misplaced),
            None => {
                self.types = usize::MAX;
                self.from.clear();
                Ok(std::mem::take(&mut self.deleted))
            }
        }
    }
}

impl Drop for Addition<'_> {
    fn drop(&mut self) {
        let nesting = &mut *self.nesting;
        for gone in nesting.types.drain(self.types.min(nesting.types.len())..) {
            match gone.key {
                Key::Nowhere => {}
                Key::Root(name) => drop(nesting.roots.remove(&name)),
                Key::Nested(id) => drop(nesting.nested.remove(&id)),
            }
        }
        for (client, from) in self.from.drain(..) {
            if let Some(runs) = nesting.runs.get_mut(&client) {
                runs.truncate(runs.partition_point(|(at, _)| *at < from));
            }
            if let Some(ranges) = nesting.came_deleted.get_mut(&client) {
                ranges.truncate(ranges.partition_point(|(at, _)| *at < from));
                // The last of those before may have been continued.
                if let Some((_, to)) = ranges.last_mut() {
                    *to = from.min(*to);
                }
            }
        }
    }
}

impl Default for Nesting {
    fn default() -> Self {
        let nowhere = SharedType { depth: 0, takes_text: true, kind: RootKind::Unknown, key: Key::Nowhere };
        Self {
            types: vec![nowhere],
            roots: BTreeMap::new(),
            nested: BTreeMap::new(),
            runs: BTreeMap::new(),
            came_deleted: BTreeMap::new(),
        }
    }
}

impl Nesting {
    /// Notes all that is new in an update; nothing when some of it is misplaced.
    pub fn add_all(&mut self, gated: &Gated<'_>) -> Result<(), Misplaced> {
        let mut addition = self.begin();
        gated.traits.iter().for_each(|(client, item)| addition.add(*client, item));
        addition.keep().map(drop)
    }

    /// Begins to note what is new in an update.
    pub fn begin(&mut self) -> Addition<'_> {
        let types = self.types.len();
        Addition { nesting: self, types, from: Vec::new(), deleted: Vec::new(), misplaced: None }
    }

    /// Gives up the room that is kept for what comes next.
    pub fn shrink(&mut self) {
        self.runs.values_mut().for_each(Vec::shrink_to_fit);
        self.came_deleted.values_mut().for_each(Vec::shrink_to_fit);
    }

    /// Notes one struct. Structs of one client come in the order of their clocks.
    fn add(&mut self, client: ClientId, item: &Trait<'_>) -> Result<(), Misplaced> {
        let mut marks = if item.keyed { KEYED } else { 0 };
        let mut mixed = item.keyed && item.carries == Carries::Text;
        let mut beside = |id| {
            let run = self.run_of(id);
            let parent = run & !KEYED;
            // Of what hangs nowhere, or nobody knows where, nobody knows either whether it stood under a key. A value that has
            // a neighbour need not say so itself: merging updates (`Y.mergeUpdates`) forgets that it did.
            let is_keyed = run & KEYED != 0;
            mixed |= parent != 0 && (item.keyed && !is_keyed || is_keyed && item.carries == Carries::Text);
            marks |= run & KEYED;
            parent
        };
        let parent = match item.place {
            Place::Nowhere => 0,
            Place::Root(name) => self.root(name),
            Place::In(id) => match self.nested.get(&id) {
                Some(number) => *number,
                // yrs drops what hangs in something deleted.
                None if self.has_come_deleted(id) => 0,
                None => return Err(Misplaced::Unfitting),
            },
            Place::Beside(id) => beside(id),
            Place::Between(left, right) => {
                let (left, right) = (beside(left), beside(right));
                self.both(left, right).ok_or(Misplaced::Unfitting)?
            }
        };
        if mixed {
            return Err(Misplaced::Unfitting);
        }
        if item.carries == Carries::Deleted {
            let ranges = self.came_deleted.entry(client).or_default();
            match ranges.last_mut() {
                Some((_, to)) if *to == item.from => *to = item.to,
                _ => ranges.push((item.from, item.to)),
            }
        }
        let run = parent | marks;
        let runs = self.runs.entry(client).or_default();
        if runs.last().is_none_or(|(_, last)| *last != run) {
            runs.push((item.from, run));
        }
        let parent = &mut self.types[parent as usize];
        parent.kind = parent.kind.max(kind_of(item));
        if item.carries == Carries::Text && !parent.takes_text {
            return Err(Misplaced::Unfitting);
        }
        if let Carries::SharedType(number) = item.carries {
            let depth = parent.depth + 1;
            if depth > TYPE_DEPTH_MAX {
                return Err(Misplaced::TooDeep);
            }
            let id = Id { client, clock: item.from };
            self.nested.insert(id, self.types.len() as TypeNo);
            // Y.Text and Y.XmlText (lib0 type numbers).
            let takes_text = matches!(number, 2 | 6);
            self.types.push(SharedType { depth, takes_text, kind: RootKind::Unknown, key: Key::Nested(id) });
        }
        Ok(())
    }

    /// Where two neighbours hang, which is the same place: yrs takes the one's for granted, or the other's. Of what hung in
    /// a deleted type some may have come as garbage, of which nobody knows where it hung; but what hangs in a root never
    /// becomes garbage.
    fn both(&self, left: TypeNo, right: TypeNo) -> Option<TypeNo> {
        let is_nested = |number: TypeNo| matches!(self.types[number as usize].key, Key::Nested(_));
        match (left, right) {
            _ if left == right => Some(left),
            (0, known) | (known, 0) if is_nested(known) => Some(known),
            _ => None,
        }
    }

    fn root(&mut self, name: &str) -> TypeNo {
        if let Some(number) = self.roots.get(name) {
            return *number;
        }
        let number = self.types.len() as TypeNo;
        self.roots.insert(name.into(), number);
        let key = Key::Root(name.into());
        self.types.push(SharedType { depth: 0, takes_text: true, kind: RootKind::Unknown, key });
        number
    }

    /// The root types and what they seem to be.
    pub fn roots(&self) -> impl Iterator<Item = (&str, RootKind)> {
        self.roots.iter().map(|(name, number)| (&**name, self.types[*number as usize].kind))
    }

    /// Whether this tick may stand under a key, whatever it says itself.
    pub fn may_be_keyed(&self, id: Id) -> bool {
        self.run_of(id) & KEYED != 0
    }

    fn has_come_deleted(&self, id: Id) -> bool {
        let ranges = self.came_deleted.get(&id.client).map_or(&[][..], Vec::as_slice);
        let before = ranges.partition_point(|(from, _)| *from <= id.clock).checked_sub(1);
        before.is_some_and(|at| id.clock < ranges[at].1)
    }

    fn run_of(&self, id: Id) -> TypeNo {
        let Some(runs) = self.runs.get(&id.client) else { return 0 };
        // Mostly people go on where they were.
        if let Some((from, run)) = runs.last()
            && *from <= id.clock
        {
            return *run;
        }
        let behind = runs.partition_point(|(from, _)| *from <= id.clock);
        behind.checked_sub(1).map_or(0, |at| runs[at].1)
    }
}

fn kind_of(item: &Trait<'_>) -> RootKind {
    match item.carries {
        _ if !item.lives => RootKind::Unknown,
        _ if item.keyed => RootKind::Map,
        Carries::Deleted => RootKind::Unknown,
        Carries::Text => RootKind::Text,
        // Y.XmlElement, Y.XmlHook and Y.XmlText (lib0 type numbers).
        Carries::SharedType(3 | 5 | 6) => RootKind::Xml,
        Carries::SharedType(_) | Carries::Values | Carries::Subdocument => RootKind::Array,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const C: ClientId = ClientId(1);
    const ARRAY: Carries = Carries::SharedType(0);

    fn item(at: Clock, place: Place<'static>, carries: Carries) -> Trait<'static> {
        Trait { from: at, to: at + 1, place, keyed: false, carries, lives: true }
    }

    fn id(clock: Clock) -> Id {
        Id { client: C, clock }
    }

    #[test]
    fn depth_is_counted_through_neighbours_too() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), ARRAY)).unwrap();
        let mut inner = 0;
        let mut clock = 1;
        let mut depth = 1;
        loop {
            // A plain item in the type, then a type that names only this item as its neighbour.
            nesting.add(C, &item(clock, Place::In(id(inner)), Carries::Values)).unwrap();
            if nesting.add(C, &item(clock + 1, Place::Beside(id(clock)), ARRAY)).is_err() {
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
        nesting.add(C, &item(0, Place::Root("r"), Carries::Values)).unwrap();
        assert_eq!(nesting.add(C, &item(1, Place::In(id(0)), Carries::Values)), Err(Misplaced::Unfitting));
        nesting.add(C, &item(1, Place::Root("r"), ARRAY)).unwrap();
        nesting.add(C, &item(2, Place::In(id(1)), Carries::Deleted)).unwrap();
        nesting.add(C, &item(3, Place::In(id(2)), Carries::Values)).unwrap();
        nesting.add(C, &item(4, Place::Beside(id(2)), ARRAY)).unwrap();
        assert_eq!(nesting.types.last().unwrap().depth, 2, "a deleted neighbour still tells where its neighbours hang");
    }

    #[test]
    fn text_fits_into_roots_and_texts_only() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), Carries::Text)).unwrap();
        nesting.add(C, &item(1, Place::Beside(id(0)), Carries::SharedType(2))).unwrap();
        nesting.add(C, &item(2, Place::In(id(1)), Carries::Text)).unwrap();
        nesting.add(C, &item(3, Place::Beside(id(1)), ARRAY)).unwrap();
        nesting.add(C, &item(4, Place::In(id(3)), Carries::Values)).unwrap();
        assert_eq!(nesting.add(C, &item(5, Place::In(id(3)), Carries::Text)), Err(Misplaced::Unfitting));
        assert_eq!(nesting.add(C, &item(5, Place::Beside(id(4)), Carries::Text)), Err(Misplaced::Unfitting));
    }

    /// Found by `fuzz/`: behind garbage and before a value in an array, text was hung in that array by yrs.
    #[test]
    fn neighbours_hang_in_the_same_place() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), Carries::Values)).unwrap();
        nesting.add(C, &item(1, Place::Nowhere, Carries::Deleted)).unwrap();
        nesting.add(C, &item(2, Place::Root("other"), ARRAY)).unwrap();
        nesting.add(C, &item(3, Place::In(id(2)), Carries::Values)).unwrap();
        for (left, right) in [(1, 0), (0, 1), (0, 2), (2, 3), (0, 3)] {
            let between = Place::Between(id(left), id(right));
            assert_eq!(nesting.add(C, &item(4, between, Carries::Values)), Err(Misplaced::Unfitting), "{left} {right}");
        }
        nesting.add(C, &item(4, Place::Between(id(0), id(0)), Carries::Values)).unwrap();
        nesting.add(C, &item(5, Place::Between(id(1), id(3)), Carries::Values)).unwrap();
        assert_eq!(nesting.add(C, &item(6, Place::Between(id(1), id(3)), Carries::Text)), Err(Misplaced::Unfitting));
        nesting.add(C, &item(6, Place::Between(id(1), id(1)), Carries::Text)).unwrap();
    }

    /// Found by `fuzz/`: text beside the value of a key was given that key by yrs, cut, and read after it was freed.
    #[test]
    fn values_of_a_key_stand_beside_values_of_a_key_only() {
        let keyed = |at, place| Trait { keyed: true, ..item(at, place, Carries::Values) };
        let mut nesting = Nesting::default();
        nesting.add(C, &keyed(0, Place::Root("r"))).unwrap();
        nesting.add(C, &keyed(1, Place::Beside(id(0)))).unwrap();
        nesting.add(C, &item(2, Place::Root("r"), Carries::Values)).unwrap();
        nesting.add(C, &item(3, Place::Nowhere, Carries::Deleted)).unwrap();
        let text = |place| Trait { keyed: true, ..item(4, place, Carries::Text) };
        for misplaced in [
            item(4, Place::Beside(id(1)), Carries::Text),
            item(4, Place::Between(id(2), id(1)), Carries::Text),
            keyed(4, Place::Beside(id(2))),
            keyed(4, Place::Between(id(1), id(2))),
            text(Place::Root("r")),
            text(Place::Beside(id(1))),
        ] {
            assert_eq!(nesting.add(C, &misplaced), Err(Misplaced::Unfitting), "{misplaced:?}");
        }
        // What garbage was nobody knows.
        nesting.add(C, &keyed(4, Place::Beside(id(3)))).unwrap();
        nesting.add(C, &item(5, Place::Beside(id(3)), Carries::Values)).unwrap();
        // A value that does not say where it stands is where its neighbour is.
        nesting.add(C, &item(6, Place::Beside(id(1)), Carries::Values)).unwrap();
        let may_be_keyed = [0, 1, 2, 4, 5, 6].map(|clock| nesting.may_be_keyed(id(clock)));
        assert_eq!(may_be_keyed, [true, true, false, true, false, true]);
    }

    #[test]
    fn what_was_refused_leaves_nothing_behind() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), ARRAY)).unwrap();
        let traits = [
            item(1, Place::In(id(0)), ARRAY),
            item(2, Place::Root("other"), ARRAY),
            item(3, Place::In(id(2)), Carries::Values),
            item(4, Place::In(id(3)), Carries::Values),
        ];
        let run = super::super::gate::Run {
            client: C,
            from: 1,
            to: 5,
            structs: 4,
            head: (&[]).into(),
            rest: &[],
            parts: None,
        };
        let gated = Gated { traits: traits.map(|item| (C, item)).into(), runs: vec![run], ..Gated::default() };
        assert_eq!(nesting.add_all(&gated), Err(Misplaced::Unfitting));
        assert_eq!(nesting.roots().collect::<Vec<_>>(), [("r", RootKind::Array)]);
        assert_eq!((nesting.types.len(), nesting.nested.len(), nesting.runs[&C].len()), (3, 1, 1));
    }

    #[test]
    fn what_was_refused_has_not_come_deleted_either() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), Carries::Values)).unwrap();
        nesting.add(C, &item(1, Place::Beside(id(0)), Carries::Deleted)).unwrap();
        let mut addition = nesting.begin();
        // Goes on where that ends, and a range of its own.
        addition.add(C, &item(2, Place::Beside(id(1)), Carries::Deleted));
        addition.add(C, &item(3, Place::Beside(id(0)), Carries::Values));
        addition.add(C, &item(4, Place::Beside(id(0)), Carries::Deleted));
        addition.add(C, &item(5, Place::In(id(3)), Carries::Values));
        assert_eq!(addition.keep(), Err(Misplaced::Unfitting));
        let came_deleted = [0, 1, 2, 3, 4].map(|clock| nesting.has_come_deleted(id(clock)));
        assert_eq!(came_deleted, [false, true, false, false, false]);
    }

    #[test]
    fn a_text_is_one_run_whatever_of_it_is_deleted() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), Carries::Text)).unwrap();
        for clock in 1..1_000 {
            let carries = if clock % 2 == 0 { Carries::Text } else { Carries::Deleted };
            nesting.add(C, &item(clock, Place::Beside(id(clock - 1)), carries)).unwrap();
        }
        assert_eq!((nesting.runs[&C].len(), nesting.came_deleted[&C].len()), (1, 500));
    }

    #[test]
    fn siblings_do_not_add_up() {
        let mut nesting = Nesting::default();
        nesting.add(C, &item(0, Place::Root("r"), ARRAY)).unwrap();
        for clock in 1..5_000 {
            nesting.add(C, &item(clock, Place::In(id(0)), ARRAY)).unwrap();
        }
        assert_eq!(nesting.runs[&C].len(), 2, "one run in the root, one in the type");
    }
}
