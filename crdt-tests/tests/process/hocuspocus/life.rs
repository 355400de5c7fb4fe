//! Connections that end and come back, and connections that only last (WIRE h5, h7, §6).

use crdt_tests::admin::Admin;
use crdt_tests::hocuspocus::{Line, stateless};
use crdt_tests::js::{Client, EVERY, HOCUSPOCUS, Js};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::wait::PATIENCE;
use rand::Rng;
use serde_json::json;

/// P2: all kinds at once, with edits, cuts and restarts at random; equal in the end, in every Yjs document.
#[test]
fn p2_all_kinds_edit_drop_and_return() {
    let seed = seed::seed("p2_all_kinds_edit_drop_and_return");
    let mut rng = seed::rng(seed, 0);
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> = (0..14).map(|n| js.open(EVERY[n % EVERY.len()], &server, "crowd")).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    for step in 0..150u64 {
        let client = &clients[rng.random_range(0..clients.len())];
        match rng.random_range(0..20) {
            0..3 => client.cut(),
            3 if step % 3 == 0 => {
                server.kill();
                server.restart();
            }
            _ => client.edit(seed.wrapping_mul(1_000).wrapping_add(step), 3),
        }
    }
    clients.iter().for_each(|client| drop(client.run("array.push([me.name])")));
    js.synced(&all);
    let state = js.converged(&all);
    for client in &clients {
        assert!(
            state.content["array"].to_string().contains(&client.name),
            "the last edit of {} is missing",
            client.name
        );
    }
}

/// A text from the application's server reaches every Hocuspocus client of the document, and nobody else.
#[test]
fn broadcast_stateless_reaches_every_provider_of_the_document() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> = EVERY.iter().map(|version| js.open(version, &server, "one-doc")).collect();
    let elsewhere = js.open(HOCUSPOCUS[2], &server, "other");
    js.synced(&clients.iter().chain([&elsewhere]).collect::<Vec<_>>());
    let mut session = Line::connect(server.addr(), "");
    session.join("one-doc\0session", "");
    let admin = Admin::of(&server);
    let text = "{\"type\":\"reload\",\"ü\":1}";
    let told = admin.send_with("POST", "/api/v1/docs/one-doc/broadcast-stateless", &[], text.as_bytes());
    assert_eq!((told.status, told.json()), (200, json!({ "clients": 4 })));
    session.until("one-doc\0session", "the text", |body| body == stateless(text));
    for client in &clients {
        if client.version.starts_with("hocuspocus") {
            client.wait_with("me.stateless.length === 1 && me.stateless[0] === args", json!(text));
        }
        client.run("text.insert(0, 'on')");
        client.ack();
        assert_eq!(client.run("me.textFrames"), 0);
    }
    assert_eq!(elsewhere.run("me.stateless.length"), 0);
    for (doc, body, status) in
        [("absent", &b"x"[..], 404), ("one-doc", b"\xff", 400), ("one-doc", &[b'x'; 70_000], 413)]
    {
        let path = format!("/api/v1/docs/{doc}/broadcast-stateless");
        assert_eq!(admin.send_with("POST", &path, &[], body).status, status, "{doc}");
    }
}

/// A client that says nothing at all is not waited for for ever, and costs its socket only.
#[test]
fn hardening_1_a_silent_connection_is_closed() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut silent = Line::connect(server.addr(), "");
    assert_eq!(silent.until_closed(PATIENCE), Some(1008));
}
