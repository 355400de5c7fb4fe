//! What the disk itself gives: a bare file, appended to and synced.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crdt_tests::bare_log::{self, BareLog, Space};

/// About what one small update takes in a log.
const RECORD_BYTES: usize = 64;

/// Records a second that closed-loop writers get out of a bare file, and the median time of one, ms.
pub fn closed_loop(dir: &Path, space: Space, writers: usize, duration: Duration) -> (f64, f64) {
    let path = dir.join("bare");
    let log = Arc::new(BareLog::start(&path, space));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let record = |n: u64| Bytes::from(vec![n as u8; RECORD_BYTES]);
    let (rate, micros) = runtime.block_on(bare_log::measure(&log, writers, duration, record));
    drop((runtime, log));
    let _ = std::fs::remove_file(&path);
    (rate, micros.value_at_quantile(0.5) as f64 / 1e3)
}
