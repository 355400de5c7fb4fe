//! Which web pages get in (HARDENING §1, CSWSH): 30 origins on three servers, by handshake and by y-sweet's calls.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use crdt_tests::admin::{Admin, Response, read_response};
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::socket::Socket;
use crdt_tests::tokens::Secret;
use crdt_tests::wait::{self, PATIENCE};

const HANDSHAKE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

fn ask(addr: SocketAddr, method: &str, target: &str, host: &str, headers: &str) -> Response {
    let mut stream = TcpStream::connect(addr).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let end = if headers.contains("Upgrade") { "" } else { "Connection: close\r\n" };
    write!(stream, "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{end}{headers}\r\n").expect("writes");
    if headers.contains("Upgrade") {
        // What follows a 101 has no end.
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && std::io::Read::read(&mut stream, &mut byte).expect("a byte") == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        return Response { status, headers: Vec::new(), body: Vec::new(), cut_short: false };
    }
    read_response(stream, method).expect("an answer")
}

fn count(server: &Server, result: &str) -> u64 {
    let text = Admin::of(server).get("/metrics").text();
    let sample = format!("weft_connects_total{{result=\"{result}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok()).expect("is counted")
}

/// What the headers name, whether a server of this machine lets it in, and whether one for the app does.
const ORIGINS: [(&str, bool, bool); 34] = [
    ("Origin: https://app.example.com", false, true),
    ("Origin: https://other.example.com:8443", false, true),
    ("Origin: https://xn--bcher-kva.example", false, true),
    // At the public URL there is the demo.
    ("Origin: https://collab.example.com", true, true),
    ("", true, true),
    ("Origin: http://localhost", true, false),
    ("Origin: http://localhost:5173", true, false),
    ("Origin: https://127.0.0.1:1234", true, false),
    ("Origin: http://[::1]:8080", true, false),
    ("Origin: http://app.localhost", true, false),
    ("Origin: null", false, false),
    ("Origin:", false, false),
    ("Origin: *", false, false),
    ("Origin: app.example.com", false, false),
    ("Origin: http://app.example.com", false, false),
    ("Origin: https://app.example.com:8443", false, false),
    ("Origin: https://app.example.com:443", false, false),
    ("Origin: https://other.example.com", false, false),
    ("Origin: https://App.Example.com", false, false),
    ("Origin: HTTPS://app.example.com", false, false),
    ("Origin: https://app.example.com/", false, false),
    ("Origin: https://app.example.com.", false, false),
    ("Origin: https://app.example.com.evil.example", false, false),
    ("Origin: https://evilapp.example.com", false, false),
    ("Origin: https://sub.app.example.com", false, false),
    ("Origin: https://example.com", false, false),
    ("Origin: https://app.example.com@evil.example", false, false),
    ("Origin: https://evil.example/https://app.example.com", false, false),
    ("Origin: https://evil.example#https://app.example.com", false, false),
    ("Origin: https://b\u{fc}cher.example", false, false),
    ("Origin: http://localhost.evil.example", false, false),
    ("Origin: http://127.0.0.1.evil.example:1234", false, false),
    ("Origin: https://app.example.com, https://evil.example", false, false),
    ("Origin: https://app.example.com\r\nOrigin: https://app.example.com", false, false),
];

#[test]
fn hardening_1_thirty_origins() {
    let secret_data = DataDir::new();
    let (loopback, listed) = (DataDir::new(), DataDir::new());
    let secret = Secret::new(&secret_data);
    let public = ["--public-url", "https://Collab.example.com/weft"];
    let with = |options: Options, args: &[&str]| args.iter().fold(options, |options, arg| options.arg(*arg)).start();
    let loopback = with(Options::new(loopback.path()), &public);
    let list = "https://app.example.com,HTTPS://Other.example.com:8443,https://xn--bcher-kva.example:443";
    let listed = with(Options::new(listed.path()), &[&public[..], &["--allow-origin", list]].concat());
    let guarded = secret.options(&secret_data).start();
    let token = secret.mint(&["--doc", "*", "--access", "write"]);

    for (name, server, column) in [("loopback", &loopback, 0), ("listed", &listed, 1), ("guarded", &guarded, 2)] {
        let (mut refused, foreign) = (0, count(server, "origin"));
        for (header, of_machine, of_app) in ORIGINS {
            let line = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
            // Two of them are one too many wherever they are from.
            let allowed = match column {
                0 => of_machine,
                1 => of_app,
                _ => !header.contains("\r\n"),
            };
            let (own, target) = (server.addr().to_string(), format!("/a?token={token}"));
            let handshake = ask(server.addr(), "GET", &target, &own, &format!("{line}{HANDSHAKE}")).status;
            assert_eq!(handshake, if allowed { 101 } else { 403 }, "{name}: {header:?}");
            let call = ask(server.addr(), "GET", &format!("/d/a/as-update?token={token}"), &own, &line);
            let readable = call.header("access-control-allow-origin");
            if allowed {
                assert_eq!(
                    readable,
                    header.strip_prefix("Origin:").map(str::trim).filter(|_| call.status != 400),
                    "{name}: {header:?}: {call:?}"
                );
                assert_eq!(call.status, 404, "{name}: {header:?}: {call:?}");
            } else {
                assert_eq!(
                    (&*call.problem(), call.status, readable),
                    ("foreign-page", 403, None),
                    "{name}: {header:?}"
                );
                refused += 2;
            }
            let asks = format!("{line}Access-Control-Request-Method: POST\r\n");
            let preflight = ask(server.addr(), "OPTIONS", "/d/a/update", &own, &asks);
            assert_eq!(preflight.status, if allowed { 204 } else { 403 }, "{name}: {header:?}: {preflight:?}");
            refused += u64::from(!allowed);
        }
        assert_eq!(count(server, "origin"), foreign + refused, "{name}");
        let told = || server.stderr().matches("a page is not let in").count();
        wait::until("it is told", PATIENCE, || (told() > 0).then_some(()));
        assert_eq!(told(), 1, "told once: {}", server.stderr());
    }
}

/// A name that its owner makes mean the visitor's machine: to the browser the page and the server are one.
#[test]
fn hardening_1_dns_rebinding_reads_nothing() {
    let data = DataDir::new();
    let server = Options::new(data.path()).start();
    Socket::connect(server.addr(), "a").send(crdt_tests::message::step1_empty());
    let own = server.addr().to_string();
    let port = server.addr().port();
    for (host, status) in
        [(&*own, 404), ("localhost", 404), (&format!("evil.example:{port}"), 403), ("127.0.0.1.evil.example", 403)]
    {
        assert_eq!(ask(server.addr(), "GET", "/d/none/as-update", host, "").status, status, "{host}");
        assert_eq!(ask(server.addr(), "POST", "/doc/new", host, "").status, if status == 404 { 200 } else { 403 });
        let evil = format!("Origin: http://{host}\r\n{HANDSHAKE}");
        assert_eq!(ask(server.addr(), "GET", "/a", host, &evil).status, if status == 404 { 101 } else { 403 });
        // Probes are for whoever asks.
        assert_eq!(ask(server.addr(), "GET", "/health", host, "").status, 200);
    }
}
