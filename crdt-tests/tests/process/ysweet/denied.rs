//! Who is not let in, and what becomes of tokens (WIRE §6, g-s3, g-s4).

use crdt_tests::admin::Admin;
use crdt_tests::cli::{Cli, path_str};
use crdt_tests::js::{Js, YSWEET};
use crdt_tests::message::Writer;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::tokens::Secret;
use serde_json::json;

use super::{connection_string, open, open_as, saved};

#[test]
fn wire_6_a_deleted_document_is_http_404_and_its_client_backs_off() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let js = Js::start();
    let token = secret.mint(&["--doc", "gone", "--access", "write", "--sub", "ada"]);
    Cli::of(&server).done(&["import", "gone", path_str(&seeded(&data))]);
    Cli::of(&server).done(&["rm", "gone"]);
    let stranger = js.open_with_tokens(YSWEET, &server, "gone", &[&token]);
    stranger.run("text.insert(0, 'stranger')");
    // After three failures it asks for another token (g-s3).
    stranger.wait("me.tokensFetched >= 2");
    assert!(stranger.get::<Vec<u16>>("me.statuses").iter().all(|status| *status == 404));
    assert_eq!((stranger.opens(), stranger.traffic().in_frames), (0, 0));
}

/// A file with a small update.
fn seeded(data: &DataDir) -> std::path::PathBuf {
    let file = data.outer().join("update");
    std::fs::write(&file, Writer::new(7).append("seed")).expect("written");
    file
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
