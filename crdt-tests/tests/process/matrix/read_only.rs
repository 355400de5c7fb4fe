//! A reader sees everything, is seen, changes nothing, and is never told that what he wrote is saved (WIRE §6, g-s4).

use std::time::Duration;

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, Js, Kind, LATEST};
use crdt_tests::server::DataDir;
use crdt_tests::tokens::Secret;
use serde_json::json;

const ROOM: &str = "read-only-1";

pub(super) fn check(js: &Js, version: &'static str) -> &'static str {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let write = secret.mint(&["--doc", "*", "--access", "write"]);
    let read = secret.mint(&["--doc", ROOM]);
    let writer = js.open_with_tokens(LATEST, &server, ROOM, &[&write]);
    let reader = js.open_with_tokens(version, &server, ROOM, &[&read]);
    js.synced(&[&writer, &reader]);
    writer.run("text.insert(0, 'one '); awareness.setLocalStateField('user', 'writer')");
    writer.ack();
    reader.wait("text.toString() === 'one '");
    // Who has changed nothing has nothing to save.
    reader.ack();
    reader.run("awareness.setLocalStateField('user', 'reader')");
    writer.wait_with("awareness.getStates().get(args)?.user === 'reader'", json!(reader.id));
    reader.wait_with("awareness.getStates().get(args)?.user === 'writer'", json!(writer.id));

    reader.run("text.insert(0, 'intruder '); map.set('intruder', true)");
    let seen = assert_unsaved(js, &reader);
    // The connection goes on, with everybody's news but without its own.
    writer.run("text.insert(text.length, 'two ')");
    writer.ack();
    reader.wait("text.toString().includes('two ')");
    assert_eq!(reader.opens(), 1);
    // Nor does the edit come in by the answer to the server's SyncStep1 after a reconnect.
    reader.cut();
    reader.wait("me.opens === 2 && me.isSynced");
    assert_unsaved(js, &reader);
    writer.ack();
    assert_eq!(writer.run("[text.toString(), map.size]"), json!(["one two ", 0]));
    assert_eq!(Cli::of(&server).export_json(ROOM)["text"], "one two ");
    seen
}

/// It is not told that its edits are saved, for long enough to notice.
fn assert_unsaved(js: &Js, reader: &Client<'_>) -> &'static str {
    match Kind::of(&reader.version) {
        Kind::YWebsocket => {
            let ack = js.try_call("ack", json!({ "client": reader.name }), Duration::from_millis(700));
            assert!(ack.is_err(), "an edit that was dropped is acked");
            "sees all"
        }
        Kind::Hocuspocus => {
            reader.wait("(me.traffic.inKinds.refused ?? 0) > 0 && provider.authorizedScope === 'readonly'");
            assert!(!reader.get::<bool>("me.isSaved"));
            reader.traffic();
            "sees all, unsaved"
        }
        Kind::YSweet => {
            reader.traffic();
            // Two patiences of 3 s, each ended by a keep-alive (g-s2).
            reader.wait("(me.traffic.inKinds.awareness ?? 0) >= 2");
            assert!(reader.get::<bool>("provider.hasLocalChanges && me.localChanges.at(-1) === true"));
            "sees all, unsaved"
        }
    }
}
