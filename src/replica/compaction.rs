//! Folding a log into a snapshot, with the proof that nothing was lost (S6).

use bytes::Bytes;

use super::content;
use super::{Content, LoadError};
use crate::replica::live::IntegrateError;
use crate::wire::state_vector::StateVector;

/// A document as few updates as possible.
#[derive(Debug, Clone)]
pub struct Folded {
    /// The state as one update, then the updates that still wait for a missing one.
    pub updates: Vec<Bytes>,
    /// Per client, how many ticks are known.
    pub clocks: StateVector,
}

impl Folded {
    /// Bytes of all its updates.
    pub fn bytes(&self) -> usize {
        self.updates.iter().map(Bytes::len).sum()
    }
}

/// Why a log was not folded; nothing may be replaced or deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    /// The log itself does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The folded form does not say the same as the log.
    #[error("the folded snapshot differs from the log in its {0}")]
    Differs(&'static str),
}

impl From<IntegrateError> for FoldError {
    fn from(error: IntegrateError) -> Self {
        Self::Load(error.into())
    }
}

/// Folds `updates` and verifies the result with [`verify`].
pub fn fold<'a>(updates: impl IntoIterator<Item = &'a [u8]>) -> Result<Folded, FoldError> {
    let mut content = Content::load(updates)?;
    content.sort_parked_anew()?;
    let mut folded = vec![Bytes::from(content.live().state()?)];
    folded.extend(content.parked.iter().cloned());
    compare(&mut content, &folded)?;
    Ok(Folded { updates: folded, clocks: content.clocks })
}

/// Loads `log` and `folded` afresh and compares them: the same clocks by our own count of the log, everything deleted
/// still deleted, the same updates waiting, the same content.
///
/// yrs may know more deletions than the log names (concurrent writes to one key, inserts into something deleted), never
/// fewer. The first update of `folded` is the state, the others wait.
pub fn verify<'a>(log: impl IntoIterator<Item = &'a [u8]>, folded: &[Bytes]) -> Result<(), FoldError> {
    let mut content = Content::load(log)?;
    content.sort_parked_anew()?;
    compare(&mut content, folded)
}

fn compare(content: &mut Content, folded: &[Bytes]) -> Result<(), FoldError> {
    let mut again = Content::load(folded.iter().map(|update| &update[..]))?;
    if again.clocks != content.clocks {
        return Err(FoldError::Differs("state vector"));
    }
    let mut lost = false;
    for (client, from, to) in content.deleted.iter() {
        again.deleted.for_each_missing(client, from, to, |_, _| lost = true);
    }
    if lost {
        return Err(FoldError::Differs("delete set"));
    }
    if !again.parked.iter().eq(content.parked.iter()) {
        return Err(FoldError::Differs("waiting updates"));
    }
    let read = |content: &mut Content| {
        let state = content.live().state()?;
        content::Content::read(content.live(), &state)
    };
    if read(&mut again)? != read(content)? {
        return Err(FoldError::Differs("content"));
    }
    Ok(())
}
