//! `weft verify` and what it repairs: damage is found, named, isolated and put right, while a server runs and without one.

use std::fs;
use std::path::{Path, PathBuf};

use crdt_tests::cli::Cli;
use crdt_tests::js::{Js, LATEST};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::socket::Socket;
use serde_json::Value;

/// Sends each text as an update of its own, acked one by one.
fn write(server: &Server, doc: &str, writer: &mut Writer, texts: &[&str]) {
    let mut socket = Socket::connect(server.addr(), doc);
    socket.pull(&[0]);
    for text in texts {
        socket.send(message::update(&writer.append(text)));
        socket.ack();
    }
}

fn text(cli: &Cli, doc: &str) -> String {
    cli.done(&["export", doc, "--format", "text"]).text()
}

/// Every file below `dir` but the lock, with its bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("LOCK") {
            found.push((path.clone(), fs::read(&path).expect("readable")));
        }
    }
    found.sort();
    found
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

/// The segment with records, and where its records start.
fn records(data: &Path) -> (PathBuf, Vec<usize>) {
    let magic = [0xf5, b'w', b'r', 0x9a];
    for (path, bytes) in files(&data.join("journal")) {
        let starts: Vec<usize> = bytes.windows(4).enumerate().filter(|(_, w)| *w == magic).map(|(at, _)| at).collect();
        if !starts.is_empty() {
            return (path, starts);
        }
    }
    panic!("no journal record");
}

fn problems(report: &Value) -> Vec<String> {
    report["problems"].as_array().expect("problems").iter().map(Value::to_string).collect()
}

#[test]
fn verify_of_a_whole_directory_is_the_same_online_and_offline() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    for (client, doc) in (1..).zip(["a", "b", "c"]) {
        write(&server, doc, &mut Writer::new(client), &["one ", "two "]);
    }
    cli.done(&["compact", "a"]);
    let online = cli.done(&["verify", "--json"]).json();
    assert_eq!((&online["documents"], problems(&online).len()), (&3.into(), 0), "{online}");
    assert!(cli.done(&["verify", "a", "b"]).text().contains("nothing is wrong"));
    assert_eq!(cli.run(&["verify", "nowhere"]).code, 1);
    server.drain();
    assert_eq!(cli.done(&["verify", "--json"]).json(), online);
    assert_eq!(cli.done(&["verify", "--repair"]).code, 0);
}

#[test]
fn a_damaged_journal_costs_one_update_and_a_client_that_has_it_brings_it_back() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let client = js.open(LATEST, &server, "hurt");
    client.synced();
    for word in ["one ", "two ", "three "] {
        client.run(&format!("text.insert(text.length, '{word}')"));
        client.ack();
    }
    write(&server, "other", &mut Writer::new(7), &["whole "]);
    server.kill();
    let (segment, starts) = records(&data.path());
    flip(&segment, starts[1] + 40);

    // Looked at from outside: named, exit 1, and nothing is changed.
    let cli = Cli::on(data.path());
    let before = files(&data.path());
    let seen = cli.run(&["verify", "--json"]);
    assert_eq!(seen.code, 1, "{}", seen.stderr);
    assert!(problems(&seen.json()).iter().any(|problem| problem.contains("wrong checksum")), "{}", seen.text());
    let known = |files: Vec<(PathBuf, Vec<u8>)>| -> Vec<_> {
        files.into_iter().filter(|(path, _)| !path.ends_with("admin.json")).collect()
    };
    assert_eq!(known(files(&data.path())), known(before));

    // The start is not refused, and the others are served; what was found stays visible until somebody acknowledges it.
    server.restart();
    assert!(server.stderr().contains("journal segment is damaged"), "{}", server.stderr());
    assert_eq!(text(&cli, "other"), "whole ");
    let online = cli.run(&["verify", "--json"]);
    assert_eq!((online.code, online.json()["kept"].as_array().map(Vec::len)), (1, Some(1)), "{}", online.text());
    client.wait_with("text.toString() === args && provider.synced", "one two three ".into());
    client.ack();
    assert_eq!(text(&cli, "hurt"), "one two three ", "the client has brought back what was lost");
    assert_eq!(cli.run(&["verify", "--repair"]).code, 0);
    assert_eq!(cli.run(&["verify"]).code, 0);
    drop(client);
    server.drain();
    assert_eq!(cli.run(&["verify"]).code, 0, "{}", cli.run(&["verify"]).text());
    assert!(fs::read_dir(data.path().join("quarantine")).expect("kept").count() >= 1);
}

#[test]
fn s5_a_damaged_database_is_refused_with_the_way_out_and_rebuilt() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let docs: Vec<String> = (0..30).map(|n| format!("doc-{n}")).collect();
    for (client, doc) in (1..).zip(&docs) {
        write(&server, doc, &mut Writer::new(client), &["one ", "two "]);
    }
    cli.done(&["ls"]);
    server.drain();
    let database = data.path().join("store/db");
    let used = fs::read(&database).expect("readable").iter().rposition(|byte| *byte != 0).expect("not empty");
    flip(&database, used / 2);
    let damaged = fs::read(&database).expect("readable");

    let refusal = Options::new(data.path()).try_start().err().expect("must not start on a damaged database");
    assert!(refusal.stderr().contains("weft verify --repair"), "{}", refusal.stderr());
    let seen = cli.run(&["verify"]);
    assert_eq!(seen.code, 1, "{}", seen.stderr);
    assert!(seen.text().contains("store\t"), "{}", seen.text());
    assert!(fs::read(&database).expect("readable") == damaged, "nothing has touched it");

    let repaired = cli.run(&["verify", "--repair"]);
    assert_eq!(repaired.code, 0, "{}\n{}", repaired.text(), repaired.stderr);
    assert!(fs::read(data.path().join("quarantine/store-1/db")).expect("kept") == damaged);
    assert_eq!(cli.run(&["verify"]).code, 0);
    server.restart();
    let listed = cli.done(&["ls", "--json"]).json();
    let listed: Vec<&str> =
        listed["docs"].as_array().expect("docs").iter().filter_map(|d| d["name"].as_str()).collect();
    let whole = listed.iter().filter(|doc| text(&cli, doc) == "one two ").count();
    assert!(whole >= 14, "one message of the log holds at most 16 keys, but only {whole} documents are whole");
    assert!(listed.iter().all(|doc| "one two ".starts_with(&text(&cli, doc))));
}
