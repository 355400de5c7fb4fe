//! y-sweet's own client and SDK, as they come from npm, on weft (WIRE §2, g-s1…g-s4, §6), beside y-websocket's.

mod acks;
mod denied;
mod rooms;
mod sdk;

use crdt_tests::js::{Client, Js, YSWEET};
use crdt_tests::server::Server;
use serde_json::{Value, json};

/// What a y-sweet app is configured with to reach this server: `ys://host`, or `ys://token@host`.
fn connection_string(server: &Server, token: Option<&str>) -> String {
    match token {
        Some(token) => format!("ys://{token}@{}", server.addr()),
        None => format!("ys://{}", server.addr()),
    }
}

pub(super) fn open<'js>(js: &'js Js, server: &Server, room: &str) -> Client<'js> {
    js.open(YSWEET, server, room)
}

/// A client of a server that asks for tokens, which its application gets for it as `wanted`.
fn open_as<'js>(js: &'js Js, server: &Server, room: &str, back_end: &str, wanted: &Value) -> Client<'js> {
    let manager = connection_string(server, Some(back_end));
    js.open_with(YSWEET, server, room, json!({ "manager": manager, "authorize": wanted }))
}

/// Waits until the client says that all it did is saved.
pub(super) fn saved(client: &Client<'_>) {
    client.wait("provider.hasLocalChanges === false");
}
