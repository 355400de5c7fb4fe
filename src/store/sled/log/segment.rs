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
    let mut overwritten = None;
    let mut counts = |from: usize| !*overwritten.get_or_insert_with(|| is_overwritten(bytes, from, end, segment));
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
        if let Some(from) = bad.take().filter(|from| counts(*from)) {
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
        // Also where only what follows the message's own header is of the later use.
        _ if !counts(from) => return,
        Some(header) if header.segment == segment => used,
        // Nothing tells damage from what was there before, but a header that is whole.
        _ if is_last => return,
        _ => used.max(full),
    };
    each(place(from, to));
}

/// Whether the segment is in its next use, of which a crash has left a part without the header: sled had freed it before, so
/// nothing that counts was there. `from` is the first bad place. What is within a message that holds is not looked at.
fn is_overwritten(bytes: &[u8], from: usize, to: usize, segment: u64) -> bool {
    let mut at = from.max(SEGMENT_HEADER_BYTES);
    while at < to {
        match message_at(bytes, at, None) {
            Some(message) if message.segment > segment => return true,
            Some(message) if message.segment == segment => at = message.body + message.len,
            Some(_) | None => at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: u8 = 8;
    const CAP: u8 = 2;

    fn header(number: u64) -> Vec<u8> {
        let lsn = (number * SEGMENT_BYTES as u64) as i64;
        let covered = [(lsn ^ i64::MAX).to_le_bytes(), (lsn ^ i64::MAX).to_le_bytes()].concat();
        [&(crc32fast::hash(&covered) ^ u32::MAX).to_le_bytes()[..], &covered].concat()
    }

    fn message(kind: u8, number: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u32).to_le_bytes();
        // Of three bytes, and small ones of one.
        let covered = [&[kind, 250], &len[..3], &[number, 7]].concat();
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(body);
        hasher.update(&covered);
        [&(hasher.finalize() ^ u32::MAX).to_le_bytes()[..], &covered, body].concat()
    }

    /// A whole segment: three messages, and a cap.
    fn segment(number: u8) -> Vec<u8> {
        let mut bytes = header(number.into());
        for body in [100_000, 120_000, 150_000] {
            bytes.extend(message(NODE, number, &vec![number; body]));
        }
        let rest = SEGMENT_BYTES - bytes.len() - MESSAGE_HEADER_BYTES_MAX;
        bytes.extend(message(CAP, number, &vec![0; rest]));
        bytes.resize(SEGMENT_BYTES, 0);
        bytes
    }

    fn bad_places(bytes: &[u8], number: u64) -> Vec<BadPlace> {
        let mut bad = Vec::new();
        walk(bytes, 0, number, false, &mut |seen| {
            if let Seen::Bad(place) = seen {
                bad.push(place);
            }
        });
        bad
    }

    #[test]
    fn a_whole_segment_has_no_bad_place() {
        assert_eq!(bad_places(&segment(3), 3), []);
    }

    /// Found by a power cut in an offline compaction, once: sled's threads write out of order, and of a segment that was used
    /// again the end was there and the beginning was not. What was there before ended in a message of which the header was
    /// left, and that was taken for damage.
    #[test]
    fn a_segment_whose_end_is_of_its_next_use_is_not_damaged() {
        let (old, new) = (segment(3), segment(9));
        let starts = [100_031, 220_042, 370_053].map(|about| {
            (about - 40..about + 40).find(|at| message_at(&new, *at, Some(9)).is_some()).expect("a message")
        });
        for from in starts {
            // Writes end where messages do; those of before may begin anywhere: before it, at it, in the midst of it.
            for shift in [0, 5, 11, 12, 5_000, 60_000] {
                let mut bytes = old.clone();
                let end = SEGMENT_BYTES - shift;
                bytes[from..end].copy_from_slice(&new[from..end]);
                let later = message_at(&bytes, from, Some(9)).is_some();
                assert!(later || shift == 60_000, "{from}, {shift}");
                assert_eq!(bad_places(&bytes, 3), [], "from {from} to {end}");
            }
            // In the midst of a message of before, whose header is left.
            let mut bytes = [&header(3)[..], &message(NODE, 3, &vec![3; 450_000])].concat();
            bytes.resize(SEGMENT_BYTES, 0);
            bytes[from..].copy_from_slice(&new[from..]);
            assert_eq!(bad_places(&bytes, 3), [], "from {from} on");
        }
    }

    /// Found by tearing writes at every page: of what the next use had begun with only some pages were there, and no whole
    /// message before the first that was left of the former use.
    #[test]
    fn a_segment_of_which_the_next_use_has_left_pages_is_not_damaged() {
        let (old, new) = (segment(3), segment(9));
        let mut bytes = old.clone();
        bytes[8_192..50_000].copy_from_slice(&new[8_192..50_000]);
        assert_eq!(bad_places(&bytes, 3).len(), 1, "nothing tells this from damage");
        // The message before keeps its header and ends where the next one stands; so does the last of the later use.
        let last = (370_000..).find(|at| message_at(&new, *at, Some(9)).is_some()).unwrap();
        bytes[last..].copy_from_slice(&new[last..]);
        assert_eq!(bad_places(&bytes, 3), []);
    }

    /// The checks above can fail.
    #[test]
    fn a_segment_whose_end_is_of_no_later_use_is_damaged() {
        for other in [vec![0; SEGMENT_BYTES], vec![0xA5; SEGMENT_BYTES], segment(2)] {
            for from in [50_000, 150_000, 300_000] {
                let mut bytes = segment(3);
                bytes[from..].copy_from_slice(&other[from..]);
                let bad = bad_places(&bytes, 3);
                assert_eq!(bad.len(), 1, "from {from} on");
                assert!(bad[0].offset <= from as u64 && bad[0].offset + bad[0].bytes >= from as u64, "{bad:?}");
            }
        }
    }
}
