//! Documents shared with clients of the other dialect: edits, presence, reconnects, restarts.

use crdt_tests::admin::Admin;
use crdt_tests::js::{Client, Js, LATEST, VERSIONS};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use serde_json::json;

use super::{open, saved};

#[test]
fn p5_y_sweet_and_y_websocket_clients_edit_one_document_and_see_each_other() {
    let seed = seed::seed("p5_y_sweet_and_y_websocket_clients_edit_one_document_and_see_each_other");
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let mut clients: Vec<Client<'_>> = VERSIONS.iter().map(|version| js.open(version, &server, "shared-1")).collect();
    clients.extend((0..2).map(|_| open(&js, &server, "shared-1")));
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    for client in &all {
        client.run_with("awareness.setLocalStateField('user', args)", json!(client.name));
    }
    for client in &all {
        for other in &all {
            let seen = json!({ "id": other.id, "name": other.name });
            client.wait_with("awareness.getStates().get(args.id)?.user === args.name", seen);
        }
    }
    for round in 0..4u64 {
        for (number, client) in all.iter().enumerate() {
            client.edit(seed + round * 100 + number as u64, 30);
        }
        if round == 1 {
            all.iter().for_each(|client| client.cut());
        }
        if round == 2 {
            server.kill();
            server.restart();
        }
        js.synced(&all);
        js.converged(&all);
    }
    let [.., first, second] = &all[..] else { unreachable!() };
    for client in [first, second] {
        saved(client);
        assert_eq!(client.get::<u64>("me.textFrames"), 0);
    }
    let id = second.id;
    clients.pop();
    for client in &clients {
        client.wait_with("!awareness.getStates().has(args)", json!(id));
    }
}

#[test]
fn p3_a_y_sweet_client_that_was_away_gets_and_gives_what_is_missing() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let writer = js.open(LATEST, &server, "away");
    let away = open(&js, &server, "away");
    js.synced(&[&writer, &away]);
    writer.run("for (let i = 0; i < 3000; i++) text.insert((i * 7919) % (text.length + 1), `sentence ${i} of a document that is not small `)");
    let document_bytes: u64 = writer.get("Y.encodeStateAsUpdate(doc).byteLength");
    assert!(document_bytes > 100_000, "{document_bytes} bytes");
    js.converged(&[&writer, &away]);
    away.disconnect();
    writer.run("for (let i = 0; i < 10; i++) text.insert(i * 100, `missed ${i} `)");
    writer.ack();
    away.run("for (let i = 0; i < 10; i++) text.insert(i * 1000, `offline ${i} `)");
    assert!(away.get::<bool>("provider.hasLocalChanges"));
    away.traffic();
    writer.traffic();
    away.connect();
    js.converged(&[&writer, &away]);
    saved(&away);
    let traffic = away.traffic();
    assert!(traffic.in_bytes < 2_000 && traffic.out_bytes < 2_000, "{traffic:?}");
    assert!(writer.traffic().in_bytes < 2_000);
}

#[test]
fn a_y_sweet_client_outlives_drains_and_restarts() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let client = open(&js, &server, "drained");
    client.synced();
    client.run("text.insert(0, 'before ')");
    saved(&client);
    server.drain();
    client.wait("provider.status !== 'connected'");
    client.run("text.insert(7, 'while away ')");
    server.restart();
    client.synced();
    saved(&client);
    let fresh = js.open(LATEST, &server, "drained");
    fresh.synced();
    assert_eq!(fresh.get::<String>("text.toString()"), "before while away ");
    // It is back by itself, and stays.
    assert_eq!(client.opens(), 2);
}

#[test]
fn connections_and_metrics_name_the_dialect() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let sweet = open(&js, &server, "named");
    let plain = js.open(LATEST, &server, "named");
    js.synced(&[&sweet, &plain]);
    let admin = Admin::of(&server);
    let connections = admin.get("/api/v1/connections?doc=named").json();
    let mut dialects: Vec<&str> = connections["connections"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["dialect"].as_str())
        .collect();
    dialects.sort_unstable();
    assert_eq!(dialects, ["ysweet", "ywebsocket"]);
    let metrics = admin.get("/metrics").text();
    assert!(metrics.contains(r#"weft_connections{dialect="ysweet",state="open"} 1"#), "{metrics}");
}
