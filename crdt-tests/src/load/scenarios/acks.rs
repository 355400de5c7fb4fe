//! Acknowledgements: as many as come in closed loop, and how soon they come at a fixed rate. Beside them, on the same disk,
//! what a bare file gives to as many writers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;

use super::super::Outcome;
use super::super::account::histogram;
use super::super::crowd::{Crowd, PATIENCE, Told};
use super::super::dialect::Dialect;
use super::super::figures::Figure;
use super::super::lab::{Bench, Lab};
use super::super::servers::Recipe;
use super::super::{reader, token};
use super::{For, Scenario};
use crate::bare_log::{self, BareLog, Space};

/// As many as come.
pub const CLOSED_LOOP: Scenario = Scenario {
    name: "acks",
    title: "64 writers, each waits for its ack before it writes again (only weft's mean: on disk)",
    servers: For::Ackers,
    rounds: (2, 5),
    aims: &[],
    run: closed_loop,
};

/// At a fixed rate.
pub const OPEN_LOOP: Scenario = Scenario {
    name: "acks-steady",
    title: "16 writers, 5,000 edits/s in all, open loop: how soon an ack comes",
    servers: For::Ackers,
    rounds: (1, 3),
    aims: &[("16 documents: p99", 10.0), ("1 document: p99", 10.0)],
    run: open_loop,
};

/// About what one small update takes in a log.
const RECORD_BYTES: usize = 64;

fn closed_loop(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let writers = lab.size.of(8, 64, 64);
    let span = Duration::from_millis(lab.size.of(200, 2_000, 5_000));
    let mut figures = Vec::new();
    if recipe.is_limit() {
        let dir = lab.fresh_dir()?;
        let (rate, micros) = bare_file(&dir.path().join("bare"), writers, span);
        return Ok(of_acks(format!("{writers} documents"), rate, &micros));
    }
    for documents in [writers, 1] {
        let mut bench = lab.start(recipe)?;
        let tree = bench.server.tree();
        let mut crowd = writing(&bench, writers, documents)?;
        let mut since = vec![Instant::now(); crowd.swarm.len()];
        let mut micros = histogram();
        let before = tree.cpu();
        let began = Instant::now();
        let mut acked: u64 = 0;
        for line in 0..writers {
            crowd.write(line, 1, began)?;
        }
        while began.elapsed() < span {
            crowd.turn(began + span)?;
            let now = Instant::now();
            for line in crowd.books.acked.replace(Vec::new()).unwrap_or_default() {
                micros.saturating_record((now - since[line]).as_micros() as u64);
                acked += 1;
                since[line] = now;
                crowd.write(line, 1, now)?;
            }
        }
        crowd.nobody_left()?;
        let (elapsed, cpu) = (began.elapsed(), tree.cpu() - before);
        crowd.until("the last acks", PATIENCE, |crowd| {
            crowd.books.acked.as_ref().map_or(0, Vec::len) + acked as usize >= crowd.books.account.sent() as usize
        })?;
        let what = if documents == 1 { "1 document".to_owned() } else { format!("{documents} documents") };
        figures.extend(of_acks(what.clone(), acked as f64 / elapsed.as_secs_f64(), &micros));
        figures.push(Figure::cost(format!("{what}: server CPU per ack"), "µs", cpu.as_secs_f64() * 1e6 / acked as f64));
        figures.extend(after_kill(&mut bench, &crowd, documents, &what)?);
    }
    Ok(figures)
}

fn of_acks(what: String, rate: f64, micros: &Histogram<u64>) -> Vec<Figure> {
    vec![
        Figure::gain(format!("{what}: acks a second"), "1/s", rate),
        Figure::cost(format!("{what}: p50"), "ms", micros.value_at_quantile(0.5) as f64 / 1e3),
        Figure::cost(format!("{what}: p99"), "ms", micros.value_at_quantile(0.99) as f64 / 1e3),
    ]
}

/// Writers who sit in their rooms, and whom the server owes nothing.
fn writing(bench: &Bench, writers: usize, documents: usize) -> Outcome<Crowd> {
    let mut crowd = Crowd::new(&bench.server)?;
    crowd.asks = true;
    for writer in 0..writers {
        let line = crowd.open(&format!("acks-{}", writer % documents), &[0])?;
        crowd.typist(line, writer % documents);
    }
    crowd.until_joined()?;
    // Hocuspocus confirms the greeting, too.
    let is_quits = |told: &Told| told.saved >= told.owed;
    if bench.server.recipe.dialect == Dialect::Hocuspocus {
        crowd.until("the greeting is confirmed", PATIENCE, |crowd| crowd.books.told.iter().all(is_quits))?;
    }
    crowd.books.acked = Some(Vec::new());
    Ok(crowd)
}

/// All that was acknowledged must be there after `kill -9`.
fn after_kill(bench: &mut Bench, crowd: &Crowd, documents: usize, what: &str) -> Outcome<Vec<Figure>> {
    bench.server.kill();
    bench.server.begin()?;
    let mut stored = vec![false; crowd.books.account.sent() as usize];
    for document in 0..documents {
        for update in reader::look(&bench.server, &format!("acks-{document}"))? {
            token::scan(&update, |number| {
                if let Some(is) = stored.get_mut(number as usize) {
                    *is = true;
                }
            });
        }
    }
    let lost = stored.iter().filter(|is| !**is).count();
    Ok(vec![Figure::cost(format!("{what}: acknowledged edits lost by kill -9"), "", lost as f64)])
}

fn bare_file(path: &std::path::Path, writers: usize, span: Duration) -> (f64, Histogram<u64>) {
    let log = Arc::new(BareLog::start(path, Space::Growing));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let record = |n: u64| Bytes::from(vec![n as u8; RECORD_BYTES]);
    runtime.block_on(bare_log::measure(&log, writers, span, record))
}

fn open_loop(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let (writers, rate) = lab.size.of((4, 200), (16, 5_000), (16, 5_000));
    let span = Duration::from_millis(lab.size.of(300, 3_000, 10_000));
    if recipe.is_limit() {
        return Ok(Vec::new());
    }
    let mut figures = Vec::new();
    for documents in [writers, 1] {
        let mut bench = lab.start(recipe)?;
        let mut crowd = writing(&bench, writers, documents)?;
        let mut due = vec![VecDeque::new(); crowd.swarm.len()];
        let mut micros = histogram();
        let start = Instant::now();
        let edits = (rate as f64 * span.as_secs_f64()) as u32;
        let deadline = start + span + PATIENCE / 4;
        let (mut sent, mut acked) = (0, 0);
        while acked < edits {
            let at = |number: u32| start + Duration::from_secs_f64(f64::from(number) / f64::from(rate));
            while sent < edits && at(sent) <= Instant::now() {
                let line = sent as usize % writers;
                crowd.write(line, 1, at(sent))?;
                due[line].push_back(at(sent));
                sent += 1;
            }
            if Instant::now() > deadline {
                return Err(format!("{acked} of {edits} acks came"));
            }
            crowd.turn(if sent < edits { at(sent) } else { deadline })?;
            crowd.nobody_left()?;
            let now = Instant::now();
            for line in crowd.books.acked.replace(Vec::new()).unwrap_or_default() {
                let since = due[line].pop_front().ok_or("an ack for nothing")?;
                micros.saturating_record(now.saturating_duration_since(since).as_micros() as u64);
                acked += 1;
            }
        }
        let what = if documents == 1 { "1 document".to_owned() } else { format!("{documents} documents") };
        for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("slowest", 1.0)] {
            let value = micros.value_at_quantile(quantile) as f64 / 1e3;
            figures.push(Figure::cost(format!("{what}: {name}"), "ms", value));
        }
        figures.extend(after_kill(&mut bench, &crowd, documents, &what)?);
    }
    Ok(figures)
}
