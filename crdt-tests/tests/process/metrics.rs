//! Metrics and connections: what the server says of itself is what was done to it.

use std::collections::BTreeMap;

use crdt_tests::admin::Admin;
use crdt_tests::js::{Js, LATEST};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::socket::Socket;
use crdt_tests::wait::{PATIENCE, until};

/// Samples by name and labels, read by the rules of the text format; anything that breaks them fails the test.
fn samples(admin: &Admin) -> BTreeMap<String, f64> {
    let answer = admin.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    assert!(text.ends_with('\n'));
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    let mut family = ("", "");
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect("a help text");
            assert!(words.ends_with('.') && families.insert(name, "").is_none(), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a type");
            assert!(matches!(kind, "counter" | "gauge" | "histogram"), "{line}");
            assert_eq!(families.insert(name, kind), Some(""), "help, then type, once: {line}");
            // What `promtool check metrics` asks for.
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(name.starts_with("weft_") && !name.contains("milliseconds"), "{line}");
            family = (name, kind);
        } else {
            let (sample, value) = line.rsplit_once(' ').expect("a sample");
            let name = sample.split('{').next().expect("a name");
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(name == family.0 || (family.1 == "histogram" && base == family.0), "{line} under {family:?}");
            let value: f64 = value.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
            assert!(value >= 0.0 && value.is_finite(), "{line}");
            assert!(samples.insert(sample.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    for (name, _) in families.iter().filter(|(_, kind)| **kind == "histogram") {
        let buckets: Vec<f64> =
            samples.iter().filter(|(s, _)| s.starts_with(&format!("{name}_bucket"))).map(|(_, v)| *v).collect();
        let all = samples[&format!("{name}_bucket{{le=\"+Inf\"}}")];
        assert_eq!(all, samples[&format!("{name}_count")], "{name}");
        assert!(buckets.iter().all(|count| *count <= all), "{name}");
    }
    samples
}

#[test]
fn operations_metrics_say_what_was_done() {
    let data = DataDir::new();
    let mut server = Options::new(data.path()).arg("--max-connections").arg("2").start();
    let admin = Admin::of(&server);
    let before = samples(&admin);
    for (name, value) in [
        ("weft_connections{dialect=\"ywebsocket\",state=\"open\"}", 0.0),
        ("weft_connects_total{result=\"ok\"}", 0.0),
        ("weft_updates_total{result=\"applied\"}", 0.0),
        ("weft_ack_seconds_count", 0.0),
        ("weft_docs_open", 0.0),
        ("weft_ready", 1.0),
    ] {
        assert_eq!(before.get(name), Some(&value), "{name}");
    }
    assert!((0.0..=1.0).contains(&before["weft_disk_free_ratio"]));

    assert_eq!(Socket::greet(server.addr(), "%00").until_closed(PATIENCE), Some(4400));
    // Ten edits, one of them again, one that is none; then an ack, so that all was worked off.
    let mut socket = Socket::connect(server.addr(), "one");
    let (mut writer, mut sent) = (Writer::new(5), 0);
    let edits: Vec<Vec<u8>> = (0..10).map(|n| writer.append(&format!("{n} "))).collect();
    for edit in edits.iter().chain(&edits[..1]) {
        let message = message::update(edit);
        sent += message.len();
        socket.send(message);
    }
    socket.send([0, 2, 200]);
    socket.ack();
    let reader = Socket::greet(server.addr(), "two");
    until("the third is over the cap", PATIENCE, || {
        drop(std::net::TcpStream::connect(server.addr()));
        (samples(&admin)["weft_connects_total{result=\"limit\"}"] >= 1.0).then_some(())
    });
    let now = samples(&admin);
    let updates: f64 = edits.iter().map(|edit| edit.len() as f64).sum();
    for (name, value) in [
        ("weft_updates_total{result=\"applied\"}", 10.0),
        ("weft_updates_total{result=\"dup\"}", 1.0),
        ("weft_update_bytes_total", updates),
        ("weft_malformed_messages_total", 1.0),
        ("weft_received_messages_total", 13.0),
        ("weft_connects_total{result=\"ok\"}", 2.0),
        ("weft_connects_total{result=\"proto\"}", 1.0),
        ("weft_unacked_updates", 0.0),
        ("weft_oldest_unacked_seconds", 0.0),
        ("weft_storage_errors_total{op=\"journal\"}", 0.0),
    ] {
        assert_eq!(now.get(name), Some(&value), "{name}");
    }
    assert!(now["weft_received_bytes_total"] > sent as f64, "with their heads and masks");
    assert!(now["weft_sent_bytes_total"] > 0.0 && now["weft_sent_messages_total"] >= 2.0);
    assert!((1.0..=10.0).contains(&now["weft_ack_seconds_count"]), "a turn is one append");
    assert!(now["weft_ack_seconds_sum"] > 0.0);
    assert!(now["weft_journal_fsync_seconds_count"] >= 1.0 && now["weft_journal_fsync_seconds_sum"] > 0.0);
    assert!(
        now["weft_ack_seconds_sum"] >= now["weft_journal_fsync_seconds_sum"] / now["weft_journal_fsync_seconds_count"]
    );
    assert!(now["weft_journal_pending_bytes"] > 0.0 && now["weft_store_disk_bytes"] > now["weft_store_live_bytes"]);
    assert!(now["weft_docs_open"] >= 1.0 && now["weft_doc_load_seconds_count"] >= 1.0);

    // What waits for something is counted while it waits.
    assert_eq!(now["weft_pending_structs"], 0.0);
    let (first, then) = (writer.append("missed "), writer.append("then"));
    socket.send(message::update(&then));
    socket.ack();
    assert_eq!(samples(&admin)["weft_pending_structs"], 1.0);
    socket.send(message::update(&first));
    socket.ack();
    assert_eq!(samples(&admin)["weft_pending_structs"], 0.0);
    let now = samples(&admin);

    // What is gone is still counted, and no sum falls.
    drop((socket, reader));
    let after = until("both are gone", PATIENCE, || {
        let now = samples(&admin);
        (now["weft_connections{dialect=\"ywebsocket\",state=\"open\"}"] == 0.0).then_some(now)
    });
    for (name, value) in &now {
        if name.split('{').next().is_some_and(|name| name.ends_with("_total")) {
            assert!(after[name] >= *value, "{name} fell from {value} to {}", after[name]);
        }
    }
    let ended: f64 = after.iter().filter(|(name, _)| name.starts_with("weft_disconnects_total")).map(|(_, n)| n).sum();
    assert_eq!(ended, 3.0);
    admin.send("POST", "/api/v1/docs/one/compact").ok();
    let folded = samples(&admin);
    assert_eq!(folded["weft_compactions_total{result=\"ok\"}"], 1.0);
    assert_eq!(folded["weft_journal_pending_bytes"], 0.0, "a checkpoint carried all");
    assert!(folded["weft_checkpoint_seconds_count"] >= 1.0);
    server.assert_alive();
}

#[test]
fn c2_3_connections_are_listed_page_by_page_and_can_be_closed() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let admin = Admin::of(&server);
    let sockets: Vec<Socket> =
        (0..5).map(|n| Socket::greet(server.addr(), if n == 3 { "other" } else { "notes/a" })).collect();
    let listed = |query: &str| admin.get(&format!("/api/v1/connections{query}")).json();
    let all_talk =
        |of: &serde_json::Value| of.as_array().is_some_and(|all| all.iter().all(|one| one["doc"].is_string()));
    until("all five", PATIENCE, || {
        let now = listed("")["connections"].clone();
        (now.as_array()?.len() == 5 && all_talk(&now)).then_some(())
    });
    let first = listed("?limit=2");
    let next = first["next"].as_u64().expect("another page follows");
    assert_eq!(first["connections"].as_array().expect("a list").len(), 2);
    let rest = listed(&format!("?after={next}"));
    assert_eq!((rest["connections"].as_array().expect("a list").len(), rest["next"].as_u64()), (3, None));
    let of_doc = listed("?doc=notes%2Fa");
    assert_eq!(of_doc["connections"].as_array().expect("a list").len(), 4);
    let other = listed("?doc=other")["connections"][0].clone();
    assert_eq!((&other["dialect"], &other["behind"]), (&"ywebsocket".into(), &false.into()));
    assert!(other["remote"].as_str().is_some_and(|addr| addr.starts_with("127.0.0.1:")), "{other}");
    assert!(other["sent_bytes"].as_u64() > Some(0), "{other}");
    assert!(listed("?doc=absent")["connections"].as_array().expect("a list").is_empty());
    drop(sockets);

    // A stock client that is closed comes back by itself, as another connection.
    let js = Js::start();
    let client = js.open(LATEST, &server, "kept");
    js.synced(&[&client]);
    let id = listed("?doc=kept")["connections"][0]["id"].as_u64().expect("an id");
    let closed = admin.send("DELETE", &format!("/api/v1/connections/{id}")).ok().json();
    assert_eq!((closed["id"].as_u64(), &closed["doc"]), (Some(id), &"kept".into()));
    let again = until("it comes back", PATIENCE, || {
        listed("?doc=kept")["connections"]
            .as_array()?
            .iter()
            .find_map(|now| now["id"].as_u64().filter(|now| *now != id))
    });
    assert!(again > id);
    until("the old one is gone", PATIENCE, || {
        (admin.send("DELETE", &format!("/api/v1/connections/{id}")).status == 404).then_some(())
    });
    let disconnects = samples(&admin)["weft_disconnects_total{code=\"1012\",reason=\"admin\"}"];
    assert_eq!(disconnects, 1.0);
    client.run("text.insert(0, 'still here')");
    client.ack();
}
