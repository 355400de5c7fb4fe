//! The readers of stored values by themselves, for `fuzz/`: behind sled nobody would ever show them what they must refuse.

use bytes::Bytes;

use super::record::{
    Encoding, RecordKind, UpdatesCheck, decode_entry, decode_root, decode_updates, encode_entry, encode_root,
};
use crate::ids::DocName;

/// A catalogue entry, read and written again; `None` when it is none.
pub fn entry(doc: &DocName, value: &[u8]) -> Option<Vec<u8>> {
    decode_entry(doc, value).ok().map(|entry| encode_entry(doc, &entry))
}

/// The root record, read and written again; `None` when it is none.
pub fn root(value: &[u8]) -> Option<Vec<u8>> {
    decode_root(value).ok().map(|root| encode_root(&root))
}

/// What an update record holds: its first and last position, and its updates; `None` when it is none.
pub fn updates(doc: &DocName, is_snapshot: bool, value: Bytes) -> Option<(u64, u64, Vec<Bytes>)> {
    let record = decode_updates(doc, kind(is_snapshot), value).ok()?;
    Some((record.first, record.last, record.updates))
}

/// An update record as a value.
pub fn encode_updates(doc: &DocName, is_snapshot: bool, first: u64, last: u64, updates: &[Bytes]) -> Vec<u8> {
    Encoding::new(doc, kind(is_snapshot), first, last, updates.iter()).to_vec()
}

/// Whether pieces are an update record when they are looked over one by one.
pub fn updates_hold<'a>(doc: &DocName, pieces: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut check = UpdatesCheck::new(doc);
    pieces.for_each(|piece| check.feed(piece));
    check.finish().is_ok()
}

fn kind(is_snapshot: bool) -> RecordKind {
    if is_snapshot { RecordKind::Snapshot } else { RecordKind::Log }
}
