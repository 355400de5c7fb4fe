//! What came of scenarios, one file each, so that a crash costs one row and a table can be made again at any time.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::figures::Figure;
use super::machine::Machine;

/// What one server did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name in `servers.toml`.
    pub server: String,
    /// Its title there.
    pub title: String,
    /// Figures, by round.
    pub rounds: Vec<Vec<Figure>>,
    /// Rounds in which it failed, and why.
    pub failures: Vec<String>,
}

impl Column {
    /// The values of a figure, one for each round that has it.
    pub fn values(&self, figure: &str) -> Vec<f64> {
        self.rounds.iter().flatten().filter(|found| found.name == figure).map(|found| found.value).collect()
    }
}

/// One scenario, or one axis of growth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub scenario: String,
    /// Its title.
    pub title: String,
    /// `brief`, `quick` or `full`.
    pub size: String,
    /// What was typed to get it.
    pub command: String,
    /// When it ended, `date -u`.
    pub ended: String,
    /// The revision of weft, as git names it.
    pub revision: String,
    /// Where.
    pub machine: Machine,
    /// The servers.
    pub columns: Vec<Column>,
}

impl Row {
    /// Writes it into its file, whole or not at all.
    pub fn write(&self, folder: &Path) -> Outcome<()> {
        fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.scenario));
        let text = serde_json::to_string_pretty(self).map_err(|e| e.to_string())? + "\n";
        let half = path.with_extension("json.half");
        fs::write(&half, text).and_then(|()| fs::rename(&half, &path)).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Reads it, if it is there.
    pub fn read(folder: &Path, scenario: &str) -> Outcome<Option<Self>> {
        let path = folder.join(format!("{scenario}.json"));
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| format!("{}: {e}", path.display())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("{}: {e}", path.display())),
        }
    }
}
