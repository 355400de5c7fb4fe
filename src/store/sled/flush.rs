//! sled's flush, which may never return.
//!
//! It looks whether a write has failed, then waits to be told of progress; a write that fails between the two tells
//! nobody again, and the flush waits for ever (found by failing each operation of a disk in turn: a command hung). One
//! that begins later sees the failure at once. So a flush that takes its time is asked again from beside it.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::engine::caught;

/// How long a flush may take before it is asked again; each time twice as long. A slow disk is asked a few times, and
/// answers once.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Has sled hand everything to the kernel. An error is what sled says.
pub(super) fn flush(db: &sled::Db) -> Result<(), String> {
    let (answer, answers) = mpsc::channel();
    let mut patience = ASKED_AGAIN_AFTER;
    loop {
        let (asked, answer) = (db.clone(), answer.clone());
        let ask = move || {
            let flushed = caught(|| asked.flush()).map(drop);
            drop(asked);
            // Nobody listens any more when another one was faster.
            let _ = answer.send(flushed);
        };
        thread::Builder::new().name("weft-flush".into()).spawn(ask).map_err(|e| e.to_string())?;
        match answers.recv_timeout(patience) {
            // One that began later covers what the first one was to.
            Ok(flushed) => return flushed,
            Err(_) => patience *= 2,
        }
    }
}
