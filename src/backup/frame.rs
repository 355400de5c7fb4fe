//! The bytes of a backup file, version 2. Knows single frames; [`super::Writer`] and [`super::Reader`] know their order.
//!
//! All integers are little-endian. The file begins with 16 bytes:
//!
//! ```text
//!  0  magic     b"weft-bak"
//!  8  version   1, or 2 since there is `R`
//!  9  zero      3 bytes
//! 12  crc32c    u32, of bytes 0..12
//! ```
//!
//! They keep their places in every later version, so that an older weft can tell "newer" from "damaged". Then frames:
//!
//! ```text
//!  0  kind      one byte
//!  1  length    u32: bytes of the body, at most BACKUP_FRAME_BYTES_MAX
//!  5  crc32c    u32, of the frame's number in the file (u64, the first is 0), bytes 0..5, and the body
//!  9  body
//! ```
//!
//! The number in the checksum makes a frame that is missing, doubled or out of place as wrong as a damaged one. Kinds:
//!
//! | kind | body |
//! |---|---|
//! | `H` head, first and once | `created_ms:u64 documents:u64`, then the version of weft as text |
//! | `R` revocations, after `H`, since version 2 | the next piece of the list of revoked tokens, as the data directory keeps it |
//! | `D` document | `created_ms:u64 updated_ms:u64 deleted_ms:u64 last_seq:u64 snapshot_seq:u64 snapshot_updates:u64 log_updates:u64 body_bytes:u64`, then the name; `deleted_ms` is 0 unless it is a tombstone |
//! | `U` updates, after their `D` | the next piece of the document's `body_bytes` bytes, which are `length:u32, update` for each update of the snapshot, then of the log |
//! | `X` left out | `name_bytes:u16`, the name, then why as text |
//! | `B` broken off, last | why as text |
//! | `T` trailer, last | `documents:u64 deleted:u64 left_out:u64 updates:u64 update_bytes:u64`, then the SHA-256 of everything before this frame |
//!
//! Nothing follows the last frame.

use super::{Head, LeftOut, Totals};
use crate::ids::{DocName, Seq};

/// The newest version written and read here.
pub const VERSION: u8 = 2;
const MAGIC: [u8; 8] = *b"weft-bak";
/// Bytes before the first frame.
pub(super) const PROLOGUE_BYTES: usize = 16;
/// Bytes of a frame before its body.
pub(super) const FRAME_HEADER_BYTES: usize = 9;
/// Most bytes of a text in a frame: a version, or what is wrong with a document.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// What a frame holds. **These values never change meaning.**
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Head = b'H',
    Revoked = b'R',
    Document = b'D',
    Updates = b'U',
    LeftOut = b'X',
    BrokenOff = b'B',
    Trailer = b'T',
}

impl Kind {
    fn parse(byte: u8) -> Option<Self> {
        [Self::Head, Self::Revoked, Self::Document, Self::Updates, Self::LeftOut, Self::BrokenOff, Self::Trailer]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prologue {
    /// A backup of this version.
    Version(u8),
    /// Another file.
    Foreign,
    /// A backup once.
    Damaged,
}

pub(super) fn encode_prologue() -> [u8; PROLOGUE_BYTES] {
    let mut bytes = [0; PROLOGUE_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8] = VERSION;
    let crc = crc32c::crc32c(&bytes[..12]);
    bytes[12..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

pub(super) fn decode_prologue(bytes: &[u8; PROLOGUE_BYTES]) -> Prologue {
    let mut rest = &bytes[..];
    let (Some(magic), Some([version, zeros @ ..]), Some(crc)) =
        (take::<8>(&mut rest), take::<4>(&mut rest), take::<4>(&mut rest))
    else {
        return Prologue::Foreign;
    };
    if magic != MAGIC {
        return Prologue::Foreign;
    }
    if crc32c::crc32c(&bytes[..12]) != u32::from_le_bytes(crc) || version == 0 {
        return Prologue::Damaged;
    }
    if version <= VERSION && zeros != [0; 3] { Prologue::Damaged } else { Prologue::Version(version) }
}

/// The header of frame `number`, for this body.
pub(super) fn encode_header(number: u64, kind: Kind, body: &[u8]) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = [0; FRAME_HEADER_BYTES];
    header[0] = kind as u8;
    // Bodies are at most BACKUP_FRAME_BYTES_MAX long.
    header[1..5].copy_from_slice(&(body.len() as u32).to_le_bytes());
    let crc = crc(number, &header[..5], body);
    header[5..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Length that a header claims for its body.
pub(super) fn body_len(header: &[u8; FRAME_HEADER_BYTES]) -> usize {
    let [_, a, b, c, d, ..] = *header;
    u32::from_le_bytes([a, b, c, d]) as usize
}

/// The kind of frame `number`, once header and body are found to be as they were written.
pub(super) fn verify(number: u64, header: &[u8; FRAME_HEADER_BYTES], body: &[u8]) -> Result<Kind, &'static str> {
    let [kind, .., a, b, c, d] = *header;
    if crc(number, &header[..5], body) != u32::from_le_bytes([a, b, c, d]) {
        return Err("the checksum of the frame does not match");
    }
    Kind::parse(kind).ok_or("the frame is of no known kind")
}

fn crc(number: u64, lead: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&number.to_le_bytes()), lead), body)
}

/// What a document's frame says before its updates come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DocumentHead {
    pub name: DocName,
    pub created_ms: u64,
    pub updated_ms: u64,
    pub deleted_ms: Option<u64>,
    pub last_seq: Seq,
    pub snapshot_seq: Seq,
    pub snapshot_updates: u64,
    pub log_updates: u64,
    pub body_bytes: u64,
}

pub(super) fn encode_head(head: &Head) -> Vec<u8> {
    let mut body = integers(&[head.created_ms, head.documents]);
    body.extend_from_slice(shortened(&head.weft).as_bytes());
    body
}

pub(super) fn decode_head(mut body: &[u8]) -> Option<Head> {
    let (created_ms, documents) = (take_u64(&mut body)?, take_u64(&mut body)?);
    Some(Head { weft: text(body)?, created_ms, documents })
}

pub(super) fn encode_document(head: &DocumentHead) -> Vec<u8> {
    let mut body = integers(&[
        head.created_ms,
        head.updated_ms,
        head.deleted_ms.unwrap_or(0),
        head.last_seq.0,
        head.snapshot_seq.0,
        head.snapshot_updates,
        head.log_updates,
        head.body_bytes,
    ]);
    body.extend_from_slice(head.name.as_bytes());
    body
}

pub(super) fn decode_document(mut body: &[u8]) -> Option<DocumentHead> {
    let rest = &mut body;
    let (created_ms, updated_ms, deleted_ms) = (take_u64(rest)?, take_u64(rest)?, take_u64(rest)?);
    let (last_seq, snapshot_seq) = (Seq(take_u64(rest)?), Seq(take_u64(rest)?));
    let (snapshot_updates, log_updates, body_bytes) = (take_u64(rest)?, take_u64(rest)?, take_u64(rest)?);
    let name = DocName::parse_bytes(rest).ok()?;
    let deleted_ms = (deleted_ms != 0).then_some(deleted_ms);
    Some(DocumentHead {
        name,
        created_ms,
        updated_ms,
        deleted_ms,
        last_seq,
        snapshot_seq,
        snapshot_updates,
        log_updates,
        body_bytes,
    })
}

pub(super) fn encode_left_out(left_out: &LeftOut) -> Vec<u8> {
    let name = left_out.name.as_bytes();
    // Names have at most DOC_NAME_BYTES_MAX bytes.
    let mut body = (name.len() as u16).to_le_bytes().to_vec();
    body.extend_from_slice(name);
    body.extend_from_slice(shortened(&left_out.error).as_bytes());
    body
}

pub(super) fn decode_left_out(mut body: &[u8]) -> Option<LeftOut> {
    let name_bytes = u16::from_le_bytes(take(&mut body)?);
    let (name, error) = body.split_at_checked(usize::from(name_bytes))?;
    Some(LeftOut { name: DocName::parse_bytes(name).ok()?, error: text(error)? })
}

pub(super) fn encode_broken_off(why: &str) -> Vec<u8> {
    shortened(why).as_bytes().to_vec()
}

pub(super) fn decode_broken_off(body: &[u8]) -> Option<String> {
    text(body)
}

pub(super) fn encode_trailer(totals: &Totals, before: &[u8; 32]) -> Vec<u8> {
    let Totals { documents, deleted, left_out, updates, update_bytes } = *totals;
    let mut body = integers(&[documents, deleted, left_out, updates, update_bytes]);
    body.extend_from_slice(before);
    body
}

pub(super) fn decode_trailer(mut body: &[u8]) -> Option<(Totals, [u8; 32])> {
    let rest = &mut body;
    let (documents, deleted, left_out) = (take_u64(rest)?, take_u64(rest)?, take_u64(rest)?);
    let (updates, update_bytes) = (take_u64(rest)?, take_u64(rest)?);
    let before = take::<32>(rest)?;
    rest.is_empty().then_some((Totals { documents, deleted, left_out, updates, update_bytes }, before))
}

fn integers(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Cut where a character ends.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().filter(|text| text.len() <= TEXT_BYTES_MAX).map(str::to_owned)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}
