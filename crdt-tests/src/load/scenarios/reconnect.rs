//! Everybody comes back at once, and each misses the same hundred edits of a large text.

use std::time::{Duration, Instant};

use super::super::Outcome;
use super::super::account::{histogram, millis};
use super::super::crowd::{Crowd, PATIENCE, client_id};
use super::super::dialect::Heard;
use super::super::figures::Figure;
use super::super::lab::{Lab, Size};
use super::super::servers::Recipe;
use super::super::swarm::Swarm;
use super::super::{text, token};
use super::{For, Scenario};

/// Reconnects.
pub const RECONNECT: Scenario = Scenario {
    name: "reconnect",
    title: "1,000 clients reconnect at once, each missing 100 edits of the large text",
    servers: For::Keepers,
    rounds: (2, 5),
    aims: &[("server CPU per client", 60.0), ("all have all", 120.0)],
    run,
};

const ROOM: &str = "reconnect";
/// Fits into the bits of one number.
const EDITS: u64 = 100;

fn run(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let history = match lab.size {
        Size::Brief => text::own_history(usize::MAX),
        Size::Quick | Size::Full => text::history(usize::MAX),
    };
    let clients = lab.size.of(20, 1_000, 1_000);
    let bench = lab.start(recipe)?;
    let tree = bench.server.tree();
    let mut crowd = Crowd::new(&bench.server)?;
    let writer = crowd.open(ROOM, &[0])?;
    crowd.until_joined()?;
    crowd.push(writer, [&history.state], &history.state_vector, PATIENCE)?;
    let mut hand = text::insider(&history, client_id(writer));
    let updates: Vec<Vec<u8>> = (0..EDITS).map(|number| hand(number as u32)).collect();
    crowd.push(writer, &updates, &history.state_vector, PATIENCE)?;
    crowd.pause(recipe.stored())?;
    tree.quiet(Duration::from_secs(10));

    let mut swarm = Swarm::new()?;
    let mut has = vec![0u128; clients];
    let mut answered = vec![false; clients];
    let (mut done, mut failed) = (0, None);
    let mut micros = histogram();
    let before = tree.cpu_exact();
    let began = Instant::now();
    for _ in 0..clients {
        swarm.open(bench.server.addr, recipe.dialect, ROOM, &history.state_vector)?;
    }
    let deadline = began + PATIENCE;
    while done < clients {
        if Instant::now() > deadline {
            return Err(format!("{done} of {clients} clients have all after {} s", PATIENCE.as_secs()));
        }
        swarm.turn(deadline, &mut |line, now, heard| match heard {
            Heard::Answer(update) | Heard::Update(update) => {
                let was_done = answered[line] && has[line].count_ones() as u64 == EDITS;
                answered[line] |= matches!(heard, Heard::Answer(_));
                token::scan(update, |number| has[line] |= 1u128.checked_shl(number).unwrap_or(0));
                if !was_done && answered[line] && has[line].count_ones() as u64 == EDITS {
                    done += 1;
                    micros.saturating_record((now - began).as_micros() as u64);
                }
            }
            Heard::Closed(why) => failed = Some(why.to_owned()),
            _ => {}
        })?;
        if let Some(why) = failed {
            return Err(why);
        }
    }
    let wall = began.elapsed();
    tree.quiet(Duration::from_secs(10));
    let cpu = tree.cpu_exact().saturating_sub(before);
    Ok(vec![
        Figure::cost("server CPU per client", "µs", cpu.as_secs_f64() * 1e6 / clients as f64),
        Figure::cost("all have all", "ms", millis(wall)),
        Figure::cost("p50", "ms", micros.value_at_quantile(0.5) as f64 / 1e3),
        Figure::cost("bytes per client", "B", swarm.received_bytes as f64 / clients as f64),
        Figure::cost("peak memory", "MB", tree.peak() as f64 / 1e6),
    ])
}
