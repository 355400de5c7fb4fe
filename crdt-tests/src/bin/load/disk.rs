//! What the disk itself gives: a bare file, appended to and synced.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// About what one small update takes in a log.
const RECORD_BYTES: usize = 64;

/// Appends `group` records at a time with one fdatasync each, and gives records per second and the time of one sync.
pub fn append_and_sync(dir: &Path, group: usize, duration: Duration) -> (f64, Duration) {
    let path = dir.join("bare");
    let mut file = File::create(&path).expect("created");
    let records = vec![7u8; group * RECORD_BYTES];
    let start = Instant::now();
    let mut syncs = 0u32;
    while start.elapsed() < duration {
        file.write_all(&records).expect("written");
        file.sync_data().expect("synced");
        syncs += 1;
    }
    let elapsed = start.elapsed();
    drop(file);
    let _ = std::fs::remove_file(&path);
    (f64::from(syncs) * group as f64 / elapsed.as_secs_f64(), elapsed / syncs.max(1))
}
