//! The journal as a whole, on a disk that tells synced from unsynced and fails when asked. The numbers are rules of
//! STORAGE: S1 acks, S2 recovery, S7 failure, S13 preallocation.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::faulty::{Dice, Disk, Fault};
use super::record::{self, RECORD_HEADER_BYTES, Salt};
use super::segment::SEGMENT_HEADER_BYTES;
use super::*;
use crate::ids::{DocName, Seq};

mod failing;

pub(super) const DIR: &str = "/journal";

pub(super) fn options() -> JournalOptions {
    JournalOptions { segment_bytes: SEGMENT_BYTES_MIN, ..JournalOptions::default() }
}

fn open(disk: &Disk) -> Result<(Journal, Recovery), JournalError> {
    Journal::open_with(Arc::new(disk.clone()), Path::new(DIR), options())
}

pub(super) fn record(doc: &str, seq: u64, update: impl Into<Bytes>) -> Record {
    Record::update(DocName::parse(doc).unwrap(), Seq(seq), update.into())
}

/// The `n`th record of a doc: its bytes follow from its number, its length up to `len_max`. Every seventh is a deletion.
pub(super) fn nth(doc: &str, n: u64, len_max: u64) -> Record {
    let mut dice = Dice(n);
    if n % 7 == 6 {
        return Record::deleted(DocName::parse(doc).unwrap(), Seq(n), dice.roll(1 << 41));
    }
    let len = 1 + dice.roll(len_max);
    record(doc, n, (0..len).map(|_| dice.roll(256) as u8).collect::<Vec<_>>())
}

pub(super) fn read_all(journal: &Journal) -> Result<Vec<Record>, JournalError> {
    let mut records = Vec::new();
    for id in journal.sealed() {
        for record in journal.read(id)? {
            records.push(record?);
        }
    }
    Ok(records)
}

/// What a restart on this disk would replay.
async fn replay(disk: &Disk) -> Result<(Vec<Record>, Recovery), JournalError> {
    let (journal, recovery) = open(disk)?;
    let records = read_all(&journal)?;
    assert_eq!(records.len() as u64, recovery.records);
    assert_eq!(journal.bytes_pending(), records.iter().map(|r| r.encoded_len() as u64).sum::<u64>());
    journal.close().await?;
    Ok((records, recovery))
}

/// Counts acks, and lets a test wait for them.
struct Acks {
    state: watch::Sender<(Seq, bool)>,
}

impl Acks {
    fn new() -> Arc<Acks> {
        Arc::new(Acks { state: watch::Sender::new((Seq::ZERO, false)) })
    }

    fn acked(&self) -> Seq {
        self.state.borrow().0
    }

    fn has_failed(&self) -> bool {
        self.state.borrow().1
    }

    /// Returns whether it is durable; false when the journal failed first.
    async fn wait_for(&self, seq: u64) -> bool {
        let mut state = self.state.subscribe();
        let outcome = state.wait_for(|(acked, failed)| *failed || *acked >= Seq(seq));
        let outcome = tokio::time::timeout(Duration::from_secs(20), outcome).await;
        outcome.expect("no ack within 20 s").unwrap().0 >= Seq(seq)
    }
}

impl DurableSink for Acks {
    fn durable(&self, seq: Seq) {
        self.state.send_modify(|(acked, failed)| {
            assert!(!*failed && seq > *acked, "acks rise, and end with a failure");
            *acked = seq;
        });
    }
    fn failed(&self) {
        self.state.send_modify(|(_, failed)| *failed = true);
    }
}

async fn append_durably(journal: &Journal, acks: &Arc<Acks>, record: Record) -> bool {
    let seq = record.seq.0;
    journal.append(vec![record], Some(acks.clone())).await.is_ok() && acks.wait_for(seq).await
}

async fn until(holds: impl Fn() -> bool, what: &str) {
    for _ in 0..20_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("never came true: {what}");
}

/// Waits until the writer is inside a sync that is held up.
async fn until_syncing(disk: &Disk) {
    until(|| disk.syncs_waiting() > 0, "the writer syncs").await;
}

/// Waits until the next segment is made, so that nothing but the writer uses the disk.
async fn until_prepared(disk: &Disk) {
    until(|| segment_paths(&disk.synced()).len() == 2, "a segment is prepared ahead").await;
}

/// Where the records of a segment are.
pub(super) fn layout(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut at = SEGMENT_HEADER_BYTES as usize;
    let mut found = Vec::new();
    while bytes.get(at..at + 4) == Some(&record::RECORD_MAGIC) && bytes[at + 5] != 2 {
        let name = u16::from_le_bytes([bytes[at + 6], bytes[at + 7]]) as usize;
        let update = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        found.push(at..at + RECORD_HEADER_BYTES + name + update);
        at += RECORD_HEADER_BYTES + name + update;
    }
    found
}

fn segment_paths(disk: &Disk) -> Vec<PathBuf> {
    disk.contents().into_keys().filter(|path| path.extension().is_some_and(|e| e == "wal")).collect()
}

/// The path of the newest segment that holds records.
pub(super) fn newest(disk: &Disk) -> PathBuf {
    let contents = disk.contents();
    segment_paths(disk).into_iter().rfind(|path| !layout(&contents[path]).is_empty()).unwrap()
}

#[tokio::test]
async fn s1_records_come_back_in_order_from_real_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/with/its/parents");
    let (journal, recovery) = Journal::open(&path, options()).unwrap();
    assert_eq!(recovery, Recovery::default());
    let acks = Acks::new();
    let written: Vec<Record> = (1..=300).map(|n| nth("notes/ä", n, 900)).collect();
    for part in written.chunks(7) {
        journal.append(part.to_vec(), Some(acks.clone())).await.unwrap();
    }
    assert!(acks.wait_for(300).await);
    journal.rotate().await.unwrap();
    assert!(journal.sealed().len() > 5, "{:?}", journal.sealed());
    assert_eq!(read_all(&journal).unwrap(), written);
    let pending: u64 = written.iter().map(|r| r.encoded_len() as u64).sum();
    assert_eq!(journal.bytes_pending(), pending);

    journal.remove(&journal.sealed()[..2]).unwrap();
    journal.append(vec![nth("notes/ä", 301, 900)], None).await.unwrap();
    let left = journal.sealed();
    journal.close().await.unwrap();
    drop(journal);

    let (journal, recovery) = Journal::open(&path, options()).unwrap();
    assert_eq!(journal.sealed()[..left.len()], left);
    assert_eq!(recovery.torn_bytes, 0);
    let replayed = read_all(&journal).unwrap();
    assert_eq!(replayed.last().unwrap().seq, Seq(301));
    assert_eq!(replayed[..], [&written[301 - replayed.len()..], &[nth("notes/ä", 301, 900)]].concat());
    journal.remove(&journal.sealed()).unwrap();
    assert_eq!(journal.bytes_pending(), 0);
    journal.close().await.unwrap();
}

/// Looks at the disk when it is told that something is durable.
struct Suspicious {
    disk: Disk,
    state: watch::Sender<u64>,
    was_lied_to: AtomicBool,
}

impl DurableSink for Suspicious {
    fn durable(&self, seq: Seq) {
        let (found, _) = recovery::survey(&self.disk.synced(), Path::new(DIR), false).unwrap();
        if found.records() < seq.0 {
            self.was_lied_to.store(true, Ordering::Relaxed);
        }
        self.state.send_replace(seq.0);
    }
    fn failed(&self) {}
}

#[tokio::test]
async fn s1_sinks_are_called_only_after_the_sync_that_covers_them() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let sink =
        Arc::new(Suspicious { disk: disk.clone(), state: watch::Sender::new(0), was_lied_to: AtomicBool::new(false) });
    for n in 1..=120 {
        journal.append(vec![nth("d", n, 700)], Some(sink.clone())).await.unwrap();
    }
    sink.state.subscribe().wait_for(|seq| *seq == 120).await.unwrap();
    assert!(!sink.was_lied_to.load(Ordering::Relaxed));
    assert!(journal.sealed().len() >= 2, "the test should cross segments");
}

/// A crash of the process loses nothing that was appended, though nobody waits for it; and whoever then does, is told.
#[tokio::test]
async fn s1_what_nobody_waits_for_is_written_at_once_and_synced_soon() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let acks = Acks::new();
    assert!(append_durably(&journal, &acks, nth("a", 1, 50)).await);
    for n in 2..=100 {
        until(|| journal.shared().queue.is_idle(), "the writer sleeps").await;
        journal.append_lazily(vec![nth("a", n, 200)], Some(acks.clone())).await.unwrap();
        let (replayed, _) = replay(&disk.killed()).await.unwrap();
        assert_eq!(replayed.last(), Some(&nth("a", n, 200)));
        match n % 25 {
            // By itself.
            0 => assert!(acks.wait_for(n).await),
            // With what somebody waits for.
            10 => {
                journal.append(vec![nth("b", n, 50)], None).await.unwrap();
                assert!(acks.wait_for(n).await);
            }
            20 => {
                journal.hurry();
                assert!(acks.wait_for(n).await);
            }
            _ => {}
        }
    }
    assert!(disk.syncs() < 60, "{} syncs", disk.syncs());
    journal.close().await.unwrap();
    assert_eq!(replay(&disk.synced()).await.unwrap().0.iter().filter(|r| r.doc.as_str() == "a").count(), 100);
}

#[tokio::test]
async fn s1_what_waits_during_a_sync_is_one_group_in_order() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let acks = [Acks::new(), Acks::new()];
    assert!(append_durably(&journal, &acks[0], nth("a", 1, 50)).await);
    until_prepared(&disk).await;
    disk.hold_syncs();
    journal.append(vec![nth("a", 2, 50)], Some(acks[0].clone())).await.unwrap();
    until_syncing(&disk).await;
    let (writes, syncs) = (disk.writes(), disk.syncs());
    for n in 3..40 {
        journal.append(vec![nth("a", n, 50)], Some(acks[0].clone())).await.unwrap();
        journal.append(vec![nth("b", n, 50), nth("b", n + 100, 50)], None).await.unwrap();
    }
    journal.append(vec![nth("c", 1, 50)], Some(acks[1].clone())).await.unwrap();
    assert_eq!((acks[0].acked(), acks[1].acked()), (Seq(1), Seq::ZERO));
    disk.release_syncs();
    assert!(acks[1].wait_for(1).await);
    assert_eq!(acks[0].acked(), Seq(39), "earlier appends are told first");
    // The held sync, and one group.
    assert_eq!((disk.writes() - writes, disk.syncs() - syncs), (1, 2));
    let (replayed, _) = replay(&disk.killed()).await.unwrap();
    let expected = (3..40).flat_map(|n| [nth("a", n, 50), nth("b", n, 50), nth("b", n + 100, 50)]);
    assert_eq!(replayed[2..replayed.len() - 1], expected.collect::<Vec<_>>());
}

/// Ten synced groups of one record, then one unsynced-looking group of four records of which the last crosses pages.
pub(super) async fn with_a_last_group() -> (Disk, Vec<Record>) {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let acks = Acks::new();
    let mut records: Vec<Record> = (1..=10).map(|n| nth("doc", n, 120)).collect();
    for record in &records {
        assert!(append_durably(&journal, &acks, record.clone()).await);
    }
    let last =
        vec![record("doc", 11, &b"eleven"[..]), record("doc", 12, vec![12; 700]), record("doc", 13, vec![13; 5000])];
    records.extend(last.iter().cloned());
    journal.append(last, Some(acks.clone())).await.unwrap();
    assert!(acks.wait_for(13).await);
    (disk.killed(), records)
}

#[tokio::test]
async fn s2_a_last_group_torn_at_any_byte_loses_only_what_is_torn() {
    let (disk, records) = with_a_last_group().await;
    let path = newest(&disk);
    let ranges = layout(&disk.contents()[&path]);
    assert_eq!(ranges.len(), 13);
    let group = ranges[10].start..ranges[12].end;
    for cut in group.clone() {
        // Every byte near the borders of records, some in between; cut short, never written, or half a sector of
        // rubbish.
        let near_a_border = ranges[10..].iter().any(|r| cut.abs_diff(r.start) < 50 || cut.abs_diff(r.end) < 50);
        if !near_a_border && !cut.is_multiple_of(97) {
            continue;
        }
        for way in 0..3 {
            let torn = disk.killed();
            torn.tamper(&path, |bytes| match way {
                0 => bytes.truncate(cut),
                1 => bytes[cut..].fill(0),
                _ => bytes[cut..group.end].iter_mut().for_each(|b| *b ^= 0x55),
            });
            let whole = ranges.iter().filter(|r| r.end <= cut).count();
            let (replayed, recovery) = replay(&torn).await.unwrap_or_else(|e| panic!("cut at {cut}, way {way}: {e}"));
            assert_eq!(replayed[..], records[..whole], "cut at {cut}, way {way}");
            let touched = cut > ranges[whole].start;
            assert!(recovery.torn_bytes > 0 || !touched, "cut at {cut}, way {way}");
            // The second start finds it settled.
            let (again, recovery) = replay(&torn).await.unwrap();
            assert_eq!((again, recovery.torn_bytes), (replayed, 0), "cut at {cut}, way {way}");
        }
    }
}

#[tokio::test]
async fn s2_a_last_group_may_lose_any_of_its_pages() {
    let (disk, records) = with_a_last_group().await;
    let path = newest(&disk);
    let ranges = layout(&disk.contents()[&path]);
    // The first sector of the group is gone, the rest was written: readable records after an unreadable one.
    disk.tamper(&path, |bytes| bytes[ranges[10].clone()].fill(0));
    let (replayed, recovery) = replay(&disk).await.unwrap();
    assert_eq!(replayed[..], records[..10]);
    assert_eq!(recovery.torn_bytes, (ranges[12].end - ranges[10].start) as u64);
    assert_eq!(recovery.torn_at.map(|(_, at)| at), Some(ranges[10].start as u64));
}

#[tokio::test]
async fn s2_a_flipped_bit_before_the_last_group_is_corruption_and_changes_nothing() {
    let (disk, _) = with_a_last_group().await;
    let path = newest(&disk);
    let ranges = layout(&disk.contents()[&path]);
    for at in ranges[0].start..ranges[9].end {
        let damaged = disk.killed();
        damaged.tamper(&path, |bytes| bytes[at] ^= 1 << (at % 8));
        let before = damaged.contents();
        let hit = ranges.iter().find(|r| r.contains(&at)).unwrap();
        match open(&damaged).map(|_| ()) {
            Err(JournalError::Corrupt { segment, offset, .. }) => {
                assert_eq!((segment, offset), (path.clone(), hit.start as u64), "byte {at}")
            }
            other => panic!("byte {at}: {other:?}"),
        }
        assert_eq!(damaged.contents(), before, "byte {at}");
    }
}

#[tokio::test]
async fn s2_a_flipped_bit_in_a_closed_journal_is_corruption_everywhere() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    journal.append((1..=60).map(|n| nth("doc", n, 900)).collect(), None).await.unwrap();
    journal.close().await.unwrap();
    let contents = disk.contents();
    let with_records: Vec<_> = segment_paths(&disk).into_iter().filter(|p| !layout(&contents[p]).is_empty()).collect();
    assert!(with_records.len() >= 2);
    let mut dice = Dice(1);
    for (nth, path) in with_records.iter().enumerate() {
        let ranges = layout(&contents[path]);
        let records_end = ranges.last().unwrap().end;
        // Without its seal only the last segment reads as after a crash; nothing is lost then.
        let seal = if nth + 1 < with_records.len() { record::SEAL_BYTES } else { 0 };
        let header = 0..36;
        let spots = header.chain((0..400).map(|_| 4096 + dice.roll((records_end + seal - 4096) as u64) as usize));
        for at in spots {
            let damaged = disk.killed();
            damaged.tamper(path, |bytes| bytes[at] ^= 1 << (at % 8));
            let before = damaged.contents();
            let expected = match at {
                0..4096 => 0,
                _ => ranges.iter().find(|r| r.contains(&at)).map_or(records_end, |r| r.start),
            };
            match open(&damaged).map(|_| ()) {
                Err(JournalError::Corrupt { segment, offset, .. }) => {
                    assert_eq!((&segment, offset), (path, expected as u64), "byte {at}")
                }
                other => panic!("byte {at} of {path:?}: {other:?}"),
            }
            assert_eq!(damaged.contents(), before);
        }
    }
}

#[tokio::test]
async fn s2_damage_is_reported_with_the_place_and_a_way_out() {
    let (disk, _) = with_a_last_group().await;
    let path = newest(&disk);
    disk.tamper(&path, |bytes| bytes[5000] ^= 1);
    let message = open(&disk).map(|_| ()).unwrap_err().to_string();
    for part in [path.to_str().unwrap(), "wrong checksum at byte", "from a copy"] {
        assert!(message.contains(part), "{message}");
    }
    disk.tamper(&path, |bytes| bytes[5000] ^= 1);
    disk.tamper(&path, |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
    });
    assert!(matches!(open(&disk), Err(JournalError::NewerVersion { version: 2, .. })));
}

#[tokio::test]
async fn s2_an_update_that_looks_like_records_is_only_an_update() {
    // P4: a peer that knows the format, and guesses the segment's number, cannot make a torn end look like damage.
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let acks = Acks::new();
    let mut forged = Vec::new();
    for n in 0..50 {
        record::encode(&mut forged, Salt::new(1, 0), 1 << 20, &record("evil", n, &b"forged"[..]));
    }
    assert!(append_durably(&journal, &acks, nth("doc", 1, 10)).await);
    assert!(append_durably(&journal, &acks, record("doc", 2, forged)).await);
    let disk = disk.killed();
    let path = newest(&disk);
    let last = layout(&disk.contents()[&path]).pop().unwrap();
    disk.tamper(&path, |bytes| bytes[last.end - 1] ^= 1);
    let (replayed, recovery) = replay(&disk).await.unwrap();
    assert_eq!(replayed, [nth("doc", 1, 10)]);
    assert!(recovery.torn_bytes >= last.len() as u64);
}

#[tokio::test]
async fn s13_a_recycled_file_never_gives_back_its_former_records() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let acks = Acks::new();
    let mut n = 0;
    for round in 0..12 {
        // Full of records, then recycled and used for a few only.
        for _ in 0..if round % 2 == 0 { 60 } else { 3 } {
            n += 1;
            assert!(append_durably(&journal, &acks, nth("doc", n, 500)).await);
        }
        // Whatever the power cut does here, only records of this round may come back.
        let first = n + 1 - if round % 2 == 0 { 60 } else { 3 };
        let expected: Vec<_> = (first..=n).map(|n| nth("doc", n, 500)).collect();
        for disk in [disk.killed(), disk.synced()] {
            assert_eq!(replay(&disk).await.unwrap().0, expected, "round {round}");
        }
        journal.rotate().await.unwrap();
        journal.remove(&journal.sealed()).unwrap();
        assert_eq!((journal.sealed(), journal.bytes_pending()), (vec![], 0));
        // One more while it is made the next segment.
        let spares = || disk.contents().keys().filter(|p| p.extension().is_some_and(|e| e == "spare")).count();
        until(|| spares() <= JOURNAL_SPARES_MAX, "few spares").await;
    }
    let files = disk.contents().len();
    assert!(files <= 1 + JOURNAL_SPARES_MAX, "{:?}", disk.contents().keys());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rotation_races_with_appends_and_loses_nothing() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let writers: Vec<_> = (0..6)
        .map(|w| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let (acks, doc) = (Acks::new(), format!("doc {w}"));
                for n in 1..=200 {
                    assert!(append_durably(&journal, &acks, nth(&doc, n, 300)).await);
                }
            })
        })
        .collect();
    let mut carried: BTreeMap<DocName, Vec<u64>> = BTreeMap::new();
    let mut take = |records: Vec<Record>| {
        for record in records {
            assert_eq!(record, nth(record.doc.as_str(), record.seq.0, 300));
            carried.entry(record.doc).or_default().push(record.seq.0);
        }
    };
    while !writers.iter().all(|w| w.is_finished()) {
        journal.rotate().await.unwrap();
        for id in journal.sealed() {
            take(journal.read(id).unwrap().map(Result::unwrap).collect());
            journal.remove(&[id]).unwrap();
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    journal.rotate().await.unwrap();
    take(read_all(&journal).unwrap());
    assert_eq!(carried.len(), 6);
    for (doc, seqs) in carried {
        assert_eq!(seqs, (1..=200).collect::<Vec<_>>(), "{doc}");
    }
    journal.close().await.unwrap();
}

#[tokio::test]
async fn a_record_larger_than_a_segment_gets_one_of_its_own() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let acks = Acks::new();
    let large = vec![7u8; 3 * SEGMENT_BYTES_MIN as usize];
    let records = [
        nth("doc", 1, 100),
        record("doc", 2, large.clone()),
        nth("doc", 3, 100),
        record("doc", 4, large.clone()),
        record("doc", 5, large),
    ];
    journal.append(records.to_vec(), Some(acks.clone())).await.unwrap();
    assert!(acks.wait_for(5).await);
    assert_eq!(replay(&disk.synced()).await.unwrap().0, records);
    journal.rotate().await.unwrap();
    assert_eq!(journal.sealed().len(), 5);
    assert_eq!(read_all(&journal).unwrap(), records);
    // The long files are not kept.
    journal.remove(&journal.sealed()).unwrap();
    assert!(disk.contents().values().all(|bytes| bytes.len() as u64 == SEGMENT_BYTES_MIN));

    let too_large = record("doc", 6, vec![0; JOURNAL_RECORD_BYTES_MAX]);
    assert!(matches!(journal.append(vec![too_large], None).await, Err(JournalError::RecordTooLarge { .. })));
}

#[tokio::test]
async fn a_full_queue_makes_appends_wait() {
    let disk = Disk::default();
    let options = JournalOptions { queue_bytes_max: 10_000, ..options() };
    let (journal, _) = Journal::open_with(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
    let acks = Acks::new();
    assert!(append_durably(&journal, &acks, nth("a", 1, 50)).await);
    disk.hold_syncs();
    for n in 2..=3 {
        journal.append(vec![record("a", n, vec![0; 4_000])], Some(acks.clone())).await.unwrap();
    }
    let blocked = journal.append(vec![record("a", 4, vec![0; 4_000])], Some(acks.clone()));
    assert!(tokio::time::timeout(Duration::from_millis(30), blocked).await.is_err());
    // That one was dropped, so it was never queued. One larger than the whole queue passes alone.
    let journal2 = journal.clone();
    let acks2 = acks.clone();
    let large = tokio::spawn(async move {
        journal2.append(vec![record("a", 5, vec![0; 40_000])], Some(acks2)).await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(!large.is_finished());
    disk.release_syncs();
    large.await.unwrap();
    assert!(acks.wait_for(5).await);
    journal.close().await.unwrap();
    let seqs: Vec<u64> = replay(&disk).await.unwrap().0.iter().map(|r| r.seq.0).collect();
    assert_eq!(seqs, [1, 2, 3, 5]);
}

#[tokio::test]
async fn closing_makes_everything_durable_and_dropping_too() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    journal.append(vec![nth("a", 1, 50)], None).await.unwrap();
    let (one, other) = tokio::join!(journal.close(), journal.close());
    assert!(one.is_ok() && other.is_ok() && journal.close().await.is_ok());
    assert!(matches!(journal.append(vec![nth("a", 2, 50)], None).await, Err(JournalError::Closed)));
    assert!(matches!(journal.rotate().await, Err(JournalError::Closed)));
    assert_eq!(replay(&disk.synced()).await.unwrap().0.len(), 1);

    let (journal, _) = open(&disk).unwrap();
    let acks = Acks::new();
    journal.append(vec![nth("a", 2, 50)], Some(acks.clone())).await.unwrap();
    drop(journal);
    assert!(acks.wait_for(2).await);
    assert_eq!(replay(&disk.synced()).await.unwrap().0.len(), 2);
}

#[tokio::test]
async fn a_panicking_sink_fails_the_journal_for_all() {
    struct Panics;
    impl DurableSink for Panics {
        fn durable(&self, _: Seq) {
            panic!("on purpose");
        }
        fn failed(&self) {}
    }
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let acks = Acks::new();
    journal.append(vec![nth("a", 1, 50)], Some(Arc::new(Panics))).await.unwrap();
    let _ = journal.append(vec![nth("b", 1, 50)], Some(acks.clone())).await;
    journal.health().wait_for(|h| *h != JournalHealth::Ok).await.unwrap();
    assert!(matches!(journal.append(vec![nth("a", 2, 9)], None).await, Err(JournalError::Failed(_))));
}

#[tokio::test]
async fn files_of_others_are_left_alone_and_strange_segments_are_not_ignored() {
    let disk = Disk::default();
    for name in ["notes.txt", "old.spare"] {
        disk.create(&Path::new(DIR).join(name)).unwrap();
    }
    let (journal, _) = open(&disk).unwrap();
    journal.append(vec![nth("a", 1, 50)], None).await.unwrap();
    journal.close().await.unwrap();
    assert!(disk.contents().contains_key(&Path::new(DIR).join("notes.txt")));
    disk.create(&Path::new(DIR).join("copy of 1.wal")).unwrap();
    assert!(matches!(open(&disk), Err(JournalError::Corrupt { .. })));
}
