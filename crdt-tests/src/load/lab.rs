//! Where measurements are made: the programs, a directory on the disk that counts, the cores, and how large things are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::Outcome;
use super::machine::Cores;
use super::servers::{Programs, Recipe, Running};

/// How large, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Everything runs, nothing is measured: for tests.
    Brief,
    /// All rows in a quarter of an hour.
    Quick,
    /// As the goals are stated.
    Full,
}

impl Size {
    /// On the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Size::Brief => "brief",
            Size::Quick => "quick",
            Size::Full => "full",
        }
    }

    /// One of three.
    pub fn of<T>(self, brief: T, quick: T, full: T) -> T {
        match self {
            Size::Brief => brief,
            Size::Quick => quick,
            Size::Full => full,
        }
    }
}

/// Where measurements are made.
#[derive(Debug, Clone)]
pub struct Lab {
    /// What is run.
    pub programs: Programs,
    /// Data directories are made below this one.
    pub dir: PathBuf,
    /// How large, and how long.
    pub size: Size,
    /// Which core is whose; none where nothing is pinned.
    pub cores: Option<Cores>,
    /// Which round this is, from 0; what is very slow is done in the first alone.
    pub round: usize,
}

/// A server under measurement, and the directory that goes with it.
pub struct Bench {
    /// The server; dropped, and so killed, before the directory is.
    pub server: Running,
    dir: TempDir,
}

impl Bench {
    /// The directory that goes with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Lab {
    /// A fresh directory.
    pub fn fresh_dir(&self) -> Outcome<TempDir> {
        let made = tempfile::Builder::new().prefix("weft-load-").tempdir_in(&self.dir);
        made.map_err(|e| format!("cannot make a directory in {}: {e}", self.dir.display()))
    }

    /// How long to wait for an edit when none has come: servers that lose some would stop everything.
    pub fn patience(&self) -> Duration {
        Duration::from_secs(self.size.of(60, 3, 10))
    }

    /// Starts a server on a fresh directory.
    pub fn start(&self, recipe: &Recipe) -> Outcome<Bench> {
        let dir = self.fresh_dir()?;
        let server = recipe.start(&self.programs, dir.path(), self.cores)?;
        // What beginning costs is not to be counted.
        server.tree().quiet(Duration::from_secs(5));
        Ok(Bench { server, dir })
    }
}
