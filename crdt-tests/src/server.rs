//! The real binary on a data directory of its own: started, drained, killed and started again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;

use crate::process::{self, Captured};
use crate::wait::PATIENCE;

/// The workspace this package belongs to.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crdt-tests lies in the workspace")
}

/// How the binary is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// With every assertion on.
    Dev,
    /// As it is shipped.
    Release,
}

/// Builds the binary with cargo and gives its path. `--workspace` keeps the features of dependencies the same as in
/// `cargo test --workspace`, so that nothing is compiled twice.
pub fn build(profile: Profile) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(workspace()).args(["build", "--workspace", "--bin", "weft"]);
    cargo.arg("--message-format=json-render-diagnostics");
    // What cargo tells the tests about their own package: build scripts that look at it would run again, and what depends on
    // them be built anew, by each of the two cargos in turn.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        cargo.env_remove(name);
    }
    if profile == Profile::Release {
        cargo.arg("--release");
    }
    let output = cargo.stderr(Stdio::piped()).output().expect("cannot run cargo");
    assert!(output.status.success(), "cannot build weft:\n{}", String::from_utf8_lossy(&output.stderr));
    #[derive(Deserialize)]
    struct Artifact {
        executable: Option<PathBuf>,
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok()?.executable)
        .find(|path| path.file_name().is_some_and(|name| name == "weft"))
        .expect("cargo built weft but named no executable")
}

/// The binary under test: `WEFT_BIN`, else built once per test process in the profile of the tests.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("WEFT_BIN") {
        Some(path) => path.into(),
        None => build(if cfg!(debug_assertions) { Profile::Dev } else { Profile::Release }),
    })
}

/// A fresh directory for `--data`, removed at the end.
pub struct DataDir(tempfile::TempDir);

impl DataDir {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it makes a directory on disk")]
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("weft-test-").tempdir().expect("cannot make a temporary directory"))
    }

    /// Where weft keeps its files: a directory that weft makes itself, inside the temporary one.
    pub fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// The temporary directory around it, for other files of the test.
    pub fn outer(&self) -> &Path {
        self.0.path()
    }
}

/// How a server is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The binary.
    pub binary: PathBuf,
    /// `--data`
    pub data: PathBuf,
    /// Public port; 0 takes a free one.
    pub port: u16,
    /// `--admin-listen`; none leaves it out.
    pub admin: Option<String>,
    /// Further arguments of `weft serve`.
    pub args: Vec<String>,
    /// A command that starts the binary in its place, such as `nsenter … --`; it must `exec`.
    pub wrapper: Vec<String>,
    /// Environment, for the log filter and the like.
    pub env: Vec<(String, String)>,
    /// Runs as this user and group.
    pub user: Option<u32>,
}

impl Options {
    /// The binary under test on `data`, free ports.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self::with_binary(binary().to_owned(), data)
    }

    /// Another binary on `data`, free ports.
    pub fn with_binary(binary: PathBuf, data: impl Into<PathBuf>) -> Self {
        Self {
            binary,
            data: data.into(),
            port: 0,
            admin: Some("127.0.0.1:0".into()),
            args: Vec::new(),
            wrapper: Vec::new(),
            // The default spreads closes over seconds; tests have no crowd to spread.
            env: vec![("WEFT_DRAIN_MS".into(), "200".into())],
            user: None,
        }
    }

    /// Adds an argument of `weft serve`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Sets the public port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    fn command(&self) -> Command {
        use std::os::unix::process::CommandExt;

        let mut words = self.wrapper.iter().map(AsRef::as_ref).chain([self.binary.as_os_str()]);
        let mut command = Command::new(words.next().expect("at least the binary"));
        command.args(words).args(["serve", "--listen", &format!("127.0.0.1:{}", self.port)]);
        if let Some(admin) = &self.admin {
            command.args(["--admin-listen", admin]);
        }
        command.args(["--json", "--data"]).arg(&self.data).args(&self.args);
        command.envs(self.env.iter().map(|(key, value)| (key, value)));
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the server and does not wait for anything.
    pub fn begin(self) -> Starting {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Starting(command.spawn().unwrap_or_else(|e| panic!("cannot run {:?}: {e}", self.binary)))
    }

    /// Starts the server and waits until it says that it accepts connections. `Err` when it ended instead.
    pub fn try_start(self) -> Result<Server, Refusal> {
        let mut child = self.command().spawn().unwrap_or_else(|e| panic!("cannot run {:?}: {e}", self.binary));
        let stderr = Captured::from(child.stderr.take().expect("piped"));
        let (line_to, line_from) = mpsc::channel();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            use std::io::{BufRead, BufReader};
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = line_to.send(line);
            }
        });
        let line = match line_from.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                let status = process::wait_exit(&mut child, "stdout is closed, now the process ends", PATIENCE);
                stderr.wait_end(PATIENCE);
                return Err(Refusal { status, stderr });
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("weft serve said nothing on stdout for {PATIENCE:?}; stderr:\n{}", stderr.text());
            }
        };
        let ready: Ready = serde_json::from_str(&line).unwrap_or_else(|e| {
            let _ = child.kill();
            panic!("weft serve --json printed {line:?}: {e}")
        });
        Ok(Server { child, ready, stderr, options: self, exited: None, stdout: line_from })
    }

    /// As [`Options::try_start`]; a server that does not start fails the test.
    pub fn start(self) -> Server {
        self.try_start().unwrap_or_else(|refusal| panic!("weft serve ended: {refusal:?}"))
    }
}

/// What `weft serve --json` prints once it accepts connections (contract 2.1).
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    /// Public address.
    pub listen: SocketAddr,
    /// Admin address.
    pub admin: SocketAddr,
    /// Data directory.
    pub data: PathBuf,
}

/// A server of which nobody knows how far it has come.
pub struct Starting(Child);

impl Starting {
    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        self.0.kill().expect("cannot kill");
        self.0.wait().expect("cannot wait");
    }
}

/// A start that ended before the server was ready.
pub struct Refusal {
    /// How it ended.
    pub status: ExitStatus,
    stderr: Captured,
}

impl Refusal {
    /// What it said.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }
}

impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, stderr:\n{}", self.status, self.stderr.text())
    }
}

/// A running server. Dropping it kills it; when the test is failing, its stderr is printed.
pub struct Server {
    child: Child,
    ready: Ready,
    stderr: Captured,
    options: Options,
    exited: Option<ExitStatus>,
    stdout: mpsc::Receiver<String>,
}

impl Server {
    /// On a directory, with defaults.
    pub fn start(data: &DataDir) -> Self {
        Options::new(data.path()).start()
    }

    /// On a directory that is not a test's [`DataDir`], with defaults.
    pub fn start_on(data: impl Into<PathBuf>) -> Self {
        Options::new(data).start()
    }

    /// Public address.
    pub fn addr(&self) -> SocketAddr {
        self.ready.listen
    }

    /// Admin address.
    pub fn admin_addr(&self) -> SocketAddr {
        self.ready.admin
    }

    /// For providers: `ws://…`, or `wss://…` where it speaks TLS.
    pub fn url(&self) -> String {
        let tls = self.options.args.iter().any(|arg| arg == "--tls-cert");
        format!("{}://{}", if tls { "wss" } else { "ws" }, self.ready.listen)
    }

    /// The data directory it was given.
    pub fn data(&self) -> &Path {
        &self.options.data
    }

    /// What it was started with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything on stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Lines on stdout after the first.
    pub fn more_stdout(&self) -> Vec<String> {
        self.stdout.try_iter().collect()
    }

    /// Fails the test if the process has ended.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().expect("cannot wait") {
            self.exited = Some(status);
            panic!("the server has ended: {status}");
        }
    }

    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        if self.exited.is_none() {
            self.child.kill().expect("cannot kill");
            self.exited = Some(self.child.wait().expect("cannot wait"));
        }
    }

    /// Sends SIGTERM and returns at once.
    pub fn ask_to_drain(&self) {
        process::signal(&self.child, Signal::TERM);
    }

    /// Waits for the end.
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        if let Some(status) = self.exited {
            return status;
        }
        let stderr = self.stderr.clone();
        let status = process::wait_exit(&mut self.child, "the server ends", deadline);
        drop(stderr);
        self.exited = Some(status);
        status
    }

    /// SIGTERM and wait; panics unless it drains with exit code 0.
    pub fn drain(&mut self) {
        self.ask_to_drain();
        let status = self.wait_exit(PATIENCE);
        assert!(status.success(), "SIGTERM must drain and exit 0, but: {status}\n{}", self.stderr());
    }

    /// Starts again on the same directory and the same public port, once this one has ended.
    pub fn restart(&mut self) {
        assert!(self.exited.is_some(), "still running");
        let options = self.options.clone().port(self.ready.listen.port());
        *self = options.start();
    }

    /// Freezes or wakes the process, for tests of what others see meanwhile.
    pub fn signal(&self, signal: Signal) {
        process::signal(&self.child, signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.exited.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- stderr of weft serve (pid {}), last lines ---\n{}", self.child.id(), self.stderr.tail(60));
        }
    }
}
