//! Many documents on one connection (WIRE §3, h13), and a connection whose reader is slow: every document that lost
//! something is made good for it.

use crdt_tests::admin::Admin;
use crdt_tests::hocuspocus::{Line, SAVED, auth, denial};
use crdt_tests::js::{Client, HOCUSPOCUS, Js, LATEST};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::wait::PATIENCE;
use serde_json::json;

/// Several documents on one connection of each version: each converges with a y-websocket client of its own.
#[test]
fn p5_documents_share_a_connection() {
    const DOCS: usize = 6;
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    for version in HOCUSPOCUS {
        let room = |doc: usize| format!("{version}/{doc}");
        let first = js.open(version, &server, &room(0));
        let others: Vec<Client<'_>> = (1..DOCS).map(|doc| js.open_sharing(&first, &room(doc), json!({}))).collect();
        let clients: Vec<&Client<'_>> = std::iter::once(&first).chain(&others).collect();
        js.synced(&clients);
        let editors: Vec<Client<'_>> = (0..DOCS).map(|doc| js.open(LATEST, &server, &room(doc))).collect();
        js.synced(&editors.iter().collect::<Vec<_>>());
        for round in 0..2 {
            for (doc, (client, editor)) in clients.iter().zip(&editors).enumerate() {
                client.edit(doc as u64, 10);
                editor.edit(100 + doc as u64, 10);
                client.run_with("map.set('mine', args)", json!(doc));
            }
            for (doc, (client, editor)) in clients.iter().zip(&editors).enumerate() {
                let state = js.converged(&[client, editor]);
                assert_eq!(state.content["map"]["map"]["mine"], json!(doc), "another document's edit in {doc}");
            }
            if round == 0 {
                server.kill();
                server.restart();
                js.synced(&clients);
                js.synced(&editors.iter().collect::<Vec<_>>());
            }
        }
        assert_eq!(first.opens(), 2, "one connection for all, before and after the restart");
        // One that leaves leaves the others alone.
        let mut others = others;
        others.remove(0).close();
        first.run("text.insert(0, 'goes on')");
        first.ack();
    }
}

/// h13: the same document twice on one connection of 4.8.0, each with a session of its own.
#[test]
fn h13_one_document_twice_on_one_connection() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let options = json!({ "options": { "sessionAwareness": true } });
    let one = js.open_with(HOCUSPOCUS[2], &server, "twice", options.clone());
    let two = js.open_sharing(&one, "twice", options);
    let plain = js.open(HOCUSPOCUS[1], &server, "twice");
    js.synced(&[&one, &two, &plain]);
    one.run("awareness.setLocalStateField('user', 'one'); text.insert(0, 'from one ')");
    two.run("awareness.setLocalStateField('user', 'two'); text.insert(0, 'from two ')");
    js.converged(&[&one, &two, &plain]);
    plain.wait("['one', 'two'].every(user => [...awareness.getStates().values()].some(s => s.user === user))");
    one.wait("[...awareness.getStates().values()].some(s => s.user === 'two')");
    two.close();
    plain.wait("![...awareness.getStates().values()].some(s => s.user === 'two')");
    one.run("text.insert(0, 'still ')");
    one.ack();
}

/// HARDENING §1: a connection has so many documents and no more; the one too many is denied, the others go on.
#[test]
fn hardening_1_documents_on_one_connection_are_bounded() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let mut line = Line::connect(server.addr(), "");
    let max = weft::limits::DOCUMENTS_PER_CONNECTION_MAX;
    for doc in 0..max {
        line.say(&format!("doc {doc}"), auth(""));
    }
    line.say("one too many", auth(""));
    line.until("one too many", "a denial", |body| denial(body).is_some());
    line.say("doc 0", crdt_tests::hocuspocus::CLOSE);
    line.join("one too many", "");
    line.say("doc 7", message::update(&Writer::new(3).append("fine")));
    line.until("doc 7", "a confirmation", |body| body == SAVED);
    assert_eq!(line.socket.closed, None);
}

/// A reader that stops reading while one document is busy has missed things in the quiet ones as well; when it reads
/// again, each of them gets what it lacks, and nobody else has noticed anything.
#[test]
fn a_slow_reader_is_made_good_for_in_every_document() {
    const QUIET: usize = 4;
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let mut line = Line::connect(server.addr(), "");
    let quiet = |n: usize| format!("quiet {n}");
    line.join("busy", "");
    let mut writers: Vec<(Line, Writer)> = Vec::new();
    for n in 0..QUIET {
        line.join(&quiet(n), "");
        let mut other = Line::connect(server.addr(), "");
        other.join(&quiet(n), "");
        writers.push((other, Writer::new(10 + n as u64)));
    }
    let mut flood = Line::connect(server.addr(), "");
    flood.join("busy", "");
    let mut busy = Writer::new(3);
    let mut round = |flood: &mut Line, bytes: usize| {
        flood.say("busy", message::update(&busy.append(&"x".repeat(bytes))));
        flood.until("busy", "a confirmation", |body| body == SAVED);
    };
    // Fill the kernel's buffers and the outbox; in between, and after, the quiet ones say a word each.
    for n in 0..80 {
        round(&mut flood, 256 << 10);
        if n % 20 == 19 {
            for (number, (other, writer)) in writers.iter_mut().enumerate() {
                other.say(&quiet(number), message::update(&writer.append("word ")));
                other.until(&quiet(number), "a confirmation", |body| body == SAVED);
            }
        }
    }
    let behind = |wanted: bool| {
        crdt_tests::wait::until("the reader's state", PATIENCE, || {
            let all = Admin::of(&server).get("/api/v1/connections?doc=quiet%200").json();
            let slow = all["connections"]
                .as_array()?
                .iter()
                .find(|one| one["docs"].as_array().is_some_and(|d| d.len() > 2))?;
            (slow["behind"] == wanted).then_some(())
        });
    };
    behind(true);
    // Everything the line is told, taken in as a client would: nothing may be missing, and nothing may wait for it.
    let held: Vec<yrs::Doc> = (0..=QUIET).map(|_| crdt_tests::author::blank(1, false)).collect();
    let names: Vec<String> = (0..QUIET).map(quiet).chain(["busy".to_owned()]).collect();
    let expected: Vec<Vec<u8>> =
        writers.iter().map(|(_, writer)| writer.state_vector()).chain([busy_state(&flood, &server)]).collect();
    let mut taken = 0;
    let start = std::time::Instant::now();
    loop {
        for frame in line.socket.frames.split_off(taken.min(line.socket.frames.len())) {
            let (of, body) = crdt_tests::hocuspocus::split(&frame);
            if let (Some(at), Some(update)) = (names.iter().position(|name| *name == of), message::update_in(&body)) {
                crdt_tests::author::apply(&held[at], update);
            }
        }
        taken = line.socket.frames.len();
        if held.iter().zip(&expected).all(|(doc, expected)| state_vector(doc) == *expected) {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "something is missing for good");
        assert!(line.socket.next(PATIENCE).is_some(), "nothing more comes; closed: {:?}", line.socket.closed);
    }
    behind(false);
    // And it follows again, each of them.
    for (number, (other, writer)) in writers.iter_mut().enumerate() {
        let update = writer.append("after");
        other.say(&quiet(number), message::update(&update));
        let name = quiet(number);
        line.until(&name, "the news", |body| body == message::update(&update));
    }
    server.assert_alive();
}

fn state_vector(doc: &yrs::Doc) -> Vec<u8> {
    use yrs::updates::encoder::Encode;
    use yrs::{ReadTxn, Transact};
    doc.transact().state_vector().encode_v1()
}

/// The state vector of the busy document, as the server has it.
fn busy_state(_flood: &Line, server: &Server) -> Vec<u8> {
    Admin::of(server).get("/api/v1/docs/busy/state-vector").body
}
