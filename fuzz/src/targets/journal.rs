//! Segments of the journal as a crash, a failing disk or somebody hostile may leave them. What can be read is read, in order
//! and as it was; an opening puts the directory in such an order that the next one finds the same and nothing wrong.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use weft::journal::{Journal, JournalError, JournalOptions};

use super::scratch;
use crate::parts::Parts;
use crate::script::Choices;

const HEADER_BYTES: usize = 32;
const PAGE_BYTES: usize = 4_096;
/// Of a file; the first is the number of the segment.
const NONCE: u64 = 0x0123_4567_89ab_cdef;
const SEGMENTS_MAX: usize = 3;

/// Opens a journal of an input's segments.
pub fn run(input: &[u8]) {
    let dir = scratch();
    let (journal, quarantine) = (dir.path().join("journal"), dir.path().join("quarantine"));
    fs::create_dir(&journal).expect("a directory");
    let mut sound = Some(0);
    for (at, part) in Parts::of(input).take(SEGMENTS_MAX).enumerate() {
        let number = at as u64 + 1;
        let (file, records) = segment(number, part);
        sound = sound.zip(records).map(|(all, more)| all + more);
        fs::write(journal.join(format!("{number:016}.wal")), file).expect("written");
    }
    check(&journal, &quarantine, sound);
    // The thread that prepares segments may make one more while the directory goes.
    let dir: PathBuf = TempDir::keep(dir);
    let is_gone = (0..1_000).any(|_| fs::remove_dir_all(&dir).is_ok() || !dir.exists());
    assert!(is_gone, "{} cannot be removed", dir.display());
}

fn check(dir: &Path, quarantine: &Path, sound: Option<u64>) {
    let surveyed = Journal::survey(dir);
    let strict = JournalOptions { segment_bytes: 0, ..JournalOptions::default() };
    let options = JournalOptions { quarantine: Some(quarantine.to_owned()), ..strict };
    let (opened, recovery) = match Journal::open(dir, options) {
        Ok(opened) => opened,
        Err(JournalError::NewerVersion { .. }) => {
            assert!(matches!(surveyed, Err(JournalError::NewerVersion { .. })));
            return;
        }
        Err(error) => panic!("with a quarantine nothing else refuses an opening: {error}"),
    };
    let surveyed = surveyed.expect("what can be opened can be surveyed");
    assert_eq!((recovery.records, recovery.torn_bytes), (surveyed.records, surveyed.torn_bytes), "the same eyes");
    if let Some(sound) = sound {
        assert_eq!(recovery.records, sound, "what was whole is there");
        assert!(recovery.damaged.is_empty(), "{:?}", recovery.damaged);
    }
    // All that is promised can be read, and nothing else.
    let mut read = 0;
    for id in opened.sealed() {
        for record in opened.read(id).expect("a sealed segment opens") {
            record.expect("a record that was found whole is whole");
            read += 1;
        }
    }
    assert_eq!(read, recovery.records);
    for damaged in &recovery.damaged {
        assert!(damaged.kept_in.as_ref().is_some_and(|kept| kept.exists()), "the bytes of what is damaged are kept");
    }
    drop(opened);
    let again = Journal::survey(dir).expect("an opened journal can be surveyed");
    assert_eq!((again.records, again.damaged.len(), again.torn_bytes), (recovery.records, 0, 0), "the next opening");
}

/// A segment of what a part says; how many records it holds, when all of it is as a writer would have left it.
fn segment(number: u64, part: &[u8]) -> (Vec<u8>, Option<u64>) {
    let mut parts = Parts::of(part);
    let mut file = header(number);
    let (mode, damage) = (parts.choice(), parts.choice());
    let mut sound = Some(0);
    if mode % 4 == 0 {
        file.extend(parts.rest());
        sound = None;
    } else {
        let mut seq = 0;
        for record in parts {
            sound = append(&mut file, number, &mut seq, record).and_then(|more| sound.map(|all: u64| all + more));
        }
        // Only the last one may lack its seal, and this may not be the last.
        encode(&mut file, number, 2, b"", b"", seq);
        file.resize(file.len().next_multiple_of(PAGE_BYTES), 0);
    }
    if damage != 0 {
        let at = usize::from(damage).wrapping_mul(0x9e37_79b9) % file.len();
        match damage % 3 {
            0 => file[at] ^= damage,
            1 => file.truncate(at),
            _ => file[at..].fill(0),
        }
        sound = None;
    }
    (file, sound)
}

/// A record, or what only looks like one; 1 for a record that a writer could have written.
fn append(file: &mut Vec<u8>, number: u64, seq: &mut u64, bytes: &[u8]) -> Option<u64> {
    let mut choices = Choices::of(bytes);
    let kind = choices.pick(8) as u8;
    let name: &[u8] = [&b"notes"[..], b"a", b"", b"\xff", b"x\0y"][choices.pick(16).saturating_sub(11) as usize];
    let body = bytes.get(2..).unwrap_or_default();
    *seq += 1;
    let valid = std::str::from_utf8(name).is_ok() && !name.is_empty() && !name.contains(&0);
    match kind {
        // Noise between records, and a record of another segment.
        5 => {
            file.extend(body);
            None
        }
        6 => {
            encode(file, number + 7, 1, name, body, *seq);
            None
        }
        7 => {
            encode(file, number, body.first().copied().unwrap_or(9), name, body, *seq);
            None
        }
        3 => {
            encode(file, number, 3, name, body, *seq);
            (valid && body.len() == 8).then_some(1)
        }
        _ => {
            encode(file, number, 1, name, body, *seq);
            valid.then_some(1)
        }
    }
}

fn header(number: u64) -> Vec<u8> {
    let mut page = vec![0; PAGE_BYTES];
    page[..8].copy_from_slice(b"weft-wal");
    page[8] = 1;
    page[16..24].copy_from_slice(&number.to_le_bytes());
    page[24..32].copy_from_slice(&NONCE.to_le_bytes());
    let crc = crc32c::crc32c(&page[..32]);
    page[32..36].copy_from_slice(&crc.to_le_bytes());
    page
}

/// A record with its checksums, as the format's description has it: a second reading of the same words.
fn encode(out: &mut Vec<u8>, number: u64, kind: u8, name: &[u8], body: &[u8], seq: u64) {
    let [header_salt, body_salt] =
        [NONCE as u32, (NONCE >> 32) as u32].map(|part| crc32c::crc32c_append(part, &number.to_le_bytes()));
    let group = out.len() as u32;
    let mut header = vec![0xf5, b'w', b'r', 0x9a, if kind == 3 { 2 } else { 1 }, kind];
    header.extend((name.len() as u16).to_le_bytes());
    header.extend((body.len() as u32).to_le_bytes());
    header.extend(group.to_le_bytes());
    header.extend(seq.to_le_bytes());
    let whole = [name, body].concat();
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(body_salt, &header), &whole);
    header.extend(crc.to_le_bytes());
    let crc = crc32c::crc32c_append(header_salt, &header);
    header.extend(crc.to_le_bytes());
    assert_eq!(header.len(), HEADER_BYTES);
    out.extend(header);
    out.extend(whole);
}
