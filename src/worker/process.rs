//! A worker process, seen from the server.

use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use super::protocol::{Reply, Task};
use super::watch::Watch;
use crate::limits::{WORKER_REPLY_BYTES_SPARE, WORKER_REPLY_FACTOR, WORKER_TIMEOUT_PER_MIB};

/// A worker that waits for a task. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

/// It is gone, and how it went.
#[derive(Debug)]
pub(super) struct Lost(pub String);

impl Worker {
    /// Starts `program` as a worker that may take so many bytes of memory.
    pub fn start(program: &Path, memory: u64) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(["worker", "--memory", &memory.to_string()])
            .env_clear()
            // A bound on memory counts addresses, in use or not; so the allocator gives those back too.
            .env("_RJEM_MALLOC_CONF", "narenas:1,retain:false,dirty_decay_ms:500,muzzy_decay_ms:0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        Ok(Self { child, to: BufWriter::new(to), from: BufReader::new(from) })
    }

    /// Has a task carried out, telling of each update that is announced.
    ///
    /// # Errors
    /// The worker died, lost its mind, or took longer than `patience` and more for what is large, waiting for a processor aside; it is
    /// gone then.
    pub fn carry_out(&mut self, task: Task, patience: Duration, mut at: impl FnMut(usize)) -> Result<Reply, Lost> {
        let patience = patience + WORKER_TIMEOUT_PER_MIB * u32::try_from(task.bytes() >> 20).unwrap_or(u32::MAX);
        let bytes_max = task.bytes().saturating_mul(WORKER_REPLY_FACTOR).saturating_add(WORKER_REPLY_BYTES_SPARE);
        let watched = Watch::start(&self.child, patience).map_err(|error| Lost(error.to_string()))?;
        let written = match task.write(&mut self.to).and_then(|()| self.to.flush()) {
            // It is dying, but may have said before at which update.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written,
        };
        // The reply may be as large.
        drop(task);
        let reply = written.and_then(|()| {
            loop {
                match Reply::read(&mut self.from, bytes_max)? {
                    Some(Reply::At(index)) => at(index),
                    Some(reply) => return Ok(reply),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        });
        let in_time = watched.end();
        reply.map_err(|error| {
            let _ = self.child.kill();
            let how = match self.child.wait() {
                _ if !in_time => format!("it was ended, having taken longer than {patience:?}"),
                // It was killed just now, because of what it said.
                Ok(_) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
                Ok(status) => format!("it died ({status})"),
                Err(error) => error.to_string(),
            };
            Lost(how)
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It holds nothing, so there is nothing to say goodbye for. Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
