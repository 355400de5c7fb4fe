//! Other servers' storage, read document by document for `weft import --from`.
//!
//! A [`Source`] gives the name and the updates of one document at a time, whatever lies underneath: one document is held
//! in memory, never all. It knows nothing of weft's own storage, and it never writes to what it reads, not even a lock.
//! What comes out has a name that weft allows and updates that have passed `wire`'s validator; what does not is
//! [`Found::Skipped`], by name and with the reason. A source that cannot be read to its end says so ([`MigrateError`]):
//! nothing is left out in silence.

mod hocuspocus;
mod leveldb;
mod updates;
mod y_leveldb;
mod y_sweet;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::ids::DocName;
use crate::limits::{MIGRATE_DOCUMENT_BYTES_MAX, MIGRATE_UPDATE_COST};
use crate::wire::lib0::Reader;
use crate::wire::update;

/// What weft can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The database of `@hocuspocus/extension-sqlite`.
    HocuspocusSqlite,
    /// The store of `y-sweet serve DIR`.
    YSweet,
    /// The LevelDB database of `y-leveldb`, which y-websocket's server keeps below `YPERSISTENCE`.
    YLeveldb,
    /// Files with an update each.
    Updates,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::HocuspocusSqlite, Kind::YSweet, Kind::YLeveldb, Kind::Updates];

    /// As it is called on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Kind::HocuspocusSqlite => "hocuspocus-sqlite",
            Kind::YSweet => "y-sweet",
            Kind::YLeveldb => "y-leveldb",
            Kind::Updates => "updates",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How a source's names become weft's. Only y-leveldb's leave a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// As clients know the documents: y-websocket's server stores the path of the URL undecoded, weft decodes it.
    Decoded,
    /// As they are stored, for a program that gave y-leveldb names of its own.
    AsStored,
}

/// Opens a source. Those that carry checksums are read through once before the first document is given out, so that
/// damage is known before anything is imported.
pub fn open(kind: Kind, path: &Path, names: Names) -> Result<Box<dyn Source>, MigrateError> {
    Ok(match kind {
        Kind::HocuspocusSqlite => Box::new(hocuspocus::open(path)?),
        Kind::YSweet => Box::new(y_sweet::open(path)?),
        Kind::YLeveldb => Box::new(y_leveldb::open(path, names)?),
        Kind::Updates => Box::new(updates::open(path)?),
    })
}

/// Documents of another server, in an order of its own.
pub trait Source {
    /// How many there are, for a progress bar.
    fn documents(&self) -> u64;

    /// The next one of which `wanted` says yes; `None` behind the last.
    fn next(&mut self, wanted: &dyn Fn(&DocName) -> bool) -> Result<Option<Found>, MigrateError>;

    /// What else the admin should know; complete behind the last document.
    fn remarks(&self) -> Vec<Remark>;
}

/// Something to be said about a source as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// A sentence.
    pub text: String,
    /// Something may be missing, so the import is not called a success.
    pub wrong: bool,
}

/// One document of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It can be imported.
    Document(Document),
    /// It cannot.
    Skipped(Skipped),
}

/// A document with all that its server had of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its name.
    pub name: DocName,
    /// Validated updates in the order in which they were stored; none for a document without content.
    pub updates: Vec<Bytes>,
}

/// A document that cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name as far as it can be shown.
    pub name: String,
    /// Why, as a fragment.
    pub why: String,
}

/// Why a source cannot be read. A variant exists where the way out differs.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The file system refused.
    #[error("cannot read {path}: {error}")]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is something else.
    #[error("{path} is not {expected}: {why}; name the right one")]
    Foreign {
        /// What was named.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
        /// What it lacks.
        why: String,
    },
    /// Somebody is writing to it.
    #[error("{path} is in use{by}; stop that server first, or import a copy that was made while it was stopped")]
    Busy {
        /// What was named.
        path: PathBuf,
        /// By whom, with a space before.
        by: String,
    },
    /// Its bytes contradict themselves.
    #[error(
        "{path} is damaged: {what}; import from a backup of it, or let the server that wrote it repair it, then try again"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        what: String,
    },
}

impl MigrateError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }

    fn damaged(path: &Path, what: impl ToString) -> Self {
        Self::Damaged { path: path.to_owned(), what: what.to_string() }
    }
}

/// Updates of one document as they are gathered, within bounds.
#[derive(Debug, Default)]
struct Gathered {
    updates: Vec<Bytes>,
    bytes: usize,
    full: bool,
}

impl Gathered {
    fn push(&mut self, update: Bytes) {
        self.bytes = self.bytes.saturating_add(update.len()).saturating_add(MIGRATE_UPDATE_COST);
        self.full |= self.bytes > MIGRATE_DOCUMENT_BYTES_MAX;
        if self.full {
            // It will be skipped; what is held of it is of no use.
            self.updates.clear();
        } else {
            self.updates.push(update);
        }
    }

    /// Checks the updates; one that is not valid makes the whole document one to skip.
    fn finish(self, name: DocName) -> Found {
        if self.full {
            return skipped(name.as_str(), too_large());
        }
        let total = self.updates.len();
        let mut updates = Vec::with_capacity(total);
        for (number, bytes) in self.updates.into_iter().enumerate() {
            if let Err(why) = check(&bytes) {
                let which = if total == 1 { String::new() } else { format!("update {} of {total}: ", number + 1) };
                return skipped(name.as_str(), format!("{which}{why}"));
            }
            if bytes != update::EMPTY {
                updates.push(bytes);
            }
        }
        Found::Document(Document { name, updates })
    }
}

/// Whether these bytes are an update that weft takes; else why not.
fn check(bytes: &[u8]) -> Result<(), String> {
    match update::validate(bytes) {
        Ok(()) => Ok(()),
        Err(_) if bytes.is_empty() => Err("the update is empty; an update has at least two bytes".to_owned()),
        Err(_) if looks_like_v2(bytes) => {
            Err("the update is in v2 encoding; convert it with Y.convertUpdateFormatV2ToV1 first".to_owned())
        }
        Err(error) => Err(format!("not an acceptable v1 update: {error}")),
    }
}

/// Yjs's v2 encoding begins with a 0 and nine columns, each with its length before it. Asked only of what is no v1 update.
fn looks_like_v2(bytes: &[u8]) -> bool {
    const COLUMNS: usize = 9;
    let mut reader = Reader::new(bytes);
    reader.u8() == Ok(0) && (0..COLUMNS).all(|_| reader.var_bytes().is_ok()) && !reader.is_empty()
}

fn skipped(name: impl Into<String>, why: impl ToString) -> Found {
    Found::Skipped(Skipped { name: name.into(), why: why.to_string() })
}

fn too_large() -> String {
    format!("it is larger than {} MB, the most that is read of one document", MIGRATE_DOCUMENT_BYTES_MAX / 1_000_000)
}

/// A whole file of at most [`MIGRATE_DOCUMENT_BYTES_MAX`] bytes; `None` when it is larger.
fn read_file(path: &Path) -> Result<Option<Bytes>, MigrateError> {
    let file = File::open(path).map_err(MigrateError::io(path))?;
    let mut bytes = Vec::new();
    file.take(MIGRATE_DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(MigrateError::io(path))?;
    Ok((bytes.len() <= MIGRATE_DOCUMENT_BYTES_MAX).then(|| bytes.into()))
}

/// What a directory holds, sorted by name.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, MigrateError> {
    let listed = fs::read_dir(dir).map_err(MigrateError::io(dir))?;
    let paths: Result<Vec<_>, _> = listed.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(MigrateError::io(dir))?;
    paths.sort_unstable();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> DocName {
        DocName::parse("d").unwrap()
    }

    /// `Y.encodeStateAsUpdateV2` of a text `t` that says "weft", by client 1 (yjs 13.6.33).
    const V2: &[u8] = &[0, 0, 1, 1, 0, 0, 1, 4, 7, 6, 116, 119, 101, 102, 116, 1, 4, 1, 1, 0, 0, 1, 1, 0, 0];

    #[test]
    fn updates_are_checked_and_v2_is_told_apart() {
        assert_eq!(check(&[0, 0]), Ok(()));
        assert!(check(V2).unwrap_err().contains("convertUpdateFormatV2ToV1"));
        assert!(check(&[]).unwrap_err().contains("empty"));
        assert!(check(&[9, 9]).unwrap_err().contains("v1"));
    }

    #[test]
    fn one_bad_update_skips_the_document_and_says_which() {
        let mut gathered = Gathered::default();
        gathered.push(Bytes::from_static(&[0, 0]));
        gathered.push(Bytes::from_static(b"garbage"));
        let Found::Skipped(skipped) = gathered.finish(name()) else { panic!("was taken") };
        assert!(skipped.why.starts_with("update 2 of 2"), "{}", skipped.why);
    }

    #[test]
    fn a_document_without_content_has_no_updates() {
        let mut gathered = Gathered::default();
        gathered.push(Bytes::from_static(update::EMPTY));
        assert_eq!(gathered.finish(name()), Found::Document(Document { name: name(), updates: Vec::new() }));
    }

    #[test]
    fn a_document_larger_than_the_bound_is_skipped_and_not_held() {
        let half = Bytes::from(vec![0; MIGRATE_DOCUMENT_BYTES_MAX / 2]);
        let mut gathered = Gathered::default();
        (0..3).for_each(|_| gathered.push(half.clone()));
        assert!(gathered.updates.is_empty());
        let Found::Skipped(skipped) = gathered.finish(name()) else { panic!("was taken") };
        assert!(skipped.why.contains("MB"), "{}", skipped.why);
    }

    #[test]
    fn kinds_have_names() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.name()), Some(kind));
        }
        assert_eq!(Kind::parse("etherpad"), None);
    }
}
