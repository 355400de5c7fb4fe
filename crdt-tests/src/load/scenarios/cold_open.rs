//! Documents that nobody has open: the first client after a restart, fifty at once, and what they take in memory. They were
//! open once before, so a server that tidies what it stored has done so.

use std::time::Duration;

use super::super::Outcome;
use super::super::account::millis;
use super::super::crowd::{Crowd, PATIENCE, client_id};
use super::super::figures::Figure;
use super::super::lab::{Lab, Size};
use super::super::reader::{self, Whole};
use super::super::servers::Recipe;
use super::super::text;
use super::super::token::{self, Pen};
use super::{For, Scenario};

/// Cold.
pub const COLD_OPEN: Scenario = Scenario {
    name: "cold-open",
    title: "first open of the large text after a restart; 50 such documents at once; their memory",
    servers: For::Keepers,
    rounds: (2, 3),
    aims: &[
        (ONE, 1.5),
        (FIFTY, 40.0),
        ("memory per open document", 0.5),
        ("memory per document when all have left", 0.05),
    ],
    run,
};

const ONE: &str = "cold open, connect to whole document";
const FIFTY: &str = "50 documents at once";

fn run(lab: &Lab, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    let history = match lab.size {
        Size::Brief => text::own_history(usize::MAX),
        Size::Quick | Size::Full => text::history(usize::MAX),
    };
    let documents = lab.size.of(3, 50, 50);
    let rooms: Vec<String> = (0..=documents).map(|number| format!("cold-{number}")).collect();
    let mut bench = lab.start(recipe)?;
    let mark = Pen::new(client_id(0)).write(&token::write(0));
    let mut crowd = Crowd::new(&bench.server)?;
    for room in &rooms {
        let line = crowd.open(room, &[0])?;
        crowd.until_joined()?;
        crowd.push(line, [&history.state, &mark], &history.state_vector, PATIENCE)?;
    }
    drop(crowd);
    bench.server.settle();
    bench.server.restart()?;
    let whole = Whole { token: 0, bytes: history.state.len() / 2 };
    // They are found as they lie there when a server has had them for a while, and not as they came.
    drop(reader::pull(&bench.server, &rooms, whole)?);
    if lab.size != Size::Brief {
        std::thread::sleep(recipe.tidies());
    }
    bench.server.settle();
    bench.server.restart()?;
    let tree = bench.server.tree();
    let before = tree.cpu_exact();
    let one = reader::pull(&bench.server, &rooms[..1], whole)?;
    let one_cpu = tree.cpu_exact().saturating_sub(before);
    if !one.text().replace(&*String::from_utf8_lossy(&token::write(0)), "").eq(&history.end) {
        return Err("what is read back differs from what was written".into());
    }
    let (one_took, bytes) = (one.took, one.bytes());
    drop(one);
    bench.server.restart()?;
    let tree = bench.server.tree();
    let (rss, cpu) = (tree.rss(), tree.cpu_exact());
    let all = reader::pull(&bench.server, &rooms[1..], whole)?;
    let all_cpu = tree.cpu_exact().saturating_sub(cpu);
    tree.quiet(Duration::from_secs(10));
    let per = |bytes: u64| bytes.saturating_sub(rss) as f64 / 1e6 / documents as f64;
    let open = per(tree.rss());
    let peak = tree.peak();
    let took = all.took;
    drop(all);
    let mut figures = vec![
        Figure::cost(ONE, "ms", millis(one_took)),
        Figure::cost("cold open, server CPU", "ms", millis(one_cpu)),
        Figure::cost(FIFTY, "ms", millis(took)),
        Figure::cost("50 documents at once, server CPU", "ms", millis(all_cpu)),
        Figure::cost("memory per open document", "MB", open),
        Figure::cost("peak memory", "MB", peak as f64 / 1e6),
        Figure::note("the document as one update", "kB", bytes as f64 / 1e3),
    ];
    // Half a minute for some.
    if lab.round == 0 && (lab.size == Size::Full || lab.size == Size::Quick && recipe.is_weft()) {
        std::thread::sleep(recipe.let_go());
        tree.quiet(Duration::from_secs(10));
        figures.push(Figure::cost("memory per document when all have left", "MB", per(tree.rss())));
    }
    Ok(figures)
}
