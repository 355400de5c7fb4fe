//! `--auth-webhook` (contract 2.4): an application's word on who gets in, also when it hangs, errs and comes back.

use std::time::{Duration, Instant};

use crdt_tests::admin::Admin;
use crdt_tests::cli::{Cli, path_str};
use crdt_tests::hook::{Hook, Manner};
use crdt_tests::js::{Js, LATEST};
use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::{Secret, params};
use crdt_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};
use weft::limits::WEBHOOK_FAILURES_MAX;

/// An application that knows `NAME:read` and `NAME:write` in documents under `ours/`.
fn application(question: &Value) -> (u16, String) {
    let known = |text: &Value| text.as_str().expect("text").to_owned();
    let (token, document) = (known(&question["token"]), known(&question["document"]));
    match token.split_once(':') {
        Some((name, access)) if document.starts_with("ours/") && access != "none" => {
            (200, json!({ "sub": name, "access": access, "more": [1] }).to_string())
        }
        _ => (403, String::new()),
    }
}

fn answering() -> Manner {
    Manner::Answer(Box::new(application))
}

fn options(data: &DataDir, hook: &Hook) -> Options {
    Options::new(data.path()).arg("--auth-webhook").arg(hook.url())
}

/// A socket that came with a token, and whether it is in.
fn received(server: &Server, doc: &str, token: &str) -> (bool, Socket) {
    let mut socket = Socket::greet(server.addr(), &format!("{doc}?token={token}"));
    let first = socket.next(PATIENCE).expect("it is told something");
    (!first.starts_with(&[2, 0]), socket)
}

fn lets_in(server: &Server, doc: &str, token: &str) -> bool {
    received(server, doc, token).0
}

/// The code with which one that is not let in is closed in the end.
fn refused(server: &Server, doc: &str, token: &str) -> Option<u16> {
    let (is_in, mut socket) = received(server, doc, token);
    assert!(!is_in, "{token} in {doc}");
    socket.until_closed(PATIENCE)
}

fn metric(server: &Server, sample: &str) -> f64 {
    let text = Admin::of(server).get("/metrics").text();
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok());
    line.unwrap_or_else(|| panic!("no {sample} in {text}"))
}

fn count(server: &Server, result: &str) -> f64 {
    metric(server, &format!("weft_webhook_total{{result=\"{result}\"}}"))
}

#[test]
fn c2_4_the_webhook_lets_in_clients_of_every_dialect() {
    let data = DataDir::new();
    let hook = Hook::start(answering());
    let secret = Secret::new(&data);
    let server = options(&data, &hook)
        .arg("--auth-webhook-secret")
        .arg(path_str(secret.path()))
        .env("WEFT_LOG_LEVEL", "trace")
        .start();
    let js = Js::start();
    let editor = js.open_with(LATEST, &server, "ours/a", params("ada:write"));
    let hocus = js.open_with("hocuspocus-4.8.0", &server, "ours/a", params("bob:write"));
    js.synced(&[&editor, &hocus]);
    editor.run("text.insert(0, 'by ada ')");
    editor.ack();
    hocus.run("text.insert(0, 'by bob ')");
    js.converged(&[&editor, &hocus]);
    let asked = hook.asked();
    let first = &asked[0];
    assert_eq!(first.authorization.as_deref(), Some(&*format!("Bearer {}", secret.text())));
    assert!(
        asked.iter().any(
            |asked| asked.question == json!({ "token": "bob:write", "document": "ours/a", "address": "127.0.0.1" })
        )
    );

    // A reader reads, a stranger is told so, and who has no token is not asked about.
    let reader = js.open_with("hocuspocus-4.8.0", &server, "ours/a", params("eve:read"));
    reader.synced();
    assert_eq!(reader.get::<String>("provider.authorizedScope"), "readonly");
    let stranger = js.open_with("hocuspocus-4.8.0", &server, "theirs", params("eve:write"));
    stranger.wait("me.events.some(e => e.event === 'authenticationFailed')");
    assert_eq!(refused(&server, "theirs", "eve:write"), Some(4403));
    let before = hook.asked().len();
    assert_eq!(refused(&server, "ours/a", ""), Some(4401));
    assert_eq!(hook.asked().len(), before);
    let (_, mut read_only) = received(&server, "ours/b", "eve:read");
    let mut author = Writer::new(9);
    read_only.send(message::update(&author.append("x")));
    let empty = read_only.pull(&[0]);
    assert!(empty.len() < 16, "a reader's edit is dropped: {empty:?}");

    // y-sweet's back end is an admin, whom no hook makes.
    let (listing, connections) =
        (Admin { addr: server.admin_addr(), credential: Some("ada:write".into()) }, Admin::of(&server));
    assert_eq!(listing.send("GET", "/api/v1/docs").status, 401);
    let public = Admin { addr: server.addr(), credential: Some("ada:write".into()) };
    assert_eq!(public.send("POST", "/doc/new").status, 401);
    for (target, token, status) in [("/d/x/as-update", "ada:write", 403), ("/d/x/as-update", "", 401)] {
        let caller = Admin { addr: server.addr(), credential: (!token.is_empty()).then(|| token.to_owned()) };
        assert_eq!(caller.send("GET", target).status, status, "{target} {token}");
    }
    // By the subject that it names, its grants can be taken back.
    let listed = connections.get("/api/v1/connections?limit=100").json();
    assert!(listed["connections"].as_array().expect("a list").iter().any(|one| one["user"] == "ada"), "{listed}");
    let report = Cli::of(&server).done(&["token", "--revoke", "ada", "--json"]).json();
    assert_eq!(report["closed"], 1, "{report}");
    editor.wait("me.closes.length > 0");
    assert_eq!(editor.closes()[0].code, 4401);

    let log = server.stderr();
    assert!(log.contains("a client is denied a document"), "the log is on");
    for canary in ["ada:write", "eve:read", "canary-in-the-url", &*secret.text()] {
        assert!(!log.contains(canary), "{canary} is in the log");
    }
}

#[test]
fn hardening_1_the_webhook_fails_closed_and_comes_back() {
    let data = DataDir::new();
    let hook = Hook::start(answering());
    let server =
        options(&data, &hook).arg("--auth-webhook-timeout").arg("300ms").arg("--auth-webhook-cache").arg("0s").start();
    let js = Js::start();
    let editor = js.open_with(LATEST, &server, "ours/a", params("ada:write"));
    let hocus = js.open_with("hocuspocus-4.8.0", &server, "ours/a", params("bob:write"));
    js.synced(&[&editor, &hocus]);

    // However it fails, nobody is let in, and everybody may come again.
    let answer = |status: u16, body: &'static str| Manner::Answer(Box::new(move |_: &Value| (status, body.to_owned())));
    let huge = "{\"access\":\"write\",\"x\":\"".to_owned() + &"x".repeat(70_000) + "\"}";
    let huge: &'static str = huge.leak();
    let mut failures = 0_u32;
    for manner in [
        Manner::Hang,
        Manner::BreakOff,
        answer(500, ""),
        answer(302, ""),
        answer(404, ""),
        answer(204, "{\"access\":\"write\"}"),
        answer(200, ""),
        answer(200, "{}"),
        answer(200, "true"),
        answer(200, "{\"access\":\"admin\"}"),
        answer(200, "{\"access\":\"WRITE\"}"),
        answer(200, "{\"sub\":7,\"access\":\"write\"}"),
        answer(200, "{\"access\":\"write\",\"exp\":\"never\"}"),
        answer(200, "{\"access\":\"write\",\"exp\":-1}"),
        answer(200, huge),
    ] {
        hook.set(manner);
        let (is_in, mut socket) = received(&server, "ours/a", "eve:write");
        assert!(!is_in, "failure {failures}");
        if failures == 0 {
            assert_eq!(socket.until_closed(PATIENCE), Some(1013));
        }
        failures += 1;
        // One good word in between, or it would be left alone.
        hook.set(answering());
        assert!(lets_in(&server, "ours/a", "eve:write"));
    }
    assert_eq!(count(&server, "failed"), f64::from(failures));
    // Granted, but for no time at all.
    hook.set(answer(200, "{\"access\":\"write\",\"exp\":1}"));
    let (_, mut short) = received(&server, "ours/a", "eve:write");
    assert!(matches!(short.until_closed(PATIENCE), Some(4401 | 4501)));

    // It hangs: after some failures it is not even asked, and answers are given at once.
    hook.set(Manner::Hang);
    for _ in 0..WEBHOOK_FAILURES_MAX {
        assert!(!lets_in(&server, "ours/a", "eve:write"));
    }
    assert_eq!(metric(&server, "weft_webhook_up"), 0.0);
    let public = Admin { addr: server.addr(), credential: Some("eve:write".into()) };
    assert_eq!(public.send("GET", "/d/x/as-update").status, 503);
    let (asked, began) = (hook.asked().len(), Instant::now());
    for _ in 0..20 {
        assert!(!lets_in(&server, "ours/a", "eve:write"));
    }
    assert!(hook.asked().len() <= asked + 3, "it is left alone");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(count(&server, "spared") >= 15.0);
    let waiting = js.open_with("hocuspocus-4.8.0", &server, "ours/a", params("late:write"));
    // Those who are in notice nothing.
    editor.run("map.set('meanwhile', 'here')");
    editor.ack();
    js.converged(&[&editor, &hocus]);
    assert_eq!((editor.opens(), hocus.opens()), (1, 1));

    // It comes back, and so does who waited, by itself.
    hook.set(answering());
    wait::until("it is asked again", PATIENCE, || lets_in(&server, "ours/a", "eve:write").then_some(()));
    assert_eq!(metric(&server, "weft_webhook_up"), 1.0);
    waiting.synced();
    js.converged(&[&editor, &hocus, &waiting]);
    let log = server.stderr();
    assert!(log.contains("the auth webhook fails") && log.contains("answers again"), "{log}");
}

#[test]
fn hardening_1_a_crowd_asks_the_webhook_once() {
    let data = DataDir::new();
    let hook = Hook::start(answering());
    let server = options(&data, &hook).start();
    assert!(lets_in(&server, "ours/a", "ada:write"));
    for _ in 0..100 {
        assert!(lets_in(&server, "ours/a", "ada:write"));
    }
    assert_eq!(refused(&server, "theirs", "ada:write"), Some(4403));
    assert_eq!(public(&server, "ada:write"), 403);
    assert_eq!((hook.asked().len(), count(&server, "cached")), (3, 100.0));
    // What is remembered does not outlive a revocation.
    wait::until("a second has passed", PATIENCE, || {
        Cli::of(&server).done(&["token", "--revoke", "ada"]);
        let asked = hook.asked().len();
        lets_in(&server, "ours/a", "ada:write");
        (hook.asked().len() > asked).then_some(())
    });
}

fn public(server: &Server, token: &str) -> u16 {
    Admin { addr: server.addr(), credential: Some(token.into()) }.send("GET", "/d/x/as-update").status
}

#[test]
fn c2_4_with_keys_the_webhook_and_the_token_must_agree() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let says = |access: &'static str| {
        Manner::Answer(Box::new(move |_: &Value| match access {
            "no" => (403, String::new()),
            access => (200, json!({ "access": access }).to_string()),
        }))
    };
    let hook = Hook::start(says("write"));
    let server =
        secret.options(&data).arg("--auth-webhook").arg(hook.url()).arg("--auth-webhook-cache").arg("0s").start();
    let token = |access: &str| secret.mint(&["--doc", "a", "--access", access, "--sub", "ada"]);
    let denied = |token: &str| refused(&server, "a", token);
    let mut clients = 70;
    let mut writes = |token: &str| {
        let (is_in, mut socket) = received(&server, "a", token);
        assert!(is_in, "is let in");
        clients += 1;
        socket.send(message::update(&Writer::new(clients).append("x")));
        socket.send(message::ack(1));
        let mut acked = false;
        while let Some(frame) = socket.next(Duration::from_millis(700)) {
            acked |= frame == message::ack(1);
        }
        acked
    };
    assert_eq!(denied("opaque"), Some(4401));
    assert_eq!(hook.asked().len(), 0, "a bad token is not asked about");
    assert!(writes(&token("write")));
    assert!(!writes(&token("read")));
    hook.set(says("read"));
    assert!(!writes(&token("write")));
    hook.set(says("no"));
    assert_eq!(denied(&token("write")), Some(4403));
}

/// HARDENING §1, secrets: hot reload. A file that cannot be used changes nothing.
#[test]
fn hardening_1_what_the_hook_is_sent_is_read_anew() {
    let data = DataDir::new();
    let hook = Hook::start(answering());
    let file = data.outer().join("hook.secret");
    let write = |text: &str, mode: u32| {
        let _ = std::fs::remove_file(&file);
        std::fs::write(&file, text).expect("writes");
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("sets");
    };
    write("first-secret-of-the-hook-0123456789", 0o600);
    let path = crdt_tests::cli::path_str(&file);
    let server = ["--auth-webhook", &hook.url(), "--auth-webhook-secret", path, "--auth-webhook-cache", "0s"]
        .iter()
        .fold(Options::new(data.path()), |options, arg| options.arg(*arg))
        .start();
    let sent = |doc: &str| {
        let asked = hook.asked().len();
        let mut socket = Socket::greet(server.addr(), &format!("{doc}?token=t"));
        socket.next(PATIENCE).expect("an answer");
        hook.asked()[asked].authorization.clone().expect("it is sent something")
    };
    let tries = |result: &str| {
        let text = Admin::of(&server).get("/metrics").text();
        let sample = format!("weft_reloads_total{{what=\"webhook\",result=\"{result}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&sample)?.parse::<u64>().ok()).expect("is counted")
    };
    let hang_up = |result: &str| {
        let before = tries(result);
        server.signal(rustix::process::Signal::HUP);
        wait::until("the file was looked at", PATIENCE, || (tries(result) > before).then_some(()));
    };
    assert_eq!(sent("a"), "Bearer first-secret-of-the-hook-0123456789");
    write("second-secret-of-the-hook-0123456789", 0o600);
    assert_eq!(sent("b"), "Bearer first-secret-of-the-hook-0123456789", "not before the signal");
    hang_up("ok");
    assert_eq!(sent("c"), "Bearer second-secret-of-the-hook-0123456789");
    write("third-secret-of-the-hook-0123456789", 0o644);
    hang_up("failed");
    assert_eq!(sent("d"), "Bearer second-secret-of-the-hook-0123456789");
}
