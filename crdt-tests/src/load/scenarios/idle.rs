//! Many connections that say nothing: what each costs in memory.

use std::time::Duration;

use super::super::Outcome;
use super::super::crowd::Crowd;
use super::super::figures::Figure;
use super::super::lab::Lab;
use super::super::servers::Recipe;
use super::{For, Scenario};

/// Idle connections.
pub const IDLE: Scenario = Scenario {
    name: "idle",
    title: "idle connections on 100 documents",
    servers: For::Keepers,
    rounds: (1, 3),
    aims: &[("memory per idle connection", 3.0)],
    run,
};

fn run(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let (documents, connections) = lab.size.of((5, 50), (100, 5_000), (100, 5_000));
    let bench = lab.start(recipe)?;
    let tree = bench.server.tree();
    let mut crowd = Crowd::new(&bench.server)?;
    // What the first connection of each document costs once is not per connection.
    for number in 0..documents {
        crowd.open(&format!("idle-{number}"), &[0])?;
    }
    crowd.until_joined()?;
    let settle = Duration::from_millis(lab.size.of(100, 2_000, 5_000));
    crowd.pause(settle)?;
    let before = tree.rss();
    for number in 0..connections {
        crowd.open(&format!("idle-{}", number % documents), &[0])?;
        // No faster than they are let in, or the kernel drops what waits.
        if number % 500 == 499 {
            crowd.until_joined()?;
        }
    }
    crowd.until_joined()?;
    crowd.pause(settle)?;
    tree.quiet(Duration::from_secs(10));
    let after = tree.rss();
    crowd.nobody_left()?;
    Ok(vec![
        Figure::cost(
            "memory per idle connection",
            "kB",
            after.saturating_sub(before) as f64 / 1e3 / connections as f64,
        ),
        Figure::cost("memory in all", "MB", after as f64 / 1e6),
        Figure::note("connections", "", connections as f64),
    ])
}
