//! The log of what admins did (HARDENING §1): every act on it, and every way to tamper with it found.

use std::fs;
use std::path::PathBuf;

use crdt_tests::admin::Admin;
use crdt_tests::cli::{Cli, path_str};
use crdt_tests::message::Writer;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::tokens::Secret;
use serde_json::{Value, json};

fn segment(data: &DataDir) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(data.path().join("audit"))
        .expect("is there")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn records(data: &DataDir) -> Vec<Value> {
    let text = fs::read_to_string(segment(data)).expect("is text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn hardening_1_every_act_of_an_admin_is_recorded() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let mut server: Server = secret.options(&data).start();
    let local = Admin::of(&server);
    let root = Admin { credential: Some(secret.mint(&["--admin", "--sub", "root"])), ..local.clone() };
    let update = Writer::new(7).append("x");
    let revoked = br#"{"sub":"eve","doc":"a"}"#;
    // What only looks leaves no trace.
    for target in ["/metrics", "/api/v1/docs", "/api/v1/connections", "/api/v1/top", "/api/v1/store"] {
        local.get(target);
    }
    for (admin, method, target, body, status) in [
        (&root, "POST", "/api/v1/docs/a/update", &*update, 200),
        (&root, "POST", "/api/v1/docs/a/broadcast-stateless", b"hello", 200),
        (&local, "POST", "/api/v1/docs/a/compact", b"", 200),
        (&local, "POST", "/api/v1/docs/a/compact?dry_run=true", b"", 200),
        (&local, "POST", "/api/v1/compact", b"", 200),
        (&local, "POST", "/api/v1/compact?vacuum=true", b"", 200),
        (&local, "POST", "/api/v1/docs/a/verify?repair=true", b"", 200),
        (&local, "POST", "/api/v1/docs/a/verify", b"", 200),
        (&local, "POST", "/api/v1/backup", b"", 200),
        (&root, "POST", "/api/v1/revoke", revoked, 200),
        (&root, "POST", "/api/v1/revoke", b"{}", 400),
        (&root, "DELETE", "/api/v1/docs/a", b"", 200),
        (&root, "DELETE", "/api/v1/docs/none", b"", 404),
        (&local, "DELETE", "/api/v1/connections/99", b"", 404),
        (&local, "POST", "/api/v1/drain", b"", 202),
    ] {
        let answer = admin.send_with(method, target, &[], body);
        assert_eq!(answer.status, status, "{method} {target}: {}", answer.text());
    }
    server.wait_exit(crdt_tests::wait::PATIENCE);
    // And by this machine's commands, with nobody serving.
    let cli = Cli::on(data.path());
    let file = data.outer().join("update");
    fs::write(&file, Writer::new(8).append("y")).expect("is written");
    cli.done(&["import", "b", path_str(&file)]);
    cli.done(&["compact", "b"]);
    cli.done(&["backup", path_str(&data.outer().join("weft.bak"))]);
    cli.done(&["token", "--revoke", "bob"]);
    cli.done(&["rm", "b"]);
    cli.done(&["ls"]);

    let records = records(&data);
    let seen: Vec<(&str, &str, Option<&str>, &str)> = records
        .iter()
        .map(|record| {
            let text = |name: &str| record[name].as_str().unwrap_or_default();
            (text("who"), text("act"), record["doc"].as_str(), text("result"))
        })
        .collect();
    let user = format!("local user {}", rustix::process::getuid().as_raw());
    let mut expected = Vec::new();
    for (who, act, doc, result) in [
        ("token root", "import", Some("a"), "done"),
        ("token root", "broadcast-stateless", Some("a"), "done"),
        ("local", "compact", Some("a"), "done"),
        ("local", "compact", None, "done"),
        ("local", "vacuum", None, "done"),
        ("local", "repair", Some("a"), "done"),
        ("local", "backup", None, "done"),
        ("token root", "revoke", Some("a"), "done"),
        ("token root", "revoke", None, "bad-request"),
        ("token root", "delete", Some("a"), "done"),
        ("token root", "delete", Some("none"), "no-such-document"),
        ("local", "disconnect", None, "no-such-connection"),
        ("local", "drain", None, "done"),
        (&*user, "import", Some("b"), "done"),
        (&*user, "compact", Some("b"), "done"),
        (&*user, "backup", None, "done"),
        (&*user, "revoke", None, "done"),
        (&*user, "delete", Some("b"), "done"),
    ] {
        expected.push((who, act, doc, "begun"));
        expected.push((who, act, doc, result));
    }
    assert_eq!(seen, expected);
    assert_eq!((&records[14]["detail"], &records[14]["from"]), (&json!("eve"), &json!("127.0.0.1")));
    let text = fs::read_to_string(segment(&data)).expect("is text");
    for canary in [local.credential.expect("one"), root.credential.expect("one"), secret.text()] {
        assert!(!text.contains(&canary));
    }
    let report = cli.done(&["audit", "verify", "--json"]).json();
    assert_eq!((&report["records"], &report["flaws"]), (&json!(expected.len()), &json!([])), "{report}");
}

#[test]
fn c2_1_audit_verify_finds_tampering() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let admin = Admin::of(&server);
    let cli = Cli::of(&server);
    let nothing = cli.done(&["audit", "verify"]);
    assert!(nothing.text().contains("no records"), "{nothing:?}");
    for n in 0..4 {
        admin.send_with("POST", &format!("/api/v1/docs/{n}/update"), &[], &Writer::new(n).append("x")).ok();
    }
    let good = cli.done(&["audit", "verify"]);
    let noted = good.text().trim_end().rsplit_once(' ').expect("words").1.to_owned();
    cli.done(&["audit", "verify", "--expect", &noted]);
    assert_eq!(cli.run(&["audit", "verify", "--expect", "8"]).code, 2);

    // Killed without a word, at once after an answer: the record is there.
    admin.send("DELETE", "/api/v1/docs/0").ok();
    let mut server = server;
    server.kill();
    assert!(records(&data).iter().any(|record| record["act"] == "delete" && record["result"] == "done"));
    cli.done(&["audit", "verify"]);
    server.restart();
    Admin::of(&server).send("DELETE", "/api/v1/docs/1").ok();
    server.drain();
    cli.done(&["audit", "verify", "--expect", &noted]);

    let path = segment(&data);
    let text = fs::read_to_string(&path).expect("is text");
    let lines: Vec<&str> = text.lines().collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let without = |at: usize| joined(&[&lines[..at], &lines[at + 1..]].concat());
    let mut moved = lines.clone();
    moved.swap(3, 4);
    for (what, tampered) in [
        ("a name is changed", text.replacen("\"doc\":\"1\"", "\"doc\":\"2\"", 1)),
        ("a time is changed", text.replacen("\"at\":1", "\"at\":2", 1)),
        ("the first is dropped", without(0)),
        ("one is dropped", without(5)),
        ("the last is dropped", without(lines.len() - 1)),
        ("two are exchanged", joined(&moved)),
        ("it is cut within a line", text[..text.len() - 9].to_owned()),
        ("it is emptied", String::new()),
        ("one is doubled", format!("{text}{}\n", lines[2])),
    ] {
        assert_ne!(tampered, text, "{what}");
        fs::write(&path, tampered).expect("is written");
        let found = cli.run(&["audit", "verify", "--json"]);
        assert_eq!(found.code, 1, "{what}: {found:?}");
        assert!(found.json()["flaws"].as_array().is_some_and(|flaws| !flaws.is_empty()), "{what}");
    }
    fs::write(&path, &text).expect("is written");
    cli.done(&["audit", "verify"]);
    // A whole new log is as good as the old one, but for who noted something of that.
    fs::remove_dir_all(data.path().join("audit")).expect("is removed");
    let file = data.outer().join("update");
    fs::write(&file, Writer::new(9).append("z")).expect("is written");
    cli.done(&["import", "c", path_str(&file)]);
    cli.done(&["audit", "verify"]);
    assert_eq!(cli.run(&["audit", "verify", "--expect", &noted]).code, 1);
    assert_eq!(Cli::on("/no/such/dir").run(&["audit", "verify"]).code, 3);
}

/// What cannot be recorded is not done.
#[test]
fn hardening_1_without_a_record_nothing_is_done() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    Admin::of(&server).send_with("POST", "/api/v1/docs/a/update", &[], &Writer::new(1).append("x")).ok();
    server.drain();
    fs::write(data.path().join("audit/head.json"), "{ damaged").expect("is written");
    let refusal = server.options().clone().try_start().err().expect("is refused");
    crate::refusals::assert_refused(&refusal, &["audit", "weft audit verify"]);
    let refused = Cli::on(data.path()).run(&["rm", "a"]);
    assert!(refused.code == 3 && refused.stderr.contains("audit"), "{refused:?}");
    assert_eq!(Cli::on(data.path()).done(&["ls", "--json"]).json()["docs"].as_array().map(Vec::len), Some(1));
}

/// A flood of strangers is counted whole, and recorded so that it pushes out nothing of what admins did.
#[test]
fn hardening_1_strangers_are_recorded_now_and_then() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let admin = Admin::of(&server);
    let stranger = Admin { credential: Some("guessed".to_owned()), ..admin.clone() };
    for _ in 0..500 {
        assert_eq!(stranger.send("GET", "/api/v1/docs").status, 401);
    }
    let text = admin.get("/metrics").text();
    assert!(text.contains("\nweft_admin_refused_total 500\n"), "{text}");
    let strangers: Vec<Value> = records(&data).into_iter().filter(|record| record["who"] == "stranger").collect();
    assert!((10..15).contains(&strangers.len()), "{} of 500", strangers.len());
    assert_eq!((&strangers[0]["result"], &strangers[0]["from"]), (&json!("unauthorized"), &json!("127.0.0.1")));
    assert!(!records(&data).iter().any(|record| record.to_string().contains("guessed")));
}
