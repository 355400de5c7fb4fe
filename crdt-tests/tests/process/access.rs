//! Who gets in, and what they may do there: stock clients and sockets of our own on a server that asks for tokens
//! (contract 2.4, WIRE §6, HARDENING §1).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crdt_tests::cli::{Cli, path_str};
use crdt_tests::js::{Client, Js, LATEST, VERSIONS};
use crdt_tests::message::{self, Writer};
use crdt_tests::process;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::{Secret, params};
use crdt_tests::wait::{self, PATIENCE};
use serde_json::{Value, json};
use weft::ids::Access;

/// `[0, 2, …]` was never answered with `[2, 0, …]`, and so on: what a socket was sent, by its first bytes.
fn denied(frame: &[u8]) -> bool {
    frame.starts_with(&[2, 0])
}

/// The whole answer to an HTTP request.
fn http(addr: SocketAddr, method: &str, target: &str, authorization: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(addr).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!("{method} {target} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n{authorization}");
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

fn body(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
}

#[test]
fn hardening_1_no_token_is_in_a_log_or_a_file() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).env("WEFT_LOG_LEVEL", "trace").start();
    let js = Js::start();
    let good = secret.mint(&["--doc", "notes/*", "--access", "write", "--sub", "ada"]);
    let elsewhere = secret.mint(&["--doc", "todo", "--access", "write"]);
    // Another signature for certain: one in sixteen ends with any given letter.
    let (claims, signature) = good.rsplit_once('.').expect("a signature");
    let forged = format!("{claims}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    let expired = secret.good_for("ada", &["notes/*"], Access::Write, 0);

    let editor = js.open_with(LATEST, &server, "notes/a", params(&good));
    editor.synced();
    editor.run("text.insert(0, 'edited')");
    editor.ack();
    let state = editor.state();

    let without = [(json!({}), 4401), (params(&forged), 4401), (params(&expired), 4401), (params(&elsewhere), 4403)];
    for (options, code) in without {
        let stranger = js.open_with(LATEST, &server, "notes/a", options);
        stranger.run("text.insert(0, 'stranger')");
        stranger.wait("me.closes.length > 0");
        assert_eq!(stranger.closes()[0].code, code);
    }
    editor.ack();
    editor.state().assert_same(&state, "after strangers came");

    // HARDENING §1: neither tokens nor the secret are in any log or file, however much is logged.
    let headers = format!("Authorization: Bearer {good}\r\n");
    assert_eq!(status(&http(server.admin_addr(), "GET", "/api/v1/docs", &headers, "")), 401);
    assert_eq!(status(&http(server.addr(), "GET", &format!("/notes/a?token={good}"), &headers, "")), 426);
    let log = server.stderr();
    assert!(log.contains("a client is denied a document"), "the log is on");
    for canary in [&good, &forged, &expired, &elsewhere, &secret.text()] {
        for part in canary.split('.').filter(|part| part.len() > 20) {
            // All tokens share a header, which tells nothing; their claims and signatures are what must not be seen.
            assert!(part == good.split('.').next().expect("a header") || !log.contains(part), "a token in the log");
        }
    }
    let signature = good.split('.').next_back().expect("a signature").as_bytes();
    for entry in walk(&data.path()) {
        let bytes = std::fs::read(&entry).expect("readable");
        assert!(!bytes.windows(signature.len()).any(|window| window == signature), "a token in {}", entry.display());
    }
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// role × document × message kind, on the real server: what comes of each.
#[test]
fn hardening_1_roles_documents_and_messages() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let observer_token = secret.mint(&["--doc", "*", "--access", "write"]);
    let roles = [
        ("writer", secret.mint(&["--doc", "in/*", "--doc", "named", "--access", "write"])),
        ("reader", secret.mint(&["--doc", "in/*", "--doc", "named", "--access", "read"])),
        ("admin", secret.mint(&["--admin"])),
        ("nobody", String::new()),
        ("forger", format!("{}x", secret.mint(&["--doc", "*", "--access", "write"]))),
    ];
    let with = |doc: &str, token: &str| Socket::connect(server.addr(), &format!("{doc}?token={token}"));
    let mut seen = BTreeMap::new();
    for (number, (role, token)) in roles.iter().enumerate() {
        for doc in ["in/a", "named", "in", "out"] {
            let mut observer = with(doc, &observer_token);
            observer.pull(&[0]);
            let before = observer.pull(&[0]);
            let mut socket = with(doc, token);
            let opens = !matches!(*role, "admin" | "nobody" | "forger") && matches!(doc, "in/a" | "named");
            let client = 1_000 + number as u64;
            let mut author = Writer::new(client);
            // Presence first: an observer that sees a later update has seen it, so its absence means something.
            for kind in ["hello", "awareness", "query", "step1", "ack", "update", "step2", "ack after news"] {
                let frame = match kind {
                    "awareness" => message::awareness(&[(client, 1, "{\"name\":1}")]),
                    "query" => message::QUERY_AWARENESS.to_vec(),
                    "hello" | "step1" => message::step1_empty(),
                    "ack" => message::ack(1),
                    "update" => message::update(&author.append("u")),
                    "step2" => message::step2(&author.append("s")),
                    _ => message::ack(2),
                };
                socket.send(frame);
                if kind == "ack" && opens {
                    socket.until("an ack", |frame| *frame == message::ack(1));
                }
            }
            // The last word of a socket that is heard; of others only the denial comes.
            match (opens, *role) {
                (true, "writer") => drop(socket.until("an ack", |frame| *frame == message::ack(2))),
                (true, _) => drop(socket.pull(&[0])),
                (false, _) => drop(socket.until("a denial", denied)),
            }
            // Its edits and presence went through the same inbox as the observer's question, before it or not at all.
            std::thread::sleep(Duration::from_millis(if opens { 0 } else { 150 }));
            socket.poll();
            let after = observer.pull(&[0]);
            observer.poll();
            let received = |frames: &[Vec<u8>], kind: &[u8]| frames.iter().any(|frame| frame.starts_with(kind));
            let presence = observer.frames.iter().filter_map(|frame| message::presences(frame)).flatten();
            let outcome = json!({
                "step2": received(&socket.frames, &[0, 1]),
                "acked before news": received(&socket.frames, &message::ack(1)),
                "acked after news": received(&socket.frames, &message::ack(2)),
                "presence": presence.into_iter().any(|entry| entry.client == client),
                "changed": after != before,
                "denied": received(&socket.frames, &[2, 0]),
            });
            let writes = opens && *role == "writer";
            let expected = json!({
                "step2": opens, "acked before news": opens, "acked after news": writes, "presence": opens,
                "changed": writes, "denied": !opens,
            });
            assert_eq!(outcome, expected, "{role} in {doc}");
            if !opens {
                assert!(socket.frames.iter().all(|frame| denied(frame)), "{role} in {doc}: {:?}", socket.frames);
            }
            seen.insert((*role, doc), outcome);
        }
    }
    assert_eq!(seen.len(), 20);
    // A hundred edits by each way, in one piece with everything else that a reader may send.
    let before = Cli::of(&server).export_update("named");
    let mut reader = with("named", &roles[1].1);
    let mut author = Writer::new(77);
    for _ in 0..100 {
        reader.send(message::update(&author.append("x")));
        reader.send(message::step2(&author.all()));
    }
    reader.pull(&[0]);
    assert_eq!(Cli::of(&server).export_update("named"), before);
}

#[test]
fn wire_6_a_token_that_expires_is_asked_for_again() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let js = Js::start();
    let short = secret.good_for("ada", &["a"], Access::Write, 3);
    let [renewed, stale] = [0, 1].map(|_| js.open_with(LATEST, &server, "a", params(&short)));
    js.synced(&[&renewed, &stale]);
    renewed.run_with("provider.params = { token: args }", json!(secret.mint(&["--doc", "a", "--access", "write"])));
    // Not by its death, but by the clock: both are busy to the end.
    renewed.storm("r");
    stale.wait("me.closes.length === 2");
    assert_eq!(stale.closes().iter().map(|close| close.code).collect::<Vec<_>>(), [4501, 4401]);
    assert!(!stale.get::<bool>("provider.shouldConnect"));
    renewed.wait("me.opens === 2 && provider.synced");
    assert_eq!(renewed.closes()[0].code, 4501);
    renewed.storm_stop();
    renewed.run("map.set('still', 'here')");
    renewed.ack();
}

#[test]
fn c2_3_revoke_ends_sessions_at_once_and_tokens_for_good() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let mut server = secret.options(&data).start();
    let cli = Cli::of(&server);
    let js = Js::start();
    let ada = secret.mint(&["--doc", "*", "--access", "write", "--sub", "ada"]);
    let bob = secret.mint(&["--doc", "*", "--access", "write", "--sub", "bob"]);
    let stormy: Vec<Client<'_>> =
        VERSIONS.iter().map(|version| js.open_with(version, &server, "burst", params(&ada))).collect();
    let observer = js.open_with(LATEST, &server, "burst", params(&bob));
    let [bob_on_b, bob_on_c] = ["b", "c"].map(|room| js.open_with(LATEST, &server, room, params(&bob)));
    js.synced(&stormy.iter().chain([&observer, &bob_on_b, &bob_on_c]).collect::<Vec<_>>());
    stormy.iter().enumerate().for_each(|(n, client)| client.storm(&n.to_string()));
    crdt_tests::js::storms_acked(&js, &stormy, 1_000);

    let report = cli.done(&["token", "--revoke", "ada", "--json"]).json();
    let revoked = Instant::now();
    assert_eq!((&report["sub"], &report["closed"]), (&json!("ada"), &json!(3)), "{report}");
    for client in &stormy {
        client.wait_within("me.closes.length > 0", Value::Null, Duration::from_secs(1));
        assert_eq!(client.closes()[0].code, 4401, "{}", client.version);
    }
    assert!(revoked.elapsed() < Duration::from_secs(1), "{:?}", revoked.elapsed());
    let length = || observer.run("array.length").as_u64().expect("a length");
    std::thread::sleep(Duration::from_secs(1).saturating_sub(revoked.elapsed()));
    // An ack comes behind whatever was fanned out before.
    observer.ack();
    let then = length();
    // They come back with the same token while the observer goes on, and are denied.
    for client in &stormy {
        if client.version != LATEST {
            client.wait("me.opens >= 2");
        }
    }
    std::thread::sleep(Duration::from_secs(1));
    observer.ack();
    assert_eq!(length(), then, "an edit of a revoked session was accepted");
    assert!(then > 0);

    // One document: there the session ends, and the token is good for the others.
    let report = cli.done(&["token", "--revoke", "bob", "--doc", "b", "--json"]).json();
    assert_eq!((&report["doc"], &report["closed"]), (&json!("b"), &json!(1)), "{report}");
    bob_on_b.wait("me.closes.length === 1");
    assert_eq!(bob_on_b.closes()[0].code, 4403);
    bob_on_c.run("map.set('still', 'here')");
    bob_on_c.ack();

    // Across a restart, and for tokens that are older than the revocation only.
    drop((stormy, observer, bob_on_b, bob_on_c));
    server.drain();
    server.restart();
    let get = |token: &str| {
        let mut socket = Socket::greet(server.addr(), &format!("burst?token={token}"));
        denied(&socket.next(PATIENCE).expect("a first frame"))
    };
    assert!(get(&ada) && !get(&bob));
    wait::until("a second has passed", PATIENCE, || {
        (!get(&secret.mint(&["--doc", "*", "--sub", "ada"]))).then_some(())
    });

    // The admin's way without our command, and what goes wrong with it.
    let admin = format!("Authorization: Bearer {}\r\n", secret.mint(&["--admin", "--sub", "root"]));
    let post = |body: &str| http(server.admin_addr(), "POST", "/api/v1/revoke", &admin, body);
    let answer = post(r#"{"sub":"eve"}"#);
    assert_eq!((status(&answer), &body(&answer)["closed"]), (200, &json!(0)), "{answer}");
    for wrong in
        ["", "{}", "[]", r#"{"sub":7}"#, r#"{"sub":""}"#, r#"{"sub":"a","doc":""}"#, r#"{"sub":"a","dok":"b"}"#]
    {
        assert_eq!(status(&post(wrong)), 400, "{wrong}");
    }
    assert_eq!(status(&post(r#"{"sub":"root"}"#)), 200);
    assert_eq!(status(&post(r#"{"sub":"eve"}"#)), 401, "root has locked itself out");

    // Without a server as well.
    server.drain();
    let report = cli.done(&["token", "--revoke", "bob", "--json"]).json();
    assert_eq!((&report["sub"], &report["closed"]), (&json!("bob"), &json!(0)), "{report}");
    server.restart();
    let is_denied = |server: &Server| {
        denied(&Socket::greet(server.addr(), &format!("c?token={bob}")).next(PATIENCE).expect("a frame"))
    };
    assert!(is_denied(&server));

    // Nor does a backup let anybody back in, taken while serving or not.
    let files = ["online", "offline"].map(|name| data.outer().join(name));
    cli.done(&["backup", path_str(&files[0])]);
    server.drain();
    cli.done(&["backup", path_str(&files[1])]);
    for file in files {
        let restored = DataDir::new();
        Cli::on(restored.path()).done(&["restore", path_str(&file)]);
        assert!(is_denied(&secret.options(&restored).start()), "{file:?}");
    }
}

#[test]
fn c2_3_the_admin_api_takes_the_credential_or_an_admin_token() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let admin_file = std::fs::read_to_string(data.path().join("admin.json")).expect("admin.json");
    let credential = serde_json::from_str::<Value>(&admin_file).expect("JSON")["credential"].clone();
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let expired = secret.good_for("root", &["*"], Access::Write, 0);
    for (name, authorization, expected) in [
        ("credential", bearer(credential.as_str().expect("text")), 200),
        ("admin token", bearer(&secret.mint(&["--admin"])), 200),
        ("admin token of a writer", bearer(&secret.mint(&["--admin", "--doc", "a"])), 200),
        ("writer", bearer(&secret.mint(&["--doc", "*", "--access", "write"])), 401),
        ("expired", bearer(&expired), 401),
        ("nothing", String::new(), 401),
        ("garbage", bearer("garbage"), 401),
    ] {
        let answer = http(server.admin_addr(), "GET", "/api/v1/docs", &authorization, "");
        assert_eq!(status(&answer), expected, "{name}: {answer}");
        // Never on the public listener, whoever asks.
        let public = http(server.addr(), "GET", "/api/v1/docs", &authorization, "");
        assert_eq!(status(&public), 426, "{name}: {public}");
    }
    // A token in a URL is for those who can send no header, and no admin is one of them.
    let token = secret.mint(&["--admin"]);
    assert_eq!(status(&http(server.admin_addr(), "GET", &format!("/api/v1/docs?token={token}"), "", "")), 401);
}

/// HARDENING §1: a spray from strangers is neither kept nor carried to any document.
#[test]
fn hardening_1_strangers_cost_nothing() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let server = secret.options(&data).start();
    let token = secret.mint(&["--doc", "*", "--access", "write"]);
    let mut editor = Socket::connect(server.addr(), &format!("canary?token={token}"));
    editor.pull(&[0]);
    let before = process::rss_bytes(server.pid());
    process::reset_peak(server.pid());
    let mut strangers: Vec<Socket> = (0..200).map(|n| Socket::connect(server.addr(), &format!("never/{n}"))).collect();
    // A frame that claims 5 MB and of which 1 MB comes, as far as the socket takes it.
    let mut frame = vec![0x82, 0xff];
    frame.extend_from_slice(&5_000_000u64.to_be_bytes());
    frame.extend_from_slice(&[0; 4 + (1 << 20)]);
    for stranger in &mut strangers {
        stranger.stream().set_nonblocking(true).expect("a mode");
        stranger.send_raw(&frame);
    }
    let mut author = Writer::new(5);
    for _ in 0..50 {
        editor.send(message::update(&author.append("x")));
        editor.ack();
    }
    let grown = process::peak_rss_bytes(server.pid()).saturating_sub(before);
    assert!(grown < 40 << 20, "grew by {grown} bytes for 200 strangers");
    drop(strangers);
    let listed = Cli::of(&server).done(&["ls", "--json"]).json();
    assert_eq!(listed["docs"].as_array().map(Vec::len), Some(1), "{listed}");
}

#[test]
fn c2_1_keys_that_are_not_safe_are_refused() {
    use std::os::unix::fs::PermissionsExt;
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let refused = |data: &DataDir| secret.options(data).try_start().err().expect("is refused");
    std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(0o644)).expect("sets");
    crate::refusals::assert_refused(&refused(&data), &["weft.secret", "0644", "chmod 600"]);
    std::fs::set_permissions(secret.path(), std::fs::Permissions::from_mode(0o600)).expect("sets");
    std::fs::write(secret.path(), "too short").expect("writes");
    crate::refusals::assert_refused(&refused(&data), &["weft.secret", "9 bytes", "--new-secret"]);
    std::fs::remove_file(secret.path()).expect("removes");
    crate::refusals::assert_refused(&refused(&data), &["weft.secret"]);
    assert!(!data.path().exists(), "nothing was made");

    // A damaged list of revocations is no empty one.
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let mut server: Server = secret.options(&data).start();
    Cli::of(&server).done(&["token", "--revoke", "ada"]);
    server.drain();
    std::fs::write(data.path().join("revoked.json"), "{").expect("writes");
    let refusal = secret.options(&data).try_start().err().expect("is refused");
    crate::refusals::assert_refused(&refusal, &["revoked.json"]);
}
