//! Figures with a name, a unit and the single runs behind each; printed as a table or as JSON.

use serde::Serialize;

/// One figure.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    median: f64,
    unit: &'static str,
    runs: Vec<f64>,
}

/// All figures of this run of the program.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    figures: Vec<Figure>,
    notes: Vec<String>,
}

impl Report {
    /// Adds the median of several runs.
    pub fn add(&mut self, what: impl Into<String>, unit: &'static str, runs: &[f64]) {
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let median = match sorted.len() {
            0 => return,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        };
        let what = what.into();
        eprintln!("{what}: {} {unit}", shown(median));
        self.figures.push(Figure { what, median, unit, runs: runs.to_vec() });
    }

    /// Adds a remark.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        eprintln!("{note}");
        self.notes.push(note);
    }

    /// On stdout.
    pub fn print(&self, json: bool) {
        if json {
            println!("{}", serde_json::to_string_pretty(self).expect("JSON"));
            return;
        }
        let width = self.figures.iter().map(|figure| figure.what.chars().count()).max().unwrap_or(0);
        for Figure { what, median, unit, runs } in &self.figures {
            let all: Vec<String> = runs.iter().map(|run| shown(*run)).collect();
            let runs = if runs.len() > 1 { format!("   ({})", all.join(", ")) } else { String::new() };
            println!("{what:width$}  {:>10} {unit:<8}{runs}", shown(*median));
        }
        self.notes.iter().for_each(|note| println!("{note}"));
    }
}

fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 1_000.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
