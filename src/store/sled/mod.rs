//! The store on sled. The only room that names sled; it keeps sled away from what breaks it (S3, S4, S5).
//!
//! One tree holds everything ([`super::keys`] says what). Values are cut into chunks, because sled loses or corrupts
//! large ones in a power cut (S3). A document *is* what its catalogue entry names: the snapshot of one generation, and
//! the log records after it up to `last_seq`. Chunks are written before the entry that names them and removed after the
//! entry that no longer does, so whatever instant survives, the entry's document is whole; chunks that no entry names
//! are invisible, and swept up by the next write to that document.
//!
//! What sled may do behind our back is contained here: it can panic on a damaged file (each call is [`engine::caught`]
//! and becomes an error, ST7), it silently cuts off the end of its log when that end is damaged ([`marker`] tells), and
//! after a failed write nothing it says about durability can be trusted (S7, [`Writer::failed`]).

mod append;
mod batches;
mod copy;
mod delete;
mod engine;
mod examine;
mod flush;
mod install;
mod log;
mod marker;
mod reading;
mod reopen;
mod restore;
mod salvage;
mod swap;
mod vacuum;

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Deref};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use sled::IVec;

use self::batches::Batches;
use self::engine::{CACHE_BYTES, Engine, Failed, Found, caught};
use self::marker::sync_dir;
use self::reading::decode_entry;
use self::reopen::has_room_to_open;
use super::keys;
use super::record::{self, Entry, Root};
use super::{
    Deletion, DocHead, Examined, Listed, LogAppend, Snapshot, Store, StoreError, StoredDocument, VacuumProgress,
    Vacuumed,
};
use crate::ids::{DocName, Seq};

/// Tries of a load that races with compactions before it keeps writers out.
const LOAD_TRIES: usize = 3;

/// Documents in a sled database. Reads run side by side; writers take turns. The database itself can be replaced by
/// another while the store is in use ([`Store::reopen`]).
///
/// Lock order: `writer`, then `engine`.
pub struct SledStore {
    dir: PathBuf,
    /// Held for reading as long as something is read or written; or why no database is open.
    engine: RwLock<Result<Engine, String>>,
    writer: Mutex<Writer>,
    /// Copy of [`Root::documents`], to be read without waiting for a writer.
    documents: AtomicU64,
    /// Copy of [`Root::live_bytes`].
    live_bytes: AtomicU64,
}

/// What only the one who writes may touch.
struct Writer {
    root: Root,
    /// Why writing ended. After a failed write or sync the kernel may have dropped what was to be written, and a second
    /// sync would claim success (S7), so nothing is written until [`Store::reopen`] or a restart.
    failed: Option<Failed>,
}

/// The open database; see [`SledStore::db`].
struct Database<'a> {
    // Dropped in this order: whoever waits for the lock must find no other user of the database.
    db: sled::Db,
    _open: RwLockReadGuard<'a, Result<Engine, String>>,
}

impl Deref for Database<'_> {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        &self.db
    }
}

impl SledStore {
    /// Opens the database in `dir`, creating both if neither is there.
    ///
    /// Errors: [`StoreError::Engine`] when sled cannot open its files (also when it panics), or when the database is
    /// older than what had been made durable; the text names the way out (S5). Never creates an empty database where
    /// one had been.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StoreError> {
        let dir = dir.as_ref();
        Self::open_inner(dir).map_err(|why| StoreError::Engine { op: "open", source: why.into() })
    }

    fn open_inner(dir: &Path) -> Result<Self, String> {
        // Names in it must go on to mean the same when a vacuum exchanges it for another.
        let dir = &engine::made(dir)?;
        swap::settle(dir)?;
        // What sled says instead reads like damage.
        has_room_to_open(dir).map_err(|why| format!("{why}; free some space there"))?;
        let Found { engine, root, is_new } = Engine::open(dir, CACHE_BYTES)?;
        let store = Self {
            dir: dir.to_owned(),
            engine: RwLock::new(Ok(engine)),
            writer: Mutex::new(Writer { root, failed: None }),
            documents: AtomicU64::new(root.documents),
            live_bytes: AtomicU64::new(root.live_bytes.unwrap_or(0)),
        };
        if is_new {
            // Also when a crash came between this and the marker. Until the marker is there nothing else is written.
            store.make_durable().map_err(|e| e.to_string())?;
            sync_dir(dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
                .map_err(|e| format!("the directory above {} cannot be synced: {e}", dir.display()))?;
        }
        Ok(store)
    }

    /// The database of this moment, which no other replaces while the value lives. Never ask for a second one
    /// meanwhile: whoever waits to replace it would stand between the two.
    fn db(&self) -> sled::Result<Database<'_>> {
        let open = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        match &*open {
            Ok(engine) => Ok(Database { db: engine.db().clone(), _open: open }),
            Err(why) => Err(sled::Error::Io(io::Error::other(format!("no database is open: {why}")))),
        }
    }

    /// Takes the turn to write; refuses once a write has failed.
    fn writer(&self, op: &'static str) -> Result<MutexGuard<'_, Writer>, StoreError> {
        // No panic can leave the writer half changed: calls into sled are caught, and nothing else here can.
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match &writer.failed {
            Some(failed) => Err(failed.error(op, failed.refusal())),
            None => Ok(writer),
        }
    }

    /// Runs a write; whatever its failure, it is the last one.
    fn write(
        &self,
        writer: &mut Writer,
        op: &'static str,
        f: impl FnOnce() -> Result<(), Failed>,
    ) -> Result<(), StoreError> {
        f().map_err(|failed| {
            let failed = self.for_want_of_room(failed);
            let error = failed.error(op, failed.cause().to_owned());
            let reads_too = matches!(failed, Failed::Write(_));
            writer.failed = Some(failed);
            if reads_too {
                self.reopen_for_readers(writer);
            }
            error
        })
    }

    /// Writes changes, each part at once or not at all, and with each part the root record that counts its bytes.
    fn apply(&self, writer: &mut Writer, op: &'static str, batches: Batches) -> Result<(), StoreError> {
        for part in batches.into_parts() {
            let mut root = Root { live_bytes: writer.root.live_bytes, ..part.root.unwrap_or(writer.root) };
            let apply = || self.apply_part(part.writes, &mut root);
            self.write(writer, op, || caught(apply).map_err(Failed::Write))?;
            self.set_root(writer, root);
        }
        Ok(())
    }

    fn apply_part(&self, writes: BTreeMap<IVec, Option<IVec>>, root: &mut Root) -> sled::Result<()> {
        let db = self.db()?;
        let mut batch = sled::Batch::default();
        let mut live_bytes = root.live_bytes.unwrap_or(0);
        let mut written = Vec::new();
        for (key, new) in writes {
            let bytes = |value: Option<&IVec>| value.map_or(0, |value| (key.len() + value.len()) as u64);
            let old = bytes(db.get(&key)?.as_ref());
            // Never below zero but for a root record that counted wrongly; no reason to fail.
            live_bytes = (live_bytes + bytes(new.as_ref())).saturating_sub(old);
            match new {
                Some(value) => {
                    written.push((key.clone(), value.len()));
                    batch.insert(key, value);
                }
                None => batch.remove(key),
            }
        }
        root.live_bytes = Some(live_bytes);
        batch.insert(keys::ROOT, record::encode_root(root));
        db.apply_batch(batch)?;
        written.iter().for_each(|(key, bytes)| reading::let_go(&db, key, *bytes));
        Ok(())
    }

    /// Brings everything written so far to the disk (S4).
    fn sync_engine(&self, writer: &mut Writer, op: &'static str) -> Result<(), StoreError> {
        let sync = || match &*self.engine.read().unwrap_or_else(PoisonError::into_inner) {
            Ok(engine) => engine.sync(),
            Err(why) => Err(Failed::Write(format!("no database is open: {why}"))),
        };
        self.write(writer, op, sync)
    }

    /// Makes durable, and says so beside the database.
    fn checkpoint(&self, writer: &mut Writer, op: &'static str) -> Result<(), StoreError> {
        let root = Root { checkpoint: writer.root.checkpoint + 1, ..writer.root };
        let mut batches = Batches::default();
        batches.set_root(&root);
        self.apply(writer, op, batches)?;
        self.sync_engine(writer, op)?;
        // Only now: a marker ahead of the database would accuse it of a loss.
        self.write(writer, op, || marker::write_marker(&self.dir, root.checkpoint))
    }

    fn set_root(&self, writer: &mut Writer, root: Root) {
        writer.root = root;
        self.documents.store(root.documents, Ordering::Relaxed);
        self.live_bytes.store(root.live_bytes.unwrap_or(0), Ordering::Relaxed);
    }
}

impl Store for SledStore {
    fn load(&self, doc: &DocName) -> Result<Option<StoredDocument>, StoreError> {
        // The entry is read first and its contents after it, without a lock. A compaction in between removes what the
        // entry names; that looks like damage, but then the entry has changed.
        for _ in 0..LOAD_TRIES {
            let Some(raw) = self.raw_entry(doc)? else { return Ok(None) };
            let read = decode_entry(doc, &raw).and_then(|entry| self.read_document(doc, entry));
            match read {
                Ok(document) => return Ok(Some(document)),
                Err(e) if self.raw_entry(doc)?.as_ref() == Some(&raw) => return Err(e),
                Err(_) => {}
            }
        }
        let _no_writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.entry(doc)?.map(|entry| self.read_document(doc, entry)).transpose()
    }

    fn head(&self, doc: &DocName) -> Result<Option<DocHead>, StoreError> {
        Ok(self.entry(doc)?.map(|entry| entry.head))
    }

    fn list(
        &self,
        listed: Listed,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<(DocName, DocHead)>, StoreError> {
        self.list_entries(listed, prefix, after, limit)
    }

    fn names(&self, after: Option<&DocName>, limit: usize) -> Result<Vec<DocName>, StoreError> {
        self.list_names(after, limit)
    }

    fn append(&self, appends: &[LogAppend], now_ms: u64) -> Result<(), StoreError> {
        self.append_records(appends, now_ms)
    }

    fn install_snapshot(&self, doc: &DocName, snapshot: &Snapshot, now_ms: u64) -> Result<(), StoreError> {
        self.install(doc, snapshot, now_ms, &mut |_| {})
    }

    fn restore(&self, doc: &DocName, document: &StoredDocument) -> Result<(), StoreError> {
        self.restore_document(doc, document)
    }

    fn delete(&self, deletions: &[Deletion]) -> Result<(), StoreError> {
        self.bury(deletions, &mut |_| {})
    }

    fn names_of_contents(
        &self,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<DocName>, StoreError> {
        self.list_names_of_contents(prefix, after, limit)
    }

    fn examine(&self, doc: &DocName) -> Result<Examined, StoreError> {
        self.examine_document(doc)
    }

    fn rebuild(&self, doc: &DocName, updates: Vec<Bytes>, now_ms: u64) -> Result<(), StoreError> {
        self.rebuild_document(doc, updates, now_ms)
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        const OP: &str = "sync";
        let mut writer = self.writer(OP)?;
        self.checkpoint(&mut writer, OP)
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.reopen_engine()
    }

    fn vacuum(&self, watch: &mut dyn FnMut(VacuumProgress) -> ControlFlow<()>) -> Result<Vacuumed, StoreError> {
        self.vacuum_engine(watch, &mut |_| {})
    }

    fn live_bytes(&self) -> Result<u64, StoreError> {
        Ok(self.live_bytes.load(Ordering::Relaxed))
    }

    fn live_bytes_of(&self, doc: &DocName) -> Result<u64, StoreError> {
        self.count_live(doc)
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        caught(|| self.db()?.size_on_disk()).map_err(|why| StoreError::Engine { op: "size", source: why.into() })
    }

    fn documents(&self) -> Result<u64, StoreError> {
        Ok(self.documents.load(Ordering::Relaxed))
    }
}

fn new_entry(now_ms: u64) -> Entry {
    let head = DocHead {
        last_seq: Seq::ZERO,
        snapshot_seq: Seq::ZERO,
        snapshot_bytes: 0,
        log_bytes: 0,
        log_updates: 0,
        log_records: 0,
        created_ms: now_ms,
        updated_ms: now_ms,
        deleted_ms: None,
        damaged: false,
    };
    Entry { head, generation: 0, untidy: false }
}

#[cfg(test)]
mod tests;
