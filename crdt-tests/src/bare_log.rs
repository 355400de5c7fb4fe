//! The least code that keeps the journal's promise: a queue, one write and one fdatasync for all that waits, a file that
//! is only appended to. What a disk can do for closed-loop writers, to compare acks with.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use tokio::sync::Notify;

/// Space that is made ready beforehand, MiB: more than any measurement writes.
const PREPARED_MIB: usize = 256;

/// How the file takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// It grows with each group, so that each sync has a new size to write down.
    Growing,
    /// Every block of it was written once.
    Prepared,
}

/// One writer's place to sleep.
#[derive(Default)]
pub struct Waiter {
    done: AtomicU64,
    wake: Notify,
}

impl Waiter {
    /// All up to `seq` is durable.
    pub fn durable(&self, seq: u64) {
        self.done.store(seq, Ordering::Release);
        self.wake.notify_one();
    }

    /// Sleeps until `seq` is durable.
    pub async fn wait_for(&self, seq: u64) {
        while self.done.load(Ordering::Acquire) < seq {
            self.wake.notified().await;
        }
    }
}

/// Records that wait: their bytes, who waits, and for which number.
type Queue = Vec<(Bytes, Arc<Waiter>, u64)>;

/// The log and the thread that writes it.
pub struct BareLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    ended: AtomicBool,
}

impl BareLog {
    /// In a new file.
    pub fn start(path: &Path, space: Space) -> Self {
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(path).expect("a file");
        if space == Space::Prepared {
            (0..PREPARED_MIB).for_each(|_| (&file).write_all(&vec![0; 1 << 20]).expect("space"));
        }
        file.sync_all().expect("a sync");
        let shared = Arc::new(Shared::default());
        let writer = shared.clone();
        Self { shared, thread: Some(std::thread::spawn(move || writer.write(&file))) }
    }

    /// Queues a record; the waiter learns when it is durable.
    pub fn append(&self, bytes: Bytes, waiter: &Arc<Waiter>, seq: u64) {
        self.shared.queue.lock().expect("the lock").push((bytes, waiter.clone(), seq));
        self.shared.wake.notify_one();
    }
}

impl Drop for BareLog {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn write(&self, file: &File) {
        let (mut taken, mut group, mut at) = (Queue::new(), Vec::new(), 0);
        loop {
            {
                let mut queue = self.queue.lock().expect("the lock");
                while queue.is_empty() {
                    if self.ended.load(Ordering::Acquire) {
                        return;
                    }
                    // The end may be told between the look above and this wait.
                    queue = self.wake.wait_timeout(queue, Duration::from_millis(10)).expect("the lock").0;
                }
                std::mem::swap(&mut *queue, &mut taken);
            }
            group.clear();
            taken.iter().for_each(|(bytes, ..)| group.extend_from_slice(bytes));
            file.write_all_at(&group, at).expect("a write");
            file.sync_data().expect("a sync");
            at += group.len() as u64;
            taken.drain(..).for_each(|(_, waiter, seq)| waiter.durable(seq));
        }
    }
}

/// Closed-loop writers on a bare log: records a second, and how long each waited, µs.
pub async fn measure(
    log: &Arc<BareLog>,
    writers: usize,
    duration: Duration,
    record: impl Fn(u64) -> Bytes + Clone + Send + 'static,
) -> (f64, Histogram<u64>) {
    let start = Instant::now();
    let write = |writer: usize| {
        let (log, record, waiter) = (log.clone(), record.clone(), Arc::new(Waiter::default()));
        tokio::spawn(async move {
            let mut micros = Histogram::<u64>::new(3).expect("a histogram");
            for seq in 1.. {
                let begun = Instant::now();
                if begun - start > duration {
                    break;
                }
                log.append(record(seq * writers as u64 + writer as u64), &waiter, seq);
                waiter.wait_for(seq).await;
                micros.record(begun.elapsed().as_micros() as u64).expect("in range");
            }
            micros
        })
    };
    let tasks: Vec<_> = (0..writers).map(write).collect();
    let mut micros = Histogram::<u64>::new(3).expect("a histogram");
    for task in tasks {
        micros.add(task.await.expect("a writer")).expect("the same shape");
    }
    (micros.len() as f64 / start.elapsed().as_secs_f64(), micros)
}
