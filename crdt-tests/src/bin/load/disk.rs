//! What the disk itself gives: a bare file, appended to and synced.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// About what one small update takes in a log.
const RECORD_BYTES: usize = 64;

/// Space made ready beforehand, so that a sync has no file size to write down.
const PREPARED_BYTES: usize = 64 << 20;

/// How a file takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// It grows with each.
    Growing,
    /// It was written and synced beforehand.
    Prepared,
}

/// Writes `group` records at a time, one after another, with one fdatasync each; gives records per second and the time of
/// one sync.
pub fn write_and_sync(dir: &Path, space: Space, group: usize, duration: Duration) -> (f64, Duration) {
    let path = dir.join("bare");
    let mut file = File::create(&path).expect("created");
    if space == Space::Prepared {
        file.write_all(&vec![0; PREPARED_BYTES]).expect("written");
        file.sync_all().expect("synced");
        file.rewind().expect("rewound");
    }
    let records = vec![7u8; group * RECORD_BYTES];
    let start = Instant::now();
    let mut syncs = 0u32;
    while start.elapsed() < duration && (syncs as usize + 1) * records.len() <= PREPARED_BYTES {
        file.write_all(&records).expect("written");
        file.sync_data().expect("synced");
        syncs += 1;
    }
    let elapsed = start.elapsed();
    drop(file);
    let _ = std::fs::remove_file(&path);
    (f64::from(syncs) * group as f64 / elapsed.as_secs_f64(), elapsed / syncs.max(1))
}
