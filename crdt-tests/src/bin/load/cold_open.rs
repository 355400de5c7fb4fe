//! The first client of a document after a restart: from connecting to the whole SyncStep2.

use std::time::{Duration, Instant};

use crdt_tests::cli::Cli;
use crdt_tests::process;
use crdt_tests::server::Server;

use crate::Plan;
use crate::ingest::{self, History, ROOM};
use crate::line::{self, Line};
use crate::report::Report;

#[derive(Default)]
struct Opens {
    starts: Vec<f64>,
    walls: Vec<f64>,
    cpus: Vec<f64>,
}

/// The figures of `load cold-open`.
pub fn run(plan: &Plan, history: &History, report: &mut Report) {
    let dir = plan.fresh_dir();
    let mut server = plan.start(dir.path().join("data"));
    let mut line = Line::connect(server.addr(), ROOM).expect("connected");
    line.pull().expect("synced");
    ingest::send(&mut line, history);
    drop(line);

    let mut killed = Opens::default();
    server.kill();
    let bytes = open(&mut server, history, &mut killed);
    add(report, "after kill -9, from the journal", &killed);

    let mut drained = Opens::default();
    for _ in 0..plan.runs.max(5) {
        server.drain();
        open(&mut server, history, &mut drained);
    }
    add(report, "typed in, drained", &drained);

    Cli::with_binary(plan.binary.clone(), server.data()).done(&["compact", ROOM]);
    let mut compacted = Opens::default();
    for _ in 0..plan.runs.max(5) {
        server.drain();
        open(&mut server, history, &mut compacted);
    }
    add(report, "compacted", &compacted);
    report.note(format!("cold open: the document is {bytes} bytes as one update"));
}

fn add(report: &mut Report, how: &str, opens: &Opens) {
    report.add(format!("cold open, {how}: connect to SyncStep2"), "ms", &opens.walls);
    report.add(format!("cold open, {how}: server CPU"), "ms", &opens.cpus);
    report.add(format!("start, {how}"), "ms", &opens.starts);
}

fn open(server: &mut Server, history: &History, opens: &mut Opens) -> usize {
    let start = Instant::now();
    server.restart();
    opens.starts.push(millis(start.elapsed()));
    // What the start itself still does shall not be counted as opening.
    let quiet = || {
        let before = process::cpu_time_exact(server.pid());
        std::thread::sleep(Duration::from_millis(50));
        process::cpu_time_exact(server.pid()) - before < Duration::from_millis(2)
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !quiet() && Instant::now() < deadline {}
    let before = process::cpu_time_exact(server.pid());
    let start = Instant::now();
    let update = Line::connect(server.addr(), ROOM).and_then(|mut line| line.pull()).expect("synced");
    opens.walls.push(millis(start.elapsed()));
    opens.cpus.push(millis(process::cpu_time_exact(server.pid()).saturating_sub(before)));
    assert!(line::text_of(&update) == history.end, "the text read back differs from the recorded end");
    update.len()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
