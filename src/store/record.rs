//! Values of the database: how catalogue entries and update records become bytes, with magic, version and checksum.
//! The only file of the store that names bincode (S10). Knows nothing of keys and of the engine.
//!
//! Two shapes:
//!
//! - **Envelope**, for small metadata ([`Entry`], [`Root`]): `magic:1 schema:1 codec:1 crc32c:4 body`. Codec 1 is
//!   bincode 2, standard configuration. Integers in the head are little-endian.
//! - **Update record**, for contents ([`UpdateRecord`]), a fixed layout that needs no codec:
//!
//! ```text
//!  0  magic     b'W'
//!  1  kind      b'L' log record, b'S' snapshot
//!  2  version   1
//!  3  zero
//!  4  crc32c    u32, of the salt, bytes 0..4, and all from byte 8
//!  8  first     u64: position of the first update; of a snapshot, its generation
//! 16  last      u64: position of the last update; of a snapshot, the position it covers
//! 24  count     u32: updates that follow
//! 28  length    u64: bytes that follow the header
//! 36  count times: length:u32, update
//! ```
//!
//! Every checksum is salted with the document's name, so that a record that strays to another document is damage and
//! not data. Decoders take any bytes, never panic, and never allocate by a length that the bytes do not bear out.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::DocHead;
use crate::ids::{DocName, Seq};

/// Why bytes are not the record they should be. Reads well after "… is damaged:".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flaw {
    /// Shorter than its header.
    #[error("it ends after {0} bytes, before its header does")]
    Short(usize),
    /// Another kind of record, or none.
    #[error("it does not begin like a record of this kind")]
    Magic,
    /// A version this program does not read.
    #[error("it has format version {0}, which this version of weft does not know")]
    Version(u8),
    /// A codec this program does not read.
    #[error("it uses codec {0}, which this version of weft does not know")]
    Codec(u8),
    /// Another length than its header says.
    #[error("its header announces {announced} bytes, there are {found}")]
    Length {
        /// According to the header.
        announced: u64,
        /// In truth.
        found: usize,
    },
    /// The bytes changed after they were written, or belong to another document.
    #[error("its checksum does not match")]
    Checksum,
    /// It, or a part of it, is not there.
    #[error("it is missing, in part or whole")]
    Missing,
    /// The checksum matches, yet the contents make no sense.
    #[error("its contents do not add up")]
    Contents,
}

// ---- catalogue entry and root -------------------------------------------------------------------------------------

/// A catalogue entry as stored: what callers see, and what the store needs to find the contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// What callers see.
    pub head: DocHead,
    /// Generation of the current snapshot; 0 without one. Rises by one with each snapshot.
    pub generation: u64,
    /// A snapshot is being installed, or its installation was cut short: chunks this entry does not name may be there.
    pub untidy: bool,
}

/// What is known of the whole store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Root {
    /// Catalogue entries.
    pub documents: u64,
    /// Rises with every `make_durable`; compared at start-up with the one noted outside the database.
    pub checkpoint: u64,
    /// Bytes of all keys and values beside this record; `None` when nobody has counted them yet.
    pub live_bytes: Option<u64>,
}

/// Schema 2 of the root record, since format 2 of the data directory. Never changed.
#[derive(Serialize, Deserialize)]
struct RootV2 {
    documents: u64,
    checkpoint: u64,
    live_bytes: Option<u64>,
}

/// Schema 1 of the root record, read for ever (S10).
#[derive(Serialize, Deserialize)]
struct RootV1 {
    documents: u64,
    checkpoint: u64,
}

/// Schema 2 of a catalogue entry, since format 2 of the data directory. Never changed: a new schema is a new struct.
#[derive(Serialize, Deserialize)]
struct EntryV2 {
    head: EntryV1,
    deleted_ms: Option<u64>,
}

/// Schema 1 of a catalogue entry, read for ever (S10).
#[derive(Serialize, Deserialize)]
struct EntryV1 {
    last_seq: u64,
    snapshot_seq: u64,
    snapshot_bytes: u64,
    log_bytes: u64,
    log_updates: u64,
    log_records: u64,
    created_ms: u64,
    updated_ms: u64,
    generation: u64,
    untidy: bool,
}

const ENTRY_MAGIC: u8 = b'H';
const ROOT_MAGIC: u8 = b'R';
const SCHEMA_V1: u8 = 1;
const SCHEMA_V2: u8 = 2;
const CODEC_BINCODE2: u8 = 1;
const ENVELOPE_BYTES: usize = 7;
/// Most bytes bincode may claim while it decodes; entries have about a dozen integers.
const ENVELOPE_BODY_BYTES_MAX: usize = 256;

/// A catalogue entry of `doc` as bytes.
pub(super) fn encode_entry(doc: &DocName, entry: &Entry) -> Vec<u8> {
    let head = &entry.head;
    let v1 = EntryV1 {
        last_seq: head.last_seq.0,
        snapshot_seq: head.snapshot_seq.0,
        snapshot_bytes: head.snapshot_bytes,
        log_bytes: head.log_bytes,
        log_updates: head.log_updates,
        log_records: head.log_records,
        created_ms: head.created_ms,
        updated_ms: head.updated_ms,
        generation: entry.generation,
        untidy: entry.untidy,
    };
    seal(ENTRY_MAGIC, SCHEMA_V2, doc.as_bytes(), &EntryV2 { head: v1, deleted_ms: head.deleted_ms })
}

/// The catalogue entry of `doc` that [`encode_entry`], or a weft of an earlier format, made.
pub(super) fn decode_entry(doc: &DocName, bytes: &[u8]) -> Result<Entry, Flaw> {
    let envelope = unseal(ENTRY_MAGIC, doc.as_bytes(), bytes)?;
    let EntryV2 { head: v1, deleted_ms } = match envelope.schema {
        SCHEMA_V1 => {
            let head: EntryV1 = envelope.decode()?;
            // Before there were deletions, only a snapshot could cover anything.
            if head.generation == 0 && head.snapshot_seq != 0 {
                return Err(Flaw::Contents);
            }
            EntryV2 { head, deleted_ms: None }
        }
        SCHEMA_V2 => envelope.decode()?,
        newer => return Err(Flaw::Version(newer)),
    };
    let is_bare = v1.snapshot_seq == v1.last_seq && v1.generation == 0 && v1.snapshot_bytes == 0;
    if v1.snapshot_seq > v1.last_seq || (deleted_ms.is_some() && !is_bare) {
        return Err(Flaw::Contents);
    }
    Ok(Entry {
        head: DocHead {
            last_seq: Seq(v1.last_seq),
            snapshot_seq: Seq(v1.snapshot_seq),
            snapshot_bytes: v1.snapshot_bytes,
            log_bytes: v1.log_bytes,
            log_updates: v1.log_updates,
            log_records: v1.log_records,
            created_ms: v1.created_ms,
            updated_ms: v1.updated_ms,
            deleted_ms,
            damaged: false,
        },
        generation: v1.generation,
        untidy: v1.untidy,
    })
}

/// The root record as bytes.
pub(super) fn encode_root(root: &Root) -> Vec<u8> {
    let Root { documents, checkpoint, live_bytes } = *root;
    seal(ROOT_MAGIC, SCHEMA_V2, b"", &RootV2 { documents, checkpoint, live_bytes })
}

/// The root record that [`encode_root`], or a weft of an earlier format, made.
pub(super) fn decode_root(bytes: &[u8]) -> Result<Root, Flaw> {
    let envelope = unseal(ROOT_MAGIC, b"", bytes)?;
    let RootV2 { documents, checkpoint, live_bytes } = match envelope.schema {
        SCHEMA_V1 => {
            let RootV1 { documents, checkpoint } = envelope.decode()?;
            RootV2 { documents, checkpoint, live_bytes: None }
        }
        SCHEMA_V2 => envelope.decode()?,
        newer => return Err(Flaw::Version(newer)),
    };
    Ok(Root { documents, checkpoint, live_bytes })
}

fn codec() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<ENVELOPE_BODY_BYTES_MAX>()
}

fn seal<T: Serialize>(magic: u8, schema: u8, salt: &[u8], value: &T) -> Vec<u8> {
    let mut out = vec![magic, schema, CODEC_BINCODE2, 0, 0, 0, 0];
    // Structs of integers into a growing vector: bincode has no way to fail.
    bincode::serde::encode_into_std_write(value, &mut out, codec()).expect("integers always encode");
    let crc = envelope_crc(salt, &out);
    out[3..ENVELOPE_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The inside of an envelope whose checksum holds.
struct Envelope<'a> {
    schema: u8,
    body: &'a [u8],
}

fn unseal<'a>(magic: u8, salt: &[u8], bytes: &'a [u8]) -> Result<Envelope<'a>, Flaw> {
    let Some(([found, schema, codec_id, crc @ ..], body)) = bytes.split_first_chunk::<ENVELOPE_BYTES>() else {
        return Err(Flaw::Short(bytes.len()));
    };
    if *found != magic {
        return Err(Flaw::Magic);
    }
    // The checksum comes before the versions: a flipped bit in a version is damage, not a newer weft. It covers the
    // same bytes in all versions.
    if envelope_crc(salt, bytes) != u32::from_le_bytes(*crc) {
        return Err(Flaw::Checksum);
    }
    if *codec_id != CODEC_BINCODE2 {
        return Err(Flaw::Codec(*codec_id));
    }
    Ok(Envelope { schema: *schema, body })
}

impl Envelope<'_> {
    fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, Flaw> {
        match bincode::serde::decode_from_slice(self.body, codec()) {
            Ok((value, used)) if used == self.body.len() => Ok(value),
            Ok(_) | Err(_) => Err(Flaw::Contents),
        }
    }
}

/// Checksum of an envelope of at least [`ENVELOPE_BYTES`]: salt, the three leading bytes, the body.
fn envelope_crc(salt: &[u8], bytes: &[u8]) -> u32 {
    let lead = bytes.get(..3).unwrap_or_default();
    let body = bytes.get(ENVELOPE_BYTES..).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c_append(salted(salt), lead), body)
}

/// NUL ends the salt, so that salt and data cannot trade bytes.
fn salted(salt: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(salt), &[0])
}

// ---- updates ------------------------------------------------------------------------------------------------------

/// What an update record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// Consecutive updates of the log.
    Log = b'L',
    /// A whole document.
    Snapshot = b'S',
}

/// Updates with their place in the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UpdateRecord {
    /// Position of the first update; of a snapshot, its generation.
    pub first: u64,
    /// Position of the last update; of a snapshot, the position it covers.
    pub last: u64,
    /// The updates, in order. They share one buffer.
    pub updates: Vec<Bytes>,
}

const RECORD_MAGIC: u8 = b'W';
const RECORD_VERSION: u8 = 1;
const RECORD_HEADER_BYTES: usize = 36;

/// An update record on its way into the database. Its updates stay where they are: a snapshot may be large, and once more of
/// it would be too much.
pub(super) struct Encoding<'a> {
    header: Vec<u8>,
    /// With the length of each, as it goes before it.
    updates: Vec<([u8; 4], &'a [u8])>,
}

impl<'a> Encoding<'a> {
    /// The record of `doc` with these updates.
    pub(super) fn new(
        doc: &DocName,
        kind: RecordKind,
        first: u64,
        last: u64,
        updates: impl ExactSizeIterator<Item = &'a Bytes>,
    ) -> Self {
        // All fit: an update is at most one message, a record at most what a checkpoint gathers (limits).
        let count = u32::try_from(updates.len()).expect("fewer than 2^32 updates");
        let length_of = |update: &Bytes| u32::try_from(update.len()).expect("updates are below 4 GiB").to_le_bytes();
        let updates: Vec<_> = updates.map(|update| (length_of(update), &update[..])).collect();
        let length: usize = updates.iter().map(|(length, update)| length.len() + update.len()).sum();
        let mut header = Vec::with_capacity(RECORD_HEADER_BYTES);
        header.extend_from_slice(&[RECORD_MAGIC, kind as u8, RECORD_VERSION, 0]);
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&first.to_le_bytes());
        header.extend_from_slice(&last.to_le_bytes());
        header.extend_from_slice(&count.to_le_bytes());
        header.extend_from_slice(&(length as u64).to_le_bytes());
        let crc = updates.iter().fold(record_crc(doc, &header), |crc, (length, update)| {
            crc32c::crc32c_append(crc32c::crc32c_append(crc, length), update)
        });
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        Self { header, updates }
    }

    /// How many bytes it has.
    pub(super) fn bytes(&self) -> usize {
        let updates = self.updates.iter().map(|(length, update)| length.len() + update.len());
        self.header.len() + updates.sum::<usize>()
    }

    /// Its bytes in chunks of `bytes`, but for the last one, which may be shorter.
    pub(super) fn chunks(&self, bytes: usize) -> impl Iterator<Item = Vec<u8>> {
        let updates = self.updates.iter().flat_map(|(length, update)| [&length[..], update]);
        let mut pieces = std::iter::once(&self.header[..]).chain(updates);
        let mut rest: &[u8] = &[];
        std::iter::from_fn(move || {
            let mut chunk = Vec::with_capacity(bytes);
            while chunk.len() < bytes {
                if rest.is_empty() {
                    let Some(piece) = pieces.next() else { break };
                    rest = piece;
                }
                let (here, later) = rest.split_at(rest.len().min(bytes - chunk.len()));
                chunk.extend_from_slice(here);
                rest = later;
            }
            (!chunk.is_empty()).then_some(chunk)
        })
    }

    /// Its bytes.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        let updates = self.updates.iter().flat_map(|(length, update)| [&length[..], update]);
        std::iter::once(&self.header[..]).chain(updates).collect::<Vec<_>>().concat()
    }
}

/// Bytes of the record whose first chunk this is, as its header has it; nothing has proven that yet.
pub(super) fn announced_bytes(first_chunk: &[u8]) -> usize {
    let header = first_chunk.get(..RECORD_HEADER_BYTES).and_then(<[u8]>::last_chunk);
    let length = header.map_or(0, |length| u64::from_le_bytes(*length));
    usize::try_from(length).unwrap_or(usize::MAX).saturating_add(RECORD_HEADER_BYTES)
}

/// More bytes than a record has whose updates have so many.
pub(super) fn bytes_about(updates: u64) -> usize {
    /// Header and lengths, of many small updates more than the updates themselves.
    const SPARE_BYTES: usize = 64 << 10;
    usize::try_from(updates).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(SPARE_BYTES)
}

/// The record of `doc` that [`Encoding`] made, after its chunks were put together.
pub(super) fn decode_updates(doc: &DocName, kind: RecordKind, bytes: Bytes) -> Result<UpdateRecord, Flaw> {
    let found = bytes.len();
    let mut rest = bytes.as_ref();
    let [magic, kind_found, version, zero] = take(&mut rest).ok_or(Flaw::Short(found))?;
    let crc = u32::from_le_bytes(take(&mut rest).ok_or(Flaw::Short(found))?);
    let first = u64::from_le_bytes(take(&mut rest).ok_or(Flaw::Short(found))?);
    let last = u64::from_le_bytes(take(&mut rest).ok_or(Flaw::Short(found))?);
    let count = u32::from_le_bytes(take(&mut rest).ok_or(Flaw::Short(found))?);
    let announced = u64::from_le_bytes(take(&mut rest).ok_or(Flaw::Short(found))?);
    if magic != RECORD_MAGIC || kind_found != kind as u8 {
        return Err(Flaw::Magic);
    }
    if record_crc(doc, &bytes) != crc {
        // Of a record that lost its end, the length says more than the checksum.
        return Err(if announced > rest.len() as u64 {
            Flaw::Length { announced, found: rest.len() }
        } else {
            Flaw::Checksum
        });
    }
    if version != RECORD_VERSION {
        return Err(Flaw::Version(version));
    }
    if announced != rest.len() as u64 {
        return Err(Flaw::Length { announced, found: rest.len() });
    }
    // Each update has at least its four bytes of length, which bounds the allocation by what is there.
    if zero != 0 || u64::from(count) * 4 > announced {
        return Err(Flaw::Contents);
    }
    let mut updates = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let length = u32::from_le_bytes(take(&mut rest).ok_or(Flaw::Contents)?);
        let (update, after) = rest.split_at_checked(length as usize).ok_or(Flaw::Contents)?;
        updates.push(bytes.slice_ref(update));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(Flaw::Contents);
    }
    Ok(UpdateRecord { first, last, updates })
}

/// Looks over an update record of `doc` piece by piece, for those who do not want it in memory whole.
pub(super) struct UpdatesCheck {
    /// The header as far as it has come.
    header: Vec<u8>,
    crc: u32,
    /// Bytes after the header.
    length: u64,
}

impl UpdatesCheck {
    pub(super) fn new(doc: &DocName) -> Self {
        Self { header: Vec::with_capacity(RECORD_HEADER_BYTES), crc: salted(doc.as_bytes()), length: 0 }
    }

    /// The next piece.
    pub(super) fn feed(&mut self, piece: &[u8]) {
        let missing = RECORD_HEADER_BYTES - self.header.len();
        let (header, rest) = piece.split_at_checked(missing).unwrap_or((piece, &[]));
        if missing > 0 {
            self.header.extend_from_slice(header);
            if self.header.len() < RECORD_HEADER_BYTES {
                return;
            }
            let lead = self.header.get(..4).unwrap_or_default();
            let fields = self.header.get(8..).unwrap_or_default();
            self.crc = crc32c::crc32c_append(crc32c::crc32c_append(self.crc, lead), fields);
        }
        self.crc = crc32c::crc32c_append(self.crc, rest);
        self.length += rest.len() as u64;
    }

    /// Whether what has come is one record, with the checksum it should have.
    pub(super) fn finish(self) -> Result<(), Flaw> {
        let mut header = &self.header[..];
        let short = Flaw::Short(self.header.len());
        let [magic, _, version, _] = take(&mut header).ok_or(short.clone())?;
        let crc = u32::from_le_bytes(take(&mut header).ok_or(short.clone())?);
        let length_at = RECORD_HEADER_BYTES - 8;
        let length = self.header.get(length_at..).and_then(|bytes| bytes.try_into().ok()).ok_or(short)?;
        let announced = u64::from_le_bytes(length);
        if magic != RECORD_MAGIC {
            return Err(Flaw::Magic);
        }
        if announced != self.length {
            return Err(Flaw::Length { announced, found: usize::try_from(self.length).unwrap_or(usize::MAX) });
        }
        if self.crc != crc {
            return Err(Flaw::Checksum);
        }
        if version == RECORD_VERSION { Ok(()) } else { Err(Flaw::Version(version)) }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// Checksum of a record of at least its header: salt, what precedes the checksum, what follows it.
fn record_crc(doc: &DocName, bytes: &[u8]) -> u32 {
    let lead = bytes.get(..4).unwrap_or_default();
    let body = bytes.get(8..).unwrap_or_default();
    crc32c::crc32c_append(crc32c::crc32c_append(salted(doc.as_bytes()), lead), body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(name: &str) -> DocName {
        DocName::parse(name).expect("a valid name")
    }

    fn entry() -> Entry {
        Entry {
            head: DocHead {
                last_seq: Seq(1 << 40),
                snapshot_seq: Seq(70_000),
                snapshot_bytes: 300_000,
                log_bytes: 999,
                log_updates: 20,
                log_records: 3,
                created_ms: 1_700_000_000_000,
                updated_ms: 1_800_000_000_000,
                deleted_ms: None,
                damaged: false,
            },
            generation: 7,
            untidy: true,
        }
    }

    /// Flips each bit of `bytes` and cuts them at each length; `decode` must refuse all of it (ST7).
    fn refuses_all_damage<T: std::fmt::Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, Flaw>) {
        decode(bytes).expect("the sound record decodes");
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 1 << bit;
                decode(&damaged).expect_err("a flipped bit is noticed");
            }
            decode(&bytes[..at]).expect_err("a lost end is noticed");
        }
        decode(&[bytes, &[0]].concat()).expect_err("an extra byte is noticed");
    }

    #[test]
    fn st7_no_damaged_entry_decodes() {
        let d = doc("notes/ä");
        let bytes = encode_entry(&d, &entry());
        assert_eq!(decode_entry(&d, &bytes), Ok(entry()));
        refuses_all_damage(&bytes, |b| decode_entry(&d, b));
        assert_eq!(decode_entry(&doc("notes/b"), &bytes), Err(Flaw::Checksum));
    }

    #[test]
    fn st9_a_tombstone_is_an_entry_without_contents() {
        let d = doc("d");
        let head = DocHead {
            last_seq: Seq(9),
            snapshot_seq: Seq(9),
            deleted_ms: Some(1_800_000_000_000),
            ..DocHead::default()
        };
        let tombstone = Entry { head, generation: 0, untidy: true };
        let bytes = encode_entry(&d, &tombstone);
        assert_eq!(decode_entry(&d, &bytes).as_ref(), Ok(&tombstone));
        refuses_all_damage(&bytes, |b| decode_entry(&d, b));
        let with_contents = Entry { generation: 3, ..tombstone };
        assert_eq!(decode_entry(&d, &encode_entry(&d, &with_contents)), Err(Flaw::Contents));
    }

    /// As weft wrote it before there were tombstones.
    #[test]
    fn s10_schema_1_of_an_entry_is_read_for_ever() {
        let d = doc("notes/ä");
        let bytes = [
            0x48, 0x01, 0x01, 0x1a, 0x18, 0xbb, 0xf6, 0xfd, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0xfc, 0x70,
            0x11, 0x01, 0x00, 0xfc, 0xe0, 0x93, 0x04, 0x00, 0xfb, 0xe7, 0x03, 0x14, 0x03, 0xfd, 0x00, 0x68, 0xe5, 0xcf,
            0x8b, 0x01, 0x00, 0x00, 0xfd, 0x00, 0x50, 0x5c, 0x18, 0xa3, 0x01, 0x00, 0x00, 0x07, 0x01,
        ];
        assert_eq!(decode_entry(&d, &bytes), Ok(entry()));
    }

    #[test]
    fn st7_no_damaged_root_decodes() {
        let root = Root { documents: 12, checkpoint: 400, live_bytes: Some(1 << 40) };
        let bytes = encode_root(&root);
        assert_eq!(decode_root(&bytes), Ok(root));
        refuses_all_damage(&bytes, decode_root);
    }

    /// As weft wrote it before it counted live bytes.
    #[test]
    fn s10_schema_1_of_the_root_is_read_for_ever() {
        let bytes = seal(ROOT_MAGIC, SCHEMA_V1, b"", &RootV1 { documents: 12, checkpoint: 400 });
        assert_eq!(bytes, [0x52, 0x01, 0x01, 0xaf, 0x47, 0x33, 0xd9, 0x0c, 0xfb, 0x90, 0x01]);
        assert_eq!(decode_root(&bytes), Ok(Root { documents: 12, checkpoint: 400, live_bytes: None }));
    }

    #[test]
    fn st7_no_damaged_update_record_decodes() {
        let d = doc("d");
        for kind in [RecordKind::Log, RecordKind::Snapshot] {
            let updates = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(&[0; 40])];
            let bytes = Encoding::new(&d, kind, 5, 7, updates.iter()).to_vec();
            let decode = |b: &[u8]| decode_updates(&d, kind, Bytes::copy_from_slice(b));
            assert_eq!(decode(&bytes), Ok(UpdateRecord { first: 5, last: 7, updates: updates.to_vec() }));
            refuses_all_damage(&bytes, decode);
            for piece_bytes in [1, 7, 36, 50, 1_000] {
                refuses_all_damage(&bytes, |bytes| {
                    let mut check = UpdatesCheck::new(&d);
                    bytes.chunks(piece_bytes).for_each(|piece| check.feed(piece));
                    check.finish()
                });
            }
            assert_eq!(decode_updates(&doc("e"), kind, bytes.into()), Err(Flaw::Checksum));
        }
        let log = Encoding::new(&d, RecordKind::Log, 1, 1, [Bytes::from_static(b"u")].iter()).to_vec();
        assert_eq!(decode_updates(&d, RecordKind::Snapshot, log.into()), Err(Flaw::Magic));
    }

    #[test]
    fn chunks_are_the_record() {
        let d = doc("d");
        let updates = [Bytes::from_static(&[1; 50]), Bytes::new(), Bytes::from_static(&[2; 7])];
        let record = Encoding::new(&d, RecordKind::Log, 5, 7, updates.iter());
        for bytes in [1, 3, 36, 40, 90, 105, 106, 1_000] {
            let chunks: Vec<_> = record.chunks(bytes).collect();
            let (last, full) = chunks.split_last().unwrap();
            assert!(full.iter().all(|chunk| chunk.len() == bytes) && (1..=bytes).contains(&last.len()), "{bytes}");
            assert_eq!(chunks.concat(), record.to_vec(), "{bytes}");
            assert_eq!(chunks.len(), record.bytes().div_ceil(bytes), "{bytes}");
        }
    }

    /// A header that lies about counts and lengths but has a true checksum: refused without allocating for the lie.
    #[test]
    fn st7_claims_are_not_believed() {
        let d = doc("d");
        let sound = Encoding::new(&d, RecordKind::Log, 1, 1, [Bytes::from_static(b"u")].iter()).to_vec();
        let forge = |at: usize, with: &[u8]| {
            let mut bytes = sound.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            let crc = record_crc(&d, &bytes);
            bytes[4..8].copy_from_slice(&crc.to_le_bytes());
            decode_updates(&d, RecordKind::Log, bytes.into())
        };
        assert_eq!(forge(24, &u32::MAX.to_le_bytes()), Err(Flaw::Contents));
        assert_eq!(forge(28, &u64::MAX.to_le_bytes()), Err(Flaw::Length { announced: u64::MAX, found: 5 }));
        assert_eq!(forge(36, &u32::MAX.to_le_bytes()), Err(Flaw::Contents));
        assert_eq!(forge(2, &[2]), Err(Flaw::Version(2)));
        assert_eq!(forge(3, &[1]), Err(Flaw::Contents));
        assert_eq!(forge(24, &0u32.to_le_bytes()), Err(Flaw::Contents));
    }

    #[test]
    fn a_newer_schema_is_told_from_damage() {
        let mut bytes = encode_root(&Root::default());
        bytes[1] = 9;
        let crc = envelope_crc(b"", &bytes);
        bytes[3..7].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode_root(&bytes), Err(Flaw::Version(9)));
    }
}
