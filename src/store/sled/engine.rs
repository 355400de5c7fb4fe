//! sled itself: opened, synced, closed, and kept from panicking through us.

use std::any::Any;
use std::fs::{self, File};
use std::io;
use std::ops::Deref;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{IFlags, fstatfs, ioctl_getflags, ioctl_setflags};

use super::super::keys;
use super::super::record::{self, Root};
use super::flush::flush;
use super::log;
use super::marker::{read_marker, sync_dir};
use super::salvage::checkpoint_in;

/// Pages sled keeps in memory, bytes. Documents in use are held by their replicas, and what is read again soon the system
/// still has; so this serves the catalogue.
pub(super) const CACHE_BYTES: u64 = 16 << 20;
/// Tries, this far apart, to take sled's file lock. Nobody else can hold it (`data_dir` holds `LOCK`), but sled's own
/// threads let go of a database a moment after it was dropped.
const LOCK_TRIES: usize = 40;
const LOCK_RETRY: Duration = Duration::from_millis(25);
/// sled's data file.
pub(super) const DATABASE: &str = "db";
/// sled's settings, written once, before its data file.
const SETTINGS: &str = "conf";

/// An open database.
pub(super) struct Engine {
    db: Guarded,
    /// sled's data file again, opened before the first write so that every failed write-back is reported to its sync.
    database: File,
    dir: PathBuf,
}

/// Why nothing more is written (S7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    /// What was to be written did not all reach the kernel. A fresh look at the disk tells how far it came.
    Write(String),
    /// The same, for want of room on the disk (S9).
    Full(String),
    /// The kernel could not bring to the disk what it had taken. It may have dropped that, and still show it to readers
    /// as if it were there, so not even a fresh look can be trusted.
    Sync(String),
}

impl Failed {
    pub(super) fn write(error: impl ToString) -> Self {
        Self::Write(error.to_string())
    }

    pub(super) fn sync(error: impl ToString) -> Self {
        Self::Sync(error.to_string())
    }

    pub(super) fn cause(&self) -> &str {
        match self {
            Failed::Write(cause) | Failed::Full(cause) | Failed::Sync(cause) => cause,
        }
    }
}

/// A database as [`Engine::open`] found it.
pub(super) struct Found {
    pub engine: Engine,
    pub root: Root,
    /// It was never made durable: new, or its creation was cut short before anything could be stored.
    pub is_new: bool,
}

impl Engine {
    /// Opens the database in `dir`, creating both if neither is there, and compares it with what had been made durable.
    ///
    /// Errors say what is wrong and what to do. Never creates an empty database where one had been (S5).
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Found, String> {
        let at = dir.display();
        fs::create_dir_all(dir).map_err(|e| format!("{at} cannot be created: {e}"))?;
        let marked = read_marker(dir)?;
        let database_bytes = match fs::metadata(dir.join(DATABASE)) {
            Ok(meta) => meta.len(),
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(format!("{at}/{DATABASE} cannot be read: {e}")),
        };
        if marked.is_some() && database_bytes == 0 {
            return Err(broken(dir, "its data file is missing or empty"));
        }
        if database_bytes == 0 {
            sweep_unborn(dir)?;
        } else {
            // What a killed process left in the kernel's cache sled takes for safe, and writes over what it replaces.
            let synced = File::open(dir.join(DATABASE)).and_then(|file| file.sync_all());
            synced.map_err(|e| format!("{at}/{DATABASE} cannot be synced: {e}"))?;
        }
        sweep_unfinished_snapshots(dir).map_err(|e| format!("{at} cannot be swept: {e}"))?;
        if let Some(marked) = marked {
            // sled would overwrite what comes after the damage.
            let checked =
                log::check(dir, false, &checkpoint_in).map_err(|e| format!("{at}/{DATABASE} cannot be read: {e}"))?;
            if let Some(bad) = checked.bad.as_ref().filter(|_| checked.is_damaged(marked)) {
                return Err(broken(dir, &bad.to_string()));
            }
        }
        let db = open_sled(dir, cache_bytes)?;
        let database = File::open(dir.join(DATABASE)).map_err(|e| format!("{at}/{DATABASE} cannot be read: {e}"))?;
        write_through(dir, &database);

        let stored = caught(|| db.get(keys::ROOT)).map_err(|e| broken(dir, &e))?;
        let mut root = match (stored, marked) {
            (Some(bytes), marked) => {
                let root =
                    record::decode_root(&bytes).map_err(|flaw| broken(dir, &format!("its root record: {flaw}")))?;
                let marked = marked.unwrap_or(0);
                if root.checkpoint < marked {
                    let found = root.checkpoint;
                    return Err(broken(dir, &format!("it ends at checkpoint {found}, yet {marked} had been reached")));
                }
                root
            }
            (None, Some(_)) => return Err(broken(dir, "it has lost its root record")),
            // Neither: new, or its creation was cut short before anything could be stored.
            (None, None) if caught(|| Ok(db.is_empty())).map_err(|e| broken(dir, &e))? => Root::default(),
            (None, None) => return Err(format!("{at} holds a database that is not weft's; choose another directory")),
        };
        if root.live_bytes.is_none() {
            // Once in a store's life, when it comes from a time that did not count.
            root.live_bytes = Some(caught(|| count_live(&db)).map_err(|e| broken(dir, &e))?);
        }
        let engine = Self { db, database, dir: dir.to_owned() };
        // sled writes while it opens, and makes its page table durable before what that speaks of.
        engine.sync().map_err(|failure| format!("{at} cannot be synced: {}", failure.cause()))?;
        Ok(Found { engine, root, is_new: marked.is_none() })
    }

    pub(super) fn db(&self) -> &sled::Db {
        &self.db
    }

    /// Brings everything sled was given to the disk (S4).
    ///
    /// sled syncs neither its other files nor their directories, and its data file only where [`write_through`] works, so
    /// each of its files is synced here, then their directories. `syncfs` would do as well, but waits for whatever else the
    /// file system has to write, and on a shared disk that has no bound.
    pub(super) fn sync(&self) -> Result<(), Failed> {
        // Were it a write-back that failed and not a write, the descriptor of our own would still tell (`last_word`).
        flush(self.db()).map_err(Failed::Write)?;
        self.last_word()?;
        let blobs = self.dir.join("blobs");
        for dir in [&blobs, &self.dir] {
            for file in fs::read_dir(dir).map_err(Failed::write)? {
                let file = file.map_err(Failed::write)?;
                if file.file_type().map_err(Failed::write)?.is_file() && file.file_name() != DATABASE {
                    match File::open(file.path()) {
                        Ok(file) => file.sync_all().map_err(Failed::sync)?,
                        // sled removes old snapshots of its page table in the background.
                        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                        Err(e) => return Err(Failed::write(e)),
                    }
                }
            }
            sync_dir(dir).map_err(Failed::sync)?;
        }
        Ok(())
    }

    /// Syncs the data file and tells whether any write-back to it has failed since it was opened: the kernel reports
    /// that once to every descriptor that was open, whatever it told sled on its own.
    pub(super) fn last_word(&self) -> Result<(), Failed> {
        self.database.sync_all().map_err(Failed::sync)
    }
}

/// Has the kernel call a write to sled's data file done only when it is on the disk, the file's new length with it, as
/// `chattr +S` does.
///
/// sled uses a segment again as soon as what replaces its contents is written, by which it means that `sync_file_range` has
/// returned. That brings no new length of the file to the disk, and empties no cache of the device. So, between two of our
/// own syncs, what had been durable was overwritten while what replaces it, at the file's new end, went with the power;
/// small values (S3) do not help. Segments are written whole, so one sync for each costs little.
fn write_through(dir: &Path, database: &File) {
    /// What lives in memory survives no power cut anyway.
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    let marked = ioctl_getflags(database).and_then(|flags| {
        if flags.contains(IFlags::SYNC) { Ok(()) } else { ioctl_setflags(database, flags | IFlags::SYNC) }
    });
    let Err(error) = marked else { return };
    if fstatfs(database).is_ok_and(|stat| stat.f_type as u64 == TMPFS_MAGIC) {
        return;
    }
    tracing::warn!(
        %error,
        dir = %dir.display(),
        "this file system writes no file through to the disk; a power cut may leave a store that `weft verify --repair` \
         has to mend: ext4, XFS or Btrfs are safe"
    );
}

/// A sled database from the moment it is open: sled syncs its file while it is dropped and panics if that fails, which
/// would end the process in the midst of a refusal or a shutdown that has to go on. What must be durable is so already.
struct Guarded(Option<sled::Db>);

impl Deref for Guarded {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let db = self.0.take();
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// Makes way for a database where the making of one was cut short before it held anything: sled refuses to open beside a
/// file of settings that is not whole. There is neither marker nor data, so nothing was ever stored.
fn sweep_unborn(dir: &Path) -> Result<(), String> {
    let settings = dir.join(SETTINGS);
    match fs::remove_file(&settings) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(format!("{} cannot be removed: {e}", settings.display())),
        _ => Ok(()),
    }
}

/// Removes snapshots of the page table whose writing was cut short: sled takes them for whole ones, and refuses to open.
fn sweep_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for file in fs::read_dir(dir)? {
        let file = file?;
        if file.file_name().to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating")) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

fn open_sled(dir: &Path, cache_bytes: u64) -> Result<Guarded, String> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(cache_bytes)
        // Measured equal in speed to high throughput, and it returns free segments to use sooner.
        .mode(sled::Mode::LowSpace)
        // weft decides when (S5); a flush that nobody waits for could fail and nobody would know.
        .flush_every_ms(None);
    let mut tries = 0;
    loop {
        tries += 1;
        match caught(|| config.open()) {
            Ok(db) => return Ok(Guarded(Some(db))),
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

/// The directory `dir`, made if need be, under a name that is its own: a link to it stays where it is when two
/// directories trade names. The directories above may be links.
pub(super) fn made(dir: &Path) -> Result<PathBuf, String> {
    let failed = |e: io::Error| format!("{} cannot be looked up: {e}", dir.display());
    fs::create_dir_all(dir).map_err(|e| format!("{} cannot be created: {e}", dir.display()))?;
    let mut made = std::path::absolute(dir).map_err(failed)?;
    // It exists, so the links come to an end.
    while let Ok(target) = fs::read_link(&made) {
        made = made.parent().unwrap_or(Path::new("/")).join(target);
    }
    Ok(made)
}

/// Bytes of all keys and values but the root record's.
pub(super) fn count_live(db: &sled::Db) -> sled::Result<u64> {
    let mut bytes = 0;
    for item in db.iter() {
        let (key, value) = item?;
        if key != keys::ROOT {
            bytes += (key.len() + value.len()) as u64;
        }
    }
    Ok(bytes)
}

/// What an operator reads when the database cannot be used (S5).
pub(super) fn broken(dir: &Path, why: &str) -> String {
    format!(
        "the database in {} cannot be used: {why}; `weft verify --repair` keeps it and builds a new one from all that can \
         be read, or start weft on a copy from before, with --data",
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
