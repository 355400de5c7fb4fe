//! Another database takes the place of the one that is open, while the store is in use.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;

use rustix::fs::statvfs;

use super::super::StoreError;
use super::engine::{CACHE_BYTES, Engine, Failed, Found, broken};
use super::flush::flush;
use super::marker::{MARKER, read_marker};
use super::{SledStore, Writer};
use crate::limits::STORE_REOPEN_FREE_BYTES_MIN;

impl Failed {
    /// What whoever wants to write is told.
    pub(super) fn refusal(&self) -> String {
        match self {
            Failed::Write(cause) => format!("an earlier write failed, nothing more is written: {cause}"),
            Failed::Full(cause) => format!("an earlier write found no room, nothing more is written: {cause}"),
            Failed::Sync(cause) => {
                format!("an earlier sync failed, nothing more is written until a restart: {cause}")
            }
        }
    }

    /// As callers see it.
    pub(super) fn error(&self, op: &'static str, why: String) -> StoreError {
        match self {
            Failed::Full(_) => StoreError::DiskFull { op, why },
            Failed::Write(_) | Failed::Sync(_) => StoreError::Engine { op, source: why.into() },
        }
    }
}

impl SledStore {
    /// Tells a write that failed for want of room from others: by what the system said, or, since sled may panic over it
    /// or put it in words of its own, by how much room there is.
    pub(super) fn for_want_of_room(&self, failed: Failed) -> Failed {
        match failed {
            Failed::Write(cause) if says_full(&cause) || has_room_to_open(&self.dir).is_err() => Failed::Full(cause),
            other => other,
        }
    }

    /// As [`super::super::Store::reopen`].
    pub(super) fn reopen_engine(&self) -> Result<(), StoreError> {
        let failed = |why: String| StoreError::Engine { op: "reopen", source: why.into() };
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match &writer.failed {
            None => return Ok(()),
            Some(sync @ Failed::Sync(_)) => return Err(failed(sync.refusal())),
            Some(Failed::Write(_) | Failed::Full(_)) => {}
        }
        // sled writes while it opens. Until there is room for that the old database serves readers.
        has_room_to_open(&self.dir).map_err(|why| StoreError::DiskFull { op: "reopen", why })?;
        let last_word = match &*self.engine.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(engine) => engine.last_word(),
            Err(_) => Ok(()), // said when it was closed
        };
        if let Err(sync) = last_word {
            let refusal = sync.refusal();
            writer.failed = Some(sync);
            return Err(failed(refusal));
        }
        self.replace_engine(&mut writer, || Ok(())).map_err(|why| {
            // Somebody else was faster to take the room. Nothing is open now, and the next call tries again.
            if says_full(&why) || has_room_to_open(&self.dir).is_err() {
                StoreError::DiskFull { op: "reopen", why }
            } else {
                failed(why)
            }
        })?;
        writer.failed = None;
        Ok(())
    }

    /// Opens anew what is on the disk, for readers only: once a write of its own has failed, sled refuses to read as well
    /// (S7). What no checkpoint made durable may be missing; whoever reads a document that sleeps needs none of that, and
    /// of one that is awake nothing is read.
    pub(super) fn reopen_for_readers(&self, writer: &mut Writer) {
        let has_given_up = match &*self.engine.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(engine) => flush(engine.db()).is_err(),
            Err(_) => false,
        };
        if !has_given_up {
            return;
        }
        match self.replace_engine(writer, || Ok(())) {
            Ok(()) => tracing::warn!("the store was opened anew, to be read from only"),
            Err(why) => tracing::error!(why, "documents that sleep cannot be read until a restart"),
        }
    }

    /// Waits for those who read, closes the database, does `between`, and opens what the directory then holds, whatever
    /// came of `between`. Should that fail, no database is open: reads and writes are refused until the next reopen.
    pub(super) fn replace_engine(
        &self,
        writer: &mut Writer,
        between: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        let mut open = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        // sled allows one at a time, so the old one goes first.
        *open = Err("it is being opened anew".to_owned());
        let done = between();
        let found = read_marker(&self.dir).and_then(|marked| match marked {
            Some(_) => Engine::open(&self.dir, CACHE_BYTES),
            None => Err(broken(&self.dir, &format!("its file {MARKER} is missing"))),
        });
        match found {
            Ok(Found { engine, root, .. }) => {
                *open = Ok(engine);
                self.set_root(writer, root);
                done
            }
            Err(why) => {
                *open = Err(why.clone());
                writer.failed.get_or_insert_with(|| Failed::write(&why));
                Err(why)
            }
        }
    }
}

/// Whether sled could open the database in `dir`: it writes while it does. An error says what is wrong.
pub(super) fn has_room_to_open(dir: &Path) -> Result<(), String> {
    let page_table_bytes = || -> io::Result<u64> {
        let files = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        let snapshots = files.iter().filter(|file| file.file_name().to_string_lossy().starts_with("snap."));
        snapshots.map(|file| Ok(file.metadata()?.len())).sum()
    };
    let at = dir.display();
    let needed = page_table_bytes().map_err(|e| format!("{at} cannot be listed: {e}"))?.saturating_mul(2);
    let needed = needed.max(STORE_REOPEN_FREE_BYTES_MIN);
    let free = free_bytes(dir).map_err(|e| format!("{at} cannot be asked for its free space: {e}"))?;
    if free < needed {
        return Err(format!("{free} bytes are free on the disk of {at}, {needed} are needed to open the database"));
    }
    Ok(())
}

/// Whether the system said that the disk is full: ENOSPC, EDQUOT.
fn says_full(cause: &str) -> bool {
    ["(os error 28)", "(os error 122)"].iter().any(|code| cause.contains(code))
}

/// Bytes that this process may still write to the file system of `path`.
pub(super) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
