//! A data directory of very many small documents: what a start costs, and the first open of one.
//!
//! The documents are put into the store directly; through sockets it would take longer than what is to be measured.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use weft::data_dir::DataDir;
use weft::ids::{DocName, Seq};
use weft::journal::{Journal, JournalOptions};
use weft::store::{LogAppend, SledStore, Store};

use super::super::Outcome;
use super::super::account::millis;
use super::super::figures::Figure;
use super::super::lab::{Lab, Size};
use super::super::reader::{self, Whole};
use super::super::servers::Recipe;
use super::super::token::{self, Pen};
use super::{For, Scenario};
use crate::{process, used};

/// A million.
pub const MILLION: Scenario = Scenario {
    name: "million",
    title: "start with 1,000,000 documents on disk (a quick run: 200,000)",
    servers: For::Weft,
    rounds: (1, 1),
    aims: &[("start", 2_000.0), ("memory after the start", 300.0)],
    run,
};

/// Documents given to the store at a time.
const BATCH: usize = 2_000;

fn run(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let documents = lab.size.of(200, 200_000, 1_000_000);
    let mut bench = lab.start(recipe)?;
    bench.server.stop()?;
    // Its own files may stay: what is filled in is a fresh directory.
    let data = bench.server.data.clone();
    std::fs::remove_dir_all(&data).map_err(|e| e.to_string())?;
    fill(&data, documents);
    let stored = used::disk_bytes(&data.join("store"));
    let began = Instant::now();
    bench.server.begin()?;
    let first = began.elapsed();
    bench.server.stop()?;
    let began = Instant::now();
    bench.server.begin()?;
    let start = began.elapsed();
    let rss = bench.server.tree().rss();
    let wanted = documents / 2;
    let opened = reader::pull(&bench.server, &[name(wanted)], Whole { token: wanted as u32, bytes: 1 })?;
    let mut figures = vec![
        Figure::cost("start", "ms", millis(start)),
        Figure::cost("start, the first time after the documents came", "ms", millis(first)),
        Figure::cost("memory after the start", "MB", rss as f64 / 1e6),
        Figure::cost("first open of one", "ms", millis(opened.took)),
        Figure::note("documents", "", documents as f64),
        Figure::note("store on disk", "MB", stored as f64 / 1e6),
    ];
    if lab.size == Size::Full {
        bench.server.stop()?;
        for args in [&["ls", "--limit", "10"][..], &["ls", "--json"], &["compact", "--vacuum"]] {
            let (took, peak) = command(lab, &data, args)?;
            figures.push(Figure::cost(format!("weft {}, offline", args.join(" ")), "s", took));
            figures.push(Figure::cost(format!("weft {}, peak memory", args.join(" ")), "MB", peak as f64 / 1e6));
        }
    }
    Ok(figures)
}

fn name(number: usize) -> String {
    format!("note-{number:07}")
}

fn fill(data: &Path, documents: usize) {
    let dir = DataDir::open(data).expect("a fresh directory");
    // An empty journal, as a drained server leaves it.
    drop(Journal::open(&dir.journal(), JournalOptions::default()).expect("a fresh journal"));
    let store = SledStore::open(dir.store()).expect("a fresh store");
    let all: Vec<usize> = (0..documents).collect();
    for batch in all.chunks(BATCH) {
        let append = |number: &usize| {
            let text = [&token::write(*number as u32)[..], b" is a note, a short one like most of them."].concat();
            let update = Bytes::from(Pen::new(*number as u64 + 1).write(&text));
            let doc = DocName::parse(&name(*number)).expect("a valid name");
            LogAppend { doc, updates: vec![(Seq(1), update)] }
        };
        store.append(&batch.iter().map(append).collect::<Vec<_>>(), 1).expect("stored");
    }
    store.make_durable().expect("durable");
}

/// Runs a command offline; how long it took in seconds, and the most memory it had.
fn command(lab: &Lab, data: &Path, args: &[&str]) -> Outcome<(f64, u64)> {
    let began = Instant::now();
    let mut command = Command::new(&lab.programs.weft);
    let mut child =
        command.args(args).arg("--data").arg(data).stdout(Stdio::null()).spawn().map_err(|e| e.to_string())?;
    let mut peak = 0;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return match status.success() {
                true => Ok((began.elapsed().as_secs_f64(), peak)),
                false => Err(format!("weft {args:?}: {status}")),
            };
        }
        // The kernel keeps the peak; looking now and then misses only what comes after the last look.
        peak = process::peak_rss_if_running(child.id()).unwrap_or(0).max(peak);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
