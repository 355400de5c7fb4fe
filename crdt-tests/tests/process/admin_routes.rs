//! Every route of the admin API, as its own description lists them: who is let in, what is refused and how.

use std::io::Write;
use std::process::{Command, Stdio};

use crdt_tests::admin::Admin;
use crdt_tests::js;
use crdt_tests::message::Writer;
use crdt_tests::server::{DataDir, Options, Server};
use serde_json::Value;

const METHODS: [&str; 3] = ["get", "post", "delete"];

/// Every method on every path, a document's name and a connection's number in place of what is open.
fn routes(admin: &Admin) -> Vec<(String, String, Value)> {
    let description = admin.get("/api/v1/openapi.json").json();
    let paths = description["paths"].as_object().expect("paths").clone();
    let mut routes = Vec::new();
    for (path, item) in paths {
        let target = path.replace("{doc}", "a%2Fdoc").replace("{id}", "999999");
        for method in METHODS {
            if item[method].is_object() {
                routes.push((method.to_uppercase(), target.clone(), item[method].clone()));
            }
        }
    }
    assert!(routes.len() > 10, "{routes:?}");
    routes
}

#[test]
fn c2_3_the_description_is_valid_openapi() {
    js::ensure_packages();
    let data = DataDir::new();
    let server = Server::start(&data);
    let description = Admin::of(&server).get("/api/v1/openapi.json");
    assert_eq!(description.header("content-type"), Some("application/json"));
    let mut validator = Command::new("node")
        .arg("openapi.mjs")
        .current_dir(js::folder())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cannot run node");
    validator.stdin.take().expect("piped").write_all(&description.body).expect("node reads");
    let output = validator.wait_with_output().expect("node ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn c2_3_strangers_learn_nothing_and_wrong_requests_are_told_why() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let admin = Admin::of(&server);
    let update = Writer::new(1).append("content");
    admin.send_with("POST", "/api/v1/docs/a%2Fdoc/update", &[], &update).ok();
    let strangers = [None, Some("wrong".to_owned()), Some(String::new())];
    let public = Admin { addr: server.addr(), credential: admin.credential.clone() };
    for (method, target, operation) in routes(&admin) {
        let open = operation["security"].is_array();
        for credential in &strangers {
            let stranger = Admin { credential: credential.clone(), ..admin.clone() };
            let answer = stranger.send(&method, &target);
            if open {
                assert_eq!(answer.status, 200, "{method} {target}");
            } else {
                assert_eq!((answer.status, &*answer.problem()), (401, "unauthorized"), "{method} {target}");
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
            }
        }
        // A method that the path does not take, whichever those are.
        let wrong = admin.send("PATCH", &target);
        assert_eq!((wrong.status, &*wrong.problem()), (405, "method-not-allowed"), "{target}");
        assert!(wrong.header("allow").is_some_and(|allow| allow.split(", ").any(|known| known == method)), "{wrong:?}");
        let unknown = admin.send(&method, &format!("{target}?misspelt=1"));
        if operation["responses"]["400"].is_object() {
            assert_eq!((unknown.status, &*unknown.problem()), (400, "bad-request"), "{method} {target}");
        }
        if method == "GET" {
            let (whole, head) = (admin.send("GET", &target), admin.send("HEAD", &target));
            assert_eq!((head.status, head.body.len()), (whole.status, 0), "HEAD {target}");
            assert_eq!(head.header("content-type"), whole.header("content-type"), "HEAD {target}");
        }
        // The public listener knows nothing of it, whatever the credential; only probes are on both.
        if !open {
            let outside = public.send(&method, &target);
            assert!(matches!(outside.status, 405 | 426), "{method} {target} on the public listener: {outside:?}");
            assert!(!outside.text().contains("content"), "{outside:?}");
        }
    }
    server.assert_alive();
    let stranger = Admin { credential: None, ..admin.clone() };
    assert_eq!(stranger.send("GET", "/api/v1/nothing").status, 401, "what is there is not for strangers to know");
    for (method, target, body, status, kind) in [
        ("GET", "/", &b""[..], 404, "no-such-route"),
        ("GET", "/api/v1/docs/a/b/c", b"", 404, "no-such-route"),
        ("GET", "/api/v1/docs/absent", b"", 404, "no-such-document"),
        ("GET", "/api/v1/docs/absent/update", b"", 404, "no-such-document"),
        ("GET", "/api/v1/docs/absent/content", b"", 404, "no-such-document"),
        ("POST", "/api/v1/docs/absent/compact", b"", 404, "no-such-document"),
        ("GET", "/api/v1/docs/%00", b"", 400, "bad-document-name"),
        ("GET", "/api/v1/docs/a%2Fdoc/update?sv=!", b"", 400, "bad-request"),
        ("GET", "/api/v1/docs?limit=x", b"", 400, "bad-request"),
        ("GET", "/api/v1/connections?after=-1", b"", 400, "bad-request"),
        ("DELETE", "/api/v1/connections/x", b"", 400, "bad-request"),
        ("DELETE", "/api/v1/connections/999999", b"", 404, "no-such-connection"),
        ("POST", "/api/v1/docs/a%2Fdoc/update", b"garbage", 422, "bad-update"),
        ("POST", "/api/v1/docs/a%2Fdoc/update", b"", 422, "bad-update"),
    ] {
        let answer = admin.send_with(method, target, &[], body);
        assert_eq!((answer.status, &*answer.problem()), (status, kind), "{method} {target}");
    }
    assert_eq!(admin.get("/api/v1/docs/a%2Fdoc/text").text(), "content", "nothing of all that changed anything");
}

#[test]
fn c2_1_an_admin_can_ask_for_the_drain() {
    let data = DataDir::new();
    let mut server = Options::new(data.path()).env("WEFT_DRAIN_MS", "300").start();
    let admin = Admin::of(&server);
    let js = js::Js::start();
    let client = js.open(js::LATEST, &server, "d");
    js.synced(&[&client]);
    let answer = admin.send("POST", "/api/v1/drain");
    assert_eq!((answer.status, answer.json()["drain_ms"].as_u64()), (202, Some(300)), "{answer:?}");
    assert!(server.wait_exit(crdt_tests::wait::PATIENCE).success(), "{}", server.stderr());

    // Also when there is nobody to be sent away, and the end comes at once.
    let mut server = Server::start(&data);
    let answer = Admin::of(&server).send("POST", "/api/v1/drain");
    assert_eq!((answer.status, answer.cut_short), (202, false));
    assert!(server.wait_exit(crdt_tests::wait::PATIENCE).success(), "{}", server.stderr());
}
