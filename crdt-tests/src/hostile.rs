//! Frames that no honest client sends, each with a name that says what is wrong with it.
//!
//! Written byte by byte from the formats (WIRE §1, lib0, Yjs update v1), because no library would encode them.

use rand::Rng;

use crate::message::{ack, awareness, step1, step2, update, var_bytes, var_uint};

/// A name and one binary WebSocket message.
pub type Frame = (String, Vec<u8>);

// Content references of Yjs' update format v1.
const GC: u8 = 0;
const DELETED: u8 = 1;
const JSON: u8 = 2;
const STRING: u8 = 4;
const EMBED: u8 = 5;
const FORMAT: u8 = 6;
const TYPE: u8 = 7;
const ANY: u8 = 8;
const SKIP: u8 = 10;
// Flags beside them.
const HAS_ORIGIN: u8 = 0x80;
const HAS_PARENT_SUB: u8 = 0x20;

fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// One client's structs and no deletions.
fn one_client(client: u64, clock: u64, structs: &[Vec<u8>]) -> Vec<u8> {
    let header = [var_uint(1), var_uint(structs.len() as u64), var_uint(client), var_uint(clock)].concat();
    [header, structs.concat(), var_uint(0)].concat()
}

/// An item in the root type `text`, with content bytes as given.
fn root_item(content_ref: u8, content: &[u8]) -> Vec<u8> {
    cat(&[&[content_ref, 1], &var_bytes(b"text"), content])
}

/// An item in the root type `map` under `key`.
fn map_item(key: &[u8], content_ref: u8, content: &[u8]) -> Vec<u8> {
    cat(&[&[content_ref | HAS_PARENT_SUB, 1], &var_bytes(b"map"), &var_bytes(key), content])
}

fn string_item(text: &[u8]) -> Vec<u8> {
    root_item(STRING, &var_bytes(text))
}

/// One `Any`: arrays nested `depth` deep around null.
fn nested_any(depth: usize) -> Vec<u8> {
    let mut bytes = var_uint(1);
    bytes.extend([117, 1].repeat(depth));
    bytes.push(126);
    bytes
}

/// Arrays as shared types nested `depth` deep, each the only child of the one before.
pub fn nested_types(client: u64, depth: u64) -> Vec<u8> {
    let array = |parent: Option<u64>| match parent {
        None => root_item(TYPE, &[0]),
        Some(clock) => cat(&[&[TYPE, 0], &var_uint(client), &var_uint(clock), &[0]]),
    };
    let structs: Vec<Vec<u8>> = (0..depth).map(|clock| array(clock.checked_sub(1))).collect();
    one_client(client, 0, &structs)
}

fn deletions(client: u64, ranges: &[(u64, u64)]) -> Vec<u8> {
    let mut bytes = [var_uint(0), var_uint(1), var_uint(client), var_uint(ranges.len() as u64)].concat();
    for (clock, len) in ranges {
        bytes.extend(var_uint(*clock));
        bytes.extend(var_uint(*len));
    }
    bytes
}

/// An integer of eleven continued bytes.
const ENDLESS_INTEGER: [u8; 11] = [0xff; 11];

/// Messages whose own structure is broken.
pub fn broken_messages() -> Vec<Frame> {
    let mut frames: Vec<Frame> = vec![
        ("nothing at all".into(), vec![]),
        ("a message type and no more".into(), vec![0]),
        ("SyncStep1 and no more".into(), vec![0, 0]),
        ("an unknown message type".into(), vec![77, 1, 0]),
        ("an unknown sync message".into(), vec![0, 9, 1, 0]),
        ("a length past the end".into(), vec![0, 2, 200, 1, 0, 0]),
        ("a length of 2^53 - 1".into(), cat(&[&[0, 2], &var_uint((1 << 53) - 1), &[0, 0]])),
        ("a length that never ends".into(), cat(&[&[0, 2], &ENDLESS_INTEGER])),
        ("a message type that never ends".into(), ENDLESS_INTEGER.to_vec()),
        ("a message with bytes after it".into(), cat(&[&update(&[0, 0]), &[1, 2, 3]])),
        ("two messages in one frame".into(), cat(&[&step1(&[0]), &step1(&[0])])),
        ("an ack request that is cut off".into(), vec![102, 9, 1]),
        ("permission denied, from a client".into(), cat(&[&[2, 0], &var_bytes(b"no")])),
    ];
    let honest = update(&one_client(900, 0, &[string_item(b"honest")]));
    for len in 1..honest.len() {
        frames.push((format!("an honest update cut off at byte {len}"), honest[..len].to_vec()));
    }
    frames
}

/// State vectors that lie.
pub fn lying_state_vectors() -> Vec<Frame> {
    let vectors: Vec<(&str, Vec<u8>)> = vec![
        ("5 bytes that claim 200 million clients", cat(&[&var_uint(200_000_000), &[0]])),
        ("2^53 - 1 clients", var_uint((1 << 53) - 1)),
        ("an integer that never ends", ENDLESS_INTEGER.to_vec()),
        ("a client id of 2^53", cat(&[&[1], &var_uint(1 << 53), &[1]])),
        ("a clock of 2^53", cat(&[&[1, 1], &var_uint(1 << 53)])),
        ("a clock of 2^32", cat(&[&[1, 1], &var_uint(1 << 32)])),
        ("the same client twice", vec![2, 1, 1, 1, 2]),
        ("bytes after the end", vec![1, 1, 1, 7, 7]),
    ];
    vectors.into_iter().map(|(name, vector)| (format!("SyncStep1: {name}"), step1(&vector))).collect()
}

/// Updates that no Yjs client encodes, none of which may be stored as they are.
pub fn lying_updates() -> Vec<Frame> {
    let mut updates: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| updates.push((name.to_owned(), bytes));

    for (name, count) in [("2^20", 1 << 20), ("2^28", 1 << 28), ("2^32", 1 << 32), ("2^53 - 1", (1 << 53) - 1)] {
        let n = var_uint(count);
        add(&format!("{name} clients"), cat(&[&n, &[0]]));
        add(&format!("{name} structs"), cat(&[&[1], &n, &[1, 0, 0]]));
        add(&format!("{name} deleting clients"), cat(&[&[0], &n]));
        add(&format!("{name} deleted ranges"), cat(&[&[0, 1, 1], &n]));
        add(&format!("{name} values"), one_client(901, 0, &[root_item(ANY, &n)]));
        add(&format!("{name} JSON values"), one_client(901, 0, &[root_item(JSON, &n)]));
        add(&format!("a string of {name} bytes"), one_client(901, 0, &[root_item(STRING, &n)]));
        add(&format!("an array of {name} values"), one_client(901, 0, &[root_item(ANY, &cat(&[&[1, 117], &n]))]));
        add(&format!("an object of {name} keys"), one_client(901, 0, &[root_item(ANY, &cat(&[&[1, 118], &n]))]));
    }
    for depth in [1_000, 10_000, 100_000] {
        add(&format!("a value nested {depth} deep"), one_client(901, 0, &[root_item(ANY, &nested_any(depth))]));
    }
    add(
        "JSON nested 100,000 deep",
        one_client(901, 0, &[root_item(EMBED, &var_bytes("[".repeat(100_000).as_bytes()))]),
    );
    add("a client id of 2^53", one_client(1 << 53, 0, &[string_item(b"x")]));
    add("a client id of 2^63", one_client(1 << 63, 0, &[string_item(b"x")]));
    add("a clock of 2^31", one_client(901, 1 << 31, &[string_item(b"x")]));
    add("a clock of 2^53", one_client(901, 1 << 53, &[string_item(b"x")]));
    add("a clock and length beyond 2^32", one_client(901, (1 << 32) - 2, &[string_item(b"xxxxx")]));
    add("collected length of 2^32", one_client(901, 0, &[cat(&[&[GC], &var_uint(1 << 32)])]));
    add("deleted length of 2^53 - 1", one_client(901, 0, &[root_item(DELETED, &var_uint((1 << 53) - 1))]));
    add("collected length of 0", one_client(901, 0, &[vec![GC, 0]]));
    add("deleted length of 0", one_client(901, 0, &[root_item(DELETED, &[0])]));
    add("skipped length of 0", one_client(901, 0, &[vec![SKIP, 0]]));
    add("an empty string", one_client(901, 0, &[string_item(b"")]));
    add("no values", one_client(901, 0, &[root_item(ANY, &[0])]));
    add("a string that is not UTF-8", one_client(901, 0, &[string_item(&[0xff, 0xfe, 0x80])]));
    add(
        "a root name that is not UTF-8",
        one_client(901, 0, &[cat(&[&[STRING, 1], &var_bytes(&[0xc0]), &var_bytes(b"x")])]),
    );
    add("a key that is not UTF-8", one_client(901, 0, &[map_item(&[0xed, 0xa0, 0x80], ANY, &[1, 126])]));
    add("an embed that is not JSON", one_client(901, 0, &[root_item(EMBED, &var_bytes(b"{nope"))]));
    add(
        "a format that is not JSON",
        one_client(901, 0, &[root_item(FORMAT, &cat(&[&var_bytes(b"bold"), &var_bytes(b"tru")]))]),
    );
    for content_ref in 11..=15 {
        add(&format!("content of kind {content_ref}"), one_client(901, 0, &[root_item(content_ref, &[1])]));
    }
    add("a shared type of kind 99", one_client(901, 0, &[root_item(TYPE, &[99])]));
    add("a value of kind 7", one_client(901, 0, &[root_item(ANY, &[1, 7])]));
    add("a parent flag of 9", one_client(901, 0, &[cat(&[&[STRING, 9], &var_bytes(b"text"), &var_bytes(b"x")])]));
    add("an unused flag", one_client(901, 0, &[root_item(STRING | 0x10, &var_bytes(b"x"))]));
    add(
        "an item left of itself",
        one_client(901, 0, &[cat(&[&[STRING | HAS_ORIGIN], &var_uint(901), &[0], &var_bytes(b"x")])]),
    );
    add(
        "an item left of a later one",
        one_client(901, 0, &[cat(&[&[STRING | HAS_ORIGIN], &var_uint(901), &[50], &var_bytes(b"x")])]),
    );
    add("an item inside itself", one_client(901, 0, &[cat(&[&[TYPE, 0], &var_uint(901), &[0, 0]])]));
    let once = &one_client(901, 0, &[string_item(b"abc")])[1..];
    let again = &one_client(901, 1, &[string_item(b"xyz")])[1..];
    add("one client twice", cat(&[&[2], &once[..once.len() - 1], again]));
    add("a deletion of length 0", deletions(901, &[(0, 0)]));
    add("a deletion beyond 2^32", deletions(901, &[((1 << 32) - 1, 1 << 32)]));
    add("a deletion by a client of 2^53", deletions(1 << 53, &[(0, 1)]));
    add("bytes after the end", cat(&[&one_client(901, 0, &[string_item(b"x")]), &[0, 0]]));
    add("the second encoding (v2)", vec![0, 0, 5, 1, 0, 1, 0, 3, 1, 0, 0, 2, 1, 120, 1, 1, 1, 0, 0, 1, 1, 0, 0]);
    updates
        .into_iter()
        .flat_map(|(name, bytes)| {
            [(format!("Update: {name}"), update(&bytes)), (format!("SyncStep2: {name}"), step2(&bytes))]
        })
        .collect()
}

/// Updates that are well formed one by one, yet set traps: gaps, overlaps, depth. They may be taken, parked or refused; what
/// counts is what becomes of everybody else.
pub fn trapping_updates() -> Vec<Frame> {
    let mut frames: Vec<Frame> = vec![
        // DEPENDENCIES A3: use-after-free in yrs.
        ("an overlap, first half".into(), update(&one_client(910, 1, &[map_item(b"k", ANY, &[1, 126])]))),
        ("an overlap, second half".into(), update(&one_client(910, 0, &[string_item(b"hello world")]))),
        ("other content at a known clock".into(), update(&one_client(910, 0, &[string_item(b"HELLO WORLD")]))),
        ("a deletion of what nobody has".into(), update(&deletions(911, &[(1_000_000, 1_000_000)]))),
        ("deletions that overlap".into(), update(&deletions(910, &[(0, 5), (3, 5), (4, 1)]))),
        ("a skipped stretch".into(), update(&one_client(912, 0, &[vec![SKIP, 5], string_item(b"after")]))),
        ("a gap up to 2^31".into(), update(&one_client(913, (1 << 31) - 10, &[string_item(b"far")]))),
        ("a legacy JSON value".into(), update(&one_client(914, 0, &[map_item(b"old", JSON, &[1, 1, b'1'])]))),
        ("collected from the start".into(), update(&one_client(915, 0, &[vec![GC, 100]]))),
        ("a value nested 100 deep".into(), update(&one_client(916, 0, &[map_item(b"deep", ANY, &nested_any(100))]))),
        ("a million collected".into(), update(&one_client(917, 0, &[cat(&[&[GC], &var_uint(1_000_000)])]))),
    ];
    for (client, depth) in [(920, 300), (921, 20_000)] {
        frames.push((format!("types nested {depth} deep"), update(&nested_types(client, depth))));
        frames.push((format!("types nested {depth} deep, deleted"), update(&deletions(client, &[(0, 1)]))));
    }
    for clock in 0..2_000u64 {
        let lonely = one_client(930, 10 * (2_000 - clock), &[string_item(b"gap")]);
        frames.push((format!("gap {clock} of 2000"), update(&lonely)));
    }
    frames
}

/// Awareness that lies.
pub fn lying_awareness() -> Vec<Frame> {
    let wrap = |payload: &[u8]| cat(&[&[1], &var_bytes(payload)]);
    vec![
        ("presence of 200 million clients".into(), wrap(&var_uint(200_000_000))),
        ("presence of 2^53 - 1 clients".into(), wrap(&var_uint((1 << 53) - 1))),
        ("presence that is cut off".into(), wrap(&[1, 5])),
        ("presence that is not JSON".into(), awareness(&[(940, 1, "{nope")])),
        ("presence that is not UTF-8".into(), wrap(&cat(&[&[1, 5, 1], &var_bytes(&[0xff, 0xff])]))),
        ("presence of a client id of 2^53".into(), awareness(&[(1 << 53, 1, "{}")])),
        ("presence at a clock of 2^53".into(), awareness(&[(941, 1 << 53, "{}")])),
        ("presence of 100 kB".into(), awareness(&[(942, 1, &format!("\"{}\"", "x".repeat(100_000)))])),
        ("presence nested 100,000 deep".into(), awareness(&[(943, 1, &"[".repeat(100_000))])),
        ("presence with bytes after it".into(), wrap(&[0, 1, 2, 3])),
    ]
}

/// Noise: random bytes, and honest frames with a few bytes changed.
pub fn noise(rng: &mut impl Rng, frames: usize) -> Vec<Frame> {
    let honest = [
        update(&one_client(950, 0, &[string_item(b"some honest text"), map_item(b"key", ANY, &[2, 125, 7, 126])])),
        step2(&cat(&[&one_client(951, 0, &[root_item(TYPE, &[1])])])),
        step1(&[1, 50, 3]),
        awareness(&[(952, 1, r#"{"user":{"name":"noise"}}"#)]),
        ack(1 << 40),
    ];
    (0..frames)
        .map(|number| {
            if number % 2 == 0 {
                let len = rng.random_range(0..200);
                let bytes: Vec<u8> = (0..len).map(|_| rng.random()).collect();
                return (format!("noise {number}: {bytes:02x?}"), bytes);
            }
            let mut bytes = honest[rng.random_range(0..honest.len())].clone();
            for _ in 0..rng.random_range(1..=4) {
                let at = rng.random_range(0..bytes.len());
                bytes[at] = rng.random();
            }
            (format!("noise {number}: {bytes:02x?}"), bytes)
        })
        .collect()
}
