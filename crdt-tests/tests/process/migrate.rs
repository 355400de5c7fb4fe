//! Documents of other servers (`weft import --from`). The directories in `fixtures/migrate` were written by those servers
//! themselves, and `expected.json` is what their own libraries read of them.

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use crdt_tests::cli::{Cli, path_str};
use crdt_tests::js::{Client, Js, LATEST, State};
use crdt_tests::server::{DataDir, Server, workspace};
use serde_json::{Value, json};
use weft::migrate::{self, Found, Kind, Names};

/// Fixture, kind, the source in it, and how many documents cannot be taken.
const SOURCES: [(&str, &str, &str, u64); 5] = [
    ("hocuspocus", "hocuspocus-sqlite", "db.sqlite", 0),
    ("hocuspocus-wal", "hocuspocus-sqlite", "db.sqlite", 0),
    ("y-leveldb", "y-leveldb", "db", 0),
    ("y-sweet", "y-sweet", "store", 0),
    ("updates", "updates", "files", 2),
];

fn fixtures() -> PathBuf {
    workspace().join("fixtures/migrate")
}

/// What the source's own library reads, by the name that the document has in weft.
fn expected(fixture: &str) -> BTreeMap<String, State> {
    let text = fs::read_to_string(fixtures().join(fixture).join("expected.json")).expect("readable");
    let states: BTreeMap<String, State> = serde_json::from_str(&text).expect("states");
    // y-websocket's server stores the URL's path as it came; weft's clients ask for it decoded.
    let decoded = |name: String| if name.starts_with("l%C3%A4uft/") { "läuft/über 🧶".to_owned() } else { name };
    states.into_iter().map(|(name, state)| (decoded(name), state)).collect()
}

fn is_empty(state: &State) -> bool {
    state.state_vector == "AA==" && !state.pending
}

/// Every file below a directory with its bytes.
fn bytes_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("listed") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.clone(), fs::read(path).expect("readable"));
            }
        }
    }
    files
}

fn without_waiting(state: &State) -> State {
    State { pending: false, ..state.clone() }
}

/// Imports a source, twice, and checks the report.
fn import(cli: &Cli, (fixture, kind, source, skipped): (&str, &str, &str, u64), expected: &BTreeMap<String, State>) {
    let source = fixtures().join(fixture).join(source);
    let run = |more: &[&str]| {
        let output = cli.run(&[&["import", "--json", "--from", kind, path_str(&source)], more].concat());
        assert_eq!(output.code, i32::from(skipped > 0), "{fixture}: {output:?}");
        output.json()
    };
    let documents = expected.values().filter(|state| !is_empty(state)).count() as u64;
    let report = run(&["--list"]);
    assert_eq!((&report["new"], &report["skipped"]), (&json!(documents), &json!(skipped)), "{fixture}: {report}");
    let listed = report["docs"].as_array().expect("docs");
    for (name, state) in expected {
        let line = listed.iter().find(|line| line["name"] == **name).unwrap_or_else(|| panic!("{fixture}: no {name}"));
        let status = if is_empty(state) { "empty" } else { "new" };
        assert_eq!(line["status"], status, "{fixture}: {line}");
        assert_eq!(line["parked_bytes"].as_u64() > Some(0), state.pending, "{fixture}: {line}");
    }
    let again = run(&[]);
    assert_eq!((&again["new"], &again["merged"], &again["partial"]), (&json!(0), &json!(0), &json!(0)), "{again}");
    assert_eq!(again["unchanged"], documents, "{fixture}: importing twice changes nothing: {again}");
}

fn exports_are_equal(js: &Js, cli: &Cli, fixture: &str, expected: &BTreeMap<String, State>) {
    for (name, state) in expected.iter().filter(|(_, state)| !is_empty(state)) {
        // An export is what can be read; what waits is counted by `show`.
        js.load(&cli.export_update(name)).assert_same(&without_waiting(state), format_args!("{fixture}: {name}"));
        assert_eq!(cli.show(name)["parked_updates"].as_u64() > Some(0), state.pending, "{fixture}: {name}");
    }
}

#[test]
fn i3_5_documents_of_other_servers_are_equal_offline_and_online() {
    let js = Js::start();
    let before = bytes_below(&fixtures());
    for source in SOURCES {
        let (fixture, ..) = source;
        let expected = expected(fixture);
        for online in [false, true] {
            let data = DataDir::new();
            let mut server = if online {
                Server::start(&data)
            } else {
                import(&Cli::on(data.path()), source, &expected);
                exports_are_equal(&js, &Cli::on(data.path()), fixture, &expected);
                Server::start(&data)
            };
            let cli = Cli::of(&server);
            if online {
                import(&cli, source, &expected);
                // Reported, so durable.
                server.kill();
                server.restart();
            }
            exports_are_equal(&js, &cli, fixture, &expected);
            for (name, state) in expected.iter().filter(|(_, state)| !is_empty(state)) {
                let client = js.open(LATEST, &server, name);
                client.synced();
                client.state().assert_same(&without_waiting(state), format_args!("{fixture}: a client reads {name}"));
            }
            if let Some(name) = expected.keys().find(|name| name.contains("gap")) {
                what_waited_goes_on(&js, &cli, &server, name, expected[name].pending);
            }
        }
    }
    assert_eq!(bytes_below(&fixtures()), before, "a source was changed");
}

/// The update that a document waits for comes, from somewhere else.
fn what_waited_goes_on(js: &Js, cli: &Cli, server: &Server, name: &str, waited: bool) {
    cli.done(&["import", name, path_str(&fixtures().join("missing.update"))]);
    let client: Client<'_> = js.open(LATEST, server, name);
    client.synced();
    // y-sweet itself forgot what waited, before weft came.
    let whole = if waited { "here missing waiting" } else { "here missing " };
    assert_eq!(client.run("text.toString()"), whole, "{name}");
}

#[test]
fn i3_5_import_merges_into_what_is_there_and_reaches_live_clients() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let cli = Cli::of(&server);
    let js = Js::start();
    let client = js.open(LATEST, &server, "moved/many");
    client.synced();
    client.run("map.set('mine', true)");
    client.ack();
    let source = fixtures().join("updates/files");
    let from =
        ["import", "--from", "updates", path_str(&source), "--prefix", "moved/", "--only", "many", "--only", "no*"];
    let report = cli.done(&[&from[..], &["--json"]].concat()).json();
    assert_eq!(
        (&report["merged"], &report["new"], &report["documents"]),
        (&json!(1), &json!(1), &json!(2)),
        "{report}"
    );
    client.wait("text.toString().endsWith(' 299 ') && map.get('mine')");
    assert_eq!(cli.export_json("moved/notes/today")["map"]["title"], "Weft & warp");

    // A dry run reads everything and writes nothing, not even a directory.
    let nowhere = data.outer().join("nowhere");
    let dry = Cli::on(&nowhere).run(&["import", "--from", "updates", path_str(&source), "--dry-run", "--json"]);
    assert_eq!((dry.code, &dry.json()["importable"], &dry.json()["skipped"]), (1, &json!(6), &json!(2)), "{dry:?}");
    assert!(!nowhere.exists());
    // What was skipped is named with its reason, for people and for programs.
    for (name, why) in [("letter", "not an acceptable v1 update"), ("version2", "v2")] {
        assert!(dry.stderr.lines().any(|line| line.contains(name) && line.contains(why)), "{dry:?}");
        let docs: Value = dry.json()["docs"].clone();
        assert!(docs.as_array().expect("docs").iter().any(|line| line["name"] == name), "{docs}");
    }
}

#[test]
fn i3_5_wrong_sources_are_told_apart() {
    let data = DataDir::new();
    let cli = Cli::on(data.path());
    let dir = fixtures();
    let at = |path: &str| dir.join(path);
    for (kind, path, word) in [
        ("hocuspocus-sqlite", at("updates/expected.json"), "@hocuspocus/extension-sqlite"),
        ("hocuspocus-sqlite", at("nowhere"), "nowhere"),
        ("y-leveldb", at("y-sweet/store"), "LevelDB"),
        ("y-sweet", at("y-leveldb/db"), "y-sweet"),
        ("updates", at("hocuspocus"), ".update"),
    ] {
        let output = cli.run(&["import", "--from", kind, path_str(&path)]);
        assert_eq!(output.code, 3, "{kind}: {output:?}");
        assert!(output.stdout.is_empty() && output.stderr.contains(word), "{kind}: {output:?}");
    }
    for wrong in
        [&["import", "--from", "etherpad", "x"][..], &["import", "d", "f", "--from", "updates", "x"], &["import"]]
    {
        assert_eq!(cli.run(wrong).code, 2, "{wrong:?}");
    }
    assert!(!data.path().join("FORMAT").exists(), "a data directory was made for nothing");
}

/// What is found in a source that was tampered with.
enum Outcome {
    /// It is refused as a whole.
    Refused,
    /// Something is said to be missing, or a document is skipped.
    Told,
    /// All is said to be well: names and updates.
    Fine(BTreeMap<String, Vec<Vec<u8>>>),
}

fn outcome(kind: Kind, path: &Path) -> Outcome {
    let Ok(mut source) = migrate::open(kind, path, Names::AsStored) else { return Outcome::Refused };
    let mut docs = BTreeMap::new();
    let mut told = false;
    loop {
        match source.next(&|_| true) {
            Err(_) => return Outcome::Refused,
            Ok(None) => break,
            Ok(Some(Found::Skipped(_))) => told = true,
            Ok(Some(Found::Document(document))) => {
                let updates = document.updates.iter().map(|update| update.to_vec()).collect();
                docs.insert(document.name.to_string(), updates);
            }
        }
    }
    if told || source.remarks().iter().any(|remark| remark.wrong) { Outcome::Told } else { Outcome::Fine(docs) }
}

/// Damages one file after the other, byte by byte and by every length, and looks at what comes of it.
fn sweep(fixture: &str, kind: Kind, source: &str, mut check: impl FnMut(&str, &Path, bool, Outcome)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let original = bytes_below(&fixtures().join(fixture).join(source));
    let root = fixtures().join(fixture).join(source);
    for (path, bytes) in &original {
        let path = dir.path().join(path.strip_prefix(&root).expect("below"));
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }
    for (path, bytes) in &original {
        let name = path.strip_prefix(&root).expect("below");
        let path = dir.path().join(name);
        // Small files at every byte; of large ones about as many places.
        let step = bytes.len() / 400 + 1;
        for at in (0..bytes.len()).step_by(step) {
            for cut in [true, false] {
                let mut damaged = bytes.clone();
                if cut {
                    damaged.truncate(at);
                } else {
                    damaged[at] ^= if at % 2 == 0 { 0x01 } else { 0xff };
                }
                fs::write(&path, &damaged).expect("written");
                let what = format!("{fixture}: {} {} at {at}", name.display(), if cut { "cut" } else { "flipped" });
                let target = dir.path().to_owned();
                let outcome = catch_unwind(|| outcome(kind, &target)).unwrap_or_else(|_| panic!("{what}: panicked"));
                check(&what, name, cut, outcome);
            }
        }
        fs::write(&path, bytes).expect("restored");
    }
}

/// LevelDB's checksums cover all that is read, so damage is refused or told, or it was of no consequence.
#[test]
fn i3_5_no_damage_to_leveldb_goes_unnoticed() {
    let Outcome::Fine(whole) = outcome(Kind::YLeveldb, &fixtures().join("y-leveldb/db")) else { panic!("not whole") };
    sweep("y-leveldb", Kind::YLeveldb, "db", |what, name, cut, outcome| {
        let Outcome::Fine(docs) = outcome else { return };
        // A log that ends between two writes is as whole as any: nothing says that there was one more.
        let unknowable = cut && name.extension().is_some_and(|suffix| suffix == "log");
        assert!(docs == whole || unknowable, "{what}: something else was read and nothing was said");
    });
}

/// y-sweet's files and SQLite's pages have no checksums: flipped text is text. But no document gets lost unnoticed.
#[test]
fn i3_5_damage_to_unchecked_sources_loses_no_document_unnoticed() {
    let names = |docs: &BTreeMap<String, Vec<Vec<u8>>>| docs.keys().cloned().collect::<Vec<_>>();
    let Outcome::Fine(whole) = outcome(Kind::YSweet, &fixtures().join("y-sweet/store")) else { panic!("not whole") };
    sweep("y-sweet", Kind::YSweet, "store", |what, _, cut, outcome| {
        let Outcome::Fine(docs) = outcome else { return };
        assert!(!cut, "{what}: half a file was taken for a whole one");
        assert_eq!(names(&docs), names(&whole), "{what}");
    });

    let original = fs::read(fixtures().join("hocuspocus/db.sqlite")).expect("readable");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("db.sqlite");
    fs::write(&path, &original).expect("written");
    let Outcome::Fine(whole) = outcome(Kind::HocuspocusSqlite, &path) else { panic!("not whole") };
    for at in (0..original.len()).step_by(61).chain(0..100) {
        for cut in [true, false] {
            let mut damaged = original.clone();
            if cut {
                damaged.truncate(at);
            } else {
                damaged[at] ^= 0x41;
            }
            fs::write(&path, &damaged).expect("written");
            let what = format!("hocuspocus: {} at {at}", if cut { "cut" } else { "flipped" });
            let found = catch_unwind(|| outcome(Kind::HocuspocusSqlite, &path));
            if let Outcome::Fine(docs) = found.unwrap_or_else(|_| panic!("{what}: panicked")) {
                assert!(!cut, "{what}: half a file was taken for a whole one");
                assert_eq!(names(&docs), names(&whole), "{what}");
            }
        }
    }
}
