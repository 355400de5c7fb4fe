//! y-sweet's SDK, as an application's back end uses it (WIRE §2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crdt_tests::admin::Admin;
use crdt_tests::cli::{Cli, path_str};
use crdt_tests::js::{Js, LATEST};
use crdt_tests::message::Writer;
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::tokens::Secret;
use serde_json::{Value, json};

use super::{connection_string, open, saved};

fn bytes(update: &[u8]) -> Value {
    json!({ "bytes": STANDARD.encode(update) })
}

#[test]
fn documents_are_made_opened_read_and_changed_by_the_sdk() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let js = Js::start();
    let manager = connection_string(&server, None);
    let sdk = |method: &str, args: Value| js.sdk(&manager, method, args);
    assert_eq!(sdk("checkStore", json!([])), Ok(json!({ "ok": true })));
    assert_eq!(sdk("createDoc", json!(["named-1"])), Ok(json!({ "docId": "named-1" })));
    assert_eq!(sdk("createDoc", json!(["named-1"])), Ok(json!({ "docId": "named-1" })), "again is no mistake");
    let random = sdk("createDoc", json!([])).expect("a document")["docId"].as_str().expect("its id").to_owned();
    assert!(random.len() > 20, "{random}");

    let token = sdk("getClientToken", json!(["named-1"])).expect("a token");
    let addr = server.addr();
    assert_eq!(token["url"], format!("ws://{addr}/d/named-1/ws"));
    assert_eq!(token["baseUrl"], format!("http://{addr}/d/named-1"));
    assert_eq!((&token["docId"], &token["authorization"]), (&"named-1".into(), &"full".into()));
    assert_eq!(token.get("token"), None, "nobody asks for one");
    for unknown in ["getClientToken", "getDocAsUpdate"] {
        let error = sdk(unknown, json!(["unknown"])).expect_err("there is no such document");
        assert!(error.contains("ServerError: Server responded with 404"), "{error}");
    }
    let error = sdk("createDoc", json!(["not an id"])).expect_err("it is not an id");
    assert!(error.contains("400"), "{error}");

    // A live client of each kind sees what the back end writes, and the back end what they write.
    let editor = js.open(LATEST, &server, "named-1");
    let sweet = open(&js, &server, "named-1");
    js.synced(&[&editor, &sweet]);
    let mut writer = Writer::new(77);
    sdk("updateDoc", json!(["named-1", bytes(&writer.append("from the back end "))])).expect("it is merged");
    for client in [&editor, &sweet] {
        client.wait("text.toString() === 'from the back end '");
    }
    sweet.run("text.insert(0, 'and from a client ')");
    saved(&sweet);
    let read = sdk("getDocAsUpdate", json!(["named-1"])).expect("an update");
    let read = STANDARD.decode(read.as_str().expect("bytes")).expect("base64");
    js.load(&read).assert_same(&sweet.state(), "what the back end reads");
    let error = sdk("updateDoc", json!(["named-1", bytes(b"\xffgarbage")])).expect_err("it is no update");
    assert!(error.contains("422"), "{error}");

    let made = sdk("createDocWithContent", json!([bytes(&Writer::new(5).append("template"))])).expect("a document");
    let made = made["docId"].as_str().expect("its id");
    assert_eq!(Cli::of(&server).export_json(made)["text"], "template");

    // What was answered is on disk.
    server.kill();
    server.restart();
    assert_eq!(Cli::of(&server).export_json("named-1")["text"], "and from a client from the back end ");
    assert_eq!(Cli::of(&server).export_json(made)["text"], "template");
    let manager = connection_string(&server, None);
    for there in ["named-1", &random, made] {
        js.sdk(&manager, "getClientToken", json!([there])).expect("it exists still");
    }
    let empty = js.sdk(&manager, "getDocAsUpdate", json!([random])).expect("an update");
    assert_eq!(STANDARD.decode(empty.as_str().expect("bytes")).expect("base64"), [0, 0]);
    assert_eq!(Cli::of(&server).run(&["verify", "--json"]).code, 0);
}

#[test]
fn with_keys_only_a_back_end_makes_documents_and_lets_clients_in() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let options = secret.options(&data).arg("--public-url").arg("https://collab.example.com/weft/");
    let server = options.arg("--auth-audience").arg("weft").start();
    let js = Js::start();
    let back_end = secret.mint(&["--admin", "--ttl", "1h", "--audience", "weft"]);
    let user = secret.mint(&["--doc", "*", "--access", "write", "--audience", "weft"]);
    for (token, error) in
        [(None, "NoAuthProvided"), (Some("nonsense"), "InvalidAuthProvided"), (Some(&*user), "InvalidAuthProvided")]
    {
        for (method, args) in [("checkStore", json!([])), ("createDoc", json!(["a"])), ("getClientToken", json!(["a"]))]
        {
            let refused = js.sdk(&connection_string(&server, token), method, args).expect_err("it is not the back end");
            assert!(refused.contains(error), "{method}: {refused}");
        }
    }
    let manager = connection_string(&server, Some(&back_end));
    let wanted = json!({ "authorization": "read-only", "userId": "ada", "validForSeconds": 60 });
    let token = js.sdk(&manager, "getOrCreateDocAndToken", json!(["a", wanted])).expect("a token");
    assert_eq!(token["url"], "wss://collab.example.com/weft/d/a/ws");
    assert_eq!(token["baseUrl"], "https://collab.example.com/weft/d/a");
    assert_eq!(token["authorization"], "read-only");
    let jwt = token["token"].as_str().expect("a token");
    let explained = Cli::on(data.path()).run(&["token", "--explain", jwt, "--json"]).json();
    let claims = &explained["claims"];
    assert_eq!((&claims["sub"], &claims["access"], &claims["docs"]), (&"ada".into(), &"read".into(), &json!(["a"])));
    assert_eq!(claims["exp"].as_u64().expect("an end") - claims["iat"].as_u64().expect("a beginning"), 60);
    for seconds in [json!(0), json!(1e9), json!("soon")] {
        let wanted = json!({ "validForSeconds": seconds });
        js.sdk(&manager, "getClientToken", json!(["a", wanted])).expect_err("not so long");
    }

    // What the document's own routes allow is what its token says, and nothing anywhere else.
    let as_token = |token: &str| Admin { addr: server.addr(), credential: Some(token.to_owned()) };
    let update = Writer::new(3).append("x");
    let reader = as_token(jwt);
    assert_eq!(reader.send("GET", "/d/a/as-update?z=1").status, 200);
    assert_eq!(reader.send_with("POST", "/d/a/update", &[], &update).status, 403);
    assert_eq!(reader.send("GET", "/d/b/as-update").status, 403);
    assert_eq!(as_token("nonsense").send("GET", "/d/a/as-update").status, 401);
    let nobody = Admin { addr: server.addr(), credential: None };
    assert_eq!(nobody.send_with("POST", "/d/a/update", &[], &update).status, 401);
    assert_eq!(as_token(&user).send_with("POST", "/d/a/update", &[], &update).status, 200);
    assert_eq!(Cli::of(&server).export_json("a")["text"], "x");
    let admins = Admin::of(&server);
    let local = as_token(admins.credential.as_deref().expect("a credential"));
    assert_eq!(local.send("POST", "/doc/new").status, 401, "the admin listener's credential is for the admin listener");
}

#[test]
fn where_only_public_keys_are_the_back_end_makes_the_tokens() {
    let data = DataDir::new();
    let fixture = |name: &str| {
        let path = crdt_tests::server::workspace().join("fixtures/auth").join(name);
        path.to_str().expect("UTF-8").to_owned()
    };
    let server = Options::new(data.path()).arg("--auth-public-key").arg(fixture("ed25519-public.pem")).start();
    let js = Js::start();
    // Git keeps no file modes, and a key that others can read is refused.
    let key = data.outer().join("private.pem");
    std::fs::write(&key, std::fs::read(fixture("ed25519-private.pem")).expect("a key")).expect("written");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode is set");
    let back_end = Cli::on("/no/data").done(&["token", "--private-key", path_str(&key), "--admin"]).text();
    let manager = connection_string(&server, Some(back_end.trim()));
    js.sdk(&manager, "createDoc", json!(["a"])).expect("it is made");
    let error = js.sdk(&manager, "getClientToken", json!(["a"])).expect_err("there is no secret");
    assert!(error.contains("501"), "{error}");
}
