//! P2, P5: two clients of a kind and one of y-websocket's edit side by side and read the same in the end, as do a late
//! joiner and weft's export.

use crdt_tests::cli::Cli;
use crdt_tests::js::{Js, LATEST, YJS14};
use crdt_tests::server::{DataDir, Server};

pub(super) fn check(js: &Js, version: &'static str) -> &'static str {
    let data = DataDir::new();
    let server = Server::start(&data);
    let room = "converge-1";
    let [a, b] = [0, 1].map(|_| js.open(version, &server, room));
    let other = js.open(LATEST, &server, room);
    js.synced(&[&a, &b, &other]);
    a.run("text.insert(0, 'warp 🧶 and weft'); map.set('a', 1); array.push([new Y.Map([['k', 'v']])])");
    b.run("text.insert(0, 'ä'); xml.insert(0, [new Y.XmlElement('p')]); map.set('b', [1, null])");
    // The driver's random edits are made with the types of Yjs 13.
    let editors = if version == YJS14 { [&other, &other, &other] } else { [&a, &b, &other] };
    for (seed, client) in (1..).zip(editors) {
        client.edit(seed, 30);
    }
    for (number, client) in [&a, &b, &other].into_iter().enumerate() {
        client.run_with("map.set('last', args); array.push([args])", number.into());
    }
    let all = js.converged(&[&a, &b, &other]);
    let late = js.open(version, &server, room);
    late.synced();
    js.converged(&[&a, &b, &late]).assert_same(&all, "a late joiner changes nothing");
    js.load(&Cli::of(&server).export_update(room)).assert_same(&all, "weft's export");
    "yes"
}
