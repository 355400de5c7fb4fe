//! The targets, one file each: a function of bytes that must not panic.

pub mod audit;
pub mod awareness;
pub mod backup;
pub mod diff;
pub mod frame;
pub mod hocuspocus;
pub mod http;
pub mod journal;
pub mod keys;
pub mod load;
pub mod migrate;
pub mod names;
pub mod replica;
pub mod state_vector;
pub mod store;
pub mod token;
pub mod update;
pub mod ywebsocket;

/// Something that reads bytes from outside.
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Longest input worth trying, bytes.
    pub bytes_max: usize,
    /// What its format is made of, for who changes inputs by chance.
    pub words: &'static [&'static [u8]],
    /// Reads an input, and panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "ywebsocket", bytes_max: 4 << 10, words: MESSAGES, run: ywebsocket::run },
    Target { name: "hocuspocus", bytes_max: 4 << 10, words: MESSAGES, run: hocuspocus::run },
    Target { name: "frame", bytes_max: 4 << 10, words: FRAMES, run: frame::run },
    Target { name: "state_vector", bytes_max: 1 << 10, words: &[], run: state_vector::run },
    Target { name: "update", bytes_max: 4 << 10, words: UPDATES, run: update::run },
    Target { name: "replica", bytes_max: 4 << 10, words: &[], run: replica::run },
    Target { name: "load", bytes_max: 8 << 10, words: UPDATES, run: load::run },
    Target { name: "diff", bytes_max: 8 << 10, words: UPDATES, run: diff::run },
    Target { name: "awareness", bytes_max: 4 << 10, words: JSON, run: awareness::run },
    Target { name: "token", bytes_max: 4 << 10, words: TOKENS, run: token::run },
    Target { name: "keys", bytes_max: 8 << 10, words: KEYS, run: keys::run },
    Target { name: "names", bytes_max: 2 << 10, words: NAMES, run: names::run },
    Target { name: "http", bytes_max: 4 << 10, words: HTTP, run: http::run },
    Target { name: "journal", bytes_max: 8 << 10, words: JOURNAL, run: journal::run },
    Target { name: "store", bytes_max: 8 << 10, words: &[], run: store::run },
    Target { name: "backup", bytes_max: 16 << 10, words: BACKUP, run: backup::run },
    Target { name: "audit", bytes_max: 4 << 10, words: JSON, run: audit::run },
    Target { name: "migrate", bytes_max: 16 << 10, words: UPDATES, run: migrate::run },
];

/// The target of this name.
pub fn named(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

const MESSAGES: &[&[u8]] = &[
    &[0, 0, 1, 0],
    &[0, 1, 2, 0, 0],
    &[0, 2, 2, 0, 0],
    &[1, 1, 0],
    &[3],
    &[102, 1, 7],
    &[2, 0, 1, b'x'],
    b"\x04doc1",
    b"\x01d\x00",
    &[1, 1, 5, 0, 4, 1, 1, b't', 1, b'x', 0],
    b"null",
    b"\x00s",
];
const FRAMES: &[&[u8]] = &[
    &[0x82, 0x80, 0, 0, 0, 0],
    &[0x02, 0x81, 0, 0, 0, 0, 7],
    &[0x80, 0x81, 0, 0, 0, 0, 7],
    &[0x81, 0x82, 0, 0, 0, 0, 0xc3, 0xa4],
    &[0x88, 0x82, 0, 0, 0, 0, 3, 0xe8],
    &[0x89, 0x80, 0, 0, 0, 0],
    &[0xfe, 0, 126],
    &[0xff, 0, 0, 0, 0, 0, 0, 0x10, 0],
];
/// Structs by their kind, in a root and beside a neighbour.
const UPDATES: &[&[u8]] = &[
    &[0, 3],
    &[10, 3],
    &[1, 1, 1, b't', 2],
    &[3, 1, 1, b't', 1, 9],
    &[4, 1, 1, b't', 2, b'a', b'b'],
    &[5, 1, 1, b't', 2, b'{', b'}'],
    &[6, 1, 1, b't', 1, b'b', 4, b't', b'r', b'u', b'e'],
    &[7, 1, 1, b't', 1],
    &[0x27, 1, 1, b'm', 1, b'k', 0],
    &[8, 1, 1, b'a', 1, 125, 1],
    &[0x28, 1, 1, b'm', 1, b'k', 1, 119, 1, b'x'],
    &[9, 1, 1, b'a', 2, b'i', b'd', 118, 0],
    &[0x84, 1, 0, 1, b'x'],
    &[0xc4, 1, 0, 1, 1, 1, b'x'],
    &[0x44, 1, 0, 1, b'x'],
    &[7, 0, 1, 0, 2],
    &[1, 1, 1, 0],
    &[0, 1, 1, 1, 0, 1],
    "\u{1f600}".as_bytes(),
];
const JSON: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"true",
    b"{}",
    b"{\"user\":{\"name\":\"Ada\"}}",
    b"\\ud83d",
    b"\\u0000",
    b"1e999",
    b"\n",
    b"\"hash\":\"",
    b"\"prev\":\"",
    b"\"seq\":",
    b"\"at\":",
];
const TOKENS: &[&[u8]] = &[
    b".",
    b"=",
    b"{\"alg\":\"HS256\"}",
    b"{\"alg\":\"none\"}",
    b"RS256",
    b"ES256",
    b"EdDSA",
    b"\"kid\":\"",
    b"../",
    b"\"exp\":",
    b"1800003600",
    b"1.8e9",
    b"-1",
    b"\"docs\":[\"*\"]",
    b"\"notes/*\"",
    b"\"access\":\"write\"",
    b"\"admin\":true",
    b"\"sub\":\"",
    b"\"nbf\":",
    b"\"iat\":",
    b"\"aud\":",
    b"\"iss\":",
    b"\"typ\":\"JWT\"",
    b"\"jwk\":{}",
    b"\"crit\":[]",
    b"\"b64\":false",
    b",",
    b"null",
];
const KEYS: &[&[u8]] = &[
    b"-----BEGIN PUBLIC KEY-----\n",
    b"-----END PUBLIC KEY-----\n",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----END PRIVATE KEY-----\n",
    b"{\"keys\":[",
    b"\"kty\":\"OKP\"",
    b"\"kty\":\"RSA\"",
    b"\"kty\":\"EC\"",
    b"\"kty\":\"oct\"",
    b"\"crv\":\"Ed25519\"",
    b"\"crv\":\"P-256\"",
    b"\"x\":\"",
    b"\"y\":\"",
    b"\"n\":\"",
    b"\"e\":\"AQAB\"",
    b"\"d\":\"",
    b"\"use\":\"sig\"",
    b"\"alg\":\"EdDSA\"",
    b"\"kid\":\"",
    b"AAAA",
    b"==",
    b"{\"version\":1,\"revocations\":[",
    b"\"sub\":\"",
    b"\"at\":",
];
const NAMES: &[&[u8]] = &[
    b"/",
    b"..",
    b"%2e",
    b"%2F",
    b"%00",
    b"%ff",
    b"%",
    b"*",
    b"/*",
    b"?",
    b"\0",
    b"http://",
    b"https://",
    b":443",
    b"[::1]",
    b"localhost",
    b"127.0.0.1",
    b"10.0.0.0/8",
    b"fd00::/8",
    b",",
    b"xn--",
    b"@",
    "\u{202e}".as_bytes(),
    "\u{e4}".as_bytes(),
    b"/d/",
    b"/ws/",
];
const HTTP: &[&[u8]] = &[
    b"GET / HTTP/1.1\r\n",
    b"Host: localhost\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"POST ",
    b"OPTIONS ",
    b"HEAD ",
    b"Upgrade: websocket\r\n",
    b"Connection: Upgrade\r\n",
    b"Sec-WebSocket-Version: 13\r\n",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    b"Sec-WebSocket-Protocol: ",
    b"Origin: http://localhost\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"Authorization: Bearer ",
    b"X-Forwarded-For: ",
    b"?token=",
    b"%2F",
    b"%00",
    b"/d/doc1/ws/doc1",
    b"/d/doc1/as-update",
    b"/d/doc1/update",
    b"/doc/new",
    b"/check_store",
    b"/health",
    b"/ready",
    b"Expect: 100-continue\r\n",
    b"{\"docId\":\"a\"}",
    b"/d/doc1/auth",
];
const JOURNAL: &[&[u8]] = &[&[0xf5, b'w', b'r', 0x9a], &[1, 1], &[1, 2], &[2, 3], b"weft-wal"];
const BACKUP: &[&[u8]] = &[b"weft-bak", b"H", b"R", b"D", b"U", b"X", b"B", b"T", &[0; 8], &[1, 0, 0, 0, 0, 0, 0, 0]];

/// A directory for one run, in memory where there is such a place.
fn scratch() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("weft-fuzz-").tempdir_in(place).expect("a temporary directory")
}
