//! P2, P5: Hocuspocus clients edit side by side, with each other and with y-websocket clients.

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, EVERY, HOCUSPOCUS, Js, LATEST};
use crdt_tests::server::{DataDir, Server};

/// All kinds at once on one document, whatever path the Hocuspocus clients use.
#[test]
fn p5_every_client_shares_one_document_and_its_presence() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> = EVERY.iter().map(|version| js.open(version, &server, "mixed")).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    for (number, client) in clients.iter().enumerate() {
        client.run("awareness.setLocalStateField('user', { name: me.version })");
        client.edit(7 + number as u64, 40);
        client.run("map.set(me.version, true); array.push([me.version])");
    }
    let state = js.converged(&all);
    for version in EVERY {
        assert_eq!(state.content["map"]["map"][version], true, "an edit of {version} is missing: {}", state.content);
    }
    for client in &clients {
        client.wait_with(
            "args.every(name => [...awareness.getStates().values()].some(s => s.user?.name === name))",
            serde_json::json!(EVERY),
        );
    }
    js.load(&Cli::of(&server).export_update("mixed")).assert_same(&state, "weft's export");
    // Whoever leaves is gone for all others.
    let latest = clients.iter().position(|client| client.version == HOCUSPOCUS[2]).expect("the newest");
    clients[latest].disconnect();
    for client in clients.iter().filter(|client| client.version != HOCUSPOCUS[2]) {
        client.wait_with("![...awareness.getStates().values()].some(s => s.user?.name === args)", HOCUSPOCUS[2].into());
    }
    assert!(clients.iter().any(|client| client.version == LATEST));
}
