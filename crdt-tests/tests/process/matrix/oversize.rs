//! An edit larger than any message may be: its author is told, or at least never told that it is saved, and nobody else
//! notices (WIRE §6, g7).

use std::time::Duration;

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, Js, Kind, LATEST};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::wait::PATIENCE;
use serde_json::{Value, json};

const ROOM: &str = "oversize-1";

pub(super) fn check(_: &Js, version: &'static str) -> &'static str {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    // Of its own: tens of megabytes keep a whole process busy, where others are in a hurry.
    let js = Js::start();
    let author = js.open(version, &server, ROOM);
    let other = js.open(LATEST, &server, ROOM);
    js.synced(&[&author, &other]);
    author.ack();
    let seen = match Kind::of(version) {
        Kind::YWebsocket => closed(&author),
        Kind::Hocuspocus => refused(&js, &author),
        Kind::YSweet => withheld(&author),
    };
    other.run("text.insert(0, 'fine')");
    other.ack();
    assert_eq!(other.opens(), 1);
    assert_eq!(Cli::of(&server).export_json(ROOM)["text"], "fine");
    server.assert_alive();
    seen
}

fn write_too_much(author: &Client<'_>) {
    author.run("text.insert(0, 'x'.repeat(40 << 20))");
}

fn wait_long(author: &Client<'_>, code: &str) {
    author.wait_within(code, Value::Null, PATIENCE + Duration::from_secs(30));
}

/// The same bytes would come again after each reconnect.
fn closed(author: &Client<'_>) -> &'static str {
    write_too_much(author);
    wait_long(author, "me.closes.length > 0");
    assert_eq!(author.closes()[0].code, 4413);
    if author.version == LATEST {
        assert!(!author.get::<bool>("provider.shouldConnect"));
        assert_eq!(author.opens(), 1);
        return "4413, stops";
    }
    wait_long(author, "me.closes.length > 1");
    assert!(author.closes().iter().all(|close| close.code == 4413), "{:?}", author.closes());
    author.run("provider.disconnect()");
    "4413, in vain"
}

/// Another document on the same connection goes on.
fn refused(js: &Js, author: &Client<'_>) -> &'static str {
    let beside = js.open_sharing(author, "oversize-beside", json!({}));
    beside.synced();
    beside.ack();
    write_too_much(author);
    wait_long(author, "(me.traffic.inKinds.refused ?? 0) > 0");
    assert!(!author.get::<bool>("me.isSaved"));
    beside.run("text.insert(0, 'fine')");
    beside.ack();
    assert_eq!((author.opens(), author.closes().len()), (1, 0));
    "refused, stays"
}

fn withheld(author: &Client<'_>) -> &'static str {
    author.wait("provider.hasLocalChanges === false");
    write_too_much(author);
    author.traffic();
    wait_long(author, "(me.traffic.inKinds.awareness ?? 0) >= 2");
    assert!(author.get::<bool>("provider.hasLocalChanges"));
    assert_eq!((author.opens(), author.closes().len()), (1, 0));
    "unsaved, stays"
}
