//! A vacuum: killed at each step, stopped, on damaged databases, under readers.

use super::super::super::DamagedEntry;
use super::super::vacuum::VacuumStep;
use super::*;

fn go_on(_: VacuumProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A store `store` in a directory of its own, with dead bytes in it.
fn used() -> (TempDir, SledStore) {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(&dir.path().join("store"));
    for round in 0..8 {
        store.append(&[append("d", round * 50 + 1, round * 50 + 50)], 1).expect("appends");
        store.append(&[append("other", round + 1, round + 1)], 1).expect("appends");
        store.install_snapshot(&doc("d"), &snapshot(round * 50 + 40, &[&"s".repeat(20_000)]), 1).expect("installs");
    }
    store.make_durable().expect("syncs");
    (dir, store)
}

fn shown(store: &SledStore) -> [String; 2] {
    ["d", "other"].map(|name| show(store, name))
}

fn beside(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("lists").map(|e| e.expect("lists").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn s12_killed_at_any_step_of_a_vacuum() {
    use VacuumStep::*;
    let (dir, store) = used();
    let copies = TempDir::new().expect("a temporary directory");
    let before = shown(&store);
    let mut steps = Vec::new();
    let copy_of = |step: VacuumStep| copies.path().join(format!("{step:?}"));
    store
        .vacuum_engine(&mut go_on, &mut |step| {
            copy_dir(dir.path(), &copy_of(step));
            steps.push(step);
        })
        .expect("vacuums");
    assert_eq!(steps, [Begun, Copied, CopyDurable, Verified, Complete, Exchanged, Opened, Removed]);
    assert_eq!(shown(&store), before);
    let reached = |store: &SledStore| store.writer("test").expect("writes").root.checkpoint;
    let new = reached(&store);
    for step in steps {
        let crashed_dir = copy_of(step);
        let left = if step == Removed { vec!["store"] } else { vec!["store", "store.vacuum"] };
        assert_eq!(beside(&crashed_dir), left, "{step:?}");
        let crashed = open(&crashed_dir.join("store"));
        assert_eq!(beside(&crashed_dir), ["store"], "{step:?}: something is left over");
        assert_eq!(shown(&crashed), before, "{step:?}");
        assert_eq!(crashed.documents().expect("counts"), 2, "{step:?}");
        assert_eq!(reached(&crashed) == new, matches!(step, Complete | Exchanged | Opened | Removed), "{step:?}");
        // It lives on, through another restart and another vacuum.
        crashed.append(&[append("d", 1, 420), append("new", 1, 1)], 2).expect("appends");
        crashed.make_durable().expect("syncs");
        drop(crashed);
        let again = open(&crashed_dir.join("store"));
        assert!(show(&again, "d").ends_with("420:d#420]"), "{step:?}");
        again.vacuum(&mut go_on).expect("vacuums");
        assert_eq!(again.documents().expect("counts"), 3, "{step:?}");
    }
}

/// A kill while the next start removes or exchanges what the last one left.
#[test]
fn s12_settling_can_be_cut_short_too() {
    let (dir, store) = used();
    let before = shown(&store);
    let copies = TempDir::new().expect("a temporary directory");
    store
        .vacuum_engine(&mut go_on, &mut |step| {
            if step == VacuumStep::Complete {
                copy_dir(dir.path(), copies.path());
            }
        })
        .expect("vacuums");
    // The exchange was made, the removal had begun: first the marker is gone, then everything else, in any order.
    let [store_dir, copy] = ["store", "store.vacuum"].map(|name| copies.path().join(name));
    swap::exchange(&store_dir, &copy).expect("trades names");
    for gone in [MARKER, "conf", "db"] {
        fs::remove_file(copy.join(gone)).expect("removes");
        let cut_short = TempDir::new().expect("a temporary directory");
        copy_dir(copies.path(), cut_short.path());
        assert_eq!(shown(&open(&cut_short.path().join("store"))), before, "{gone}");
        assert_eq!(beside(cut_short.path()), ["store"], "{gone}");
    }
}

#[test]
fn s12_a_stopped_vacuum_changes_nothing() {
    let (dir, store) = used();
    let (before, bytes) = (shown(&store), store.bytes_on_disk().expect("measures"));
    for stop_at in 0..3 {
        let mut told = 0;
        let stopped = store.vacuum(&mut |_| {
            told += 1;
            if told > stop_at { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // A small database is copied in one go, so there may be no third word.
        let Err(stopped) = stopped else { break };
        assert!(stopped.to_string().contains("nothing has changed"), "{stopped}");
        assert_eq!(beside(dir.path()), ["store"]);
        assert_eq!(shown(&store), before);
        assert!(store.bytes_on_disk().expect("measures") >= bytes);
        store.append(&[append("other", 1, 9)], 1).expect("writes go on");
    }
}

#[test]
fn s12_the_disk_gets_back_what_is_dead() {
    let dir = TempDir::new().expect("a temporary directory");
    let store = open(&dir.path().join("store"));
    let updates = |seq| vec![(Seq(seq), Bytes::from(vec![seq as u8; 400]))];
    for seq in 1..=4 {
        let appends = (0..5_000).map(|n| LogAppend { doc: doc(&format!("d{n}")), updates: updates(seq) });
        store.append(&appends.collect::<Vec<_>>(), 1).expect("appends");
        store.make_durable().expect("syncs");
    }
    for n in 0..4_500 {
        let mut batches = Batches::default();
        store.sweep(&doc(&format!("d{n}")), None, &mut batches).expect("sweeps");
        batches.remove(keys::head(&doc(&format!("d{n}"))).into(), 0);
        store.apply(&mut store.writer("test").expect("writes"), "test", batches).expect("removes");
    }
    let report = store.vacuum(&mut go_on).expect("vacuums");
    assert_eq!(report.documents, 500);
    assert_eq!(report.disk_bytes_after, store.bytes_on_disk().expect("measures"));
    let Vacuumed { disk_bytes_before, disk_bytes_after, live_bytes_after, .. } = report;
    assert!(disk_bytes_after * 4 < disk_bytes_before, "{disk_bytes_before} before, {disk_bytes_after} after");
    assert!(live_bytes_after > 500 * 1_600, "{live_bytes_after}");
}

/// Damage goes over as it is, and is named; the sound documents are not touched by it.
#[test]
fn s12_damaged_records_are_moved_and_named() {
    let (_dir, store) = used();
    store.append(&[append("entry", 1, 2), append("lost", 1, 2)], 1).expect("appends");
    let before = shown(&store)[1].clone();
    let put = |key: &[u8], value: &[u8]| drop(store.db().expect("is open").insert(key, value).expect("inserts"));
    let (key, value) = store
        .db()
        .expect("is open")
        .range(keys::chunks(Keyspace::Snapshot, &doc("d")))
        .next()
        .expect("has a snapshot")
        .expect("reads");
    let mut flipped = value.to_vec();
    flipped[100] ^= 1;
    put(&key, &flipped);
    put(&keys::head(&doc("entry")), b"garbage");
    put(b"?", b"?");
    store.db().expect("is open").remove(keys::head(&doc("lost"))).expect("removes");
    let report = store.vacuum(&mut go_on).expect("vacuums");
    let named: Vec<_> = report.damaged.iter().map(|d| (d.doc.as_ref().map(DocName::as_str), &*d.what)).collect();
    let expected = [
        (None, "the key \"?\""),
        (Some("entry"), "its catalogue entry"),
        (Some("lost"), "its catalogue entry"),
        (Some("d"), "snapshot 8"),
    ];
    assert_eq!((named.as_slice(), report.damaged_records), (&expected[..], 4));
    let DamagedEntry { why, .. } = &report.damaged[3];
    assert!(why.contains("checksum"), "{why}");
    assert_eq!(store.db().expect("is open").get(&key).expect("reads").as_deref(), Some(&flipped[..]));
    assert!(matches!(store.load(&doc("d")), Err(StoreError::Damaged { .. })));
    assert!(matches!(store.load(&doc("entry")), Err(StoreError::Damaged { .. })));
    // Whatever can be made of chunks without an entry can still be made of them.
    assert_eq!(store.db().expect("is open").range(keys::chunks(Keyspace::Log, &doc("lost"))).count(), 1);
    assert_eq!(show(&store, "other"), before);
}

#[test]
fn s12_what_no_entry_names_is_left_behind() {
    let (_dir, store) = used();
    let before = shown(&store);
    let mut orphans = Batches::default();
    insert_orphan(&mut orphans, Keyspace::Log, &doc("d"), 9_000);
    insert_orphan(&mut orphans, Keyspace::Snapshot, &doc("d"), 77);
    store.apply(&mut store.writer("test").expect("writes"), "test", orphans).expect("writes");
    let report = store.vacuum(&mut go_on).expect("vacuums");
    assert_eq!((report.damaged_records, report.live_bytes_before - report.live_bytes_after > 18_000), (0, true));
    assert_eq!(shown(&store), before);
    assert_eq!(store.live_bytes().expect("counts"), report.live_bytes_after);
}

/// Another database put beside the store under the name of a vacuum's copy is not taken for one.
#[test]
fn s12_a_copy_that_no_vacuum_leaves_is_not_touched() {
    let (dir, store) = used();
    drop(store);
    let [ours, theirs] = ["store", "store.vacuum"].map(|name| dir.path().join(name));
    copy_dir(&ours, &theirs);
    let ahead = open(&theirs);
    ahead.make_durable().expect("syncs");
    ahead.make_durable().expect("syncs");
    drop(ahead);
    let refused = SledStore::open(&ours).err().expect("refuses").to_string();
    assert!(refused.contains("move away"), "{refused}");
    assert_eq!(beside(dir.path()), ["store", "store.vacuum"]);
    fs::remove_dir_all(&theirs).expect("removes");
    drop(open(&ours));
}

#[test]
fn s12_reads_go_on_while_it_runs() {
    let (_dir, store) = used();
    let before = shown(&store);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers = [0, 1].map(|_| {
            scope.spawn(|| {
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(shown(&store), before);
                    assert_eq!(store.list(Listed::All, "", None, 9).expect("lists").len(), 2);
                    reads += 1;
                }
                reads
            })
        });
        for _ in 0..5 {
            let mut progress = 0;
            store
                .vacuum(&mut |_| {
                    progress += 1;
                    // Within the vacuum itself, too.
                    assert_eq!(shown(&store), before);
                    ControlFlow::Continue(())
                })
                .expect("vacuums");
            assert!(progress > 0);
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            assert!(reader.join().expect("never fails") > 5);
        }
    });
}

/// A store from before live bytes were counted counts them once, when it is opened.
#[test]
fn s12_a_store_that_never_counted_counts_once() {
    let (dir, store) = used();
    let live = store.live_bytes().expect("counts");
    assert_eq!(live, engine::count_live(&store.db().expect("is open")).expect("counts"));
    let root = Root { live_bytes: None, ..store.writer("test").expect("writes").root };
    store.db().expect("is open").insert(keys::ROOT, record::encode_root(&root)).expect("inserts");
    drop(store);
    assert_eq!(open(&dir.path().join("store")).live_bytes().expect("counts"), live);
}
