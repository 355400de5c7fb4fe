//! The data directory (contract 2.5): its lock, its format, and where a running server can be reached.

mod unfinished;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

pub use unfinished::Unfinished;

use crate::limits::REVOCATIONS_BYTES_MAX;

/// Version of the layout that this program writes.
///
/// - 1: journal of updates, store of documents.
/// - 2: deletions in the journal, tombstones in the store's catalogue (entries of schema 2).
///
/// A directory of an earlier version is upgraded as it is opened ([`upgrade`]); one of a later version is refused, so that
/// nothing written there can be misread here.
pub const FORMAT: u32 = 2;

const FORMAT_FILE: &str = "FORMAT";
/// Stands where [`FORMAT_FILE`] will once a restored directory is whole.
const RESTORING_FILE: &str = "RESTORING";
const LOCK_FILE: &str = "LOCK";
const ADMIN_FILE: &str = "admin.json";
const REVOKED_FILE: &str = "revoked.json";
const AUDIT_DIR: &str = "audit";
const JOURNAL_DIR: &str = "journal";
const STORE_DIR: &str = "store";
/// Directories that are there as long as FORMAT is.
const PARTS: [&str; 2] = [JOURNAL_DIR, STORE_DIR];

/// An opened data directory. No other process can open it until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
    announced: bool,
}

/// Where a running server can be reached, and the credential for it; readable by its owner only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminFile {
    /// The public listener.
    pub listen: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// What its API wants as bearer token.
    pub credential: String,
    /// The server's process.
    pub pid: u32,
}

/// Why a data directory cannot be used. Each says what, where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{path} is in use by another weft process{holder}; stop it first, or choose another directory with --data")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// " (pid N)" when known.
        holder: String,
    },
    /// It is somebody else's.
    #[error("{0} is not empty and not a weft data directory; nothing was touched, choose another with --data")]
    Foreign(PathBuf),
    /// It was not filled to its end.
    #[error("{0} holds a restore that was cut short or is under way; run `weft restore` again to replace it")]
    Unfinished(PathBuf),
    /// It must be empty to be filled.
    #[error("{0} is not empty; nothing was touched, move it away or choose another directory with --data")]
    NotEmpty(PathBuf),
    /// A later version wrote it.
    #[error(
        "{path} was written by a newer weft (format {found}, this one knows {FORMAT}); nothing was touched, run that version"
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Its FORMAT file says nothing sensible.
    #[error("{0}/FORMAT is damaged; nothing was touched, restore it from a backup (this version writes \"{FORMAT}\")")]
    BadFormat(PathBuf),
    /// It was complete once. Starting on an empty part beside a whole one would look like every document were gone (S5).
    #[error(
        "{path} has lost its directory {part:?}; nothing was touched, put it back or restore a backup, or choose another \
         directory with --data"
    )]
    Incomplete {
        /// The directory.
        path: PathBuf,
        /// What is missing in it.
        part: &'static str,
    },
    /// The file system refused.
    #[error("cannot {op} {path}: {error}{hint}")]
    Io {
        /// What was tried.
        op: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
        /// What to do about it.
        hint: &'static str,
    },
}

impl DataDirError {
    fn io(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| {
            let hint = match error.kind() {
                io::ErrorKind::StorageFull => "; free some space there",
                io::ErrorKind::ReadOnlyFilesystem => "; it is mounted read-only, choose another with --data",
                io::ErrorKind::PermissionDenied => "; this user may not write there, choose another with --data",
                _ => "",
            };
            Self::Io { op, path, error, hint }
        }
    }
}

impl DataDir {
    /// Opens the directory at `path`, making it if it is absent or empty, and locks it. On an error nothing was changed.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        fs::create_dir_all(path).map_err(DataDirError::io("make", path))?;
        let format = path.join(FORMAT_FILE);
        let found = match read_small(&format) {
            Ok(text) => match text.trim().parse() {
                Ok(0) | Err(_) => return Err(DataDirError::BadFormat(path.to_owned())),
                Ok(found) => Some(found),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(DataDirError::io("read", &format)(error)),
        };
        let missing = PARTS.into_iter().find(|part| !path.join(part).is_dir());
        match found {
            Some(found) if found > FORMAT => return Err(DataDirError::Newer { path: path.to_owned(), found }),
            Some(_) => {
                if let Some(part) = missing {
                    return Err(DataDirError::Incomplete { path: path.to_owned(), part });
                }
            }
            None if unfinished::is_left_over(path) => return Err(DataDirError::Unfinished(path.to_owned())),
            None if !is_fresh(path)? => return Err(DataDirError::Foreign(path.to_owned())),
            None => {}
        }
        let lock = lock(path)?;
        // Left by a server that was killed. Whoever listens on its port now must not be sent its credential.
        let _ = fs::remove_file(path.join(ADMIN_FILE));
        match found {
            Some(found) => upgrade(path, found)?,
            None => make(path)?,
        }
        Ok(Self { path: path.to_owned(), _lock: lock, announced: false })
    }

    /// Where the journal's segments are.
    pub fn journal(&self) -> PathBuf {
        self.path.join(JOURNAL_DIR)
    }

    /// Where the store is.
    pub fn store(&self) -> PathBuf {
        self.path.join(STORE_DIR)
    }

    /// Where updates are kept that broke a document, and whatever else was damaged.
    pub fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Says where this process can be reached, until this value is dropped.
    pub fn announce(&mut self, admin: &AdminFile) -> Result<(), DataDirError> {
        let text = serde_json::to_vec_pretty(admin).unwrap_or_default();
        write_whole(&self.path.join(ADMIN_FILE), &text, 0o600)?;
        self.announced = true;
        Ok(())
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.announced {
            // A stale file is recognised by the free lock.
            let _ = fs::remove_file(self.path.join(ADMIN_FILE));
        }
    }
}

/// Makes what belongs in a fresh directory. FORMAT comes last, and its directory is synced with it: once it is there, so
/// are the others; cut short before, the directory still is fresh.
fn make(path: &Path) -> Result<(), DataDirError> {
    for part in PARTS {
        let part = path.join(part);
        fs::create_dir_all(&part).map_err(DataDirError::io("make", &part))?;
    }
    write_format(path, FORMAT)
}

/// Brings a directory of an earlier format up to this one, one version after the other. FORMAT is raised last in each
/// step and before anything of the new version is written, so that whatever is cut short is done again by the next open,
/// and an earlier weft never meets what it does not know.
fn upgrade(path: &Path, found: u32) -> Result<(), DataDirError> {
    for from in found..FORMAT {
        // From 1 to 2 nothing is rewritten: records and entries of 1 are read for ever, and are replaced as documents
        // change.
        write_format(path, from + 1)?;
        tracing::info!(path = %path.display(), from, to = from + 1, "upgraded the data directory's format");
    }
    Ok(())
}

fn write_format(path: &Path, format: u32) -> Result<(), DataDirError> {
    write_whole(&path.join(FORMAT_FILE), format!("{format}\n").as_bytes(), 0o644)
}

/// Where the store of the data directory `path` is, also when the directory cannot be opened for want of it.
pub fn store_of(path: &Path) -> PathBuf {
    path.join(STORE_DIR)
}

/// Whether `path` is a data directory, of whatever format.
pub fn exists(path: &Path) -> bool {
    path.join(FORMAT_FILE).exists()
}

/// Where the log of what admins did is, in the directory at `path`.
pub fn audit_dir(path: &Path) -> PathBuf {
    path.join(AUDIT_DIR)
}

/// The list of revoked tokens in the directory at `path`, as it was last written; `None` when there never was one. May be
/// read while a server runs.
pub fn read_revoked(path: &Path) -> Result<Option<Vec<u8>>, DataDirError> {
    let file = path.join(REVOKED_FILE);
    let mut bytes = Vec::new();
    match File::open(&file).and_then(|file| file.take(REVOCATIONS_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataDirError::io("read", &file)(error)),
    }
}

/// Replaces that list. Only for whoever has the directory open; durable on return.
pub fn write_revoked(path: &Path, bytes: &[u8]) -> Result<(), DataDirError> {
    write_whole(&path.join(REVOKED_FILE), bytes, 0o600)
}

/// Where the server that runs on `path` says it can be reached; `None` when it says nothing.
pub fn admin_of(path: &Path) -> Option<AdminFile> {
    serde_json::from_str(&read_small(&path.join(ADMIN_FILE)).ok()?).ok()
}

/// Whether a directory without FORMAT may become ours: it holds nothing, or only what an interrupted first start left.
fn is_fresh(path: &Path) -> Result<bool, DataDirError> {
    for entry in fs::read_dir(path).map_err(DataDirError::io("list", path))? {
        let name = entry.map_err(DataDirError::io("list", path))?.file_name();
        let empty_part = |part| name == part && fs::read_dir(path.join(part)).is_ok_and(|mut dir| dir.next().is_none());
        let ours = name == LOCK_FILE
            || name == "lost+found"
            || name.to_string_lossy().starts_with("FORMAT.")
            || name.to_string_lossy().starts_with("RESTORING.")
            || PARTS.into_iter().any(empty_part);
        if !ours {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let file = path.join(LOCK_FILE);
    let mut options = OpenOptions::new();
    let mut lock = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(&file)
        .map_err(DataDirError::io("open", &file))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        let _ = Read::by_ref(&mut lock).take(16).read_to_string(&mut pid);
        let holder = pid.trim().parse::<u32>().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
        return Err(DataDirError::Locked { path: path.to_owned(), holder });
    }
    // For people only; the lock itself is the kernel's.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    Ok(lock)
}

fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(4096).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), DataDirError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    })();
    written.map_err(DataDirError::io("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_made_locked_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        let second = DataDir::open(&path).unwrap_err();
        assert!(second.to_string().contains(&format!("pid {}", std::process::id())), "{second}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn foreign_and_newer_directories_are_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("letter.txt"), "dear").unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::Foreign(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join(FORMAT_FILE), format!("{}\n", FORMAT + 1)).unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::Newer { found, .. }) if found == FORMAT + 1));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        for damaged in ["one", "0", "", "-1"] {
            fs::write(dir.path().join(FORMAT_FILE), damaged).unwrap();
            assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::BadFormat(_))), "{damaged:?}");
        }
    }

    #[test]
    fn s10_an_earlier_format_is_upgraded_wherever_the_upgrade_was_cut_short() {
        let format = |dir: &Path| fs::read_to_string(dir.join(FORMAT_FILE)).unwrap();
        // What a kill leaves: nothing done, a new FORMAT in part or whole without its name, all done.
        for (stands, beside) in
            [("1\n", None), ("1", Some("")), ("1\n", Some("2")), ("1\n", Some("2\n")), ("2\n", None)]
        {
            let dir = tempfile::tempdir().unwrap();
            drop(DataDir::open(dir.path()).unwrap());
            assert_eq!(format(dir.path()), format!("{FORMAT}\n"));
            fs::write(dir.path().join(FORMAT_FILE), stands).unwrap();
            if let Some(beside) = beside {
                fs::write(dir.path().join("FORMAT.new"), beside).unwrap();
            }
            drop(DataDir::open(dir.path()).unwrap());
            assert_eq!(format(dir.path()), format!("{FORMAT}\n"), "{stands:?} {beside:?}");
        }
    }

    #[test]
    fn a_directory_in_use_is_not_upgraded() {
        let dir = tempfile::tempdir().unwrap();
        let _open = DataDir::open(dir.path()).unwrap();
        fs::write(dir.path().join(FORMAT_FILE), "1\n").unwrap();
        assert!(matches!(DataDir::open(dir.path()), Err(DataDirError::Locked { .. })));
        assert_eq!(fs::read_to_string(dir.path().join(FORMAT_FILE)).unwrap(), "1\n");
    }

    #[test]
    fn s5_a_part_that_was_there_is_missed() {
        let dir = tempfile::tempdir().unwrap();
        // As a first start leaves it that was cut short.
        fs::create_dir(dir.path().join(STORE_DIR)).unwrap();
        fs::write(dir.path().join("FORMAT.new"), "").unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        for part in PARTS {
            fs::remove_dir(dir.path().join(part)).unwrap();
            let error = DataDir::open(dir.path()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            fs::create_dir(dir.path().join(part)).unwrap();
            drop(DataDir::open(dir.path()).unwrap());
        }
        let foreign = tempfile::tempdir().unwrap();
        fs::create_dir_all(foreign.path().join(STORE_DIR).join("shoes")).unwrap();
        assert!(matches!(DataDir::open(foreign.path()), Err(DataDirError::Foreign(_))));
    }

    #[test]
    fn a_credential_left_by_a_killed_server_is_not_sent_to_whoever_came_after() {
        let dir = tempfile::tempdir().unwrap();
        drop(DataDir::open(dir.path()).unwrap());
        let addr = "127.0.0.1:1".parse().unwrap();
        let left = AdminFile { listen: addr, admin: addr, credential: "secret".into(), pid: 7 };
        fs::write(dir.path().join(ADMIN_FILE), serde_json::to_vec(&left).unwrap()).unwrap();
        assert_eq!(admin_of(dir.path()), Some(left));
        let _open = DataDir::open(dir.path()).unwrap();
        assert_eq!(admin_of(dir.path()), None);
    }

    #[test]
    fn the_credential_is_readable_by_its_owner_only_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let mut data = DataDir::open(dir.path()).unwrap();
        let (listen, admin) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let file = AdminFile { listen, admin, credential: "secret".into(), pid: 7 };
        data.announce(&file).unwrap();
        assert_eq!(admin_of(dir.path()), Some(file));
        let mode = fs::metadata(dir.path().join(ADMIN_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        drop(data);
        assert_eq!(admin_of(dir.path()), None);
    }
}
