//! TLS by weft itself: stock clients over `wss`, certificates changed under them (HARDENING §1), and a webhook over
//! `https`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crdt_tests::admin::Admin;
use crdt_tests::cli::path_str;
use crdt_tests::js::{Client, HOCUSPOCUS, Js, LATEST};
use crdt_tests::process;
use crdt_tests::server::{DataDir, Options, Server, workspace};
use crdt_tests::wait::{self, PATIENCE};
use rustix::process::Signal;
use serde_json::json;

fn fixture(name: &str) -> PathBuf {
    workspace().join("fixtures/tls").join(name)
}

/// Puts a certificate and its key where a server looks for them.
fn install(data: &DataDir, cert: &str, key: &str) {
    let path = data.outer().join("tls.key");
    fs::copy(fixture(cert), data.outer().join("tls.pem")).expect("copies");
    let _ = fs::remove_file(&path);
    fs::copy(fixture(key), &path).expect("copies");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("sets");
}

fn options(data: &DataDir) -> Options {
    let file = |name: &str| path_str(&data.outer().join(name)).to_owned();
    Options::new(data.path()).arg("--tls-cert").arg(file("tls.pem")).arg("--tls-key").arg(file("tls.key"))
}

fn js() -> Js {
    Js::start_with(&[("NODE_EXTRA_CA_CERTS", path_str(&fixture("ca.pem")))])
}

fn node(script: &str, args: &[&str]) -> String {
    let mut node = Command::new("node");
    node.args(["-e", script]).args(args).env("NODE_EXTRA_CA_CERTS", fixture("ca.pem"));
    let output = node.output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Whose certificate a newcomer is shown, having checked it.
fn shown(server: &Server) -> String {
    let script = "
        const socket = require('tls').connect({ port: process.argv[1], host: '127.0.0.1' }, () => {
          console.log(socket.getPeerCertificate().subject.CN, socket.getProtocol()); socket.destroy()
        })";
    node(script, &[&server.addr().port().to_string()])
}

fn reloads(server: &Server, result: &str) -> u64 {
    let text = Admin::of(server).get("/metrics").text();
    let sample = format!("weft_reloads_total{{what=\"tls\",result=\"{result}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok()).expect("is counted")
}

/// OPERATIONS: an operator is warned two weeks before.
#[test]
fn operations_the_end_of_the_certificate_is_told() {
    let data = DataDir::new();
    install(&data, "one.pem", "one.key");
    let server = options(&data).start();
    let text = Admin::of(&server).get("/metrics").text();
    let left = text.lines().find_map(|line| line.strip_prefix("weft_cert_expiry_seconds ")?.parse::<f64>().ok());
    // As `openssl x509 -enddate` says it.
    let ends = 4_948_962_362.0 - std::time::UNIX_EPOCH.elapsed().expect("after 1970").as_secs_f64();
    assert!(left.is_some_and(|left| (left - ends).abs() < 60.0), "{left:?} and not {ends}");
    let data = DataDir::new();
    let plain = Admin::of(&Server::start(&data)).get("/metrics").text();
    assert!(!plain.contains("weft_cert_expiry_seconds"), "there is none");
}

fn hang_up(server: &Server, result: &str) {
    let before = reloads(server, result);
    server.signal(Signal::HUP);
    wait::until("the certificate was looked at", PATIENCE, || (reloads(server, result) > before).then_some(()));
}

#[test]
fn hardening_1_stock_clients_over_wss_notice_no_change_of_certificate() {
    let data = DataDir::new();
    install(&data, "one.pem", "one.key");
    let mut server = options(&data).start();
    let js = js();
    let clients: Vec<Client<'_>> =
        [LATEST, HOCUSPOCUS[2], LATEST].iter().map(|version| js.open(version, &server, "a")).collect();
    js.synced(&clients.iter().collect::<Vec<_>>());
    assert_eq!(shown(&server), "one.weft.test TLSv1.3");

    // More than any socket takes at once, so that records are cut where they may be.
    clients[0].run("for (let n = 0; n < 40; n++) text.insert(0, String(n).repeat(50_000))");
    clients[0].ack();
    clients[0].storm("x");
    clients[2].storm("y");
    install(&data, "two.pem", "two.key");
    hang_up(&server, "ok");
    assert_eq!(shown(&server), "two.weft.test TLSv1.3");
    for (cert, key) in [("one.pem", "two.key"), ("ca.pem", "one.key"), ("gen.sh", "two.key"), ("two.pem", "two.pem")] {
        install(&data, cert, key);
        hang_up(&server, "failed");
        assert_eq!(shown(&server), "two.weft.test TLSv1.3", "{cert} {key}");
    }
    install(&data, "two.pem", "two.key");
    fs::set_permissions(data.outer().join("tls.key"), fs::Permissions::from_mode(0o644)).expect("sets");
    hang_up(&server, "failed");
    clients[0].storm_stop();
    clients[2].storm_stop();
    let late = js.open(LATEST, &server, "a");
    late.synced();
    let all: Vec<&Client<'_>> = clients.iter().chain([&late]).collect();
    js.converged(&all);
    assert!(clients.iter().all(|client| (client.opens(), client.closes().len()) == (1, 0)), "nobody was dropped");
    let log = server.stderr();
    let key = fs::read_to_string(fixture("two.key")).expect("is text");
    assert!(!log.contains(key.lines().nth(1).expect("a line")), "the key is in the log");

    // A client that was away gets what it missed, and a drain is told in words.
    drop(all);
    clients[1].disconnect();
    clients[0].run("map.set('meanwhile', 1)");
    clients[0].ack();
    clients[1].connect();
    clients[1].wait("map.get('meanwhile') === 1");
    // What y-sweet's SDK asks for says that sockets are to be secure.
    let script = "
        const base = 'https://127.0.0.1:' + process.argv[1]
        fetch(base + '/doc/a/auth', { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } })
          .then(r => r.json()).then(said => console.log(said.url.split(':')[0], said.baseUrl.split(':')[0]))";
    assert_eq!(node(script, &[&server.addr().port().to_string()]), "wss https");
    server.ask_to_drain();
    clients[2].wait("me.closes.length > 0");
    assert_eq!(clients[2].closes()[0].code, 1012);
    assert!(server.wait_exit(PATIENCE).success());
}

#[test]
fn hardening_1_a_reader_that_stands_still_over_wss_catches_up() {
    let data = DataDir::new();
    install(&data, "one.pem", "one.key");
    let server = options(&data).start();
    let (writers, readers) = (js(), js());
    let writer = writers.open(LATEST, &server, "a");
    let reader = readers.open(LATEST, &server, "a");
    writers.synced(&[&writer]);
    readers.synced(&[&reader]);
    process::signal_pid(readers.pid(), Signal::STOP);
    for n in 0..30 {
        writer.run_with("text.insert(0, args.repeat(200_000)); map.set('n', args)", json!(n.to_string()));
        writer.ack();
    }
    process::signal_pid(readers.pid(), Signal::CONT);
    reader.wait("map.get('n') === '29'");
    let (theirs, ours) = (reader.state(), writer.state());
    theirs.assert_same(&ours, "the reader that stood still");
    assert_eq!(reader.closes().len(), 0);
}

#[test]
fn hardening_1_what_is_not_tls_costs_nothing() {
    let data = DataDir::new();
    install(&data, "one.pem", "one.key");
    let mut server = options(&data).start();
    let js = js();
    let canary = js.open(LATEST, &server, "a");
    canary.synced();
    let began = Instant::now();
    let mut silent: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(server.addr()).expect("connects")).collect();
    let mut plain = TcpStream::connect(server.addr()).expect("connects");
    plain.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(plain, "GET /health HTTP/1.1\r\nHost: weft\r\n\r\n").expect("writes");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "nothing in the clear");
    canary.run("map.set('still', 'here')");
    canary.ack();
    for stream in &mut silent {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "it is closed");
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    server.assert_alive();
    for args in [&["--tls-cert", "x"][..], &["--tls-key", "x"]] {
        let data = DataDir::new();
        let refusal = args.iter().fold(Options::new(data.path()), |options, arg| options.arg(*arg)).try_start().err();
        assert!(refusal.is_some_and(|refusal| refusal.stderr().contains("belong together")), "{args:?}");
    }
}

/// An application that lets everybody in, over TLS with a certificate of the tests' own.
struct Application(Child, u16);

impl Application {
    fn start() -> Self {
        let script = "
            const fs = require('fs'), [cert, key] = process.argv.slice(1).map(file => fs.readFileSync(file))
            const server = require('https').createServer({ cert, key }, (request, response) => {
              request.resume().on('end', () => response.end('{\"access\":\"write\"}'))
            }).listen(0, '127.0.0.1', () => console.log(server.address().port))";
        let file = |name: &str| path_str(&fixture(name)).to_owned();
        let mut node = Command::new("node");
        node.args(["-e", script, &file("one.pem"), &file("one.key")]).stdout(Stdio::piped());
        let mut child = node.spawn().expect("node runs");
        let mut port = String::new();
        let stdout = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut port).expect("a port");
        Self(child, port.trim().parse().expect("a port"))
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn c2_4_the_webhook_is_asked_over_tls_if_its_certificate_is_good() {
    let application = Application::start();
    let lets_in = |trusted: &Path| {
        let data = DataDir::new();
        let url = format!("https://127.0.0.1:{}/", application.1);
        let server =
            Options::new(data.path()).arg("--auth-webhook").arg(url).env("SSL_CERT_FILE", path_str(trusted)).start();
        let caller = Admin { addr: server.addr(), credential: Some("ada".into()) };
        caller.send("GET", "/d/x/as-update").status
    };
    assert_eq!(lets_in(&fixture("ca.pem")), 404, "it is let in, and there is no such document");
    assert_eq!(lets_in(&fixture("two.pem")), 503, "nobody vouches for the application");
}
