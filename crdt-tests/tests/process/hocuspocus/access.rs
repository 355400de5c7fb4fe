//! Who gets in, and for how long: tokens in band, each document by itself (contract 2.4, WIRE h2, h5, h9, §6).

use std::time::Duration;

use crdt_tests::admin::Admin;
use crdt_tests::cli::Cli;
use crdt_tests::hocuspocus::{Line, SAVED, TOKEN_WANTED, auth, denial, granted};
use crdt_tests::js::{HOCUSPOCUS, Js, LATEST};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::tokens::Secret;
use crdt_tests::wait::PATIENCE;
use serde_json::json;
use weft::ids::Access;

/// h2: without keys nobody needs a token, also 2.15.3, which then sends no Auth at all.
#[test]
fn h2_without_keys_everybody_gets_in() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    for version in HOCUSPOCUS {
        let client = js.open(version, &server, "open");
        client.synced();
        client.wait("me.isSaved && me.events.some(e => e.event === 'authenticated' && e.scope === 'read-write')");
        let traffic = client.traffic();
        assert_eq!(traffic.out_kinds.contains_key("token"), version != HOCUSPOCUS[0], "{version}: {traffic:?}");
    }
}

/// 2.15.3 without a token says nothing at all (h2), and is told in the end.
#[test]
fn h2_a_silent_provider_is_denied_in_time() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let js = Js::start();
    let silent = js.open(HOCUSPOCUS[0], &server, "notes/a");
    silent.wait("me.events.some(e => e.reason?.includes('a token is required'))");
}

/// h9: a provider whose token function has a better answer the next time gets in on the same connection.
#[test]
fn h9_a_stock_client_may_try_another_token() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let js = Js::start();
    let good = secret.mint(&["--doc", "*", "--access", "write"]);
    for version in &HOCUSPOCUS[1..] {
        let client = js.open_with(version, &server, "retry", json!({ "tokens": ["bad.one.here", good] }));
        client.wait("me.events.some(e => e.event === 'authenticationFailed')");
        client.run("provider.sendToken().then(() => provider.startSync())");
        client.wait("me.isSaved && me.events.some(e => e.event === 'authenticated')");
        client.run("text.insert(0, 'in')");
        client.ack();
        assert_eq!(client.opens(), 1);
    }
}

/// WIRE §6: rights that change with another token change at once, both ways, without a new connection.
#[test]
fn wire_6_rights_change_with_the_token() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let write = secret.mint(&["--doc", "d", "--access", "write"]);
    let read = secret.mint(&["--doc", "d"]);
    let mut line = Line::connect(server.addr(), "");
    line.join("d", &write);
    let mut writer = Writer::new(3);
    line.say("d", message::update(&writer.append("one ")));
    line.until("d", "a confirmation", |body| body == SAVED);
    line.say("d", auth(&read));
    line.until("d", "the new scope", |body| body == granted("readonly"));
    let two = writer.append("two ");
    line.say("d", message::update(&two));
    line.until("d", "a refusal", |body| body == crdt_tests::hocuspocus::REFUSED);
    line.say("d", auth(&write));
    line.until("d", "the old scope", |body| body == granted("read-write"));
    line.say("d", message::update(&two));
    line.until("d", "a confirmation", |body| body == SAVED);
    assert_eq!(Line::connect(server.addr(), "").join("d", &read), writer.all());
}

/// Revocation ends the user's documents at once, on whatever connection, and leaves others on it alone.
#[test]
fn c2_3_revocation_ends_documents_and_not_the_connection() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let ada = secret.mint(&["--doc", "*", "--access", "write", "--sub", "ada"]);
    let bob = secret.mint(&["--doc", "*", "--access", "write", "--sub", "bob"]);
    let mut line = Line::connect(server.addr(), "");
    line.join("a", &ada);
    line.join("b", &ada);
    line.join("c", &bob);
    let listed = Admin::of(&server).get("/api/v1/connections?doc=b").json();
    let connection = &listed["connections"][0];
    assert_eq!((&connection["dialect"], &connection["doc"]), (&json!("hocuspocus"), &json!(null)), "{listed}");
    let docs: Vec<_> =
        connection["docs"].as_array().expect("documents").iter().map(|d| (&d["doc"], &d["user"])).collect();
    assert_eq!(
        docs,
        [(&json!("a"), &json!("ada")), (&json!("b"), &json!("ada")), (&json!("c"), &json!("bob"))],
        "{listed}"
    );
    let report = Cli::of(&server).done(&["token", "--revoke", "ada", "--json"]).json();
    assert_eq!(report["closed"], 2, "{report}");
    for doc in ["a", "b"] {
        line.until(doc, "a denial", |body| denial(body).is_some());
        line.say(doc, message::update(&Writer::new(3).append("too late")));
    }
    line.say("c", message::update(&Writer::new(3).append("goes on")));
    line.until("c", "a confirmation", |body| body == SAVED);
    line.say("a", auth(&ada));
    line.until("a", "another denial", |body| denial(body).is_some_and(|reason| reason.contains("revoked")));
    assert_eq!(Line::connect(server.addr(), "").join("a", &bob), [0, 0], "nothing came too late");
}

/// A deleted document is denied with "deleted", to who is there and to who comes; the connection goes on (WIRE §6).
#[test]
fn wire_6_a_deleted_document_is_denied() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let clients: Vec<_> = HOCUSPOCUS.iter().map(|version| js.open(version, &server, "gone")).collect();
    let beside = js.open_sharing(&clients[2], "beside", json!({}));
    js.synced(&clients.iter().chain([&beside]).collect::<Vec<_>>());
    clients[0].run("text.insert(0, 'content')");
    clients[0].ack();
    Cli::of(&server).done(&["rm", "gone"]);
    for client in &clients {
        client.wait("me.events.some(e => e.reason === 'deleted')");
        client.run("text.insert(0, 'zombie')");
        assert_eq!(client.closes().len(), 0);
    }
    beside.run("text.insert(0, 'fine')");
    beside.ack();
    let mut late = Line::connect(server.addr(), "");
    late.say("gone", auth(""));
    late.say("gone", message::step2(&Writer::new(3).append("again")));
    let reason = late.until("gone", "a denial", |body| denial(body).is_some());
    assert_eq!(denial(&reason).as_deref(), Some("deleted"));
    let editor = js.open(LATEST, &server, "gone");
    editor.wait_within("me.closes.some(close => close.code === 4404)", json!(null), PATIENCE);
    assert_eq!(Cli::of(&server).run(&["export", "gone"]).code, 1, "nothing brought it back");
}

/// A question for another token comes before the end, and only once for the same one.
#[test]
fn wire_6_the_same_token_again_is_not_asked_for_twice() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let short = secret.good_for("ada", &["d"], Access::Write, 3);
    let mut line = Line::connect(server.addr(), "");
    line.join("d", &short);
    while line.count("d", TOKEN_WANTED) == 0 {
        assert!(line.socket.next(PATIENCE).is_some(), "it is not asked");
    }
    line.say("d", auth(&short));
    line.until("d", "the scope", |body| body == granted("read-write"));
    assert_eq!(line.until_closed(Duration::from_secs(15)), Some(4205));
    assert_eq!(line.said("d").iter().filter(|body| *body == TOKEN_WANTED).count(), 1);
}
