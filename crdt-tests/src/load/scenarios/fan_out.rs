//! One document, one or a few who write, many who read.

use std::time::Duration;

use super::super::Outcome;
use super::super::crowd::{Crowd, client_id};
use super::super::figures::Figure;
use super::super::lab::{Lab, Size};
use super::super::servers::Recipe;
use super::super::text;
use super::{For, Scenario};

/// Names of figures that have aims, here and in [`super::rooms`].
pub const CPU_PER_DELIVERY: &str = "server CPU per delivery";
/// Half of the edits are read within this time.
pub const P50: &str = "p50";
/// And 99 in a hundred.
pub const P99: &str = "p99";
/// What was to be delivered and was not.
pub const MISSING: &str = "deliveries missing";
/// With everything stored.
pub const CPU_PER_EDIT: &str = "server CPU per edit, stored";

/// 500 readers.
pub const FIVE_HUNDRED: Scenario = Scenario {
    name: "fan-out-500",
    title: "fan-out: 1 document, 500 readers, 200 edits/s",
    servers: For::All,
    rounds: (2, 5),
    aims: &[(CPU_PER_DELIVERY, 4.6), (P50, 1.3), (P99, 3.0), (MISSING, 0.0)],
    run: |lab, recipe| steady(lab, recipe, lab.size.of(20, 500, 500)),
};

/// 50 readers.
pub const FIFTY: Scenario = Scenario {
    name: "fan-out-50",
    title: "fan-out: 1 document, 50 readers, 200 edits/s",
    servers: For::All,
    rounds: (2, 5),
    aims: &[(CPU_PER_DELIVERY, 6.2), (P99, 1.0), (MISSING, 0.0)],
    run: |lab, recipe| steady(lab, recipe, lab.size.of(5, 50, 50)),
};

/// As much as it takes.
pub const SATURATION: Scenario = Scenario {
    name: "fan-out-saturation",
    title: "fan-out at saturation: 1 document, 500 readers, 8 writers in closed loop",
    servers: For::All,
    rounds: (2, 3),
    aims: &[("deliveries a second", 10e6), ("deliveries a second at p50 ≤ 5 ms", 3e6), (MISSING, 0.0)],
    run: saturate,
};

/// Inside a large text.
pub const INSIDE: Scenario = Scenario {
    name: "large-text",
    title: "4 writers all over the large text, 20 readers, 80 edits/s",
    servers: For::All,
    rounds: (2, 3),
    aims: &[(CPU_PER_EDIT, 180.0), (MISSING, 0.0)],
    run: inside,
};

const ROOM: &str = "fan-out";

fn steady(lab: &Lab, recipe: &Recipe, readers: usize) -> Outcome<Vec<Figure>> {
    let rate = lab.size.of(50, 200, 200);
    let span = Duration::from_millis(lab.size.of(500, 3_000, 10_000));
    let bench = lab.start(recipe)?;
    let tree = bench.server.tree();
    let mut crowd = Crowd::new(&bench.server)?;
    let writer = crowd.open(ROOM, &[0])?;
    for _ in 0..readers {
        crowd.reader(0, ROOM, &[0])?;
    }
    crowd.until_joined()?;
    crowd.typist(writer, 0);
    // Whatever is done once, such as compiling JavaScript.
    crowd.open_loop(rate, span / 4)?;
    crowd.until_delivered(lab.patience())?;
    let before = (crowd.books.account.delivered, tree.cpu(), crowd.swarm.received_bytes);
    crowd.books.account.forget_times();
    crowd.open_loop(rate, span)?;
    let missing = crowd.until_delivered(lab.patience())?;
    let cpu = (tree.cpu() - before.1).as_secs_f64();
    let account = &crowd.books.account;
    let deliveries = (account.delivered - before.0) as f64;
    Ok(vec![
        Figure::cost(CPU_PER_DELIVERY, "µs", cpu * 1e6 / deliveries),
        Figure::cost(P50, "ms", account.millis(0.5)),
        Figure::cost(P99, "ms", account.millis(0.99)),
        Figure::cost("slowest", "ms", account.millis(1.0)),
        Figure::cost(MISSING, "", missing as f64),
        Figure::cost("bytes per delivery", "B", (crowd.swarm.received_bytes - before.2) as f64 / deliveries),
        Figure::cost("peak memory", "MB", tree.peak() as f64 / 1e6),
    ])
}

fn saturate(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let (readers, writers) = (lab.size.of(20, 500, 500), lab.size.of(2, 8, 8));
    let span = Duration::from_millis(lab.size.of(200, 1_500, 5_000));
    let windows: &[usize] = lab.size.of(&[4][..], &[1, 16, 64, 256], &[1, 4, 16, 64, 256, 1_024]);
    let mut figures = Vec::new();
    let (mut most, mut most_in_time, mut missing) = ((0.0, 0.0, 0.0), 0.0, 0);
    let mut peak = 0;
    for window in windows {
        let bench = lab.start(recipe)?;
        let mut crowd = Crowd::new(&bench.server)?;
        let authors = (0..writers).map(|_| crowd.open(ROOM, &[0])).collect::<Outcome<Vec<_>>>()?;
        for _ in 0..readers {
            crowd.reader(0, ROOM, &[0])?;
        }
        crowd.until_joined()?;
        authors.into_iter().for_each(|line| crowd.typist(line, 0));
        crowd.closed_loop(*window, span / 4)?;
        crowd.until_delivered(lab.patience())?;
        crowd.books.account.forget_times();
        let before = (crowd.books.account.delivered, bench.server.tree().cpu());
        crowd.closed_loop(*window, span)?;
        let cpu = (bench.server.tree().cpu() - before.1).as_secs_f64();
        let delivered = (crowd.books.account.delivered - before.0) as f64;
        let (rate, p50) = (delivered / span.as_secs_f64(), crowd.books.account.millis(0.5));
        missing += crowd.until_delivered(lab.patience())?;
        peak = peak.max(bench.server.tree().peak());
        let all = window * writers;
        figures.push(Figure::note(format!("deliveries a second, {all} edits under way"), "1/s", rate));
        figures.push(Figure::note(format!("p50, {all} edits under way"), "ms", p50));
        if rate > most.0 {
            most = (rate, p50, cpu * 1e6 / delivered);
        }
        if p50 <= 5.0 && rate > most_in_time {
            most_in_time = rate;
        }
    }
    let mut first = vec![
        Figure::gain("deliveries a second", "1/s", most.0),
        Figure::cost("p50 then", "ms", most.1),
        Figure::cost("server CPU per delivery then", "µs", most.2),
        Figure::gain("deliveries a second at p50 ≤ 5 ms", "1/s", most_in_time),
        Figure::cost(MISSING, "", missing as f64),
        Figure::cost("peak memory", "MB", peak as f64 / 1e6),
    ];
    first.extend(figures);
    Ok(first)
}

fn inside(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let history = match lab.size {
        Size::Brief => text::own_history(usize::MAX),
        Size::Quick | Size::Full => text::history(usize::MAX),
    };
    let (writers, readers) = lab.size.of((2, 3), (4, 20), (4, 20));
    let rate = lab.size.of(50, 80, 80);
    let span = Duration::from_millis(lab.size.of(400, 4_000, 10_000));
    let bench = lab.start(recipe)?;
    let tree = bench.server.tree();
    let mut crowd = Crowd::new(&bench.server)?;
    let seeder = crowd.open(ROOM, &[0])?;
    crowd.until_joined()?;
    crowd.swarm.say(seeder, &crate::message::update(&history.state))?;
    let authors = (0..writers).map(|_| crowd.reader(0, ROOM, &history.state_vector)).collect::<Outcome<Vec<_>>>()?;
    for _ in 0..readers {
        crowd.reader(0, ROOM, &history.state_vector)?;
    }
    crowd.until_joined()?;
    for line in authors {
        crowd.author(line, 0, text::insider(&history, client_id(line)));
    }
    // The text is not to be stored at the expense of the edits.
    crowd.pause(recipe.stored())?;
    tree.quiet(Duration::from_secs(10));
    let before = (crowd.books.account.sent(), tree.cpu());
    crowd.open_loop(rate, span / 4)?;
    crowd.books.account.forget_times();
    crowd.open_loop(rate, span)?;
    let missing = crowd.until_delivered(lab.patience())?;
    crowd.until_acked()?;
    crowd.pause(recipe.stored())?;
    tree.quiet(Duration::from_secs(10));
    let cpu = (tree.cpu() - before.1).as_secs_f64();
    let account = &crowd.books.account;
    Ok(vec![
        Figure::cost(CPU_PER_EDIT, "µs", cpu * 1e6 / (account.sent() - before.0) as f64),
        Figure::cost(P50, "ms", account.millis(0.5)),
        Figure::cost(P99, "ms", account.millis(0.99)),
        Figure::cost(MISSING, "", missing as f64),
        Figure::cost("peak memory", "MB", tree.peak() as f64 / 1e6),
    ])
}
