//! Presence: messages are written again as they came, and the table of a document keeps its bounds whatever peers say.

use std::time::{Duration, Instant};

use serde::de::IgnoredAny;
use weft::ids::PeerId;
use weft::limits::{AWARENESS_CLIENTS_MAX, AWARENESS_STATE_BYTES_MAX, AWARENESS_TOMBSTONE_TTL};
use weft::replica::awareness::Awareness;
use weft::wire::awareness;

use crate::parts::Parts;

const PEERS: u64 = 4;

/// Lets peers say the messages of an input to one document.
pub fn run(input: &[u8]) {
    let mut table = Awareness::default();
    let mut now = Instant::now();
    for part in Parts::of(input) {
        let Some((choice, message)) = part.split_first() else { continue };
        let peer = PeerId(u64::from(choice % PEERS as u8));
        now += Duration::from_millis(u64::from(choice >> 4) * 1_000);
        match choice >> 2 & 3 {
            0 => table.leave(peer, now),
            1 if message.is_empty() => table.settle(peer),
            _ if awareness::validate(message).is_ok() => {
                check_round_trip(message);
                if let Some(tombstones) = table.apply(peer, message, now) {
                    assert_eq!(awareness::validate(&tombstones), Ok(()));
                }
            }
            _ => {}
        }
        let wake_at = table.expire(now);
        assert!(wake_at.is_none_or(|at| at <= now + AWARENESS_TOMBSTONE_TTL));
        for told in [table.take_changes(), table.everyone()].into_iter().flatten() {
            assert_eq!(awareness::validate(&told), Ok(()), "what is told is valid");
            for entry in awareness::entries(&told).expect("valid") {
                let json = entry.expect("valid").state.unwrap_or("null");
                assert!(json.len() <= AWARENESS_STATE_BYTES_MAX);
                serde_json::from_str::<IgnoredAny>(json).expect("clients would fail to read it");
            }
        }
        assert!(table.present() <= AWARENESS_CLIENTS_MAX);
    }
    for peer in 0..PEERS {
        table.leave(PeerId(peer), now);
    }
    table.expire(now + AWARENESS_TOMBSTONE_TTL);
    table.take_changes();
    table.expire(now + 2 * AWARENESS_TOMBSTONE_TTL);
    assert_eq!(table.present(), 0, "when all are gone nobody is present");
}

fn check_round_trip(message: &[u8]) {
    let entries: Result<Vec<_>, _> = awareness::entries(message).expect("valid").collect();
    let entries = entries.expect("valid");
    assert_eq!(awareness::encode(entries.into_iter()), message);
}
