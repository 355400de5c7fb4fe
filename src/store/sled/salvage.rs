//! What to do when sled cannot open its database, or must not: look at its files without it, and rebuild the database from
//! what can be read.
//!
//! The new database is made whole and durable beside the old one, then the two change places, and the old one is kept.
//! A crash before the change leaves the old one in its place and the next attempt begins anew; a crash in the midst of it
//! leaves no database in its place and the new one beside it, which [`SledStore::finish_salvage`] puts there.

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use super::super::keys::{self, Key};
use super::super::record::{self, Root};
use super::super::{SalvageReport, StoreError, StoreSurvey};
use super::SledStore;
use super::batches::BATCH_BYTES;
use super::engine::{CACHE_BYTES, DATABASE, Engine, caught};
use super::log::{self, Bad, LogReading, snapshot_holds};
use super::marker::{MARKER, read_marker, sync_dir, write_marker};
use crate::limits::SURVEY_FLAWS_MAX;

/// What the new database is called until it takes its place.
const SALVAGED: &str = "salvaged";
/// What sled writes into its `conf`; weft never chose otherwise.
const CONF: &str = "segment_size: 524288\nuse_compression: false\nversion: 0.34\n";

impl SledStore {
    /// Looks at the files of the database in `dir` without opening it, and changes nothing. Blocking; reads all of it.
    ///
    /// Errors: of the file system only.
    pub fn survey(dir: &Path) -> Result<StoreSurvey, StoreError> {
        survey(dir).map_err(|e| failed("look at", e))
    }

    /// Rebuilds the database in `dir` from what can be read of it, and moves the old one to `kept_in`, which must not be
    /// there. Blocking. Nobody may have the database open.
    ///
    /// Errors: of the file system, or of sled while it writes the new one; the old one is then where it was.
    pub fn salvage(dir: &Path, kept_in: &Path) -> Result<SalvageReport, StoreError> {
        let mut report = rebuild(dir)?;
        let swap = || -> io::Result<()> {
            if let Some(parent) = kept_in.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(dir, kept_in)?;
            fs::rename(beside(dir), dir)?;
            for changed in [dir.parent(), kept_in.parent()].into_iter().flatten() {
                sync_dir(changed)?;
            }
            Ok(())
        };
        swap().map_err(|e| failed("replace", e))?;
        report.kept_in = kept_in.to_owned();
        Ok(report)
    }

    /// Puts a rebuilt database into its place if a crash came in between. Whether it did.
    pub fn finish_salvage(dir: &Path) -> Result<bool, StoreError> {
        let new = beside(dir);
        if dir.exists() || !new.join(MARKER).exists() {
            return Ok(false);
        }
        let rename = || fs::rename(&new, dir).and_then(|()| dir.parent().map_or(Ok(()), sync_dir));
        rename().map_err(|e| failed("replace", e))?;
        Ok(true)
    }
}

fn beside(dir: &Path) -> PathBuf {
    dir.with_extension(SALVAGED)
}

fn failed(op: &'static str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Engine { op, source: error.into() }
}

/// The checkpoint in a value, if the value is a root record.
pub(super) fn checkpoint_in(value: &[u8]) -> Option<u64> {
    record::decode_root(value).ok().map(|root| root.checkpoint)
}

fn survey(dir: &Path) -> io::Result<StoreSurvey> {
    let mut survey = StoreSurvey::default();
    let marked = match read_marker(dir) {
        Ok(marked) => marked,
        Err(_) => {
            survey.note(format!("the file {MARKER} is damaged"));
            None
        }
    };
    match fs::metadata(dir.join(DATABASE)) {
        Ok(meta) if meta.len() > 0 || (marked.is_none() && survey.flaws.is_empty()) => {}
        Ok(_) => {
            survey.note(format!("the file {DATABASE} is empty"));
            return Ok(survey);
        }
        // Never opened: there is nothing that could be damaged.
        Err(e) if e.kind() == io::ErrorKind::NotFound && marked.is_none() && survey.flaws.is_empty() => {
            return Ok(survey);
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            survey.note(format!("the file {DATABASE} is missing"));
            return Ok(survey);
        }
        Err(e) => return Err(e),
    }
    if !fs::read(dir.join("conf")).is_ok_and(|conf| conf_holds(&conf)) {
        survey.note("the file conf is damaged or missing".to_owned());
    }
    for file in fs::read_dir(dir)? {
        let file = file?;
        let name = file.file_name();
        let is_snapshot = name.to_str().is_some_and(|name| name.starts_with("snap.") && !name.ends_with(".generating"));
        if is_snapshot && !snapshot_holds(&fs::read(file.path())?) {
            survey.note(format!("the page table in {} is damaged", name.to_string_lossy()));
        }
    }
    let checked = log::check(dir, true, &checkpoint_in)?;
    let reading = log::read(dir, checked.end(marked.unwrap_or(0)), &is_key)?;
    survey.keys = reading.keys().count() as u64;
    let root = newest_root(&reading)?;
    // Without a marker: the root record of a checkpoint is written when the marker of the one before it is there. So a
    // first one that was cut short has none, and nothing was durable yet; of a later one it was lost.
    let reached = marked.unwrap_or_else(|| root.map_or(0, |root| root.checkpoint.saturating_sub(1)));
    if checked.is_damaged(reached) {
        let missing = checked.bad.into_iter().filter(|bad| matches!(bad, Bad::Missing { .. }));
        let places = reading.bad.iter().cloned().map(Bad::Place);
        missing.chain(places).for_each(|bad| survey.note(bad.to_string()));
    }
    match (root, marked) {
        (None, Some(_)) => survey.note("the root record is lost".to_owned()),
        (Some(root), Some(marked)) if root.checkpoint < marked => {
            survey.note(format!("it ends at checkpoint {}, yet {marked} had been reached", root.checkpoint));
        }
        _ => {}
    }
    if survey.keys == 0 && !dir.join(MARKER).exists() {
        // Its making was cut short before it held anything; the next start makes it anew.
        survey.flaws.clear();
    }
    Ok(survey)
}

impl StoreSurvey {
    fn note(&mut self, flaw: String) {
        if self.flaws.len() < SURVEY_FLAWS_MAX {
            self.flaws.push(flaw);
        }
    }
}

/// Whether these are the settings that every database of weft has, and sled's checksum of them.
fn conf_holds(bytes: &[u8]) -> bool {
    let checksum = |crc: &[u8]| crc == crc32fast::hash(CONF.as_bytes()).to_le_bytes();
    bytes.strip_prefix(CONF.as_bytes()).is_some_and(checksum)
}

/// Whether sled's own checksum of its page table holds: the last four bytes, of all but the last twelve.
fn is_key(bytes: &[u8]) -> bool {
    Key::parse(bytes).is_some()
}

fn newest_root(reading: &LogReading) -> io::Result<Option<Root>> {
    Ok(reading.value(keys::ROOT)?.and_then(|value| record::decode_root(&value).ok()))
}

/// Makes the new database, whole and durable, beside the old one.
fn rebuild(dir: &Path) -> Result<SalvageReport, StoreError> {
    let new = beside(dir);
    if new.exists() {
        fs::remove_dir_all(&new).map_err(|e| failed("replace", e))?;
    }
    let marked = read_marker(dir).ok().flatten();
    let checked = log::check(dir, true, &checkpoint_in).map_err(|e| failed("read", e))?;
    let reading = log::read(dir, checked.end(marked.unwrap_or(0)), &is_key).map_err(|e| failed("read", e))?;
    let found = newest_root(&reading).map_err(|e| failed("read", e))?;
    let mut report = SalvageReport { counted: found.map(|root| root.documents), ..SalvageReport::default() };
    report.unreadable_bytes = reading.bad.iter().map(|place| place.bytes).sum();

    let engine = Engine::open(&new, CACHE_BYTES).map_err(|e| failed("create", e))?.engine;
    let (mut batch, mut batch_bytes) = (sled::Batch::default(), 0);
    for key in reading.keys() {
        let parsed = Key::parse(key);
        // Written last; and what is no key of ours cannot have been stored by us.
        if matches!(parsed, Some(Key::Root) | None) {
            continue;
        }
        let Some(value) = reading.value(key).map_err(|e| failed("read", e))? else { continue };
        if let Some(Key::Head(doc)) = parsed {
            let is_tombstone = record::decode_entry(&doc, &value).is_ok_and(|entry| entry.head.deleted_ms.is_some());
            report.documents += u64::from(!is_tombstone);
        }
        report.keys += 1;
        batch.insert(key, &value[..]);
        batch_bytes += key.len() + value.len();
        if batch_bytes >= BATCH_BYTES {
            batch_bytes = 0;
            caught(|| engine.db().apply_batch(mem::take(&mut batch))).map_err(|e| failed("write", e))?;
        }
    }
    // Ahead of both, so that neither accuses the new one of a loss.
    let checkpoint = found.map_or(0, |root| root.checkpoint).max(marked.unwrap_or(0)) + 1;
    let root = Root { documents: report.documents, checkpoint, live_bytes: None };
    batch.insert(keys::ROOT, record::encode_root(&root));
    caught(|| engine.db().apply_batch(batch)).map_err(|e| failed("write", e))?;
    engine.sync().map_err(|failure| failed("sync", failure.cause().to_owned()))?;
    write_marker(&new, checkpoint).map_err(|failure| failed("sync", failure.cause().to_owned()))?;
    drop(engine);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use bytes::Bytes;

    use super::super::super::{LogAppend, Store};
    use super::*;
    use crate::ids::{DocName, Seq};

    fn doc(n: u64) -> DocName {
        DocName::parse(&format!("notes/{n}")).unwrap()
    }

    /// Documents with logs and snapshots, in more than one of sled's segments.
    fn filled(dir: &Path) -> u64 {
        let store = SledStore::open(dir).unwrap();
        for round in 1..=20 {
            let update = |n: u64| Bytes::from(vec![(n + round) as u8; 900]);
            let append = |n| LogAppend { doc: doc(n), updates: vec![(Seq(round), update(n))] };
            store.append(&(0..40).map(append).collect::<Vec<_>>(), 5).unwrap();
            store.make_durable().unwrap();
        }
        store.documents().unwrap()
    }

    #[test]
    fn s5_a_damaged_log_is_refused_untouched_and_rebuilt_with_little_loss() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("store");
        assert_eq!(filled(&dir), 40);
        assert_eq!(SledStore::survey(&dir).unwrap().flaws, Vec::<String>::new());
        // The first half of the log: what sled would cut off behind it is most of everything.
        let database = dir.join(DATABASE);
        let used = fs::read(&database).unwrap().iter().rposition(|b| *b != 0).unwrap() as u64;
        let file = fs::OpenOptions::new().read(true).write(true).open(&database).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, used / 2).unwrap();
        file.write_all_at(&[byte[0] ^ 1], used / 2).unwrap();
        // sled has written no snapshot of its page table yet that would let it pass over the damage.
        let before = fs::read(&database).unwrap();
        let refused = SledStore::open(&dir).err().expect("is refused").to_string();
        assert!(refused.contains("weft verify --repair"), "{refused}");
        assert!(fs::read(&database).unwrap() == before, "sled has not touched it");
        let survey = SledStore::survey(&dir).unwrap();
        assert!(survey.flaws.iter().any(|flaw| flaw.contains("damaged")), "{survey:?}");

        let kept = tmp.path().join("quarantine/store-1");
        let report = SledStore::salvage(&dir, &kept).unwrap();
        assert!(fs::read(kept.join(DATABASE)).unwrap() == before, "the old one is kept as it was");
        assert_eq!(report.kept_in, kept);
        assert!(report.unreadable_bytes > 0 && report.documents >= 39, "{report:?}");
        assert_eq!(SledStore::survey(&dir).unwrap().flaws, Vec::<String>::new());
        let store = SledStore::open(&dir).unwrap();
        assert_eq!(store.documents().unwrap(), report.documents);
        let whole =
            (0..40).filter(|n| store.load(&doc(*n)).is_ok_and(|d| d.is_some_and(|d| d.log.len() == 20))).count();
        assert!(whole >= 24, "one message holds a few keys, but only {whole} documents are whole");
    }

    /// Found by a cut of 4 bytes: the text alone was compared, so a repair saw nothing to do.
    #[test]
    fn settings_without_their_checksum_are_damaged() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("store");
        filled(&dir);
        let whole = fs::read(dir.join("conf")).unwrap();
        for len in 0..whole.len() {
            fs::write(dir.join("conf"), &whole[..len]).unwrap();
            assert_eq!(SledStore::survey(&dir).unwrap().flaws.len(), 1, "{len} of {} bytes", whole.len());
        }
        SledStore::salvage(&dir, &tmp.path().join("kept")).unwrap();
        assert_eq!(SledStore::open(&dir).unwrap().documents().unwrap(), 40);
    }

    #[test]
    fn a_crash_between_the_two_renames_is_finished() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("store");
        filled(&dir);
        assert!(!SledStore::finish_salvage(&dir).unwrap());
        rebuild(&dir).unwrap();
        assert!(!SledStore::finish_salvage(&dir).unwrap(), "the old one is in its place");
        fs::rename(&dir, tmp.path().join("kept")).unwrap();
        assert!(SledStore::finish_salvage(&dir).unwrap());
        assert_eq!(SledStore::open(&dir).unwrap().documents().unwrap(), 40);
    }
}
