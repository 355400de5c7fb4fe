//! One journal record as bytes: a fixed layout, written by hand because it is the hottest thing on disk and must stay
//! readable by any later tool. Knows nothing of files.
//!
//! All integers are little-endian. A record is a header of [`RECORD_HEADER_BYTES`] and a body (name, then update):
//!
//! | bytes | field |
//! |---|---|
//! | 0..4 | magic `f5 77 72 9a` |
//! | 4 | version: 1, or 2 of a kind that version 1 did not have |
//! | 5 | kind: 1 update, 2 seal, 3 deletion (since version 2) |
//! | 6..8 | length of the document's name |
//! | 8..12 | length of the update; of a deletion 8, the time in milliseconds since 1970 |
//! | 12..16 | group: where in the segment the write that carried this record began |
//! | 16..24 | sequence number (of a seal: how many records it closes) |
//! | 24..28 | crc32c of the body, starting from the segment's body salt and the header before it |
//! | 28..32 | crc32c of bytes 0..28, starting from the segment's header salt |
//!
//! **Why salted.** A segment's file is recycled (S13) and an update's bytes come from anyone (P4). Both could hold what
//! looks like a record. The salts come from the segment's number and 64 random bits in its header, so neither a stale
//! record nor one forged inside an update passes for a record of this segment.
//!
//! **Why a group.** A group of records is one write and one sync, and a power cut in between may leave any of its pages
//! and not others. A readable record after an unreadable one is therefore damage only if it belongs to a *later* group,
//! since that was written after the unreadable one had been synced.

use std::fmt;

use bytes::Bytes;

use crate::ids::{DocName, Seq};
use crate::limits::{DOC_NAME_BYTES_MAX, JOURNAL_RECORD_BYTES_MAX};

/// Newest record format written and read here. Each kind is written in the version it came with, so that a weft that
/// does not know it says "newer" and not "damaged".
pub(super) const RECORD_VERSION: u8 = 2;
/// Length of a record's header, bytes.
pub(super) const RECORD_HEADER_BYTES: usize = 32;
/// How every record begins. Not UTF-8, so that text does not look like it.
pub(super) const RECORD_MAGIC: [u8; 4] = [0xf5, b'w', b'r', 0x9a];
/// Length of the seal that ends a segment.
pub(super) const SEAL_BYTES: usize = RECORD_HEADER_BYTES;

/// One step of one document, under the document's own name.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Which document.
    pub doc: DocName,
    /// Its position in that document's log.
    pub seq: Seq,
    /// What happened.
    pub body: Body,
}

/// What can happen to a document.
#[derive(Clone, PartialEq, Eq)]
pub enum Body {
    /// One turn: the accepted bytes, merged. The journal does not look inside.
    Update(Bytes),
    /// An admin deleted it, with everything at lower positions. What follows makes it anew.
    Deleted {
        /// When, milliseconds since 1970.
        at_ms: u64,
    },
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({:?} #{}, {:?})", self.doc, self.seq, self.body)
    }
}

/// Without the update's bytes: they are people's text, and logs are not.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Update(update) => write!(f, "{} bytes", update.len()),
            Body::Deleted { at_ms } => write!(f, "deleted at {at_ms} ms"),
        }
    }
}

impl Record {
    /// An update.
    pub fn update(doc: DocName, seq: Seq, update: Bytes) -> Self {
        Self { doc, seq, body: Body::Update(update) }
    }

    /// A deletion.
    pub fn deleted(doc: DocName, seq: Seq, at_ms: u64) -> Self {
        Self { doc, seq, body: Body::Deleted { at_ms } }
    }

    /// Length on disk, bytes.
    pub(super) fn encoded_len(&self) -> usize {
        RECORD_HEADER_BYTES + self.doc.as_bytes().len() + self.body.encoded_len()
    }
}

impl Body {
    fn encoded_len(&self) -> usize {
        match self {
            Body::Update(update) => update.len(),
            Body::Deleted { .. } => DELETED_BYTES,
        }
    }

    /// What the bytes after the name say; `None` when they cannot be of this kind, and of a seal, which is no record.
    pub(super) fn decode(kind: Kind, bytes: &[u8]) -> Option<Body> {
        match kind {
            Kind::Update => Some(Body::Update(Bytes::copy_from_slice(bytes))),
            Kind::Deleted => Some(Body::Deleted { at_ms: u64::from_le_bytes(bytes.try_into().ok()?) }),
            Kind::Seal => None,
        }
    }
}

/// What a deletion has in the place of an update.
const DELETED_BYTES: usize = 8;

/// Where the checksums of one segment's records start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt {
    header: u32,
    body: u32,
}

impl Salt {
    /// From the segment's number and its random nonce.
    pub(super) fn new(number: u64, nonce: u64) -> Salt {
        let [low, high] = [nonce as u32, (nonce >> 32) as u32];
        let number = number.to_le_bytes();
        Salt { header: crc32c::crc32c_append(low, &number), body: crc32c::crc32c_append(high, &number) }
    }
}

impl Salt {
    /// From where the checksums of headers and of bodies start.
    pub(super) fn of_parts(header: u32, body: u32) -> Salt {
        Salt { header, body }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Update = 1,
    /// Ends a segment: nothing after it counts, everything before it was synced.
    Seal = 2,
    Deleted = 3,
}

impl Kind {
    /// The version it came with.
    fn version(self) -> u8 {
        match self {
            Kind::Update | Kind::Seal => 1,
            Kind::Deleted => 2,
        }
    }
}

/// A header whose checksum held. The body is not checked yet, but its length is within bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) name_len: usize,
    pub(super) update_len: usize,
    pub(super) group: u32,
    pub(super) seq: u64,
    body_crc: u32,
    body_seed: u32,
}

/// What [`RECORD_HEADER_BYTES`] bytes turned out to be.
pub(super) enum Decoded {
    Header(Header),
    /// Checksum right, format from a later weft.
    Newer(u8),
    /// Not a header of this segment, and why.
    Not(&'static str),
}

impl Header {
    pub(super) fn body_len(&self) -> usize {
        self.name_len + self.update_len
    }

    pub(super) fn body_holds(&self, body: &[u8]) -> bool {
        body.len() == self.body_len() && crc32c::crc32c_append(self.body_seed, body) == self.body_crc
    }

    /// Whether a body whose checksum held can be one of this kind. Only a bug writes another; it is found while a segment
    /// is judged as a whole, not while its records are put to use.
    pub(super) fn body_is_valid(&self, body: &[u8]) -> bool {
        let contents = match self.kind {
            Kind::Update => true,
            Kind::Deleted => self.update_len == DELETED_BYTES,
            Kind::Seal => self.body_len() == 0,
        };
        contents && body.get(..self.name_len).is_some_and(|name| DocName::parse_bytes(name).is_ok())
    }

    /// Reads a header of a segment with this salt. Never trusts a length whose checksum does not hold.
    pub(super) fn decode(bytes: &[u8], salt: Salt) -> Decoded {
        let mut fields = Fields { bytes };
        let (Some(magic), Some([version]), Some([kind]), Some(name_len), Some(update_len), Some(group), Some(seq)) = (
            fields.next::<4>(),
            fields.next::<1>(),
            fields.next::<1>(),
            fields.next::<2>(),
            fields.next::<4>(),
            fields.next::<4>(),
            fields.next::<8>(),
        ) else {
            return Decoded::Not("a record's header is cut short");
        };
        let (Some(body_crc), Some(header_crc)) = (fields.next::<4>(), fields.next::<4>()) else {
            return Decoded::Not("a record's header is cut short");
        };
        if magic != RECORD_MAGIC {
            return Decoded::Not("there is no record");
        }
        let (Some(before_body_crc), Some(before_header_crc)) = (bytes.get(..24), bytes.get(..28)) else {
            return Decoded::Not("a record's header is cut short");
        };
        if crc32c::crc32c_append(salt.header, before_header_crc) != u32::from_le_bytes(header_crc) {
            return Decoded::Not("a record's header has the wrong checksum");
        }
        if version > RECORD_VERSION {
            return Decoded::Newer(version);
        }
        let kind = match kind {
            1 => Kind::Update,
            2 => Kind::Seal,
            3 => Kind::Deleted,
            _ => return Decoded::Not("a record is of an unknown kind"),
        };
        let header = Header {
            kind,
            name_len: u16::from_le_bytes(name_len).into(),
            update_len: u32::from_le_bytes(update_len) as usize,
            group: u32::from_le_bytes(group),
            seq: u64::from_le_bytes(seq),
            body_crc: u32::from_le_bytes(body_crc),
            body_seed: crc32c::crc32c_append(salt.body, before_body_crc),
        };
        // The checksum held, so these are bugs of the writer or a forgery; they must still not make us allocate.
        if header.name_len > DOC_NAME_BYTES_MAX || RECORD_HEADER_BYTES + header.body_len() > JOURNAL_RECORD_BYTES_MAX {
            return Decoded::Not("a record is longer than allowed");
        }
        Decoded::Header(header)
    }
}

/// Appends `record` to `out`, as part of the group that starts at `group` in a segment with this salt.
///
/// The caller has checked that the record is at most [`JOURNAL_RECORD_BYTES_MAX`] long.
pub(super) fn encode(out: &mut Vec<u8>, salt: Salt, group: u32, record: &Record) {
    let name = record.doc.as_bytes();
    match &record.body {
        Body::Update(update) => encode_parts(out, salt, group, Kind::Update, record.seq.0, name, update),
        Body::Deleted { at_ms } => {
            encode_parts(out, salt, group, Kind::Deleted, record.seq.0, name, &at_ms.to_le_bytes());
        }
    }
}

/// Appends the seal of a segment that holds `records` records.
pub(super) fn encode_seal(out: &mut Vec<u8>, salt: Salt, group: u32, records: u64) {
    encode_parts(out, salt, group, Kind::Seal, records, &[], &[]);
}

fn encode_parts(out: &mut Vec<u8>, salt: Salt, group: u32, kind: Kind, seq: u64, name: &[u8], update: &[u8]) {
    let mut header = [0u8; RECORD_HEADER_BYTES];
    header[0..4].copy_from_slice(&RECORD_MAGIC);
    header[4] = kind.version();
    header[5] = kind as u8;
    header[6..8].copy_from_slice(&(name.len() as u16).to_le_bytes());
    header[8..12].copy_from_slice(&(update.len() as u32).to_le_bytes());
    header[12..16].copy_from_slice(&group.to_le_bytes());
    header[16..24].copy_from_slice(&seq.to_le_bytes());
    let seed = crc32c::crc32c_append(salt.body, &header[..24]);
    let body_crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, name), update);
    header[24..28].copy_from_slice(&body_crc.to_le_bytes());
    let header_crc = crc32c::crc32c_append(salt.header, &header[..28]);
    header[28..32].copy_from_slice(&header_crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(name);
    out.extend_from_slice(update);
}

/// Takes fixed-size fields off the front of bytes that may be too short.
struct Fields<'a> {
    bytes: &'a [u8],
}

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(bytes: &[u8]) -> &[u8] {
        bytes.get(RECORD_HEADER_BYTES..).unwrap_or_default()
    }

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_went(
            name in "[^\0]{1,128}", seq: u64, update in prop::collection::vec(any::<u8>(), 0..2_000),
            number: u64, nonce: u64, group: u32,
        ) {
            let record = Record::update(DocName::parse(&name).unwrap(), Seq(seq), update.clone().into());
            let salt = Salt::new(number, nonce);
            let mut bytes = Vec::new();
            encode(&mut bytes, salt, group, &record);
            prop_assert_eq!(bytes.len(), record.encoded_len());
            let Decoded::Header(header) = Header::decode(&bytes, salt) else { panic!("not decoded") };
            prop_assert!(header.body_holds(body(&bytes)));
            prop_assert_eq!((header.kind, header.seq, header.group), (Kind::Update, seq, group));
            prop_assert_eq!(&body(&bytes)[..header.name_len], name.as_bytes());
            prop_assert_eq!(&body(&bytes)[header.name_len..], &update[..]);
        }

        #[test]
        fn one_flipped_bit_is_always_seen(
            update in prop::collection::vec(any::<u8>(), 0..300), number: u64, nonce: u64, at: prop::sample::Index, bit in 0..8,
        ) {
            let record = Record::update(DocName::parse("a/b").unwrap(), Seq(7), update.into());
            let salt = Salt::new(number, nonce);
            let mut bytes = Vec::new();
            encode(&mut bytes, salt, 4096, &record);
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            let whole = matches!(Header::decode(&bytes, salt), Decoded::Header(h) if h.body_holds(body(&bytes)));
            prop_assert!(!whole);
        }

        #[test]
        fn any_bytes_are_refused_calmly(bytes in prop::collection::vec(any::<u8>(), 0..64), number: u64, nonce: u64) {
            let mut bytes = bytes;
            if bytes.len() > 4 { bytes[..4].copy_from_slice(&RECORD_MAGIC); }
            prop_assert!(matches!(Header::decode(&bytes, Salt::new(number, nonce)), Decoded::Not(_)));
        }
    }

    #[test]
    fn a_record_of_another_segment_is_not_one_of_this() {
        let record = Record::update(DocName::parse("d").unwrap(), Seq(1), Bytes::from_static(b"u"));
        let mut bytes = Vec::new();
        encode(&mut bytes, Salt::new(1, 99), 4096, &record);
        for other in [Salt::new(2, 99), Salt::new(1, 100), Salt::new(1, 99 | 1 << 40)] {
            let whole = matches!(Header::decode(&bytes, other), Decoded::Header(h) if h.body_holds(body(&bytes)));
            assert!(!whole);
        }
    }

    #[test]
    fn a_deletion_is_of_version_2_and_what_version_1_knew_is_as_it_was() {
        let salt = Salt::new(1, 2);
        let encoded = |record: &Record| {
            let mut bytes = Vec::new();
            encode(&mut bytes, salt, 4096, record);
            assert_eq!(bytes.len(), record.encoded_len());
            bytes
        };
        let name = DocName::parse("d").unwrap();
        let update = encoded(&Record::update(name.clone(), Seq(1), Bytes::from_static(b"u")));
        assert_eq!((update[4], update[5]), (1, 1));
        let deleted = Record::deleted(name, Seq(2), 1_700_000_000_000);
        let bytes = encoded(&deleted);
        assert_eq!((bytes[4], bytes[5]), (2, 3));
        let Decoded::Header(header) = Header::decode(&bytes, salt) else { panic!("not decoded") };
        assert!(header.body_holds(body(&bytes)));
        assert_eq!(Body::decode(header.kind, &body(&bytes)[header.name_len..]), Some(deleted.body));
        assert!(Body::decode(Kind::Deleted, b"short").is_none());
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let salt = Salt::new(1, 2);
        let mut bytes = Vec::new();
        encode_seal(&mut bytes, salt, 4096, 3);
        bytes[4] = 9;
        let crc = crc32c::crc32c_append(salt.header, &bytes[..28]);
        bytes[28..32].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(Header::decode(&bytes, salt), Decoded::Newer(9)));
    }
}
