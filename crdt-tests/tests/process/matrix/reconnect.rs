//! P3: who was away and edited there gets what he missed and gives what he owes, and never the document.

use crdt_tests::js::{Client, Js, Kind};
use crdt_tests::server::{DataDir, Server};
use serde_json::{Value, json};

use crate::reconnect::{SLACK_BYTES, WRITE_300_KB};

const HUNDRED_EDITS: &str = r"
    for (let i = 0; i < 100; i++) {
        if (i % 4 === 3) text.delete((i * 997) % (text.length - 10), 5)
        else text.insert((i * 7919) % text.length, `edit ${i} `)
    }";

pub(super) fn check(_: &Js, version: &'static str) -> &'static str {
    let data = DataDir::new();
    let server = Server::start(&data);
    // Of its own: what it writes keeps a whole process busy, where others are in a hurry.
    let js = Js::start();
    let room = "reconnect-1";
    let [writer, away] = [0, 1].map(|_| js.open(version, &server, room));
    js.synced(&[&writer, &away]);
    let document_bytes = size(&writer, WRITE_300_KB, Value::Null);
    assert!(document_bytes >= 300_000, "only {document_bytes} bytes");
    writer.ack();
    js.converged(&[&writer, &away]);
    away.disconnect();
    let knows: String = away.get("Buffer.from(Y.encodeStateVector(doc)).toString('base64')");
    writer.run(HUNDRED_EDITS);
    writer.ack();
    away.run("for (let i = 0; i < 10; i++) text.insert(i * 1000, `offline ${i} `)");
    // What is owed is the ten edits and Yjs' whole delete set.
    let [missed, owed] = [&writer, &away]
        .map(|client| size(client, "Y.encodeStateAsUpdate(doc, Buffer.from(args, 'base64')).byteLength", json!(knows)));

    away.traffic();
    writer.traffic();
    away.connect();
    away.ack();
    js.converged(&[&writer, &away]);
    let traffic = away.traffic();
    let (got, sent, relayed) = (traffic.in_bytes, traffic.out_bytes, writer.traffic().in_bytes);
    println!(
        "{version}: document {document_bytes} B; missed {missed} B, received {got} B; owed {owed} B, sent {sent} B, \
         relayed to the other {relayed} B"
    );
    assert!(got <= missed + SLACK_BYTES, "received {got} bytes where {missed} were missing");
    assert!(got >= missed / 2, "{got} bytes cannot hold the {missed} that were missing");
    // A Hocuspocus provider queues what was done meanwhile, and says it all once more when it is asked.
    let times = if Kind::of(version) == Kind::Hocuspocus { 2 } else { 1 };
    assert!(sent <= times * owed + SLACK_BYTES, "sent {sent} bytes where {owed} were owed");
    assert!(relayed <= owed + SLACK_BYTES, "relayed {relayed} bytes of {owed}");

    // Nothing missing at all: an empty diff and the delete set at most.
    away.disconnect();
    away.traffic();
    away.connect();
    let nothing = size(&away, "Y.encodeStateAsUpdate(doc, Y.encodeStateVector(doc)).byteLength", Value::Null);
    let got = away.traffic().in_bytes;
    assert!(got <= nothing + SLACK_BYTES, "received {got} bytes though nothing was missing");
    "what is missing"
}

fn size(client: &Client<'_>, code: &str, args: Value) -> u64 {
    client.run_with(code, args).as_u64().expect("a size")
}
