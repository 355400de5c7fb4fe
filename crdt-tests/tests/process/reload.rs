//! SIGHUP: keys and revocations read anew while everything goes on (HARDENING §1, "hot reload, two active keys").

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crdt_tests::admin::Admin;
use crdt_tests::cli::{Cli, path_str};
use crdt_tests::js::{Js, LATEST};
use crdt_tests::message;
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::{Secret, params};
use crdt_tests::wait::{self, PATIENCE};
use rustix::process::Signal;
use serde_json::{Value, json};

fn metric(server: &Server, sample: &str) -> u64 {
    let text = Admin::of(server).get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {sample} in {text}"))
}

fn reloads(server: &Server, what: &str, result: &str) -> u64 {
    metric(server, &format!("weft_reloads_total{{what=\"{what}\",result=\"{result}\"}}"))
}

/// Sends SIGHUP, and waits until both files were looked at; says which went well.
fn hang_up(server: &Server) -> (bool, bool) {
    let count = |result: &str| ["keys", "revocations"].map(|what| reloads(server, what, result));
    let (ok, failed) = (count("ok"), count("failed"));
    server.signal(Signal::HUP);
    wait::until("both files were read anew", PATIENCE, || {
        let (ok_now, failed_now) = (count("ok"), count("failed"));
        let done = |of: usize| ok_now[of] + failed_now[of] > ok[of] + failed[of];
        (done(0) && done(1)).then(|| (ok_now[0] > ok[0], ok_now[1] > ok[1]))
    })
}

fn lets_in(server: &Server, token: &str) -> bool {
    let mut socket = Socket::greet(server.addr(), &format!("a?token={token}"));
    !socket.next(PATIENCE).expect("a first frame").starts_with(&[2, 0])
}

#[test]
fn hardening_1_keys_are_read_anew_and_a_bad_file_changes_nothing() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let previous = data.outer().join("previous.secret");
    fs::copy(secret.path(), &previous).expect("copies");
    let server = secret
        .options(&data)
        .arg("--auth-secret-previous")
        .arg(path_str(&previous))
        .env("WEFT_LOG_LEVEL", "trace")
        .start();
    let js = Js::start();
    let first_secret = secret.text();
    let old = secret.mint(&["--doc", "*", "--access", "write", "--sub", "ada"]);
    let editor = js.open_with(LATEST, &server, "a", params(&old));
    editor.synced();

    // A second secret comes beside the first: nobody notices, and tokens of both are good.
    fs::remove_file(secret.path()).expect("removes");
    Cli::on(data.path()).done(&["token", "--new-secret", path_str(secret.path())]);
    let new = secret.mint(&["--doc", "*", "--access", "write", "--sub", "ada"]);
    assert!(!lets_in(&server, &new), "not before the signal");
    assert_eq!(hang_up(&server), (true, true));
    assert!(lets_in(&server, &old) && lets_in(&server, &new));
    editor.run("map.set('still', 'here')");
    editor.ack();
    assert_eq!((editor.opens(), editor.closes().len()), (1, 0));

    // Bad files: each is refused and named, and everything stays as it was.
    let good = fs::read(secret.path()).expect("reads");
    let long = "x".repeat(70_000);
    let mut failures = 0;
    for (text, mode, said) in [
        ("short-but-secret", 0o600, "16 bytes"),
        ("", 0o600, "0 bytes"),
        (&*long, 0o600, "larger than 64 kB"),
        ("0123456789012345678901234567890123456789-canary", 0o644, "chmod 600"),
        ("0123456789012345678901234567890123456789-canary", 0o620, "chmod 600"),
    ] {
        fs::write(secret.path(), text).expect("writes");
        fs::set_permissions(secret.path(), fs::Permissions::from_mode(mode)).expect("sets");
        assert_eq!(hang_up(&server), (false, true), "{said}");
        failures += 1;
        assert!(server.stderr().contains(said), "{said}: {}", server.stderr());
        assert!(lets_in(&server, &old) && lets_in(&server, &new), "{said}");
    }
    fs::remove_file(secret.path()).expect("removes");
    assert_eq!(hang_up(&server), (false, true), "a file that is gone");
    assert_eq!(reloads(&server, "keys", "failed"), failures + 1);
    assert_eq!(metric(&server, "weft_reload_failing{what=\"keys\"}"), 1);
    assert_eq!(editor.closes().len(), 0);

    // The old secret goes: whoever came with it is closed, whoever comes with it is denied.
    fs::write(secret.path(), &good).expect("writes");
    fs::set_permissions(secret.path(), fs::Permissions::from_mode(0o600)).expect("sets");
    fs::write(&previous, &good).expect("writes");
    let beside = js.open_with(LATEST, &server, "a", params(&new));
    beside.synced();
    assert_eq!(hang_up(&server), (true, true));
    assert_eq!(metric(&server, "weft_reload_failing{what=\"keys\"}"), 0);
    editor.wait("me.closes.length > 0");
    assert_eq!(editor.closes()[0].code, 4401);
    assert!(!lets_in(&server, &old) && lets_in(&server, &new));
    beside.run("map.set('beside', 'here')");
    beside.ack();
    assert_eq!(beside.closes().len(), 0);

    // The whole log of all that, at its loudest, holds no secret and no token.
    let log = server.stderr();
    assert!(log.contains("keys read anew") && log.contains("stays in force"), "the log is on");
    let credential = Admin::of(&server).credential.expect("a credential");
    let canaries = [&*first_secret, &secret.text(), &credential, "short-but-secret", "-canary"];
    let tokens = [&old, &new].into_iter().flat_map(|token| token.split('.').skip(1));
    for canary in canaries.into_iter().chain(tokens) {
        assert!(!log.contains(canary), "{canary} is in the log");
    }
}

#[test]
fn hardening_1_revocations_are_read_anew() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let mut server = secret.options(&data).start();
    let ada = secret.mint(&["--doc", "*", "--sub", "ada"]);
    let bob = secret.mint(&["--doc", "*", "--sub", "bob"]);
    Cli::of(&server).done(&["token", "--revoke", "nobody"]);
    let file = data.path().join("revoked.json");
    let before = fs::read_to_string(&file).expect("reads");
    let mut socket = Socket::connect(server.addr(), &format!("a?token={ada}"));
    socket.pull(&[0]);

    for bad in ["{", "{}", r#"{"version":9,"revocations":[]}"#] {
        fs::write(&file, bad).expect("writes");
        assert_eq!(hang_up(&server), (true, false), "{bad}");
    }
    fs::remove_file(&file).expect("removes");
    assert_eq!(hang_up(&server), (true, false), "a list that is gone lets nobody in again");
    assert!(lets_in(&server, &ada));

    let mut list: Value = serde_json::from_str(&before).expect("JSON");
    let at = list["revocations"][0]["at"].as_u64().expect("a time");
    list["revocations"].as_array_mut().expect("a list").push(json!({ "sub": "ada", "at": at + 60 }));
    fs::write(&file, list.to_string()).expect("writes");
    assert_eq!(hang_up(&server), (true, true));
    assert_eq!(socket.until_closed(PATIENCE), Some(4401));
    assert!(!lets_in(&server, &ada) && lets_in(&server, &bob));
    server.drain();
    server.restart();
    assert!(!lets_in(&server, &ada));
}

#[test]
fn hardening_1_a_server_without_keys_takes_no_harm_from_the_signal() {
    let data = DataDir::new();
    let mut server = Options::new(data.path()).start();
    server.signal(Signal::HUP);
    wait::until("it says so", PATIENCE, || server.stderr().contains("nothing to read anew").then_some(()));
    server.assert_alive();
    let mut socket = Socket::connect(server.addr(), "a");
    socket.send(message::step1_empty());
    socket.pull(&[0]);
    server.drain();
}
