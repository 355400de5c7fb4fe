//! Tables: sorted blocks of entries, a block that finds them, and a footer that finds that.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Cursor, Entry, MigrateError, checksum, split_key};
use crate::limits::MIGRATE_DOCUMENT_BYTES_MAX;

const FOOTER: u64 = 48;
const MAGIC: u64 = 0xdb47_7524_8b80_fb57;
/// Kind of compression and checksum behind each block.
const TRAILER: u64 = 5;

/// The entries of one table in their order: by rising keys, and of one key the newest first.
pub(super) struct Table {
    path: PathBuf,
    file: File,
    bytes: u64,
    index: Block,
    block: Option<Block>,
}

/// An internal key and its value.
type Borrowed<'a> = (&'a [u8], &'a [u8]);

/// Entries that follow each other, unpacked.
struct Block {
    bytes: Vec<u8>,
    at: usize,
    /// Where the entries end.
    end: usize,
    /// The key read last, of which the next one may repeat a part.
    key: Vec<u8>,
}

impl Table {
    /// Opens a table that must have this size.
    pub(super) fn open(path: PathBuf, bytes: u64) -> Result<Self, MigrateError> {
        let file = File::open(&path).map_err(MigrateError::io(&path))?;
        let size = file.metadata().map_err(MigrateError::io(&path))?.len();
        if size != bytes || size < FOOTER {
            return Err(MigrateError::damaged(&path, format!("it has {size} bytes where {bytes} are expected")));
        }
        let mut footer = [0; FOOTER as usize];
        file.read_exact_at(&mut footer, size - FOOTER).map_err(MigrateError::io(&path))?;
        let mut cursor = Cursor(&footer);
        let handle = (|| {
            let _metaindex = (cursor.varint()?, cursor.varint()?);
            let index = (cursor.varint()?, cursor.varint()?);
            let magic = u64::from_le_bytes(*footer.last_chunk()?);
            (magic == MAGIC).then_some(index)
        })();
        let handle = handle.ok_or_else(|| MigrateError::damaged(&path, "its footer is not one"))?;
        let index = read_block(&path, &file, size, handle)?;
        Ok(Self { path, file, bytes, index, block: None })
    }

    /// Its entries are not sorted.
    pub(super) fn out_of_order(&self) -> MigrateError {
        MigrateError::damaged(&self.path, "its keys are out of order")
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, MigrateError> {
        let damaged = |path: &Path| MigrateError::damaged(path, "a block does not add up");
        loop {
            if let Some(block) = &mut self.block {
                let entry = block.next().map_err(|()| damaged(&self.path))?;
                if let Some((key, value)) = entry {
                    let (key, sequence, is_value) = split_key(key).ok_or_else(|| damaged(&self.path))?;
                    return Ok(Some(Entry { key: key.to_vec(), sequence, value: is_value.then(|| value.to_vec()) }));
                }
                self.block = None;
            }
            let Some((_, handle)) = self.index.next().map_err(|()| damaged(&self.path))? else { return Ok(None) };
            let mut cursor = Cursor(handle);
            let handle = cursor.varint().zip(cursor.varint()).ok_or_else(|| damaged(&self.path))?;
            self.block = Some(read_block(&self.path, &self.file, self.bytes, handle)?);
        }
    }
}

/// Reads, checks and unpacks the block at (offset, length).
fn read_block(path: &Path, file: &File, size: u64, (at, len): (u64, u64)) -> Result<Block, MigrateError> {
    let damaged = |what: &str| MigrateError::damaged(path, format!("the block at byte {at} {what}"));
    let end = at.checked_add(len).and_then(|end| end.checked_add(TRAILER));
    if end.is_none_or(|end| end > size - FOOTER) {
        return Err(damaged("lies outside"));
    }
    if len > MIGRATE_DOCUMENT_BYTES_MAX as u64 {
        return Err(damaged("is larger than any document"));
    }
    let mut packed = vec![0; (len + TRAILER) as usize];
    file.read_exact_at(&mut packed, at).map_err(MigrateError::io(path))?;
    let Some((rest, stored)) = packed.split_last_chunk::<4>() else { return Err(damaged("is cut short")) };
    let Some((kind, content)) = rest.split_last() else { return Err(damaged("is cut short")) };
    if checksum([content, &[*kind]]) != u32::from_le_bytes(*stored) {
        return Err(damaged("has the wrong checksum"));
    }
    let bytes = match kind {
        0 => content.to_vec(),
        1 => {
            let len = snap::raw::decompress_len(content).map_err(|_| damaged("cannot be unpacked"))?;
            if len > MIGRATE_DOCUMENT_BYTES_MAX {
                return Err(damaged("claims to be larger than any document"));
            }
            snap::raw::Decoder::new().decompress_vec(content).map_err(|_| damaged("cannot be unpacked"))?
        }
        _ => return Err(damaged("is packed in a way that is not known (neither plain nor snappy)")),
    };
    // At the end: where entries begin anew with a whole key, and how many such places there are.
    let entries_end = (|| {
        let restarts = u32::from_le_bytes(*bytes.last_chunk()?);
        let table = u64::from(restarts).checked_mul(4)?.checked_add(4)?;
        (bytes.len() as u64).checked_sub(table)
    })();
    let end = entries_end.ok_or_else(|| damaged("does not add up"))? as usize;
    Ok(Block { bytes, at: 0, end, key: Vec::new() })
}

impl Block {
    /// The next key and value.
    fn next(&mut self) -> Result<Option<Borrowed<'_>>, ()> {
        if self.at == self.end {
            return Ok(None);
        }
        let entries = self.bytes.get(self.at..self.end).ok_or(())?;
        let mut cursor = Cursor(entries);
        let shared = cursor.varint().and_then(|n| usize::try_from(n).ok()).ok_or(())?;
        let own = cursor.varint().ok_or(())?;
        let value_len = cursor.varint().ok_or(())?;
        let rest = cursor.take(own).ok_or(())?;
        let value = cursor.take(value_len).ok_or(())?;
        if shared > self.key.len() {
            return Err(());
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        self.at = self.end - cursor.0.len();
        Ok(Some((&self.key, value)))
    }
}
