//! `kill -9` in the midst of a backup or a restore: a whole file or none, a whole directory or none.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crdt_tests::cli::{Cli, path_str};
use crdt_tests::process;
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Options, Server, binary};
use crdt_tests::wait::PATIENCE;
use rand::Rng;

use super::backup::{many, names, refused};

const DOCUMENTS: u64 = 1_500;

fn begin(args: &[&str]) -> Child {
    let mut command = Command::new(binary());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("cannot run weft")
}

/// How long the command takes that is to be killed within.
fn takes(args: &[&str]) -> Duration {
    let started = Instant::now();
    assert!(process::wait_exit(&mut begin(args), "the command ends", PATIENCE).success());
    started.elapsed()
}

#[test]
fn bk1_a_killed_restore_leaves_a_whole_directory_or_none() {
    let kills: u32 = std::env::var("WEFT_KILL_ROUNDS").map_or(12, |text| text.parse().expect("a number of rounds"));
    let mut rng = seed::rng(seed::seed("bk1_a_killed_restore"), 0);
    let data = DataDir::new();
    let file = data.outer().join("file");
    many(&file, DOCUMENTS, 10_000);
    let dir = data.path();
    let restore = ["restore", path_str(&file), "--data", path_str(&dir)];
    let whole = takes(&restore);
    let (mut none, mut all) = (0, 0);
    for _ in 0..kills {
        fs::remove_dir_all(&dir).expect("removed");
        // The attempt that was cut short is taken up by the next, which may be cut short too.
        for _ in 0..rng.random_range(1..3) {
            let mut child = begin(&restore);
            std::thread::sleep(whole.mul_f64(rng.random_range(0.0..1.1)));
            let _ = child.kill();
            let _ = child.wait();
        }
        if dir.join("FORMAT").exists() {
            all += 1;
            refused(&Cli::on(&dir).run(&restore[..2]), 3, "not empty");
        } else {
            none += 1;
            if dir.join("RESTORING").exists() {
                let refusal = Options::new(&dir).try_start().err().expect("half a directory is not served");
                assert!(refusal.stderr().contains("cut short"), "{refusal:?}");
            }
            let again = Cli::on(&dir).run(&restore[..2]);
            assert_eq!(again.code, 0, "{again:?}");
        }
        assert_whole(&dir);
        assert_eq!(names(data.outer()), ["data", "file"]);
    }
    println!("{kills} restores killed: {none} left none, {all} were whole");
    assert!(none > 0, "nothing was killed in the midst");
}

fn assert_whole(dir: &Path) {
    let listed = Cli::on(dir).done(&["ls", "--json"]).json();
    assert_eq!(listed["docs"].as_array().map(Vec::len), Some(DOCUMENTS as usize));
    let last = format!("doc/{:07}", DOCUMENTS - 1);
    assert!(Cli::on(dir).done(&["export", &last, "--format", "text"]).text().len() > 10_000);
}

#[test]
fn bk1_a_killed_backup_leaves_a_whole_file_or_none() {
    let kills: u32 = std::env::var("WEFT_KILL_ROUNDS").map_or(12, |text| text.parse().expect("a number of rounds"));
    let mut rng = seed::rng(seed::seed("bk1_a_killed_backup"), 0);
    let data = DataDir::new();
    let (source, file) = (data.outer().join("source"), data.outer().join("file"));
    many(&source, DOCUMENTS, 10_000);
    Cli::on(data.path()).done(&["restore", path_str(&source)]);
    let mut server = Server::start(&data);
    let dir = data.path();
    let backup = ["backup", path_str(&file), "--data", path_str(&dir)];
    let whole = takes(&backup);
    let (mut none, mut all) = (0, 0);
    for round in 0..kills {
        fs::remove_file(&file).expect("removed");
        let mut child = begin(&backup);
        std::thread::sleep(whole.mul_f64(rng.random_range(0.0..1.0)));
        let kill_server = round % 2 == 1;
        if kill_server {
            server.kill();
        } else {
            let _ = child.kill();
        }
        let status = process::wait_exit(&mut child, "the command ends", PATIENCE);
        if file.exists() {
            all += 1;
        } else {
            none += 1;
            assert!(!status.success(), "it says it is done, and there is no file");
            if kill_server {
                assert_eq!(status.code(), Some(3));
                assert!(!data.outer().join("file.part").exists(), "a command that ends by itself cleans up");
            }
        }
        if kill_server {
            server.restart();
        }
        // The next one is fine, whatever the last one left; the server may need a moment to see that its reader left.
        crdt_tests::wait::until("the next backup is taken", PATIENCE, || {
            let next = Cli::of(&server).run(&["backup", path_str(&file), "--force"]);
            assert!(next.code == 0 || next.stderr.contains("another backup"), "{next:?}");
            (next.code == 0).then_some(())
        });
        let checked = Cli::of(&server).done(&["backup", "--check", path_str(&file), "--json"]).json();
        assert_eq!(checked["documents"], DOCUMENTS);
        assert_eq!(names(data.outer()), ["data", "file", "source"]);
    }
    println!("{kills} backups killed: {none} left none, {all} were whole");
    assert!(none > 0, "nothing was killed in the midst");
}
