//! BENCHMARKS.md, made of results: nobody types a figure.
//!
//! Results that are kept lie in `benchmarks/`, a file for each scenario and each axis, and the plots beside them. A remark about
//! a row, such as the profile that says why it is not won, is a file `benchmarks/NAME.md`, and goes into the page as it is; so
//! does `functions.md`, what `cargo bench` says.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use super::Outcome;
use super::compare::cell;
use super::figures::{Better, Spread, shown};
use super::growth::{AXES, Growth};
use super::results::{Column, Row};
use super::scenarios;
use super::servers;
use crate::server::workspace;

/// Where results are kept that the page is made of.
pub fn folder() -> PathBuf {
    workspace().join("benchmarks")
}

/// Where the page is.
pub fn path() -> PathBuf {
    workspace().join("BENCHMARKS.md")
}

/// Takes results over from where they were measured, and writes the page and its plots.
pub fn publish(from: Option<&Path>) -> Outcome<()> {
    if let Some(from) = from {
        for scenario in scenarios::ALL {
            if let Some(row) = Row::read(from, scenario.name)? {
                row.write(&folder())?;
            }
        }
        for axis in AXES {
            if let Some(growth) = Growth::read(from, axis.name)? {
                growth.write(&folder())?;
                let plot = folder().join(format!("{}.svg", axis.name));
                fs::write(&plot, growth.plot()).map_err(|e| format!("{}: {e}", plot.display()))?;
            }
        }
    }
    fs::write(path(), page(&folder())?).map_err(|e| format!("{}: {e}", path().display()))
}

/// The page, from the results in a folder.
pub fn page(folder: &Path) -> Outcome<String> {
    let mut rows = Vec::new();
    for scenario in scenarios::ALL {
        rows.extend(Row::read(folder, scenario.name)?);
    }
    let mut growths = Vec::new();
    for axis in AXES {
        growths.extend(Growth::read(folder, axis.name)?);
    }
    let mut page = HEAD.to_owned();
    circumstances(&mut page, &rows, &growths);
    goals(&mut page, &rows);
    page += "## Everything that was measured\n\nMedians, and what the rounds lie between. **limit** is a bare loop that hands \
             each update to all others with one write each and keeps nothing; in rows about acks, a bare file with as many \
             writers.\n\n";
    for row in &rows {
        details(&mut page, row, folder);
    }
    let unmeasured: Vec<&str> = scenarios::ALL
        .iter()
        .filter(|scenario| rows.iter().all(|row| row.scenario != scenario.name))
        .map(|scenario| scenario.name)
        .collect();
    if !unmeasured.is_empty() {
        let _ = writeln!(page, "Not measured yet: {}.\n", unmeasured.join(", "));
    }
    growth(&mut page, &growths, folder);
    if let Ok(functions) = fs::read_to_string(folder.join("functions.md")) {
        page += &functions;
    }
    Ok(page.trim_end().to_owned() + "\n")
}

const HEAD: &str = "\
# Benchmarks

Written by `load report`; do not edit.

```sh
cargo run --release -p crdt-tests --bin load -- compare --quick    # all rows with all servers, a quarter of an hour
cargo run --release -p crdt-tests --bin load -- compare --full     # as the goals are stated
cargo run --release -p crdt-tests --bin load -- growth             # how cost grows, and its plots
cargo run --release -p crdt-tests --bin load -- report             # this page, from their results
```

The server has one core, the generator of the load another. CPU is that of the server's whole process tree. Every edit
carries a token in its text and is accounted for at every receiver by it, so servers that merge updates are counted as
fairly as those that send each; *deliveries missing* is what never came. The servers are configured as their own
documentation says for production, with storage on ([servers.toml](crdt-tests/load/servers.toml)); in a round each of them
does the same, one after another. Only weft syncs before it acknowledges.

";

fn circumstances(page: &mut String, rows: &[Row], growths: &[Growth]) {
    let mut machines: BTreeSet<String> = BTreeSet::new();
    let mut runs: BTreeSet<String> = BTreeSet::new();
    let seen = rows.iter().map(|row| (&row.machine, &row.size, &row.ended, &row.revision));
    let more = growths.iter().map(|growth| (&growth.machine, &growth.size, &growth.ended, &growth.revision));
    for (machine, size, ended, revision) in seen.chain(more) {
        machines.insert(format!(
            "{}, {} cores, {} GB, Linux {}, data on {}{}",
            if machine.processor.is_empty() { "processor unknown" } else { &machine.processor },
            machine.cores,
            machine.memory_gb,
            machine.kernel,
            machine.file_system,
            if machine.pinned { "" } else { ", **nothing pinned**" },
        ));
        runs.insert(format!("revision {revision}, {size}, {}", ended.split(' ').next().unwrap_or_default()));
    }
    for machine in machines {
        let _ = writeln!(page, "- Machine: {machine}.");
    }
    for run in runs {
        let _ = writeln!(page, "- Run: {run}.");
    }
    if !rows.is_empty() || !growths.is_empty() {
        page.push('\n');
    }
}

/// Whom weft is compared with in a row, and what the best of them has.
fn best_peer(row: &Row, figure: &str, better: Better) -> Option<(String, f64)> {
    let peers = row.columns.iter().filter(|column| !is_weft(column) && column.server != "limit");
    let medians = peers.filter_map(|column| Some((column.server.clone(), Spread::of(&column.values(figure))?.median)));
    medians.min_by(|a, b| if better == Better::Higher { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) })
}

fn is_weft(column: &Column) -> bool {
    column.server == "weft" || column.server.starts_with("weft-")
}

fn reaches(value: f64, aim: f64, better: Better) -> bool {
    if better == Better::Higher { value >= aim } else { value <= aim }
}

fn goals(page: &mut String, rows: &[Row]) {
    let mut lines = String::new();
    let mut lost = Vec::new();
    for row in rows {
        let Some(scenario) = scenarios::named(&row.scenario) else { continue };
        let Some(weft) = row.columns.iter().find(|column| column.server == "weft") else { continue };
        for (figure, aim) in scenario.aims {
            let known = weft.rounds.iter().flatten().find(|found| found.name == *figure);
            let (Some(known), Some(spread)) = (known, Spread::of(&weft.values(figure))) else { continue };
            let (better, unit) = (known.better, &known.unit);
            let peer = best_peer(row, figure, better);
            let limit = row.columns.iter().find(|column| column.server == "limit");
            let limit = limit.and_then(|column| Spread::of(&column.values(figure)));
            let ahead = peer.as_ref().is_none_or(|(_, value)| reaches(spread.median, *value, better));
            let reached = reaches(spread.median, *aim, better);
            let verdict = match (ahead, reached) {
                (true, true) => "won",
                (true, false) => "ahead, short of the aim",
                (false, true) => "**behind**, within the aim",
                (false, false) => "**behind**",
            };
            let what = format!("{}: {figure}{}{unit}", row.title, if unit.is_empty() { "" } else { ", " });
            let _ = writeln!(
                lines,
                "| {what} | {} | {} | {} | {} | {verdict} |",
                shown(spread.median),
                peer.map_or("–".into(), |(name, value)| format!("{} {name}", shown(value))),
                limit.map_or("–".into(), |limit| shown(limit.median)),
                shown(*aim),
            );
            if verdict != "won" {
                lost.push(format!("- {what}: {} ({verdict}; {}).", shown(spread.median), row.scenario));
            }
        }
        for why in &weft.failures {
            lost.push(format!("- {}: **failed**: {}.", row.title, one_line(why)));
        }
    }
    if lines.is_empty() {
        *page += "No results yet.\n\n";
        return;
    }
    *page += "## The goals\n\n| what | weft | best peer | limit | aim | |\n|---|---|---|---|---|---|\n";
    *page += &lines;
    *page += "\n### Not won\n\n";
    match lost.is_empty() {
        true => *page += "Nothing.\n\n",
        false => *page += &(lost.join("\n") + "\n\n"),
    }
}

fn details(page: &mut String, row: &Row, folder: &Path) {
    let _ = writeln!(page, "### {}\n", row.title);
    let columns: Vec<&Column> = row.columns.iter().filter(|column| !column.rounds.is_empty()).collect();
    let mut names: Vec<(&str, &str)> = Vec::new();
    for figure in columns.iter().flat_map(|column| column.rounds.iter().flatten()) {
        if !names.contains(&(&figure.name, &figure.unit)) {
            names.push((&figure.name, &figure.unit));
        }
    }
    let heads: Vec<&str> = columns.iter().map(|column| column.server.as_str()).collect();
    let _ = writeln!(page, "| | {} |\n|---|{}", heads.join(" | "), "---|".repeat(heads.len()));
    for (name, unit) in names {
        let cells: Vec<String> = columns.iter().map(|column| cell(&column.values(name))).collect();
        let _ = writeln!(page, "| {name}{}{unit} | {} |", if unit.is_empty() { "" } else { ", " }, cells.join(" | "));
    }
    page.push('\n');
    for column in row.columns.iter().filter(|column| !column.failures.is_empty()) {
        let _ = writeln!(page, "- {}: {}", column.server, one_line(&column.failures.join("; ")));
    }
    // Who takes no part is named, too: an empty place must not look like a result.
    let left_out = servers::all().into_iter().filter(|recipe| !recipe.on_request);
    let left_out = left_out.filter(|recipe| row.columns.iter().all(|column| column.server != recipe.name));
    let left_out: Vec<String> = left_out.map(|recipe| recipe.name).collect();
    if !left_out.is_empty() {
        let _ = writeln!(page, "- not asked: {}", left_out.join(", "));
    }
    let _ = writeln!(page, "- `{}` ({})\n", row.command, row.ended);
    if let Ok(remark) = fs::read_to_string(folder.join(format!("{}.md", row.scenario))) {
        *page += &(remark.trim_end().to_owned() + "\n\n");
    }
}

fn growth(page: &mut String, growths: &[Growth], folder: &Path) {
    *page += "## Growth\n\nBoth axes are logarithmic: a line that rises by a decade in a decade is linear, a level one is flat.\n\n";
    if growths.is_empty() {
        *page += "Not measured yet.\n";
    }
    for Growth { axis, title, .. } in growths {
        let _ = writeln!(page, "![{title}](benchmarks/{axis}.svg)\n");
        if let Ok(remark) = fs::read_to_string(folder.join(format!("growth-{axis}.md"))) {
            *page += &(remark.trim_end().to_owned() + "\n\n");
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figure;
    use super::super::machine::Machine;
    use super::*;

    fn column(server: &str, cpu: &[f64]) -> Column {
        let round = |value: &f64| vec![Figure::cost("server CPU per delivery", "µs", *value)];
        Column {
            server: server.into(),
            title: server.into(),
            rounds: cpu.iter().map(round).collect(),
            failures: if cpu.is_empty() { vec!["absent: no | compiler".into()] } else { Vec::new() },
        }
    }

    fn written(weft: &[f64]) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let scenario = scenarios::named("fan-out-500").expect("is one of them");
        let row = Row {
            scenario: scenario.name.into(),
            title: scenario.title.into(),
            size: "quick".into(),
            command: "load compare".into(),
            ended: "2026-01-01 00:00".into(),
            revision: "abc".into(),
            machine: Machine::here(dir.path(), true),
            columns: vec![
                column("weft", weft),
                column("y-websocket", &[8.0, 9.0, 8.5]),
                column("hocuspocus", &[7.0]),
                column("y-sweet", &[]),
                column("limit", &[4.2]),
            ],
        };
        row.write(dir.path()).expect("written");
        assert_eq!(Row::read(dir.path(), scenario.name).expect("read"), Some(row));
        page(dir.path()).expect("a page")
    }

    #[test]
    fn the_page_says_what_was_won_and_what_was_not() {
        let won = written(&[4.0, 4.4, 4.5]);
        assert!(won.contains("| 4.40 | 7.00 hocuspocus | 4.20 | 4.60 | won |"), "{won}");
        assert!(won.contains("Nothing."));
        assert!(won.contains("8.50 (8.00 … 9.00)"), "{won}");
        assert!(won.contains("- y-sweet: absent: no \\| compiler"), "{won}");
        let short = written(&[5.0]);
        assert!(short.contains("ahead, short of the aim"), "{short}");
        let behind = written(&[7.5]);
        assert!(behind.contains("**behind**"), "{behind}");
        assert!(behind.contains("Not measured yet: fan-out-50,"), "{behind}");
    }
}
