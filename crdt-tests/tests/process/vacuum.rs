//! S12: space comes back, online and offline alike, while edits are acked, and killed at any moment.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crdt_tests::admin::Admin;
use crdt_tests::cli::Cli;
use crdt_tests::message::{self, Writer};
use crdt_tests::seed;
use crdt_tests::server::{DataDir, Server};
use crdt_tests::socket::Socket;
use crdt_tests::used;
use crdt_tests::wait::PATIENCE;
use rand::Rng;
use serde_json::{Value, json};

/// 400 documents of 30 kB, of which nine in ten were overwritten by something short.
fn used_directory(path: &Path) {
    let chunks: Vec<String> = (0..30).map(|n| n.to_string().repeat(500)).collect();
    used::fill(path, 400, &chunks);
    used::overwrite(path, (0..400).filter(|n| n % 10 != 0), "short now");
}

/// A report without what differs from run to run, and the bytes on disk before and after.
fn told(mut report: Value) -> (Value, [u64; 2]) {
    let vacuum = report["vacuum"].as_object_mut().expect("a vacuum");
    vacuum.remove("took_ms");
    let bytes = ["disk_bytes_before", "disk_bytes_after"].map(|key| {
        let bytes = vacuum.remove(key).expect("a size");
        bytes.as_u64().expect("a number")
    });
    (report, bytes)
}

#[test]
fn s12_a_vacuum_gives_space_back_and_is_one_command_online_and_offline() {
    let data = DataDir::new();
    used_directory(&data.path());
    let copy = data.outer().join("copy");
    used::copy(&data.path(), &copy);
    let [offline, online] = [data.path(), copy.clone()].map(Cli::on);
    let server = crdt_tests::server::Options::new(&copy).start();
    let listed = |cli: &Cli| cli.done(&["ls", "--json"]).json();
    let before = [&offline, &online].map(listed);
    assert_eq!(before[0]["docs"], before[1]["docs"]);
    let text = "used/0000010";
    let content = offline.export_json(text);

    for (cli, dir, before) in [(&offline, data.path(), &before[0]), (&online, copy.clone(), &before[1])] {
        let store = &before["store"];
        assert_eq!(store["documents"], 400, "{store}");
        let size = |key: &str| store[key].as_u64().expect("a size");
        assert_eq!(size("dead_bytes"), size("disk_bytes") - size("live_bytes"));
        assert!(size("dead_bytes") > size("live_bytes") * 4, "most of it is dead: {store}");
        let (dry, [_, expected]) = told(cli.done(&["compact", "--vacuum", "--dry-run", "--json"]).json());
        assert_eq!(dry["vacuum"]["dry_run"], true, "{dry}");
        let on_disk = used::disk_bytes(&dir.join("store"));
        let output = cli.done(&["compact", "--vacuum", "--json"]);
        assert!(output.stderr.is_empty(), "a pipe gets no progress: {}", output.stderr);
        let (wet, [was, is]) = told(output.json());
        let vacuum = &wet["vacuum"];
        assert_eq!((&vacuum["documents"], &vacuum["damaged_records"]), (&json!(400), &json!(0)), "{wet}");
        assert_eq!(wet["docs"], json!([]), "alone it only vacuums");
        assert!(is * 3 < was, "{was} bytes before, {is} after");
        assert!(expected * 2 >= is, "{expected} bytes were expected, {is} are there");
        assert!(used::disk_bytes(&dir.join("store")) * 3 < on_disk, "the disk itself has the space back");
        assert!(!dir.join("store.vacuum").exists());
        let after = listed(cli);
        assert_eq!(after["docs"], before["docs"], "nothing that can be read has changed");
        assert_eq!(after["store"]["live_bytes"], vacuum["live_bytes_after"]);
        assert_eq!(cli.export_json(text), content);
        let table = String::from_utf8(cli.done(&["compact", "--vacuum"]).stdout).expect("UTF-8");
        assert!(table.starts_with("STORE\tON DISK\tLIVE\tDEAD\nbefore\t"), "{table}");
    }
    let reports = [&offline, &online].map(|cli| {
        let (report, _) = told(cli.done(&["compact", "--vacuum", "--json"]).json());
        report
    });
    assert_eq!(reports[0], reports[1]);

    // First folded, then moved.
    let whole = online.done(&["compact", "--all", "--vacuum", "--json"]).json();
    assert_eq!(whole["docs"].as_array().map(Vec::len), Some(40), "{whole}");
    let live = |key: &str| whole["vacuum"][key].as_u64().expect("a size");
    assert!(live("live_bytes_after") <= live("live_bytes_before"), "{whole}");
    assert_eq!(online.export_json(text), content);
    assert!(online.show(text)["live_bytes"].as_u64().is_some_and(|bytes| bytes > 15_000));

    // The API itself, as another program uses it.
    let admin = Admin::of(&server);
    let store = admin.get("/api/v1/store").json();
    assert_eq!(store["documents"], 400, "{store}");
    let answer = admin.send_with("POST", "/api/v1/compact?vacuum=true", &[], b"").ok().text();
    let lines: Vec<Value> = answer.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (last, progress) = lines.split_last().expect("a line");
    assert_eq!(last["done"]["documents"], 400, "{answer}");
    assert!(progress.iter().all(|line| line["progress"].is_object() || line["progress"].is_string()), "{answer}");
    let wrong = admin.send_with("POST", "/api/v1/compact?vacuum=true&prefix=x", &[], b"");
    assert_eq!(wrong.status, 400);
}

/// Writers whose every edit is noted once it is acked.
struct Ledger {
    acked: Vec<String>,
}

fn joined(server: SocketAddr, room: &str) -> Socket {
    let mut socket = Socket::connect(server, room);
    socket.pull(&[0]);
    socket
}

/// Writes until told to stop or cut off; gives what was acked.
fn write(mut socket: Socket, round: u64, stop: &AtomicBool) -> Vec<String> {
    let mut writer = Writer::new(1_000 + round);
    let mut acked = Vec::new();
    for number in 0u64.. {
        let token = format!("<{round}.{number}>");
        socket.send(message::update(&writer.append(&token)));
        let request = message::ack(number);
        socket.send(request.clone());
        loop {
            match socket.next(PATIENCE) {
                Some(frame) if frame == request => break acked.push(token),
                Some(_) => {}
                None => return acked,
            }
        }
        if stop.load(Ordering::Relaxed) {
            return acked;
        }
    }
    acked
}

fn text(server: &Server, room: &str) -> String {
    let update = Socket::connect(server.addr(), room).pull(&[0]);
    crdt_tests::author::view(&{
        let doc = crdt_tests::author::blank(9, true);
        crdt_tests::author::apply(&doc, &update);
        doc
    })["text"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn s12_killed_during_a_vacuum_nothing_acked_is_lost() {
    let rounds: u64 = std::env::var("WEFT_KILL_ROUNDS").map_or(10, |text| text.parse().expect("a number of rounds"));
    let seed = seed::seed("s12_killed_during_a_vacuum_nothing_acked_is_lost");
    let mut rng = seed::rng(seed, 0);
    let data = DataDir::new();
    used_directory(&data.path());
    let mut server = Server::start(&data);
    let documents = Cli::of(&server).done(&["ls", "--prefix", "used/", "--json"]).json()["docs"].clone();
    let copy = data.path().join("store.vacuum");
    let rooms = ["ledger/a", "ledger/b"];
    let mut ledgers = rooms.map(|_| Ledger { acked: Vec::new() });
    let (mut in_copy, mut in_swap) = (0, 0);
    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        let vacuum = Cli::of(&server);
        // Before anything is killed: on a busy machine a writer would come too late to be let in.
        let sockets = rooms.map(|room| joined(server.addr(), room));
        let (acked, killed_at) = std::thread::scope(|scope| {
            let writers = sockets.map(|socket| {
                let stop = &stop;
                scope.spawn(move || write(socket, round, stop))
            });
            let vacuum = scope.spawn(move || vacuum.run(&["compact", "--vacuum", "--json"]));
            // Some rounds die as the copy begins, some when it is whole, some at any moment around that.
            let deadline = Instant::now() + PATIENCE;
            let pid = server.pid();
            let wanted = match round % 3 {
                0 => copy.clone(),
                1 => copy.join("CHECKPOINT"),
                _ => {
                    std::thread::sleep(Duration::from_millis(rng.random_range(0..400)));
                    data.path()
                }
            };
            while !wanted.exists() && !vacuum.is_finished() && Instant::now() < deadline {}
            crdt_tests::process::signal_pid(pid, rustix::process::Signal::KILL);
            let killed_at = (copy.exists(), copy.join("CHECKPOINT").exists());
            let acked = writers.map(|writer| writer.join().expect("the writer ended"));
            let output = vacuum.join().expect("the vacuum ended");
            assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
            (acked, killed_at)
        });
        in_copy += u64::from(killed_at == (true, false));
        in_swap += u64::from(killed_at == (true, true));
        for (ledger, acked) in ledgers.iter_mut().zip(acked) {
            ledger.acked.extend(acked);
        }
        server.kill();
        server.restart();
        assert!(!copy.exists(), "round {round}: something is left over");
        for (room, ledger) in rooms.iter().zip(&ledgers) {
            let text = text(&server, room);
            let lost: Vec<_> = ledger.acked.iter().filter(|token| !text.contains(token.as_str())).collect();
            assert!(lost.is_empty(), "round {round}: {} acked edits are lost in {room}: {lost:?}", lost.len());
        }
        let there = Cli::of(&server).done(&["ls", "--prefix", "used/", "--json"]).json()["docs"].clone();
        assert_eq!(there, documents, "round {round}");
    }
    let edits: usize = ledgers.iter().map(|ledger| ledger.acked.len()).sum();
    println!("{rounds} kills, {in_copy} while copying, {in_swap} around the exchange; {edits} edits acked, 0 lost");
    assert!(in_copy + in_swap >= rounds / 3, "hardly a kill hit a vacuum");
    assert!(edits as u64 > rounds, "hardly anything was acked");
    // And one that is let be, with edits acked all the while.
    let stop = &AtomicBool::new(false);
    let acked = std::thread::scope(|scope| {
        let addr = server.addr();
        let writer = scope.spawn(move || write(joined(addr, rooms[0]), rounds, stop));
        let report = Cli::of(&server).done(&["compact", "--vacuum", "--json"]).json();
        assert_eq!(report["vacuum"]["damaged_records"], 0, "{report}");
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer ended")
    });
    assert!(!acked.is_empty(), "edits are acked while it runs");
    server.kill();
    server.restart();
    let text = text(&server, rooms[0]);
    assert!(acked.iter().chain(&ledgers[0].acked).all(|token| text.contains(token.as_str())), "acked edits are lost");
}
