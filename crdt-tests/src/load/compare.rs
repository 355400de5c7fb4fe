//! Servers side by side: scenario by scenario, round by round, each server in turn.

use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::Outcome;
use super::figures::{Figure, Spread, shown};
use super::lab::{Lab, Size};
use super::machine::Machine;
use super::results::{Column, Row};
use super::scenarios::Scenario;
use super::servers::Recipe;

/// What is to be done, and where its results go.
pub struct Comparison<'a> {
    /// Where.
    pub lab: Lab,
    /// Whom. Those that could not be installed come with the reason.
    pub servers: Vec<(Recipe, Outcome<()>)>,
    /// Instead of what each scenario says.
    pub rounds: Option<usize>,
    /// Results, a file for each scenario.
    pub results: &'a Path,
    /// What was typed.
    pub command: String,
}

impl Comparison<'_> {
    /// One scenario; its row is written to its file, too.
    pub fn run(&mut self, scenario: &Scenario) -> Outcome<Row> {
        let usual = match self.lab.size {
            Size::Brief => 1,
            Size::Quick => scenario.rounds.0,
            Size::Full => scenario.rounds.1,
        };
        let began = Instant::now();
        let mut columns: Vec<Column> = Vec::new();
        for (recipe, installed) in self.servers.iter().filter(|(recipe, _)| scenario.is_for(recipe)) {
            columns.push(Column {
                server: recipe.name.clone(),
                title: recipe.title.clone(),
                rounds: Vec::new(),
                failures: installed.clone().err().map(|why| format!("absent: {why}")).into_iter().collect(),
            });
        }
        for round in 0..self.rounds.unwrap_or(usual) {
            self.lab.round = round;
            for column in columns.iter_mut().filter(|column| column.failures.is_empty()) {
                let recipe = self.servers.iter().map(|(recipe, _)| recipe).find(|recipe| recipe.name == column.server);
                let recipe = recipe.expect("columns are made of servers");
                let began = Instant::now();
                match once(&self.lab, scenario, recipe) {
                    Ok(figures) => {
                        eprintln!("{}", line(scenario, round, recipe, began, &figures));
                        column.rounds.push(figures);
                    }
                    Err(why) => {
                        eprintln!("{} round {} {}: FAILED: {why}", scenario.name, round + 1, recipe.name);
                        column.failures.push(why);
                    }
                }
            }
        }
        let row = self.row(scenario.name, scenario.title, columns);
        eprintln!("{} took {:.0} s", scenario.name, began.elapsed().as_secs_f64());
        row.write(self.results)?;
        Ok(row)
    }

    /// A row with where and when.
    pub fn row(&self, scenario: &str, title: &str, columns: Vec<Column>) -> Row {
        Row {
            scenario: scenario.into(),
            title: title.into(),
            size: self.lab.size.name().into(),
            command: self.command.clone(),
            ended: said(Command::new("date").args(["-u", "+%F %H:%M"])),
            revision: revision(),
            machine: Machine::here(&self.lab.dir, self.lab.cores.is_some()),
            columns,
        }
    }
}

/// Whatever goes wrong in one measurement, the others go on.
fn once(lab: &Lab, scenario: &Scenario, recipe: &Recipe) -> Outcome<Vec<Figure>> {
    guarded(|| (scenario.run)(lab, recipe))
}

/// A panic is a failure like others.
pub fn guarded<T>(work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        let text = text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn line(scenario: &Scenario, round: usize, recipe: &Recipe, began: Instant, figures: &[Figure]) -> String {
    let first: Vec<String> = figures
        .iter()
        .take(4)
        .map(|Figure { name, unit, value, .. }| format!("{name} {} {unit}", shown(*value)).trim().to_owned())
        .collect();
    let seconds = began.elapsed().as_secs_f64();
    format!("{} round {} {} ({seconds:.0} s): {}", scenario.name, round + 1, recipe.name, first.join(", "))
}

/// The revision of weft, as git names it.
pub fn revision() -> String {
    said(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(crate::server::workspace()))
}

fn said(command: &mut Command) -> String {
    let output = command.output().ok().filter(|output| output.status.success());
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// A row as a table for people: a line for each figure, a column for each server, medians and what they lie between.
pub fn table(row: &Row) -> String {
    let columns: Vec<&Column> = row.columns.iter().filter(|column| !column.rounds.is_empty()).collect();
    let mut names: Vec<(String, String)> = Vec::new();
    for figure in columns.iter().flat_map(|column| column.rounds.iter().flatten()) {
        let name = (figure.name.clone(), figure.unit.clone());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut lines =
        vec![std::iter::once(String::new()).chain(columns.iter().map(|column| column.server.clone())).collect()];
    for (name, unit) in names {
        let mut cells = vec![if unit.is_empty() { name.clone() } else { format!("{name}, {unit}") }];
        cells.extend(columns.iter().map(|column| cell(&column.values(&name))));
        lines.push(cells);
    }
    let widths: Vec<usize> = (0..=columns.len())
        .map(|at| lines.iter().map(|line: &Vec<String>| line[at].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = format!("{}\n", row.title);
    for line in lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += &format!("  {}\n", cells.join("  ").trim_end());
    }
    for column in &row.columns {
        column.failures.iter().for_each(|why| text += &format!("  {}: {why}\n", column.server));
    }
    text
}

/// The median, and the least and the most where there were several rounds.
pub fn cell(values: &[f64]) -> String {
    match Spread::of(values) {
        None => "–".into(),
        Some(Spread { median, .. }) if values.len() == 1 => shown(median),
        Some(Spread { median, least, most }) => format!("{} ({} … {})", shown(median), shown(least), shown(most)),
    }
}
