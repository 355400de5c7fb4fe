//! The whole history of the large text through one socket, one update for each keystroke, until all of it is stored.

use std::time::{Duration, Instant};

use super::super::Outcome;
use super::super::account::millis;
use super::super::crowd::{Crowd, client_id};
use super::super::figures::Figure;
use super::super::lab::{Lab, Size};
use super::super::machine;
use super::super::reader::{self, Whole};
use super::super::servers::Recipe;
use super::super::text;
use super::super::token::{self, Pen};
use super::{For, Scenario};

/// Typing.
pub const TYPING: Scenario = Scenario {
    name: "typing",
    title: "typing the whole automerge-paper history, 259,778 messages, through one socket",
    servers: For::Keepers,
    rounds: (1, 1),
    aims: &[("server CPU until stored", 2.0), (COLD, 1.5), (WRITTEN, 3.0)],
    run,
};

const ROOM: &str = "typing";
const COLD: &str = "cold open of what was typed in";
const WRITTEN: &str = "bytes to the disk per byte typed";

fn run(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let history = match lab.size {
        Size::Brief => text::own_history(usize::MAX),
        Size::Quick | Size::Full => text::history(usize::MAX),
    };
    // How long anybody would wait.
    let patience = Duration::from_secs(lab.size.of(60, 50, 240));
    let mut bench = lab.start(recipe)?;
    let tree = bench.server.tree();
    let mut crowd = Crowd::new(&bench.server)?;
    let line = crowd.open(ROOM, &[0])?;
    crowd.until_joined()?;
    let written = machine::device_written(&bench.server.data);
    let before = tree.cpu();
    let began = Instant::now();
    crowd.push(line, &history.updates, &history.state_vector, patience)?;
    let wall = began.elapsed();
    crowd.pause(recipe.stored())?;
    tree.quiet(patience);
    let cpu = tree.cpu() - before;
    let peak = tree.peak();
    // By somebody else, to know the end when it is read.
    let mark = Pen::new(client_id(0)).write(&token::write(0));
    crowd.push(line, [&mark], &history.state_vector, patience)?;
    drop(crowd);
    bench.server.settle();
    bench.server.restart()?;
    let written = written.zip(machine::device_written(&bench.server.data)).map(|(before, after)| after - before);
    let typed: usize = history.updates.iter().map(|update| update.len()).sum();
    let whole = Whole { token: 0, bytes: history.state.len() / 2 };
    let pulled = reader::pull(&bench.server, &[ROOM.into()], whole)?;
    let text = pulled.text().replace(&*String::from_utf8_lossy(&token::write(0)), "");
    if text != history.end {
        return Err("what is read back differs from what was typed".into());
    }
    let mut figures = vec![
        Figure::cost("server CPU until stored", "s", cpu.as_secs_f64()),
        Figure::cost("until taken, or durable where it says so", "s", wall.as_secs_f64()),
        Figure::cost("server CPU per edit", "µs", cpu.as_secs_f64() * 1e6 / history.updates.len() as f64),
        Figure::cost("peak memory", "MB", peak as f64 / 1e6),
        Figure::cost(COLD, "ms", millis(pulled.took)),
        Figure::note("edits typed", "", history.updates.len() as f64),
    ];
    match written {
        Some(written) => figures.push(Figure::cost(WRITTEN, "", written as f64 / typed as f64)),
        None => eprintln!("SKIPPED: {WRITTEN}: no device below {} says what it wrote", bench.server.data.display()),
    }
    Ok(figures)
}
