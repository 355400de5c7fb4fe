//! A child process whose output is kept, and what the kernel says about it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::wait;

/// Output of a child, collected by a thread until the child closes it.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Output>>);

#[derive(Default)]
struct Output {
    bytes: Vec<u8>,
    ended: bool,
}

impl Captured {
    /// Starts to collect.
    pub fn from(stream: impl Read + Send + 'static) -> Self {
        let captured = Self::default();
        let into = captured.0.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            loop {
                let mut line = Vec::new();
                match reader.read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return into.lock().unwrap().ended = true,
                    Ok(_) => into.lock().unwrap().bytes.extend_from_slice(&line),
                }
            }
        });
        captured
    }

    /// All so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap().bytes).into_owned()
    }

    /// Waits until the child has closed it; a child that has ended may not have been heard to its last word yet.
    pub fn wait_end(&self, deadline: Duration) {
        wait::until("the output ends", deadline, || self.0.lock().unwrap().ended.then_some(()));
    }

    /// The last `lines` lines so far, for a failure message.
    pub fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

/// Sends a signal to a child that has not been waited for.
pub fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_child(child);
    rustix::process::kill_process(pid, signal).expect("cannot signal the child");
}

/// Sends a signal to a process by its id, while others borrow what started it.
pub fn signal_pid(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("cannot signal the process");
}

/// Waits until the child has ended; panics with `what` at the deadline.
pub fn wait_exit(child: &mut Child, what: &str, deadline: Duration) -> ExitStatus {
    wait::until(what, deadline, || child.try_wait().expect("cannot wait for the child"))
}

fn status_kib(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is gone");
    let line = status.lines().find(|line| line.starts_with(field)).expect("no such field in /proc/<pid>/status");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number of kB")
}

/// Resident memory now, bytes.
pub fn rss_bytes(pid: u32) -> u64 {
    status_kib(pid, "VmRSS:") * 1024
}

/// Highest resident memory since the start (or since [`reset_peak`]), bytes.
pub fn peak_rss_bytes(pid: u32) -> u64 {
    status_kib(pid, "VmHWM:") * 1024
}

/// The same of a process that may end meanwhile.
pub fn peak_rss_if_running(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Lets [`peak_rss_bytes`] begin anew.
pub fn reset_peak(pid: u32) {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").expect("cannot reset the peak");
}

/// CPU time used so far, user and system.
pub fn cpu_time(pid: u32) -> Duration {
    cpu_ticks(pid, 11..13).expect("the process is gone")
}

/// The same with that of the children that it has waited for; nothing of a process that is gone.
pub fn cpu_time_with_ended(pid: u32) -> Duration {
    cpu_ticks(pid, 11..15).unwrap_or_default()
}

fn cpu_ticks(pid: u32, counters: std::ops::Range<usize>) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; fields are counted after its end.
    let fields: Vec<&str> = stat[stat.rfind(')').expect("a name") + 1..].split_whitespace().collect();
    let ticks: u64 = fields[counters].iter().map(|n| n.parse::<u64>().expect("ticks")).sum();
    Some(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
}

/// As [`cpu_time`] but to the nanosecond, of the threads that live now.
pub fn cpu_time_exact(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is gone");
    let nanos = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let schedstat = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        schedstat.split_whitespace().next()?.parse().ok()
    };
    Duration::from_nanos(tasks.filter_map(nanos).sum())
}
