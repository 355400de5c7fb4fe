//! WIRE h1–h13, frame by frame: what a connection of our own is told, and what it is not told.

use std::time::Duration;

use crdt_tests::hocuspocus::{CLOSE, Line, REFUSED, SAVED, auth, denial, granted, split, stateless};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::Secret;
use crdt_tests::wait::PATIENCE;

const DOC: &str = "doc1";

fn kinds(bodies: &[Vec<u8>]) -> Vec<&'static str> {
    bodies
        .iter()
        .map(|body| match body[..] {
            [2, 2, ..] => "granted",
            [2, 1, ..] => "denied",
            [1, ..] => "awareness",
            [0, 0, ..] => "step1",
            [0, 1, ..] => "step2",
            [0, 2, ..] => "update",
            [8, 1] => "saved",
            [8, 0] => "refused",
            _ => "other",
        })
        .collect()
}

/// h1, h3: the order of the answers, whether or not the client waits for any of them. The document's question is the first
/// frame of all (h4), and the client is let in right behind it.
#[test]
fn h1_a_client_that_says_all_at_once_is_answered_in_order() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let token = secret.mint(&["--doc", DOC, "--access", "write"]);
    let mut other = Line::connect(server.addr(), "");
    other.say(DOC, auth(&token));
    other.say(DOC, message::awareness(&[(9, 1, "{}")]));
    other.settle(DOC);

    let mut line = Line::connect(server.addr(), "any/path");
    for body in [auth(&token), message::step1_empty(), message::awareness(&[(7, 0, "{\"name\":1}")])] {
        line.say(DOC, body);
    }
    line.until(DOC, "its own awareness (h12)", |body| {
        message::presences(body).is_some_and(|all| all.iter().any(|one| one.client == 7))
    });
    line.say(DOC, message::step2(&Writer::new(3).append("all of it")));
    line.until(DOC, "a confirmation", |body| body == SAVED);
    let mut kinds = kinds(&line.said(DOC));
    // Presence is told when it changes, which is no part of the order.
    kinds.dedup();
    let without_news: Vec<&str> = kinds.iter().copied().filter(|kind| *kind != "awareness").collect();
    assert_eq!(without_news, ["step1", "granted", "step2", "saved"]);
    assert_eq!(kinds[..3], ["step1", "granted", "awareness"], "whoever is here");
    assert_eq!(line.said(DOC)[1], granted("read-write"));
}

/// h1: what comes before the token waits, within bounds, and nothing is loaded for it.
#[test]
fn h1_what_comes_before_the_token_waits_within_bounds() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let token = secret.mint(&["--doc", "*", "--access", "write"]);
    let mut line = Line::connect(server.addr(), "");
    line.say(DOC, message::step1_empty());
    line.say(DOC, message::update(&Writer::new(3).append("early")));
    line.say(DOC, auth(&token));
    line.until(DOC, "a confirmation of what came early", |body| body == SAVED);
    assert_eq!(kinds(&line.said(DOC)), ["step1", "granted", "step2", "saved"]);

    // A stranger's large message is not even read, and many small ones are too many.
    let mut pouring = Line::connect(server.addr(), "");
    for _ in 0..100 {
        pouring.say("other", message::update(&[0, 0]));
    }
    pouring.until("other", "a denial", |body| denial(body).is_some());
    pouring.say("other", message::update(&vec![0; 100 << 10]));
    assert!(pouring.until_closed(PATIENCE).is_some());
    let awake = crdt_tests::admin::Admin::of(&server).get("/api/v1/docs").json();
    assert_eq!(awake["docs"].as_array().map(Vec::len), Some(1), "{awake}");

    // Who sends none at all is told, and the connection goes on (10 s, HARDENING §1).
    let mut silent = Line::connect(server.addr(), "");
    silent.say(DOC, message::step1_empty());
    let reason = silent.until(DOC, "a denial", |body| denial(body).is_some());
    assert!(denial(&reason).is_some_and(|reason| reason.contains("token")), "{reason:?}");
    silent.say(DOC, auth(&token));
    silent.until(DOC, "a grant after all", |body| body == granted("read-write"));
}

/// h4: one confirmation for each write, one question for each question, whatever is in them.
#[test]
fn h4_each_write_is_confirmed_once_and_each_question_asked_back_once() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut line = Line::connect(server.addr(), "");
    line.join(DOC, "");
    let mut writer = Writer::new(5);
    let edits: Vec<Vec<u8>> = (0..50).map(|n| writer.append(&format!("{n} "))).collect();
    for edit in &edits {
        line.say(DOC, message::update(edit));
    }
    // A question of its own would have the client forget what it counted, and us what it is owed.
    while line.count(DOC, SAVED) < 1 + edits.len() {
        assert!(line.socket.next(PATIENCE).is_some(), "{} confirmations", line.count(DOC, SAVED));
    }
    line.settle(DOC);
    assert_eq!(line.count(DOC, &[0, 2]), 0, "h12: own updates are not echoed");
    line.say(DOC, message::step2(&[0, 0]));
    // Known already, empty, out of order.
    let [first, second] = [writer.append("first"), writer.append("second")];
    for update in [&edits[0], &vec![0, 0], &second, &first] {
        line.say(DOC, message::update(update));
    }
    let writes = 2 + edits.len() + 4;
    // The one out of order has us ask for what it misses: the answer is not counted by the client, and not confirmed.
    line.until(DOC, "a question", |body| body.starts_with(&[0, 0]));
    line.say(DOC, message::step2(&writer.all()));
    line.say(DOC, message::update(&writer.append("last")));
    while line.count(DOC, SAVED) < writes + 1 {
        assert!(line.socket.next(PATIENCE).is_some(), "{} of {writes} + 1 confirmations", line.count(DOC, SAVED));
    }
    for asked in 2..5 {
        let (step1, step2) = (line.count(DOC, &[0, 0]), line.count(DOC, &[0, 1]));
        line.settle(DOC);
        line.say(DOC, message::step2(&[0, 0]));
        while line.count(DOC, SAVED) < writes + asked {
            assert!(line.socket.next(PATIENCE).is_some(), "no confirmation of answer {asked}");
        }
        assert_eq!(line.count(DOC, &[0, 0]), step1 + 1, "question {asked}");
        assert_eq!(line.count(DOC, &[0, 1]), step2 + 1, "question {asked}");
    }
    line.settle(DOC);
    assert_eq!(line.count(DOC, SAVED), writes + 1 + 3);
    assert_eq!(line.count(DOC, REFUSED), 0);
}

/// h5, h9: a denial ends one document; the others go on, and another token may open it after all.
#[test]
fn h5_a_denial_keeps_the_connection_and_h9_may_be_retried() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let token = secret.mint(&["--doc", "mine", "--access", "write"]);
    let mut line = Line::connect(server.addr(), "");
    line.join("mine", &token);
    for bad in ["", "x.y.z", &token] {
        line.say("yours", auth(bad));
        line.say("yours", message::step1_empty());
        line.until("yours", "a denial", |body| denial(body).is_some());
        line.say("yours", message::update(&Writer::new(3).append("zombie")));
    }
    line.say("mine", message::update(&Writer::new(4).append("goes on")));
    line.until("mine", "a confirmation", |body| body == SAVED);
    assert_eq!(kinds(&line.said("yours")), ["denied"; 3], "and nothing else");
    let other = secret.mint(&["--doc", "yours", "--access", "write"]);
    assert_eq!(line.join("yours", &other), [0, 0], "what a denied client sent went nowhere");
    line.say("yours", auth("not.good.now"));
    line.until("yours", "a denial", |body| denial(body).is_some());
    line.settle("mine");
    assert_eq!(line.socket.closed, None);
}

/// h6: a client that leaves is not answered, and whoever takes over its address begins anew.
#[test]
fn h6_leaving_is_not_echoed_and_clears_presence() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut watcher = Line::connect(server.addr(), "");
    watcher.join(DOC, "");
    let mut line = Line::connect(server.addr(), "");
    line.join(DOC, "");
    line.join("other", "");
    line.say(DOC, message::awareness(&[(7, 3, "{}")]));
    let sees = |body: &[u8], json: &str| {
        message::presences(body).is_some_and(|all| all.iter().any(|one| one.client == 7 && one.json == json))
    };
    watcher.until(DOC, "its presence", |body| sees(body, "{}"));
    line.say(DOC, CLOSE);
    watcher.until(DOC, "its absence", |body| sees(body, "null"));
    line.settle("other");
    let before = line.said(DOC).len();
    watcher.say(DOC, message::update(&Writer::new(3).append("news")));
    watcher.until(DOC, "a confirmation", |body| body == SAVED);
    line.settle("other");
    assert_eq!(line.said(DOC).len(), before, "said to a document that was left: {:?}", line.said(DOC));
    assert_eq!(line.count(DOC, CLOSE), 0, "no echo");
    assert!(!line.join(DOC, "").is_empty(), "and it may come back");
}

/// h7: silence is broken by a frame about a document, and never by a bare ping.
#[test]
fn h7_an_idle_connection_hears_something_in_time() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut line = Line::connect(server.addr(), "");
    line.join(DOC, "");
    let before = line.socket.frames.len();
    let heard = line.socket.next(Duration::from_secs(25)).expect("something within 25 s");
    assert_eq!(split(&heard), (DOC.to_owned(), crdt_tests::hocuspocus::KEEPALIVE.to_vec()));
    assert_eq!(line.socket.frames.len(), before + 1);
    // The answer to a ping that nobody sent is no garbage, and no document with a name of ten bytes.
    for _ in 0..100 {
        line.socket.send([10]);
    }
    line.settle(DOC);
    assert_eq!(line.socket.closed, None);
}

/// h11: names that must not be, and names that may.
#[test]
fn h11_bad_names_are_denied_and_others_are_arbitrary() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut line = Line::connect(server.addr(), "");
    line.join(DOC, "");
    let long = "x".repeat(513);
    for bad in [" ", "\t \n", "\0session", " \0session", "a\0b\0c", &long] {
        line.say(bad, auth(""));
        line.until(bad, "a denial", |body| denial(body).is_some());
        line.say(bad, message::step1_empty());
    }
    for good in ["org.doc", "a/b c?d#e", "ünï", "../../etc", &"y".repeat(512)] {
        let mut writer = Writer::new(3);
        line.join(good, "");
        line.say(good, message::update(&writer.append(good)));
        line.until(good, "a confirmation", |body| body == SAVED);
        let mut other = Line::connect(server.addr(), "elsewhere");
        assert_eq!(other.join(good, ""), writer.all());
    }
    line.settle(DOC);
    assert_eq!(line.socket.closed, None);
}

/// h13: each session id is a peer of its own in the same document, and is answered under its own address.
#[test]
fn h13_session_ids_are_peers_of_their_own() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let (one, two) = ("doc1\0one", "doc1\0two");
    let mut line = Line::connect(server.addr(), "");
    line.join(one, "");
    line.join(two, "");
    let mut plain = Line::connect(server.addr(), "");
    plain.join(DOC, "");
    let mut editor = Socket::connect(server.addr(), DOC);
    editor.pull(&[0]);
    let edit = Writer::new(3).append("from one");
    line.say(one, message::update(&edit));
    line.until(one, "a confirmation", |body| body == SAVED);
    line.until(two, "the news under its own address", |body| body == message::update(&edit));
    plain.until(DOC, "the news", |body| body == message::update(&edit));
    editor.until("the news", |frame| frame == message::update(&edit));
    assert_eq!(line.count(one, &[0, 2]), 0, "not to who made it");
    line.say(two, CLOSE);
    line.settle(one);
    let before = line.said(two).len();
    line.say(one, message::update(&Writer::new(4).append("again")));
    line.until(one, "a confirmation", |body| body == SAVED);
    line.settle(one);
    assert_eq!(line.said(two).len(), before);
}

/// Stateless messages of clients are for the application's server: nobody else hears them (issue 4).
#[test]
fn stateless_messages_of_clients_are_relayed_to_nobody() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let [mut a, mut b] = [0, 1].map(|_| Line::connect(server.addr(), ""));
    a.join(DOC, "");
    b.join(DOC, "");
    a.say(DOC, stateless("psst"));
    // What only servers may say is garbage: relayed even less.
    a.say(DOC, [vec![6], message::var_bytes(b"all of you")].concat());
    a.say(DOC, message::update(&Writer::new(3).append("after")));
    b.until(DOC, "what came after", |body| body.starts_with(&[0, 2]));
    assert_eq!((a.count(DOC, &[5]), b.count(DOC, &[5]), b.count(DOC, &[6])), (0, 0, 0));
}

/// WIRE §6: malformed frames are passed over, and too many of them reset the connection with 4205.
#[test]
fn wire_6_garbage_is_passed_over_and_then_closed_4205() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let mut line = Line::connect(server.addr(), "");
    line.join(DOC, "");
    let hostile = [
        &b"\x04doc1"[..],
        b"\x04doc1\x00\x02\xff\xff\xff\xff\x07",
        b"\x04doc1\x00\x02\x03\x01\x01\x01",
        b"\x04doc1\x01\x05\xff\xff\xff\xff\x0f",
        b"\x04doc1\x02\x00\xff\xff\x7f",
        b"\x04doc1\x04\x00\x00\x01\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x01\xff\x00",
        b"\x09",
    ];
    for frame in hostile {
        line.socket.send(frame);
    }
    line.say(DOC, message::update(&Writer::new(3).append("still here")));
    line.until(DOC, "a confirmation", |body| body == SAVED);
    for _ in 0..20 {
        line.socket.send(&b"\x04doc1\x63"[..]);
    }
    assert_eq!(line.until_closed(PATIENCE), Some(4205));
    server.assert_alive();
}
