//! What only the store on sled can get wrong: crashes between steps, damaged files, reopening.

use std::collections::BTreeMap;
use std::fs;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::contract::{append, delete, show, snapshot};
use super::super::keys::Keyspace;
use super::super::record::{Encoding, RecordKind};
use super::batches::BATCH_BYTES;
use super::delete::DeleteStep;
use super::install::InstallStep;
use super::marker::MARKER;
use super::*;
use crate::limits::STORE_ENTRY_BYTES_MAX;

/// A store that takes its directory with it.
struct Temporary {
    store: SledStore,
    _dir: TempDir,
}

impl Store for Temporary {
    fn load(&self, doc: &DocName) -> Result<Option<StoredDocument>, StoreError> {
        self.store.load(doc)
    }
    fn head(&self, doc: &DocName) -> Result<Option<DocHead>, StoreError> {
        self.store.head(doc)
    }
    fn list(
        &self,
        listed: Listed,
        prefix: &str,
        after: Option<&DocName>,
        limit: usize,
    ) -> Result<Vec<(DocName, DocHead)>, StoreError> {
        self.store.list(listed, prefix, after, limit)
    }
    fn delete(&self, deletions: &[Deletion]) -> Result<(), StoreError> {
        self.store.delete(deletions)
    }
    fn names(&self, after: Option<&DocName>, limit: usize) -> Result<Vec<DocName>, StoreError> {
        self.store.names(after, limit)
    }
    fn restore(&self, doc: &DocName, document: &StoredDocument) -> Result<(), StoreError> {
        self.store.restore(doc, document)
    }
    fn append(&self, appends: &[LogAppend], now_ms: u64) -> Result<(), StoreError> {
        self.store.append(appends, now_ms)
    }
    fn install_snapshot(&self, doc: &DocName, snapshot: &Snapshot, now_ms: u64) -> Result<(), StoreError> {
        self.store.install_snapshot(doc, snapshot, now_ms)
    }
    fn make_durable(&self) -> Result<(), StoreError> {
        self.store.make_durable()
    }
    fn reopen(&self) -> Result<(), StoreError> {
        self.store.reopen()
    }
    fn vacuum(&self, watch: &mut dyn FnMut(VacuumProgress) -> ControlFlow<()>) -> Result<Vacuumed, StoreError> {
        self.store.vacuum(watch)
    }
    fn live_bytes(&self) -> Result<u64, StoreError> {
        self.store.live_bytes()
    }
    fn live_bytes_of(&self, doc: &DocName) -> Result<u64, StoreError> {
        self.store.live_bytes_of(doc)
    }
    fn bytes_on_disk(&self) -> Result<u64, StoreError> {
        self.store.bytes_on_disk()
    }
    fn documents(&self) -> Result<u64, StoreError> {
        self.store.documents()
    }
}

fn temporary() -> Box<dyn Store> {
    let dir = TempDir::new().expect("a temporary directory");
    Box::new(Temporary { store: open(dir.path()), _dir: dir })
}

mod rules {
    contract::suite!(super::temporary);
    use super::super::super::contract;
}

fn open(dir: &Path) -> SledStore {
    SledStore::open(dir).expect("opens")
}

fn doc(name: &str) -> DocName {
    DocName::parse(name).expect("a valid name")
}

/// All keys of the database except the catalogue's and the root's.
fn chunk_keys(store: &SledStore) -> Vec<Vec<u8>> {
    let keys = store.db().expect("is open").iter().keys().map(|k| k.expect("iterates").to_vec());
    keys.filter(|k| k[0] == Keyspace::Log as u8 || k[0] == Keyspace::Snapshot as u8).collect()
}

/// Enters the chunks of a record of 9,000 bytes that no catalogue entry names.
fn insert_orphan(batches: &mut Batches, space: Keyspace, doc: &DocName, number: u64) {
    let updates = [Bytes::from_static(&[7; 9_000])];
    batches.insert_chunks(space, doc, number, &Encoding::new(doc, RecordKind::Log, number, number, updates.iter()));
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("lists") {
        let entry = entry.expect("lists");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("has a type").is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copies");
        }
    }
}

#[test]
fn st3_what_was_made_durable_is_there_after_a_crash() {
    let dir = TempDir::new().expect("a temporary directory");
    let crashed = TempDir::new().expect("a temporary directory");
    let store = open(&dir.path().join("store"));
    store.append(&[append("d", 1, 100)], 1).expect("appends");
    store.make_durable().expect("syncs");
    copy_dir(dir.path(), crashed.path());
    drop(store);
    let expected = show(&open(&dir.path().join("store")), "d");
    assert_eq!(show(&open(&crashed.path().join("store")), "d"), expected);
}

/// Copies the directory as the kernel knows it after each step of an installation, and opens each copy as after a
/// `kill -9`: the document is the old one or the new one, later writes work, and nothing is left over.
#[test]
fn st4_killed_at_any_step_of_an_installation() {
    use InstallStep::*;
    let big = "s".repeat(40_000);
    for new_document in [false, true] {
        let dir = TempDir::new().expect("a temporary directory");
        let copies = TempDir::new().expect("a temporary directory");
        let store = open(dir.path());
        let old = if new_document {
            "none".to_owned()
        } else {
            store.append(&[append("d", 1, 500), append("other", 1, 3)], 1).expect("appends");
            store.install_snapshot(&doc("d"), &snapshot(100, &[&"o".repeat(9_000)]), 2).expect("installs");
            store.append(&[append("d", 501, 510)], 3).expect("appends");
            show(&store, "d")
        };
        store.make_durable().expect("syncs");
        let mut steps = Vec::new();
        let covers = if new_document { 505 } else { 500 };
        store
            .install(&doc("d"), &snapshot(covers, &[&big]), 4, &mut |step| {
                copy_dir(dir.path(), &copies.path().join(format!("{step:?}")));
                // And as if all that sled was given so far had reached the disk.
                store.db().expect("is open").flush().expect("flushes");
                copy_dir(dir.path(), &copies.path().join(format!("{step:?}-flushed")));
                steps.push(step);
            })
            .expect("installs");
        assert_eq!(steps, [PlacesMade, ChunksWritten, ChunksDurable, Verified, Switched, SwitchDurable, Tidied]);
        let new = show(&store, "d");
        for step in steps {
            for flushed in ["", "-flushed"] {
                for next in ["append", "install"] {
                    let case = format!("{step:?}{flushed}");
                    let copy = TempDir::new().expect("a temporary directory");
                    copy_dir(&copies.path().join(&case), copy.path());
                    let case = format!("new document {new_document}, killed after {case}, then {next}");
                    let crashed = open(copy.path());
                    let found = show(&crashed, "d");
                    let switched = match (step, flushed) {
                        (PlacesMade | ChunksWritten | ChunksDurable | Verified, _) => false,
                        (Switched, "-flushed") | (SwitchDurable | Tidied, _) => true,
                        (Switched, _) => found == new,
                    };
                    assert_eq!(found, if switched { &*new } else { &*old }, "{case}");
                    let documents = u64::from(switched || !new_document) + u64::from(!new_document);
                    assert_eq!(crashed.documents().expect("counts"), documents, "{case}");

                    let last = crashed.head(&doc("d")).expect("asks").map_or(0, |h| h.last_seq.0);
                    if next == "append" {
                        crashed.append(&[append("d", last + 1, last + 2)], 5).expect("appends");
                    } else {
                        crashed.install_snapshot(&doc("d"), &snapshot(last + 2, &["next"]), 5).expect("installs");
                    }
                    let found = show(&crashed, "d");
                    let tail = format!("{}:d#{}]", last + 2, last + 2);
                    assert!(
                        if next == "append" { found.ends_with(&tail) } else { found.contains("[next] []") },
                        "{case}"
                    );
                    let entry = crashed.entry(&doc("d")).expect("asks").expect("is there");
                    assert!(!entry.untidy, "{case}");
                    let mut left = Batches::default();
                    crashed.sweep(&doc("d"), Some(&entry), &mut left).expect("scans");
                    assert_eq!(left.open_bytes, 0, "{case}: chunks are left over");
                }
            }
        }
    }
}

/// As above, for each step of a deletion: the document is whole or deleted, and deleted once the call got so far that
/// it could have been answered; replaying it finishes the work.
#[test]
fn st9_killed_at_any_step_of_a_deletion() {
    use DeleteStep::*;
    let dir = TempDir::new().expect("a temporary directory");
    let copies = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 500), append("e", 1, 3)], 1).expect("appends");
    store.install_snapshot(&doc("d"), &snapshot(400, &[&"s".repeat(20_000)]), 2).expect("installs");
    store.make_durable().expect("syncs");
    let old = ["d", "e"].map(|name| show(&store, name));
    let deletions =
        [("d", 501), ("e", 4), ("new", 2)].map(|(name, seq)| Deletion { doc: doc(name), seq: Seq(seq), at_ms: 7 });
    let mut steps = Vec::new();
    store
        .bury(&deletions, &mut |step| {
            copy_dir(dir.path(), &copies.path().join(format!("{step:?}")));
            store.db().expect("is open").flush().expect("flushes");
            copy_dir(dir.path(), &copies.path().join(format!("{step:?}-flushed")));
            steps.push(step);
        })
        .expect("deletes");
    assert_eq!(steps, [Buried, BurialDurable, Swept]);
    assert!(chunk_keys(&store).is_empty());
    for step in steps {
        for flushed in ["", "-flushed"] {
            for next in ["replay", "recreate"] {
                let copy = TempDir::new().expect("a temporary directory");
                copy_dir(&copies.path().join(format!("{step:?}{flushed}")), copy.path());
                let case = format!("killed after {step:?}{flushed}, then {next}");
                let crashed = open(copy.path());
                let found = ["d", "e"].map(|name| show(&crashed, name));
                let buried = ["@501 [] []", "@4 [] []"];
                let must_be = step != Buried || flushed == "-flushed";
                assert!(found == buried || (!must_be && found == old), "{case}: {found:?}");
                assert_eq!(crashed.documents().expect("counts"), if found == buried { 0 } else { 2 }, "{case}");
                // Whatever it was, the journal still has the deletion, and brings it again first of all.
                crashed.delete(&deletions).expect("deletes");
                assert_eq!(crashed.documents().expect("counts"), 0, "{case}");
                assert!(chunk_keys(&crashed).is_empty(), "{case}: chunks are left over");
                if next == "recreate" {
                    crashed.append(&[append("d", 502, 502), append("e", 5, 5)], 9).expect("appends");
                    assert_eq!(show(&crashed, "d"), "@501 [] [502:d#502]", "{case}");
                    assert_eq!(chunk_keys(&crashed).len(), 2, "{case}: chunks are left over");
                }
            }
        }
    }
}

#[test]
fn st9_tombstones_outlive_a_restart_and_are_nothing_but_entries() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 50), append("e", 1, 1)], 1).expect("appends");
    delete(&store, "d", 51, 2);
    store.make_durable().expect("syncs");
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.head(&doc("d")).expect("asks").and_then(|head| head.deleted_ms), Some(2));
    assert_eq!((store.documents().expect("counts"), chunk_keys(&store).len()), (1, 1));
}

#[test]
fn st4_a_log_record_without_its_entry_is_swept_by_the_next_append() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 2)], 1).expect("appends");
    let mut orphan = Batches::default();
    insert_orphan(&mut orphan, Keyspace::Log, &doc("d"), 4);
    insert_orphan(&mut orphan, Keyspace::Log, &doc("d"), 9);
    insert_orphan(&mut orphan, Keyspace::Log, &doc("new"), 1);
    // Of a large one the crash left its places only.
    let large = [Bytes::from_static(&[7; 40_000])];
    let large = Encoding::new(&doc("d"), RecordKind::Log, 6, 6, large.iter());
    orphan.insert_places(Keyspace::Log, &doc("d"), 6, &large);
    store.apply(&mut store.writer("test").expect("writes"), "test", orphan).expect("writes");
    assert_eq!(show(&store, "d"), "@0 [] [1:d#1 2:d#2]");
    store.append(&[append("d", 3, 6), append("new", 1, 2)], 2).expect("appends");
    assert_eq!(show(&store, "d"), "@0 [] [1:d#1 2:d#2 3:d#3 4:d#4 5:d#5 6:d#6]");
    assert_eq!(show(&store, "new"), "@0 [] [1:new#1 2:new#2]");
    assert_eq!(chunk_keys(&store).len(), 3);
}

#[test]
fn st5_tidied_means_that_nothing_is_left() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    for round in 0..5 {
        store.append(&[append("d", round * 50 + 1, round * 50 + 50)], 1).expect("appends");
        store.install_snapshot(&doc("d"), &snapshot(round * 50 + 50, &["x"]), 1).expect("installs");
    }
    assert_eq!(chunk_keys(&store).len(), 1);
}

/// What is removed goes part by part, and a crash, or a disk that fails, may come between two of them.
#[test]
fn st5_what_is_left_of_a_tidying_that_was_cut_short_is_no_damage() {
    let dir = TempDir::new().expect("a temporary directory");
    let copy = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    let updates = vec![(Seq(1), Bytes::from(vec![7; 3 * BATCH_BYTES]))];
    store.append(&[LogAppend { doc: doc("d"), updates }], 1).expect("appends");
    store
        .install(&doc("d"), &snapshot(1, &["state"]), 2, &mut |step| {
            if step == InstallStep::SwitchDurable {
                copy_dir(dir.path(), copy.path());
            }
        })
        .expect("installs");
    let cut_short = open(copy.path());
    let mut batches = Batches::default();
    let entry = cut_short.entry(&doc("d")).expect("reads");
    let whole = chunk_keys(&cut_short).len();
    cut_short.sweep(&doc("d"), entry.as_ref(), &mut batches).expect("finds what is left");
    let parts = batches.take_full();
    cut_short.apply(&mut cut_short.writer("test").expect("writes"), "test", parts).expect("writes");
    let left = chunk_keys(&cut_short).len();
    assert!(1 < left && left < whole, "{left} of {whole}");
    assert!(cut_short.examine(&doc("d")).expect("reads").is_whole());
    assert_eq!(show(&cut_short, "d"), "@1 [state] []");
    cut_short.append(&[append("d", 2, 2)], 3).expect("appends");
    assert_eq!(chunk_keys(&cut_short).len(), 2);
}

/// See [`Batches::insert_places`].
#[test]
fn st2_a_large_record_is_not_written_three_times() {
    const BYTES: usize = 8 << 20;
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    let before = store.bytes_on_disk().expect("asks");
    let updates = vec![(Seq(1), Bytes::from(vec![7; BYTES]))];
    store.append(&[LogAppend { doc: doc("d"), updates }], 1).expect("appends");
    store.make_durable().expect("syncs");
    let written = store.bytes_on_disk().expect("asks") - before;
    // 1.8 times as many; 2.7 without places, and more were written in between.
    assert!(written < BYTES as u64 * 9 / 4, "{written}");
}

#[test]
fn st6_no_entry_is_too_large() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    for name in ["d".to_owned(), "n".repeat(512)] {
        let updates = vec![(Seq(1), Bytes::from(vec![1; 50_000]))];
        store.append(&[LogAppend { doc: doc(&name), updates }], 1).expect("appends");
        store.install_snapshot(&doc(&name), &snapshot(1, &[&"s".repeat(50_000)]), 1).expect("installs");
        let updates = vec![(Seq(2), Bytes::from(vec![1; 50_000]))];
        store.append(&[LogAppend { doc: doc(&name), updates }], 1).expect("appends");
    }
    let sizes = store.db().expect("is open").iter().map(|kv| kv.map(|(k, v)| k.len() + v.len()).expect("iterates"));
    assert_eq!(sizes.max(), Some(STORE_ENTRY_BYTES_MAX));
}

/// Changes, shortens and removes each entry of a small database in turn (ST7).
#[test]
fn st7_a_damaged_entry_is_named_and_never_read_as_data() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 700), append("other", 1, 1)], 1).expect("appends");
    store.install_snapshot(&doc("d"), &snapshot(650, &[&"s".repeat(7_000)]), 1).expect("installs");
    store.append(&[append("d", 701, 702)], 1).expect("appends");
    let others = show(&store, "other");
    let before: Vec<_> = store.db().expect("is open").iter().map(|kv| kv.expect("iterates")).collect();
    let of_d = |k: &[u8]| k[1..].starts_with(b"d");
    let mut damaged_ones = 0;
    for (key, value) in before.iter().filter(|(k, _)| of_d(k)) {
        let mut flipped = value.to_vec();
        flipped[value.len() / 2] ^= 4;
        let swapped = before.iter().find(|(k, _)| !of_d(k) && k[0] == key[0]).map(|(_, v)| v.to_vec());
        for bad in [Some(flipped), Some(value[..value.len() - 1].to_vec()), Some(Vec::new()), swapped, None] {
            let is_removal_of_entry = bad.is_none() && key[0] == Keyspace::Head as u8;
            match bad {
                Some(bad) => drop(store.db().expect("is open").insert(key, bad).expect("inserts")),
                None => drop(store.db().expect("is open").remove(key).expect("removes")),
            }
            match store.load(&doc("d")) {
                Err(StoreError::Damaged { doc: named, .. }) => assert_eq!(named, doc("d")),
                Ok(None) if is_removal_of_entry => {}
                other => panic!("{key:?} was damaged and load returned {other:?}"),
            }
            assert_eq!(show(&store, "other"), others);
            damaged_ones += 1;
            store.db().expect("is open").insert(key, value).expect("restores");
        }
    }
    assert!(damaged_ones > 20);
    store.load(&doc("d")).expect("is sound again");
}

#[test]
fn st7_a_damaged_catalogue_entry_is_not_overwritten() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 2)], 1).expect("appends");
    store.db().expect("is open").insert(keys::head(&doc("d")), b"garbage").expect("inserts");
    let is_damaged = |r: Result<(), StoreError>| matches!(r, Err(StoreError::Damaged { .. }));
    assert!(is_damaged(store.append(&[append("d", 1, 3)], 2)));
    assert!(is_damaged(store.install_snapshot(&doc("d"), &snapshot(3, &["s"]), 2)));
    assert!(is_damaged(store.head(&doc("d")).map(drop)));
    let listed = store.list(Listed::Live, "", None, 9).expect("names the others, and this one");
    assert_eq!(listed.iter().map(|(doc, head)| (doc.as_str(), head.damaged)).collect::<Vec<_>>(), [("d", true)]);
    store.append(&[append("e", 1, 1)], 2).expect("other documents go on");
}

#[test]
fn s5_a_lost_database_is_not_replaced_by_an_empty_one() {
    let text = |dir: &Path| SledStore::open(dir).err().map(|e| e.to_string()).expect("refuses to open");
    let make = || {
        let dir = TempDir::new().expect("a temporary directory");
        let store = open(dir.path());
        store.append(&[append("d", 1, 2)], 1).expect("appends");
        store.make_durable().expect("syncs");
        dir
    };
    let lost = make();
    fs::remove_file(lost.path().join("db")).expect("removes");
    assert!(text(lost.path()).contains("its data file is missing"), "{}", text(lost.path()));
    assert!(!lost.path().join("db").exists());

    let emptied = make();
    fs::write(emptied.path().join("db"), b"").expect("writes");
    assert!(text(emptied.path()).contains("on a copy from before"));

    let marker = make();
    fs::write(marker.path().join(MARKER), b"?").expect("writes");
    assert!(text(marker.path()).contains("CHECKPOINT is damaged"));

    // An older copy of the database beside a newer marker: something that was durable is gone.
    let older = make();
    let newer = TempDir::new().expect("a temporary directory");
    copy_dir(older.path(), newer.path());
    open(newer.path()).make_durable().expect("syncs");
    fs::copy(newer.path().join(MARKER), older.path().join(MARKER)).expect("copies");
    assert!(text(older.path()).contains("it ends at checkpoint 2, yet 3 had been reached"), "{}", text(older.path()));

    let foreign = TempDir::new().expect("a temporary directory");
    sled::open(foreign.path()).expect("opens").insert("k", "v").expect("inserts");
    assert!(text(foreign.path()).contains("not weft's"));
}

#[test]
fn s5_a_database_whose_making_was_cut_short_is_made_again() {
    let whole = TempDir::new().expect("a temporary directory");
    drop(open(whole.path()));
    let settings = fs::read(whole.path().join("conf")).expect("reads");
    for len in [0, 8, 9, settings.len() / 2, settings.len() - 4, settings.len() - 1, settings.len()] {
        let dir = TempDir::new().expect("a temporary directory");
        fs::create_dir(dir.path().join("blobs")).expect("creates");
        fs::write(dir.path().join("conf"), &settings[..len]).expect("writes");
        let store = SledStore::open(dir.path()).unwrap_or_else(|e| panic!("{len} bytes of settings: {e}"));
        store.append(&[append("d", 1, 2)], 1).expect("appends");
    }
}

#[test]
fn s5_a_database_of_garbage_is_an_error_again_and_again() {
    let dir = TempDir::new().expect("a temporary directory");
    drop(open(dir.path()));
    let garbage = vec![0xa5; 2 << 20];
    fs::write(dir.path().join("db"), &garbage).expect("writes");
    // sled cuts off what it cannot read while it opens, so the second time it finds an empty file.
    for _ in 0..2 {
        let error = SledStore::open(dir.path()).err().expect("refuses to open").to_string();
        assert!(error.contains("on a copy from before"), "{error}");
    }
}

#[test]
fn s7_after_a_failed_write_nothing_more_is_written_but_reads_go_on() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 2)], 1).expect("appends");
    // Syncing lists this directory.
    fs::remove_dir(dir.path().join("blobs")).expect("removes");
    store.make_durable().expect_err("fails");
    fs::create_dir(dir.path().join("blobs")).expect("creates");
    let error = store.append(&[append("d", 3, 3)], 2).expect_err("refuses").to_string();
    assert!(error.contains("an earlier write failed"), "{error}");
    store.make_durable().expect_err("is not tried again");
    assert_eq!(show(&store, "d"), "@0 [] [1:d#1 2:d#2]");
}

#[test]
fn s9_a_failed_write_is_left_by_opening_anew() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 2)], 1).expect("appends");
    store.make_durable().expect("syncs");
    store.append(&[append("d", 3, 3)], 1).expect("appends");
    fs::remove_dir(dir.path().join("blobs")).expect("removes");
    store.make_durable().expect_err("fails");
    fs::create_dir(dir.path().join("blobs")).expect("creates");
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !stop.load(Ordering::Relaxed) {
                assert!(show(&store, "d").starts_with("@0 [] [1:d#1 2:d#2"));
                reads += 1;
            }
            reads
        });
        store.reopen().expect("opens anew");
        stop.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("never fails") > 0);
    });
    store.append(&[append("d", 1, 4)], 2).expect("takes writes again");
    store.make_durable().expect("syncs");
    store.reopen().expect("has nothing to do");
    drop(store);
    assert_eq!(show(&open(dir.path()), "d"), "@0 [] [1:d#1 2:d#2 3:d#3 4:d#4]");
}

#[test]
fn s7_a_failed_sync_is_left_by_a_restart_only() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 2)], 1).expect("appends");
    store.writer("test").expect("writes").failed = Some(Failed::sync("planted failure"));
    let error = store.append(&[append("d", 3, 3)], 2).expect_err("refuses").to_string();
    assert!(error.contains("until a restart"), "{error}");
    let error = store.reopen().expect_err("refuses").to_string();
    assert!(error.contains("planted failure"), "{error}");
    assert_eq!(show(&store, "d"), "@0 [] [1:d#1 2:d#2]");
}

/// A database that is broken by the time it is opened anew is not replaced by an empty one, and can be put back.
#[test]
fn s5_what_does_not_open_anew_is_said_to_readers_until_it_does() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 2)], 1).expect("appends");
    store.make_durable().expect("syncs");
    store.writer("test").expect("writes").failed = Some(Failed::write("planted failure"));
    let (database, aside) = (dir.path().join("db"), dir.path().join("aside"));
    for part in [MARKER, "db"] {
        fs::rename(dir.path().join(part), &aside).expect("renames");
        let error = store.reopen().expect_err("does not open").to_string();
        assert!(error.contains("is missing"), "{error}");
        let unread = store.load(&doc("d")).expect_err("cannot be read").to_string();
        assert!(unread.contains("no database is open"), "{unread}");
        store.append(&[append("d", 3, 3)], 2).expect_err("refuses");
        fs::rename(&aside, dir.path().join(part)).expect("renames");
        assert!(database.exists());
        store.reopen().expect("opens anew");
        assert_eq!(show(&store, "d"), "@0 [] [1:d#1 2:d#2]");
        store.writer("test").expect("writes").failed = Some(Failed::write("planted failure"));
    }
}

#[test]
fn loads_race_with_compactions_and_never_see_a_mixture() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(dir.path());
    store.append(&[append("d", 1, 200)], 1).expect("appends");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..60 {
                let last = 200 + round * 50;
                store.append(&[append("d", last - 49, last)], 1).expect("appends");
                let big = last.to_string().repeat(3_000);
                store.install_snapshot(&doc("d"), &snapshot(last - 7, &[&big]), 1).expect("installs");
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            // `show` asks for the head too, which may be newer, so this checks by itself.
            let stored = store.load(&doc("d")).expect("loads").expect("is there");
            let last = stored.log.last().expect("has a log").0;
            assert_eq!(stored.head.last_seq, last);
            if let Some(first) = stored.snapshot.first() {
                let covers = stored.head.snapshot_seq.0;
                assert!(first.starts_with((covers + 7).to_string().as_bytes()));
                assert_eq!(stored.log.first().expect("has a log").0, Seq(covers + 1));
            }
        }
    });
}

mod vacuum;

// ---- random operations against a model ----------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Op {
    /// For each document (by number): how far back to replay, how many new updates, of what size.
    Append(Vec<(usize, u64, u64, usize)>),
    /// Document, how far from the end of the log (negative: beyond), size.
    Install(usize, i64, usize),
    /// Document, how far after the end of the log (negative: a replay).
    Delete(usize, i64),
    MakeDurable,
    Reopen,
    Vacuum,
}

fn op() -> impl Strategy<Value = Op> {
    let one = (0..4usize, 0..6u64, 0..8u64, prop_oneof![4 => 0..50usize, 1 => 2_000..9_000usize]);
    prop_oneof![
        6 => prop::collection::vec(one, 1..6).prop_map(Op::Append),
        3 => (0..4usize, -3..10i64, prop_oneof![0..50usize, 2_000..9_000usize])
            .prop_map(|(doc, back, size)| Op::Install(doc, back, size)),
        2 => (0..4usize, -2..4i64).prop_map(|(doc, ahead)| Op::Delete(doc, ahead)),
        1 => Just(Op::MakeDurable),
        1 => Just(Op::Reopen),
        1 => Just(Op::Vacuum),
    ]
}

/// The plainest thing that could be right: all updates ever, and the last snapshot.
#[derive(Default)]
struct Model {
    updates: BTreeMap<u64, Bytes>,
    snapshot: Option<(u64, Bytes)>,
    last: u64,
    /// Position of the last deletion.
    base: u64,
    deleted: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn st1_to_st5_and_st9_agree_with_the_model(ops in prop::collection::vec(op(), 1..40)) {
        const NAMES: [&str; 4] = ["d", "dd", "d/x", "e"];
        let dir = TempDir::new().expect("a temporary directory");
        let mut store = Some(open(dir.path()));
        let mut models: [Model; 4] = Default::default();
        for op in ops {
            let open_store = store.as_ref().expect("is open");
            match op {
                Op::Append(parts) => {
                    let mut appends = Vec::new();
                    for (doc_index, back, new, size) in parts {
                        let model = &mut models[doc_index];
                        let from = model.last.saturating_sub(back) + 1;
                        let to = model.last + new;
                        let update = |seq: u64| Bytes::from(vec![seq as u8; size]);
                        for seq in model.last + 1..=to {
                            model.updates.insert(seq, update(seq));
                        }
                        model.deleted &= to == model.last;
                        model.last = to;
                        let updates = (from..=to).map(|seq| (Seq(seq), update(seq))).collect();
                        appends.push(LogAppend { doc: doc(NAMES[doc_index]), updates });
                    }
                    open_store.append(&appends, 1).expect("appends");
                }
                Op::Install(doc_index, back, size) => {
                    let model = &mut models[doc_index];
                    let covers = model.last.saturating_add_signed(-back);
                    let update = Bytes::from(vec![covers as u8; size]);
                    let reaches = model.snapshot.as_ref().map_or(model.base, |(at, _)| *at);
                    if covers >= reaches && !(model.deleted && covers <= model.last) {
                        model.deleted = false;
                        model.snapshot = Some((covers, update.clone()));
                        model.last = model.last.max(covers);
                    }
                    let snapshot = Snapshot { covers: Seq(covers), updates: vec![update] };
                    open_store.install_snapshot(&doc(NAMES[doc_index]), &snapshot, 1).expect("installs");
                }
                Op::Delete(doc_index, ahead) => {
                    let model = &mut models[doc_index];
                    let seq = model.last.saturating_add_signed(ahead);
                    if seq > model.last {
                        *model = Model { last: seq, base: seq, deleted: true, ..Model::default() };
                    }
                    delete(open_store, NAMES[doc_index], seq, 1);
                }
                Op::Vacuum => drop(open_store.vacuum(&mut |_| ControlFlow::Continue(())).expect("vacuums")),
                Op::MakeDurable => open_store.make_durable().expect("syncs"),
                Op::Reopen => {
                    drop(store.take());
                    store = Some(open(dir.path()));
                }
            }
            let store = store.as_ref().expect("is open");
            for (name, model) in NAMES.iter().zip(&models) {
                let stored = store.load(&doc(name)).expect("loads");
                let exists = model.last > 0 || model.snapshot.is_some();
                prop_assert_eq!(stored.is_some(), exists);
                let Some(stored) = stored else { continue };
                let covers = model.snapshot.as_ref().map_or(model.base, |(at, _)| *at);
                prop_assert_eq!(stored.snapshot.first(), model.snapshot.as_ref().map(|(_, u)| u));
                let log: Vec<_> = model.updates.range(covers + 1..).map(|(s, u)| (Seq(*s), u.clone())).collect();
                prop_assert_eq!(stored.log, log);
                prop_assert_eq!(stored.head.last_seq, Seq(model.last));
                prop_assert_eq!(stored.head.deleted_ms.is_some(), model.deleted);
            }
            let counted = engine::count_live(&store.db().expect("is open")).expect("counts");
            prop_assert_eq!(store.live_bytes().expect("counts"), counted);
            let existing = models.iter().filter(|m| !m.deleted && (m.last > 0 || m.snapshot.is_some())).count();
            prop_assert_eq!(store.documents().expect("counts"), existing as u64);
            prop_assert_eq!(store.list(Listed::Live, "", None, 9).expect("lists").len(), existing);
        }
    }
}
