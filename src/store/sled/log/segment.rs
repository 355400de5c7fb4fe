//! Segments of sled's log: their order, and the walk over the messages of one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::message::{Kind, Message, header_at, message_at};

/// Bytes of a segment; sled's default, which weft never changed.
pub(super) const SEGMENT_BYTES: usize = 512 << 10;

const SEGMENT_HEADER_BYTES: usize = 20;

/// sled writes no message nearer to a segment's end than this.
const MESSAGE_HEADER_BYTES_MAX: usize = 32;

/// Bytes of the data file that are no message, where messages are expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct BadPlace {
    /// Where in the file.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// Number of the segment in the order of writing.
    pub segment: u64,
}

impl BadPlace {
    /// How much had ever been written before it, as sled counts.
    pub fn written_at(&self) -> u64 {
        self.segment * SEGMENT_BYTES as u64 + self.offset % SEGMENT_BYTES as u64
    }
}

/// What a walk over a segment meets.
pub(super) enum Seen<'a> {
    /// A whole message and its bytes.
    Message(&'a Message, &'a [u8]),
    Bad(BadPlace),
}

/// The segments of a file.
pub(super) struct Slots {
    /// Numbers and places in the order of writing, which is not that of the file: segments are used again.
    pub in_order: Vec<(u64, u64)>,
    /// What sled had synced without a gap when the newest of them was begun, in bytes ever written.
    pub stable: u64,
}

pub(super) fn slots(file: &File, buffer: &mut [u8]) -> io::Result<Slots> {
    let (mut slots, mut offset, len) = (Slots { in_order: Vec::new(), stable: 0 }, 0, file.metadata()?.len());
    while offset < len {
        let number = match segment_header(read_segment(file, offset, &mut buffer[..SEGMENT_HEADER_BYTES])?) {
            Some((number, stable)) => {
                slots.stable = slots.stable.max(stable);
                Some(number)
            }
            None => number_by_messages(read_segment(file, offset, buffer)?),
        };
        slots.in_order.extend(number.map(|number| (number, offset)));
        offset += SEGMENT_BYTES as u64;
    }
    slots.in_order.sort_unstable();
    Ok(slots)
}

pub(super) fn read_segment<'a>(file: &File, offset: u64, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
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

/// The number of a segment, in the order of writing, and what was stable when it was begun, if its header is whole.
fn segment_header(bytes: &[u8]) -> Option<(u64, u64)> {
    let header = bytes.first_chunk::<SEGMENT_HEADER_BYTES>()?;
    let (crc, covered) = header.split_first_chunk::<4>()?;
    let [lsn, stable] =
        [covered.first_chunk::<8>()?, covered.last_chunk::<8>()?].map(|b| i64::from_le_bytes(*b) ^ i64::MAX);
    let holds = u32::from_le_bytes(*crc) ^ u32::MAX == crc32fast::hash(covered);
    // Of the first segment it is -1: nothing was.
    (holds && lsn >= 0).then_some((lsn as u64 / SEGMENT_BYTES as u64, stable.max(0) as u64))
}

/// The number of a segment whose header is damaged: each of its messages has it as well.
fn number_by_messages(bytes: &[u8]) -> Option<u64> {
    (SEGMENT_HEADER_BYTES..bytes.len()).find_map(|at| message_at(bytes, at, None)).map(|message| message.segment)
}

/// Meets every message of a segment, and what is none where one should be. `is_last`: it is the one written last, so that
/// what stands after its last message was there before.
pub(super) fn walk(bytes: &[u8], offset: u64, segment: u64, is_last: bool, each: &mut dyn FnMut(Seen<'_>)) {
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
    // A segment ends with a cap, or too near to its end for one; of all but the last, anything else is missing: zeros, or
    // the end of the file.
    let full = SEGMENT_BYTES - MESSAGE_HEADER_BYTES_MAX + 1;
    let Some(from) = bad.or((!is_last && at < full).then_some(at)) else { return };
    let rest = bytes.get(from..).unwrap_or_default();
    let used = from + rest.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let to = match header_at(bytes, from) {
        Some(header) if header.segment == segment => used,
        // Nothing tells damage from what was there before, but a header that is whole.
        _ if is_last => return,
        _ if is_overwritten(bytes, from, end, segment) => return,
        _ => used.max(full),
    };
    each(place(from, to));
}

/// Whether these bytes belong to a later use of the segment, of which a crash has left a part without the header: sled had
/// freed it before, so nothing that counts was there.
fn is_overwritten(bytes: &[u8], from: usize, to: usize, segment: u64) -> bool {
    (from.max(SEGMENT_HEADER_BYTES)..to)
        .any(|at| message_at(bytes, at, None).is_some_and(|message| message.segment > segment))
}
