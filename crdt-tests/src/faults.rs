//! The real binary on a disk that fails: the library of `faulty-disk/`, built, preloaded and asked for its report.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::Deserialize;

use crate::server::workspace;

/// How an operation fails; `faulty-disk/src/how.rs` says what each does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// EIO, nothing done.
    Eio,
    /// ENOSPC, nothing done.
    Enospc,
    /// Half a write, and it says so.
    Short,
    /// Half a write, and EIO.
    Torn,
    /// A failed sync that loses what was to be synced.
    Lost,
    /// A sync that does nothing and says that all is well.
    Lie,
    /// A sync that takes seconds, and then all is well.
    Slow,
}

impl How {
    /// As the library and the report call it.
    pub fn name(self) -> &'static str {
        match self {
            How::Eio => "eio",
            How::Enospc => "enospc",
            How::Short => "short",
            How::Torn => "torn",
            How::Lost => "lost",
            How::Lie => "lie",
            How::Slow => "slow",
        }
    }
}

/// One way for a disk to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Which operation, from 1.
    pub nth: u64,
    /// How.
    pub how: How,
    /// Whether all later ones fail too.
    pub sticks: bool,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let then = if self.sticks { " and all after it" } else { "" };
        write!(f, "{} at operation {}{then}", self.how.name(), self.nth)
    }
}

/// The library, built once per test process; none where there is no glibc to take the place of.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            return None;
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(workspace()).args(["build", "-p", "faulty-disk"]);
        cargo.arg("--message-format=json-render-diagnostics").stderr(Stdio::piped());
        let output = cargo.output().expect("cannot run cargo");
        assert!(output.status.success(), "cannot build faulty-disk:\n{}", String::from_utf8_lossy(&output.stderr));
        #[derive(Deserialize)]
        struct Artifact {
            #[serde(default)]
            filenames: Vec<PathBuf>,
        }
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
            .flat_map(|artifact| artifact.filenames)
            .find(|path| path.file_name().is_some_and(|name| name == "libfaulty_disk.so"))
    };
    LIBRARY.get_or_init(build).as_deref()
}

/// The environment of a program whose disk under `under` fails in this way, and reports to `report`.
pub fn environment(library: &Path, under: &Path, report: &Path, fault: Option<Fault>) -> Vec<(String, String)> {
    let mut variables =
        variables(&[("LD_PRELOAD", library), ("FAULTY_DISK_UNDER", under), ("FAULTY_DISK_REPORT", report)]);
    if let Some(Fault { nth, how, sticks }) = fault {
        variables.push(("FAULTY_DISK_NTH".into(), nth.to_string()));
        variables.push(("FAULTY_DISK_HOW".into(), how.name().into()));
        variables.push(("FAULTY_DISK_STICKS".into(), u8::from(sticks).to_string()));
    }
    variables
}

/// The environment of a program of which all that it does to files under `under` is recorded in `record`, while its writes
/// take long and overtake one another.
pub fn recording(library: &Path, under: &Path, record: &Path) -> Vec<(String, String)> {
    variables(&[("LD_PRELOAD", library), ("FAULTY_DISK_UNDER", under), ("FAULTY_DISK_RECORD", record)])
}

fn variables(paths: &[(&str, &Path)]) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_str().expect("temporary paths are UTF-8").to_owned();
    paths.iter().map(|(name, path)| ((*name).to_owned(), text(path))).collect()
}

/// One operation that the library saw.
#[derive(Debug, Clone)]
pub struct Operation {
    /// `write`, `fsync`, `rename`…
    pub name: String,
    /// Below the directory.
    pub path: String,
    /// Whether it was made to fail.
    pub failed: bool,
}

/// What the library reported, in order; nothing where a program did nothing on the disk.
pub fn operations(report: &Path, under: &Path) -> Vec<Operation> {
    let under = under.to_string_lossy();
    let parse = |line: &str| {
        let mut words = line.splitn(4, ' ');
        let (outcome, _, name, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let path = path.strip_prefix(&*under).unwrap_or(path).trim_start_matches('/');
        Some(Operation { name: name.into(), path: path.into(), failed: outcome == "failed" })
    };
    std::fs::read_to_string(report).unwrap_or_default().lines().filter_map(parse).collect()
}
