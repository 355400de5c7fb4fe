//! Connections that end and come back, and connections that only last (WIRE h5, h7, §6).

use std::time::{Duration, Instant};

use crdt_tests::admin::Admin;
use crdt_tests::hocuspocus::{Line, stateless};
use crdt_tests::js::{Client, EVERY, HOCUSPOCUS, Js};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::wait::PATIENCE;
use rand::Rng;
use serde_json::json;

/// What a reconnect may cost beside the update itself.
const SLACK_BYTES: u64 = 1_000;
/// Stock clients look every 3 s whether the last message is older than 30 s.
const WATCHDOG: Duration = Duration::from_secs(37);

/// P3: a provider that was away gets and gives what is missing.
#[test]
fn p3_a_returning_provider_gets_and_gives_what_is_missing() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    for version in HOCUSPOCUS {
        let room = format!("away/{version}");
        let writer = js.open(version, &server, &room);
        let away = js.open(version, &server, &room);
        js.synced(&[&writer, &away]);
        writer.run("for (let i = 0; i < 3000; i++) text.insert((i * 31) % (text.length + 1), 'seventy characters are enough to make it worth while '.repeat(2))");
        js.converged(&[&writer, &away]);
        away.disconnect();
        let knows: String = away.get("Buffer.from(Y.encodeStateVector(doc)).toString('base64')");
        writer.run("for (let i = 0; i < 100; i++) text.insert((i * 7919) % text.length, `edit ${i} `)");
        writer.ack();
        away.run("for (let i = 0; i < 10; i++) text.insert(i * 1000, `offline ${i} `)");
        let since = "Y.encodeStateAsUpdate(doc, Buffer.from(args, 'base64')).byteLength";
        let [missed, owed] =
            [&writer, &away].map(|client| client.run_with(since, json!(knows)).as_u64().expect("a size"));
        away.traffic();
        away.connect();
        away.ack();
        js.converged(&[&writer, &away]);
        let traffic = away.traffic();
        assert!(traffic.in_bytes <= missed + SLACK_BYTES, "{version}: got {} of {missed}", traffic.in_bytes);
        // Each of the ten edits is queued by the provider too.
        assert!(traffic.out_bytes <= 2 * owed + SLACK_BYTES, "{version}: sent {} of {owed}", traffic.out_bytes);
    }
}

/// h7, g4: neither the watchdog of a provider nor ours ends a connection on which nothing happens.
#[test]
fn h7_idle_providers_stay() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let start = Instant::now();
    // With presence a provider renews it every 15 s and hears its echo (h12); without, only our keep-alive is left.
    let idle: Vec<Client<'_>> = HOCUSPOCUS
        .iter()
        .flat_map(|version| [json!({}), json!({ "awareness": null })].map(|options| (version, options)))
        .enumerate()
        .map(|(number, (version, options))| js.open_with(version, &server, &format!("idle {number}"), options))
        .collect();
    js.synced(&idle.iter().collect::<Vec<_>>());
    std::thread::sleep(WATCHDOG.saturating_sub(start.elapsed()));
    for client in &idle {
        client.run("text.insert(0, 'still here')");
        client.ack();
        assert_eq!((client.opens(), client.closes().len()), (1, 0), "{} was disconnected", client.name);
    }
}

/// WIRE §6: a drain sends everybody away with 1012, and they come back to the next server with everything.
#[test]
fn wire_6_a_drain_is_1012_and_everybody_comes_back() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> = EVERY.iter().map(|version| js.open(version, &server, "drained")).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    clients.iter().for_each(|client| drop(client.run("array.push([me.version])")));
    server.drain();
    for client in &clients {
        client.wait("me.closes.length > 0");
        assert_eq!(client.closes()[0].code, 1012, "{}", client.version);
        client.run("array.push(['away ' + me.version])");
    }
    server.restart();
    js.synced(&all);
    let state = js.converged(&all);
    assert_eq!(
        state.content["array"].as_array().or(state.content["array"]["array"].as_array()).map(Vec::len),
        Some(2 * EVERY.len()),
        "{}",
        state.content
    );
}

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
