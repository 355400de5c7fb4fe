//! What yrs does for us, in a process of its own: folding logs into snapshots, and reading what a document says.
//!
//! Updates are accepted, stored, sent and answered as bytes (`replica::encoded`); only these two need them integrated. yrs
//! is not built for hostile bytes (HARDENING §2): it may panic, go round for ever, take all memory or overflow its stack.
//! Whatever it does there, it does to a process that holds nothing: no socket, no ack and no other document notices.
//!
//! A [`Integrator`] gives its tasks to a worker ([`process`]), which is this same program started as `weft worker`
//! ([`child`]). When one dies or takes too long, the task is done again with care, update by update, each announced before
//! it is touched; dying twice at the same one is that update's fault, and no third time is tried.

pub mod child;
mod process;
mod protocol;
mod watch;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use self::process::{Lost, Worker};
use self::protocol::{Reply, Task};
use crate::limits::WORKER_TIMEOUT;
use crate::replica::compaction::{FoldError, Folded, History};
use crate::replica::content::Content;

/// Where updates are integrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Isolation {
    /// In this process. Panics are caught; the rest is not.
    None,
    /// In a worker.
    Worker {
        /// The program to start.
        program: PathBuf,
        /// Most memory it may take for what it works on, bytes.
        memory: u64,
        /// How long it may take for a small task.
        patience: Duration,
    },
}

impl Isolation {
    /// A worker of this same program with so much memory; with none, in this process.
    pub fn in_this_program(memory: u64) -> Self {
        // Names what runs, also when its file has been replaced by another version.
        let program = PathBuf::from("/proc/self/exe");
        match memory {
            // Unit tests are another program.
            _ if cfg!(test) => Isolation::None,
            0 => Isolation::None,
            _ => Isolation::Worker { program, memory, patience: WORKER_TIMEOUT },
        }
    }
}

/// Does what only yrs can do.
#[derive(Debug)]
pub struct Integrator {
    isolation: Isolation,
    /// A worker that waits for its next task.
    idle: Mutex<Option<Worker>>,
    /// There was a task since [`Integrator::rest`].
    busy: AtomicBool,
    started: AtomicU64,
    lost: AtomicU64,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntegratorError {
    /// The log could not be read.
    #[error("{0}")]
    Log(String),
    /// The log does not load, or the result differs from it.
    #[error(transparent)]
    Fold(FoldError),
    /// The same, as a worker said it.
    #[error("{0}")]
    Refused(String),
    /// An update breaks yrs, each time it is tried.
    #[error("{why}")]
    Breaks {
        /// Which of the updates given; the number behind the last one when it is what they make together.
        at: usize,
        /// How it ended.
        why: String,
    },
    /// No worker could do it, and no update is to blame.
    #[error("the worker process: {0}")]
    Worker(String),
}

/// How many workers were started and lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Workers {
    /// Started.
    pub started: u64,
    /// Died, or were ended because they took too long.
    pub lost: u64,
}

/// How one attempt ended that gave no result.
enum Attempt {
    /// It will not do better another time.
    Final(IntegratorError),
    /// It broke, at this update if that is known.
    Broke(Option<usize>, String),
}

impl Integrator {
    /// One that isolates as it is told.
    pub fn new(isolation: Isolation) -> Self {
        Self {
            isolation,
            idle: Mutex::default(),
            busy: AtomicBool::new(false),
            started: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }
    }

    /// Folds a log into a snapshot that says the same (S6). Blocks. The log may be large, so it is not held while a worker works
    /// on it, but read anew for each attempt.
    ///
    /// # Errors
    /// Then nothing may be replaced. [`IntegratorError::Breaks`] says the same every time.
    pub fn fold(&self, mut read: impl FnMut() -> Result<Vec<Bytes>, String>) -> Result<Folded, IntegratorError> {
        let mut history = None;
        let folded = self.attempt_with_care(|careful| {
            let updates = read().map_err(IntegratorError::Log)?;
            history.get_or_insert_with(|| History::of(updates.iter().map(|update| &update[..])));
            Ok(if careful { Task::FoldWithCare(updates) } else { Task::Fold(updates) })
        })?;
        let (Reply::Folded(folded), Some(history)) = (folded, history) else { return Err(unexpected()) };
        // It may come from a process that has lost its mind.
        history.map_err(FoldError::Load).and_then(|history| history.prove(folded)).map_err(IntegratorError::Fold)
    }

    /// Reads the shared types of a whole state. Blocks.
    ///
    /// # Errors
    /// [`IntegratorError::Breaks`] when yrs cannot take it.
    pub fn read(&self, state: &Bytes) -> Result<Content, IntegratorError> {
        match self.attempt_with_care(|_| Ok(Task::Read(state.clone())))? {
            Reply::Content(content) => Ok(content),
            _ => Err(unexpected()),
        }
    }

    /// To be called from time to time: ends a worker that had nothing to do since the last time.
    pub fn rest(&self) {
        if !self.busy.swap(false, Ordering::Relaxed) {
            drop(self.take_idle());
        }
    }

    /// What became of workers so far.
    pub fn workers(&self) -> Workers {
        Workers { started: self.started.load(Ordering::Relaxed), lost: self.lost.load(Ordering::Relaxed) }
    }

    /// Tries a task; when that breaks, twice more with care, so that no update is blamed for what befell a worker by chance,
    /// or before it had begun with any.
    fn attempt_with_care(
        &self,
        mut task: impl FnMut(bool) -> Result<Task, IntegratorError>,
    ) -> Result<Reply, IntegratorError> {
        let mut blamed = None;
        for careful in [false, true, true] {
            match self.attempt(task(careful)?) {
                Ok(reply) => return Ok(reply),
                Err(Attempt::Final(error)) => return Err(error),
                Err(Attempt::Broke(Some(at), why)) if careful && blamed == Some(Some(at)) => {
                    return Err(IntegratorError::Breaks { at, why });
                }
                Err(Attempt::Broke(_, why)) if careful && blamed.is_some() => {
                    return Err(IntegratorError::Worker(format!("{why}, and no update is to blame")));
                }
                Err(Attempt::Broke(at, _)) => blamed = careful.then_some(at),
            }
        }
        Err(unexpected())
    }

    fn attempt(&self, task: Task) -> Result<Reply, Attempt> {
        self.busy.store(true, Ordering::Relaxed);
        let mut at = None;
        let reply = match &self.isolation {
            Isolation::None => Ok(child::carry_out(task, |index| at = Some(index))),
            Isolation::Worker { program, memory, patience } => {
                let mut worker = match self.take_idle() {
                    Some(worker) => worker,
                    None => {
                        self.started.fetch_add(1, Ordering::Relaxed);
                        Worker::start(program, *memory)
                            .map_err(|error| Attempt::Final(IntegratorError::Worker(error.to_string())))?
                    }
                };
                let reply = worker.carry_out(task, *patience, |index| at = Some(index));
                if reply.is_ok() {
                    *self.idle() = Some(worker);
                } else {
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                reply
            }
        };
        match reply {
            Ok(Reply::Refused(why)) => Err(Attempt::Final(IntegratorError::Refused(why))),
            Ok(Reply::Broke(why)) => Err(Attempt::Broke(at, why)),
            Ok(reply) => Ok(reply),
            Err(Lost(how)) => Err(Attempt::Broke(at, how)),
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Option<Worker>> {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take_idle(&self) -> Option<Worker> {
        self.idle().take()
    }
}

fn unexpected() -> IntegratorError {
    IntegratorError::Worker("it answered what was not asked".into())
}

#[cfg(test)]
mod tests;
