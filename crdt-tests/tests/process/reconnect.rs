//! P3: a reconnect costs what is missing, in both directions; late joiners and returning crowds end up equal.

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, Js, VERSIONS};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use rand::Rng;

/// What a reconnect may cost beside the update itself: SyncStep1 both ways, presence, an empty SyncStep2.
pub(super) const SLACK_BYTES: u64 = 1_000;

/// A document of at least 300 kB with a delete set worth counting.
pub(super) const WRITE_300_KB: &str = r"
    let at = 0
    const words = n => Array.from({ length: n }, (_, i) => String.fromCharCode(97 + (i * 7 + at) % 26)).join('')
    for (let i = 0; i < 4200; i++) {
        at = (at * 31 + 17) % (text.length + 1)
        text.insert(at, words(70))
        if (i % 8 === 0) text.delete(Math.min(at, text.length - 3), 3)
    }
    return Y.encodeStateAsUpdate(doc).byteLength";

#[test]
fn p3_a_late_joiner_gets_the_document_once() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    for version in VERSIONS {
        let room = format!("late/{version}");
        let writer = js.open(version, &server, &room);
        writer.synced();
        let document_bytes: u64 = serde_json::from_value(writer.run(WRITE_300_KB)).expect("a size");
        writer.ack();
        let mut costs = Vec::new();
        for when in ["warm", "after a restart"] {
            let late = js.open(version, &server, &room);
            late.synced();
            js.converged(&[&writer, &late]);
            let got = late.traffic().in_bytes;
            assert!(got <= document_bytes + SLACK_BYTES, "{version}, {when}: {got} bytes for {document_bytes}");
            costs.push(got);
            if when == "warm" {
                server.kill();
                server.restart();
                writer.synced();
            }
        }
        println!("{version}: document {document_bytes} B, late joiners received {costs:?} B");
    }
}

/// g3: `resyncInterval` asks again and again; the answer is the difference, and no new question.
#[test]
fn g3_resync_is_answered_with_step2_only() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    for version in VERSIONS {
        let room = format!("resync/{version}");
        let options = serde_json::json!({ "resyncInterval": 50, "awareness": null });
        let client = js.open_with(version, &server, &room, options);
        client.synced();
        client.run("text.insert(0, 'x'.repeat(100000))");
        client.ack();
        client.traffic();
        client.wait("(me.traffic.inKinds.step2 ?? 0) >= 5");
        let traffic = client.traffic();
        assert_eq!(traffic.in_kinds.get("step1"), None, "{version}: asked again on a resync: {traffic:?}");
        assert_eq!(traffic.out_kinds.get("step2"), None, "{version}: {traffic:?}");
        assert!(traffic.in_bytes < 1_000, "{version}: a resync with nothing missing cost {} bytes", traffic.in_bytes);
    }
}

/// g1, g2: each frame holds one message, and every SyncStep1 is answered, also when there is nothing to say.
#[test]
fn g2_an_empty_document_syncs() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    for version in VERSIONS {
        let client = js.open(version, &server, &format!("empty/{version}"));
        client.synced();
        client.ack();
        let traffic = client.traffic();
        assert_eq!(traffic.in_kinds.get("step2"), Some(&1), "{version}: {traffic:?}");
        assert_eq!(traffic.in_kinds.get("step1"), Some(&1), "{version}: {traffic:?}");
        assert_eq!(client.run("me.textFrames"), 0);
    }
}

/// g14: what the server has already costs no broadcast.
#[test]
fn g14_a_known_update_is_not_relayed() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let [a, b] = [0, 1].map(|_| js.open(VERSIONS[2], &server, "known"));
    js.synced(&[&a, &b]);
    a.run("text.insert(0, 'x'.repeat(5000))");
    js.converged(&[&a, &b]);
    a.ack();
    b.ack();
    b.traffic();
    // Listing carries the journal into the store, so that the log has all.
    let logged = || Cli::of(&server).done(&["ls", "--json"]).json()["docs"][0]["log_bytes"].clone();
    let before = logged();
    assert!(before.as_u64() > Some(5_000), "{before}");
    // A page that loads the same content from elsewhere uploads it whole.
    a.run(
        "const update = Y.encodeStateAsUpdate(doc); \
         const frame = new Uint8Array([0, 2, update.length & 127 | 128, update.length >> 7, ...update]); \
         for (let i = 0; i < 10; i++) provider.ws.send(frame)",
    );
    a.ack();
    b.ack();
    let traffic = b.traffic();
    assert_eq!(traffic.in_kinds.get("update"), None, "a known update was relayed: {traffic:?}");
    assert_eq!(logged(), before, "a known update was logged");
}

#[test]
fn p2_fifty_clients_edit_drop_and_return() {
    let seed = seed::seed("p2_fifty_clients_edit_drop_and_return");
    let mut rng = seed::rng(seed, 0);
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<Client<'_>> = (0..50).map(|n| js.open(VERSIONS[n % 3], &server, "crowd")).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    let mut away = [false; 50];
    for step in 0..400u64 {
        let number = rng.random_range(0..50);
        let client = &clients[number];
        match rng.random_range(0..10) {
            0 => client.cut(),
            1 if !away[number] => {
                client.run("provider.disconnect()");
                away[number] = true;
            }
            2 if !away[number] => {
                client.run("me.cut(true)");
                away[number] = true;
            }
            1..=4 => {
                client.run("provider.connect()");
                away[number] = false;
            }
            _ => client.edit(seed.wrapping_mul(1_000).wrapping_add(step), 3),
        }
    }
    for client in &clients {
        client.run("array.push([me.name])");
        client.run("provider.connect()");
    }
    js.synced(&all);
    let state = js.converged(&all);
    for client in &clients {
        assert!(
            state.content["array"].to_string().contains(&client.name),
            "the last edit of {} is missing",
            client.name
        );
        client.ack();
    }
    let exported = js.load(&Cli::of(&server).export_update("crowd"));
    exported.assert_same(&state, "weft's export");
}
