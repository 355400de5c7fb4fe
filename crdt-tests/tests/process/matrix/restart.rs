//! The server goes, with a goodbye or without one, and comes back: so do its clients, by themselves, and everything that
//! they did before and meanwhile is there.

use crdt_tests::js::{Js, LATEST};
use crdt_tests::server::{DataDir, Server};
use serde_json::json;

pub(super) fn kill(js: &Js, version: &'static str) -> &'static str {
    survives(js, version, Server::kill);
    "yes"
}

pub(super) fn drain(js: &Js, version: &'static str) -> &'static str {
    let code = survives(js, version, Server::drain);
    assert_eq!(code, 1012, "it must be told to come back (WIRE §6)");
    "1012, back"
}

/// Gives the code that the client was closed with.
fn survives(js: &Js, version: &'static str, end: fn(&mut Server)) -> u16 {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let client = js.open(version, &server, "restart-1");
    client.synced();
    client.run("text.insert(0, 'before '); array.push(['before'])");
    client.ack();
    end(&mut server);
    client.wait("!me.isOpen && me.closes.length > 0");
    client.run("text.insert(text.length, 'meanwhile'); array.push(['meanwhile'])");
    let code = client.closes()[0].code;
    server.restart();
    client.synced();
    client.ack();
    let fresh = js.open(LATEST, &server, "restart-1");
    fresh.synced();
    let state = js.converged(&[&client, &fresh]);
    let both = json!(["before meanwhile", ["before", "meanwhile"]]);
    assert_eq!(fresh.run("[text.toString(), array.toJSON()]"), both);
    // As the server has it, and not as the client has just brought it once more.
    drop(client);
    server.kill();
    server.restart();
    let fresh = js.open(LATEST, &server, "restart-1");
    fresh.synced();
    fresh.state().assert_same(&state, "after another restart");
    code
}
