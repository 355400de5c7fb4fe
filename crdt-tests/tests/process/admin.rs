//! The admin API from outside (contract 2.3): every route, what it refuses, and what comes in pieces.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use crdt_tests::admin::{Admin, read_response};
use crdt_tests::cli::{Cli, path_str};
use crdt_tests::js::{Js, LATEST};
use crdt_tests::message::Writer;
use crdt_tests::server::{DataDir, Server};
use serde_json::json;
use weft::limits::{ADMIN_BODY_BYTES_MAX, MESSAGE_BYTES_MAX};

/// A whole state larger than any message: long texts, and deletions among them.
fn large_state() -> Vec<u8> {
    let mut writer = Writer::new(7);
    let paragraph = "weft 🧶 ".repeat(100_000);
    for _ in 0..MESSAGE_BYTES_MAX / paragraph.len() + 2 {
        writer.append(&paragraph);
        writer.delete(10, 5);
    }
    writer.all()
}

#[test]
fn c2_3_an_import_larger_than_any_message_is_merged_in_pieces_while_others_edit() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let (admin, js) = (Admin::of(&server), Js::start());
    let reader = js.open(LATEST, &server, "large");
    js.synced(&[&reader]);
    let state = large_state();
    let report = admin.send_with("POST", "/api/v1/docs/large/update", &[], &state).ok().json();
    assert_eq!(report["offered_bytes"], state.len(), "{report}");
    assert_eq!(report["accepted_bytes"], state.len(), "{report}");
    assert_eq!(report["parked_bytes"], 0, "{report}");
    // Who was there has it all, and can go on from there.
    reader.run("map.set('seen', 1)");
    reader.ack();
    let text = js_len(&reader);
    assert_eq!(text, admin.get("/api/v1/docs/large/text").text().encode_utf16().count() as u64);
    let again = admin.send_with("POST", "/api/v1/docs/large/update", &[], &state).ok().json();
    assert_eq!(again["accepted_bytes"], 0, "{again}");

    // Just the difference, for those who have almost all.
    let known = Writer::reading(&state).state_vector();
    let target = format!("/api/v1/docs/large/update?sv={}", URL_SAFE_NO_PAD.encode(known));
    let diff = admin.get(&target).body;
    assert!(diff.len() < 1_000, "{} bytes for one key", diff.len());

    // It was durable when the answer came, and the stopped directory takes the same file by the same way.
    server.kill();
    let cli = Cli::on(data.path());
    let file = data.outer().join("large.yjs");
    std::fs::write(&file, &state).unwrap();
    let offline = cli.done(&["import", "copy", path_str(&file), "--json"]).json();
    assert_eq!(offline["accepted_bytes"], state.len(), "{offline}");
    let (copy, large) = (cli.show("copy"), cli.show("large"));
    assert_eq!(copy["ticks"].as_u64().map(|ticks| ticks + 1), large["ticks"].as_u64(), "all but the key `seen`");
    assert_eq!(copy["deleted_ticks"], large["deleted_ticks"]);
}

fn js_len(reader: &crdt_tests::js::Client<'_>) -> u64 {
    reader.run("return text.length").as_u64().expect("a length")
}

#[test]
fn c2_3_bodies_are_bounded_whether_they_say_their_length_or_not() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let admin = Admin::of(&server);
    // Refused by what it announces, before a byte of it is sent.
    for (target, length) in [
        ("/api/v1/docs/a/update", ADMIN_BODY_BYTES_MAX + 1),
        ("/api/v1/docs/a/update", 1 << 50),
        ("/api/v1/docs/a/compact", 1 << 20),
    ] {
        let stream = admin.open("POST", target, &[], Some(length));
        let refused = read_response(stream, "POST").unwrap();
        assert_eq!((refused.status, &*refused.problem()), (413, "too-large"), "{target} {length}");
    }
    // Cut off where it is more than announced.
    let update = Writer::new(1).append("chunked");
    let mut stream = admin.open("POST", "/api/v1/docs/a/update", &[("Transfer-Encoding", "chunked")], None);
    for piece in update.chunks(5) {
        write!(stream, "{:x}\r\n", piece.len()).unwrap();
        stream.write_all(piece).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(read_response(stream, "POST").unwrap().ok().json()["accepted_bytes"], update.len());
    // One that ends before its announced length merges nothing.
    let mut stream = admin.open("POST", "/api/v1/docs/b/update", &[], Some(update.len() + 1));
    stream.write_all(&update).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(admin.send("GET", "/api/v1/docs/b").problem(), "no-such-document");
    server.assert_alive();
}

#[test]
fn c2_3_compacting_everything_tells_of_each_document_and_ends_with_done() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let admin = Admin::of(&server);
    assert_eq!(
        admin.send("POST", "/api/v1/compact").ok().lines(),
        [json!({ "done": { "compacted": 0, "failed": 0 } })]
    );
    for name in ["a", "b%2Fc", "d"] {
        let update = Writer::new(1).append(name);
        admin.send_with("POST", &format!("/api/v1/docs/{name}/update"), &[], &update).ok();
    }
    for (query, compacted) in [("?dry_run", 3), ("?min_log_bytes=1000000", 0), ("", 3), ("", 0)] {
        let response = admin.send("POST", &format!("/api/v1/compact{query}")).ok();
        assert_eq!(response.header("content-type"), Some("application/x-ndjson"));
        let mut lines = response.lines();
        assert_eq!(lines.pop(), Some(json!({ "done": { "compacted": compacted, "failed": 0 } })), "{query}");
        assert_eq!(lines.len(), compacted);
        for line in lines {
            assert_eq!(line["compacted"]["written"], query.is_empty(), "{line}");
        }
    }
}
