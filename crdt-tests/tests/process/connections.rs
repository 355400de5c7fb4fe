//! What concerns connections more than documents: handshakes, limits, and clients that come and go.

use crdt_tests::js::{Client, Js, LATEST, VERSIONS};
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::wait::PATIENCE;
use serde_json::json;

/// Documents without editors fall asleep and wake again; whoever comes finds everything, also in the very moment.
#[test]
fn p2_documents_sleep_and_wake_with_everything() {
    const DOCS: usize = 4;
    let data = DataDir::new();
    // About as long as the next client needs to come, so that it finds documents awake, asleep, and on the way.
    let mut server = Options::new(data.path()).arg("--idle-after").arg("10ms").start();
    let js = Js::start();
    for round in 0..25 {
        let clients: Vec<Client<'_>> =
            (0..DOCS).map(|doc| js.open(VERSIONS[(round + doc) % 3], &server, &format!("nap {doc}"))).collect();
        js.synced(&clients.iter().collect::<Vec<_>>());
        for (doc, client) in clients.iter().enumerate() {
            assert_eq!(client.run("array.length"), round, "round {round}: nap {doc} has forgotten something");
            client.run_with("array.push([args]); text.insert(text.length, `${args} `)", json!(round));
            // Some leave at once, some when all is durable, some by a cut line: whatever was acked or said goodbye to stays.
            client.ack();
            if round % 3 == 1 {
                client.cut_and_stay();
            }
        }
        drop(clients);
    }
    server.drain();
    server.restart();
    for doc in 0..DOCS {
        let fresh = js.open(LATEST, &server, &format!("nap {doc}"));
        fresh.synced();
        assert_eq!(fresh.run("array.toJSON()"), json!((0..25).collect::<Vec<_>>()));
    }
}

/// WIRE §1: who offers subprotocols must get one of them back, or browsers fail the handshake.
#[test]
fn w1_a_subprotocol_is_echoed() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    for version in &VERSIONS[1..] {
        let options = json!({ "protocols": ["yauth-token.of_somebody", "other"], "params": { "token": "a b&c" } });
        let client = js.open_with(version, &server, "subprotocol", options);
        client.synced();
        let chosen: String = client.get("provider.ws.protocol");
        assert!(["yauth-token.of_somebody", "other"].contains(&&*chosen), "{version}: {chosen:?}");
    }
}

/// WIRE §6, overload: beyond the limit the upgrade is refused, and who tries again gets in once there is room.
#[test]
fn w6_beyond_the_limit_connections_wait_outside() {
    let data = DataDir::new();
    let server = Options::new(data.path()).arg("--max-connections").arg("4").start();
    let js = Js::start();
    let inside: Vec<Client<'_>> = (0..4).map(|n| js.open(VERSIONS[n % 3], &server, "limit")).collect();
    js.synced(&inside.iter().collect::<Vec<_>>());
    let outside = js.open(LATEST, &server, "limit");
    outside.wait("me.closes.length >= 2");
    assert_eq!(outside.opens(), 0, "a fifth connection of four");
    inside[0].run("text.insert(0, 'still served')");
    inside[3].wait("text.toString() === 'still served'");
    inside[1].disconnect();
    outside.synced();
    assert_eq!(outside.run("text.toString()"), "still served");
}

/// g7: an update over the limit will be sent again after each reconnect, so the close code must stop who can be stopped.
#[test]
fn g7_an_oversized_update_stops_its_client() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let other = js.open(LATEST, &server, "oversized");
    other.synced();
    let client = js.open(LATEST, &server, "oversized");
    client.synced();
    client.run("text.insert(0, 'x'.repeat(40 << 20))");
    client.wait_within("!provider.shouldConnect && provider.ws === null", json!(null), PATIENCE);
    let codes: Vec<u16> = client.closes().iter().map(|close| close.code).collect();
    assert_eq!(codes, [4413]);
    other.run("map.set('fine', true)");
    other.ack();
    assert_eq!(other.run("text.length"), 0);
    server.assert_alive();
}
