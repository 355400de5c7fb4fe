//! `kill -9` while people write: what others had read already, and what was acknowledged, must be there afterwards.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::Outcome;
use super::super::crowd::Crowd;
use super::super::dialect::Dialect;
use super::super::figures::Figure;
use super::super::lab::Lab;
use super::super::servers::Recipe;
use super::super::{reader, token};
use super::{For, Scenario};

/// Killed.
pub const KILL: Scenario = Scenario {
    name: "kill",
    title: "kill -9 under 200 edits/s on 4 documents",
    servers: For::Keepers,
    rounds: (2, 10),
    aims: &[("edits lost that others had read", 0.0), ("edits lost that were acknowledged", 0.0)],
    run,
};

const ROOMS: usize = 4;

fn run(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    // Never at the same moment of whatever the server does from time to time.
    let span = Duration::from_millis(lab.size.of(300, 3_000, 6_000) + 370 * lab.round as u64);
    let mut bench = lab.start(recipe)?;
    let mut crowd = Crowd::new(&bench.server)?;
    crowd.asks = true;
    let mut authors = Vec::new();
    for room in 0..ROOMS {
        let name = format!("kill-{room}");
        authors.push(crowd.open(&name, &[0])?);
        crowd.reader(room, &name, &[0])?;
    }
    crowd.until_joined()?;
    let confirmed: Vec<u64> = authors.iter().map(|line| crowd.books.told[*line].owed).collect();
    authors.iter().enumerate().for_each(|(room, line)| crowd.typist(*line, room));
    crowd.open_loop(200, span)?;
    bench.server.kill();
    // What had left the server before it died is still read.
    while crowd.books.closed.len() < crowd.swarm.len() {
        crowd.turn(std::time::Instant::now() + Duration::from_millis(100))?;
    }
    bench.server.begin()?;
    let mut stored = BTreeSet::new();
    for room in 0..ROOMS {
        for update in reader::look(&bench.server, &format!("kill-{room}"))? {
            token::scan(&update, |number| {
                stored.insert(number);
            });
        }
    }
    let account = &crowd.books.account;
    let read: Vec<u32> = account.completed().collect();
    let mut acked = Vec::new();
    for (at, line) in authors.iter().enumerate() {
        let told = &crowd.books.told[*line];
        let edits = match recipe.dialect {
            Dialect::Hocuspocus => told.saved.saturating_sub(confirmed[at]),
            Dialect::YWebsocket | Dialect::YSweet => told.echo.unwrap_or(0),
        };
        // They wrote in turn.
        acked.extend((0..edits).map(|edit| edit as u32 * ROOMS as u32 + at as u32));
    }
    let lost = |numbers: &[u32]| numbers.iter().filter(|number| !stored.contains(number)).count() as f64;
    let mut figures = vec![
        Figure::cost("edits lost that others had read", "", lost(&read)),
        Figure::note("edits that others had read", "", read.len() as f64),
    ];
    if recipe.acks.is_some() {
        figures.push(Figure::cost("edits lost that were acknowledged", "", lost(&acked)));
        figures.push(Figure::note("edits that were acknowledged", "", acked.len() as f64));
    }
    Ok(figures)
}
