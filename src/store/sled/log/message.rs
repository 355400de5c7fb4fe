//! Messages of sled's log, and what is in them.

use super::segment::SEGMENT_BYTES;

/// What a message is; the numbers are sled's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Canceled,
    Cap,
    Batch,
    Free,
    Counter,
    Meta,
    Node,
    BlobNode,
    Link,
    BlobLink,
}

impl Kind {
    fn parse(byte: u8) -> Option<Kind> {
        Some(match byte {
            1 => Kind::Canceled,
            2 => Kind::Cap,
            3 => Kind::Batch,
            4 => Kind::Free,
            5 => Kind::Counter,
            6 | 7 => Kind::Meta,
            8 => Kind::Node,
            9 => Kind::BlobNode,
            10 => Kind::Link,
            11 => Kind::BlobLink,
            _ => return None,
        })
    }
}

/// One message in a segment.
pub(super) struct Message {
    pub kind: Kind,
    pub page: u64,
    pub segment: u64,
    /// Where it begins, from the segment's start.
    start: usize,
    /// Where its bytes begin, from the segment's start.
    pub body: usize,
    pub len: usize,
}

impl Message {
    /// How much had ever been written before it, as sled counts.
    pub fn written_at(&self) -> u64 {
        self.segment * SEGMENT_BYTES as u64 + self.start as u64
    }
}

/// The whole message that stands at `at`, if there is one, of this segment.
pub(super) fn message_at(bytes: &[u8], at: usize, segment: Option<u64>) -> Option<Message> {
    let message = header_at(bytes, at)?;
    if segment.is_some_and(|segment| segment != message.segment) {
        return None;
    }
    let header = bytes.get(at..message.body)?;
    let body = bytes.get(message.body..message.body + message.len)?;
    let (crc, covered) = header.split_first_chunk::<4>()?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(body);
    hasher.update(covered);
    (hasher.finalize() ^ u32::MAX == u32::from_le_bytes(*crc)).then_some(message)
}

/// What looks like a message's header, its checksum not looked at.
pub(super) fn header_at(bytes: &[u8], at: usize) -> Option<Message> {
    let mut rest = bytes.get(at..)?;
    let before = rest.len();
    let (_, after) = rest.split_first_chunk::<4>()?;
    let (kind, after) = after.split_first()?;
    rest = after;
    let kind = Kind::parse(*kind)?;
    let len = usize::try_from(var(&mut rest)?).ok()?;
    let segment = var(&mut rest)?;
    let page = var(&mut rest)?;
    let body = at + (before - rest.len());
    (len <= rest.len() && body + len <= SEGMENT_BYTES).then_some(Message { kind, page, segment, start: at, body, len })
}

/// The values that a message holds.
pub(super) fn values_in(kind: Kind, body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let places = match kind {
        Kind::Node => {
            parse_node(body).map_or_else(Vec::new, |node| node.entries.into_iter().map(|(_, at)| at).collect())
        }
        Kind::Link => set_in(body).map(|(_, at)| at).into_iter().collect(),
        _ => Vec::new(),
    };
    places.into_iter().filter_map(|(from, len)| body.get(from..from + len))
}

/// The end of the key that a link removes.
pub(super) fn removed_in(body: &[u8]) -> Option<&[u8]> {
    take_bytes(&mut body.strip_prefix(&[1])?)
}

/// Where the last message of a batch begins: all of it counts, or nothing.
pub(super) fn batch_end(message: &Message, body: &[u8]) -> Option<u64> {
    let end = body.first_chunk::<8>().filter(|_| message.kind == Kind::Batch)?;
    Some(u64::from_le_bytes(*end))
}

/// The key's end and the place of the value, of a link that sets one.
pub(super) fn set_in(body: &[u8]) -> Option<(&[u8], (usize, usize))> {
    let mut rest = body.strip_prefix(&[0])?;
    let key = take_bytes(&mut rest)?;
    let value = take_bytes(&mut rest)?;
    Some((key, (body.len() - rest.len() - value.len(), value.len())))
}

/// A node's prefix, and where its values are.
pub(super) struct Node<'a> {
    pub prefix: Vec<u8>,
    pub entries: Vec<(&'a [u8], (usize, usize))>,
}

pub(super) fn parse_node(body: &[u8]) -> Option<Node<'_>> {
    let mut rest = body;
    let (_next, _child) = (var(&mut rest)?, var(&mut rest)?);
    let (_merging, after) = rest.split_first()?;
    let (prefix_len, after) = after.split_first()?;
    rest = after;
    let low = take_bytes(&mut rest)?;
    let _high = take_bytes(&mut rest)?;
    let (kind, after) = rest.split_first()?;
    rest = after;
    let count = usize::try_from(var(&mut rest)?).ok()?;
    let prefix = low.get(..usize::from(*prefix_len))?.to_vec();
    if *kind != 0 {
        // An index: pages, no values.
        return Some(Node { prefix, entries: Vec::new() });
    }
    // Each key takes at least its length, which bounds what is allocated by what is there.
    if count > rest.len() {
        return None;
    }
    let keys: Vec<&[u8]> = (0..count).map(|_| take_bytes(&mut rest)).collect::<Option<_>>()?;
    let mut entries = Vec::with_capacity(count);
    for key in keys {
        let value = take_bytes(&mut rest)?;
        entries.push((key, (body.len() - rest.len() - value.len(), value.len())));
    }
    Some(Node { prefix, entries })
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(var(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

/// sled's integers of 1 to 9 bytes.
pub(super) fn var(rest: &mut &[u8]) -> Option<u64> {
    let (first, after) = rest.split_first()?;
    let (value, after) = match *first {
        0..=240 => (u64::from(*first), after),
        241..=248 => {
            let (second, after) = after.split_first()?;
            (240 + 256 * (u64::from(*first) - 241) + u64::from(*second), after)
        }
        249 => {
            let ([second, third], after) = after.split_first_chunk::<2>()?;
            (2288 + 256 * u64::from(*second) + u64::from(*third), after)
        }
        long => {
            let (bytes, after) = after.split_at_checked(usize::from(long) - 247)?;
            let mut value = [0; 8];
            value.get_mut(..bytes.len())?.copy_from_slice(bytes);
            (u64::from_le_bytes(value), after)
        }
    };
    *rest = after;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_of_sled_are_read() {
        for (bytes, value) in [
            (&[0][..], 0),
            (&[240], 240),
            (&[241, 0], 240),
            (&[248, 255], 2_287),
            (&[249, 0, 0], 2_288),
            (&[249, 255, 255], 67_823),
            (&[250, 1, 2, 3], 0x03_02_01),
            (&[255, 1, 2, 3, 4, 5, 6, 7, 8], 0x08_07_06_05_04_03_02_01),
        ] {
            let mut rest = bytes;
            assert_eq!((var(&mut rest), rest.len()), (Some(value), 0), "{bytes:?}");
            assert_eq!(var(&mut &bytes[..bytes.len() - 1]), None, "{bytes:?}");
        }
    }
}
