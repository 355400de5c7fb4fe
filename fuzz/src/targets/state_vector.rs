//! State vectors: both of our readers agree, and yrs reads what we take.

use weft::limits::STATE_VECTOR_ENTRIES_MAX;
use weft::wire::state_vector;
use yrs::updates::decoder::Decode;

/// Reads one.
pub fn run(input: &[u8]) {
    let decoded = state_vector::decode(input);
    assert_eq!(state_vector::validate(input).err(), decoded.as_ref().err().copied());
    let Ok(clocks) = decoded else { return };
    assert!(clocks.len() as u64 <= STATE_VECTOR_ENTRIES_MAX);
    let encoded = state_vector::encode(&clocks);
    let known = clocks.iter().filter(|(_, clock)| **clock > 0).map(|(client, clock)| (*client, *clock)).collect();
    assert_eq!(state_vector::decode(&encoded), Ok(known), "what is known survives");
    let theirs = yrs::StateVector::decode_v1(input).expect("yrs reads what we take");
    for (client, clock) in &clocks {
        assert_eq!(theirs.get(&yrs::ClientID::new(client.0)), *clock);
    }
}
