//! Who is not let in, and what becomes of tokens (WIRE §6, g-s3, g-s4).

use std::time::Instant;

use crdt_tests::admin::Admin;
use crdt_tests::cli::{Cli, path_str};
use crdt_tests::js::{Js, YSWEET};
use crdt_tests::message::Writer;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::tokens::Secret;
use serde_json::{Value, json};
use weft::ids::Access;

use super::{connection_string, open, open_as, saved};

fn client_token(server: &Server, doc: &str, token: &str) -> Value {
    let addr = server.addr();
    let (url, base_url) = (format!("ws://{addr}/d/{doc}/ws"), format!("http://{addr}/d/{doc}"));
    json!({ "url": url, "baseUrl": base_url, "docId": doc, "token": token, "authorization": "full" })
}

#[test]
fn wire_6_strangers_are_told_by_status_and_back_off() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let js = Js::start();
    let elsewhere = secret.mint(&["--doc", "elsewhere", "--access", "write"]);
    let gone = secret.mint(&["--doc", "gone", "--access", "write", "--sub", "ada"]);
    Cli::of(&server).done(&["import", "gone", path_str(&seeded(&data))]);
    Cli::of(&server).done(&["rm", "gone"]);
    let began = Instant::now();
    let strangers: Vec<_> = [("here", "no.token.this", 401), ("here", &elsewhere, 403), ("gone", &gone, 404)]
        .into_iter()
        .map(|(doc, token, status)| {
            let token = client_token(&server, doc, token);
            (js.open_with(YSWEET, &server, doc, json!({ "tokens": [token] })), status)
        })
        .collect();
    for (stranger, status) in &strangers {
        stranger.run("text.insert(0, 'stranger')");
        // After three failures it asks for another token (g-s3).
        stranger.wait("me.tokensFetched >= 2");
        assert!(stranger.get::<Vec<u16>>("me.statuses").iter().all(|one| one == status), "{status}");
        assert_eq!((stranger.opens(), stranger.traffic().in_frames), (0, 0));
        let connects = stranger.get::<u64>("me.connects");
        let most = began.elapsed().as_millis() as u64 / 500 + 2;
        assert!((3..=most).contains(&connects), "{connects} connects");
    }
    assert_eq!(Cli::of(&server).run(&["show", "here", "--json"]).code, 1, "nothing of it came to be");
}

/// A file with a small update.
fn seeded(data: &DataDir) -> std::path::PathBuf {
    let file = data.outer().join("update");
    std::fs::write(&file, Writer::new(7).append("seed")).expect("written");
    file
}

#[test]
fn g_s4_an_expired_token_is_fetched_anew_and_nothing_is_lost() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let js = Js::start();
    let short = secret.good_for("ada", &["expires"], Access::Write, 3);
    let long = secret.mint(&["--doc", "expires", "--access", "write", "--sub", "ada"]);
    let tokens = [&short, &long].map(|token| client_token(&server, "expires", token));
    let client = js.open_with(YSWEET, &server, "expires", json!({ "tokens": tokens }));
    client.synced();
    client.run("text.insert(0, 'before ')");
    saved(&client);
    // It expires in mid-session.
    client.wait("me.closes.length > 0");
    assert_eq!(client.closes()[0].code, 4501);
    client.run("text.insert(7, 'after')");
    client.wait("me.tokensFetched === 2");
    client.synced();
    saved(&client);
    assert_eq!(client.get::<Vec<u16>>("me.statuses"), [401, 401, 401]);
    assert_eq!(Cli::of(&server).export_json("expires")["text"], "before after");
}

#[test]
fn wire_6_a_deletion_a_revocation_and_an_admin_end_sessions_without_a_storm() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let js = Js::start();
    let back_end = secret.mint(&["--admin", "--sub", "back-end", "--ttl", "1h"]);
    let kept = open_as(&js, &server, "kept", &back_end, &json!({ "userId": "eve" }));
    let deleted = open_as(&js, &server, "deleted", &back_end, &json!({ "userId": "bob" }));
    js.synced(&[&kept, &deleted]);
    for client in [&kept, &deleted] {
        client.run("text.insert(0, 'x')");
        saved(client);
    }
    Cli::of(&server).done(&["rm", "deleted"]);
    Cli::of(&server).done(&["token", "--revoke", "eve"]);
    for (client, status) in [(&deleted, 404), (&kept, 401)] {
        client.wait_with("me.statuses.includes(args)", json!(status));
        assert_eq!(client.opens(), 1);
    }
    // What was deleted cannot be brought back by a y-sweet back end either.
    let manager = connection_string(&server, Some(&back_end));
    for method in ["createDoc", "getClientToken"] {
        let error = js.sdk(&manager, method, json!(["deleted"])).expect_err("it was deleted");
        assert!(error.contains("ServerError") && (error.contains("410") || error.contains("404")), "{error}");
    }
}

#[test]
fn a_session_closed_by_an_admin_is_back_once() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let client = open(&js, &server, "kicked");
    client.synced();
    let admin = Admin::of(&server);
    let connection = admin.get("/api/v1/connections").json()["connections"][0]["id"].as_u64().expect("an id");
    admin.send("DELETE", &format!("/api/v1/connections/{connection}")).ok();
    client.wait("me.opens === 2 && provider.synced");
    client.run("text.insert(0, 'back')");
    saved(&client);
    assert_eq!(client.opens(), 2);
}
