//! S10: data directories of every format open for ever, and are upgraded, whenever that is cut short.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crdt_tests::cli::Cli;
use crdt_tests::golden::{self, DELETED, DOCUMENTS, WAITED};
use crdt_tests::seed;
use crdt_tests::server::binary;
use rand::Rng;
use weft::data_dir::FORMAT;

/// Every document is there as it was, and none besides.
#[track_caller]
fn assert_whole(cli: &Cli, version: u32) {
    for (doc, text) in DOCUMENTS {
        assert_eq!(cli.done(&["export", doc, "--format", "text"]).text(), text, "format {version}, {doc}");
    }
    let listed = |args: &[&str]| cli.done(args).json()["docs"].as_array().map(Vec::len);
    assert_eq!(listed(&["ls", "--json"]), Some(DOCUMENTS.len()), "format {version}");
    // Before format 2 nothing could be deleted.
    let deleted = if version >= 2 { &DELETED[..] } else { &[] };
    assert_eq!(listed(&["ls", "--deleted", "--json"]), Some(deleted.len()), "format {version}");
    for doc in deleted {
        let refused = cli.run(&["export", doc]);
        assert!(refused.code == 1 && refused.stderr.contains("was deleted"), "format {version}: {}", refused.stderr);
    }
}

fn format(data: &Path) -> String {
    std::fs::read_to_string(data.join("FORMAT")).expect("is there")
}

#[test]
fn s10_data_directories_of_every_format_open() {
    for version in 1..=FORMAT {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = golden::unpack(version, dir.path());
        assert_eq!(format(&data).trim(), version.to_string());
        let cli = Cli::on(&data);
        assert_whole(&cli, version);
        assert_eq!(format(&data).trim(), FORMAT.to_string(), "it is upgraded");
        let (waiting, _) = DOCUMENTS[3];
        assert_eq!(cli.show(waiting)["parked_updates"], 1, "format {version}");
        let missing = dir.path().join("missing");
        std::fs::write(&missing, golden::missing_update()).expect("written");
        cli.done(&["import", waiting, missing.to_str().expect("UTF-8")]);
        assert_eq!(cli.done(&["export", waiting, "--format", "text"]).text(), WAITED, "format {version}");
        cli.done(&["compact", "--all"]);
        for (doc, text) in &DOCUMENTS[..3] {
            assert_eq!(
                cli.done(&["export", doc, "--format", "text"]).text(),
                *text,
                "compacted format {version}, {doc}"
            );
        }
        // What is new since then works on it.
        cli.done(&["rm", DOCUMENTS[0].0]);
        assert_eq!(cli.run(&["export", DOCUMENTS[0].0]).code, 1);
    }
}

/// Starts a server there and kills it before it is ready, or a little after. Says whether it was.
fn start_and_kill(data: &Path, after: Duration) {
    let mut command = Command::new(binary());
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--data"]).arg(data);
    let mut server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    std::thread::sleep(after);
    server.kill().expect("killed");
    server.wait().expect("gone");
}

#[test]
fn s10_an_upgrade_killed_at_any_moment_is_done_by_the_next() {
    let seed = seed::seed("s10_an_upgrade_killed_at_any_moment_is_done_by_the_next");
    let mut rng = seed::rng(seed, 0);
    let mut upgraded = 0;
    for round in 0..12 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = golden::unpack(1, dir.path());
        match round {
            // As a kill in the midst of replacing FORMAT leaves it.
            0 => std::fs::write(data.join("FORMAT.new"), "").expect("written"),
            1 => std::fs::write(data.join("FORMAT.new"), format!("{FORMAT}\n")).expect("written"),
            _ => {
                for _ in 0..2 {
                    start_and_kill(&data, Duration::from_micros(rng.random_range(0..60_000)));
                }
            }
        }
        upgraded += u32::from(format(&data).trim() != "1");
        assert_whole(&Cli::on(&data), 1);
        assert_eq!(format(&data).trim(), FORMAT.to_string(), "round {round}");
    }
    println!("{upgraded} of 12 were killed after the upgrade, the others before");
}

#[test]
fn s10_a_first_start_killed_at_any_moment_is_done_by_the_next() {
    let seed = seed::seed("s10_a_first_start_killed_at_any_moment_is_done_by_the_next");
    let mut rng = seed::rng(seed, 0);
    let mut made = 0;
    for round in 0..12 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        for _ in 0..3 {
            start_and_kill(&data, Duration::from_micros(rng.random_range(0..40_000)));
        }
        made += u32::from(data.join("FORMAT").exists());
        let cli = Cli::on(&data);
        let file = dir.path().join("update");
        std::fs::write(&file, golden::missing_update()).expect("written");
        cli.done(&["import", "d", file.to_str().expect("UTF-8")]);
        assert_eq!(cli.done(&["export", "d", "--format", "text"]).text(), "first ", "round {round}");
    }
    println!("{made} of 12 were killed after the directory was made, the others before");
}
