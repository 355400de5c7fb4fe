//! What a reader can say, and what a document can be called: all opcodes and 500 names on the real server (HARDENING §1).

use crdt_tests::admin::Admin;
use crdt_tests::cli::Cli;
use crdt_tests::hocuspocus::{Line, auth};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::Secret;
use crdt_tests::wait::PATIENCE;

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
