//! `weft backup` and `weft restore` (contract 2.1): what was saved comes back, whoever made the file and whatever went on
//! meanwhile; what is not whole is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crdt_tests::admin::Admin;
use crdt_tests::cli::{Cli, Output, path_str};
use crdt_tests::golden_backup::{self, DELETED, DOCUMENTS, LEFT_OUT, REVOKED, UPDATED_MS};
use crdt_tests::js::{self, Client, Js, LATEST, VERSIONS};
use crdt_tests::message;
use crdt_tests::mount::SmallDisk;
use crdt_tests::server::{DataDir, Options, Server, binary};
use crdt_tests::socket::Socket;
use serde_json::Value;
use weft::backup::{Document, Head, Item, Reader, VERSION};
use weft::ids::{DocName, Seq};

pub(super) fn names(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).expect("listed").map(|entry| entry.expect("an entry").file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn items(file: &Path) -> (Head, Vec<Item>) {
    let mut reader = Reader::open(fs::File::open(file).expect("opened")).expect("begins like a backup");
    let mut items = Vec::new();
    while let Some(item) = reader.next().expect("is whole") {
        items.push(item);
    }
    (reader.head().clone(), items)
}

fn documents(file: &Path) -> BTreeMap<String, Document> {
    let documents = items(file).1.into_iter().map(|item| match item {
        Item::Document(document) => (document.name.to_string(), document),
        Item::LeftOut(left_out) => panic!("{left_out:?}"),
    });
    documents.collect()
}

/// What an admin sees of a document, wherever it lies.
fn seen(cli: &Cli, doc: &str) -> Value {
    let mut show = cli.done(&["show", "--json", "--", doc]).json();
    let fields = show.as_object_mut().expect("an object");
    // How its log is cut into records is the store's affair, how many bytes say the same depends on how they came, and nobody
    // is connected to both.
    fields.retain(|field, _| !["log_records", "state_bytes", "peers"].contains(&&**field));
    show["text"] = cli.done(&["export", "--format", "text", "--", doc]).text().into();
    show
}

pub(super) fn refused(output: &Output, code: i32, word: &str) {
    assert_eq!(output.code, code, "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.lines().count() == 1, "{output:?}");
    assert!(output.stderr.contains(word) && !output.stderr.contains("panicked"), "{word:?}: {output:?}");
}

/// `weft ARGS…` with its output in a file and its input from one.
fn piped(args: &[&str], stdin: Option<&Path>, stdout: Option<&Path>) -> Output {
    let mut command = Command::new(binary());
    command.args(args);
    command.stdin(stdin.map_or_else(Stdio::null, |path| fs::File::open(path).expect("opened").into()));
    if let Some(path) = stdout {
        command.stdout(fs::File::create(path).expect("created"));
    }
    let output = command.output().expect("cannot run weft");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: output.stdout,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn c2_1_what_was_saved_comes_back() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    let room = "notes/ä ö";
    let editor = js.open(LATEST, &server, room);
    editor.synced();
    editor.edit(17, 60);
    editor.ack();
    cli.done(&["compact", room]);
    editor.edit(18, 20);
    editor.ack();
    let mut late = message::Writer::new(9);
    late.append("first ");
    for (doc, update) in [("plain", message::Writer::new(3).append("plain")), ("waiting", late.append("second "))] {
        let mut socket = Socket::connect(server.addr(), doc);
        socket.pull(&[0]);
        socket.send(message::update(&update));
        socket.ack();
    }
    let state = js.converged(&[&editor]);
    let mut socket = Socket::connect(server.addr(), "gone");
    socket.send(message::update(&message::Writer::new(4).append("secret")));
    socket.ack();
    cli.done(&["rm", "gone"]);

    // Online, to a file and to a pipe; and offline.
    let [file, pipe, offline] = ["file", "pipe", "offline"].map(|name| data.outer().join(name));
    let report = cli.done(&["backup", path_str(&file), "--json"]).json();
    let data_arg = data.path();
    let to_pipe = piped(&["backup", "-", "--json", "--data", path_str(&data_arg)], None, Some(&pipe));
    assert_eq!(to_pipe.code, 0, "{to_pipe:?}");
    let pipe_report: Value = serde_json::from_str(&to_pipe.stderr).expect("the report is on stderr");
    let docs = [room, "plain", "waiting"];
    let before: Vec<Value> = docs.iter().map(|doc| seen(&cli, doc)).collect();
    drop(editor);
    server.drain();
    let offline_report = cli.done(&["backup", path_str(&offline), "--json"]).json();
    assert_eq!(names(data.outer()), ["data", "file", "offline", "pipe"], "something is left over");
    for (file, report) in [(&file, &report), (&pipe, &pipe_report), (&offline, &offline_report)] {
        assert_eq!([&report["documents"], &report["deleted"], &report["left_out"]], [3, 1, 0]);
        assert_eq!(report["failed"].as_array().map(Vec::len), Some(0));
        assert_eq!(report["bytes"], fs::metadata(file).expect("is there").len());
        let sum = Command::new("sha256sum").arg(file).output().expect("ran");
        assert!(String::from_utf8_lossy(&sum.stdout).starts_with(report["sha256"].as_str().expect("a checksum")));
        let checked = cli.done(&["backup", "--check", path_str(file), "--json"]).json();
        for field in ["sha256", "documents", "updates", "update_bytes", "bytes", "created_ms"] {
            assert_eq!(checked[field], report[field], "{field}");
        }
    }
    assert_eq!(documents(&file), documents(&offline), "a server and a command save the same");
    assert_eq!(documents(&file), documents(&pipe));
    let saved = &documents(&file)[room];
    assert!(!saved.snapshot.is_empty() && !saved.log.is_empty(), "snapshot and log are saved as they are");

    // What exists is not touched.
    refused(&cli.run(&["backup", path_str(&file)]), 3, "--force");
    let forced = cli.done(&["backup", path_str(&offline), "--force", "--json"]).json();
    assert_eq!(fs::metadata(&offline).expect("is there").len(), forced["bytes"]);
    refused(&cli.run(&["restore", path_str(&file)]), 3, "not empty");

    // Back, from a file and from a pipe, into a directory that is not there and one that is empty.
    let [one, other] = ["one", "other"].map(|name| data.outer().join(name));
    fs::create_dir(&other).expect("made");
    let restored = Cli::on(&one).done(&["restore", path_str(&file), "--json"]).json();
    assert_eq!((&restored["documents"], &restored["sha256"]), (&3.into(), &report["sha256"]));
    let from_pipe = piped(&["restore", "-", "--data", path_str(&other)], Some(&pipe), None);
    assert_eq!(from_pipe.code, 0, "{from_pipe:?}");
    assert_eq!(names(data.outer()), ["data", "file", "offline", "one", "other", "pipe"]);
    let format = |dir: &Path| fs::read_to_string(dir.join("FORMAT")).expect("a data directory");
    for dir in [&one, &other] {
        assert_eq!(format(dir), format(&data.path()), "a restored directory is of the present format");
        let cli = Cli::on(dir);
        let after: Vec<Value> = docs.iter().map(|doc| seen(&cli, doc)).collect();
        assert_eq!(after, before);
        let again = data.outer().join("again");
        cli.done(&["backup", path_str(&again), "--force"]);
        assert_eq!(documents(&again), documents(&file), "a backup of what was restored is the same");
    }

    // And a stock client finds what it left, and goes on; what was deleted stays deleted.
    let server = Options::new(&one).start();
    refused(&Cli::of(&server).run(&["show", "gone"]), 1, "was deleted");
    let mut late = Socket::greet(server.addr(), "gone");
    assert_eq!(late.until_closed(crdt_tests::wait::PATIENCE), Some(4404));
    let reader = js.open(VERSIONS[1], &server, room);
    reader.synced();
    reader.state().assert_same(&state, "restored");
    reader.edit(19, 20);
    reader.ack();
    Cli::of(&server).done(&["compact", "--all"]);
    let mut socket = Socket::connect(server.addr(), "waiting");
    socket.pull(&[0]);
    socket.send(message::update(&message::Writer::new(9).append("first ")));
    socket.ack();
    assert_eq!(Cli::of(&server).done(&["export", "waiting", "--format", "text"]).text(), "first second ");
}

/// Writers in several documents edit all the time; whatever was acked before the backup began is in it, and nothing in it
/// waits for something that is not.
#[test]
fn p1_a_backup_under_load_holds_everything_acked_before() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    let rooms = ["a", "m", "z"];
    let writers: Vec<Client<'_>> = (0..6).map(|n| js.open(VERSIONS[n % 3], &server, rooms[n % rooms.len()])).collect();
    js.synced(&writers.iter().collect::<Vec<_>>());
    writers.iter().enumerate().for_each(|(n, writer)| writer.storm(&n.to_string()));
    let mut rounds = Vec::new();
    for round in 1..=4u64 {
        js::storms_acked(&js, &writers, round * 300);
        let acked: Vec<u64> = writers.iter().map(|writer| writer.get("me.storm.acked")).collect();
        let folding = (round % 2 == 0).then(|| {
            let cli = cli.clone();
            std::thread::spawn(move || cli.done(&["compact", "--all"]))
        });
        let file = data.outer().join(format!("backup {round}"));
        cli.done(&["backup", path_str(&file)]);
        if let Some(folding) = folding {
            folding.join().expect("folded");
        }
        rounds.push((file, acked));
    }
    for writer in &writers {
        assert!(writer.storm_stop().acked > 0);
        assert_eq!(writer.opens(), 1, "a backup disconnected an editor");
    }
    for (number, (file, acked)) in rounds.iter().enumerate() {
        let restored = data.outer().join(format!("restored {number}"));
        Cli::on(&restored).done(&["restore", path_str(file)]);
        let server = Options::new(&restored).start();
        let readers: Vec<Client<'_>> = rooms.iter().map(|room| js.open(LATEST, &server, room)).collect();
        js.synced(&readers.iter().collect::<Vec<_>>());
        for (n, acked) in acked.iter().enumerate() {
            let reader = &readers[n % rooms.len()];
            assert!(!reader.state().pending, "something waits for an update that is not in the backup");
            let tokens: Vec<String> = reader.get("array.toJSON()");
            let missing = (1..=*acked).map(|token| format!("{n}-{token}")).filter(|token| !tokens.contains(token));
            assert_eq!(missing.collect::<Vec<_>>(), Vec::<String>::new(), "acked before backup {number} began");
        }
    }
}

#[test]
fn bk1_what_is_not_whole_is_refused_and_nothing_is_made_of_it() {
    let data = DataDir::new();
    let good = fs::read(golden_backup::path(VERSION)).expect("the fixture is part of the repository");
    let cli = Cli::on(data.path());
    let file = data.outer().join("file");
    let mut damaged = good.clone();
    damaged[good.len() / 2] ^= 16;
    for (bytes, code, word) in [
        (&good[..good.len() - 1], 1, "cut short"),
        (&good[..16], 1, "cut short"),
        (&damaged, 1, "damaged"),
        (&[&good[..], b"x"].concat(), 1, "follows"),
        (b"PK\x03\x04 of another program", 1, "does not begin like a backup"),
        (b"", 1, "does not begin like a backup"),
    ] {
        fs::write(&file, bytes).expect("written");
        refused(&cli.run(&["backup", "--check", path_str(&file)]), code, word);
        refused(&cli.run(&["restore", path_str(&file)]), code, word);
        let from_pipe = piped(&["restore", "-", "--data", path_str(&data.path())], Some(&file), None);
        refused(&from_pipe, code, word);
        assert_eq!(names(data.outer()), ["file"], "something was made of it");
    }
    refused(&cli.run(&["restore", "/no/such/file"]), 3, "/no/such/file");
    refused(&cli.run(&["backup", "--check", "/no/such/file"]), 3, "/no/such/file");
    refused(&cli.run(&["backup", path_str(&data.outer().join("new"))]), 3, "not a weft data directory");
    assert_eq!(names(data.outer()), ["file"]);
    // Nor is anything made of what was there.
    fs::create_dir(data.path()).expect("made");
    fs::write(data.path().join("letter.txt"), "dear").expect("written");
    fs::write(&file, &good).expect("written");
    refused(&cli.run(&["restore", path_str(&file)]), 3, "not empty");
    assert_eq!(names(&data.path()), ["letter.txt"]);
}

#[test]
fn bk4_backups_of_every_version_are_read() {
    for version in 1..=VERSION {
        let data = DataDir::new();
        let cli = Cli::on(data.path());
        let file = golden_backup::path(version);
        // One document was left out when it was made, which is told each time.
        for command in [&["backup", "--check", path_str(&file), "--json"][..], &["restore", path_str(&file), "--json"]]
        {
            let output = cli.run(command);
            assert_eq!(output.code, 1, "{output:?}");
            let report = output.json();
            assert_eq!(report["failed"][0]["name"], LEFT_OUT);
            assert_eq!(
                (&report["documents"], &report["deleted"], &report["left_out"]),
                (&4.into(), &1.into(), &1.into())
            );
            assert!(output.stderr.contains(LEFT_OUT), "{output:?}");
        }
        let revoked = fs::read_to_string(data.path().join("revoked.json")).ok();
        assert_eq!(revoked.as_deref(), (version >= 2).then_some(REVOKED), "version {version}");
        for (doc, text) in DOCUMENTS {
            assert_eq!(cli.done(&["export", doc, "--format", "text"]).text(), text, "version {version}, {doc}");
            assert_eq!(cli.show(doc)["updated_ms"], UPDATED_MS);
        }
        let (waiting, _) = DOCUMENTS[3];
        assert_eq!(cli.show(waiting)["parked_updates"], 1);
        let tombstones = cli.done(&["ls", "--deleted", "--json"]).json();
        assert_eq!(tombstones["docs"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            (&tombstones["docs"][0]["name"], &tombstones["docs"][0]["deleted_ms"]),
            (&DELETED.0.into(), &DELETED.1.into())
        );
        refused(&cli.run(&["show", DELETED.0]), 1, "was deleted");
        assert_ne!(cli.run(&["show", LEFT_OUT]).code, 0);
    }
    assert_eq!(
        golden_backup::make().0,
        fs::read(golden_backup::path(VERSION)).expect("read"),
        "the format has changed"
    );
}

/// A backup of `count` documents, `bytes` of text each, made without a server.
pub(super) fn many(file: &Path, count: u64, bytes: usize) {
    let head = Head { weft: "test".to_owned(), created_ms: 1_700_000_000_000, documents: count };
    let out = std::io::BufWriter::new(fs::File::create(file).expect("created"));
    let mut writer = weft::backup::Writer::new(out, &head, &[]).expect("written");
    for number in 0..count {
        let text = format!("{number} {}", "x".repeat(bytes));
        let document = Document {
            name: DocName::parse(&format!("doc/{number:07}")).expect("a valid name"),
            created_ms: 1,
            updated_ms: 2,
            deleted_ms: None,
            last_seq: Seq(1),
            snapshot_seq: Seq(0),
            snapshot: vec![],
            log: vec![message::Writer::new(number + 1).append(&text).into()],
        };
        writer.document(&document).expect("written");
    }
    writer.finish().expect("written");
}

#[test]
fn c9_a_full_disk_leaves_no_half_file_and_no_half_directory() {
    let Some(disk) = SmallDisk::mount(24 << 20) else { return };
    let data = DataDir::new();
    let file = data.outer().join("file");
    many(&file, 600, 50_000);
    let server = {
        Cli::on(data.path()).done(&["restore", path_str(&file)]);
        Server::start(&data)
    };
    let inside = |args: &[&str]| {
        let wrapper = disk.wrapper();
        let mut command = Command::new(&wrapper[0]);
        command.args(&wrapper[1..]).arg(binary()).args(args).stdin(Stdio::null());
        let output = command.output().expect("cannot run weft");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    };
    let target = disk.inside().join("weft.bak");
    for _ in 0..2 {
        refused(&inside(&["backup", path_str(&target), "--data", path_str(&data.path())]), 3, "free some space");
        assert_eq!(names(&disk.outside()), Vec::<String>::new(), "a half backup is left");
    }
    let target = disk.inside().join("data");
    refused(&inside(&["restore", path_str(&file), "--data", path_str(&target)]), 3, "nothing is left of it");
    assert_eq!(names(&disk.outside()), Vec::<String>::new(), "a half directory is left");
    // The server has not noticed, and the next backup is fine.
    Cli::of(&server).done(&["backup", path_str(&data.outer().join("next"))]);
}

/// Whoever reads half a backup and leaves does not disturb the next one.
#[test]
fn c2_1_a_reader_that_leaves_makes_room_for_the_next() {
    let data = DataDir::new();
    let file = data.outer().join("file");
    many(&file, 400, 50_000);
    Cli::on(data.path()).done(&["restore", path_str(&file)]);
    let server = Server::start(&data);
    let cli = Cli::of(&server);
    let mut reader = Command::new(binary())
        .args(["backup", "-", "--data", path_str(&data.path())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("cannot run weft");
    let mut some = [0; 4_096];
    reader.stdout.take().expect("piped").read_exact(&mut some).expect("it has begun");
    // Its stdout is closed now; the command ends by itself.
    crdt_tests::process::wait_exit(&mut reader, "the command ends", crdt_tests::wait::PATIENCE);
    crdt_tests::wait::until("the next backup is taken", crdt_tests::wait::PATIENCE, || {
        let next = cli.run(&["backup", path_str(&data.outer().join("next")), "--force"]);
        assert!(next.code == 0 || next.stderr.contains("another backup"), "{next:?}");
        (next.code == 0).then_some(())
    });
    assert_eq!(items(&data.outer().join("next")).1.len(), 400);
}

/// Seen with `docker stop`, which kills after ten seconds: a drain waited a minute for whoever took no more of a backup.
#[test]
fn c2_5_a_drain_does_not_wait_for_a_stuck_reader() {
    let data = DataDir::new();
    let file = data.outer().join("file");
    many(&file, 400, 100_000);
    Cli::on(data.path()).done(&["restore", path_str(&file)]);
    let mut server = Server::start(&data);
    // It asks for a backup, and takes only its beginning.
    let mut stuck = std::net::TcpStream::connect(server.admin_addr()).expect("connects");
    let credential = Admin::of(&server).credential.expect("the local one");
    write!(
        stuck,
        "POST /api/v1/backup HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nAuthorization: Bearer {credential}\r\n\r\n"
    )
    .expect("asks");
    stuck.read_exact(&mut [0; 4_096]).expect("it has begun");
    let asked = Instant::now();
    server.ask_to_drain();
    let status = server.wait_exit(crdt_tests::wait::PATIENCE);
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    assert_eq!(status.code(), Some(0), "{}", server.stderr());
}
