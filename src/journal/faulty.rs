//! A file system in memory that keeps apart what was synced and what was not, for tests: it can fail its Nth operation,
//! hold up its syncs, be killed (what was written stays) or lose its power (of what was not synced, any sectors stay).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::files::{Files, SegmentFile};

const SECTOR: usize = 512;

/// How an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Eio,
    Enospc,
    /// A write puts half of its bytes there and then fails; other operations fail as with `Eio`.
    Short,
}

/// Cheap to clone; all clones are one disk.
#[derive(Clone, Default)]
pub(super) struct Disk {
    state: Arc<Mutex<State>>,
    released: Arc<Condvar>,
}

#[derive(Default, Clone)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<NameChange>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    /// There is no space: what would grow a file fails.
    is_full: bool,
    refused_for_space: u64,
    syncs_held: bool,
    syncs_waiting: u64,
    syncs: u64,
    writes: u64,
}

#[derive(Default, Clone)]
struct Inode {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// Sectors written since the last sync.
    dirty: BTreeSet<usize>,
    /// Sectors whose sync failed: no later sync will write them (S7), and nobody knows whether this one did.
    lost: BTreeSet<usize>,
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            NameChange::Link(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            NameChange::Unlink(path) => {
                names.remove(path);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

/// Small, seeded, good enough to choose sectors (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn fresh(state: State) -> Disk {
        let state =
            State { operations: 0, fault: None, syncs_held: false, syncs_waiting: 0, syncs: 0, writes: 0, ..state };
        Disk { state: Arc::new(Mutex::new(state)), released: Arc::default() }
    }

    /// As it would be found after the process was killed: with all that was written.
    pub(super) fn killed(&self) -> Disk {
        Disk::fresh(self.state().clone())
    }

    /// As it would be found after the power went: of unsynced sectors and names any may be there.
    /// `keep` of 8 sectors stay; 0 is the worst disk, on which only synced bytes stay.
    pub(super) fn without_power(&self, dice: &mut Dice, keep: u64) -> Disk {
        let mut state = self.state().clone();
        let kept = if keep == 0 { 0 } else { dice.roll(state.pending_names.len() as u64 + 1) as usize };
        let mut names = state.synced_names.clone();
        state.pending_names.iter().take(kept).for_each(|change| change.apply(&mut names));
        for inode in &mut state.inodes {
            let mut found = inode.synced.clone();
            if dice.roll(8) < keep && inode.live.len() > found.len() {
                found.resize(inode.live.len(), 0);
            }
            for &sector in inode.dirty.union(&inode.lost) {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(inode.live.len()).min(found.len()));
                if dice.roll(8) < keep && from < to {
                    found[from..to].copy_from_slice(&inode.live[from..to]);
                }
            }
            *inode = Inode { live: found.clone(), synced: found, ..Inode::default() };
        }
        state.names = names.clone();
        state.synced_names = names;
        state.pending_names.clear();
        Disk::fresh(state)
    }

    /// What synced bytes alone amount to.
    pub(super) fn synced(&self) -> Disk {
        self.without_power(&mut Dice(0), 0)
    }

    /// The `nth` operation from now (the first is 1) fails.
    pub(super) fn fail_operation(&self, nth: u64, fault: Fault) {
        let mut state = self.state();
        state.fault = Some((state.operations + nth, fault));
    }

    /// Whether the fault that was set has happened.
    pub(super) fn has_failed(&self) -> bool {
        let state = self.state();
        state.fault.is_some_and(|(at, _)| state.operations >= at)
    }

    /// Takes all free space, or gives it back.
    pub(super) fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// How many writes found no space.
    pub(super) fn refused_for_space(&self) -> u64 {
        self.state().refused_for_space
    }

    /// Syncs of files wait until `release_syncs`.
    pub(super) fn hold_syncs(&self) {
        self.state().syncs_held = true;
    }

    pub(super) fn release_syncs(&self) {
        self.state().syncs_held = false;
        self.released.notify_all();
    }

    pub(super) fn syncs_waiting(&self) -> u64 {
        self.state().syncs_waiting
    }

    pub(super) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    pub(super) fn writes(&self) -> u64 {
        self.state().writes
    }

    /// Names and bytes of all files.
    pub(super) fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(path, &inode)| (path.clone(), state.inodes[inode].live.clone())).collect()
    }

    /// Changes a file behind everyone's back, durably.
    pub(super) fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[path];
        change(&mut state.inodes[inode].live);
        state.inodes[inode].synced = state.inodes[inode].live.clone();
    }

    fn count(state: &mut State) -> Option<Fault> {
        state.operations += 1;
        state.fault.filter(|(at, _)| *at == state.operations).map(|(_, fault)| fault)
    }

    /// Counts an operation on names and fails it if it is its turn.
    fn step(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        match Disk::count(&mut state) {
            Some(fault) => Err(error_of(fault)),
            None => Ok(state),
        }
    }

    fn file(&self, inode: usize) -> Box<dyn SegmentFile> {
        Box::new(OpenFile { disk: self.clone(), inode })
    }
}

fn error_of(fault: Fault) -> io::Error {
    match fault {
        Fault::Eio | Fault::Short => io::Error::from_raw_os_error(5),
        Fault::Enospc => io::Error::from_raw_os_error(28),
    }
}

impl Files for Disk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn dir_exists(&self, _path: &Path) -> bool {
        true
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.step()?;
        let inode = state.inodes.len();
        state.inodes.push(Inode::default());
        state.names.insert(path.to_owned(), inode);
        state.pending_names.push(NameChange::Link(path.to_owned(), inode));
        drop(state);
        Ok(self.file(inode))
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Box<dyn SegmentFile>> {
        let state = self.step()?;
        let inode = *state.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        drop(state);
        Ok(self.file(inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        let change = NameChange::Rename(from.to_owned(), to.to_owned());
        change.apply(&mut state.names);
        state.pending_names.push(change);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        let change = NameChange::Unlink(path.to_owned());
        change.apply(&mut state.names);
        state.pending_names.push(change);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut state = self.step()?;
        state.pending_names.clear();
        state.synced_names = state.names.clone();
        Ok(())
    }
}

struct OpenFile {
    disk: Disk,
    inode: usize,
}

impl SegmentFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().inodes[self.inode].live.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let live = state.inodes[self.inode].live.get(offset as usize..).unwrap_or_default();
        let len = live.len().min(buf.len());
        buf[..len].copy_from_slice(&live[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        let mut fault = Disk::count(&mut state);
        state.writes += 1;
        if state.is_full && state.inodes[self.inode].live.len() < offset as usize + bytes.len() {
            state.refused_for_space += 1;
            fault = Some(Fault::Enospc);
        }
        let bytes = match fault {
            None => bytes,
            Some(Fault::Short) => &bytes[..bytes.len() / 2],
            Some(Fault::Eio | Fault::Enospc) => &[],
        };
        let inode = &mut state.inodes[self.inode];
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        if !bytes.is_empty() {
            if inode.live.len() < to {
                inode.live.resize(to, 0);
            }
            inode.live[from..to].copy_from_slice(bytes);
            inode.dirty.extend(from / SECTOR..to.div_ceil(SECTOR));
        }
        fault.map_or(Ok(()), |fault| Err(error_of(fault)))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.syncs_waiting += 1;
        while state.syncs_held {
            state = self.disk.released.wait(state).unwrap();
        }
        state.syncs_waiting -= 1;
        state.syncs += 1;
        let fault = Disk::count(&mut state);
        let inode = &mut state.inodes[self.inode];
        let dirty = std::mem::take(&mut inode.dirty);
        if let Some(fault) = fault {
            inode.lost.extend(dirty);
            return Err(error_of(fault));
        }
        inode.synced.resize(inode.live.len(), 0);
        for sector in dirty {
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(inode.live.len()));
            inode.synced[from..to].copy_from_slice(&inode.live[from..to]);
            inode.lost.remove(&sector);
        }
        Ok(())
    }
}
