//! The whole automerge-paper history through one socket, one update per edit, until all of it is durable.

use std::io::Write;
use std::time::{Duration, Instant};

use crdt_tests::{message, process, trace};
use flate2::read::GzDecoder;
use serde::Deserialize;
use yrs::{Doc, Options, Text, Transact};

use crate::Plan;
use crate::line::{self, Line};
use crate::report::Report;

/// The room it is typed into.
pub const ROOM: &str = "automerge-paper";

/// The history, ready to be sent.
pub struct History {
    /// Frames one after another, one update each.
    pub frames: Vec<u8>,
    /// How many.
    pub edits: usize,
    /// The text at the end.
    pub end: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded {
    end_content: String,
    txns: Vec<Edit>,
}

#[derive(Deserialize)]
struct Edit {
    patches: Vec<(u32, u32, String)>,
}

/// Makes the updates with yrs; none when the trace is absent.
pub fn prepare() -> Option<History> {
    let file = std::fs::File::open(trace::shared(ROOM)?).expect("cannot open the trace");
    let recorded: Recorded = serde_json::from_reader(GzDecoder::new(file)).expect("a trace");
    let options = Options { offset_kind: yrs::OffsetKind::Utf16, ..Options::with_client_id(yrs::ClientID::new(77)) };
    let doc = Doc::with_options(options);
    let text = doc.get_or_insert_text("text");
    let mut frames = Vec::new();
    let mut edits = 0;
    for edit in recorded.txns {
        let mut txn = doc.transact_mut();
        for (position, deleted, inserted) in edit.patches {
            if deleted > 0 {
                text.remove_range(&mut txn, position, deleted);
            }
            if !inserted.is_empty() {
                text.insert(&mut txn, position, &inserted);
            }
        }
        frames.extend(line::frame(&message::update(&txn.encode_update_v1())));
        edits += 1;
    }
    Some(History { frames, edits, end: recorded.end_content })
}

/// Sends all of it and waits for the ack of the last; gives the time that took.
pub fn send(line: &mut Line, history: &History) -> Duration {
    let mut out = line.stream.try_clone().expect("cloned");
    let ack = message::ack(1);
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for chunk in history.frames.chunks(64 << 10) {
                out.write_all(chunk).expect("sent");
            }
            out.write_all(&line::frame(&ack)).expect("sent");
        });
        line.until(|message| message == ack).expect("the ack of everything");
    });
    start.elapsed()
}

/// The figures of `load ingest`.
pub fn run(plan: &Plan, history: &History, report: &mut Report) {
    let (mut walls, mut cpus, mut read_cpus, mut peaks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.runs {
        let dir = plan.fresh_dir();
        let mut server = plan.start(dir.path().join("data"));
        let mut line = Line::connect(server.addr(), ROOM).expect("connected");
        line.pull().expect("synced");
        let before = process::cpu_time(server.pid());
        walls.push(send(&mut line, history).as_secs_f64());
        cpus.push((process::cpu_time(server.pid()) - before).as_secs_f64());
        // Whatever was put off until somebody asks is part of the price.
        let read = Line::connect(server.addr(), ROOM).expect("connected").pull().expect("synced");
        read_cpus.push((process::cpu_time(server.pid()) - before).as_secs_f64());
        assert!(line::text_of(&read) == history.end, "the text read differs from the recorded end");
        peaks.push(process::peak_rss_bytes(server.pid()) as f64 / 1e6);
        // All of it, after the worst that can happen.
        server.kill();
        server.restart();
        let stored = Line::connect(server.addr(), ROOM).expect("connected").pull().expect("synced");
        assert!(line::text_of(&stored) == history.end, "the text read back differs from the recorded end");
    }
    report.add(format!("ingest of {} edits until durable: server CPU", history.edits), "s", &cpus);
    report.add("ingest, and the first reader served: server CPU", "s", &read_cpus);
    report.add("ingest: wall until durable", "s", &walls);
    report.add("ingest: highest server memory", "MB", &peaks);
}
