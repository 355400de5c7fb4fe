//! The journal on a disk on which any operation may fail (S7), and on one that is full (S9).

use super::*;

/// A workload that touches everything: small and large records, segments that fill, rotation, removal. Returns the
/// highest record acknowledged, and the first that is still in the journal.
async fn workload(disk: &Disk) -> Option<(u64, u64, u64)> {
    let (journal, _) = open(disk).ok()?;
    let acks = Acks::new();
    let (mut appended, mut removed) = (0, 0);
    'work: for round in 0..4 {
        for _ in 0..8 {
            let ns = appended + 1..=appended + 1 + appended % 3;
            appended = *ns.end();
            let records = ns.map(|n| nth("doc", n, 1_500)).collect();
            let sink: Option<Arc<dyn DurableSink>> = Some(acks.clone());
            let done = match appended % 4 {
                0 => {
                    let done = journal.append_lazily(records, sink).await;
                    journal.hurry();
                    done
                }
                _ => journal.append(records, sink).await,
            };
            if done.is_err() || !acks.wait_for(appended).await {
                break 'work;
            }
        }
        if round == 1 || round == 2 {
            let last = acks.acked().0;
            if journal.rotate().await.is_err() {
                break 'work;
            }
            // From here on these may be gone, whether or not the removal succeeds.
            removed = last;
            if journal.remove(&journal.sealed()).is_err() {
                break 'work;
            }
        }
    }
    let acked = acks.acked().0;
    let health = journal.health().borrow().clone();
    // A disk that was full for one operation is left by itself (S9).
    if matches!(health, JournalHealth::Failed(_)) {
        let append = journal.append(vec![nth("doc", 1_000, 10)], None).await;
        assert!(matches!(append, Err(JournalError::Failed(_))), "{append:?}");
        assert!(journal.close().await.is_err());
    } else {
        let _ = journal.close().await;
    }
    Some((appended, acked, removed))
}

/// What must hold after a crash: all that was acked, in order, and nothing that was never appended.
async fn check_recovered(disk: &Disk, (appended, acked, removed): (u64, u64, u64), what: &str) {
    let (replayed, _) = replay(disk).await.unwrap_or_else(|e| panic!("{what}: {e}"));
    let seqs: Vec<u64> = replayed.iter().map(|r| r.seq.0).collect();
    for record in &replayed {
        assert_eq!(*record, nth("doc", record.seq.0, 1_500), "{what}");
    }
    let kept: Vec<u64> = seqs.iter().copied().filter(|n| *n > removed).collect();
    assert_eq!(kept, (removed + 1..).take(kept.len()).collect::<Vec<_>>(), "{what}: dense and in order");
    let last = removed + kept.len() as u64;
    assert!(last >= acked, "{what}: {acked} was acked, {last} is the last");
    assert!(last <= appended, "{what}: {last} was never appended");
    assert!(seqs.is_sorted_by(|a, b| a < b), "{what}: {seqs:?}");
}

#[tokio::test]
async fn s7_any_operation_may_fail_and_every_ack_holds() {
    for fault in [Fault::Eio, Fault::Enospc, Fault::Short] {
        let mut covered = 0;
        for n in 1.. {
            let disk = Disk::default();
            disk.fail_operation(n, fault);
            let Some(outcome) = workload(&disk).await else { continue };
            let what = format!("operation {n} fails with {fault:?}");
            check_recovered(&disk.killed(), outcome, &what).await;
            check_recovered(&disk.synced(), outcome, &what).await;
            for seed in 0..3 {
                check_recovered(&disk.without_power(&mut Dice(seed), 4), outcome, &format!("{what}, seed {seed}"))
                    .await;
            }
            covered = n;
            if !disk.has_failed() {
                break;
            }
        }
        assert!(covered > 80, "only {covered} operations");
    }
}

#[tokio::test]
async fn s2_any_power_cut_keeps_every_ack() {
    // Also cuts during recovery itself: each disk is crashed again while it is being opened.
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let disk = Disk::default();
        disk.fail_operation(1 + dice.roll(150), Fault::Short);
        let Some(outcome) = workload(&disk).await else { continue };
        let crashed = disk.without_power(&mut dice, 1 + seed % 7);
        let what = format!("seed {seed}");
        crashed.fail_operation(1 + dice.roll(8), Fault::Eio);
        if let Ok((journal, _)) = open(&crashed) {
            let _ = journal.close().await;
        }
        let again = crashed.without_power(&mut dice, 4);
        check_recovered(&again, outcome, &what).await;
        check_recovered(&again, outcome, &what).await;
    }
}

#[tokio::test]
async fn s7_a_failed_sync_stops_everything_and_is_not_retried() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let (first, second) = (Acks::new(), Acks::new());
    assert!(append_durably(&journal, &first, nth("a", 1, 50)).await);
    let mut health = journal.health();
    until_prepared(&disk).await;
    disk.hold_syncs();
    journal.append(vec![nth("a", 2, 50)], Some(first.clone())).await.unwrap();
    until_syncing(&disk).await;
    journal.append(vec![nth("b", 1, 50)], Some(second.clone())).await.unwrap();
    // Operations up to now are done but for the held sync, which is the next.
    disk.fail_operation(1, Fault::Eio);
    let (writes, syncs) = (disk.writes(), disk.syncs());
    disk.release_syncs();
    assert!(!first.wait_for(2).await && !second.wait_for(1).await);
    assert!(first.has_failed() && second.has_failed());
    let JournalHealth::Failed(cause) = health.wait_for(|h| *h != JournalHealth::Ok).await.unwrap().clone() else {
        panic!("health")
    };
    assert!(cause.contains("sync /journal/") && cause.contains("os error 5"), "{cause}");
    assert!(matches!(journal.append(vec![nth("a", 3, 9)], None).await, Err(JournalError::Failed(c)) if c == cause));
    assert!(matches!(journal.rotate().await, Err(JournalError::Failed(_))));
    assert!(matches!(journal.close().await, Err(JournalError::Failed(_))));
    assert_eq!((disk.writes() - writes, disk.syncs() - syncs), (0, 1));
}

/// An append that fails is told so at once, and nobody else is acked any more: neither who waited before, written and not
/// synced, nor who hurries.
#[tokio::test]
async fn s7_a_failed_write_past_the_queue_fails_the_journal() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let (first, second) = (Acks::new(), Acks::new());
    assert!(append_durably(&journal, &first, nth("a", 1, 50)).await);
    until_prepared(&disk).await;
    until(|| journal.shared().queue.is_idle(), "the writer sleeps").await;
    let (writes, syncs) = (disk.writes(), disk.syncs());
    journal.append_lazily(vec![nth("a", 2, 50)], Some(first.clone())).await.unwrap();
    disk.fail_operation(1, Fault::Eio);
    let refused = journal.append(vec![nth("b", 1, 50)], Some(second.clone())).await;
    journal.hurry();
    // Within the pace of syncs, which this test does not wait for, the first may have become durable before.
    if disk.syncs() == syncs {
        assert!(matches!(refused, Err(JournalError::Io { .. })), "{refused:?}");
        assert!(!first.wait_for(2).await && first.has_failed());
        assert_eq!(second.acked(), Seq::ZERO);
        assert!(journal.close().await.is_err());
        assert_eq!((disk.writes() - writes, disk.syncs() - syncs), (2, 0));
    }
}

#[tokio::test]
async fn s7_a_failed_removal_fails_the_journal() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    assert!(append_durably(&journal, &Acks::new(), nth("a", 1, 50)).await);
    journal.rotate().await.unwrap();
    until_prepared(&disk).await;
    disk.fail_operation(1, Fault::Eio);
    assert!(matches!(journal.remove(&journal.sealed()), Err(JournalError::Io { .. })));
    assert!(matches!(*journal.health().borrow(), JournalHealth::Failed(_)));
    assert!(matches!(journal.append(vec![nth("a", 2, 9)], None).await, Err(JournalError::Failed(_))));
}

/// The prepared segments take what fits; then appends wait, nothing fails, and when there is room all of it is written.
#[tokio::test]
async fn s9_a_full_disk_is_waited_out() {
    for how in ["room", "a removed segment", "close"] {
        let disk = Disk::default();
        let (journal, _) = open(&disk).unwrap();
        let (acks, mut health) = (Acks::new(), journal.health());
        assert!(append_durably(&journal, &acks, nth("doc", 1, 300)).await);
        until_prepared(&disk).await;
        disk.set_full(true);
        // The present segment and the prepared one can still be filled, and the journal says early that it is the last.
        let mut n = 1;
        while journal.sealed().is_empty() {
            n += 1;
            assert!(append_durably(&journal, &acks, nth("doc", n, 300)).await);
        }
        let JournalHealth::Full(why) = health.wait_for(|h| *h != JournalHealth::Ok).await.unwrap().clone() else {
            panic!("health")
        };
        assert!(why.contains("os error 28"), "{why}");
        while n < 400 {
            n += 1;
            journal.append(vec![nth("doc", n, 300)], Some(acks.clone())).await.unwrap();
        }
        until(|| journal.sealed().len() == 2, "both segments are filled").await;
        assert!(acks.acked() < Seq(400) && !acks.has_failed(), "{how}");
        match how {
            "room" => disk.set_full(false),
            // It becomes a spare, for which no room is needed; what it held is elsewhere by now.
            "a removed segment" => {
                let removed: Vec<_> = journal.sealed();
                journal.remove(&removed).unwrap();
                until(|| !journal.sealed().is_empty() || acks.acked() == Seq(400), "it goes on").await;
                disk.set_full(false);
            }
            _ => {
                let refused = tokio::time::timeout(Duration::from_secs(20), journal.close()).await;
                assert!(refused.expect("does not wait for room").is_err());
                assert!(acks.has_failed());
            }
        }
        if how != "close" {
            assert!(acks.wait_for(400).await, "{how}");
            health.wait_for(|h| *h == JournalHealth::Ok).await.unwrap();
            journal.close().await.unwrap();
        }
        disk.set_full(false);
        let replayed = replay(&disk.synced()).await.unwrap().0;
        let last = replayed.last().map_or(0, |record| record.seq.0);
        assert_eq!(last, acks.acked().0, "{how}: acked is what is there");
        if how != "a removed segment" {
            assert_eq!(replayed.len() as u64, last, "{how}");
        }
    }
}

/// A record that needs a longer file than was prepared.
#[tokio::test]
async fn s9_a_large_record_waits_for_room_too() {
    let disk = Disk::default();
    let (journal, _) = open(&disk).unwrap();
    let (acks, mut health) = (Acks::new(), journal.health());
    assert!(append_durably(&journal, &acks, nth("doc", 1, 300)).await);
    until_prepared(&disk).await;
    disk.set_full(true);
    let large = record("doc", 2, vec![7u8; 3 * SEGMENT_BYTES_MIN as usize]);
    journal.append(vec![large.clone()], Some(acks.clone())).await.unwrap();
    health.wait_for(|h| matches!(h, JournalHealth::Full(_))).await.unwrap();
    until(|| disk.refused_for_space() > 2, "it is tried again").await;
    assert_eq!(acks.acked(), Seq(1));
    disk.set_full(false);
    assert!(acks.wait_for(2).await);
    assert_eq!(replay(&disk.synced()).await.unwrap().0, [nth("doc", 1, 300), large]);
}
