//! Two directories trade names in one step, and what an interrupted vacuum left is settled at the next start.
//!
//! Beside the database's own directory, `DIR`, a vacuum makes `DIR.vacuum`. Which of the two holds what is told by their
//! markers ([`super::marker`]). A copy has none until it is whole, durable and verified, and then one that is ahead of the
//! original's by exactly one: nothing is written to the original meanwhile, and the exchange comes before anything else
//! is. So at a start, `DIR.vacuum` is
//!
//! - without a marker, or with one that cannot be read: a copy that was cut short. It goes.
//! - ahead by one: a copy that is whole, the exchange did not come. It is made up for.
//! - behind: the old database after the exchange. It goes.
//! - ahead by more: nothing that a vacuum leaves. Somebody has put another database here; nothing is touched.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::marker::{read_marker, sync_dir};

/// Where a vacuum of `dir` makes its copy: beside it, so that both are on one file system.
pub(super) fn copy_dir(dir: &Path) -> PathBuf {
    beside(dir, ".vacuum")
}

fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    dir.with_file_name(name)
}

/// Finishes or removes what an interrupted vacuum left beside `dir`.
///
/// Errors say what is wrong and what to do; nothing was opened yet.
pub(super) fn settle(dir: &Path) -> Result<(), String> {
    let copy = copy_dir(dir);
    if !copy.is_dir() {
        return Ok(());
    }
    // A marker of the copy that cannot be read is as good as none; one of the database's own is a reason to stop.
    let (copied, current) = (read_marker(&copy).ok().flatten(), read_marker(dir)?);
    match (copied, current) {
        (Some(copied), Some(current)) if copied == current + 1 => exchange(dir, &copy)?,
        (Some(copied), current) if current.is_none_or(|current| copied > current) => {
            let current = current.map_or("none".to_owned(), |current| format!("one at checkpoint {current}"));
            return Err(format!(
                "{} holds a database at checkpoint {copied}, {} {current}; no vacuum leaves them like this, so nothing \
                 was touched: move away the one that you do not want",
                copy.display(),
                dir.display()
            ));
        }
        (Some(_) | None, _) => {}
    }
    remove(&copy)
}

/// Gives each of the two directories the other's name, durably. One step: whatever instant survives, both are there.
pub(super) fn exchange(one: &Path, other: &Path) -> Result<(), String> {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)
        .map_err(|e| format!("{} and {} cannot trade names: {e}", one.display(), other.display()))?;
    sync_parent(one).map_err(|e| format!("the directory above {} cannot be synced: {e}", one.display()))
}

/// Whether `dir` can be exchanged for a directory beside it, tried with two empty ones and with a look at what it is.
pub(super) fn can_exchange(dir: &Path) -> Result<(), String> {
    let at = dir.display();
    let failed = |e: io::Error| format!("beside {at} no directory can be made and renamed: {e}");
    let probes = [beside(dir, ".probe-1"), beside(dir, ".probe-2")];
    let tried = (|| {
        probes.iter().try_for_each(fs::create_dir_all)?;
        Ok(renameat_with(CWD, &probes[0], CWD, &probes[1], RenameFlags::EXCHANGE)?)
    })();
    for probe in &probes {
        // One that is not there was not made, which `tried` tells.
        let _ = fs::remove_dir(probe);
    }
    tried.map_err(failed)?;
    let device = |path: &Path| -> io::Result<u64> { Ok(std::os::unix::fs::MetadataExt::dev(&fs::metadata(path)?)) };
    let parent = dir.parent().unwrap_or(Path::new("/"));
    if device(dir).map_err(failed)? != device(parent).map_err(failed)? {
        return Err(format!("{at} is a file system of its own and cannot be exchanged; mount the directory above it"));
    }
    Ok(())
}

/// Removes a directory and all in it, durably.
pub(super) fn remove(dir: &Path) -> Result<(), String> {
    let removed = match fs::remove_dir_all(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other,
    };
    removed
        .and_then(|()| sync_parent(dir))
        .map_err(|e| format!("{} cannot be removed: {e}; it is not needed, remove it by hand", dir.display()))
}

/// Syncs every file in `dir`, then the directories, then the one above. For a database that is closed.
pub(super) fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_all(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_dir(dir)?;
    sync_parent(dir)
}

fn sync_parent(dir: &Path) -> io::Result<()> {
    sync_dir(dir.parent().unwrap_or(Path::new("/")))
}
