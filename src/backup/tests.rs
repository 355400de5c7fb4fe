//! BK1 and BK2, on a small backup with one of everything.

use std::io;

use proptest::prelude::*;

use super::*;
use crate::limits::BACKUP_FRAME_BYTES_MAX;

fn name(text: &str) -> DocName {
    DocName::parse(text).expect("a valid name")
}

fn updates(texts: &[&'static str]) -> Vec<Bytes> {
    texts.iter().map(|text| Bytes::from_static(text.as_bytes())).collect()
}

fn head() -> Head {
    Head { weft: "0.1.0".to_owned(), created_ms: 1_700_000_000_000, documents: 4 }
}

fn document(text: &str, snapshot: &[&'static str], log: &[&'static str]) -> Document {
    let snapshot_seq = Seq(if snapshot.is_empty() { 0 } else { 7 });
    Document {
        name: name(text),
        created_ms: 1,
        updated_ms: 2,
        deleted_ms: None,
        last_seq: Seq(snapshot_seq.0 + log.len() as u64),
        snapshot_seq,
        snapshot: updates(snapshot),
        log: updates(log),
    }
}

/// No list of revocations; here it is bytes.
const REVOKED: &[u8] = b"{ list }";

fn everything() -> Vec<Item> {
    let tombstone = Document { deleted_ms: Some(9), last_seq: Seq(30), ..document("gone", &[], &[]) };
    let left_out = LeftOut { name: name("broken"), error: "the log is damaged".to_owned() };
    vec![
        Item::Document(document("läuft/über", &["state", ""], &["one", "two"])),
        Item::Document(document("log only", &[], &["x"])),
        Item::LeftOut(left_out),
        Item::Document(tombstone),
        Item::Document(document("snapshot only", &["all of it"], &[])),
    ]
}

fn written(items: &[Item]) -> (Vec<u8>, Summary) {
    let mut writer = Writer::new(Vec::new(), &head(), REVOKED).expect("writes");
    for item in items {
        match item {
            Item::Document(document) => writer.document(document).expect("writes"),
            Item::LeftOut(left_out) => writer.left_out(left_out).expect("writes"),
        }
    }
    writer.finish().expect("writes")
}

fn read(bytes: &[u8]) -> Result<(Vec<Item>, Summary), BackupError> {
    let mut reader = Reader::open(bytes)?;
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        assert_eq!(reader.summary(), None, "whole before its end was read");
        items.push(item);
    }
    assert_eq!((reader.head(), reader.revoked()), (&head(), REVOKED));
    Ok((items, reader.summary().cloned().expect("a whole backup has a summary")))
}

#[test]
fn what_was_written_is_read() {
    let (bytes, summary) = written(&everything());
    let (items, found) = read(&bytes).expect("reads");
    assert_eq!((items, &found), (everything(), &summary));
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(
        summary.totals,
        Totals { documents: 3, deleted: 1, left_out: 1, updates: 6, update_bytes: 5 + 3 + 3 + 1 + 9 }
    );
    let (empty, _) = written(&[]);
    assert_eq!(read(&empty).expect("reads").0, []);
}

#[test]
fn the_checksum_is_that_of_the_file() {
    use sha2::Digest;
    let (bytes, summary) = written(&everything());
    assert_eq!(summary.sha256, Checksum(sha2::Sha256::digest(&bytes).into()));
    let shown = serde_json::to_value(&summary).expect("encodes");
    assert_eq!(shown["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(shown["documents"], 3);
}

#[test]
fn bk1_every_flipped_byte_is_found() {
    let (bytes, _) = written(&everything());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let error = read(&damaged).expect_err("a flipped bit is found");
            // The version is under a checksum, so that damage to it is not taken for a newer weft.
            assert!(!matches!(error, BackupError::Newer(_)), "byte {at}: {error}");
            if let BackupError::Damaged { at: named, .. } = error {
                assert!(named <= at as u64, "byte {at} is flipped, {named} was named");
            }
        }
    }
}

#[test]
fn bk1_every_lost_end_and_every_addition_is_found() {
    let (bytes, _) = written(&everything());
    for at in 0..bytes.len() {
        match read(&bytes[..at]).expect_err("a lost end is found") {
            BackupError::CutShort(ends) => assert_eq!(ends, at as u64),
            BackupError::Foreign => assert_eq!(at, 0),
            other => panic!("cut at {at}: {other}"),
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(matches!(read(&longer), Err(BackupError::Damaged { at, .. }) if at == bytes.len() as u64));
    let twice = [&bytes[..], &bytes].concat();
    read(&twice).expect_err("two backups are not one");
}

/// Cuts a backup into its prologue and frames.
fn frames(bytes: &[u8]) -> Vec<&[u8]> {
    let (prologue, mut rest) = bytes.split_at(frame::PROLOGUE_BYTES);
    let mut frames = vec![prologue];
    while let Some(header) = rest.first_chunk::<{ frame::FRAME_HEADER_BYTES }>() {
        let (frame, after) = rest.split_at(frame::FRAME_HEADER_BYTES + frame::body_len(header));
        frames.push(frame);
        rest = after;
    }
    frames
}

#[test]
fn bk1_a_frame_missing_doubled_or_out_of_place_is_found() {
    let (bytes, _) = written(&everything());
    let frames = frames(&bytes);
    assert_eq!(frames.concat(), bytes);
    for at in 0..frames.len() {
        let mut without = frames.clone();
        without.remove(at);
        read(&without.concat()).expect_err("a missing frame is found");
        let mut doubled = frames.clone();
        doubled.insert(at, frames[at]);
        read(&doubled.concat()).expect_err("a doubled frame is found");
        for other in 0..at {
            let mut swapped = frames.clone();
            swapped.swap(at, other);
            read(&swapped.concat()).expect_err("swapped frames are found");
        }
    }
}

/// A frame with a true checksum, as only a mistaken or hostile writer makes it.
fn forged(number: u64, kind: frame::Kind, body: &[u8]) -> Vec<u8> {
    [&frame::encode_header(number, kind, body)[..], body].concat()
}

#[test]
fn bk2_claims_are_not_believed() {
    let begin = [&frame::encode_prologue()[..], &forged(0, frame::Kind::Head, &frame::encode_head(&head()))].concat();
    let lie = |change: &dyn Fn(&mut frame::DocumentHead), body: &[u8]| {
        let mut head = frame::DocumentHead {
            name: name("d"),
            created_ms: 1,
            updated_ms: 1,
            deleted_ms: None,
            last_seq: Seq(1),
            snapshot_seq: Seq(0),
            snapshot_updates: 0,
            log_updates: 1,
            body_bytes: body.len() as u64,
        };
        change(&mut head);
        let document = forged(1, frame::Kind::Document, &frame::encode_document(&head));
        read(&[&begin[..], &document, &forged(2, frame::Kind::Updates, body)].concat()).expect_err("is refused")
    };
    let body = [1, 0, 0, 0, b'u'];
    // The truth, up to the missing trailer.
    assert!(matches!(lie(&|_| {}, &body), BackupError::CutShort(_)));
    assert!(matches!(lie(&|head| head.body_bytes = u64::MAX, &body), BackupError::CutShort(_)));
    for error in [
        lie(&|head| head.body_bytes = 4, &body),
        lie(&|head| head.log_updates = u64::MAX, &body),
        lie(&|head| head.snapshot_updates = u64::MAX, &body),
        lie(&|head| head.log_updates = 0, &body),
        lie(&|head| head.last_seq = Seq(2), &body),
        lie(&|head| head.snapshot_seq = Seq(5), &body),
        lie(&|head| head.deleted_ms = Some(1), &body),
        lie(&|_| {}, &[255, 255, 255, 255, b'u']),
        lie(&|_| {}, &[0, 0, 0, 0, b'u']),
    ] {
        assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    }
    // A frame that claims 4 GiB is refused before anything is set aside for it.
    let mut long = frame::encode_header(1, frame::Kind::Updates, b"").to_vec();
    long[1..5].fill(255);
    assert!(matches!(read(&[&begin[..], &long].concat()), Err(BackupError::Damaged { .. })));
}

#[test]
fn strangers_newer_versions_and_what_was_broken_off_are_told_apart() {
    assert!(matches!(read(b""), Err(BackupError::Foreign)));
    assert!(matches!(read(b"PK\x03\x04 a file of another program"), Err(BackupError::Foreign)));
    let (mut newer, _) = written(&[]);
    newer[8] = VERSION + 1;
    let crc = crc32c::crc32c(&newer[..12]);
    newer[12..16].copy_from_slice(&crc.to_le_bytes());
    assert!(matches!(read(&newer), Err(BackupError::Newer(v)) if v == VERSION + 1));

    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, &head(), REVOKED).expect("writes");
    writer.document(&document("d", &[], &["u"])).expect("writes");
    writer.break_off("the disk failed").expect("writes");
    assert!(matches!(read(&bytes), Err(BackupError::BrokenOff(why)) if why == "the disk failed"));
}

#[test]
fn large_documents_lie_in_several_frames() {
    let large = Bytes::from(vec![7; 2 * BACKUP_FRAME_BYTES_MAX + 5]);
    let exact = Bytes::from(vec![8; BACKUP_FRAME_BYTES_MAX - 4]);
    let mut item = document("large", &[], &["a", "b", "c"]);
    item.log = vec![exact, large, Bytes::new()];
    let items = [Item::Document(item), Item::Document(document("after", &["s"], &[]))];
    let (bytes, _) = written(&items);
    assert_eq!(read(&bytes).expect("reads").0, items);
    assert!(frames(&bytes).iter().all(|frame| frame.len() <= frame::FRAME_HEADER_BYTES + BACKUP_FRAME_BYTES_MAX));
}

#[test]
fn a_long_list_of_revoked_tokens_lies_in_several_frames() {
    let long = vec![7; 2 * BACKUP_FRAME_BYTES_MAX + 5];
    let (bytes, _) = Writer::new(Vec::new(), &head(), &long).and_then(Writer::finish).expect("writes");
    let mut reader = Reader::open(&bytes[..]).expect("opens");
    assert_eq!(reader.next().expect("reads"), None);
    assert!(reader.revoked() == long);
}

#[test]
fn a_document_that_does_not_add_up_is_not_written() {
    let mut writer = Writer::new(Vec::new(), &head(), REVOKED).expect("writes");
    let gap = Document { last_seq: Seq(9), ..document("d", &[], &["u"]) };
    assert_eq!(writer.document(&gap).expect_err("is refused").kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_failing_disk_is_an_error_that_says_where() {
    struct Failing(usize);
    impl io::Read for Failing {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let n = self.0.min(buf.len());
            self.0 -= n;
            if n == 0 { Err(io::Error::other("gone")) } else { Ok(n) }
        }
    }
    assert!(matches!(Reader::open(Failing(3)), Err(BackupError::Io { at: 3, .. })));
}

proptest! {
    #[test]
    fn any_documents_come_back(documents in prop::collection::vec(any_document(), 0..6)) {
        let items: Vec<Item> = documents.into_iter().map(Item::Document).collect();
        let (bytes, summary) = written(&items);
        let (found, again) = read(&bytes).expect("reads");
        prop_assert_eq!(found, items);
        prop_assert_eq!(again, summary);
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let behind = [&frame::encode_prologue()[..], &bytes].concat();
        prop_assert!(read(&bytes).is_err() && read(&behind).is_err());
    }
}

fn any_document() -> impl Strategy<Value = Document> {
    let update = || prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from);
    let updates = move || prop::collection::vec(update(), 0..5);
    ("[a-zä/]{1,20}", updates(), updates(), 0..1_000u64).prop_map(|(text, snapshot, log, seq)| Document {
        name: name(&text),
        created_ms: seq,
        updated_ms: seq * 2,
        deleted_ms: None,
        last_seq: Seq(seq + log.len() as u64),
        snapshot_seq: Seq(seq),
        snapshot,
        log,
    })
}
