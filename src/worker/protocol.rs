//! What a worker is told and what it says, over its stdin and stdout: a kind, a number of parts, and the parts, each with
//! its length. Both ends are one program of one version, so that is all; but the worker may lose its mind, so nothing is
//! allocated by its claim.

use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::replica::content::Content;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// Fold these updates, a whole log.
    Fold(Vec<Bytes>),
    /// The same, one after the other, each announced by [`Reply::At`].
    FoldWithCare(Vec<Bytes>),
    /// Read the shared types of a state.
    Read(Bytes),
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Reply {
    /// The update with this number is next; another reply follows.
    At(usize),
    /// The updates that say the same.
    Folded(Vec<Bytes>),
    Content(Content),
    /// It cannot be done, and yrs has nothing to do with that.
    Refused(String),
    /// yrs panicked or refused.
    Broke(String),
}

impl Task {
    /// Bytes of its updates.
    pub fn bytes(&self) -> u64 {
        match self {
            Task::Fold(updates) | Task::FoldWithCare(updates) => updates.iter().map(|update| update.len() as u64).sum(),
            Task::Read(state) => state.len() as u64,
        }
    }

    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Task::Fold(updates) => write_frame(to, b'f', updates),
            Task::FoldWithCare(updates) => write_frame(to, b'c', updates),
            Task::Read(state) => write_frame(to, b'r', std::slice::from_ref(state)),
        }
    }

    /// The next task, of at most `bytes_max` bytes; `None` at the end of all.
    pub fn read(from: &mut impl Read, bytes_max: u64) -> io::Result<Option<Self>> {
        let Some((kind, mut parts)) = read_frame(from, bytes_max)? else { return Ok(None) };
        match (kind, parts.len()) {
            (b'f', _) => Ok(Some(Task::Fold(parts))),
            (b'c', _) => Ok(Some(Task::FoldWithCare(parts))),
            (b'r', 1) => Ok(Some(Task::Read(parts.swap_remove(0)))),
            _ => Err(malformed()),
        }
    }
}

impl Reply {
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Reply::At(index) => write_frame(to, b'a', &[(*index as u64).to_le_bytes()])?,
            Reply::Folded(updates) => write_frame(to, b'f', updates)?,
            Reply::Content(content) => write_frame(to, b'c', &[serde_json::to_vec(content)?])?,
            Reply::Refused(why) => write_frame(to, b'r', &[why])?,
            Reply::Broke(why) => write_frame(to, b'b', &[why])?,
        }
        to.flush()
    }

    /// The next reply, of at most `bytes_max` bytes; `None` at the end of all.
    pub fn read(from: &mut impl Read, bytes_max: u64) -> io::Result<Option<Self>> {
        let Some((kind, parts)) = read_frame(from, bytes_max)? else { return Ok(None) };
        let text = |part: &Bytes| String::from_utf8_lossy(part).into_owned();
        Ok(Some(match (kind, &parts[..]) {
            (b'a', [index]) => {
                let index = index[..].try_into().map_err(|_| malformed())?;
                Reply::At(u64::from_le_bytes(index) as usize)
            }
            (b'f', updates) => Reply::Folded(updates.to_vec()),
            (b'c', [content]) => Reply::Content(serde_json::from_slice(content)?),
            (b'r', [why]) => Reply::Refused(text(why)),
            (b'b', [why]) => Reply::Broke(text(why)),
            _ => return Err(malformed()),
        }))
    }
}

fn write_frame(to: &mut impl Write, kind: u8, parts: &[impl AsRef<[u8]>]) -> io::Result<()> {
    to.write_all(&[kind])?;
    to.write_all(&(parts.len() as u64).to_le_bytes())?;
    for part in parts {
        let part = part.as_ref();
        to.write_all(&(part.len() as u64).to_le_bytes())?;
        to.write_all(part)?;
    }
    Ok(())
}

/// A kind and its parts, which have at most `bytes_max` bytes, each counted with its length.
fn read_frame(from: &mut impl Read, mut bytes_max: u64) -> io::Result<Option<(u8, Vec<Bytes>)>> {
    let mut kind = [0];
    if from.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let count = read_number(from)?;
    let mut parts = Vec::new();
    for _ in 0..count {
        let len = read_number(from)?;
        bytes_max = bytes_max.checked_sub(len.saturating_add(8)).ok_or_else(malformed)?;
        // Room for a claim within what is expected anyhow; growing would take twice as much for a while.
        let mut part = Vec::with_capacity(len as usize);
        if from.by_ref().take(len).read_to_end(&mut part)? as u64 != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        parts.push(Bytes::from(part));
    }
    Ok(Some((kind[0], parts)))
}

fn read_number(from: &mut impl Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a malformed message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let updates = vec![Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(&[0, 0])];
        let mut bytes = Vec::new();
        let tasks = [Task::Fold(updates.clone()), Task::FoldWithCare(vec![]), Task::Read(updates[0].clone())];
        tasks.iter().try_for_each(|task| task.write(&mut bytes)).unwrap();
        let mut from = &bytes[..];
        for task in tasks {
            assert_eq!(Task::read(&mut from, 1_000).unwrap(), Some(task));
        }
        assert_eq!(Task::read(&mut from, 1_000).unwrap(), None);

        let content = Content { roots: [("t".to_owned(), (Default::default(), "text".into()))].into() };
        let replies = [
            Reply::At(3),
            Reply::Folded(updates),
            Reply::Content(content),
            Reply::Refused("no".into()),
            Reply::Broke("crash".into()),
        ];
        let mut bytes = Vec::new();
        replies.iter().try_for_each(|reply| reply.write(&mut bytes)).unwrap();
        let mut from = &bytes[..];
        for reply in replies {
            assert_eq!(Reply::read(&mut from, 1_000).unwrap(), Some(reply));
        }
    }

    #[test]
    fn a_worker_that_lost_its_mind_takes_no_memory() {
        let claim = |count: u64, len: u64| [&b"f"[..], &count.to_le_bytes(), &len.to_le_bytes()].concat();
        for bytes in [claim(u64::MAX, 8), claim(1, u64::MAX), claim(1, 1 << 40), b"f".to_vec(), b"zzzzzzzzzzz".to_vec()]
        {
            assert!(Reply::read(&mut &bytes[..], 1 << 20).is_err());
        }
        // Parts without end, each of nothing.
        let endless = [&claim(u64::MAX, 0)[..], &[0; 80_000]].concat();
        assert!(Reply::read(&mut &endless[..], 1 << 10).is_err());
    }
}
