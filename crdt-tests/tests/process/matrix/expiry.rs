//! A token that ends in mid-session: a client that has another one goes on and loses nothing, one that has none is out
//! (WIRE §6, g-s4).

use crdt_tests::cli::Cli;
use crdt_tests::js::{Client, HOCUSPOCUS, Js, Kind, VERSIONS};
use crdt_tests::server::DataDir;
use crdt_tests::tokens::Secret;
use weft::ids::Access;

const ROOM: &str = "expiry-1";

pub(super) fn check(js: &Js, version: &'static str) -> &'static str {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let short = secret.good_for("ada", &[ROOM], Access::Write, 5);
    let long = secret.mint(&["--doc", ROOM, "--access", "write", "--sub", "ada"]);
    let renewed = js.open_with_tokens(version, &server, ROOM, &[&short, &long]);
    let stale = js.open_with_tokens(version, &server, ROOM, &[&short]);
    js.synced(&[&renewed, &stale]);
    renewed.run("text.insert(0, 'before ')");
    renewed.ack();
    match Kind::of(version) {
        Kind::YWebsocket => stale.wait("me.closes.some(close => close.code === 4401)"),
        Kind::Hocuspocus => stale.wait("me.closes.length > 0 && me.events.some(e => e.reason?.includes('expired'))"),
        Kind::YSweet => stale.wait("me.statuses.includes(401) && me.tokensFetched >= 2"),
    }
    if version == VERSIONS[0] {
        // Its address is made once and for all, with the token in it.
        assert_eq!(stale.closes()[0].code, 4501);
        renewed.wait("me.closes.some(close => close.code === 4401)");
        return "n/a: keeps its first token";
    }
    // It is past the end by now for both.
    stale.run("text.insert(0, 'stale ')");
    renewed.run("text.insert(text.length, 'after')");
    renewed.synced();
    renewed.ack();
    let end = if Kind::of(version) == Kind::Hocuspocus { 4205 } else { 4501 };
    assert_eq!(stale.closes()[0].code, end);
    assert_eq!(Cli::of(&server).export_json(ROOM)["text"], "before after");
    went_on(&renewed, end)
}

/// How a client went on, which was told of the end by `code` unless it was asked in time.
fn went_on(renewed: &Client<'_>, code: u16) -> &'static str {
    let closes = renewed.closes();
    // 2.15.3 passes over the request for another token.
    if HOCUSPOCUS[1..].contains(&&*renewed.version) {
        assert_eq!((renewed.opens(), closes.len()), (1, 0), "{closes:?}");
        assert_eq!(renewed.traffic().out_kinds["token"], 2);
        return "asked in time";
    }
    assert_eq!((renewed.opens(), closes[0].code), (2, code), "{closes:?}");
    if code == 4501 { "4501, back" } else { "4205, back" }
}
