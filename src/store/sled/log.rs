//! Reads the files of sled 0.34 without sled, for when they are damaged: sled itself stops at the first damage it meets
//! and overwrites with zeros what comes after it, good or bad. Looks only; tells every readable value from what is not.
//!
//! sled keeps a log of messages in segments of 512 KiB, each a new state of a page of its tree (a *node*: keys and values)
//! or a change of one (a *link*: one key). A segment in use again begins with another number, and so does each message
//! in it, so what is left of its former use is told apart. All checksums are crc32. Little-endian, except that integers
//! marked *var* take 1 to 9 bytes:
//!
//! | segment | message | node | link |
//! |---|---|---|---|
//! | checksum:4 | checksum:4 | next:var, child:var, merging:1 | kind:1 (0 set, 1 remove, others) |
//! | number in bytes:8 | kind:1 | prefix:1, low:bytes, high:bytes | key:bytes |
//! | stable:8 | length:var, segment:var, page:var | kind:1 (0 leaf, 1 index), count:var | value:bytes |
//! | messages | bytes | keys:bytes each, values:bytes each | |
//!
//! where *bytes* is a length:var and so many bytes. Keys in nodes and links leave out the node's prefix, which is the
//! first so many bytes of its low key.
//!
//! A message that is lost costs what it alone held: the state of its page before it, which is often still there, is kept,
//! with the changes after it. So a value can be older than the one lost, and a key can come back that was removed; the
//! store's own checksums and catalogue (`super::super::record`) tell what that means for a document.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of a segment; sled's default, which weft never changed.
const SEGMENT_BYTES: usize = 512 << 10;
const SEGMENT_HEADER_BYTES: usize = 20;
/// sled writes no message nearer to a segment's end than this.
const MESSAGE_HEADER_BYTES_MAX: usize = 32;
/// What a message is; the numbers are sled's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
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

/// Bytes of the data file that are no message, where messages are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadPlace {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Number of the segment in the order of writing.
    pub segment: u64,
}

/// What a walk over a segment meets.
enum Seen<'a> {
    /// A whole message and its bytes.
    Message(&'a Message, &'a [u8]),
    Bad(BadPlace),
}

/// Where a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the data file.
    Inline { offset: u64, len: usize },
    /// In a file of its own.
    Blob { number: i64, offset: usize, len: usize },
}

/// A key's newest readable value.
#[derive(Debug, Clone, Copy)]
struct Found {
    lsn: u64,
    place: Place,
}

/// A page as far as it is known.
#[derive(Default)]
struct Page {
    prefix: Vec<u8>,
    values: BTreeMap<Vec<u8>, Found>,
    /// It was seen whole; before that, what a link's key begins with is not known.
    has_base: bool,
}

/// Everything that can be read.
pub(super) struct LogReading {
    file: File,
    blobs: PathBuf,
    values: BTreeMap<Vec<u8>, Found>,
    /// What cannot be read, in the order of writing.
    pub bad: Vec<BadPlace>,
    /// Changes whose key cannot be told, because the page they belong to is lost.
    pub stray_links: u64,
    /// Messages that are whole.
    pub messages: u64,
}

/// One message in a segment.
struct Message {
    kind: Kind,
    page: u64,
    segment: u64,
    /// Where its bytes begin, from the segment's start.
    body: usize,
    len: usize,
}

/// Reads the database in `dir`. `plausible` says whether bytes can be a key at all.
///
/// Errors: of the file system only.
pub(super) fn read(dir: &Path, plausible: &dyn Fn(&[u8]) -> bool) -> io::Result<LogReading> {
    let file = File::open(dir.join(super::engine::DATABASE))?;
    let mut reading = LogReading {
        file,
        blobs: dir.join("blobs"),
        values: BTreeMap::new(),
        bad: Vec::new(),
        stray_links: 0,
        messages: 0,
    };
    let mut pages = BTreeMap::new();
    let mut buffer = vec![0; SEGMENT_BYTES];
    let slots = slots(&reading.file, 0, &mut buffer)?;
    for (at, &(number, offset)) in slots.iter().enumerate() {
        let bytes = read_segment(&reading.file, offset, &mut buffer)?;
        walk(bytes, offset, number, at + 1 == slots.len(), &mut |seen| match seen {
            Seen::Message(message, body) => reading.take(&mut pages, offset, message, body, plausible),
            Seen::Bad(place) => reading.bad.push(place),
        });
    }
    for (key, found) in pages.into_values().flat_map(|page: Page| page.values) {
        match reading.values.get(&key) {
            Some(other) if other.lsn >= found.lsn => {}
            _ => {
                reading.values.insert(key, found);
            }
        }
    }
    Ok(reading)
}

/// What [`check`] found.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// The first bytes that cannot be read, in the order of writing.
    pub bad: Option<BadPlace>,
    /// The newest root record before them, as `root_of` reads it.
    root_before: Option<u64>,
    /// The oldest one after them.
    root_after: Option<u64>,
}

impl Check {
    /// Whether sled must not open this: it would overwrite what comes after the bad place, and that was durable once.
    /// Nothing is durable that was written after the checkpoint `marked`; a crash may leave that in any state.
    pub(super) fn is_damaged(&self, marked: u64) -> bool {
        let durable = match (self.root_before, self.root_after) {
            // The root record of that checkpoint, or what was written before it, is behind the bad place or lost in it.
            (Some(before), _) => before < marked,
            // None of the roots seen is as old as that checkpoint: all of this was written after it.
            (None, Some(after)) => after <= marked,
            (None, None) => false,
        };
        self.bad.is_some() && durable
    }

    /// Whether all is there that the checkpoint `marked` made durable, and a crash has torn what came after it.
    pub(super) fn is_torn_after(&self, marked: u64) -> bool {
        self.bad.is_some() && self.root_before.is_some_and(|before| before >= marked)
    }
}

/// Verifies the messages that sled reads when it opens the database in `dir`: those since its last snapshot of the page
/// table, or all of them. `root_of` tells whether a value is a root record, and its checkpoint.
///
/// Errors: of the file system only.
pub(super) fn check(dir: &Path, whole: bool, root_of: &dyn Fn(&[u8]) -> Option<u64>) -> io::Result<Check> {
    let file = File::open(dir.join(super::engine::DATABASE))?;
    let from = if whole { 0 } else { last_snapshot(dir)? / SEGMENT_BYTES as u64 };
    let (mut found, mut buffer) = (Check::default(), vec![0; SEGMENT_BYTES]);
    let slots = slots(&file, from, &mut buffer)?;
    for (at, &(number, offset)) in slots.iter().enumerate() {
        let bytes = read_segment(&file, offset, &mut buffer)?;
        walk(bytes, offset, number, at + 1 == slots.len(), &mut |seen| match seen {
            Seen::Message(message, body) => {
                let roots = values_in(message.kind, body).filter_map(root_of);
                if found.bad.is_some() {
                    found.root_after = roots.chain(found.root_after).min();
                } else {
                    found.root_before = roots.chain(found.root_before).max();
                }
            }
            Seen::Bad(place) => drop(found.bad.get_or_insert(place)),
        });
    }
    Ok(found)
}

/// How far the newest snapshot of the page table goes; its name says so.
fn last_snapshot(dir: &Path) -> io::Result<u64> {
    let mut newest = 0;
    for file in fs::read_dir(dir)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| u64::from_str_radix(name.strip_prefix("snap.")?, 16).ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}

/// The values that a message holds.
fn values_in(kind: Kind, body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let places = match kind {
        Kind::Node => {
            parse_node(body).map_or_else(Vec::new, |node| node.entries.into_iter().map(|(_, at)| at).collect())
        }
        Kind::Link => set_in(body).map(|(_, at)| at).into_iter().collect(),
        _ => Vec::new(),
    };
    places.into_iter().filter_map(|(from, len)| body.get(from..from + len))
}

/// The key's end and the place of the value, of a link that sets one.
fn set_in(body: &[u8]) -> Option<(&[u8], (usize, usize))> {
    let mut rest = body.strip_prefix(&[0])?;
    let key = take_bytes(&mut rest)?;
    let value = take_bytes(&mut rest)?;
    Some((key, (body.len() - rest.len() - value.len(), value.len())))
}

/// Numbers and places of the segments from number `from` on, in the order of writing, which is not that of the file:
/// segments are used again.
fn slots(file: &File, from: u64, buffer: &mut [u8]) -> io::Result<Vec<(u64, u64)>> {
    let (mut slots, mut offset, len) = (Vec::new(), 0, file.metadata()?.len());
    while offset < len {
        let number = match segment_header(read_segment(file, offset, &mut buffer[..SEGMENT_HEADER_BYTES])?) {
            Some(number) => Some(number),
            None => number_by_messages(read_segment(file, offset, buffer)?),
        };
        slots.extend(number.filter(|number| *number >= from).map(|number| (number, offset)));
        offset += SEGMENT_BYTES as u64;
    }
    slots.sort_unstable();
    Ok(slots)
}

fn read_segment<'a>(file: &File, offset: u64, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(buffer.get(..read).unwrap_or_default())
}

/// The number of a segment, in the order of writing, if its header is whole.
fn segment_header(bytes: &[u8]) -> Option<u64> {
    let header = bytes.first_chunk::<SEGMENT_HEADER_BYTES>()?;
    let (crc, covered) = header.split_first_chunk::<4>()?;
    let lsn = i64::from_le_bytes(*covered.first_chunk::<8>()?) ^ i64::MAX;
    let holds = u32::from_le_bytes(*crc) ^ u32::MAX == crc32fast::hash(covered);
    (holds && lsn >= 0).then_some(lsn as u64 / SEGMENT_BYTES as u64)
}

/// The number of a segment whose header is damaged: each of its messages has it as well.
fn number_by_messages(bytes: &[u8]) -> Option<u64> {
    (SEGMENT_HEADER_BYTES..bytes.len()).find_map(|at| message_at(bytes, at, None)).map(|message| message.segment)
}

/// The whole message that stands at `at`, if there is one, of this segment.
fn message_at(bytes: &[u8], at: usize, segment: Option<u64>) -> Option<Message> {
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
fn header_at(bytes: &[u8], at: usize) -> Option<Message> {
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
    (len <= rest.len() && body + len <= SEGMENT_BYTES).then_some(Message { kind, page, segment, body, len })
}

/// Meets every message of a segment, and what is none where one should be. `is_last`: it is the one written last, so that
/// what stands after its last message was there before.
fn walk(bytes: &[u8], offset: u64, segment: u64, is_last: bool, each: &mut dyn FnMut(Seen<'_>)) {
    let mut at = SEGMENT_HEADER_BYTES;
    // Without its header sled passes over the whole segment, or takes it for free and writes over it.
    let mut bad = segment_header(bytes).is_none().then_some(0);
    let place = |from: usize, to: usize| {
        Seen::Bad(BadPlace { offset: offset + from as u64, bytes: (to - from) as u64, segment })
    };
    let end = bytes.len().min(SEGMENT_BYTES - MESSAGE_HEADER_BYTES_MAX + 1);
    while at < end {
        let Some(message) = message_at(bytes, at, Some(segment)) else {
            if bad.is_none() {
                bad = Some(at);
                // Were only its contents damaged, the next message stands where this one ends. Looked for first: what is
                // in a value comes from anyone, and could look like a message.
                if let Some(damaged) = header_at(bytes, at).filter(|damaged| damaged.segment == segment)
                    && message_at(bytes, damaged.body + damaged.len, Some(segment)).is_some()
                {
                    at = damaged.body + damaged.len;
                    continue;
                }
            }
            at += 1;
            continue;
        };
        if let Some(from) = bad.take().filter(|from| !is_overwritten(bytes, *from, at, segment)) {
            each(place(from, at));
        }
        at = message.body + message.len;
        if message.kind == Kind::Cap {
            return;
        }
        each(Seen::Message(&message, bytes.get(message.body..at).unwrap_or_default()));
    }
    let Some(from) = bad else { return };
    let rest = bytes.get(from..).unwrap_or_default();
    // Of the last segment nothing tells damage from what was there before, but a header that is whole.
    let expected = match header_at(bytes, from) {
        Some(header) if header.segment == segment => true,
        _ if is_last => false,
        _ => !is_overwritten(bytes, from, end, segment),
    };
    let used = rest.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    if expected && used > 0 {
        each(place(from, from + used));
    }
}

/// Whether these bytes belong to a later use of the segment, of which a crash has left a part without the header: sled had
/// freed it before, so nothing that counts was there.
fn is_overwritten(bytes: &[u8], from: usize, to: usize, segment: u64) -> bool {
    (from.max(SEGMENT_HEADER_BYTES)..to)
        .any(|at| message_at(bytes, at, None).is_some_and(|message| message.segment > segment))
}

impl LogReading {
    fn take(
        &mut self,
        pages: &mut BTreeMap<u64, Page>,
        offset: u64,
        message: &Message,
        body: &[u8],
        plausible: &dyn Fn(&[u8]) -> bool,
    ) {
        self.messages += 1;
        let lsn = message.segment * SEGMENT_BYTES as u64 + message.body as u64;
        let inline = |from: usize, len| Place::Inline { offset: offset + (message.body + from) as u64, len };
        match message.kind {
            Kind::Cap | Kind::Canceled | Kind::Batch | Kind::Counter | Kind::Meta => {}
            Kind::Free => {
                pages.remove(&message.page);
            }
            Kind::Node => self.take_node(pages, message.page, lsn, body, &inline),
            Kind::Link => self.take_link(pages, message.page, lsn, body, &inline, plausible),
            Kind::BlobNode | Kind::BlobLink => {
                let number = body.first_chunk::<8>().map(|number| i64::from_le_bytes(*number));
                let Some((number, body)) = number.and_then(|number| Some((number, self.blob(number)?))) else {
                    let offset = offset + message.body as u64;
                    self.bad.push(BadPlace { offset, bytes: message.len as u64, segment: message.segment });
                    return;
                };
                let blob = |from: usize, len| Place::Blob { number, offset: from, len };
                match message.kind {
                    Kind::BlobNode => self.take_node(pages, message.page, lsn, &body, &blob),
                    _ => self.take_link(pages, message.page, lsn, &body, &blob, plausible),
                }
            }
        }
    }

    fn take_node(
        &mut self,
        pages: &mut BTreeMap<u64, Page>,
        page: u64,
        lsn: u64,
        body: &[u8],
        place: &dyn Fn(usize, usize) -> Place,
    ) {
        let Some(node) = parse_node(body) else {
            self.stray_links += 1;
            return;
        };
        let found = |(from, len)| Found { lsn, place: place(from, len) };
        let values = node.entries.into_iter().map(|(key, at)| ([&node.prefix[..], key].concat(), found(at))).collect();
        pages.insert(page, Page { prefix: node.prefix, values, has_base: true });
    }

    fn take_link(
        &mut self,
        pages: &mut BTreeMap<u64, Page>,
        page: u64,
        lsn: u64,
        body: &[u8],
        place: &dyn Fn(usize, usize) -> Place,
        plausible: &dyn Fn(&[u8]) -> bool,
    ) {
        let page = pages.entry(page).or_default();
        if let Some((end, (from, len))) = set_in(body) {
            match page.key(end, plausible) {
                Some(key) => drop(page.values.insert(key, Found { lsn, place: place(from, len) })),
                None => self.stray_links += 1,
            }
        } else if let Some(mut rest) = body.strip_prefix(&[1]) {
            match take_bytes(&mut rest).and_then(|end| page.key(end, plausible)) {
                Some(key) => drop(page.values.remove(&key)),
                None => self.stray_links += 1,
            }
        }
        // Other links are about merges of pages; what comes of them is in the nodes that follow.
    }

    fn blob(&self, number: i64) -> Option<Vec<u8>> {
        let bytes = fs::read(self.blobs.join(number.to_string())).ok()?;
        let (crc, covered) = bytes.split_first_chunk::<4>()?;
        (crc32fast::hash(covered) == u32::from_le_bytes(*crc)).then(|| covered.get(1..).unwrap_or_default().to_vec())
    }

    /// Every key, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.values.keys().map(|key| &key[..])
    }

    /// The value of a key.
    pub(super) fn value(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(found) = self.values.get(key) else { return Ok(None) };
        match found.place {
            Place::Inline { offset, len } => {
                let mut value = vec![0; len];
                self.file.read_exact_at(&mut value, offset)?;
                Ok(Some(value))
            }
            Place::Blob { number, offset, len } => {
                let blob = self.blob(number).unwrap_or_default();
                Ok(blob.get(offset..offset + len).map(<[u8]>::to_vec))
            }
        }
    }
}

impl Page {
    /// The whole key of which a link has the end. Should the page's latest state be lost, its prefix may have become
    /// longer; then the end may still be that of one key it has.
    fn key(&self, end: &[u8], plausible: &dyn Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let key = [&self.prefix[..], end].concat();
        if plausible(&key) && (self.has_base || self.values.is_empty()) {
            return Some(key);
        }
        let mut ending = self.values.keys().filter(|key| key.ends_with(end));
        match (ending.next(), ending.next()) {
            (Some(key), None) => Some(key.clone()),
            _ => None,
        }
    }
}

/// A node's prefix, and where its values are.
struct Node<'a> {
    prefix: Vec<u8>,
    entries: Vec<(&'a [u8], (usize, usize))>,
}

fn parse_node(body: &[u8]) -> Option<Node<'_>> {
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
fn var(rest: &mut &[u8]) -> Option<u64> {
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

    fn check(bad: bool, root_before: Option<u64>, root_after: Option<u64>) -> Check {
        let bad = bad.then_some(BadPlace { offset: 20, bytes: 9, segment: 0 });
        Check { bad, root_before, root_after }
    }

    #[test]
    fn a_torn_end_is_told_from_damage_by_what_was_durable() {
        // Nothing is bad, or all that was durable is before it.
        assert!(!check(false, Some(4), None).is_damaged(7));
        assert!(!check(true, Some(7), None).is_damaged(7));
        assert!(!check(true, Some(7), Some(8)).is_damaged(7), "the next checkpoint never came to its end");
        // Since the last snapshot of the page table, which was after checkpoint 7.
        assert!(!check(true, None, Some(8)).is_damaged(7));
        assert!(!check(true, None, None).is_damaged(7));
        // The durable checkpoint is behind the bad place, or in it.
        assert!(check(true, Some(6), Some(7)).is_damaged(7));
        assert!(check(true, None, Some(7)).is_damaged(7));
        assert!(check(true, None, Some(3)).is_damaged(7));
        assert!(check(true, Some(6), None).is_damaged(7));
    }

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
