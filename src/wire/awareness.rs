//! y-protocols' awareness encoding: `varUint n · n × (varUint client · varUint clock · varString json)` (WIRE §1).

use super::WireError;
use super::lib0::{Reader, write_var_bytes, write_var_uint};
use super::state_vector::{read_client, read_clock};
use crate::ids::{ClientId, Clock};
use crate::limits::{AWARENESS_ENTRIES_MAX, AWARENESS_STATE_BYTES_MAX};

/// What one client's presence is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Whose presence.
    pub client: ClientId,
    /// Rises with each change; the same clock with `null` removes (WIRE g9, g12).
    pub clock: Clock,
    /// JSON text as it came, or `None` for `null`: gone.
    pub state: Option<&'a str>,
}

/// Checks every entry but not that states are JSON; whoever keeps a state checks that, after the cheaper tests.
pub fn validate(bytes: &[u8]) -> Result<(), WireError> {
    let mut entries = entries(bytes)?;
    entries.by_ref().try_for_each(|entry| entry.map(drop))?;
    entries.reader.end()
}

/// The entries one by one. Stops after the first error.
///
/// # Errors
/// When the announced count cannot fit into the bytes or is over [`AWARENESS_ENTRIES_MAX`].
pub fn entries(bytes: &[u8]) -> Result<Entries<'_>, WireError> {
    let mut reader = Reader::new(bytes);
    let left = reader.var_count(3)?;
    if left > AWARENESS_ENTRIES_MAX {
        return Err(WireError::TooLarge { what: "awareness entries", size: left, max: AWARENESS_ENTRIES_MAX });
    }
    Ok(Entries { reader, left })
}

/// Iterator of [`entries`].
#[derive(Debug, Clone)]
pub struct Entries<'a> {
    reader: Reader<'a>,
    left: u64,
}

impl Entries<'_> {
    /// Entries that are left.
    pub fn left(&self) -> u64 {
        self.left
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let entry = read_entry(&mut self.reader);
        if entry.is_err() {
            self.left = 0;
        }
        Some(entry)
    }
}

fn read_entry<'a>(reader: &mut Reader<'a>) -> Result<Entry<'a>, WireError> {
    let client = read_client(reader)?;
    let clock = read_clock(reader)?;
    let json = reader.var_string()?;
    if json.len() > AWARENESS_STATE_BYTES_MAX {
        let (size, max) = (json.len() as u64, AWARENESS_STATE_BYTES_MAX as u64);
        return Err(WireError::TooLarge { what: "awareness state", size, max });
    }
    Ok(Entry { client, clock, state: (json != "null").then_some(json) })
}

/// Encodes entries into one message body.
pub fn encode<'a>(entries: impl ExactSizeIterator<Item = Entry<'a>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    write_var_uint(&mut out, entries.len() as u64);
    for entry in entries {
        write_var_uint(&mut out, entry.client.0);
        write_var_uint(&mut out, u64::from(entry.clock));
        write_var_bytes(&mut out, entry.state.unwrap_or("null").as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_bytes_of_wire_g11() {
        let bytes = [1, 0x4d, 3, 4, 0x6e, 0x75, 0x6c, 0x6c];
        let all: Vec<_> = entries(&bytes).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(all, [Entry { client: ClientId(77), clock: 3, state: None }]);
        assert_eq!(encode(all.into_iter()), bytes);
    }

    #[test]
    fn y_protocols_own_bytes_round_trip() {
        // awarenessProtocol.encodeAwarenessUpdate of {user: {name: "Ada"}} for client 4242, clock 1.
        let bytes = b"\x01\x92\x21\x01\x17{\"user\":{\"name\":\"Ada\"}}";
        let mut bytes = bytes.to_vec();
        bytes[4] = (bytes.len() - 5) as u8;
        validate(&bytes).unwrap();
        let all: Vec<_> = entries(&bytes).unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(all[0].state, Some("{\"user\":{\"name\":\"Ada\"}}"));
        assert_eq!(encode(all.into_iter()), bytes);
    }

    #[test]
    fn claims_are_compared_with_the_bytes_left() {
        assert!(matches!(validate(&[0xff, 0xff, 0xff, 0x7f]), Err(WireError::CountTooLarge { .. })));
        assert_eq!(validate(&[1, 1, 0, 5, b'"']), Err(WireError::Truncated));
        assert_eq!(validate(&[0, 0]), Err(WireError::TrailingBytes(1)));
    }
}
