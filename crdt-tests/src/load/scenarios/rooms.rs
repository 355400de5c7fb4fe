//! Many rooms with two editors each.

use std::time::Duration;

use super::super::Outcome;
use super::super::crowd::Crowd;
use super::super::figures::Figure;
use super::super::lab::{Bench, Lab};
use super::super::servers::Recipe;
use super::fan_out::{CPU_PER_EDIT, MISSING, P50, P99};
use super::{For, Scenario};

/// A day in the life of a server.
pub const STEADY: Scenario = Scenario {
    name: "rooms",
    title: "200 rooms with 2 editors each, 800 edits/s in all",
    servers: For::All,
    rounds: (2, 3),
    aims: &[(CPU_PER_EDIT, 70.0), (MISSING, 0.0)],
    run: steady,
};

/// As much as it takes.
pub const SATURATION: Scenario = Scenario {
    name: "rooms-saturation",
    title: "200 rooms with 2 editors each, in closed loop",
    servers: For::All,
    rounds: (2, 3),
    aims: &[("edits a second", 80_000.0), ("server CPU per edit then, stored", 12.0), (MISSING, 0.0)],
    run: saturate,
};

fn fill(lab: &Lab, bench: &Bench) -> Outcome<Crowd> {
    let mut crowd = Crowd::new(&bench.server)?;
    let rooms = lab.size.of(5, 200, 200);
    let mut editors = Vec::new();
    for seat in 0..2 * rooms {
        let room = seat % rooms;
        editors.push((crowd.reader(room, &format!("room-{room}"), &[0])?, room));
    }
    crowd.until_joined()?;
    editors.into_iter().for_each(|(line, room)| crowd.typist(line, room));
    Ok(crowd)
}

fn steady(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let rate = lab.size.of(100, 800, 800);
    let span = Duration::from_millis(lab.size.of(500, 4_000, 10_000));
    let bench = lab.start(recipe)?;
    let tree = bench.server.tree();
    let mut crowd = fill(lab, &bench)?;
    let before = (crowd.books.account.sent(), tree.cpu());
    crowd.open_loop(rate, span / 4)?;
    crowd.until_delivered(lab.patience())?;
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

fn saturate(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let span = Duration::from_millis(lab.size.of(200, 2_000, 5_000));
    let windows: &[usize] = lab.size.of(&[4][..], &[8, 32], &[1, 8, 32, 128]);
    let (mut most, mut missing, mut peak) = ((0.0, 0.0, 0.0), 0, 0);
    let mut figures = Vec::new();
    for window in windows {
        let bench = lab.start(recipe)?;
        let tree = bench.server.tree();
        let mut crowd = fill(lab, &bench)?;
        crowd.closed_loop(*window, span / 4)?;
        crowd.until_delivered(lab.patience())?;
        crowd.books.account.forget_times();
        let before = (crowd.books.account.complete, crowd.books.account.sent(), tree.cpu());
        crowd.closed_loop(*window, span)?;
        let rate = (crowd.books.account.complete - before.0) as f64 / span.as_secs_f64();
        let p50 = crowd.books.account.millis(0.5);
        missing += crowd.until_delivered(lab.patience())?;
        crowd.until_acked()?;
        crowd.pause(recipe.stored())?;
        tree.quiet(Duration::from_secs(10));
        let cpu = (tree.cpu() - before.2).as_secs_f64();
        peak = peak.max(tree.peak());
        let all = window * crowd.swarm.len();
        figures.push(Figure::note(format!("edits a second, {all} under way"), "1/s", rate));
        figures.push(Figure::note(format!("p50, {all} under way"), "ms", p50));
        if rate > most.0 {
            most = (rate, p50, cpu * 1e6 / (crowd.books.account.sent() - before.1) as f64);
        }
    }
    let mut first = vec![
        Figure::gain("edits a second", "1/s", most.0),
        Figure::cost("p50 then", "ms", most.1),
        Figure::cost("server CPU per edit then, stored", "µs", most.2),
        Figure::cost(MISSING, "", missing as f64),
        Figure::cost("peak memory", "MB", peak as f64 / 1e6),
    ];
    first.extend(figures);
    Ok(first)
}
