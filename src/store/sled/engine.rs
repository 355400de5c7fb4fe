//! sled itself: opened, synced, and kept from panicking through us.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::Duration;

use super::super::StoreError;
use super::marker::sync_dir;
use super::{SledStore, Writer};

/// Pages sled keeps in memory, bytes. Documents in use are held by their replicas, so this serves cold opens and the
/// catalogue; the figures of STORAGE §1 were measured with it.
const CACHE_BYTES: u64 = 64 << 20;
/// Tries, this far apart, to take sled's file lock. Nobody else can hold it (`data_dir` holds `LOCK`), but sled's own
/// threads let go of a database a moment after it was dropped.
const LOCK_TRIES: usize = 40;
const LOCK_RETRY: Duration = Duration::from_millis(25);
/// sled's data file.
pub(super) const DATABASE: &str = "db";

pub(super) fn open_engine(dir: &Path) -> Result<sled::Db, String> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        // Measured equal in speed to high throughput, and it returns free segments to use sooner.
        .mode(sled::Mode::LowSpace)
        // weft decides when (S5); a flush that nobody waits for could fail and nobody would know.
        .flush_every_ms(None);
    let mut tries = 0;
    loop {
        tries += 1;
        match caught(|| config.open()) {
            Ok(db) => return Ok(db),
            Err(why) if why.contains("could not acquire lock") => {
                if tries == LOCK_TRIES {
                    return Err(format!("another process has the database in {} open; end it first", dir.display()));
                }
                std::thread::sleep(LOCK_RETRY);
            }
            Err(why) => return Err(broken(dir, &why)),
        }
    }
}

/// What an operator reads when the database cannot be used (S5).
pub(super) fn broken(dir: &Path, why: &str) -> String {
    format!(
        "the database in {} cannot be used: {why}; keep the data directory as it is for a look at what is left, and start \
         weft on a copy from before, with --data",
        dir.display()
    )
}

/// Calls sled and turns its errors and its panics into text.
pub(super) fn caught<T>(f: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(e))) => Err(e.to_string()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(cause) => Err(panicked(&*cause)),
    }
}

pub(super) fn panicked(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("no reason given"))
}

impl SledStore {
    /// Brings everything sled was given to the disk (S4).
    ///
    /// sled's own flush ends in `sync_file_range`, which writes neither file sizes nor the device's cache, so each of
    /// its files is synced here, then their directories. `syncfs` would do as well, but waits for whatever else the
    /// file system has to write, and on a shared disk that has no bound.
    pub(super) fn sync_engine(&self, writer: &mut Writer, op: &'static str) -> Result<(), StoreError> {
        let sync = || -> sled::Result<()> {
            self.db().flush()?;
            self.database.sync_all()?;
            let blobs = self.dir.join("blobs");
            for dir in [&blobs, &self.dir] {
                for file in fs::read_dir(dir)? {
                    let file = file?;
                    if file.file_type()?.is_file() && file.file_name() != DATABASE {
                        match File::open(file.path()) {
                            Ok(file) => file.sync_all()?,
                            // sled removes old snapshots of its page table in the background.
                            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                            Err(e) => return Err(e.into()),
                        }
                    }
                }
                sync_dir(dir)?;
            }
            Ok(())
        };
        self.write(writer, op, sync)
    }
}
