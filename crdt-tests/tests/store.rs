//! The store on sled where the disk has its limits.

use bytes::Bytes;
use crdt_tests::mount::SmallDisk;
use weft::ids::{DocName, Seq};
use weft::store::{LogAppend, SledStore, Store, StoreError};

fn doc(number: u64) -> DocName {
    DocName::parse(&format!("full/{number}")).expect("a valid name")
}

fn update(number: u64) -> Bytes {
    // What does not compress, should anything want to.
    (0..40_000u64).map(|at| (at.wrapping_mul(number * 2 + 1).wrapping_mul(0x9e37_79b9) >> 24) as u8).collect()
}

fn append(store: &SledStore, number: u64) -> bool {
    let updates = vec![(Seq(1), update(number))];
    store.append(&[LogAppend { doc: doc(number), updates }], number).is_ok()
}

/// The disk fills up in the midst of writing; reads go on; with space again the store leaves the failed state without a
/// restart, has all that had been made durable, and takes the rest again.
#[test]
fn s9_after_a_full_disk_the_store_opens_anew_with_all_that_was_durable() {
    let Some(disk) = SmallDisk::mount(48 << 20) else { return };
    let dir = disk.outside().join("store");
    let store = SledStore::open(&dir).expect("opens");
    let (mut written, mut durable) = (0, 0);
    for round in 0..3 {
        let mut failed = false;
        while !failed {
            failed = !append(&store, written);
            written += u64::from(!failed);
            if !failed && written.is_multiple_of(7) {
                failed = store.make_durable().is_err();
                durable = if failed { durable } else { written };
            }
            if written == 100 * (round + 1) {
                disk.fill();
            }
        }
        assert!(written >= 100 * (round + 1), "it failed before the disk was full");
        let refused = store.append(&[], 1).expect_err("writes are refused").to_string();
        assert!(refused.contains("an earlier write found no room"), "{refused}");
        let refused = store.reopen().expect_err("there is no room yet").to_string();
        assert!(refused.contains("bytes are free"), "{refused}");
        let mut read = 0;
        for number in 0..durable {
            match store.load(&doc(number)) {
                Ok(stored) => {
                    assert_eq!(stored.expect("is there").log, [(Seq(1), update(number))]);
                    read += 1;
                }
                // sled reads no page whose last version it could not write. That is no damage.
                Err(StoreError::Engine { .. }) => {}
                Err(damaged) => panic!("{damaged}"),
            }
        }
        assert!(read > 0, "reads go on");
        disk.free();
        store.reopen().expect("opens anew");
        for number in 0..durable {
            let stored = store.load(&doc(number)).expect("loads").expect("was durable");
            assert_eq!(stored.log, [(Seq(1), update(number))]);
        }
        // The journal would bring the rest again.
        for number in durable..written {
            assert!(append(&store, number), "writes are taken again");
        }
        store.make_durable().expect("syncs");
        durable = written;
    }
    drop(store);
    let store = SledStore::open(&dir).expect("opens");
    assert_eq!(store.documents().expect("counts"), written);
    for number in 0..written {
        assert!(store.load(&doc(number)).expect("loads").is_some());
    }
}

/// A disk without room for a copy is told so before anything is done.
#[test]
fn s12_a_vacuum_without_room_is_refused_before_it_begins() {
    let Some(disk) = SmallDisk::mount(160 << 20) else { return };
    let dir = disk.outside().join("store");
    let store = SledStore::open(&dir).expect("opens");
    assert!((0..500).all(|number| append(&store, number)));
    store.make_durable().expect("syncs");
    disk.fill();
    let filler = disk.outside().join("filler");
    let bytes = std::fs::metadata(&filler).expect("a filler").len();
    let file = std::fs::OpenOptions::new().write(true).open(&filler).expect("opened");
    file.set_len(bytes - (30 << 20)).expect("gives some space back");
    // What is open takes its space even when it has lost its name.
    drop(file);
    let mut go_on = |_| std::ops::ControlFlow::Continue(());
    let refused = store.vacuum(&mut go_on).expect_err("there is no room").to_string();
    assert!(refused.contains("make room"), "{refused}");
    assert!(!disk.outside().join("store.vacuum").exists());
    disk.free();
    let report = store.vacuum(&mut go_on).expect("there is room");
    assert_eq!(report.documents, 500);
    assert!((0..500).all(|number| store.load(&doc(number)).expect("loads").is_some()));
}
