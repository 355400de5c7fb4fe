//! `weft`'s commands other than `serve`, run as an admin runs them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process::{self, Captured};
use crate::server::{Server, binary};
use crate::wait::PATIENCE;

/// The command line on one data directory, whether a server is running there or not.
#[derive(Debug, Clone)]
pub struct Cli {
    binary: PathBuf,
    data: PathBuf,
    env: Vec<(String, String)>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Output {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|e| panic!("stdout is not one JSON value ({e}):\n{}\n{}", self.text(), self.stderr))
    }
}

impl Cli {
    /// On this directory.
    pub fn on(data: impl Into<PathBuf>) -> Self {
        Self::with_binary(binary().to_owned(), data)
    }

    /// Another binary on this directory.
    pub fn with_binary(binary: PathBuf, data: impl Into<PathBuf>) -> Self {
        Self { binary, data: data.into(), env: Vec::new() }
    }

    /// With these environment variables too.
    #[must_use]
    pub fn envs(mut self, env: impl IntoIterator<Item = (String, String)>) -> Self {
        self.env.extend(env);
        self
    }

    /// On the directory of a server.
    pub fn of(server: &Server) -> Self {
        Self::on(server.data())
    }

    fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.binary);
        let mut args = args.iter().map(AsRef::as_ref);
        command.args(args.next()).arg("--data").arg(&self.data).args(args).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts `weft COMMAND --data DIR ARGS…` with nothing on stdin, to be waited for or killed.
    pub fn start<S: AsRef<str>>(&self, args: &[S]) -> Running {
        let mut command = self.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("cannot run weft");
        let stdout = Captured::from(child.stdout.take().expect("piped"));
        let stderr = Captured::from(child.stderr.take().expect("piped"));
        Running { child, stdout, stderr }
    }

    /// Runs `weft COMMAND --data DIR ARGS…` with nothing on stdin, and gives whatever came of it.
    pub fn run<S: AsRef<str>>(&self, args: &[S]) -> Output {
        let output = self.command(args).output().expect("cannot run weft");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// As [`Cli::run`], and panics unless the exit code is 0.
    pub fn done<S: AsRef<str>>(&self, args: &[S]) -> Output {
        let output = self.run(args);
        let shown: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        assert_eq!(output.code, 0, "weft {shown:?}: {}\n{}", output.text(), output.stderr);
        output
    }

    /// The whole document as one v1 update.
    pub fn export_update(&self, doc: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("cannot make a temporary directory");
        let file = dir.path().join("update");
        self.done(&["export", doc, "--format", "update", "-o", path_str(&file)]);
        std::fs::read(&file).expect("the export wrote no file")
    }

    /// The shared types as JSON.
    pub fn export_json(&self, doc: &str) -> Value {
        self.done(&["export", doc, "--format", "json"]).json()
    }

    /// `weft show DOC --json`.
    pub fn show(&self, doc: &str) -> Value {
        self.done(&["show", doc, "--json"]).json()
    }
}

/// A command that was started.
pub struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Running {
    /// `kill -9`, if it has not ended by itself.
    pub fn kill(mut self) -> Output {
        self.child.kill().expect("cannot kill");
        self.wait(PATIENCE)
    }

    /// Waits for its end.
    pub fn wait(mut self, deadline: Duration) -> Output {
        let status = process::wait_exit(&mut self.child, "the command ends", deadline);
        for output in [&self.stdout, &self.stderr] {
            output.wait_end(PATIENCE);
        }
        let stdout = self.stdout.text().into_bytes();
        Output { code: status.code().unwrap_or(-1), stdout, stderr: self.stderr.text() }
    }
}

/// A path of the test's own making, as an argument.
pub fn path_str(path: &Path) -> &str {
    path.to_str().expect("temporary paths are UTF-8")
}
