//! Who has no right learns nothing of which documents there are: whatever is asked, the answer is the same to the byte for one
//! that exists, one that was deleted and one that never was, and none of them is looked for (HARDENING §1, enumeration).
//!
//! That nothing is looked for is what makes the answers take the same time; a test that failed by what it measures would fail
//! by chance, so the times are printed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crdt_tests::admin::Admin;
use crdt_tests::cli::Cli;
use crdt_tests::hocuspocus::{self, auth};
use crdt_tests::load::dialect;
use crdt_tests::message::{self, Writer};
use crdt_tests::server::DataDir;
use crdt_tests::socket::Socket;
use crdt_tests::tokens::Secret;
use crdt_tests::wait::PATIENCE;
use weft::ids::Access;

/// One that exists, one that was deleted, one that never was; of one length, so that answers may be.
const NAMES: [&str; 3] = ["there", "goner", "never"];
/// A close frame without a code.
const CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];

/// What is sent of a document.
type Sent = Box<dyn Fn(&str) -> Vec<u8> + Send + Sync>;

/// One way to ask: what is sent of a document with a token, all at once, and how the answer must begin.
struct Question {
    what: String,
    admin: bool,
    sent: Sent,
    begins: &'static str,
    /// What must be in the answer as well.
    holds: &'static [u8],
}

fn http(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n{headers}");
    let length = format!("Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), length.as_bytes(), body].concat()
}

fn upgrade(target: &str, messages: &[Vec<u8>], ends: bool) -> Vec<u8> {
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: weft\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let frames = messages.iter().flat_map(|message| dialect::frame(&[], message));
    head.into_bytes().into_iter().chain(frames).chain(CLOSE.into_iter().filter(|_| ends)).collect()
}

/// Everything that a client may say of a document.
fn everything() -> Vec<Vec<u8>> {
    let update = Writer::new(66).append("x");
    vec![
        message::step1_empty(),
        message::QUERY_AWARENESS.to_vec(),
        message::update(&update),
        message::step2(&update),
        message::awareness(&[(66, 1, "{}")]),
        message::ack(1),
    ]
}

/// Every public path to a document, with what a token of this kind is told there.
fn questions(who: &str, token: &str) -> Vec<Question> {
    let mut questions = Vec::new();
    // Good for something else, and not good at all.
    let other = matches!(who, "another's" | "admin");
    let mut ask = |what: &str, admin: bool, begins, holds, sent: Sent| {
        questions.push(Question { what: format!("{who}: {what}"), admin, sent, begins, holds });
    };
    let denied = if other { "HTTP/1.1 403" } else { "HTTP/1.1 401" };
    // An admin's token opens no document, but makes them.
    let back_end = if who == "admin" { None } else { Some("HTTP/1.1 401") };
    let (query, bearer) = match token {
        "" => (String::new(), String::new()),
        token => (format!("?token={token}"), format!("Authorization: Bearer {token}\r\n")),
    };
    let code: &[u8] = if other { &[0x11, 0x33] } else { &[0x11, 0x31] };

    let q = query.clone();
    ask(
        "y-websocket",
        false,
        "HTTP/1.1 101",
        code,
        Box::new(move |doc| upgrade(&format!("/{doc}{q}"), &everything(), false)),
    );
    let t = token.to_owned();
    ask(
        "hocuspocus",
        false,
        "HTTP/1.1 101",
        b"permission denied",
        Box::new(move |doc| {
            let all = [auth(&t)].into_iter().chain(everything()).map(|body| hocuspocus::frame(doc, &body));
            upgrade("/", &all.collect::<Vec<_>>(), true)
        }),
    );
    let q = query.clone();
    ask(
        "y-sweet",
        false,
        denied,
        b"application/problem+json",
        Box::new(move |doc| upgrade(&format!("/d/{doc}/ws/{doc}{q}"), &everything(), true)),
    );
    let mut plain = |admin: bool, method: &'static str, target: &'static str, begins, body: fn(&str) -> Vec<u8>| {
        let bearer = bearer.clone();
        let holds: &[u8] = if method == "HEAD" { b"" } else { b"application/problem+json" };
        ask(
            &format!("{method} {target}"),
            admin,
            begins,
            holds,
            Box::new(move |doc| http(method, &target.replace("{doc}", doc), &bearer, &body(doc))),
        );
    };
    let nothing: fn(&str) -> Vec<u8> = |_| Vec::new();
    let update: fn(&str) -> Vec<u8> = |_| Writer::new(66).append("x");
    plain(false, "GET", "/d/{doc}/as-update", denied, nothing);
    plain(false, "POST", "/d/{doc}/update", denied, update);
    plain(false, "GET", "/{doc}", "HTTP/1.1 426", nothing);
    plain(false, "HEAD", "/{doc}", "HTTP/1.1 426", nothing);
    plain(false, "POST", "/{doc}", "HTTP/1.1 405", update);
    plain(false, "DELETE", "/{doc}", "HTTP/1.1 405", nothing);
    plain(false, "GET", "/d/{doc}/ws/{doc}", "HTTP/1.1 426", nothing);
    plain(false, "GET", "/api/v1/docs/{doc}", "HTTP/1.1 426", nothing);
    if let Some(refused) = back_end {
        plain(false, "POST", "/doc/{doc}/auth", refused, nothing);
        plain(false, "POST", "/doc/new", refused, |doc| format!("{{\"docId\":{doc:?}}}").into_bytes());
        for (method, target) in [
            ("GET", "/api/v1/docs/{doc}"),
            ("GET", "/api/v1/docs/{doc}/update"),
            ("GET", "/api/v1/docs/{doc}/state-vector"),
            ("GET", "/api/v1/docs/{doc}/content"),
            ("POST", "/api/v1/docs/{doc}/update"),
            ("POST", "/api/v1/docs/{doc}/compact"),
            ("DELETE", "/api/v1/docs/{doc}"),
        ] {
            plain(true, method, target, refused, nothing);
        }
    }
    questions
}

/// Sends it all, and gives all that comes back until the server has ended the connection.
fn answer(addr: SocketAddr, sent: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(sent).expect("it is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server ends it");
    answer
}

/// Without what is of this moment, and the name that was asked for.
fn leveled(answer: &[u8], doc: &str) -> String {
    let text: String = answer.iter().map(|byte| char::from(*byte)).collect();
    let lines = text.split("\r\n").filter(|line| !line.to_lowercase().starts_with("date: "));
    lines.collect::<Vec<_>>().join("\r\n").replace(doc, "NAME")
}

/// Samples that change when a document is looked for.
fn looked_for(admin: &Admin) -> Vec<String> {
    let metrics = admin.get("/metrics").text();
    let names = [
        "weft_docs_open ",
        "weft_docs_stored ",
        "weft_updates_total",
        "weft_update_bytes_total",
        "weft_doc_load_seconds",
    ];
    let wanted = |line: &&str| names.iter().any(|name| line.starts_with(name));
    metrics.lines().filter(wanted).map(str::to_owned).collect()
}

#[test]
fn hardening_1_no_answer_says_which_documents_there_are() {
    let data = DataDir::new();
    let secret = Secret::new(&data);
    let mut server = secret.options(&data).start();
    let everywhere = secret.mint(&["--doc", "*", "--access", "write"]);
    for doc in ["there", "goner"] {
        let mut socket = Socket::connect(server.addr(), &format!("{doc}?token={everywhere}"));
        socket.send(message::update(&Writer::new(1).append("content")));
        socket.ack();
    }
    Cli::of(&server).done(&["rm", "goner"]);
    server.drain();
    server.restart();

    let admin = Admin::of(&server);
    let before = looked_for(&admin);
    assert!(before.contains(&"weft_docs_open 0".to_owned()), "{before:?}");
    let mut all = Vec::new();
    for (who, token) in [
        ("nobody", String::new()),
        ("forger", format!("{}x", secret.mint(&["--doc", "*"]))),
        ("expired", secret.good_for("eve", &["*"], Access::Write, 0)),
        ("another's", secret.mint(&["--doc", "the", "--doc", "neve", "--doc", "there/*", "--access", "write"])),
        ("admin", secret.mint(&["--admin"])),
    ] {
        all.extend(questions(who, &token));
    }
    assert!(all.len() >= 80, "{} questions", all.len());
    // Who is turned away from a WebSocket is held for some seconds: all together.
    let (public, admins) = (server.addr(), server.admin_addr());
    std::thread::scope(|scope| {
        for question in &all {
            let addr = if question.admin { admins } else { public };
            scope.spawn(move || {
                let ask = move |doc| leveled(&answer(addr, &(question.sent)(doc)), doc);
                let answers = match question.admin {
                    // There is room for few at a time.
                    true => NAMES.map(ask),
                    false => {
                        NAMES.map(|doc| scope.spawn(move || ask(doc))).map(|asked| asked.join().expect("an answer"))
                    }
                };
                let what = &question.what;
                assert!(answers[0].starts_with(question.begins), "{what}: {}", answers[0]);
                let holds = question.holds.iter().map(|byte| char::from(*byte)).collect::<String>();
                assert!(answers[0].contains(&holds), "{what}: {:?}", answers[0]);
                assert!(answers.iter().all(|answer| *answer == answers[0]), "{what}: {answers:?}");
            });
        }
    });
    let mut took = [const { Vec::new() }; 2];
    let token = format!("Authorization: Bearer {}\r\n", secret.mint(&["--doc", "another", "--access", "write"]));
    for _ in 0..300 {
        for (took, doc) in took.iter_mut().zip(["there", "never"]) {
            let began = Instant::now();
            answer(public, &http("GET", &format!("/d/{doc}/as-update"), &token, b""));
            took.push(began.elapsed());
        }
    }
    took.iter_mut().for_each(|took| took.sort_unstable());
    println!("p50 of a refusal: {:?} where there is a document, {:?} where there is none", took[0][150], took[1][150]);
    assert_eq!(looked_for(&admin), before, "a document was looked for");

    // These figures do tell of it: by who has the right.
    Socket::connect(server.addr(), &format!("there?token={everywhere}")).pull(&[0]);
    assert_ne!(looked_for(&admin), before);
}
