//! What others have of the machine meanwhile: an attack is judged as on a machine of its own, and what somebody else's
//! compiler does beside it is none of its doing.

use std::fs;
use std::time::Duration;

use crate::load::machine::Tree;

/// More is not taken off: who shares the machine with so many sees nothing of the server in his figures.
const SHARE_MAX: f64 = 0.75;

/// From some instant on.
pub struct Others {
    machine: Machine,
    ours: Duration,
}

/// CPU time of all cores together, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Machine {
    /// Of programs, and of other machines on the same processor. Interrupts are left out: most are for what we send ourselves.
    busy: u64,
    all: u64,
}

impl Machine {
    fn now() -> Self {
        Self::parse(&fs::read_to_string("/proc/stat").unwrap_or_default())
    }

    fn parse(stat: &str) -> Self {
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).map(|n| n.parse().unwrap_or(0)).collect();
        match ticks[..] {
            [user, nice, system, _idle, _waiting, _interrupts, _soft, stolen] => {
                Self { busy: user + nice + system + stolen, all: ticks.iter().sum() }
            }
            _ => Self::default(),
        }
    }
}

impl Others {
    /// Begins to look.
    pub fn begin() -> Self {
        Self { machine: Machine::now(), ours: ours() }
    }

    /// The part of the machine's time that was neither this process's, nor of any that it started, nor idle.
    pub fn share(&self) -> f64 {
        let (now, ours) = (Machine::now(), ours().saturating_sub(self.ours));
        let tick_s = 1.0 / rustix::param::clock_ticks_per_second() as f64;
        let seconds = |ticks: u64| ticks as f64 * tick_s;
        let all = seconds(now.all.saturating_sub(self.machine.all));
        let busy = seconds(now.busy.saturating_sub(self.machine.busy));
        if all == 0.0 { 0.0 } else { ((busy - ours.as_secs_f64()) / all).clamp(0.0, SHARE_MAX) }
    }
}

fn ours() -> Duration {
    Tree::of(std::process::id()).cpu_with_ended()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_understood() {
        let stat = "cpu  70 20 10 400 90 5 6 7 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(Machine::parse(stat), Machine { busy: 107, all: 608 });
        assert_eq!(Machine::parse(""), Machine::default());
        assert!(Others::begin().share() <= SHARE_MAX);
    }
}
