//! The worker itself: `weft worker`, which nobody starts by hand. Reads tasks from stdin and writes replies to stdout until
//! its server is gone.

use std::io::{self, BufReader, BufWriter};
use std::process::ExitCode;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, nice, setrlimit};

use super::protocol::{Reply, Task};
use crate::limits::{WORKER_MEMORY_SPARE, WORKER_NICE, WORKER_STACK_BYTES};
use crate::replica::compaction::{self, FoldError};
use crate::replica::content::Content;

/// Carries out tasks until stdin ends.
pub fn run(memory: u64) -> ExitCode {
    // Its stack counts, and what its allocator holds in reserve.
    let memory = memory.saturating_add(WORKER_STACK_BYTES as u64 + WORKER_MEMORY_SPARE);
    let limited = setrlimit(Resource::Data, Rlimit { current: Some(memory), maximum: Some(memory) });
    if let Err(error) = limited {
        eprintln!("weft worker: cannot limit its memory: {error}");
        return ExitCode::from(3);
    }
    // Nobody waits for a fold, and many for the server. Inherited by the threads that follow.
    if let Err(error) = nice(WORKER_NICE) {
        eprintln!("weft worker: cannot give way to others: {error}");
    }
    // What yrs says while it panics is in the reply.
    std::panic::set_hook(Box::new(|_| {}));
    let work = thread::Builder::new().stack_size(WORKER_STACK_BYTES).spawn(move || work(memory));
    let watched = thread::Builder::new().spawn(end_with_the_server);
    match (work.map(thread::JoinHandle::join), watched) {
        (Ok(Ok(Ok(()))), Ok(_)) => ExitCode::SUCCESS,
        _ => ExitCode::from(3),
    }
}

/// It may be busy for ever when its server dies.
fn end_with_the_server() {
    let stdin = io::stdin();
    let mut closed = [PollFd::new(&stdin, PollFlags::empty())];
    while poll(&mut closed, None).is_err() {}
    std::process::exit(0);
}

fn work(memory: u64) -> io::Result<()> {
    let (mut from, mut to) = (BufReader::new(io::stdin()), BufWriter::new(io::stdout()));
    while let Some(task) = Task::read(&mut from, memory)? {
        let mut written = Ok(());
        let reply = carry_out(task, |index| {
            if written.is_ok() {
                written = Reply::At(index).write(&mut to);
            }
        });
        written?;
        reply.write(&mut to)?;
    }
    Ok(())
}

/// Carries out one task, announcing updates where the task wants that.
pub(super) fn carry_out(task: Task, mut at: impl FnMut(usize)) -> Reply {
    let folded = match task {
        Task::Read(state) => {
            at(0);
            return match Content::of(&state) {
                Ok(content) => Reply::Content(content),
                Err(error) => Reply::Broke(error.to_string()),
            };
        }
        Task::Fold(updates) => compaction::fold(updates.iter().map(|update| &update[..])),
        Task::FoldWithCare(updates) => compaction::fold_telling(updates.iter().map(|update| &update[..]), at),
    };
    match folded {
        Ok(folded) => Reply::Folded(folded.updates),
        Err(error @ FoldError::Integrate(_)) => Reply::Broke(error.to_string()),
        Err(error @ (FoldError::Load(_) | FoldError::Differs(_))) => Reply::Refused(error.to_string()),
    }
}
