//! How cost grows: one axis at a time, a fresh server for each point unless the axis is time itself.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use yrs::{ClientID, Doc, Options, Text, Transact};

use super::Outcome;
use super::account::millis;
use super::crowd::{Crowd, PATIENCE, client_id};
use super::figures::{Figure, shown};
use super::lab::Lab;
use super::machine::Machine;
use super::plot::{self, Panel};
use super::reader::{self, Whole};
use super::servers::Recipe;
use super::token::{self, Pen};
use crate::message::var_uint;
use crate::used;

/// One axis.
#[derive(Debug)]
pub struct Axis {
    /// On the command line, and the name of its files.
    pub name: &'static str,
    /// What grows, for people.
    pub title: &'static str,
    /// What runs along the lower edge, with its unit.
    pub x: &'static str,
    run: fn(&Lab, &Recipe) -> Outcome<Vec<Point>>,
}

/// One point: what there was of the thing that grows, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// How much.
    pub x: f64,
    /// At what cost.
    pub figures: Vec<Figure>,
}

/// What came of an axis.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// Its name.
    pub axis: String,
    /// Its title.
    pub title: String,
    /// What runs along the lower edge.
    pub x: String,
    /// `brief`, `quick` or `full`.
    pub size: String,
    /// When it ended.
    pub ended: String,
    /// The revision of weft.
    pub revision: String,
    /// Where.
    pub machine: Machine,
    /// In order.
    pub points: Vec<Point>,
}

/// All axes.
pub const AXES: &[Axis] = &[
    Axis { name: "connections", title: "Sockets on one document", x: "sockets", run: connections },
    Axis {
        name: "documents",
        title: "Documents opened one after another",
        x: "documents opened so far",
        run: documents,
    },
    Axis { name: "document-size", title: "Size of a document", x: "size, kB", run: document_size },
    Axis { name: "clients-seen", title: "Clients ever seen in a document", x: "clients", run: clients_seen },
    Axis { name: "log-length", title: "Edits since the last snapshot", x: "edits", run: log_length },
];

impl Axis {
    /// The one of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        AXES.iter().find(|axis| axis.name == name)
    }

    /// Measures its points.
    pub fn run(&self, lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Point>> {
        super::compare::guarded(|| (self.run)(lab, recipe))
    }
}

impl Growth {
    /// A panel for each figure.
    pub fn plot(&self) -> String {
        let mut panels: Vec<Panel> = Vec::new();
        for (x, figure) in self.points.iter().flat_map(|point| point.figures.iter().map(|figure| (point.x, figure))) {
            let title = format!("{}, {}", figure.name, figure.unit);
            match panels.iter_mut().find(|panel| panel.title == title) {
                Some(panel) => panel.points.push((x, figure.value)),
                None => panels.push(Panel { title, points: vec![(x, figure.value)] }),
            }
        }
        plot::svg(&self.title, &self.x, &panels)
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for point in &self.points {
            let figures = point.figures.iter();
            let figures: Vec<String> =
                figures.map(|figure| format!("{} {} {}", figure.name, shown(figure.value), figure.unit)).collect();
            text += &format!("  {} {}: {}\n", shown(point.x), self.x, figures.join(", "));
        }
        text
    }

    /// Writes it into its file.
    pub fn write(&self, folder: &Path) -> Outcome<()> {
        fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        let path = folder.join(format!("growth-{}.json", self.axis));
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())? + "\n";
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Reads it, if it is there.
    pub fn read(folder: &Path, axis: &str) -> Outcome<Option<Self>> {
        let path = folder.join(format!("growth-{axis}.json"));
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| format!("{}: {e}", path.display())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }
}

const ROOM: &str = "growth";

fn connections(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Point>> {
    let points: &[usize] = lab.size.of(&[2, 20], &[10, 100, 1_000, 10_000], &[10, 100, 1_000, 10_000]);
    let mut found = Vec::new();
    for sockets in points {
        let bench = lab.start(recipe)?;
        let tree = bench.server.tree();
        let mut crowd = Crowd::new(&bench.server)?;
        let writer = crowd.open(ROOM, &[0])?;
        crowd.until_joined()?;
        let rss = tree.rss();
        for number in 0..*sockets {
            crowd.reader(0, ROOM, &[0])?;
            // No faster than they are let in, or the kernel drops what waits.
            if number % 500 == 499 {
                crowd.until_joined()?;
            }
        }
        crowd.until_joined()?;
        tree.quiet(Duration::from_secs(10));
        let grown = tree.rss().saturating_sub(rss);
        crowd.typist(writer, 0);
        crowd.open_loop(20, Duration::from_millis(200))?;
        crowd.until_delivered(PATIENCE)?;
        crowd.books.account.forget_times();
        let before = (crowd.books.account.delivered, tree.cpu());
        crowd.open_loop(20, Duration::from_millis(lab.size.of(200, 2_000, 5_000)))?;
        let missing = crowd.until_delivered(PATIENCE)?;
        if missing > 0 {
            return Err(format!("{missing} deliveries are missing"));
        }
        let cpu = (tree.cpu() - before.1).as_secs_f64();
        let account = &crowd.books.account;
        found.push(Point {
            x: *sockets as f64,
            figures: vec![
                Figure::cost("memory of all sockets", "kB", grown as f64 / 1e3),
                Figure::cost("server CPU per delivery", "µs", cpu * 1e6 / (account.delivered - before.0) as f64),
                Figure::cost("delivery, p99", "ms", account.millis(0.99)),
            ],
        });
    }
    Ok(found)
}

/// Documents opened, written to and left at a time.
const AT_ONCE: usize = 100;

fn documents(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Point>> {
    let points: &[usize] = lab.size.of(&[10, 120], &[10, 100, 1_000, 10_000], &[10, 100, 1_000, 10_000, 100_000]);
    let bench = lab.start(recipe)?;
    let tree = bench.server.tree();
    let (mut found, mut opened) = (Vec::new(), 0);
    for point in points {
        let (first, before) = (opened, tree.cpu());
        while opened < *point {
            // A crowd of its own, so that all leave when they are done.
            let mut crowd = Crowd::new(&bench.server)?;
            let last = (opened + AT_ONCE).min(*point);
            for document in opened..last {
                let line = crowd.open(&format!("growth-{document}"), &[0])?;
                crowd.typist(line, document - opened);
            }
            crowd.until_joined()?;
            for author in 0..last - opened {
                crowd.write(author, 1, Instant::now())?;
            }
            crowd.until_acked()?;
            opened = last;
        }
        tree.quiet(Duration::from_secs(10));
        let cpu = (tree.cpu() - before).as_secs_f64();
        found.push(Point {
            x: *point as f64,
            figures: vec![
                Figure::cost("server memory", "MB", tree.rss() as f64 / 1e6),
                Figure::cost(
                    "server CPU per document opened, written to and left",
                    "µs",
                    cpu * 1e6 / (opened - first) as f64,
                ),
                Figure::cost("data directory", "MB", used::disk_bytes(&bench.server.data) as f64 / 1e6),
            ],
        });
    }
    Ok(found)
}

/// Writes a document of about this size: words of 100 letters, each put before all others, so that none can be joined.
fn sized(bytes: usize) -> Vec<Vec<u8>> {
    /// Words in one update; all servers take one of this size.
    const WORDS: usize = 5_000;
    let doc = Doc::with_options(Options::with_client_id(ClientID::new(1_000_000_007)));
    let text = doc.get_or_insert_text("text");
    let word = "a word that is repeated ".repeat(5);
    let words = (bytes / 100).max(1);
    let mut updates = Vec::new();
    for first in (0..words).step_by(WORDS) {
        let mut txn = doc.transact_mut();
        for _ in first..words.min(first + WORDS) {
            text.insert(&mut txn, 0, &word[..100]);
        }
        updates.push(txn.encode_update_v1());
    }
    updates
}

/// The state vector of somebody who knows the first `clock` letters of each of these.
fn knowing(clients: impl ExactSizeIterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut bytes = var_uint(clients.len() as u64);
    for (client, clock) in clients {
        bytes.extend(var_uint(client));
        bytes.extend(var_uint(clock));
    }
    bytes
}

/// One who writes and one who reads, who know all there is, for a short while; the server's CPU for each edit, µs.
fn edit(lab: &Lab, bench: &super::lab::Bench, knowing: &[u8]) -> Outcome<f64> {
    let tree = bench.server.tree();
    let mut crowd = Crowd::new(&bench.server)?;
    let writer = crowd.open(ROOM, knowing)?;
    crowd.reader(0, ROOM, knowing)?;
    crowd.until_joined()?;
    crowd.typist(writer, 0);
    tree.quiet(Duration::from_secs(10));
    let before = tree.cpu();
    crowd.open_loop(100, Duration::from_millis(lab.size.of(200, 1_000, 3_000)))?;
    if crowd.until_delivered(PATIENCE)? > 0 {
        return Err("edits did not arrive".into());
    }
    crowd.until_acked()?;
    Ok((tree.cpu() - before).as_secs_f64() * 1e6 / crowd.books.account.sent() as f64)
}

fn document_size(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Point>> {
    let points: &[usize] = lab.size.of(&[10, 50], &[10, 100, 1_000, 10_000], &[10, 100, 1_000, 10_000, 50_000]);
    let mut found = Vec::new();
    for kilobytes in points {
        let updates = sized(kilobytes * 1_000);
        let mut bench = lab.start(recipe)?;
        let mut crowd = Crowd::new(&bench.server)?;
        let line = crowd.open(ROOM, &[0])?;
        crowd.until_joined()?;
        let mark = Pen::new(client_id(7)).write(&token::write(0));
        let letters = (kilobytes * 10) as u64 * 100;
        let all = knowing([(1_000_000_007, letters), (client_id(7), token::BYTES as u64)].into_iter());
        crowd.push(line, updates.iter().chain([&mark]), &all, 2 * PATIENCE)?;
        drop(crowd);
        bench.server.settle();
        bench.server.restart()?;
        let tree = bench.server.tree();
        let (rss, before) = (tree.rss(), tree.cpu_exact());
        let pulled = reader::pull(&bench.server, &[ROOM.into()], Whole { token: 0, bytes: kilobytes * 900 })?;
        tree.quiet(Duration::from_secs(10));
        let cpu = tree.cpu_exact().saturating_sub(before);
        let grown = tree.rss().saturating_sub(rss);
        found.push(Point {
            x: *kilobytes as f64,
            figures: vec![
                Figure::cost("cold open", "ms", millis(pulled.took)),
                Figure::cost("cold open, server CPU", "ms", millis(cpu)),
                Figure::cost("memory that it takes", "MB", grown as f64 / 1e6),
                Figure::cost("server CPU per edit", "µs", edit(lab, &bench, &all)?),
            ],
        });
    }
    Ok(found)
}

fn clients_seen(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Point>> {
    let points: &[usize] = lab.size.of(&[2, 20], &[10, 100, 1_000, 10_000], &[10, 100, 1_000, 10_000]);
    let joins = lab.size.of(3, 50, 200);
    let mut found = Vec::new();
    for clients in points {
        let updates: Vec<Vec<u8>> =
            (0..*clients).map(|client| Pen::new(client_id(100 + client)).write(b"a line of text\n")).collect();
        let all = knowing((0..*clients).map(|client| (client_id(100 + client), 15)));
        let bench = lab.start(recipe)?;
        let tree = bench.server.tree();
        let mut crowd = Crowd::new(&bench.server)?;
        let line = crowd.open(ROOM, &[0])?;
        crowd.until_joined()?;
        crowd.push(line, &updates, &all, PATIENCE)?;
        tree.quiet(Duration::from_secs(10));
        let join = |state_vector: &[u8]| -> Outcome<(f64, f64)> {
            let mut crowd = Crowd::new(&bench.server)?;
            let before = tree.cpu_exact();
            for _ in 0..joins {
                crowd.open(ROOM, state_vector)?;
            }
            crowd.until_joined()?;
            let cpu = tree.cpu_exact().saturating_sub(before).as_secs_f64() * 1e6 / joins as f64;
            Ok((cpu, crowd.swarm.received_bytes as f64 / joins as f64))
        };
        let (fresh, returning) = (join(&[0])?, join(&all)?);
        found.push(Point {
            x: *clients as f64,
            figures: vec![
                Figure::cost("server CPU for a fresh client", "µs", fresh.0),
                Figure::cost("server CPU for a client that misses nothing", "µs", returning.0),
                Figure::cost("bytes to a client that misses nothing", "B", returning.1),
                Figure::cost("server CPU per edit", "µs", edit(lab, &bench, &all)?),
            ],
        });
    }
    Ok(found)
}

fn log_length(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Point>> {
    let points: &[usize] =
        lab.size.of(&[10, 100], &[100, 1_000, 10_000, 100_000], &[100, 1_000, 10_000, 100_000, 1_000_000]);
    let mut found = Vec::new();
    for edits in points {
        let mut pen = Pen::new(client_id(1));
        let mut updates: Vec<Vec<u8>> = (1..*edits).map(|_| pen.write(b"letter")).collect();
        updates.push(pen.write(&token::write(0)));
        let all = knowing([(client_id(1), *edits as u64 * token::BYTES as u64)].into_iter());
        let mut bench = lab.start(recipe)?;
        let mut crowd = Crowd::new(&bench.server)?;
        let line = crowd.open(ROOM, &[0])?;
        crowd.until_joined()?;
        crowd.push(line, &updates, &all, 2 * PATIENCE)?;
        drop(crowd);
        bench.server.kill();
        let began = Instant::now();
        bench.server.begin()?;
        let start = began.elapsed();
        let whole = Whole { token: 0, bytes: edits * token::BYTES };
        let killed = reader::pull(&bench.server, &[ROOM.into()], whole)?.took;
        bench.server.settle();
        bench.server.restart()?;
        let stopped = reader::pull(&bench.server, &[ROOM.into()], whole)?.took;
        found.push(Point {
            x: *edits as f64,
            figures: vec![
                Figure::cost("start after kill -9", "ms", millis(start)),
                Figure::cost("cold open then", "ms", millis(killed)),
                Figure::cost("cold open after it was stopped well", "ms", millis(stopped)),
                Figure::cost("data directory", "MB", used::disk_bytes(&bench.server.data) as f64 / 1e6),
            ],
        });
    }
    Ok(found)
}
