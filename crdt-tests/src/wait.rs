//! Waiting for conditions with a deadline, for what gives no event to wait on.

use std::time::{Duration, Instant};

/// How long tests wait for something that takes milliseconds on an idle machine. Generous: it is paid only by failures.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks every few milliseconds until `condition` gives a value; panics with `what` once `deadline` has passed.
pub fn until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < deadline, "not so after {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
