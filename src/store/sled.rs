//! The store on sled. The only file that names sled; it keeps sled away from what breaks it (S3, S4, S5).
//!
//! One tree holds everything ([`super::keys`] says what). Values are cut into chunks, because sled loses or corrupts
//! large ones in a power cut (S3). A document *is* what its catalogue entry names: the snapshot of one generation, and
//! the log records after it up to `last_seq`. Chunks are written before the entry that names them and removed after the
//! entry that no longer does, so whatever instant survives, the entry's document is whole; chunks that no entry names
//! are invisible, and swept up by the next write to that document.
//!
//! What sled may do behind our back is contained here: it can panic on a damaged file (each call is caught and becomes
//! an error, ST7), it silently cuts off the end of its log when that end is damaged ([`MARKER`] tells), and after a
//! failed write nothing it says about durability can be trusted (S7, [`Writer::failed`]).

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Bound;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::keys::{self, KeyRange, Keyspace};
use super::record::{self, Entry, Flaw, RecordKind, Root, UpdateRecord};
use super::{DocHead, LogAppend, Snapshot, Store, StoreError, StoredDocument};
use crate::ids::{DocName, Seq};
use crate::limits::STORE_ENTRY_BYTES_MAX;

/// Pages sled keeps in memory, bytes. Documents in use are held by their replicas, so this serves cold opens and the
/// catalogue; the figures of STORAGE §1 were measured with it.
const CACHE_BYTES: u64 = 64 << 20;
/// Bytes gathered into one atomic sled batch. sled holds a lock against all readers while it applies one, and keeps the
/// whole of it in its write buffers; this much takes about a millisecond.
const BATCH_BYTES: usize = 256 << 10;
/// Tries of a load that races with compactions before it keeps writers out.
const LOAD_TRIES: usize = 3;
/// Tries, this far apart, to take sled's file lock. Nobody else can hold it (`data_dir` holds `LOCK`), but sled's own
/// threads let go of a database a moment after it was dropped.
const LOCK_TRIES: usize = 40;
const LOCK_RETRY: Duration = Duration::from_millis(25);
/// A file beside sled's own. It exists once the database was created and durable, and says which checkpoint was the
/// last durable one; a database without it was never written to, one behind it has lost data (S5).
const MARKER: &str = "CHECKPOINT";
const MARKER_NEW: &str = "CHECKPOINT.new";
/// sled's data file.
const DATABASE: &str = "db";

/// Documents in a sled database. Reads run side by side; writers take turns.
pub struct SledStore {
    /// `None` only while being dropped.
    db: Option<sled::Db>,
    /// sled's data file again, opened before the first write so that every failed write-back is reported to its sync.
    database: File,
    dir: PathBuf,
    writer: Mutex<Writer>,
    /// Copy of [`Root::documents`], to be read without waiting for a writer.
    documents: AtomicU64,
}

/// What only the one who writes may touch.
struct Writer {
    root: Root,
    /// Why writing ended. After a failed write or sync the kernel may have dropped what was to be written, and a second
    /// sync would claim success (S7), so nothing is written until a restart.
    failed: Option<String>,
}

/// Where an installation of a snapshot has got to; for tests that stop it there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InstallStep {
    ChunksWritten,
    ChunksDurable,
    Verified,
    Switched,
    SwitchDurable,
    Tidied,
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
        let db = open_engine(dir)?;
        let database = File::open(dir.join(DATABASE)).map_err(|e| format!("{at}/{DATABASE} cannot be read: {e}"))?;

        let stored = caught(|| db.get(keys::ROOT)).map_err(|e| broken(dir, &e))?;
        let root = match (stored, marked) {
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
        let store = Self {
            db: Some(db),
            database,
            dir: dir.to_owned(),
            documents: AtomicU64::new(root.documents),
            writer: Mutex::new(Writer { root, failed: None }),
        };
        if marked.is_none() {
            // Also when a crash came between this and the marker. Until the marker is there nothing else is written.
            store.make_durable().map_err(|e| e.to_string())?;
            sync_dir(dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))
                .map_err(|e| format!("the directory above {at} cannot be synced: {e}"))?;
        }
        Ok(store)
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("taken only by drop")
    }

    /// Takes the turn to write; refuses once a write has failed.
    fn writer(&self, op: &'static str) -> Result<MutexGuard<'_, Writer>, StoreError> {
        // No panic can leave the writer half changed: calls into sled are caught, and nothing else here can.
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        match &writer.failed {
            Some(cause) => Err(StoreError::Engine {
                op,
                source: format!("an earlier write failed, nothing more is written until a restart: {cause}").into(),
            }),
            None => Ok(writer),
        }
    }

    /// Runs a write; whatever its failure, it is the last one.
    fn write(
        &self,
        writer: &mut Writer,
        op: &'static str,
        f: impl FnOnce() -> sled::Result<()>,
    ) -> Result<(), StoreError> {
        caught(f).map_err(|why| {
            writer.failed = Some(why.clone());
            StoreError::Engine { op, source: why.into() }
        })
    }

    fn apply(&self, writer: &mut Writer, op: &'static str, batches: Batches) -> Result<(), StoreError> {
        for batch in batches.full.into_iter().chain((batches.open_bytes > 0).then_some(batches.open)) {
            self.write(writer, op, || self.db().apply_batch(batch))?;
        }
        Ok(())
    }

    // ---- reading --------------------------------------------------------------------------------------------------

    /// The bytes of the catalogue entry.
    fn raw_entry(&self, doc: &DocName) -> Result<Option<sled::IVec>, StoreError> {
        caught(|| self.db().get(keys::head(doc))).map_err(|why| damaged(doc, ENTRY, why))
    }

    fn entry(&self, doc: &DocName) -> Result<Option<Entry>, StoreError> {
        self.raw_entry(doc)?.map(|raw| decode_entry(doc, &raw)).transpose()
    }

    /// Reads the document that `entry` names.
    fn read_document(&self, doc: &DocName, entry: Entry) -> Result<StoredDocument, StoreError> {
        let head = entry.head;
        let snapshot = match entry.generation {
            0 => Vec::new(),
            generation => self.read_snapshot(doc, generation, &head)?,
        };
        let mut log = Vec::new();
        let records = self.read_log(doc, &head)?;
        let records_found = records.len() as u64;
        let mut next = head.snapshot_seq.next();
        for record in records {
            // A snapshot may cover a record in part: its first updates are passed over (ST5).
            let starts_well = if log.is_empty() { record.first <= next.0 } else { record.first == next.0 };
            if !starts_well {
                return Err(damaged(doc, "the log", format!("the updates from position {next} on are missing")));
            }
            let updates = (record.first..).map(Seq).zip(record.updates);
            log.extend(updates.skip_while(|(seq, _)| *seq < next));
            next = Seq(record.last).next();
        }
        let updates_found = log.len() as u64;
        let bytes_found: u64 = log.iter().map(|(_, u)| u.len() as u64).sum();
        if next != head.last_seq.next()
            || (records_found, updates_found, bytes_found) != (head.log_records, head.log_updates, head.log_bytes)
        {
            let DocHead { last_seq, log_updates, log_bytes, .. } = head;
            let why = format!(
                "the catalogue counts {log_updates} updates of {log_bytes} bytes up to position {last_seq}, there are \
                 {updates_found} of {bytes_found} bytes"
            );
            return Err(damaged(doc, "the log", why));
        }
        Ok(StoredDocument { head, snapshot, log })
    }

    fn read_snapshot(&self, doc: &DocName, generation: u64, head: &DocHead) -> Result<Vec<Bytes>, StoreError> {
        let what = || format!("snapshot {generation}");
        let mut found = self.read_chunks(doc, keys::generation(doc, generation), u64::MAX)?;
        let Some((_, bytes)) = found.pop() else {
            return Err(damaged(doc, what(), "it is missing".to_owned()));
        };
        let record = decode_updates(doc, what, RecordKind::Snapshot, bytes)?;
        if record.first != generation || record.last != head.snapshot_seq.0 {
            return Err(damaged(doc, what(), Flaw::Contents.to_string()));
        }
        Ok(record.updates)
    }

    /// The log records after the snapshot, each whole and dense in itself.
    fn read_log(&self, doc: &DocName, head: &DocHead) -> Result<Vec<UpdateRecord>, StoreError> {
        let found = self.read_chunks(doc, keys::log_from(doc, head.snapshot_seq.next()), head.last_seq.0)?;
        let decode = |(last, bytes)| {
            let what = || format!("the log record that ends at position {last}");
            let record = decode_updates(doc, what, RecordKind::Log, bytes)?;
            let span = record.last.checked_sub(record.first).and_then(|n| n.checked_add(1));
            if record.last != last || span != Some(record.updates.len() as u64) {
                return Err(damaged(doc, what(), Flaw::Contents.to_string()));
            }
            Ok(record)
        };
        found.into_iter().map(decode).collect()
    }

    /// Puts the chunks in `range` together: the records' numbers, rising, up to `last`, and their bytes.
    fn read_chunks(&self, doc: &DocName, range: KeyRange, last: u64) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let what = "its contents";
        let mut records: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut chunks_expected = 0;
        let scan = || -> Result<(), StoreError> {
            for item in self.db().range(range) {
                let (key, value) = item.map_err(|e| damaged(doc, what, e.to_string()))?;
                let Some((number, chunk)) = keys::chunk_numbers(&key) else {
                    return Err(damaged(doc, what, "a key is malformed".to_owned()));
                };
                if number > last {
                    break; // written for an entry that never came
                }
                match records.last_mut() {
                    Some((open, bytes)) if *open == number && chunk == chunks_expected => {
                        bytes.extend_from_slice(&value)
                    }
                    Some((open, _)) if *open == number => {
                        return Err(damaged(
                            doc,
                            what,
                            format!("chunk {chunks_expected} of record {number} is missing"),
                        ));
                    }
                    _ if chunk == 0 => records.push((number, value.to_vec())),
                    _ => return Err(damaged(doc, what, format!("chunk 0 of record {number} is missing"))),
                }
                chunks_expected = chunk.saturating_add(1);
            }
            Ok(())
        };
        panic::catch_unwind(AssertUnwindSafe(scan))
            .unwrap_or_else(|cause| Err(damaged(doc, what, panicked(&*cause))))?;
        Ok(records.into_iter().map(|(number, bytes)| (number, bytes.into())).collect())
    }

    // ---- writing --------------------------------------------------------------------------------------------------

    /// Removes all chunks of `doc` that `entry` does not name.
    fn sweep(&self, doc: &DocName, entry: Option<&Entry>, batches: &mut Batches) -> Result<(), StoreError> {
        let named = |space: Keyspace, number: u64| match (entry, space) {
            (Some(e), Keyspace::Snapshot) => number == e.generation,
            (Some(e), Keyspace::Log) => number > e.head.snapshot_seq.0 && number <= e.head.last_seq.0,
            (None, _) | (_, Keyspace::Head | Keyspace::Root) => false,
        };
        for space in [Keyspace::Snapshot, Keyspace::Log] {
            self.remove_chunks(doc, keys::chunks(space, doc), |number| !named(space, number), batches)?;
        }
        Ok(())
    }

    fn remove_chunks(
        &self,
        doc: &DocName,
        range: KeyRange,
        unwanted: impl Fn(u64) -> bool,
        batches: &mut Batches,
    ) -> Result<(), StoreError> {
        let scan = || -> sled::Result<()> {
            for key in self.db().range(range).keys() {
                let key = key?;
                if keys::chunk_numbers(&key).is_some_and(|(number, _)| unwanted(number)) {
                    batches.remove(key);
                }
            }
            Ok(())
        };
        caught(scan).map_err(|why| damaged(doc, "its contents", why))
    }

    /// As [`Store::install_snapshot`]; `reached` is told of each step once it is done.
    ///
    /// Each step may be the last before a crash. What the next start then finds, after
    ///
    /// - *chunks written*, *chunks durable*, *verified*: the catalogue entry still names the old generation and the old
    ///   log, both untouched. The new chunks are garbage, in part or whole. The entry is marked untidy (or there is
    ///   none, if the document is new), so the next write to this document sweeps them up.
    /// - *switched*: the entry is one small value in one atomic batch, so either the old one or the new one survives.
    ///   All that the new one names was made durable before it was written; all that the old one names is still there.
    /// - *switch durable*: the new document. The old chunks are garbage now, to be swept as above. Were they removed
    ///   before the switch is durable, the removal could survive and the switch not.
    /// - *tidied*: the new document, and nothing else.
    fn install(
        &self,
        doc: &DocName,
        snapshot: &Snapshot,
        now_ms: u64,
        reached: &mut dyn FnMut(InstallStep),
    ) -> Result<(), StoreError> {
        const OP: &str = "snapshot";
        let mut writer = self.writer(OP)?;
        let old = self.entry(doc)?;
        if old.as_ref().is_some_and(|old| snapshot.covers < old.head.snapshot_seq) {
            return Ok(());
        }
        let generation = old.as_ref().map_or(0, |old| old.generation) + 1;
        let updates: Vec<&Bytes> = snapshot.updates.iter().collect();
        let bytes = record::encode_updates(doc, RecordKind::Snapshot, generation, snapshot.covers.0, &updates);

        // The sweep comes first, or chunks of an attempt that was cut short would mix with those of this one.
        let mut batches = Batches::default();
        self.sweep(doc, old.as_ref(), &mut batches)?;
        if let Some(old) = &old {
            let untidy = Entry { untidy: true, ..old.clone() };
            batches.insert(&keys::head(doc), &record::encode_entry(doc, &untidy));
        }
        batches.insert_chunks(Keyspace::Snapshot, doc, generation, &bytes);
        self.apply(&mut writer, OP, batches)?;
        reached(InstallStep::ChunksWritten);

        self.sync_engine(&mut writer, OP)?;
        reached(InstallStep::ChunksDurable);

        let found = self.read_chunks(doc, keys::generation(doc, generation), u64::MAX)?;
        if !matches!(found.as_slice(), [(number, read)] if *number == generation && read == &bytes) {
            return Err(damaged(doc, format!("snapshot {generation}"), "it does not read back as written".to_owned()));
        }
        let new = self.entry_after_install(doc, old.as_ref(), generation, snapshot, now_ms)?;
        reached(InstallStep::Verified);

        let mut batches = Batches::default();
        let mut root = writer.root;
        root.documents += u64::from(old.is_none());
        batches.insert_entry(doc, &new, &root);
        self.apply(&mut writer, OP, batches)?;
        self.set_root(&mut writer, root);
        reached(InstallStep::Switched);

        self.sync_engine(&mut writer, OP)?;
        reached(InstallStep::SwitchDurable);

        let mut batches = Batches::default();
        self.sweep(doc, Some(&new), &mut batches)?;
        let mut last = Batches::default();
        last.insert(&keys::head(doc), &record::encode_entry(doc, &Entry { untidy: false, ..new }));
        self.apply(&mut writer, OP, batches)?;
        self.apply(&mut writer, OP, last)?;
        reached(InstallStep::Tidied);
        Ok(())
    }

    /// The entry that makes `generation` current. Counts what the snapshot leaves of the log.
    fn entry_after_install(
        &self,
        doc: &DocName,
        old: Option<&Entry>,
        generation: u64,
        snapshot: &Snapshot,
        now_ms: u64,
    ) -> Result<Entry, StoreError> {
        let mut head = old.cloned().unwrap_or_else(|| new_entry(now_ms)).head;
        head.snapshot_seq = snapshot.covers;
        head.snapshot_bytes = snapshot.updates.iter().map(|u| u.len() as u64).sum();
        if snapshot.covers > head.last_seq {
            head.last_seq = snapshot.covers;
            head.updated_ms = now_ms;
        }
        (head.log_bytes, head.log_updates, head.log_records) = (0, 0, 0);
        for record in self.read_log(doc, &head)? {
            let covered = (snapshot.covers.0 + 1).saturating_sub(record.first);
            let left = record.updates.get(usize::try_from(covered).unwrap_or(usize::MAX)..).unwrap_or_default();
            head.log_records += 1;
            head.log_updates += left.len() as u64;
            head.log_bytes += left.iter().map(|u| u.len() as u64).sum::<u64>();
        }
        Ok(Entry { head, generation, untidy: true })
    }

    fn set_root(&self, writer: &mut Writer, root: Root) {
        writer.root = root;
        self.documents.store(root.documents, Ordering::Relaxed);
    }

    /// Brings everything sled was given to the disk (S4).
    ///
    /// sled's own flush ends in `sync_file_range`, which writes neither file sizes nor the device's cache, so each of
    /// its files is synced here, then their directories. `syncfs` would do as well, but waits for whatever else the
    /// file system has to write, and on a shared disk that has no bound.
    fn sync_engine(&self, writer: &mut Writer, op: &'static str) -> Result<(), StoreError> {
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

    fn list(&self, prefix: &str, after: Option<&DocName>, limit: usize) -> Result<Vec<(DocName, DocHead)>, StoreError> {
        let all = keys::heads_from(prefix);
        let from = match after {
            Some(name) if name.as_str() >= prefix => Bound::Excluded(keys::head(name)),
            Some(_) | None => Bound::Included(all.clone()),
        };
        let engine = |why: String| StoreError::Engine { op: "list", source: why.into() };
        let scan = || -> Result<_, StoreError> {
            let mut listed = Vec::new();
            for item in self.db().range((from, Bound::Unbounded)) {
                let (key, raw) = item.map_err(|e| engine(e.to_string()))?;
                if !key.starts_with(&all) || listed.len() >= limit {
                    break;
                }
                let name = keys::head_name(&key).ok_or_else(|| engine("a catalogue key is malformed".to_owned()))?;
                let entry = decode_entry(&name, &raw)?;
                listed.push((name, entry.head));
            }
            Ok(listed)
        };
        panic::catch_unwind(AssertUnwindSafe(scan)).unwrap_or_else(|cause| Err(engine(panicked(&*cause))))
    }

    fn append(&self, appends: &[LogAppend], now_ms: u64) -> Result<(), StoreError> {
        const OP: &str = "append";
        let mut writer = self.writer(OP)?;
        let mut entries: BTreeMap<&DocName, (Entry, IsNew)> = BTreeMap::new();
        let mut contents = Batches::default();
        // Nothing reaches sled before all was checked and encoded.
        for append in appends {
            let doc = &append.doc;
            let Some((last_offered, _)) = append.updates.last() else { continue };
            let (entry, _) = match entries.get_mut(doc) {
                Some(known) => known,
                None => {
                    let stored = self.entry(doc)?;
                    let last_stored = stored.as_ref().map_or(Seq::ZERO, |e| e.head.last_seq);
                    if *last_offered <= last_stored {
                        continue; // a replay of what is here already (ST2)
                    }
                    let known = match stored {
                        Some(entry) if !entry.untidy => {
                            // Records a crash left without an entry end at other positions than those that come now, and
                            // would lie between them.
                            let beyond = keys::log_from(doc, last_stored.next());
                            self.remove_chunks(doc, beyond, |_| true, &mut contents)?;
                            (entry, false)
                        }
                        Some(entry) => {
                            self.sweep(doc, Some(&entry), &mut contents)?;
                            (Entry { untidy: false, ..entry }, false)
                        }
                        None => {
                            self.sweep(doc, None, &mut contents)?;
                            (new_entry(now_ms), true)
                        }
                    };
                    entries.entry(doc).or_insert(known)
                }
            };
            append_one(append, entry, now_ms, &mut contents)?;
        }
        // A catalogue entry is never in an earlier batch than the contents it names, so that the order holds even if
        // sled did not keep its batches whole.
        let mut catalogue = Batches::default();
        let mut root = writer.root;
        for (doc, (entry, is_new)) in &entries {
            root.documents += u64::from(*is_new);
            catalogue.insert_entry(doc, entry, &root);
        }
        self.apply(&mut writer, OP, contents)?;
        self.apply(&mut writer, OP, catalogue)?;
        self.set_root(&mut writer, root);
        Ok(())
    }

    fn install_snapshot(&self, doc: &DocName, snapshot: &Snapshot, now_ms: u64) -> Result<(), StoreError> {
        self.install(doc, snapshot, now_ms, &mut |_| {})
    }

    fn make_durable(&self) -> Result<(), StoreError> {
        const OP: &str = "sync";
        let mut writer = self.writer(OP)?;
        let root = Root { checkpoint: writer.root.checkpoint + 1, ..writer.root };
        let mut batches = Batches::default();
        batches.insert(keys::ROOT, &record::encode_root(&root));
        self.apply(&mut writer, OP, batches)?;
        self.set_root(&mut writer, root);
        self.sync_engine(&mut writer, OP)?;
        // Only now: a marker ahead of the database would accuse it of a loss.
        self.write(&mut writer, OP, || Ok(write_marker(&self.dir, root.checkpoint)?))
    }

    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        caught(|| self.db().size_on_disk()).map_err(|why| StoreError::Engine { op: "size", source: why.into() })
    }

    fn documents(&self) -> Result<u64, StoreError> {
        Ok(self.documents.load(Ordering::Relaxed))
    }
}

/// Whether this call creates the document.
type IsNew = bool;

/// Encodes what is new of `append` as one record and enters it into `entry`.
fn append_one(append: &LogAppend, entry: &mut Entry, now_ms: u64, batches: &mut Batches) -> Result<(), StoreError> {
    let head = &mut entry.head;
    let new = append.after(head.last_seq)?;
    let (Some((first, _)), Some((last, _))) = (new.first(), new.last()) else { return Ok(()) };
    let payloads: Vec<&Bytes> = new.iter().map(|(_, update)| update).collect();
    let bytes = record::encode_updates(&append.doc, RecordKind::Log, first.0, last.0, &payloads);
    batches.insert_chunks(Keyspace::Log, &append.doc, last.0, &bytes);
    head.last_seq = *last;
    head.log_records += 1;
    head.log_updates += payloads.len() as u64;
    head.log_bytes += payloads.iter().map(|u| u.len() as u64).sum::<u64>();
    head.updated_ms = now_ms;
    Ok(())
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let db = self.db.take();
        // sled syncs its file while it is dropped and panics if that fails, which would end the process in the midst of
        // a shutdown that has to go on. What must be durable is so already.
        let _ = panic::catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// Changes gathered into batches of at most about [`BATCH_BYTES`], to be applied in order.
#[derive(Default)]
struct Batches {
    full: Vec<sled::Batch>,
    open: sled::Batch,
    open_bytes: usize,
}

impl Batches {
    fn insert(&mut self, key: &[u8], value: &[u8]) {
        self.make_room(key.len() + value.len());
        self.insert_here(key, value);
    }

    /// A catalogue entry and, in the same batch, the root record that counts it.
    fn insert_entry(&mut self, doc: &DocName, entry: &Entry, root: &Root) {
        let (key, value) = (keys::head(doc), record::encode_entry(doc, entry));
        let root = record::encode_root(root);
        self.make_room(key.len() + value.len() + root.len());
        self.insert_here(&key, &value);
        self.insert_here(keys::ROOT, &root);
    }

    fn insert_here(&mut self, key: &[u8], value: &[u8]) {
        debug_assert!(key.len() + value.len() <= STORE_ENTRY_BYTES_MAX, "ST6");
        self.open.insert(key, value);
    }

    fn remove(&mut self, key: sled::IVec) {
        self.make_room(key.len());
        self.open.remove(key);
    }

    /// Cuts a record into chunks that keep ST6.
    fn insert_chunks(&mut self, space: Keyspace, doc: &DocName, number: u64, bytes: &[u8]) {
        let chunk_bytes = STORE_ENTRY_BYTES_MAX - keys::chunk_key_bytes(doc);
        for (chunk, value) in (0u32..).zip(bytes.chunks(chunk_bytes)) {
            self.insert(&keys::chunk(space, doc, number, chunk), value);
        }
    }

    fn make_room(&mut self, bytes: usize) {
        if self.open_bytes + bytes > BATCH_BYTES {
            self.full.push(std::mem::take(&mut self.open));
            self.open_bytes = 0;
        }
        self.open_bytes += bytes;
    }
}

const ENTRY: &str = "its catalogue entry";

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
    };
    Entry { head, generation: 0, untidy: false }
}

fn damaged(doc: &DocName, what: impl Into<String>, why: String) -> StoreError {
    StoreError::Damaged { doc: doc.clone(), what: what.into(), why }
}

fn decode_entry(doc: &DocName, raw: &[u8]) -> Result<Entry, StoreError> {
    record::decode_entry(doc, raw).map_err(|flaw| damaged(doc, ENTRY, flaw.to_string()))
}

fn decode_updates(
    doc: &DocName,
    what: impl Fn() -> String,
    kind: RecordKind,
    bytes: Bytes,
) -> Result<UpdateRecord, StoreError> {
    record::decode_updates(doc, kind, bytes).map_err(|flaw| damaged(doc, what(), flaw.to_string()))
}

/// Calls sled and turns its errors and its panics into text.
fn caught<T>(f: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(e))) => Err(e.to_string()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(cause) => Err(panicked(&*cause)),
    }
}

fn panicked(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("no reason given"))
}

// ---- opening ------------------------------------------------------------------------------------------------------

fn open_engine(dir: &Path) -> Result<sled::Db, String> {
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
fn broken(dir: &Path, why: &str) -> String {
    format!(
        "the database in {} cannot be used: {why}; keep the data directory as it is for a look at what is left, and start \
         weft on a copy from before, with --data",
        dir.display()
    )
}

/// The last durable checkpoint, if the database was ever created.
fn read_marker(dir: &Path) -> Result<Option<u64>, String> {
    let path = dir.join(MARKER);
    match fs::read(&path) {
        Ok(bytes) => match record::decode_root(&bytes) {
            Ok(root) => Ok(Some(root.checkpoint)),
            Err(flaw) => Err(broken(dir, &format!("the file {MARKER} is damaged: {flaw}"))),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{} cannot be read: {e}", path.display())),
    }
}

/// Replaces the marker whole or not at all.
fn write_marker(dir: &Path, checkpoint: u64) -> io::Result<()> {
    let new = dir.join(MARKER_NEW);
    let mut file = File::create(&new)?;
    file.write_all(&record::encode_root(&Root { documents: 0, checkpoint }))?;
    file.sync_all()?;
    fs::rename(&new, dir.join(MARKER))?;
    sync_dir(dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
