//! The process in which updates are integrated (HARDENING §2): it dies, and nobody notices; what kills it is found, kept,
//! and never given to it again.

use std::fs;

use crdt_tests::admin::Admin;
use crdt_tests::cli::Cli;
use crdt_tests::message::{self, Writer};
use crdt_tests::process::signal_pid;
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::socket::Socket;
use crdt_tests::wait::PATIENCE;
use rustix::process::Signal;
use serde_json::Value;
use weft::ids::ClientId;
use weft::wire::lib0::write_var_uint;
use weft::wire::update::Builder;

/// Processes that `server` has started and that still run.
fn workers(server: &Server) -> Vec<u32> {
    let parent = server.pid().to_string();
    let numbers = fs::read_dir("/proc").expect("listed").flatten();
    let pids = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        // After the name in brackets: state and parent.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        fields.next().is_some_and(|state| state != "Z") && fields.next() == Some(&parent)
    })
    .collect()
}

/// How far each thread of a process gives way to others, but that of its allocator, which begins before `main`.
fn niceness(pid: u32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs").flatten();
    let stats = tasks.map(|task| fs::read_to_string(task.path().join("stat")).expect("its threads stay"));
    // After the name in brackets it is the 17th (proc_pid_stat(5)).
    let nice = |stat: &str| stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(16)?.parse().ok());
    stats.filter(|stat| !stat.contains("(jemalloc_bg_thd)")).map(|stat| nice(&stat).expect("a number")).collect()
}

fn metric(server: &Server, name: &str) -> f64 {
    let page = Admin::of(server).get("/metrics").ok().text();
    let line = page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

fn save(socket: &mut Socket, update: &[u8]) {
    socket.send(message::update(update));
    socket.ack();
}

#[test]
fn i6_5_a_worker_that_dies_disturbs_nobody_and_its_work_is_done_again() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let cli = Cli::of(&server);
    let (mut writer, mut socket) = (Writer::new(1), Socket::connect(server.addr(), "d"));
    socket.pull(&[0]);
    for n in 0..20 {
        save(&mut socket, &writer.append(&format!("word {n} ")));
    }
    cli.done(&["compact", "d"]);
    let text = cli.done(&["export", "--format", "text", "d"]).text();
    let [worker] = workers(&server)[..] else { panic!("{:?}", workers(&server)) };
    assert_eq!((metric(&server, "weft_workers_started_total"), metric(&server, "weft_workers_lost_total")), (1.0, 0.0));
    let niceness = (niceness(server.pid()), niceness(worker));
    assert!(niceness.1.len() >= 2, "its own threads: {niceness:?}");
    assert!(niceness.1.iter().all(|nice| *nice > niceness.0[0]), "it gives way to its server: {niceness:?}");

    signal_pid(worker, Signal::KILL);
    save(&mut socket, &writer.append("and one more"));
    let report = cli.done(&["compact", "d", "--json"]).json();
    assert_eq!(report["failed"], serde_json::json!([]), "{report}");
    assert_eq!(metric(&server, "weft_workers_lost_total"), 1.0);
    assert_eq!(
        cli.done(&["export", "--format", "text", "d"]).text().trim_end(),
        format!("{}and one more", text.trim_end_matches('\n'))
    );
    assert_eq!(metric(&server, "weft_broken_docs_total"), 0.0, "nobody is blamed for a death by chance");
    save(&mut socket, &writer.append("!"));
    // It ends with its server.
    let left = workers(&server);
    assert_eq!(left.len(), 1);
    drop(server);
    let gone = || (!fs::exists(format!("/proc/{}", left[0])).expect("asked")).then_some(());
    crdt_tests::wait::until("the worker has ended", PATIENCE, gone);
}

/// What a worker of 24 MiB dies of, each time: hundreds of thousands of elements, a few bytes each, take yrs much more
/// memory than they take on the wire.
fn flood() -> Vec<u8> {
    let mut flood = Builder::default();
    flood.structs(ClientId(77), 0, 1, &[&[7, 1, 1, b'x', 1]]);
    for clock in 1..300_000_u32 {
        let mut element = vec![0x87, 77];
        write_var_uint(&mut element, u64::from(clock) - 1);
        element.push(1);
        flood.structs(ClientId(77), clock, 1, &[&element]);
    }
    flood.finish()
}

fn small_worker(data: &DataDir) -> Server {
    Options::new(data.path()).arg("--worker-memory").arg((24 << 20).to_string()).start()
}

/// The label of the only file in quarantine, and its bytes.
fn kept(data: &DataDir) -> (Value, Vec<u8>) {
    let files = fs::read_dir(data.path().join("quarantine")).expect("kept").flatten();
    let files: Vec<_> = files.map(|entry| entry.path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let bytes = fs::read(file).expect("readable");
    let line = bytes.split(|byte| *byte == b'\n').next().expect("a line");
    (serde_json::from_slice(line).expect("JSON"), bytes)
}

/// What is too much for a worker is too much each time: real memory, a real death.
#[test]
fn i6_5_what_kills_the_worker_is_kept_and_never_integrated_again() {
    let data = DataDir::new();
    let server = small_worker(&data);
    let cli = Cli::of(&server);
    let mut canary = Socket::connect(server.addr(), "canary");
    canary.pull(&[0]);
    let (mut writer, mut socket) = (Writer::new(1), Socket::connect(server.addr(), "d"));
    socket.pull(&[0]);
    save(&mut socket, &writer.append("harmless "));
    cli.done(&["compact", "d"]);
    let mut culprit = Socket::connect(server.addr(), "d");
    culprit.pull(&[0]);
    let flood = flood();
    save(&mut culprit, &flood);
    save(&mut socket, &writer.append("and after"));

    let report = cli.done(&["compact", "d", "--json"]).json();
    assert_eq!(report["failed"], serde_json::json!([]), "its log does not grow for ever: {report}");
    assert_eq!(metric(&server, "weft_broken_docs_total"), 1.0);
    assert_eq!(metric(&server, "weft_workers_lost_total"), 3.0, "once, and twice with care");
    let (label, kept) = kept(&data);
    assert_eq!((label["document"].as_str(), label["kind"].as_str()), (Some("d"), Some("update")), "{label}");
    assert!(kept.ends_with(&flood), "the update itself, and nothing else, is to blame: {label}");
    // Its sender is named, and sent away; the others stay.
    let from = culprit.stream().local_addr().expect("an address");
    let sender = format!("somebody from {from}");
    assert_eq!(label["senders"], serde_json::json!([sender]), "{label}");
    assert_eq!(culprit.until_closed(PATIENCE), Some(4413));

    // Nobody is disturbed: the document is served, written, acknowledged and compacted; only what it says is not read.
    save(&mut socket, &writer.append(", still"));
    save(&mut canary, &Writer::new(5).append("sings"));
    let mut late = Socket::connect(server.addr(), "d");
    let state = late.pull(&[0]);
    assert!(state.len() > flood.len() && state.windows(8).any(|bytes| bytes == b"harmless"));
    cli.done(&["compact", "d"]);
    let refused = cli.run(&["export", "--format", "text", "d"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("quarantine"), "{refused:?}");
    assert_eq!(cli.done(&["export", "--format", "text", "canary"]).text().trim_end(), "sings");
    assert_eq!(metric(&server, "weft_workers_lost_total"), 3.0, "it is not tried again");
    let found = cli.run(&["verify"]);
    assert_eq!(found.code, 1, "an admin learns of it: {found:?}");
    assert!(found.text().contains("of \"d\": ") && found.text().contains(&sender), "{}", found.text());
    let told = cli.run(&["verify", "--json"]).json();
    assert_eq!(told["kept_updates"][0]["senders"], label["senders"], "{told}");

    // Nor after a restart, where there would be memory enough: what broke once is not tried by chance.
    drop((socket, canary, late, server));
    let server = Server::start(&data);
    let cli = Cli::of(&server);
    let mut socket = Socket::connect(server.addr(), "d");
    socket.pull(&writer.state_vector());
    save(&mut socket, &writer.append(" here"));
    cli.done(&["compact", "d"]);
    assert_eq!(cli.run(&["export", "--format", "text", "d"]).code, 1);
    assert_eq!(metric(&server, "weft_workers_lost_total"), 0.0);
    // Whoever has looked into it and takes the file away has it integrated again.
    drop((socket, server));
    fs::remove_dir_all(data.path().join("quarantine")).expect("removed");
    let server = Server::start(&data);
    assert!(
        Cli::of(&server).done(&["export", "--format", "text", "d"]).text().contains("harmless and after, still here")
    );
}

/// Whoever sends something and is gone at once is named all the same; a restart forgets it, and says so.
#[test]
fn i6_5_a_sender_who_has_left_is_named_and_one_from_before_the_start_is_not_guessed() {
    for restarts in [false, true] {
        let data = DataDir::new();
        let mut server = small_worker(&data);
        let mut culprit = Socket::connect(server.addr(), "d");
        culprit.pull(&[0]);
        let from = culprit.stream().local_addr().expect("an address");
        let flood = flood();
        culprit.send(message::update(&flood));
        culprit.close();
        let mut witness = Socket::connect(server.addr(), "d");
        crdt_tests::wait::until("it has arrived", PATIENCE, || (witness.pull(&[0]).len() >= flood.len()).then_some(()));
        witness.ack();
        if restarts {
            drop((witness, server));
            server = small_worker(&data);
        }
        Cli::of(&server).done(&["compact", "d"]);
        let (label, bytes) = kept(&data);
        assert!(bytes.ends_with(&flood));
        let named = match restarts {
            false => format!("somebody from {from}"),
            true => "unknown: before the last start, or too long ago".to_owned(),
        };
        assert_eq!(label["senders"], serde_json::json!([named]), "{label}");
    }
}

#[test]
fn without_a_worker_it_is_done_in_the_server() {
    let data = DataDir::new();
    let server = Options::new(data.path()).arg("--worker-memory").arg("0").start();
    let cli = Cli::of(&server);
    let mut socket = Socket::connect(server.addr(), "d");
    socket.pull(&[0]);
    save(&mut socket, &Writer::new(1).append("words"));
    cli.done(&["compact", "d"]);
    assert_eq!(cli.done(&["export", "--format", "text", "d"]).text().trim_end(), "words");
    assert_eq!(workers(&server), [0_u32; 0]);
}
