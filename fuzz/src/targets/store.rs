//! Values of the database, under the right checksum and under none: every reader takes the same, what is taken is written
//! again as it was, and a record of another document is none.

use bytes::Bytes;
use weft::ids::DocName;
use weft::store::values;

use crate::parts::Parts;

/// Reads one value of each kind.
pub fn run(input: &[u8]) {
    let doc = DocName::parse("notes/a").expect("a name");
    let mut parts = Parts::of(input);
    let kind = parts.choice();
    let seals = parts.choice() & 1 == 1;
    let mut value = parts.rest().to_vec();
    match kind % 3 {
        0 => {
            if seals {
                seal(&mut value, 3, b"notes/a");
            }
            check(values::entry(&doc, &value), &value, |again| values::entry(&doc, again));
        }
        1 => {
            if seals {
                seal(&mut value, 3, b"");
            }
            check(values::root(&value), &value, values::root);
        }
        _ => {
            if seals {
                seal(&mut value, 4, b"notes/a");
            }
            check_updates(&doc, &value);
        }
    }
}

/// Puts the right checksum into a value, if there is room for one.
fn seal(value: &mut [u8], at: usize, salt: &[u8]) {
    let Some((lead, rest)) = value.split_at_mut_checked(at) else { return };
    let Some((crc, body)) = rest.split_at_mut_checked(4) else { return };
    let salted = crc32c::crc32c_append(crc32c::crc32c(salt), &[0]);
    crc.copy_from_slice(&crc32c::crc32c_append(crc32c::crc32c_append(salted, lead), body).to_le_bytes());
}

/// What was read is `again` in the newest form; reading that changes nothing any more.
fn check(again: Option<Vec<u8>>, value: &[u8], read: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let Some(again) = again else { return };
    assert_eq!(read(&again), Some(again.clone()));
    // The second byte is the schema; one of an older schema is written in the newest.
    assert!(again == value || again[1] != value[1] || again.len() != value.len(), "read otherwise than it was written");
}

fn check_updates(doc: &DocName, value: &[u8]) {
    let other = DocName::parse("notes/b").expect("a name");
    for is_snapshot in [false, true] {
        let Some((first, last, updates)) = values::updates(doc, is_snapshot, Bytes::copy_from_slice(value)) else {
            continue;
        };
        assert!(updates.iter().map(|update| update.len() + 4).sum::<usize>() <= value.len());
        assert_eq!(values::encode_updates(doc, is_snapshot, first, last, &updates), value, "written as it was");
        assert!(values::updates(&other, is_snapshot, Bytes::copy_from_slice(value)).is_none(), "of another document");
        for piece in [1, 7, value.len()] {
            assert!(values::updates_hold(doc, value.chunks(piece)), "looked over in pieces of {piece}");
        }
    }
    if !values::updates_hold(doc, value.chunks(5)) {
        assert!([false, true].iter().all(|kind| values::updates(doc, *kind, Bytes::copy_from_slice(value)).is_none()));
    }
}
