//! What is left of a damaged segment: every record that can still be read, also those after the damage, and which bytes
//! cannot. Looking changes nothing; [`Salvage::rewrite`] keeps the damaged file's bytes in quarantine and puts a whole
//! segment with the readable records in its place.
//!
//! A record counts as readable when both its salted checksums hold, wherever it stands, so nothing inside an update can
//! pose as one (see `record`). The salt comes from the segment's header. When that is damaged, it is looked for: the
//! nonce may be whole though its checksum is not; one byte of it may be wrong; and if all of it is gone, a checksum can be
//! calculated backwards: the first record tells what its salt must have been, and the one after it confirms that.

use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::files::Files;
use super::record::{self, RECORD_HEADER_BYTES, RECORD_MAGIC, Record, SEAL_BYTES, Salt};
use super::segment::{
    ActiveSegment, PAGE_BYTES, SEGMENT_HEADER_BYTES, SealedSegment, SegmentId, decode_header, encode_header, no_room,
};
use super::walk::{Step, Walk, find_magic};
use crate::ids::{DocName, Seq};
use crate::limits::{JOURNAL_GROUP_BYTES_MAX, JOURNAL_UNREADABLE_REPORTED_MAX};

/// Bytes copied into quarantine at a time.
const COPY_BYTES: usize = 1 << 20;

/// A segment with damage, for a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedSegment {
    /// Name of the file in the journal's directory.
    pub segment: String,
    /// Where in it the damage begins.
    pub offset: u64,
    /// What is wrong there.
    pub why: &'static str,
    /// Records that can be read and are kept.
    pub records_kept: u64,
    /// Bytes that cannot be read.
    pub unreadable_bytes: u64,
    /// Where they are; the first [`JOURNAL_UNREADABLE_REPORTED_MAX`] places.
    pub unreadable: Vec<Unreadable>,
    /// Where the file's bytes are kept as they were found; `None` when nothing was changed.
    pub kept_in: Option<PathBuf>,
}

/// Bytes of a segment that are not a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Where they begin.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// Whose record that was and its position, as far as the damaged bytes can be believed.
    pub perhaps: Option<(DocName, Seq)>,
}

/// A damaged segment and what can be read of it.
pub(super) struct Salvage {
    pub(super) id: SegmentId,
    /// `None` when not one record can be read.
    walk: Option<Walk>,
    /// Where the readable records start.
    places: Vec<u64>,
    pub(super) record_bytes: u64,
    pub(super) report: DamagedSegment,
}

/// Reads what can be read of a segment in which `why` was found at `offset`. Errors: `NewerVersion`, `Io`.
pub(super) fn scan(
    files: &dyn Files,
    dir: &Path,
    id: SegmentId,
    offset: u64,
    why: &'static str,
) -> Result<Salvage, JournalError> {
    let report = DamagedSegment {
        segment: id.to_string(),
        offset,
        why,
        records_kept: 0,
        unreadable_bytes: 0,
        unreadable: Vec::new(),
        kept_in: None,
    };
    let mut salvage = Salvage { id, walk: None, places: Vec::new(), record_bytes: 0, report };
    let mut walk = Walk::open_unchecked(files, dir, id)?;
    match find_salt(&mut walk, id)? {
        Some(salt) => walk.salt = salt,
        None => {
            let end = last_byte(&mut walk, SEGMENT_HEADER_BYTES)?;
            salvage.miss(SEGMENT_HEADER_BYTES, end, None);
            return Ok(salvage);
        }
    }
    let mut at = SEGMENT_HEADER_BYTES;
    // Where the bytes began that are no record, and whose they were.
    let mut bad: Option<(u64, Option<(DocName, Seq)>)> = None;
    loop {
        match walk.look(at)? {
            Step::Record(header) => {
                if let Some((from, perhaps)) = bad.take() {
                    salvage.miss(from, at, perhaps);
                }
                let len = (RECORD_HEADER_BYTES + header.body_len()) as u64;
                if walk.record_at(at, &header)?.is_some() {
                    salvage.places.push(at);
                    salvage.record_bytes += len;
                } else {
                    salvage.miss(at, at + len, None);
                }
                at += len;
            }
            Step::Seal(_) => {
                // What stands after the seal was there before this segment was.
                if let Some((from, perhaps)) = bad.take() {
                    salvage.miss(from, at, perhaps);
                }
                break;
            }
            Step::Newer(version) => return Err(walk.newer(version)),
            Step::Bad(_) => {
                if bad.is_none() {
                    bad = Some((at, walk.perhaps_at(at)?));
                }
                match find_magic(&mut walk, at + 1)? {
                    Some(next) => at = next,
                    None => break,
                }
            }
        }
    }
    if let Some((from, perhaps)) = bad {
        let end = last_byte(&mut walk, from)?;
        salvage.miss(from, end, perhaps);
    }
    salvage.report.records_kept = salvage.places.len() as u64;
    salvage.walk = Some(walk);
    Ok(salvage)
}

impl Salvage {
    fn miss(&mut self, from: u64, to: u64, perhaps: Option<(DocName, Seq)>) {
        if from >= to {
            return;
        }
        self.report.unreadable_bytes += to - from;
        if self.report.unreadable.len() < JOURNAL_UNREADABLE_REPORTED_MAX {
            self.report.unreadable.push(Unreadable { offset: from, bytes: to - from, perhaps });
        }
    }

    /// Copies the file into `quarantine` and puts a whole segment in its place; `None` when no record was readable, and
    /// there is nothing to put there.
    ///
    /// The copy is synced before the file is replaced, and the new file before it gets its name. A crash in between
    /// leaves the damaged segment where it was, and the next start does the same again: the copy's name follows from the
    /// bytes, so it is written over, not added.
    pub(super) fn rewrite(
        &mut self,
        files: &dyn Files,
        dir: &Path,
        quarantine: &Path,
    ) -> Result<Option<SealedSegment>, JournalError> {
        self.report.kept_in = Some(keep(files, dir, quarantine, self.id)?);
        let path = self.id.path(dir);
        let Some(walk) = self.walk.as_mut().filter(|_| !self.places.is_empty()) else {
            files.remove(&path).map_err(JournalError::io("remove", &path))?;
            files.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
            return Ok(None);
        };
        let nonce = getrandom::u64().map_err(|e| JournalError::Failed(format!("no randomness for a segment: {e}")))?;
        let file_len = (SEGMENT_HEADER_BYTES + self.record_bytes + SEAL_BYTES as u64).next_multiple_of(PAGE_BYTES);
        let new = self.id.unfinished_path(dir);
        let file = files.create(&new).map_err(JournalError::io("create", &new))?;
        file.write_at(&encode_header(self.id, nonce, file_len), 0).map_err(JournalError::io("write", &new))?;
        let mut active = ActiveSegment::new(self.id, new.clone(), file, nonce, file_len);
        let (mut group, mut records) = (Vec::new(), 0);
        for &place in &self.places {
            let Step::Record(header) = walk.look(place)? else {
                return Err(walk.corrupt(place, "a record was readable and is no more"));
            };
            let record = walk.record_at(place, &header)?;
            let record = record.ok_or_else(|| walk.corrupt(place, "a record was readable and is no more"))?;
            record::encode(&mut group, active.salt, active.group(), &record);
            records += 1;
            if group.len() >= JOURNAL_GROUP_BYTES_MAX {
                active.write(&mut group, records, &mut no_room)?;
                active.sync()?;
                records = 0;
            }
        }
        if !group.is_empty() {
            active.write(&mut group, records, &mut no_room)?;
            active.sync()?;
        }
        let sealed = active.seal(&mut no_room)?;
        files.rename(&new, &path).map_err(JournalError::io("rename", &new))?;
        files.sync_dir(dir).map_err(JournalError::io("sync", dir))?;
        Ok(Some(sealed))
    }
}

/// Copies a segment into `quarantine`, durably, and returns where. Zeros are left out, as holes.
fn keep(files: &dyn Files, dir: &Path, quarantine: &Path, id: SegmentId) -> Result<PathBuf, JournalError> {
    let path = id.path(dir);
    let file = files.open(&path, false).map_err(JournalError::io("open", &path))?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut part_at = |at: u64| -> Result<Vec<u8>, JournalError> {
        let read = file.read_at(&mut buffer, at).map_err(JournalError::io("read", &path))?;
        Ok(buffer.get(..read).unwrap_or_default().to_vec())
    };
    let (mut crc, mut len) = (0, 0);
    loop {
        let part = part_at(len)?;
        if part.is_empty() {
            break;
        }
        crc = crc32c::crc32c_append(crc, &part);
        len += part.len() as u64;
    }
    super::create_dir(files, quarantine).map_err(JournalError::io("create", quarantine))?;
    let kept = quarantine.join(format!("journal-{crc:08x}-{id}"));
    let copy = files.create(&kept).map_err(JournalError::io("create", &kept))?;
    let mut at = 0;
    while at < len {
        let part = part_at(at)?;
        let next = at + part.len() as u64;
        if part.is_empty() || next >= len || part.iter().any(|b| *b != 0) {
            copy.write_at(&part, at).map_err(JournalError::io("write", &kept))?;
        }
        if part.is_empty() {
            break; // it has become shorter meanwhile
        }
        at = next;
    }
    copy.sync().map_err(JournalError::io("sync", &kept))?;
    files.sync_dir(quarantine).map_err(JournalError::io("sync", quarantine))?;
    Ok(kept)
}

/// Where the last byte from `from` on ends that is not zero.
fn last_byte(walk: &mut Walk, from: u64) -> Result<u64, JournalError> {
    let (mut end, mut at) = (from, from);
    loop {
        let bytes = walk.bytes_at(at, COPY_BYTES / 4)?;
        if bytes.is_empty() {
            return Ok(end);
        }
        if let Some(last) = bytes.iter().rposition(|b| *b != 0) {
            end = at + last as u64 + 1;
        }
        at += bytes.len() as u64;
    }
}

// ---- the salt -----------------------------------------------------------------------------------------------------

/// The salt under which this segment's records are readable.
fn find_salt(walk: &mut Walk, id: SegmentId) -> Result<Option<Salt>, JournalError> {
    let page = walk.bytes_at(0, 64)?.to_vec();
    if let Ok(salt) = decode_header(&page, id) {
        return Ok(Some(salt));
    }
    let nonce = |page: &[u8]| page.get(24..32).and_then(|b| b.first_chunk::<8>()).map(|b| u64::from_le_bytes(*b));
    if let Some(nonce) = nonce(&page) {
        let salt = Salt::new(id.0, nonce);
        if reads_anything(walk, salt)? {
            return Ok(Some(salt));
        }
    }
    // One byte of the header is wrong: its checksum says which, and what it was.
    let mut guess = page.clone();
    for at in 0..page.len().min(36) {
        for flip in 1..=255u8 {
            guess[at] ^= flip;
            let salt = decode_header(&guess, id);
            guess[at] ^= flip;
            if let Ok(salt) = salt
                && reads_anything(walk, salt)?
            {
                return Ok(Some(salt));
            }
        }
    }
    implied_salt(walk)
}

/// Whether any record of the segment is readable under this salt.
fn reads_anything(walk: &mut Walk, salt: Salt) -> Result<bool, JournalError> {
    walk.salt = salt;
    let mut from = SEGMENT_HEADER_BYTES;
    while let Some(at) = find_magic(walk, from)? {
        match walk.look(at)? {
            Step::Record(_) | Step::Seal(_) | Step::Newer(_) => return Ok(true),
            Step::Bad(_) => from = at + 1,
        }
    }
    Ok(false)
}

/// The salt that the first record's checksums follow from, if the record or seal after it is readable under it as well.
fn implied_salt(walk: &mut Walk) -> Result<Option<Salt>, JournalError> {
    let Some(header) = walk.bytes_at(SEGMENT_HEADER_BYTES, RECORD_HEADER_BYTES)?.first_chunk::<RECORD_HEADER_BYTES>()
    else {
        return Ok(None);
    };
    let header = *header;
    if header[0..4] != RECORD_MAGIC {
        return Ok(None);
    }
    let number = |from: usize| {
        header.get(from..from + 4).and_then(|b| b.first_chunk::<4>()).map_or(0, |b| u32::from_le_bytes(*b))
    };
    let (update_len, body_crc, header_crc) = (number(8) as usize, number(24), number(28));
    let name_len = usize::from(u16::from_le_bytes([header[6], header[7]]));
    let body_len = name_len.saturating_add(update_len);
    if RECORD_HEADER_BYTES + body_len > crate::limits::JOURNAL_RECORD_BYTES_MAX {
        return Ok(None);
    }
    let body = walk.bytes_at(SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES as u64, body_len)?;
    let body_seed = crc32c_before(crc32c_before(body_crc, body), &header[..24]);
    let salt = Salt::of_parts(crc32c_before(header_crc, &header[..28]), body_seed);
    walk.salt = salt;
    let next = SEGMENT_HEADER_BYTES + (RECORD_HEADER_BYTES + body_len) as u64;
    let confirmed = matches!(walk.look(next)?, Step::Record(_) | Step::Seal(_) | Step::Newer(_));
    Ok(confirmed.then_some(salt))
}

/// The value from which `crc32c_append(value, bytes)` gives `crc`: the calculation run backwards, which this checksum
/// allows, bit by bit.
fn crc32c_before(crc: u32, bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let mut state = !crc;
    for byte in bytes.iter().rev() {
        for _ in 0..8 {
            // The polynomial's highest bit is set, so the highest bit tells whether it was added.
            state = if state & 0x8000_0000 != 0 { ((state ^ POLYNOMIAL) << 1) | 1 } else { state << 1 };
        }
        state ^= u32::from(*byte);
    }
    !state
}

impl Walk {
    /// The record at `offset`, whose header was read there; `None` when its name is not valid.
    pub(super) fn record_at(&mut self, offset: u64, header: &record::Header) -> Result<Option<Record>, JournalError> {
        let (name_len, seq, kind) = (header.name_len, Seq(header.seq), header.kind);
        let body = self.bytes_at(offset + RECORD_HEADER_BYTES as u64, header.body_len())?;
        let split = body.split_at_checked(name_len);
        Ok(split.and_then(|(name, body)| {
            let doc = DocName::parse_bytes(name).ok()?;
            Some(Record { doc, seq, body: record::Body::decode(kind, body)? })
        }))
    }

    /// Whose record the unreadable one at `offset` was, and its position, if its header is whole.
    fn perhaps_at(&mut self, offset: u64) -> Result<Option<(DocName, Seq)>, JournalError> {
        let salt = self.salt;
        let header = match record::Header::decode(self.bytes_at(offset, RECORD_HEADER_BYTES)?, salt) {
            record::Decoded::Header(header) => header,
            record::Decoded::Newer(_) | record::Decoded::Not(_) => return Ok(None),
        };
        let name = self.bytes_at(offset + RECORD_HEADER_BYTES as u64, header.name_len)?;
        Ok(DocName::parse_bytes(name).ok().map(|doc| (doc, Seq(header.seq))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::faulty::{Dice, Disk, Fault};
    use super::super::tests::{DIR, layout, newest, nth, options, read_all, with_a_last_group};
    use super::super::{Journal, JournalOptions, Recovery};
    use super::*;

    const QUARANTINE: &str = "/quarantine";

    fn open(disk: &Disk) -> Result<(Journal, Recovery), JournalError> {
        let options = JournalOptions { quarantine: Some(QUARANTINE.into()), ..options() };
        Journal::open_with(Arc::new(disk.clone()), Path::new(DIR), options)
    }

    async fn replay(disk: &Disk, what: &str) -> (Vec<Record>, Recovery) {
        let (journal, recovery) = open(disk).unwrap_or_else(|e| panic!("{what}: {e}"));
        let records = read_all(&journal).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(records.len() as u64, recovery.records, "{what}");
        journal.close().await.unwrap();
        (records, recovery)
    }

    /// What lies in quarantine.
    fn kept(disk: &Disk) -> Vec<Vec<u8>> {
        disk.contents().into_iter().filter(|(path, _)| path.starts_with(QUARANTINE)).map(|(_, bytes)| bytes).collect()
    }

    #[tokio::test]
    async fn s2_a_flipped_byte_costs_its_record_and_nothing_else() {
        let (disk, records) = with_a_last_group().await;
        let path = newest(&disk);
        let ranges = layout(&disk.contents()[&path]);
        let bytes = (0..64).chain(ranges[0].start..ranges[12].end);
        for at in bytes.filter(|at| *at < ranges[11].end || at.is_multiple_of(53)) {
            let what = format!("byte {at}");
            let damaged = disk.killed();
            damaged.tamper(&path, |bytes| bytes[at] ^= 1 << (at % 8));
            let found = damaged.contents()[&path].clone();
            let (replayed, recovery) = replay(&damaged, &what).await;
            let hit = ranges.iter().position(|range| range.contains(&at));
            let expected: Vec<Record> = match hit {
                None => records.clone(),
                // Of the last group nothing tells damage from a write that was cut off.
                Some(hit @ 10..) => records[..hit].to_vec(),
                Some(hit) => records.iter().enumerate().filter(|(n, _)| *n != hit).map(|(_, r)| r.clone()).collect(),
            };
            assert_eq!(replayed, expected, "{what}");
            match (hit, &recovery.damaged[..]) {
                (Some(10..), []) => assert!(recovery.torn_bytes > 0, "{what}"),
                // Nothing depends on these.
                (None, []) => assert!((36..40).contains(&at) || at >= 52, "{what}"),
                (_, [damage]) => {
                    assert_eq!(damage.records_kept, expected.len() as u64, "{what}");
                    assert_eq!(hit.map_or(0, |hit| ranges[hit].len() as u64), damage.unreadable_bytes, "{what}");
                    assert_eq!(kept(&damaged), [found], "{what}: the bytes are kept as they were found");
                }
                (_, damaged) => panic!("{what}: {damaged:?}"),
            }
            // The second start finds a whole journal.
            let (again, recovery) = replay(&damaged.synced(), &what).await;
            assert_eq!((again, recovery.damaged.len(), recovery.torn_bytes), (replayed, 0, 0), "{what}");
        }
    }

    #[tokio::test]
    async fn s2_a_lost_header_costs_no_record() {
        let (disk, records) = with_a_last_group().await;
        let path = newest(&disk);
        for range in [0..4096, 16..36, 24..32, 24..26] {
            let damaged = disk.killed();
            damaged.tamper(&path, |bytes| bytes[range.clone()].fill(0));
            let (replayed, recovery) = replay(&damaged, &format!("{range:?}")).await;
            assert_eq!(replayed, records, "{range:?}");
            assert_eq!((recovery.damaged.len(), recovery.damaged[0].unreadable_bytes), (1, 0), "{range:?}");
        }
    }

    #[tokio::test]
    async fn s2_a_file_cut_short_is_reported_and_keeps_what_is_before_the_cut() {
        let (disk, records) = with_a_last_group().await;
        let path = newest(&disk);
        let ranges = layout(&disk.contents()[&path]);
        for cut in (0..ranges[12].end + 100).filter(|at| at.is_multiple_of(7) || ranges.iter().any(|r| r.end == *at)) {
            let what = format!("cut at {cut}");
            let damaged = disk.killed();
            damaged.tamper(&path, |bytes| bytes.truncate(cut));
            let (replayed, recovery) = replay(&damaged, &what).await;
            let whole = ranges.iter().filter(|r| r.end <= cut).count();
            assert_eq!(replayed, records[..whole], "{what}");
            assert_eq!(recovery.damaged.len(), 1, "{what}");
        }
    }

    #[tokio::test]
    async fn s2_looking_changes_nothing_and_finds_the_same() {
        let (disk, _) = with_a_last_group().await;
        let path = newest(&disk);
        disk.tamper(&path, |bytes| bytes[4096 + 40] ^= 1);
        let before = disk.contents();
        let (_, looked) = super::super::recovery::survey(&disk, Path::new(DIR), true).unwrap();
        assert_eq!(disk.contents(), before);
        let (_, opened) = open(&disk).unwrap();
        let kept_in = looked.damaged.iter().map(|damage| damage.kept_in.clone()).collect::<Vec<_>>();
        assert_eq!(kept_in, [None]);
        let forget = |mut recovery: Recovery| {
            recovery.damaged.iter_mut().for_each(|damage| damage.kept_in = None);
            recovery
        };
        assert_eq!(forget(looked), forget(opened));
    }

    #[tokio::test]
    async fn s2_a_segment_without_its_seal_before_others_is_kept() {
        let disk = Disk::default();
        let (journal, _) = open(&disk).unwrap();
        let records: Vec<Record> = (1..=60).map(|n| nth("doc", n, 900)).collect();
        journal.append(records.clone(), None).await.unwrap();
        journal.close().await.unwrap();
        let path = SegmentId(1).path(Path::new(DIR));
        let seal = layout(&disk.contents()[&path]).last().unwrap().end;
        disk.tamper(&path, |bytes| bytes[seal..seal + SEAL_BYTES].fill(0));
        let (replayed, recovery) = replay(&disk, "no seal").await;
        assert_eq!((replayed, recovery.damaged.len()), (records, 1));
    }

    #[tokio::test]
    async fn a_crash_while_damage_is_put_aside_loses_nothing_more() {
        let (disk, records) = with_a_last_group().await;
        let path = newest(&disk);
        let hit = layout(&disk.contents()[&path])[4].start;
        disk.tamper(&path, |bytes| bytes[hit + 1] ^= 1);
        let damaged_bytes = disk.contents()[&path].clone();
        let expected: Vec<Record> =
            records.iter().enumerate().filter(|(n, _)| *n != 4).map(|(_, record)| record.clone()).collect();
        let mut covered = 0;
        for n in 1.. {
            let crashing = disk.killed();
            crashing.fail_operation(n, if n % 2 == 0 { Fault::Short } else { Fault::Eio });
            let opened = open(&crashing);
            if let Ok((journal, _)) = opened {
                let _ = journal.close().await;
                if !crashing.has_failed() {
                    break;
                }
            }
            for found in [crashing.killed(), crashing.synced(), crashing.without_power(&mut Dice(n), 4)] {
                let (replayed, _) = replay(&found, &format!("operation {n}")).await;
                assert_eq!(replayed, expected, "operation {n}");
                assert!(kept(&found).contains(&damaged_bytes), "operation {n}");
            }
            covered = n;
        }
        assert!(covered > 12, "only {covered} operations");
    }

    #[test]
    fn a_checksum_runs_backwards() {
        for (seed, bytes) in [(0, &b""[..]), (7, b"a"), (u32::MAX, b"weft"), (0x1234_5678, &[0xf5; 300])] {
            assert_eq!(crc32c_before(crc32c::crc32c_append(seed, bytes), bytes), seed);
        }
    }
}
