//! What is done on a disk whose Nth operation fails: each command that writes, and a short life of a server.

use std::time::Duration;

use super::calm;
use super::nth::{Ground, Scenario, assert_no_panic};
use crate::cli::{Cli, path_str};
use crate::golden;
use crate::http;
use crate::ledger::{Hand, Ledger};
use crate::seed;
use crate::server::Server;
use crate::wait::PATIENCE;
use crate::writers::{self, Writers};

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario { name: "first start", prepare: nothing, act: first_start },
    Scenario { name: "import", prepare: documents, act: |ground, ledger| import(ground, ledger, DOCUMENTS[0]) },
    Scenario { name: "import new", prepare: nothing, act: |ground, ledger| import(ground, ledger, "new") },
    Scenario { name: "compact", prepare: documents, act: compact },
    Scenario { name: "rm", prepare: documents, act: delete },
    Scenario { name: "upgrade", prepare: an_old_directory, act: upgrade },
    Scenario { name: "compact --vacuum", prepare: documents, act: vacuum },
    Scenario { name: "backup", prepare: documents, act: backup },
    Scenario { name: "restore", prepare: a_backup, act: restore },
    Scenario { name: "serve, checkpoint, compact, vacuum", prepare: documents, act: serve },
];

/// Documents that every scenario finds.
const DOCUMENTS: [&str; 2] = ["one", "two"];
/// How long a server that must not ack is given to do it.
const NO_ACK_WITHIN: Duration = Duration::from_millis(250);

fn nothing(_: &Ground, _: &mut Ledger) {}

/// A store with logs and snapshots, and a journal that a killed server left.
fn documents(ground: &Ground, ledger: &mut Ledger) {
    let mut rng = seed::rng(ground.seed, 2);
    let mut server = Server::start_on(ground.data());
    for round in 0..3 {
        let writers = Writers::start(server.addr(), &DOCUMENTS.map(str::to_owned), 20_000, &mut rng);
        writers.until_acked(12, || false);
        writers.finish(ledger, || false);
        match round {
            0 => drop(ground.calm_cli().done(&["compact", "--all"])),
            1 => server.drain(),
            _ => server.kill(),
        }
        if round == 1 {
            server.restart();
        }
    }
}

fn first_start(ground: &Ground, _: &mut Ledger) {
    if let Some(server) = start(ground) {
        end(server, None);
    }
}

/// Starts a server on the disk that fails. None where it refused in order.
fn start(ground: &Ground) -> Option<Server> {
    match ground.server().try_start() {
        Ok(server) => Some(server),
        Err(refusal) => {
            let stderr = refusal.stderr();
            assert_eq!(refusal.status.code(), Some(3), "a refused start: {refusal:?}");
            assert_no_panic(&stderr, "a refused start");
            assert!(stderr.contains("weft serve: "), "a refused start does not say why: {stderr}");
            None
        }
    }
}

/// Lets a server drain; `failed` says whether it had to give up before.
fn end(mut server: Server, failed: Option<bool>) {
    server.ask_to_drain();
    let status = server.wait_exit(PATIENCE);
    let stderr = server.stderr();
    let expected: &[i32] = match failed {
        Some(true) => &[3],
        // A fault may strike in the drain itself.
        Some(false) | None => &[0, 3],
    };
    assert!(status.code().is_some_and(|code| expected.contains(&code)), "SIGTERM ended in {status}:\n{stderr}");
    assert_no_panic(&stderr, "a server");
}

fn import(ground: &Ground, ledger: &mut Ledger, doc: &str) {
    let mut hand = Hand::new(&mut seed::rng(ground.seed, 3));
    let file = ground.dir.with_file_name("update");
    std::fs::write(&file, hand.write(200_000)).expect("written");
    if ground.run(&["import", doc, path_str(&file)]).code == 0 {
        hand.ack(1);
    }
    ledger.enter(doc, hand.account());
}

fn compact(ground: &Ground, _: &mut Ledger) {
    ground.run(&["compact", "--all"]);
}

fn delete(ground: &Ground, ledger: &mut Ledger) {
    let doc = DOCUMENTS[1];
    ledger.ask_deletion(doc);
    if ground.run(&["rm", doc]).code == 0 {
        ledger.confirm_deletion(doc);
    }
}

/// As the first format left it.
fn an_old_directory(ground: &Ground, _: &mut Ledger) {
    golden::unpack(1, &ground.dir);
}

fn upgrade(ground: &Ground, _: &mut Ledger) {
    ground.run(&["ls"]);
    golden::check(&ground.calm_cli(), "after an upgrade on a disk that fails");
}

fn vacuum(ground: &Ground, _: &mut Ledger) {
    ground.run(&["compact", "--vacuum"]);
}

/// A backup that is said to be done holds all; one that lacks a document, or whose name may not last, says so; any other has
/// no name.
fn backup(ground: &Ground, ledger: &mut Ledger) {
    let file = ground.dir.join("backup");
    let output = ground.run(&["backup", path_str(&file)]);
    let may_not_last = output.code == 3 && output.stderr.contains("is whole, but a power cut may take it");
    let is_not_closed = output.code == 3 && output.stderr.contains("what was asked is done, but");
    let is_named = output.code == 0 || output.code == 1 || may_not_last || is_not_closed;
    assert_eq!(is_named, file.exists(), "weft backup ended with {}:\n{}", output.code, output.stderr);
    let elsewhere = Cli::on(ground.dir.with_file_name("restored"));
    if output.code == 1 {
        let restored = elsewhere.run(&["restore", path_str(&file)]);
        assert!(restored.code == 1 && restored.stderr.contains("is not in the backup"), "{restored:?}");
    } else if is_named {
        elsewhere.done(&["restore", path_str(&file)]);
        let place = ground.dir.with_file_name("restored");
        calm::check(&place, &mut ledger.without_totals(), "in a restored backup", ground.seed);
    }
}

/// Nothing but a backup of documents.
fn a_backup(ground: &Ground, ledger: &mut Ledger) {
    documents(ground, ledger);
    ground.calm_cli().done(&["backup", path_str(&ground.dir.join("backup"))]);
    std::fs::remove_dir_all(ground.data()).expect("removed");
}

/// A restore that is said to be done is; one that failed is none, and can be done again.
fn restore(ground: &Ground, _: &mut Ledger) {
    let file = ground.dir.join("backup");
    let restore = ["restore", path_str(&file)];
    let output = ground.run(&restore);
    let is_there = ground.data().join("FORMAT").exists();
    assert!(output.code != 0 || is_there, "weft restore says it is done, and there is no directory");
    if !is_there {
        ground.calm_cli().done(&restore);
    }
}

/// Edits, a checkpoint, a compaction, a vacuum, and edits again. Then either it works, or it has said that it does not.
fn serve(ground: &Ground, ledger: &mut Ledger) {
    let mut rng = seed::rng(ground.seed, 4);
    let Some(mut server) = start(ground) else { return };
    let addr = server.addr();
    let has_failed = || !http::is_ready(addr);
    for command in [&["ls"][..], &["compact", "--all", "--vacuum"], &["ls"]] {
        // Quiet meanwhile, so that there is an end to the operations.
        let writers = Writers::start(addr, &DOCUMENTS.map(str::to_owned), 20_000, &mut rng);
        writers.until_acked(4, has_failed);
        writers.finish(ledger, has_failed);
        let output = ground.calm_cli().start(command).wait(PATIENCE);
        assert!((0..=3).contains(&output.code), "weft {command:?} ended with {}:\n{}", output.code, output.stderr);
        assert_no_panic(&output.stderr, format_args!("weft {command:?}"));
    }
    server.assert_alive();
    assert_eq!(http::status(addr, "/health"), 200);

    // S7: no more acks, and reading goes on. Of want of space alone it recovers (S9), so that either is right.
    let mut failed = has_failed();
    let patience = if failed { NO_ACK_WITHIN } else { PATIENCE / 3 };
    let is_acked = writers::write_once(addr, DOCUMENTS[0], patience, ledger, &mut rng);
    if failed {
        assert!(!is_acked || ground.may_recover(), "an edit was acked after the storage had failed");
    } else if !is_acked {
        failed = has_failed();
        assert!(failed || ground.may_recover(), "an edit was not acked, and the server says that it is ready");
    }
    let mut readable = ledger.clone();
    if failed && ground.fails_for_good() {
        // sled reads nothing after a write of its own has failed, and opens on no disk that takes no write: what sleeps
        // can be read after a restart.
        let waits = |doc: &String| writers::try_read(addr, doc).err() == Some(Some(1013));
        ledger.documents().iter().filter(|doc| waits(doc)).for_each(|doc| readable.leave_out(doc));
    }
    readable.check("from the running server", |doc| writers::read(addr, doc));
    end(server, Some(failed && !ground.may_recover()));
}
