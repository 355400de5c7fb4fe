//! State vectors: per client, how many clock ticks are known. The question "what am I missing?" (WIRE §0).

use std::collections::BTreeMap;

use super::WireError;
use super::lib0::{Reader, write_var_uint};
use crate::ids::{ClientId, Clock};
use crate::limits::{CLIENT_ID_MAX, CLOCK_MAX, STATE_VECTOR_ENTRIES_MAX};

/// Per client, how many clock ticks are known. Ordered, so that equal vectors encode equally.
pub type StateVector = BTreeMap<ClientId, Clock>;

/// Checks `bytes` without allocating: a claim of 200 million clients costs a comparison (HARDENING §2).
pub fn validate(bytes: &[u8]) -> Result<(), WireError> {
    read(bytes, |_, _| {})
}

/// Decodes a state vector of at most [`STATE_VECTOR_ENTRIES_MAX`] entries.
pub fn decode(bytes: &[u8]) -> Result<StateVector, WireError> {
    let mut clocks = StateVector::new();
    read(bytes, |client, clock| {
        clocks.insert(client, clock);
    })?;
    Ok(clocks)
}

/// Encodes, largest client first as Yjs does. Entries at zero say nothing and are left out.
pub fn encode(clocks: &StateVector) -> Vec<u8> {
    let known = || clocks.iter().rev().filter(|(_, clock)| **clock > 0);
    let mut out = Vec::with_capacity(2 + clocks.len() * 8);
    write_var_uint(&mut out, known().count() as u64);
    for (client, clock) in known() {
        write_var_uint(&mut out, client.0);
        write_var_uint(&mut out, u64::from(*clock));
    }
    out
}

fn read(bytes: &[u8], mut entry: impl FnMut(ClientId, Clock)) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    let count = reader.var_count(2)?;
    if count > STATE_VECTOR_ENTRIES_MAX {
        return Err(WireError::TooLarge { what: "state vector entries", size: count, max: STATE_VECTOR_ENTRIES_MAX });
    }
    for _ in 0..count {
        let client = read_client(&mut reader)?;
        entry(client, read_clock(&mut reader)?);
    }
    reader.end()
}

/// A client id within 53 bits.
pub(super) fn read_client(reader: &mut Reader<'_>) -> Result<ClientId, WireError> {
    let client = reader.var_uint()?;
    if client >= CLIENT_ID_MAX { Err(WireError::IntegerTooLarge) } else { Ok(ClientId(client)) }
}

/// A clock below [`CLOCK_MAX`].
pub(super) fn read_clock(reader: &mut Reader<'_>) -> Result<Clock, WireError> {
    let clock = reader.var_uint()?;
    if clock >= CLOCK_MAX {
        return Err(WireError::TooLarge { what: "clock", size: clock, max: CLOCK_MAX - 1 });
    }
    Ok(clock as Clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_5_byte_claim_of_200_million_clients_is_refused() {
        let mut bytes = Vec::new();
        write_var_uint(&mut bytes, 200_000_000);
        assert!(matches!(validate(&bytes), Err(WireError::CountTooLarge { count: 200_000_000, .. })));
    }

    #[test]
    fn yrs_reads_what_we_write_and_we_read_what_yrs_writes() {
        use yrs::updates::decoder::Decode;
        use yrs::updates::encoder::Encode;
        let ours: StateVector = [(1, 5), (77, 300), ((1 << 32) - 1, 1)].map(|(c, k)| (ClientId(c), k)).into();
        let theirs = yrs::StateVector::decode_v1(&encode(&ours)).unwrap();
        assert_eq!(decode(&theirs.encode_v1()).unwrap(), ours);
        assert_eq!(encode(&StateVector::new()), [0], "the empty state vector is 00 (WIRE §0)");
    }
}
