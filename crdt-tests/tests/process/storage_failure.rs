//! S9: when the disk is full, acks stop, nothing acked is lost, reading goes on, and `/ready` says so, until there is room.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crdt_tests::cli::path_str;
use crdt_tests::js::{Js, LATEST};
use crdt_tests::message::{self, Writer};
use crdt_tests::mount::SmallDisk;
use crdt_tests::server::{Options, Server};
use crdt_tests::socket::Socket;
use crdt_tests::wait::{self, PATIENCE};

/// Status of a plain GET.
fn status(addr: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(addr).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: weft\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status: {answer}"))
}

const MIB: u64 = 1 << 20;

fn chunk(number: usize) -> String {
    format!("{number} {}\n", "x".repeat(200_000))
}

fn wait_ready(server: &Server, ready: bool) {
    let expected = if ready { 200 } else { 503 };
    let what = format!("/ready answers {expected}");
    wait::until(&what, PATIENCE, || (status(server.addr(), "/ready") == expected).then_some(()));
}

/// Before anything fails: with less space than wanted, writers are refused and told, readers are served, and when there is
/// space again everybody comes back by himself.
#[test]
fn s9_edits_are_refused_before_the_disk_is_full_and_taken_again_by_themselves() {
    let Some(disk) = SmallDisk::mount(300 * MIB) else { return };
    let mut options = Options::new(disk.inside().join("data")).arg("--min-free-bytes").arg((80 * MIB).to_string());
    options.wrapper = disk.wrapper();
    let mut server = options.start();
    let js = Js::start();
    let writer = js.open(LATEST, &server, "d");
    writer.synced();
    writer.run("text.insert(0, 'kept ')");
    writer.ack();
    assert_eq!(status(server.addr(), "/ready"), 200);

    disk.fill_but(70 * MIB);
    wait_ready(&server, false);
    assert_eq!(status(server.addr(), "/health"), 200);
    writer.run("text.insert(5, 'typed on a full disk ')");
    writer.wait("me.closes.length > 0 && me.closes.at(-1).code === 1013");
    let reader = js.open(LATEST, &server, "d");
    reader.synced();
    assert_eq!(reader.get::<String>("text.toString()"), "kept ");
    // An admin's import is refused and says why; what gives space back is done.
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), Writer::new(9).append("import")).expect("written");
    let command = |args: &[&str]| {
        let mut words = disk.wrapper();
        words.push(crdt_tests::server::binary().to_str().expect("UTF-8").to_owned());
        words.extend(args.iter().map(|arg| (*arg).to_owned()));
        words.extend(["--data".to_owned(), cli_data(&server)]);
        std::process::Command::new(&words[0]).args(&words[1..]).output().expect("it runs")
    };
    let import = command(&["import", "d", path_str(file.path())]);
    let said = String::from_utf8_lossy(&import.stderr).into_owned();
    assert_eq!(import.status.code(), Some(3), "{said}");
    assert!(said.contains("the disk is full") && said.contains("free some space"), "{said}");
    assert_eq!(command(&["compact", "--all"]).status.code(), Some(0));
    assert!(server.stderr().contains("the disk is full: edits are refused until there is room"), "{}", server.stderr());

    disk.free();
    wait_ready(&server, true);
    reader.wait("text.toString() === 'kept typed on a full disk '");
    writer.ack();
    server.assert_alive();
    server.drain();
}

fn cli_data(server: &Server) -> String {
    server.data().to_str().expect("UTF-8").to_owned()
}

/// Another program takes the last byte under us, on a real file system: what was acked stays, nothing fails for good, and
/// when there is space again it goes on without a restart, also when it was killed meanwhile.
#[test]
fn s9_a_disk_filled_to_the_last_byte_is_survived() {
    let Some(disk) = SmallDisk::mount_ext4(448 * MIB) else { return };
    let mut options = Options::new(disk.inside().join("data")).arg("--min-free-bytes").arg("0");
    options.wrapper = disk.wrapper();
    let mut server = options.start();
    let js = Js::start();
    let mut writer = Writer::new(42);
    let (mut sent, mut acked, mut acked_chunks) = (String::new(), 0, 0);
    let mut number = 0;
    for killed in [false, true] {
        let mut socket = Socket::connect(server.addr(), "full");
        socket.pull(&[0]);
        // All of it again, should some of it have been refused.
        socket.send(message::step2(&writer.all()));
        socket.ack();
        acked = sent.len();
        for _ in 0..5 {
            socket.send(message::update(&writer.append(&chunk(number))));
            sent.push_str(&chunk(number));
            number += 1;
            socket.ack();
            acked = sent.len();
        }
        disk.fill();
        // Segments that were made beforehand still have room, so some acks may come yet; then they must stop.
        let mut tries = 0;
        loop {
            assert!(tries < 500, "acks go on after 100 MB on a full disk");
            tries += 1;
            socket.send(message::update(&writer.append(&chunk(number))));
            sent.push_str(&chunk(number));
            number += 1;
            let request = message::ack(1_000 + number as u64);
            socket.send(request.clone());
            let mut echoed = false;
            while let Some(frame) = socket.next(Duration::from_secs(3)) {
                if frame == request {
                    echoed = true;
                    break;
                }
            }
            if !echoed {
                break;
            }
            acked = sent.len();
            acked_chunks += 1;
        }
        // Refused for now, not for ever: a client that is sent away is told to come back.
        assert!(matches!(socket.closed, None | Some(Some(1013))), "closed with {:?}", socket.closed);
        wait_ready(&server, false);
        assert_eq!(status(server.addr(), "/health"), 200);
        server.assert_alive();
        let reader = js.open(LATEST, &server, "full");
        reader.synced();
        reader.wait_with("text.toString().startsWith(args)", sent[..acked].into());
        drop(reader);

        if killed {
            server.kill();
            // It does not start where it could not work, and says what is the matter.
            let refusal = server.options().clone().try_start().err().expect("must not start on a full disk");
            super::refusals::assert_refused(&refusal, &["free"]);
            disk.free();
            server.restart();
        } else {
            disk.free();
        }
        wait_ready(&server, true);
        let fresh = js.open(LATEST, &server, "full");
        fresh.synced();
        let text: String = fresh.get("text.toString()");
        assert!(text.starts_with(&sent[..acked]), "of {acked} acked bytes not all are there ({} bytes)", text.len());
        assert!(!fresh.state().pending);
    }
    println!("{acked_chunks} edits of 200 kB were acked on a full disk, {acked} bytes in all, and all are there");
    // And it takes edits as ever.
    let last = js.open(LATEST, &server, "full");
    last.synced();
    last.run("text.insert(0, 'again')");
    last.ack();
}

/// Nothing half done on a disk that is full from the start.
#[test]
fn c9_a_full_disk_refuses_the_start() {
    let Some(disk) = SmallDisk::mount(32 << 20) else { return };
    disk.fill();
    let mut options = Options::new(disk.inside().join("data"));
    options.wrapper = disk.wrapper();
    let refusal = options.try_start().err().expect("must not start on a full disk");
    super::refusals::assert_refused(&refusal, &["data"]);
}
