//! epoll, with a wait that ends to the microsecond: a generator that sends at a fixed rate must neither be late nor spin.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};

/// Ready file descriptors looked at in one turn.
const EVENTS: usize = 1_024;
/// The key of the timer.
const TIMER: u64 = u64::MAX;

/// What is ready at one file descriptor.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// The key it was added with.
    pub key: usize,
    /// There is something to read, or an end.
    pub read: bool,
    /// There is room to write.
    pub write: bool,
}

/// An epoll instance.
pub struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// With nothing in it.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, flags)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        Ok(Self { epoll, timer, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a descriptor for reading, and for writing if `write`. Closing it ends that.
    pub fn add(&self, fd: impl AsFd, key: usize, write: bool) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, fd, EventData::new_u64(key as u64), flags(write))?)
    }

    /// Watches it otherwise.
    pub fn change(&self, fd: impl AsFd, key: usize, write: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(key as u64), flags(write))?)
    }

    /// Waits until something is ready or it is `until`; what is ready goes to `into`.
    pub fn wait(&mut self, until: Instant, into: &mut Vec<Ready>) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        // The kernel's timeout counts milliseconds; what is less is for the timer.
        let millis = left.as_millis().min(1_000) as i64;
        let mut timeout = Timespec { tv_sec: millis / 1_000, tv_nsec: millis % 1_000 * 1_000_000 };
        if millis == 0 && left > Duration::ZERO {
            let value = Timespec { tv_sec: 0, tv_nsec: i64::from(left.subsec_nanos()) };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            timeout.tv_nsec = 2_000_000;
        }
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &self.events {
            // Both are copied out: the struct may be packed.
            let (flags, data) = (event.flags, event.data);
            if data.u64() == TIMER {
                let _ = rustix::io::read(&self.timer, &mut [0; 8]);
                continue;
            }
            let read = flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR);
            into.push(Ready { key: data.u64() as usize, read, write: flags.intersects(EventFlags::OUT) });
        }
        Ok(())
    }
}

fn flags(write: bool) -> EventFlags {
    if write { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}
