//! P1: what a Hocuspocus provider shows as saved is on disk (WIRE h4), and what was refused is never shown so.

use crdt_tests::hocuspocus::{Line, REFUSED, SAVED, denial};
use crdt_tests::hostile;
use crdt_tests::js::{Client, HOCUSPOCUS, Js, LATEST};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Server};
use serde_json::json;

/// The counter that the provider shows its user never goes below zero, and comes to zero.
fn assert_counts(client: &Client<'_>) {
    client.wait("me.isSaved");
    let seen: Vec<i64> = client.get("me.unsyncedSeen");
    assert!(seen.iter().all(|count| *count >= 0), "{}: the counter went below zero: {seen:?}", client.name);
    // Whatever follows would be shown as saved too early.
    assert_eq!(client.run("text.insert(0, 'x'); return provider.unsyncedChanges"), 1, "{}", client.name);
    client.ack();
}

/// h4: the arithmetic comes out even for every version: typing, away and back with edits made meanwhile, forced syncs.
#[test]
fn h4_the_counter_of_unsaved_changes_comes_out_even() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    for version in HOCUSPOCUS {
        let client = js.open(version, &server, &format!("count/{version}"));
        client.synced();
        assert_counts(&client);
        client.edit(1, 50);
        assert_counts(&client);
        for round in 0..3 {
            client.disconnect();
            client.edit(round, 10);
            client.run("text.insert(0, 'away'); text.delete(1, 2); array.push([1]); array.delete(0, 1)");
            client.connect();
            assert_counts(&client);
        }
        // Only deletions while away: nothing in them tells when they were made.
        client.disconnect();
        client.run("text.delete(0, 1)");
        client.connect();
        assert_counts(&client);
        // A confirmation on its way when the provider forces a sync is one too many, and nothing to be done about.
        for _ in 0..3 {
            client.run("provider.forceSync(); provider.forceSync(); text.insert(0, 'forced')");
            assert_counts(&client);
        }
        server.kill();
        client.edit(9, 10);
        server.restart();
        client.synced();
        assert_counts(&client);
    }
}

/// h10: updates merged by `flushDelay` are confirmed as one, and what is left is sent before the provider is destroyed.
#[test]
fn h10_merged_updates_are_confirmed_once() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let options = json!({ "options": { "flushDelay": 100 } });
    let client = js.open_with(HOCUSPOCUS[2], &server, "merged", options);
    client.synced();
    client.wait("me.isSaved");
    client.traffic();
    let unsynced = client.run("for (let i = 0; i < 20; i++) text.insert(0, `${i} `); return provider.unsyncedChanges");
    assert_eq!(unsynced, 1);
    client.ack();
    let traffic = client.traffic();
    assert_eq!((traffic.out_kinds.get("update"), traffic.in_kinds.get("saved")), (Some(&1), Some(&1)), "{traffic:?}");
    client.run("text.insert(0, 'last words ')");
    let other = js.open(LATEST, &server, "merged");
    client.close();
    other.wait("text.toString().startsWith('last words 19 ')");
}

/// WIRE §6: an update that cannot be taken is refused and costs nothing else; one after the other ends the document.
#[test]
fn wire_6_refused_updates_are_told_and_end_the_document_in_the_end() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let mut line = Line::connect(server.addr(), "");
    line.join("bad", "");
    line.join("good", "");
    // Shared types nested deeper than may be: valid by itself, and refused for what it is.
    let deep = hostile::nested_types(77, u64::from(weft::limits::TYPE_DEPTH_MAX) + 2);
    for n in 0..20 {
        line.say("bad", message::update(&deep));
        if n == 0 {
            line.until("bad", "a refusal", |body| body == REFUSED);
            line.say("bad", message::update(&Writer::new(3).append("still good")));
            line.until("bad", "a confirmation", |body| body == SAVED);
        }
    }
    let reason = line.until("bad", "a denial", |body| denial(body).is_some());
    assert_eq!(denial(&reason).as_deref(), Some("update refused"));
    line.say("good", message::update(&Writer::new(3).append("fine")));
    line.until("good", "a confirmation", |body| body == SAVED);
    assert_eq!(line.count("bad", SAVED), 2);
    server.assert_alive();
}
