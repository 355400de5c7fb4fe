//! How large a document may become (HARDENING §2), and what is still taken of one that is so large: whatever makes it
//! smaller. What is in the log already is never too much.

use super::encoded::Encoded;
use super::gate::Gated;
use crate::limits::{DOCUMENT_BYTES_MAX, DOCUMENT_SHRINK_SHARE, DOCUMENT_STRUCTS_MAX};
use crate::wire::update;

/// Bounds of one document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeMax {
    /// Bytes of its structs as they are kept and sent.
    pub bytes: u64,
    /// Structs, each of which takes a client many times what it takes here.
    pub structs: u64,
}

impl SizeMax {
    /// Any size.
    pub const ANY: SizeMax = SizeMax { bytes: u64::MAX, structs: u64::MAX };

    /// Whether so many bytes more would not be too many.
    pub fn has_room(&self, structs: &Encoded, bytes: u64) -> bool {
        structs.bytes() as u64 + bytes <= self.bytes
    }

    /// Whether a document of these `structs` takes what is new in an update. As it came, though less of it may be left once it
    /// is joined with what is there.
    pub fn takes(&self, structs: &Encoded, gated: &Gated<'_>) -> bool {
        let waits = gated.parked.as_ref().map_or(&[][..], |parked| &parked.update);
        let (mut bytes, mut count) = (waits.len(), update::structs(waits));
        if gated.runs.is_empty() && count == 0 {
            // Nothing but deletions.
            return true;
        }
        for run in &gated.runs {
            bytes += run.head.len() + run.rest.len();
            count += run.structs;
        }
        let after = (structs.bytes() as u64 + bytes as u64, structs.len() as u64 + count);
        if after.0 <= self.bytes && after.1 <= self.structs {
            return true;
        }
        // An editor that deletes everything leaves an empty paragraph behind.
        let freed: u64 = gated.deletes.iter().map(|&(client, from, to)| structs.about_bytes(client, to - from)).sum();
        let beyond = |max: u64| max.saturating_add(max / DOCUMENT_SHRINK_SHARE);
        freed >= bytes as u64 && after.0 <= beyond(self.bytes) && after.1 <= beyond(self.structs)
    }
}

impl Default for SizeMax {
    fn default() -> Self {
        Self { bytes: DOCUMENT_BYTES_MAX, structs: DOCUMENT_STRUCTS_MAX }
    }
}
