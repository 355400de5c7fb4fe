//! Awareness (WIRE g9 to g12): who is there is seen by all, who goes is gone, and who comes back is there again at once.

use crdt_tests::js::{Js, LATEST};
use crdt_tests::server::{DataDir, Server};

use crate::presence::{sees, sees_nothing_of};

pub(super) fn check(js: &Js, version: &'static str) -> &'static str {
    let data = DataDir::new();
    let server = Server::start(&data);
    let room = "presence-1";
    let [a, b] = [0, 1].map(|_| js.open(version, &server, room));
    let other = js.open(LATEST, &server, room);
    js.synced(&[&a, &b, &other]);
    b.run("awareness.setLocalStateField('user', { name: 'b' })");
    sees(&a, &b, "b");
    sees(&other, &b, "b");

    // The line is cut: the server says it for the one that is gone…
    b.cut_and_stay();
    sees_nothing_of(&a, &b);
    // …and the return is visible although the clock has not moved (g12).
    b.connect();
    sees(&a, &b, "b");
    a.run("awareness.setLocalStateField('user', { name: 'a' })");
    sees(&b, &a, "a");

    // A goodbye of its own.
    b.disconnect();
    sees_nothing_of(&a, &b);
    b.connect();
    sees(&a, &b, "b");

    // A late comer sees everybody who is there, and nobody who is not.
    let gone = js.open(version, &server, room);
    gone.run("awareness.setLocalStateField('user', { name: 'gone' })");
    sees(&a, &gone, "gone");
    gone.cut_and_stay();
    sees_nothing_of(&a, &gone);
    let late = js.open(version, &server, room);
    sees(&late, &a, "a");
    sees(&late, &b, "b");
    sees_nothing_of(&late, &gone);
    "yes"
}
