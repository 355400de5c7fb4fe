//! P2, P5: Hocuspocus clients edit side by side, with each other and with y-websocket clients.

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, EVERY, HOCUSPOCUS, Js, LATEST};
use crdt_tests::server::{DataDir, Server};

#[test]
fn p5_each_version_converges() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    for version in HOCUSPOCUS {
        let room = format!("org.{version} ä/ü");
        let [a, b] = [0, 1].map(|_| js.open(version, &server, &room));
        js.synced(&[&a, &b]);
        a.run("text.insert(0, 'warp 🧶 and weft'); map.set('a', 1); array.push([new Y.Map([['k', 'v']])])");
        b.run("text.insert(0, 'ä'); xml.insert(0, [new Y.XmlElement('p')]); map.set('b', [1, null])");
        for (seed, client) in [(1, &a), (2, &b), (3, &a)] {
            client.edit(seed, 30);
        }
        let both = js.converged(&[&a, &b]);
        let late = js.open(version, &server, &room);
        late.synced();
        js.converged(&[&a, &b, &late]).assert_same(&both, "a late joiner changes nothing");
        js.load(&Cli::of(&server).export_update(&room)).assert_same(&both, "weft's export");
    }
}

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
