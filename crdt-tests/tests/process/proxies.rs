//! Where a client is: what declared proxies say, and nobody else (HARDENING §1, "spoofed XFF ignored").

use std::io::{Read, Write};
use std::net::TcpStream;

use crdt_tests::admin::Admin;
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::wait::{self, PATIENCE};

/// Opens a WebSocket on a document with these headers, and gives its line.
fn connect(server: &Server, doc: &str, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.addr()).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    write!(stream, "GET /{doc} HTTP/1.1\r\nHost: weft\r\n{headers}{handshake}\r\n\r\n").expect("writes");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 101");
    // A SyncStep1 of nothing, masked with zeros: now it is known whose client this is.
    stream.write_all(&[0x82, 0x84, 0, 0, 0, 0, 0, 0, 1, 0]).expect("writes");
    stream
}

#[test]
fn hardening_1_only_declared_proxies_say_where_a_client_is() {
    let spoofed = "X-Forwarded-For: 1.1.1.1, 198.51.100.7\r\nForwarded: for=2.2.2.2\r\nX-Real-IP: 3.3.3.3\r\n";
    for (args, seen) in [
        (&[][..], "127.0.0.1:"),
        (&["--trusted-proxy", "10.0.0.0/8,fd00::/8"], "127.0.0.1:"),
        (&["--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "127.0.0.0/8"], "198.51.100.7:0"),
        (&["--trusted-proxy", "127.0.0.1,198.51.100.0/24"], "1.1.1.1:0"),
    ] {
        let data = DataDir::new();
        let server = args.iter().fold(Options::new(data.path()), |options, arg| options.arg(*arg)).start();
        let _line = connect(&server, "a", spoofed);
        let _other = connect(&server, "b", "");
        let admin = Admin::of(&server);
        let remote = |doc: &str| {
            let page = admin.get(&format!("/api/v1/connections?doc={doc}")).json();
            page["connections"][0]["remote"].as_str().map(str::to_owned)
        };
        let found = wait::until("it is listed", PATIENCE, || remote("a"));
        assert!(found.starts_with(seen), "{args:?}: {found}");
        let found = wait::until("it is listed", PATIENCE, || remote("b"));
        assert!(found.starts_with("127.0.0.1:"), "{args:?}: {found}");
    }
    for wrong in ["10.0.0.0/33", "proxy.example", ""] {
        let data = DataDir::new();
        let refusal = Options::new(data.path()).arg("--trusted-proxy").arg(wrong).try_start().err();
        assert!(refusal.is_some_and(|refusal| refusal.stderr().contains("--trusted-proxy")), "{wrong}");
    }
}
