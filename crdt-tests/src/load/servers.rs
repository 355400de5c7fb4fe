//! The servers that can be measured: what `load/servers.toml` says of them, how peers are installed, and one that runs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde::Deserialize;

use super::Outcome;
use super::dialect::Dialect;
use super::machine::{self, Cores, Tree};
use crate::npm;
use crate::process;

/// How long a server may take to begin or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acks {
    /// It is on disk.
    Disk,
    /// It was understood.
    Memory,
}

/// A server as the file describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// On the command line.
    pub name: String,
    /// In tables.
    pub title: String,
    /// How it is spoken to.
    pub dialect: Dialect,
    start: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    npm: Option<String>,
    #[serde(rename = "crate")]
    krate: Option<String>,
    /// What is asked over HTTP to know that it lives.
    pub health: String,
    /// What its acknowledgements mean, if it has any.
    pub acks: Option<Acks>,
    stored_ms: u64,
    let_go_ms: u64,
    /// How long after documents were opened it may begin to tidy what it stored.
    #[serde(default)]
    tidies_ms: u64,
    /// It answers before it has read what it stored, which it sends as an edit then.
    #[serde(default)]
    pub answers_early: bool,
    /// Only measured when it is named.
    #[serde(default)]
    pub on_request: bool,
}

#[derive(Deserialize)]
struct Recipes {
    server: Vec<Recipe>,
}

/// All of the file.
pub fn all() -> Vec<Recipe> {
    let text = fs::read_to_string(folder().join("servers.toml")).expect("load/servers.toml is part of the repository");
    toml::from_str::<Recipes>(&text).unwrap_or_else(|e| panic!("load/servers.toml: {e}")).server
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("load")
}

/// The programs that the recipes name.
#[derive(Debug, Clone)]
pub struct Programs {
    /// weft itself.
    pub weft: PathBuf,
    /// The load tool, which is also the bare loop.
    pub load: PathBuf,
    /// Where peers are installed.
    pub peers: PathBuf,
}

impl Recipe {
    /// Whether it is weft, whatever it is spoken to as.
    pub fn is_weft(&self) -> bool {
        self.name == "weft" || self.name.starts_with("weft-")
    }

    /// Whether it is the bare loop, which keeps nothing.
    pub fn is_limit(&self) -> bool {
        self.name == "limit"
    }

    /// The same with one more variable in its environment.
    pub fn with_env(&self, name: &str, value: &str) -> Self {
        let mut recipe = self.clone();
        recipe.env.insert(name.to_owned(), value.to_owned());
        recipe
    }

    /// How long after the last edit it may begin to store it.
    pub fn stored(&self) -> Duration {
        Duration::from_millis(self.stored_ms)
    }

    /// How long after the last client left it may keep a document.
    pub fn let_go(&self) -> Duration {
        Duration::from_millis(self.let_go_ms)
    }

    /// How long after documents were opened it may begin to tidy what it stored.
    pub fn tidies(&self) -> Duration {
        Duration::from_millis(self.tidies_ms)
    }

    fn installed(&self, programs: &Programs) -> PathBuf {
        programs.peers.join(self.npm.as_deref().unwrap_or(&self.name))
    }

    /// Makes sure that it is there; an error says why it cannot be.
    pub fn install(&self, programs: &Programs) -> Outcome<()> {
        let to = self.installed(programs);
        if let Some(from) = &self.npm {
            let from = folder().join(from);
            fs::create_dir_all(&to).map_err(|e| format!("cannot make {}: {e}", to.display()))?;
            for file in fs::read_dir(&from).map_err(|e| e.to_string())?.flatten() {
                if !file.path().is_file() {
                    continue;
                }
                let (old, new) = (fs::read(to.join(file.file_name())).ok(), fs::read(file.path()).ok());
                // The installation is judged by the age of its lock file, so a file that is the same stays as it is.
                if old != new {
                    fs::write(to.join(file.file_name()), new.unwrap_or_default()).map_err(|e| e.to_string())?;
                }
            }
            return npm::try_install(&to);
        }
        let Some(krate) = &self.krate else { return Ok(()) };
        let (name, version) = krate.split_once(' ').ok_or("a crate has a name and a version")?;
        if to.join("bin").join(name).is_file() {
            return Ok(());
        }
        eprintln!("installing {name} {version} from crates.io, which takes minutes");
        fs::create_dir_all(&to).map_err(|e| format!("cannot make {}: {e}", to.display()))?;
        let output = Command::new("nice")
            .args(["cargo", "install", name, "--version", version, "--locked", "--root"])
            .arg(&to)
            .current_dir(&to)
            .env("CARGO_TARGET_DIR", to.join("build"))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("cannot run cargo: {e}"))?;
        let _ = fs::remove_dir_all(to.join("build"));
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("cannot be built: {}", last_line(&String::from_utf8_lossy(&output.stderr)))),
        }
    }

    /// Starts it on a directory of its own, and waits until it answers.
    pub fn start(&self, programs: &Programs, dir: &Path, cores: Option<Cores>) -> Outcome<Running> {
        let data = dir.join("data");
        fs::create_dir_all(&data).map_err(|e| format!("cannot make {}: {e}", data.display()))?;
        let addr = free_address().ok_or("no free port")?;
        let mut running = Running {
            recipe: self.clone(),
            programs: programs.clone(),
            cores,
            data,
            log: dir.join("log"),
            addr,
            child: None,
        };
        running.begin()?;
        Ok(running)
    }
}

/// A server that runs, or ran. Dropping it kills it.
pub struct Running {
    /// What it is.
    pub recipe: Recipe,
    programs: Programs,
    cores: Option<Cores>,
    /// Its data directory.
    pub data: PathBuf,
    log: PathBuf,
    /// Where it listens; the same after a restart.
    pub addr: SocketAddr,
    child: Option<Child>,
}

impl Running {
    fn filled(&self, text: &str) -> String {
        text.replace("{weft}", &self.programs.weft.to_string_lossy())
            .replace("{load}", &self.programs.load.to_string_lossy())
            .replace("{install}", &self.recipe.installed(&self.programs).to_string_lossy())
            .replace("{host}", &self.addr.ip().to_string())
            .replace("{port}", &self.addr.port().to_string())
            .replace("{data}", &self.data.to_string_lossy())
    }

    /// Starts it again on the same data, once it has ended.
    pub fn begin(&mut self) -> Outcome<()> {
        assert!(self.child.is_none(), "still running");
        let log = File::options().create(true).append(true).open(&self.log).map_err(|e| e.to_string())?;
        let words: Vec<String> = self.recipe.start.iter().map(|word| self.filled(word)).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(self.log.parent().unwrap_or(Path::new(".")));
        command.envs(self.recipe.env.iter().map(|(key, value)| (key, self.filled(value))));
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
        // A child begins on the cores of the thread that starts it.
        if let Some(cores) = self.cores {
            machine::pin(cores.server);
        }
        let child = command.spawn().map_err(|e| format!("cannot run {}: {e}", words[0]));
        if let Some(cores) = self.cores {
            machine::pin(cores.generator);
        }
        self.child = Some(child?);
        let deadline = Instant::now() + PATIENCE;
        while !self.is_healthy() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                self.child = None;
                return Err(format!("ended instead of starting: {status}; {}", self.last_words()));
            }
            if Instant::now() > deadline {
                return Err(format!("does not start: {}", self.last_words()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        last_line(&fs::read_to_string(&self.log).unwrap_or_default())
    }

    /// Whether it answers over HTTP.
    pub fn is_healthy(&self) -> bool {
        ask(self.addr, &self.recipe.health, PATIENCE).is_some()
    }

    /// Its processes.
    pub fn tree(&self) -> Tree {
        Tree::of(self.child.as_ref().expect("is running").id())
    }

    /// `kill -9`, and gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> Outcome<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        process::signal(&child, Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().map_err(|e| e.to_string())?.is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                return Err("does not end when it is asked to".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until all that it was told is where it keeps it.
    pub fn settle(&self) {
        std::thread::sleep(self.recipe.stored());
        self.tree().quiet(Duration::from_secs(30));
    }

    /// Stops it well, and starts it again, quiet. What it was told since it last settled may not be stored.
    pub fn restart(&mut self) -> Outcome<()> {
        self.stop()?;
        self.begin()?;
        self.tree().quiet(Duration::from_secs(10));
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How long an HTTP answer took; none when there was none.
pub fn ask(addr: SocketAddr, path: &str, patience: Duration) -> Option<Duration> {
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&addr, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    head.starts_with(b"HTTP/1.1 200").then(|| began.elapsed())
}

/// An address to listen at that stays free: below the ports that outgoing connections get, of which there are very many here,
/// also between a kill and the next start.
fn free_address() -> Option<SocketAddr> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    let mine = std::process::id().wrapping_mul(97);
    (0..COUNT).find_map(|_| {
        let number = mine.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let addr = SocketAddr::from(([127, 0, 0, 1], (FIRST + number) as u16));
        TcpListener::bind(addr).is_ok().then_some(addr)
    })
}

fn last_line(text: &str) -> String {
    let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    lines.next().unwrap_or("it said nothing").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_servers_can_be_read() {
        let all = all();
        let names: Vec<&str> = all.iter().map(|recipe| &*recipe.name).collect();
        for name in ["weft", "y-websocket", "hocuspocus", "y-sweet", "limit"] {
            assert!(names.contains(&name), "{name} is among {names:?}");
        }
        for recipe in &all {
            assert!(recipe.npm.as_ref().is_none_or(|npm| folder().join(npm).join("package-lock.json").is_file()));
        }
    }
}
