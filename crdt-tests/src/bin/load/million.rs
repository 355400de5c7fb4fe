//! A data directory of very many small documents: what a start, the first open of one, a list and a vacuum cost.
//!
//! The documents are put into the store directly; through sockets it would take longer than what is to be measured.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crdt_tests::message::Writer;
use crdt_tests::process;
use weft::data_dir::DataDir;
use weft::ids::{DocName, Seq};
use weft::journal::{Journal, JournalOptions};
use weft::store::{LogAppend, SledStore, Store};

use crate::Plan;
use crate::line::{self, Line};
use crate::report::Report;

/// Documents given to the store at a time.
const BATCH: usize = 2_000;

/// The figures of `load million`.
pub fn run(plan: &Plan, report: &mut Report) {
    let dir = plan.fresh_dir();
    let data = dir.path().join("data");
    let began = Instant::now();
    fill(&data, plan.documents);
    report.note(format!("{} documents written in {:.0} s", plan.documents, began.elapsed().as_secs_f64()));
    report.add("store on disk", "MB", &[megabytes(bytes_below(&data.join("store")))]);

    let (mut starts, mut memories, mut opens) = (Vec::new(), Vec::new(), Vec::new());
    let began = Instant::now();
    let mut server = plan.start(data.clone());
    starts.push(millis(began.elapsed()));
    for run in 0..plan.runs.max(3) {
        if run > 0 {
            server.drain();
            let began = Instant::now();
            server.restart();
            starts.push(millis(began.elapsed()));
        }
        memories.push(megabytes(process::rss_bytes(server.pid())));
        let room = name(plan.documents / 2 + run);
        let began = Instant::now();
        let update = Line::connect(server.addr(), &room).and_then(|mut line| line.pull()).expect("synced");
        opens.push(millis(began.elapsed()));
        assert_eq!(line::text_of(&update), text(plan.documents / 2 + run), "another document than was written");
    }
    report.add(format!("start with {} documents", plan.documents), "ms", &starts);
    report.add("memory after that start", "MB", &memories);
    report.add("first open of one of them", "ms", &opens);
    server.drain();

    for args in [&["ls", "--limit", "10"][..], &["ls", "--json"], &["compact", "--vacuum"]] {
        let (took, peak) = command(plan, &data, args);
        report.add(format!("weft {}, offline", args.join(" ")), "s", &[took.as_secs_f64()]);
        report.add(format!("weft {}, peak memory", args.join(" ")), "MB", &[megabytes(peak)]);
    }
    report.add("store on disk after the vacuum", "MB", &[megabytes(bytes_below(&data.join("store")))]);
}

fn name(n: usize) -> String {
    format!("team-{:03}/note-{n:07}", n % 1_000)
}

fn text(n: usize) -> String {
    format!("This is note number {n}, a short one like most of them.")
}

fn fill(data: &std::path::Path, documents: usize) {
    let dir = DataDir::open(data).expect("a fresh directory");
    // An empty journal, as a drained server leaves it.
    drop(Journal::open(&dir.journal(), JournalOptions::default()).expect("a fresh journal"));
    let store = SledStore::open(dir.store()).expect("a fresh store");
    let all: Vec<usize> = (0..documents).collect();
    for batch in all.chunks(BATCH) {
        let append = |n: &usize| LogAppend {
            doc: DocName::parse(&name(*n)).expect("a valid name"),
            updates: vec![(Seq(1), Bytes::from(Writer::new(*n as u64 + 1).append(&text(*n))))],
        };
        store.append(&batch.iter().map(append).collect::<Vec<_>>(), 1).expect("stored");
    }
    store.make_durable().expect("durable");
}

/// Runs a command offline; how long it took and the most memory it had.
fn command(plan: &Plan, data: &std::path::Path, args: &[&str]) -> (Duration, u64) {
    let began = Instant::now();
    let mut child =
        Command::new(&plan.binary).args(args).arg("--data").arg(data).stdout(Stdio::null()).spawn().expect("starts");
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait().expect("is ours") {
            assert!(status.success(), "weft {args:?}: {status}");
            return (began.elapsed(), peak);
        }
        // The kernel keeps the peak; looking now and then misses only what comes after the last look.
        peak = process::peak_rss_if_running(child.id()).unwrap_or(0).max(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn bytes_below(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(dir).expect("readable").map(|entry| entry.expect("readable"));
    let each = |entry: std::fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |meta| meta.blocks() * 512),
    };
    entries.map(each).sum()
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
