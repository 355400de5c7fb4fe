//! Keys of the database: which spaces there are and how names and numbers become sorted bytes. Knows nothing of values.
//!
//! A document is addressed by its name. Names hold no NUL ([`DocName`]), so `name NUL` can be a prefix of no other
//! document's keys, and keys of one document lie together. Numbers are big-endian, so that bytes sort as numbers do.

use crate::ids::{DocName, Seq};

/// The spaces of the one tree. The first byte of every key; **these values never change meaning** (S10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Keyspace {
    /// `h name` → the document's catalogue entry ([`super::record::Entry`]). Sorted by the bytes of the name (ST8).
    Head = b'h',
    /// `l name 0 last_seq:u64 chunk:u32` → a piece of a coalesced log record; `last_seq` is the position of the last
    /// update in it.
    Log = b'l',
    /// `r` → what is known of the whole store ([`super::record::Root`]). One entry.
    Root = b'r',
    /// `s name 0 generation:u64 chunk:u32` → a piece of a snapshot. Only the generation named by the catalogue entry
    /// counts.
    Snapshot = b's',
}

/// What a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Head(DocName),
    Root,
    Chunk { space: Keyspace, doc: DocName, number: u64 },
}

impl Key {
    /// `None` for what this version never wrote.
    pub(super) fn parse(key: &[u8]) -> Option<Key> {
        let (space, rest) = key.split_first()?;
        let space = match *space {
            b'h' => return Some(Key::Head(DocName::parse_bytes(rest).ok()?)),
            b'r' => return rest.is_empty().then_some(Key::Root),
            b'l' => Keyspace::Log,
            b's' => Keyspace::Snapshot,
            _ => return None,
        };
        let (name, numbers) = rest.split_at_checked(rest.len().checked_sub(CHUNK_SUFFIX_BYTES)?)?;
        let (nul, name) = name.split_last()?;
        let (number, _) = chunk_numbers(numbers)?;
        let doc = DocName::parse_bytes(name).ok().filter(|_| *nul == 0)?;
        Some(Key::Chunk { space, doc, number })
    }
}

/// The first key of `space` that can belong to a document after `after`, or to any whose name starts with `prefix`.
pub(super) fn chunks_after(space: Keyspace, prefix: &str, after: Option<&DocName>) -> Vec<u8> {
    match after {
        Some(doc) if doc.as_str() >= prefix => chunks(space, doc).end,
        Some(_) | None => [&[space as u8], prefix.as_bytes()].concat(),
    }
}

/// Bytes after `name NUL` in a chunk's key.
const CHUNK_SUFFIX_BYTES: usize = 12;

/// The key of the root record.
pub(super) const ROOT: &[u8] = &[Keyspace::Root as u8];

/// A range of keys: from the first, up to but without the second.
pub(super) type KeyRange = std::ops::Range<Vec<u8>>;

/// Catalogue entry of `doc`.
pub(super) fn head(doc: &DocName) -> Vec<u8> {
    heads_from(doc.as_str())
}

/// Where catalogue entries of names starting with `prefix` begin.
pub(super) fn heads_from(prefix: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + prefix.len());
    key.push(Keyspace::Head as u8);
    key.extend_from_slice(prefix.as_bytes());
    key
}

/// The name in a catalogue key.
pub(super) fn head_name(key: &[u8]) -> Option<DocName> {
    let (space, name) = key.split_first()?;
    if *space != Keyspace::Head as u8 {
        return None;
    }
    DocName::parse_bytes(name).ok()
}

/// `space name NUL`, where all chunks of one document begin.
fn chunks_prefix(space: Keyspace, doc: &DocName) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + doc.as_bytes().len() + CHUNK_SUFFIX_BYTES);
    key.push(space as u8);
    key.extend_from_slice(doc.as_bytes());
    key.push(0);
    key
}

/// Key of chunk `chunk` of record `number` (a log record's last position, or a snapshot's generation).
pub(super) fn chunk(space: Keyspace, doc: &DocName, number: u64, chunk: u32) -> Vec<u8> {
    let mut key = chunks_prefix(space, doc);
    key.extend_from_slice(&number.to_be_bytes());
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

/// Length of every key that [`chunk`] returns for `doc`.
pub(super) fn chunk_key_bytes(doc: &DocName) -> usize {
    2 + doc.as_bytes().len() + CHUNK_SUFFIX_BYTES
}

/// All chunks of `doc` in `space`.
pub(super) fn chunks(space: Keyspace, doc: &DocName) -> KeyRange {
    let start = chunks_prefix(space, doc);
    let mut end = start.clone();
    // The prefix ends in NUL, so the next prefix of equal length ends in 1.
    if let Some(last) = end.last_mut() {
        *last = 1;
    }
    start..end
}

/// Log chunks of `doc` whose last position is `from` or later.
pub(super) fn log_from(doc: &DocName, from: Seq) -> KeyRange {
    KeyRange { start: chunk(Keyspace::Log, doc, from.0, 0), ..chunks(Keyspace::Log, doc) }
}

/// Chunks of one snapshot generation of `doc`.
pub(super) fn generation(doc: &DocName, generation: u64) -> KeyRange {
    let start = chunk(Keyspace::Snapshot, doc, generation, 0);
    let end = match generation.checked_add(1) {
        Some(next) => chunk(Keyspace::Snapshot, doc, next, 0),
        None => chunks(Keyspace::Snapshot, doc).end,
    };
    start..end
}

/// Record number and chunk number of a key within [`chunks`] of a document.
pub(super) fn chunk_numbers(key: &[u8]) -> Option<(u64, u32)> {
    let (rest, chunk) = key.split_last_chunk::<4>()?;
    let (_, number) = rest.split_last_chunk::<8>()?;
    Some((u64::from_be_bytes(*number), u32::from_be_bytes(*chunk)))
}

/// The space and the document of a chunk's key.
pub(super) fn chunk_doc(key: &[u8]) -> Option<(Keyspace, DocName)> {
    let (space, rest) = key.split_first()?;
    let space = [Keyspace::Log, Keyspace::Snapshot].into_iter().find(|known| *known as u8 == *space)?;
    let name = rest.get(..rest.len().checked_sub(CHUNK_SUFFIX_BYTES)?)?.strip_suffix(&[0])?;
    Some((space, DocName::parse_bytes(name).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(name: &str) -> DocName {
        DocName::parse(name).expect("a valid name")
    }

    #[test]
    fn keys_of_a_document_never_mix_with_those_of_a_longer_name() {
        let range = chunks(Keyspace::Log, &doc("a"));
        assert!(range.contains(&chunk(Keyspace::Log, &doc("a"), 0, 0)));
        assert!(range.contains(&chunk(Keyspace::Log, &doc("a"), u64::MAX, u32::MAX)));
        for other in ["a\u{1}", "ab", "a/", "b"] {
            assert!(!range.contains(&chunk(Keyspace::Log, &doc(other), 0, 0)), "{other:?}");
            assert!(!range.contains(&chunk(Keyspace::Log, &doc(other), u64::MAX, u32::MAX)), "{other:?}");
        }
        assert!(!range.contains(&chunk(Keyspace::Snapshot, &doc("a"), 1, 0)));
    }

    #[test]
    fn numbers_come_back_and_sort() {
        let d = doc("notes/ä");
        let keys =
            [(1, 0), (1, 1), (255, 0), (256, 7), (u64::MAX, u32::MAX)].map(|(n, c)| chunk(Keyspace::Log, &d, n, c));
        assert!(keys.is_sorted());
        assert_eq!(chunk_numbers(&keys[3]), Some((256, 7)));
        assert_eq!(keys[0].len(), chunk_key_bytes(&d));
        assert_eq!(chunk_numbers(b"short"), None);
    }

    #[test]
    fn keys_are_told_apart() {
        let d = doc("notes/ä");
        assert_eq!(Key::parse(&head(&d)), Some(Key::Head(d.clone())));
        assert_eq!(Key::parse(ROOT), Some(Key::Root));
        for space in [Keyspace::Log, Keyspace::Snapshot] {
            let key = chunk(space, &d, 7, 3);
            assert_eq!(Key::parse(&key), Some(Key::Chunk { space, doc: d.clone(), number: 7 }));
            assert_eq!(Key::parse(&key[..key.len() - 1]), None);
        }
        for strange in [&b""[..], b"r1", b"h", b"x", b"l", b"lname", b"h\0"] {
            assert_eq!(Key::parse(strange), None, "{strange:?}");
        }
    }

    #[test]
    fn ranges_hold_what_they_say() {
        let d = doc("d");
        let range = generation(&d, 3);
        assert!(range.contains(&chunk(Keyspace::Snapshot, &d, 3, u32::MAX)));
        assert!(!range.contains(&chunk(Keyspace::Snapshot, &d, 4, 0)));
        assert!(generation(&d, u64::MAX).contains(&chunk(Keyspace::Snapshot, &d, u64::MAX, 9)));
        assert!(!log_from(&d, Seq(8)).contains(&chunk(Keyspace::Log, &d, 7, u32::MAX)));
        assert!(log_from(&d, Seq(8)).contains(&chunk(Keyspace::Log, &d, 8, 0)));
        assert_eq!(head_name(&head(&d)), Some(d.clone()));
        assert_eq!(head_name(ROOT), None);
        assert_eq!(chunk_doc(&chunk(Keyspace::Log, &d, 7, 1)), Some((Keyspace::Log, d.clone())));
        for foreign in [&head(&d)[..], ROOT, b"", b"ld", b"l\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(chunk_doc(foreign), None);
        }
    }
}
