//! The machine: its cores, and what the kernel says a server's processes use of it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit};
use rustix::thread::CpuSet;
use serde::{Deserialize, Serialize};

use crate::process;

/// Which core the server has, and which the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cores {
    /// The server's.
    pub server: usize,
    /// Ours.
    pub generator: usize,
}

impl Cores {
    /// The first and the last core that this process may use; none where there is only one.
    pub fn choose() -> Option<Self> {
        let mine = rustix::thread::sched_getaffinity(None).ok()?;
        let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|core| mine.is_set(*core)).collect();
        let (server, generator) = (*cores.first()?, *cores.last()?);
        (server != generator).then_some(Self { server, generator })
    }
}

/// Keeps this thread, and what it starts from now on, on one core.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core);
    rustix::thread::sched_setaffinity(None, &set).expect("cannot pin a thread to a core it may use");
}

/// Lets this process, and the servers it starts, have as many sockets as the system allows.
pub fn raise_socket_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// CPU time at some instant; what lies between two is their difference.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// In ticks of 10 ms, of all threads that there ever were.
    ticks: Duration,
    /// To the nanosecond, of the threads that live.
    exact: Duration,
}

impl std::ops::Sub for Cpu {
    type Output = Duration;

    /// The exact value, unless a thread that has ended took its own with it.
    fn sub(self, before: Self) -> Duration {
        const ROUNDING: Duration = Duration::from_millis(30);
        let ticks = self.ticks.saturating_sub(before.ticks);
        let exact = self.exact.saturating_sub(before.exact);
        if ticks.abs_diff(exact) <= ROUNDING { exact } else { ticks }
    }
}

/// A process and all that it started.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    root: u32,
}

impl Tree {
    /// Of this process.
    pub fn of(root: u32) -> Self {
        Self { root }
    }

    fn pids(self) -> Vec<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
        for pid in numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
            let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
            let parent = stat.rfind(')').and_then(|at| stat[at + 1..].split_whitespace().nth(1)?.parse().ok());
            children.entry(parent.unwrap_or(0)).or_default().push(pid);
        }
        let mut pids = vec![self.root];
        let mut at = 0;
        while at < pids.len() {
            pids.extend(children.remove(&pids[at]).unwrap_or_default());
            at += 1;
        }
        pids.retain(|pid| fs::metadata(format!("/proc/{pid}/status")).is_ok());
        pids
    }

    /// CPU time used so far.
    pub fn cpu(self) -> Cpu {
        let ticks = self.pids().into_iter().map(process::cpu_time).sum();
        Cpu { ticks, exact: self.cpu_exact() }
    }

    /// To the nanosecond, of the threads that live now: for what takes milliseconds.
    pub fn cpu_exact(self) -> Duration {
        self.pids().into_iter().map(process::cpu_time_exact).sum()
    }

    /// The same with those that it started and that have ended since.
    pub fn cpu_with_ended(self) -> Duration {
        self.pids().into_iter().map(process::cpu_time_with_ended).sum()
    }

    /// Resident memory now, bytes.
    pub fn rss(self) -> u64 {
        self.pids().into_iter().map(process::rss_bytes).sum()
    }

    /// Highest resident memory, bytes: the sum of what each process had at most.
    pub fn peak(self) -> u64 {
        self.pids().into_iter().map(process::peak_rss_bytes).sum()
    }

    /// Waits until it does nothing any more, or gives up.
    pub fn quiet(self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut still = 0;
        let mut before = self.cpu_exact();
        while still < 3 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.cpu_exact();
            still = if now.saturating_sub(before) < Duration::from_millis(2) { still + 1 } else { 0 };
            before = now;
        }
    }
}

/// Where figures were measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many cores it has.
    pub cores: usize,
    /// Memory, GB.
    pub memory_gb: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The kind of file system below the data directories.
    pub file_system: String,
    /// Whether the server had a core and the generator another.
    pub pinned: bool,
}

impl Machine {
    /// This one.
    pub fn here(dir: &std::path::Path, pinned: bool) -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let kib: u64 = field("/proc/meminfo", "MemTotal").split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        Self {
            processor: field("/proc/cpuinfo", "model name"),
            // Of the machine: this process may be pinned to one of them.
            cores: fs::read_to_string("/proc/cpuinfo")
                .map_or(1, |text| text.lines().filter(|line| line.starts_with("processor")).count()),
            memory_gb: kib.div_ceil(1 << 20),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            file_system: file_system(dir),
            pinned,
        }
    }
}

/// Bytes that the device below `dir` has written so far, for whoever it was, once all that waits for it is there; none where
/// no device says so. The kernel's count for each process (`write_bytes`) is no use: it takes a write for the whole of the
/// large folio that it falls into, 500 syncs of 2,000 bytes each in a file of zeros for 524 MB, of which the device sees 2.6.
pub fn device_written(dir: &std::path::Path) -> Option<u64> {
    const SECTOR: u64 = 512;
    let dir = fs::File::open(dir).ok()?;
    rustix::fs::syncfs(&dir).ok()?;
    let device = rustix::fs::fstat(&dir).ok()?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // Sectors written are the seventh figure (Documentation/block/stat.rst).
    Some(stat.split_whitespace().nth(6)?.parse::<u64>().ok()? * SECTOR)
}

/// The kind of the file system that holds `dir`: that of the longest mount point above it.
fn file_system(dir: &std::path::Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mount = |line: &str| {
        let mut words = line.split(' ').skip(1);
        let (point, kind) = (words.next()?, words.next()?);
        dir.starts_with(point).then(|| (point.len(), kind.to_owned()))
    };
    mounts.lines().filter_map(mount).max().map(|(_, kind)| kind).unwrap_or_default()
}
