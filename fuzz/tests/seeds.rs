//! Writes what a corpus begins with: frames of stock clients, the fixtures of each format, edits of a simulated author, and
//! what is wrong on purpose. `cargo test -p weft-fuzz --test seeds -- --ignored`, once for a new target; what campaigns
//! find comes beside it.

use std::fs;
use std::path::{Path, PathBuf};

use crdt_tests::author::{Author, Habit};
use crdt_tests::hostile;
use crdt_tests::message;
use crdt_tests::recording::{self, Line, bytes as hex};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use weft_fuzz::corpus;
use weft_fuzz::parts::pack;
use weft_fuzz::targets::token;

/// Larger ones would only be slow to change.
const BYTES_MAX: usize = 4 << 10;

fn write(target: &str, name: &str, bytes: &[u8]) {
    let folder = corpus::folder(target);
    fs::create_dir_all(&folder).expect("a folder");
    if bytes.len() <= BYTES_MAX {
        fs::write(folder.join(name), bytes).expect("written");
    }
}

/// Under a name that tells equal ones apart.
fn add(target: &str, bytes: &[u8]) {
    write(target, &corpus::name_of(bytes), bytes);
}

fn fixture(path: &str) -> Vec<u8> {
    fs::read(fixtures().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// A part of the frames that stock clients sent or were sent.
fn recorded() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for file in fs::read_dir(recording::folder()).expect("recordings") {
        for line in recording::read(&file.expect("a file").path()) {
            if let Line::Frame { hex: text, .. } = line {
                frames.push(hex(&text));
            }
        }
    }
    frames.sort();
    frames.dedup();
    frames.into_iter().step_by(4).collect()
}

/// What a sync message carries.
fn payload(frame: &[u8]) -> Option<&[u8]> {
    match frame {
        [0, 1 | 2, rest @ ..] => weft::wire::lib0::Reader::new(rest).var_bytes().ok(),
        _ => None,
    }
}

fn authored(habit: Habit, edits: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut authors = [Author::new(1, habit, true), Author::new(2, habit, true)];
    let mut updates = Vec::new();
    for _ in 0..edits {
        let [one, other] = &mut authors;
        let (one, other) = if rng.random() { (one, other) } else { (other, one) };
        let update = one.edit(&mut rng);
        if rng.random_ratio(3, 4) {
            other.hear(&other_misses(one, other));
        }
        updates.push(update);
    }
    updates
}

fn other_misses(one: &Author, other: &Author) -> Vec<u8> {
    one.diff(&other.state_vector())
}

#[test]
#[ignore = "writes into the repository"]
fn write_seeds() {
    let frames = recorded();
    for frame in &frames {
        add("ywebsocket", frame);
        add("hocuspocus", &[&b"\x04doc1"[..], frame].concat());
        if let [1, _, rest @ ..] = &frame[..] {
            add("awareness", &pack([&[&[0x0c], rest].concat()[..], &[&[0x1d], rest].concat(), &[0x10]]));
        }
        if let Some(update) = payload(frame) {
            add("update", update);
        }
    }
    hocuspocus();
    hostile_frames();
    add("ywebsocket", &[&frames[0][..], &frames[1], &[102, 1, 7]].concat());
    updates();
    sockets();
    access();
    disk();
}

fn hocuspocus() {
    for text in [
        "04646f6331020003746f6b05342e382e30",
        "04646f633100000100",
        "04646f6331010a01bbf890c50600027b7d",
        "0164020000",
        "01640502686903",
        "016405026869",
        "016407",
        "0a",
        "0364007307",
        "01640102010000",
        "016403",
    ] {
        add("hocuspocus", &hex(text));
    }
}

fn hostile_frames() {
    let short = |frame: &&hostile::Frame| frame.1.len() < 300;
    let lying = [hostile::lying_updates(), hostile::lying_state_vectors(), hostile::trapping_updates()].concat();
    for (_, frame) in lying.iter().filter(short).step_by(7).take(40) {
        add("ywebsocket", frame);
        if let Some(update) = payload(frame) {
            add("update", update);
        }
    }
    for (_, frame) in hostile::lying_awareness().iter().filter(short) {
        add("ywebsocket", frame);
    }
}

fn updates() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (seed, habit) in [Habit::Typist, Habit::Everything, Habit::Subdocuments].into_iter().enumerate() {
        for edits in [3, 12] {
            let updates = authored(habit, edits, seed as u64);
            let packed = pack(updates.iter().map(|update| &update[..]));
            add("load", &packed);
            add("replica", &[&[255], &packed[..]].concat());
            let question =
                weft::wire::state_vector::encode(&[(weft::ids::ClientId(1), 3), (weft::ids::ClientId(2), 1)].into());
            add("diff", &[&[255][..], &pack([&question[..]]), &packed].concat());
            updates.iter().take(4).for_each(|update| add("update", update));
            let whole = yrs::merge_updates_v1(updates.iter().map(Vec::as_slice)).expect("merged");
            add("update", &whole);
        }
    }
    // Choices are as good as any.
    for len in [20, 60, 200, 600] {
        for target in ["replica", "diff"] {
            for _ in 0..6 {
                let mut script = vec![0; len];
                rng.fill_bytes(&mut script);
                add(target, &script);
            }
        }
    }
    add("load", &pack(hostile::trapping_updates().iter().take(10).filter_map(|(_, frame)| payload(frame))));
    for vector in [
        &[0][..],
        &[1, 5, 3],
        &[2, 9, 1, 5, 3],
        &[1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1],
        &[0x80, 0x80, 0x80, 0x80, 1],
    ] {
        add("state_vector", vector);
    }
    add(
        "state_vector",
        &weft::wire::state_vector::encode(&(1..100).map(|n| (weft::ids::ClientId(n * n * n), n as u32)).collect()),
    );
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let len: Vec<u8> = match payload.len() {
        len @ 0..=125 => vec![0x80 | len as u8],
        len => [&[0xfe], &(len as u16).to_be_bytes()[..]].concat(),
    };
    [&[first], &len[..], &[0; 4], payload].concat()
}

fn sockets() {
    let connection = [
        masked(0x82, &[0, 0, 1, 0]),
        masked(0x02, b"in "),
        masked(0x89, b"ping"),
        masked(0x80, b"pieces"),
        masked(0x81, "t\u{e4}xt".as_bytes()),
        masked(0x82, &[7; 300]),
        masked(0x8a, b""),
        masked(0x88, b"\x03\xe8bye"),
    ];
    for step in [1, 7, 200] {
        for bound in [0, 1, 3, 0x43] {
            add("frame", &[&[step, bound][..], &connection.concat()].concat());
        }
    }
    for frame in &connection {
        add("frame", &[&[3, 0][..], frame].concat());
    }
    for request in [
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "POST /doc/new HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"docId\":\"a\"}",
        "POST /d/a/auth HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        "POST /d/a/update HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n\0\0",
        "GET /d/a/as-update HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n",
        "OPTIONS /d/a/update HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n\r\n",
        "POST /check_store HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    ] {
        add("http", &[&[0], request.as_bytes()].concat());
    }
    let mut writer = message::Writer::new(31);
    let update = message::update(&writer.append("hello"));
    for (path, headers) in [
        ("notes", ""),
        ("d/doc1/ws/doc1?token=x", ""),
        ("a%2Fb%20c?x=y", "Sec-WebSocket-Protocol: a, b\r\n"),
        ("", "Origin: http://localhost\r\n"),
    ] {
        add(
            "http",
            &[
                &[1][..],
                &pack([path.as_bytes(), headers.as_bytes(), &message::step1_empty(), &update, &message::ack(7)]),
            ]
            .concat(),
        );
        add(
            "http",
            &[
                &[1][..],
                &pack([
                    path.as_bytes(),
                    headers.as_bytes(),
                    &hex("04646f6331020003746f6b"),
                    &hex("04646f633100000100"),
                ]),
            ]
            .concat(),
        );
    }
    add("http", &[&[2][..], &pack([&b"notes"[..], b"", &connection.concat()])].concat());
    for name in ["notes", "notes/2026/\u{e4} b?c", "../../etc/passwd", "/d/doc1/ws/doc1", "doc1\0session", "a\nb", " "]
    {
        for (pattern, network, forwarded, origin) in [
            ("notes/*", "10.0.0.0/8", "192.0.2.1, 10.0.0.1", "https://good.example"),
            ("*", "fd00::/8", "[::1]:80", "http://localhost:3000"),
            ("a*b", "10.1.2.3", "unknown", "https://Good.Example:443"),
        ] {
            add("names", &pack([name, pattern, network, forwarded, origin].map(str::as_bytes)));
        }
    }
}

fn access() {
    for good in token::good() {
        add("token", &[&[0], good.as_bytes()].concat());
    }
    for (header, claims) in [
        (
            r#"{"alg":"HS256","typ":"JWT"}"#,
            r#"{"sub":"ada","docs":["notes/*","todo"],"access":"write","exp":1800003600}"#,
        ),
        (
            r#"{"alg":"HS256","kid":"k"}"#,
            r#"{"docs":["*"],"exp":1800003600,"nbf":1,"iat":1,"aud":["a"],"iss":"i","admin":true}"#,
        ),
        (r#"{"alg":"none"}"#, r#"{"docs":["*"],"exp":1800003600}"#),
        (r#"{"alg":"HS256","jwk":{}}"#, r#"{"docs":["*"],"exp":"1800003600"}"#),
        (r#"{"alg":"HS256","alg":"RS256"}"#, r#"{"exp":1800003600,"exp":1e10,"docs":[]}"#),
    ] {
        add("token", &[&[1][..], &pack([header.as_bytes(), claims.as_bytes(), &[9]])].concat());
    }
    for pem in [
        "ed25519-private",
        "ed25519-public",
        "p256-private",
        "p256-public",
        "p384-public",
        "rsa-1024-public",
        "rsa-private",
        "rsa-public",
    ] {
        add("keys", &[&[0], &fixture(&format!("auth/{pem}.pem"))[..]].concat());
    }
    add("keys", &[&[1], &fixture("auth/jwks.json")[..]].concat());
    add("keys", &[&[2], &[b's'; 40][..]].concat());
    add(
        "keys",
        &[&[3], &br#"{"version":1,"revocations":[{"sub":"ada","at":7},{"sub":"bob","doc":"notes/a","at":9}]}"#[..]]
            .concat(),
    );
}

fn disk() {
    // Journal: segments of records as the target describes them.
    for (mode, damage) in [(1, 0), (1, 9), (2, 30), (3, 200), (1, 77)] {
        let records = pack([&[1, 0, 7, 7, 7][..], &[0, 3, 1, 2], &[3, 0, 1, 2, 3, 4, 5, 6, 7, 8], &[2, 12, 5]]);
        let segment = [&[mode, damage][..], &records].concat();
        add("journal", &pack([&segment[..]]));
        add("journal", &pack([&segment[..], &segment, &[0, 0, 0xf5, b'w', b'r', 0x9a]]));
        for kind in [5, 6, 7] {
            let odd = pack([&[1, 0, 9][..], &[kind, 0, 2, 2], &[0, 0, 1]]);
            add("journal", &pack([&[&[1, 0][..], &odd].concat()[..]]));
        }
    }
    for archive in ["store/format-1.tar.gz", "store/format-2.tar.gz"] {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(
            fs::File::open(fixtures().join(archive)).expect("a fixture"),
        ));
        for entry in archive.entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let is_journal = entry.path().expect("a path").extension().is_some_and(|extension| extension == "wal");
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).expect("read");
            if is_journal && bytes.len() > 4_096 {
                let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1).min(4_096 + 3_000);
                add("journal", &pack([&[&[0, 0], &bytes[4_096..end.max(4_096)]].concat()[..]]));
            }
        }
    }
    let doc = weft::ids::DocName::parse("notes/a").expect("a name");
    for updates in [vec![], vec![&b"one"[..]], vec![&b"one"[..], b"", &[7; 100]]] {
        for is_snapshot in [false, true] {
            let updates: Vec<_> = updates.iter().map(|update| bytes::Bytes::copy_from_slice(update)).collect();
            let value = weft::store::values::encode_updates(&doc, is_snapshot, 3, 5, &updates);
            add("store", &[&[2, 0], &value[..]].concat());
            add("store", &[&[2, 1], &value[..]].concat());
        }
    }
    for (kind, value) in [
        (0, &[b'H', 2, 1, 0, 0, 0, 0, 9, 3, 7, 7, 7, 7, 1, 2, 1, 0, 0][..]),
        (0, &[b'H', 1, 1, 0, 0, 0, 0, 9, 3, 7, 7, 7, 7, 1, 2, 1, 0]),
        (1, &[b'R', 2, 1, 0, 0, 0, 0, 5, 6, 1, 7]),
        (1, &[b'R', 1, 1, 0, 0, 0, 0, 5, 6]),
    ] {
        add("store", &[&[kind, 1], value].concat());
    }
    for file in ["backup/version-1.bak", "backup/version-2.bak"] {
        add("backup", &[&[0], &fixture(file)[..]].concat());
    }
    let head = [&[7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0][..], b"0.1.0"].concat();
    let of = |kind: u8, body: &[u8]| [&[kind], body].concat();
    let number = |n: u64| n.to_le_bytes();
    let document = [1, 2, 0, 3, 2, 1, 1, 12].map(number).concat();
    let document = [&document[..], b"notes"].concat();
    let body = [&[2, 0, 0, 0][..], &[1, 2], &[2, 0, 0, 0], &[3, 4]].concat();
    let trailer = [&[1, 0, 0, 2, 4].map(number).concat()[..], &[0; 32]].concat();
    let frames = [of(b'H', &head), of(b'R', b"{}"), of(b'D', &document), of(b'U', &body), of(b'T', &trailer)];
    add("backup", &[&[1, 2][..], &pack(frames.iter().map(|frame| &frame[..]))].concat());
    let frames = [of(b'H', &head), of(b'X', b"\x01\0xwhy"), of(b'B', b"why")];
    add("backup", &[&[1, 1][..], &pack(frames.iter().map(|frame| &frame[..]))].concat());
    for how in 0..4 {
        add(
            "backup",
            &[
                &[2, 99, how][..],
                &pack([&b"\x01\x03document"[..], b"\x02\x00", b"\x03\x01another one that is longer", b"\x04\x04x"]),
            ]
            .concat(),
        );
        add("audit", &[&[1, how * 60, how][..], &pack([&b"compact"[..], b"rm \xff", b"backup\n", b"drain"])].concat());
    }
    add("audit", &[&[0][..], &pack([&br#"{"seq":1,"hash":"00","first":1}"#[..], b"{\"seq\":1,\"prev\":\"00\",\"at\":7,\"who\":\"local\",\"act\":\"rm\",\"result\":\"done\",\"hash\":\"00\"}\n", b"\n"])].concat());
    migrate();
}

fn migrate() {
    for doc in ["notes-today", "gap", "empty", "sub_documents", "many", "deleted"] {
        add("migrate", &[&[1], &fixture(&format!("migrate/y-sweet/store/{doc}/data.ysweet"))[..]].concat());
    }
    let update = [1, 1, 5, 0, 4, 1, 1, b't', 1, b'x', 0];
    add("migrate", &[&[0][..], &pack([&update[..], &[0, 0], b"no update"])].concat());
    add("migrate", &[&[2][..], &pack([&[0][..], &[0, 0, 0, 1], &[1], &update, &[2], &update])].concat());
    let write = |key: &[u8], value: &[u8]| [&[1, key.len() as u8], key, &[value.len() as u8], value].concat();
    let batch = [&[9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0][..], &write(b"\x00v1\x00doc\x00update\x00", &update)].concat();
    add("migrate", &[&[3][..], &pack([&[&[1], &batch[..]].concat()[..]])].concat());
    for file in ["MANIFEST-000023", "000025.log"] {
        let bytes = fixture(&format!("migrate/y-leveldb/db/{file}"));
        let kind = if file.starts_with('M') { 4 } else { 3 };
        let (mut at, mut records) = (0, Vec::new());
        while let Some(header) = bytes.get(at..at + 7) {
            let len = usize::from(u16::from_le_bytes([header[4], header[5]]));
            records.push([&[1], bytes.get(at + 7..at + 7 + len).unwrap_or_default()].concat());
            at += 7 + len;
        }
        add("migrate", &[&[kind][..], &pack(records.iter().map(|record| &record[..]))].concat());
    }
    for table in ["000021.ldb", "000024.ldb"] {
        add("migrate", &[&[5], &fixture(&format!("migrate/y-leveldb/db/{table}"))[..]].concat());
    }
}
