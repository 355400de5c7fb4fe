//! Everybody is cut off at once, and comes back as stock clients do.
//!
//! The server may have [`MEMORY_MAX`] and not more (`--max-memory`).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::Rng;

use super::super::Outcome;
use super::super::account::{histogram, millis};
use super::super::crowd::{Crowd, PATIENCE, client_id};
use super::super::dialect::{Dialect, Heard};
use super::super::figures::Figure;
use super::super::lab::Lab;
use super::super::servers::{self, Recipe, Running};
use super::super::swarm::Swarm;
use super::super::token::{self, Pen};
use super::{For, Scenario};
use crate::message::var_uint;
use crate::seed;

/// The lines are cut, the server goes on.
pub const CUT: Scenario = Scenario {
    name: "storm",
    title: "10,000 sockets on 100 documents cut at once, back with stock back-off, 10 edits missing each",
    servers: For::Weft,
    rounds: (1, 3),
    aims: AIMS,
    run: |lab, recipe| run(lab, recipe, false),
};

/// The server is killed and started again.
pub const KILLED: Scenario = Scenario {
    name: "storm-kill",
    title: "the same after kill -9 and a restart",
    servers: For::Weft,
    rounds: (1, 3),
    aims: AIMS,
    run: |lab, recipe| run(lab, recipe, true),
};

const AIMS: &[(&str, f64)] = &[
    ("resync p99", 10_000.0),
    ("slowest answer of /health", 1_000.0),
    ("acknowledged edits that a client lacks", 0.0),
    ("peak memory", MEMORY_MAX as f64 / 1e6),
];

/// Memory of the server, bytes.
const MEMORY_MAX: u64 = 256_000_000;

/// Edits that everybody has, and edits that everybody misses, in each document.
const KNOWN: u32 = 20;
const MISSED: u32 = 10;

/// How long a stock client waits before it tries again, after so many attempts that failed (WIRE g6, h5).
fn back_off(dialect: Dialect, failures: u32, rng: &mut impl Rng) -> Duration {
    let doubled = |first: u64, most: u64| Duration::from_millis((first << failures.min(10)).min(most));
    match dialect {
        Dialect::YWebsocket => doubled(100, 2_500),
        Dialect::Hocuspocus => doubled(1_000, 30_000).mul_f64(rng.random_range(0.5..1.0)),
        Dialect::YSweet => Duration::from_millis(500).mul_f64(1.1f64.powi(failures.min(24) as i32)),
    }
}

struct Client {
    document: usize,
    line: usize,
    failures: u32,
    /// One bit for each edit that it missed.
    has: u32,
    answered: bool,
}

impl Client {
    fn is_whole(&self) -> bool {
        self.answered && self.has.count_ones() == MISSED
    }
}

fn run(lab: &Lab, recipe: &Recipe, kill: bool) -> Outcome<Vec<Figure>> {
    let (documents, clients) = lab.size.of((4, 40), (100, 10_000), (100, 10_000));
    let recipe = &recipe.with_env("WEFT_MAX_MEMORY", &MEMORY_MAX.to_string());
    let mut bench = lab.start(recipe)?;
    // Two edits of a document have numbers that follow each other, so that a number tells whose it is.
    let mut crowd = Crowd::new(&bench.server)?;
    let name = |document: usize| format!("storm-{document}");
    let mut state_vectors = Vec::new();
    let mut missed = Vec::new();
    for document in 0..documents {
        let (line, mut pen) = (crowd.open(&name(document), &[0])?, Pen::new(client_id(document)));
        let number = |edit: u32| document as u32 * (KNOWN + MISSED) + edit;
        let mut edits: Vec<Vec<u8>> = (0..KNOWN + MISSED).map(|edit| pen.write(&token::write(number(edit)))).collect();
        let clock = u64::from(KNOWN) * token::BYTES as u64;
        state_vectors.push([var_uint(1), var_uint(client_id(document)), var_uint(clock)].concat());
        missed.push((line, edits.split_off(KNOWN as usize)));
        crowd.until_joined()?;
        crowd.push(line, &edits, &[0], PATIENCE)?;
    }
    let mut everybody = Vec::new();
    for client in 0..clients {
        let document = client % documents;
        let line = crowd.open(&name(document), &state_vectors[document])?;
        everybody.push(Client { document, line, failures: 0, has: 0, answered: false });
        if client % 500 == 499 {
            crowd.until_joined()?;
        }
    }
    crowd.until_joined()?;
    let mut back = Swarm::new()?;
    let cut;
    if kill {
        for (line, edits) in &missed {
            crowd.push(*line, edits, &[0], PATIENCE)?;
        }
        cut = Instant::now();
        bench.server.kill();
        everybody.iter().for_each(|client| crowd.swarm.drop_line(client.line));
    } else {
        cut = Instant::now();
        everybody.iter().for_each(|client| crowd.swarm.drop_line(client.line));
        for (line, edits) in &missed {
            crowd.push(*line, edits, &[0], PATIENCE)?;
        }
    }
    let tree_before = (!kill).then(|| bench.server.tree().cpu());
    let patience = lab.size.of(PATIENCE, PATIENCE, 2 * PATIENCE);
    let storm = Storm { addr: bench.server.addr, recipe, cut, patience, state_vectors: &state_vectors, name: &name };
    let over = AtomicBool::new(false);
    let mut health = histogram();
    let blown = std::thread::scope(|scope| {
        let (server, over) = (&mut bench.server, &over);
        let prober = scope.spawn(move || probe(server, kill, over));
        let blown = storm.blow(&mut back, &mut everybody);
        over.store(true, Ordering::Relaxed);
        let probed = prober.join().map_err(|_| "the prober panicked".to_owned())?;
        health.add(&probed?).map_err(|e| e.to_string())?;
        blown
    })?;
    let tree = bench.server.tree();
    let mut figures = vec![
        Figure::cost("resync p50", "ms", blown.micros.value_at_quantile(0.5) as f64 / 1e3),
        Figure::cost("resync p99", "ms", blown.micros.value_at_quantile(0.99) as f64 / 1e3),
        Figure::cost("resync of the last", "ms", millis(blown.took)),
        Figure::cost("slowest answer of /health", "ms", health.max() as f64 / 1e3),
        Figure::cost("acknowledged edits that a client lacks", "", blown.lacking as f64),
        Figure::cost("attempts per client", "", blown.attempts as f64 / clients as f64),
        Figure::cost("peak memory", "MB", tree.peak() as f64 / 1e6),
    ];
    if let Some(before) = tree_before {
        let cpu = (tree.cpu() - before).as_secs_f64();
        figures.push(Figure::cost("server CPU per client", "µs", cpu * 1e6 / clients as f64));
    }
    Ok(figures)
}

/// Starts the server again if it was killed, and asks `/health` all the time.
fn probe(server: &mut Running, killed: bool, over: &AtomicBool) -> Outcome<hdrhistogram::Histogram<u64>> {
    if killed {
        server.begin()?;
    }
    let mut micros = histogram();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answered = servers::ask(server.addr, &server.recipe.health, PATIENCE).is_some();
        // Where it is not answered at all, it took as long as anybody would have waited.
        let took = if answered { began.elapsed() } else { PATIENCE };
        micros.saturating_record(took.as_micros() as u64);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(micros)
}

struct Storm<'a> {
    addr: std::net::SocketAddr,
    recipe: &'a Recipe,
    cut: Instant,
    patience: Duration,
    state_vectors: &'a [Vec<u8>],
    name: &'a dyn Fn(usize) -> String,
}

struct Blown {
    micros: hdrhistogram::Histogram<u64>,
    took: Duration,
    lacking: u64,
    attempts: u64,
}

impl Storm<'_> {
    /// Lets all come back, each when its own back-off says so, until all have all.
    fn blow(&self, swarm: &mut Swarm, clients: &mut [Client]) -> Outcome<Blown> {
        let mut rng = seed::rng(clients.len() as u64, 0);
        let dialect = self.recipe.dialect;
        let mut due: BinaryHeap<Reverse<(Instant, usize)>> = BinaryHeap::new();
        for (number, client) in clients.iter_mut().enumerate() {
            client.line = usize::MAX;
            due.push(Reverse((self.cut + back_off(dialect, 0, &mut rng), number)));
        }
        let (mut micros, mut whole, mut attempts) = (histogram(), 0, 0);
        let mut client_of: Vec<usize> = Vec::new();
        let deadline = self.cut + self.patience;
        while whole < clients.len() && Instant::now() < deadline {
            let mut wake = deadline;
            while let Some(Reverse((when, number))) = due.peek().copied() {
                if when > Instant::now() {
                    wake = wake.min(when);
                    break;
                }
                due.pop();
                let client = &mut clients[number];
                attempts += 1;
                client.line = swarm.open(
                    self.addr,
                    dialect,
                    &(self.name)(client.document),
                    &self.state_vectors[client.document],
                )?;
                client_of.push(number);
            }
            let mut failed = Vec::new();
            swarm.turn(wake, &mut |line, now, heard| {
                let number = client_of[line];
                let client = &mut clients[number];
                match heard {
                    Heard::Answer(update) | Heard::Update(update) => {
                        let was_whole = client.is_whole();
                        client.answered |= matches!(heard, Heard::Answer(_));
                        let first = client.document as u32 * (KNOWN + MISSED) + KNOWN;
                        token::scan(update, |token| {
                            let edit = token.wrapping_sub(first);
                            client.has |= if edit < MISSED { 1 << edit } else { 0 };
                        });
                        if !was_whole && client.is_whole() {
                            whole += 1;
                            micros.saturating_record((now - self.cut).as_micros() as u64);
                        }
                    }
                    // One that was whole already comes back as well, but is not counted twice.
                    Heard::Closed(_) => failed.push(number),
                    _ => {}
                }
            })?;
            for number in failed {
                clients[number].failures += 1;
                let wait = back_off(dialect, clients[number].failures, &mut rng);
                due.push(Reverse((Instant::now() + wait, number)));
            }
        }
        let lacking = clients.iter().map(|client| u64::from(MISSED - client.has.count_ones())).sum();
        Ok(Blown { micros, took: self.cut.elapsed(), lacking, attempts })
    }
}
