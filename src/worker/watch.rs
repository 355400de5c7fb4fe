//! The time that a worker takes. It works when nobody else wants the processor (`WORKER_NICE`), so that the time it waits for
//! one is not held against it.

use std::fs;
use std::io;
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::limits::WORKER_WAIT_FACTOR;

/// How often it is looked at again at most, once its time is up but for what it waited.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Ends a worker that takes too long. Lives no longer than one task, in which the worker is not waited for, so that its
/// number is its own.
pub(super) struct Watch {
    done: mpsc::Sender<()>,
    thread: thread::JoinHandle<bool>,
}

impl Watch {
    pub(super) fn start(child: &Child, patience: Duration) -> io::Result<Self> {
        let (done, wait) = mpsc::channel();
        let pid = child.id();
        let thread = thread::Builder::new().name("weft-worker-watch".into()).spawn(move || {
            let (begun, waited_before) = (Instant::now(), waited(pid));
            let excused_most = patience.saturating_mul(WORKER_WAIT_FACTOR);
            loop {
                let excused = waited(pid).saturating_sub(waited_before).min(excused_most);
                let left = patience.saturating_add(excused).saturating_sub(begun.elapsed());
                if left.is_zero() {
                    break;
                }
                if wait.recv_timeout(left.max(LOOK_EVERY)) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return true;
                }
            }
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
            false
        })?;
        Ok(Self { done, thread })
    }

    /// Whether it was done in time.
    pub(super) fn end(self) -> bool {
        drop(self.done);
        self.thread.join().unwrap_or(true)
    }
}

/// How long the threads of a process have waited for a processor; nothing where the system does not say.
fn waited(pid: u32) -> Duration {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Duration::ZERO };
    // Nanoseconds on a processor, nanoseconds waiting for one, times it got one (Linux, `sched-stats`).
    let of = |path| fs::read_to_string(path).ok()?.split(' ').nth(1)?.parse().ok();
    let nanos = tasks.flatten().filter_map(|task| of(task.path().join("schedstat"))).fold(0u64, u64::saturating_add);
    Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    use super::*;

    /// A process that has only the processor that this thread has.
    fn busy(cpu: &CpuSet) -> Child {
        let all = sched_getaffinity(None).expect("it is told");
        sched_setaffinity(None, cpu).expect("one of those that it has");
        let child = Command::new("sh").args(["-c", "while :; do :; done"]).stdout(Stdio::null()).spawn();
        sched_setaffinity(None, &all).expect("those that it had");
        child.expect("there is a shell")
    }

    #[test]
    fn who_waits_for_a_processor_has_more_time_and_who_does_not_has_none() {
        let all = sched_getaffinity(None).expect("it is told");
        let mut one = CpuSet::new();
        one.set((0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).expect("there is one"));
        // Three of them share one processor, so that each waits for two thirds of the time.
        let mut crowd = [busy(&one), busy(&one), busy(&one)];
        let began = Instant::now();
        let patience = Duration::from_millis(200);
        let watch = Watch::start(&crowd[0], patience).expect("a thread");
        crowd[0].wait().expect("it is ended by its watch");
        assert!(!watch.end(), "it was not done");
        let took = began.elapsed();
        assert!(took > patience * 2, "waiting was held against it: it had {took:?}");
        crowd[1..].iter_mut().for_each(|child| {
            child.kill().expect("it goes round for ever");
            child.wait().expect("it was killed");
        });

        let mut idle = Command::new("sleep").arg("1000").spawn().expect("there is sleep");
        let watch = Watch::start(&idle, patience).expect("a thread");
        idle.wait().expect("it is ended by its watch, though it takes no processor");
        assert!(!watch.end(), "it was not done");
    }
}
