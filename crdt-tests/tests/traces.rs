//! Real editing histories, typed in edit by edit through the socket by several stock clients, made durable, killed, read
//! back equal to the recorded end, compacted, and read back again. Prints what it found in the place of absent traces.

use std::path::Path;
use std::time::{Duration, Instant};

use crdt_tests::cli::Cli;
use crdt_tests::history;
use crdt_tests::js::{Client, Js, VERSIONS};
use crdt_tests::server::{DataDir, Server};
use crdt_tests::trace::{self, Trace};

/// For the longest history on a slow machine.
const PATIENCE: Duration = Duration::from_secs(420);
/// Clients of a sequential history; they take turns.
const TYPISTS: usize = 3;
const SLICE_EDITS: u64 = 4_000;

fn reads_back(js: &Js, server: &Server, trace: &Trace<'_>, room: &str, when: &str) {
    let fresh = js.open(VERSIONS[2], server, room);
    fresh.synced();
    trace.check(&fresh).unwrap_or_else(|e| panic!("{room}, {when}: {e}"));
    let exported = Cli::of(server).done(&["export", room, "--format", "text"]).text();
    let text: String = fresh.get("text.toString()");
    assert!(exported.trim_end_matches('\n') == text.trim_end_matches('\n'), "{room}, {when}: the text export differs");
}

fn typed_in_and_read_back(path: &Path, room: &str) {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let trace = Trace::read(&js, path);
    let typists = if trace.concurrent { trace.agents } else { TYPISTS };
    let clients: Vec<Client<'_>> = (0..typists).map(|n| js.open(VERSIONS[n % 3], &server, room)).collect();
    let all: Vec<&Client<'_>> = clients.iter().collect();
    js.synced(&all);
    let start = Instant::now();
    trace.type_in(&all, SLICE_EDITS, PATIENCE);
    for client in &clients {
        client.ack();
        trace.check(client).unwrap_or_else(|e| panic!("{room}, {}: {e}", client.name));
    }
    let typed = start.elapsed();
    let state = js.converged(&all);
    let sent: u64 = clients.iter().map(|client| client.traffic().out_kinds.get("update").copied().unwrap_or(0)).sum();
    // Every edit left as a message of its own. One that changes nothing (a deletion of nothing) sends none.
    assert!(sent >= trace.edits * 99 / 100, "{room}: {sent} updates for {} edits", trace.edits);
    drop(clients);

    // Acked, so a crash keeps it.
    server.kill();
    server.restart();
    reads_back(&js, &server, &trace, room, "killed and restarted");
    js.load(&Cli::of(&server).export_update(room)).assert_same(&state, format_args!("{room}, killed and restarted"));
    Cli::of(&server).done(&["compact", room]);
    reads_back(&js, &server, &trace, room, "compacted");
    server.drain();
    server.restart();
    reads_back(&js, &server, &trace, room, "compacted and restarted");
    js.load(&Cli::of(&server).export_update(room)).assert_same(&state, format_args!("{room}, compacted and restarted"));
    let stored = Cli::of(&server).show(room);
    println!(
        "{room}: {} edits by {typists} clients typed and acked in {typed:.1?}, all in {:.1?}; {} bytes as one update, stored as {stored}",
        trace.edits,
        start.elapsed(),
        state.update_bytes().len(),
    );
}

fn shared_trace(name: &str) {
    if let Some(path) = trace::shared(name) {
        typed_in_and_read_back(&path, name);
    }
}

#[test]
fn p2_automerge_paper() {
    shared_trace("automerge-paper");
}

#[test]
fn p2_rustcode() {
    shared_trace("rustcode");
}

#[test]
fn p2_sveltecomponent() {
    shared_trace("sveltecomponent");
}

#[test]
fn p2_friendsforever_concurrent() {
    shared_trace("friendsforever.concurrent");
}

#[test]
fn p2_clownschool_concurrent() {
    shared_trace("clownschool.concurrent");
}

/// Our own: how the texts of this project were written, as far as their history goes.
#[test]
fn p2_own_keystrokes() {
    let mut typed = 0;
    let folder = trace::fixture("x").parent().expect("a folder").to_owned();
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("fixtures/keystrokes is part of the repository")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    for path in files.iter().filter(|path| path.to_string_lossy().ends_with(".json.gz")) {
        typed_in_and_read_back(path, &path.file_stem().expect("a name").to_string_lossy());
        typed += 1;
    }
    assert!(typed > 0, "no keystrokes in {}", folder.display());
}

/// The program behind them, on a small history of its own.
#[test]
fn p2_keystrokes_of_a_fresh_history() {
    let repo = tempfile::tempdir().expect("a temporary directory");
    let git = |args: &[&str]| {
        let mut command = std::process::Command::new("git");
        command.arg("-C").arg(repo.path()).args(["-c", "user.name=A", "-c", "user.email=a@b.invalid"]).args(args);
        let output = command.output().expect("cannot run git");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "-q"]);
    let lines = |skip: usize| {
        (0..60).map(|n| format!("line {n} 🧶{}\n", if n % skip == 0 { " changed" } else { "" })).collect::<String>()
    };
    let texts = [
        lines(100),
        lines(7),
        lines(3),
        lines(5).replace("line 30", "ligne trente"),
        lines(2).chars().take(400).collect(),
    ];
    for text in &texts {
        std::fs::write(repo.path().join("notes.txt"), text).expect("written");
        git(&["add", "notes.txt"]);
        git(&["commit", "-q", "-m", "change"]);
    }
    let keystrokes = history::of_file(repo.path(), "notes.txt", 4).expect("a history");
    assert_eq!(keystrokes.end_content, texts[texts.len() - 1]);
    assert!(keystrokes.txns.iter().any(|edit| edit.parents.len() == 4), "authors typed at the same time");
    let file = repo.path().join("notes.json.gz");
    let mut encoder =
        flate2::write::GzEncoder::new(std::fs::File::create(&file).expect("created"), flate2::Compression::fast());
    serde_json::to_writer(&mut encoder, &keystrokes).expect("JSON");
    encoder.finish().expect("compressed");
    typed_in_and_read_back(&file, "notes");
}
