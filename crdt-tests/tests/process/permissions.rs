//! One model of who may do what, and every cell of it on the real server: roles × documents × doors × messages
//! (HARDENING §1). A door is a dialect and the path by which a message comes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crdt_tests::admin::Admin;
use crdt_tests::cli::Cli;
use crdt_tests::hocuspocus::{self, Line, SAVED, auth};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::Secret;
use crdt_tests::wait::PATIENCE;
use weft::ids::Access;

/// What a role may do in a document. All expectations below come from here.
fn may(role: &str, doc: &str) -> Option<Access> {
    match (role, doc) {
        ("writer", "ours" | "dir/deep/er") => Some(Access::Write),
        ("reader", "ours" | "dir/deep/er") => Some(Access::Read),
        ("neighbour", "theirs") => Some(Access::Write),
        _ => None,
    }
}

const DOCS: [&str; 5] = ["ours", "theirs", "dir/deep/er", "dir", "OURS"];

/// How long nothing is waited for that is not to come.
const SILENCE: Duration = Duration::from_millis(250);

/// What may be observed of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    /// It was sent what is in the document.
    read: bool,
    /// The document has changed.
    changed: bool,
    /// It was told that its change is saved.
    saved: bool,
    /// Others saw its presence.
    shown: bool,
}

/// What must be observed of a message of a kind that comes through a door.
fn expected(access: Option<Access>, door: &str, kind: &str) -> Outcome {
    let (reads, writes) = (access.is_some(), access == Some(Access::Write));
    let socket = door != "ysweet http";
    Outcome {
        read: reads,
        changed: writes && matches!(kind, "update" | "step2"),
        // Of nothing at all it may be said that it is saved, to whom the document is open.
        saved: reads && (writes || !matches!(kind, "update" | "step2")) && (socket || matches!(kind, "update")),
        shown: reads && socket && kind == "awareness",
    }
}

fn body(kind: &str, client: u64) -> Vec<u8> {
    let mut author = Writer::new(client);
    match kind {
        "update" => message::update(&author.append("x")),
        "step2" => message::step2(&author.append("x")),
        "awareness" => message::awareness(&[(client, 1, "{\"name\":1}")]),
        // Only the server says these (HARDENING §1, BroadcastStateless).
        "stateless" => hocuspocus::stateless("hello"),
        "broadcast-stateless" => [vec![6], message::var_bytes(b"hello")].concat(),
        other => unreachable!("{other}"),
    }
}

/// Tries it, and says what the one who tried has seen: content, and a word that it is saved.
/// `hope`: it should be told, so it waits as long as that takes.
fn attempt(server: &Server, door: &str, (doc, token): (&str, &str), message: &[u8], hope: bool) -> (bool, bool) {
    match door {
        "ywebsocket" => by_socket(server, &format!("{doc}?token={token}"), message, hope),
        "ysweet" => by_socket(server, &format!("d/{doc}/ws/{doc}?token={token}"), message, hope),
        "hocuspocus" => {
            let mut line = Line::connect(server.addr(), "");
            line.say(doc, auth(token));
            by_line(&mut line, doc, message, hope)
        }
        // In at another document, and then speaking of this one without a token for it.
        "hocuspocus beside" => {
            let mut line = Line::connect(server.addr(), &format!("?token={token}"));
            line.say("playground", auth(""));
            line.say(doc, auth(token));
            by_line(&mut line, doc, message, hope)
        }
        "ysweet http" => {
            let credential = (!token.is_empty()).then(|| token.to_owned());
            let caller = Admin { addr: server.addr(), credential };
            let read = caller.send("GET", &format!("/d/{doc}/as-update")).status == 200;
            let update = message.strip_prefix(&[0, 2]).map(|rest| message::Reader(rest).var_bytes().to_vec());
            let saved = update.is_some_and(|update| {
                caller.send_with("POST", &format!("/d/{doc}/update"), &[], &update).status == 200
            });
            (read, saved)
        }
        other => unreachable!("{other}"),
    }
}

fn by_socket(server: &Server, path: &str, message: &[u8], hope: bool) -> (bool, bool) {
    let Ok(mut socket) = Socket::try_connect(server.addr(), path) else { return (false, false) };
    socket.send(message::step2(&[0, 0]));
    socket.send(message.to_vec());
    socket.send(message::ack(9));
    // Answered behind all that was said before it.
    socket.send(message::step1_empty());
    let (mut read, mut answered, mut saved) = (false, false, false);
    while !answered {
        let frame = socket.next(PATIENCE).expect("neither denied nor answered");
        if frame.starts_with(&[2, 0]) {
            return (false, false);
        }
        if let Some(update) = message::update_in(&frame).filter(|_| frame.starts_with(&[0, 1])) {
            (read, answered) = (update != [0, 0], true);
        }
        saved |= frame == message::ack(9);
    }
    // What is durable is told when it is. Others' presence and keep-alives come all the time.
    let deadline = Instant::now() + if hope { PATIENCE } else { SILENCE };
    while !saved && Instant::now() < deadline {
        saved = socket.next(SILENCE).is_some_and(|frame| frame == message::ack(9));
    }
    (read, saved)
}

fn by_line(line: &mut Line, doc: &str, message: &[u8], hope: bool) -> (bool, bool) {
    line.say(doc, message::step1_empty());
    while line.count(doc, &[0, 1]) == 0 {
        if line.said(doc).iter().any(|body| hocuspocus::denial(body).is_some()) {
            return (false, false);
        }
        assert!(line.socket.next(PATIENCE).is_some(), "neither denied nor answered: {:?}", line.socket.closed);
    }
    line.say(doc, message);
    // Confirmed behind whatever is to be said of the message.
    line.say(doc, message::step2(&[0, 0]));
    let has_content = |body: &Vec<u8>| message::update_in(body).is_some_and(|update| update != [0, 0]);
    let read = line.said(doc).iter().any(|body| body.starts_with(&[0, 1]) && has_content(body));
    // One for the SyncStep2 of nothing, and one for the change; who sends no change has none but the first.
    let wanted = if message.starts_with(&[0, 1]) || message.starts_with(&[0, 2]) { 2 } else { 1 };
    let saved = |line: &Line| line.said(doc).iter().filter(|body| *body == SAVED).count() >= wanted;
    let deadline = Instant::now() + if hope { PATIENCE } else { SILENCE };
    while !saved(line) && Instant::now() < deadline {
        line.socket.next(SILENCE);
    }
    (read, saved(line))
}

/// The client that looks on.
const OBSERVER: u64 = 1 << 40;

#[test]
fn hardening_1_the_table_of_permissions() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let everything = secret.mint(&["--doc", "*", "--access", "write"]);
    let playground = ["--doc", "playground"];
    let mint = |args: &[&str]| secret.mint(&[args, &playground[..]].concat());
    let roles: BTreeMap<&str, String> = BTreeMap::from([
        ("writer", mint(&["--doc", "ours", "--doc", "dir/*", "--access", "write"])),
        ("reader", mint(&["--doc", "ours", "--doc", "dir/*", "--access", "read"])),
        ("neighbour", mint(&["--doc", "theirs", "--access", "write"])),
        ("admin", secret.mint(&["--admin"])),
        ("expired", secret.good_for("eve", &["*"], Access::Write, 0)),
        ("forger", format!("{}x", everything)),
        ("stranger", String::new()),
    ]);
    for doc in DOCS {
        let mut socket = Socket::connect(server.addr(), &format!("{doc}?token={everything}"));
        socket.send(message::update(&Writer::new(1).append("content")));
        socket.send(message::ack(1));
        socket.until("an ack", |frame| *frame == message::ack(1));
    }
    let (mut client, mut cells) = (1_000, 0);
    for doc in DOCS {
        let mut observer = Socket::connect(server.addr(), &format!("{doc}?token={everything}"));
        let mut state = observer.pull(&[0]);
        for (role, token) in &roles {
            for door in ["ywebsocket", "hocuspocus", "hocuspocus beside", "ysweet", "ysweet http"] {
                // y-sweet's documents have simpler names.
                if door.starts_with("ysweet") && doc.contains('/') {
                    continue;
                }
                for kind in ["update", "step2", "awareness", "stateless", "broadcast-stateless"] {
                    let theirs = door.starts_with("hocuspocus");
                    if (door == "ysweet http" && kind != "update") || (kind.ends_with("stateless") && !theirs) {
                        continue;
                    }
                    client += 1;
                    observer.frames.clear();
                    let expected = expected(may(role, doc), door, kind);
                    let (read, saved) =
                        attempt(&server, door, (doc, token.as_str()), &body(kind, client), expected.saved);
                    let now = observer.pull(&[0]);
                    // Presence comes together for a moment before it goes out; behind this there is nothing more of it.
                    let own = (OBSERVER, client, "{}");
                    observer.send(message::awareness(&[own]));
                    observer.until("its own presence", |frame| {
                        let entries = message::presences(frame).unwrap_or_default();
                        entries.iter().any(|entry| (entry.client, entry.clock) == (own.0, own.1))
                    });
                    let presences = observer.frames.iter().filter_map(|frame| message::presences(frame)).flatten();
                    let shown = presences.into_iter().any(|entry| entry.client == client);
                    let outcome = Outcome { read, changed: now != state, saved, shown };
                    let cell = format!("{role}, {doc}, {door}, {kind}");
                    assert_eq!(outcome, expected, "{cell}");
                    let hello = |frame: &Vec<u8>| frame.windows(5).any(|window| window == b"hello");
                    assert!(!observer.frames.iter().any(hello), "{cell}: a client's stateless message reaches nobody");
                    state = now;
                    cells += 1;
                }
            }
        }
    }
    assert!(cells >= 500, "{cells} cells");
}

/// Every message that there could be, from one who may only read: of none does anything come.
#[test]
fn hardening_1_all_256_kinds_of_message_from_a_reader() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let write = secret.mint(&["--doc", "a", "--access", "write"]);
    let read = secret.mint(&["--doc", "a"]);
    let mut observer = Socket::connect(server.addr(), &format!("a?token={write}"));
    observer.send(message::update(&Writer::new(1).append("content")));
    observer.ack();
    let before = observer.pull(&[0]);
    let update = Writer::new(66).append("intruder");
    for opcode in 0..=255_u8 {
        let payloads = [
            [vec![opcode, 0], message::var_bytes(&update)].concat(),
            [vec![opcode, 1], message::var_bytes(&update)].concat(),
            [vec![opcode, 2], message::var_bytes(&update)].concat(),
            [vec![opcode], message::var_bytes(&update)].concat(),
            [vec![opcode], update.clone()].concat(),
        ];
        let mut socket = Socket::greet(server.addr(), &format!("a?token={read}"));
        let mut line = Line::connect(server.addr(), "");
        line.say("a", auth(&read));
        for payload in &payloads {
            socket.send(payload.clone());
            line.say("a", payload);
        }
        // Five are too few for anybody to be sent away, so both are still heard when they ask; of what might have been a
        // farewell or a bad token, another token makes good.
        socket.pull(&[0]);
        line.say("a", auth(&read));
        line.pull("a");
    }
    assert_eq!(observer.pull(&[0]), before);
    assert_eq!(Cli::of(&server).export_update("a"), before);
}

/// 500 names: each is its own document, to the byte, whatever it looks like, and none is a file.
#[test]
fn hardening_1_five_hundred_names() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let stems = [
        "doc",
        "Doc",
        "DOC",
        "doc/",
        "/doc",
        "doc//",
        "./doc",
        "../doc",
        "../../etc/passwd",
        ".",
        "..",
        "...",
        "doc.",
        " doc",
        "doc ",
        "doc\t",
        "doc\n",
        "doc\r\n",
        "*",
        "doc/*",
        ">",
        "doc.>",
        "$SYS",
        "_INBOX",
        "~",
        "~root",
        "C:\\doc",
        "\\\\host\\doc",
        "con",
        "nul",
        "%",
        "%2e%2e",
        "%2F",
        "%00",
        "%252e",
        "doc%20",
        "a+b",
        "a b",
        "a?b",
        "a#b",
        "a&token=b",
        "<script>",
        "'; DROP TABLE docs;--",
        "{{7*7}}",
        "${HOME}",
        "`id`",
        "|id",
        "\u{e9}",
        "e\u{301}",
        "\u{fb01}",
        "fi",
        "\u{212b}",
        "\u{c5}",
        "\u{202e}cod",
        "\u{200b}doc",
        "do\u{200d}c",
        "\u{feff}doc",
        "\u{1f469}\u{200d}\u{1f4bb}",
        "\u{10ffff}",
        "\u{0430}\u{0441}",
        "ac",
        "\u{1b}[31mdoc",
        "\u{7}",
        "weft",
        "journal",
        "store",
        "admin.json",
        "LOCK",
        "FORMAT",
        "audit",
        "quarantine",
        "health",
        "ready",
        "metrics",
        "api/v1/docs",
        "d",
        "d/x",
        "doc/new",
        "check_store",
        "index.html",
        "favicon.ico",
        "__proto__",
        "constructor",
        "null",
        "undefined",
        "0",
        "-1",
    ];
    let mut names: Vec<String> = Vec::new();
    for stem in stems {
        for name in [
            stem.to_owned(),
            format!("x{stem}"),
            format!("{stem}x"),
            format!("dir/{stem}"),
            format!("{stem}/dir"),
            format!("{stem}{stem}"),
            format!("{stem}-1"),
        ] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.extend([511, 512].map(|bytes| "n".repeat(bytes)));
    assert!(names.len() >= 500, "{}", names.len());
    let encoded = |name: &str| name.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let before = entries(data.outer());
    for (number, name) in names.iter().enumerate() {
        let mut socket = Socket::connect(server.addr(), &encoded(name));
        socket.send(message::update(&Writer::new(1).append(&format!("[{number}]"))));
        socket.send(message::ack(1));
        socket.until("an ack", |frame| *frame == message::ack(1));
    }
    for (number, name) in names.iter().enumerate() {
        // By the other dialect, whose names are no paths.
        let mut line = Line::connect(server.addr(), "");
        line.say(name, auth("any"));
        let update = line.pull(name);
        let marker = format!("[{number}]");
        assert!(update.windows(marker.len()).any(|window| window == marker.as_bytes()), "{name:?} is {number}");
        assert!(update.iter().filter(|byte| **byte == b'[').count() == 1, "{name:?} holds what is another's");
    }
    let listed = Admin::of(&server).get("/api/v1/docs?limit=10000").json();
    let mut known: Vec<String> = listed["docs"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|doc| doc["name"].as_str().expect("a name").to_owned())
        .collect();
    let mut wanted = names.clone();
    known.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(known, wanted);
    assert_eq!(entries(data.outer()), before, "files outside of the data directory");
    // And none of these is a name at all: nothing comes of them.
    for path in ["", "%00", "a%00b", "%ff", "%c0%ae", "%ed%a0%80", &*"n".repeat(513)] {
        let mut socket = Socket::greet(server.addr(), path);
        assert_eq!(socket.until_closed(PATIENCE), Some(4400), "{path:?}");
    }
    let after = Admin::of(&server).get("/api/v1/docs?limit=10000").json();
    assert_eq!(after["docs"].as_array().map(Vec::len), Some(names.len()));
}

/// What lies beside the data directory.
fn entries(dir: &std::path::Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    names
}
