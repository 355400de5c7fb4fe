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
