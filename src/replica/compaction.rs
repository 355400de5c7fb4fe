//! Folding a log into a snapshot, with the proof that nothing was lost (S6).
//!
//! A snapshot is made of the bytes that clients wrote, joined and without what is deleted; yrs tells what that is, and is the
//! witness that the snapshot says what the log says. What yrs writes itself is not quite that: it takes a BigInt that a float
//! can hold for that number.

use bytes::Bytes;

use super::content;
use super::encoded::{ByYrs, Encoded};
use super::live::{IntegrateError, Live};
use super::nesting::Nesting;
use super::{Content, LoadError};
use crate::limits::INTEGRATE_UPDATES_MAX;
use crate::wire::state_vector::StateVector;
use crate::wire::update::{self, Kind, Walker};

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
    /// yrs could not take it.
    #[error("stored updates cannot be integrated: {0}")]
    Integrate(#[from] IntegrateError),
    /// The folded form does not say the same as the log.
    #[error("the folded snapshot differs from the log in its {0}")]
    Differs(&'static str),
}

/// Folds `updates` and verifies the result with [`verify`].
pub fn fold<'a>(updates: impl IntoIterator<Item = &'a [u8]>) -> Result<Folded, FoldError> {
    fold_replayed(replay(updates, INTEGRATE_UPDATES_MAX, |_| {})?)
}

/// The same, integrating one update at a time, each of which is announced by its number before it is; then the number behind
/// the last one.
pub fn fold_telling<'a>(
    updates: impl IntoIterator<Item = &'a [u8]>,
    mut next: impl FnMut(usize),
) -> Result<Folded, FoldError> {
    let mut last = 0;
    let replayed = replay(updates, 1, |at| {
        last = at + 1;
        next(at);
    })?;
    next(last);
    fold_replayed(replayed)
}

/// The same without yrs, for logs that it cannot integrate: what was typed in a row is joined, what is deleted has no content
/// any more. Says the same, though it takes more bytes.
pub fn squash<'a>(updates: impl IntoIterator<Item = &'a [u8]>) -> Result<Folded, FoldError> {
    let mut content = Content::load(updates)?;
    content.structs.collect_all(&content.deleted, None, &content.nesting);
    let mut squashed = vec![Bytes::from(content.diff(&StateVector::new()))];
    squashed.extend(content.parked.kept().cloned());
    compare_histories(&content, &squashed)?;
    Ok(Folded { updates: squashed, clocks: content.clocks })
}

/// What a log says of itself; enough to tell, when it is gone, whether a fold of it has lost anything but content.
pub struct History(Content);

impl History {
    /// That of `log`.
    ///
    /// # Errors
    /// When it does not load.
    pub fn of<'a>(log: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, LoadError> {
        let mut content = Content::history(log)?;
        // It takes its room, and only what would be loaded on top of this needs it.
        content.nesting = Nesting::default();
        Ok(Self(content))
    }

    /// What a fold of the log elsewhere came to, once it is certain that it has this history: as [`verify`] without the
    /// content.
    ///
    /// # Errors
    /// When it has not.
    pub fn prove(self, folded: Vec<Bytes>) -> Result<Folded, FoldError> {
        compare_histories(&self.0, &folded)?;
        Ok(Folded { updates: folded, clocks: self.0.clocks })
    }
}

/// Loads `log` and `folded` afresh and compares them: the same clocks by our own count of the log, everything deleted
/// still deleted, the same updates waiting, the same content.
///
/// yrs may know more deletions than the log names (concurrent writes to one key, inserts into something deleted), never
/// fewer. The first update of `folded` is the state, the others wait.
pub fn verify<'a>(log: impl IntoIterator<Item = &'a [u8]>, folded: &[Bytes]) -> Result<(), FoldError> {
    let (content, live) = replay(log, INTEGRATE_UPDATES_MAX, |_| {})?;
    compare_histories(&content, folded)?;
    compare_content(live, folded)
}

fn fold_replayed((mut content, mut live): (Content, Live)) -> Result<Folded, FoldError> {
    let collected = content.learn_from(&live.state()?)?;
    content.structs.collect_all(&content.deleted, Some(&collected), &content.nesting);
    let mut folded = vec![Bytes::from(content.diff(&StateVector::new()))];
    folded.extend(content.parked.kept().cloned());
    // They may be large, and yrs takes many times as much for them.
    content.structs = Encoded::forgetful();
    compare_histories(&content, &folded)?;
    compare_content(live, &folded)?;
    Ok(Folded { updates: folded, clocks: content.clocks })
}

impl Content {
    /// Takes over the deletions in `state`, as which yrs encodes this document: what has no content there, and what it has
    /// concluded to be deleted (concurrent writes to one key, inserts into something deleted).
    fn learn_from(&mut self, state: &[u8]) -> Result<ByYrs, FoldError> {
        let refused = |error| FoldError::Integrate(IntegrateError::Refused(format!("its own state: {error}")));
        let mut collected = ByYrs::default();
        let (mut walker, sections) = Walker::new(state).map_err(refused)?;
        for _ in 0..sections {
            let section = walker.section().map_err(refused)?;
            let mut clock = section.clock;
            for _ in 0..section.structs {
                let item = walker.next(section.client, clock).map_err(refused)?;
                match item.kind {
                    Kind::Gc => collected.gone.insert(section.client, clock, item.end()),
                    Kind::Deleted => collected.forgotten.insert(section.client, clock, item.end()),
                    _ => {}
                }
                clock = item.end();
            }
        }
        walker.delete_set(|client, from, to| self.deleted.insert(client, from, to)).map_err(refused)?;
        self.delete_set = None;
        Ok(collected)
    }
}

/// A log as the replica reads it and, from the same accepted bytes but by a way of its own, as yrs does: so many updates at
/// once, telling the number of each before it is looked at.
fn replay<'a>(
    log: impl IntoIterator<Item = &'a [u8]>,
    at_once: usize,
    mut next: impl FnMut(usize),
) -> Result<(Content, Live), FoldError> {
    let (mut ready, mut live) = (Vec::new(), Live::new(false));
    let log = log.into_iter().enumerate().map(|(at, update)| {
        next(at);
        update
    });
    let content = Content::default().load_telling(log, |turn| {
        ready.extend(turn.merged());
        if ready.len() < at_once {
            return Ok(());
        }
        live.integrate(ready.drain(..)).map_err(FoldError::from)
    })?;
    live.integrate(ready)?;
    Ok((content, live))
}

fn compare_histories(content: &Content, folded: &[Bytes]) -> Result<(), FoldError> {
    let again = Content::history(folded)?;
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
    if !again.parked.kept().eq(content.parked.kept()) {
        return Err(FoldError::Differs("waiting updates"));
    }
    Ok(())
}

/// Compares with what `live` says. All that is ready is in the first update, or clocks would differ.
fn compare_content(mut live: Live, folded: &[Bytes]) -> Result<(), FoldError> {
    let said = content::Content::read(&mut live)?;
    // It takes many times its bytes, and the other one as much.
    drop(live);
    let state = folded.first().map_or(update::EMPTY, |state| &state[..]);
    if content::Content::of(state)? != said {
        return Err(FoldError::Differs("content"));
    }
    Ok(())
}
