//! The one place that talks to yrs: what the accepted bytes mean. Derived and rebuildable, never the only copy.
//!
//! The safe-use rules of DEPENDENCIES are kept here: v1 only; nothing that has not passed the gate; a document with a
//! sub-document is never garbage-collected; at most [`INTEGRATE_UPDATES_MAX`] updates a transaction; after a panic the
//! transaction and the `Doc` are leaked, because dropping them could abort the process, and this value is dead.

use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use yrs::updates::decoder::Decode;
use yrs::{ClientID, Doc, OffsetKind, Options, ReadTxn, StateVector, Transact, Update};

use super::steps::{needs_steps, steps};
use crate::limits::{INTEGRATE_BYTES_MAX, INTEGRATE_UPDATES_MAX};
use crate::wire::lib0::SAFE_INTEGER_MAX;
use crate::wire::update::{Kind, Walker};

/// A document in yrs.
pub struct Live {
    /// `None` once it is given up.
    doc: Option<Doc>,
    keeps_deleted: bool,
}

/// yrs could not take an update that was valid and had all it depends on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntegrateError {
    /// It panicked; the document must be rebuilt.
    #[error("yrs panicked: {0}")]
    Panicked(String),
    /// It refused or set aside the update.
    #[error("yrs refused: {0}")]
    Refused(String),
    /// An earlier update had killed the document.
    #[error("the document was given up after an earlier failure")]
    Dead,
}

impl Live {
    /// An empty document. `keeps_deleted` turns garbage collection off.
    pub fn new(keeps_deleted: bool) -> Self {
        // weft never writes, so any client id does; this one is the least likely to be a person's.
        let mut options = Options::with_client_id(ClientID::new(SAFE_INTEGER_MAX));
        options.offset_kind = OffsetKind::Utf16;
        options.skip_gc = keeps_deleted;
        // The server adds nothing of its own, not even tidying deletes.
        options.cleanup_formatting = false;
        Self { doc: Some(Doc::with_options(options)), keeps_deleted }
    }

    /// Integrates updates that have passed the gate, in order.
    ///
    /// # Errors
    /// After any error this value answers nothing any more.
    pub fn integrate(&mut self, updates: impl IntoIterator<Item = Bytes>) -> Result<(), IntegrateError> {
        let mut together = Vec::new();
        let mut bytes = 0;
        for update in updates {
            if !self.keeps_deleted && has_subdocument(&update) {
                self.commit(&together)?;
                together.clear();
                bytes = 0;
                self.keep_deleted()?;
            }
            if needs_steps(&update) {
                self.commit(&together)?;
                together.clear();
                bytes = 0;
                for step in steps(&update).map_err(refused)? {
                    self.commit(&[step.into()])?;
                }
                continue;
            }
            if together.len() == INTEGRATE_UPDATES_MAX || bytes + update.len() > INTEGRATE_BYTES_MAX {
                self.commit(&together)?;
                together.clear();
                bytes = 0;
            }
            bytes += update.len();
            together.push(update);
        }
        self.commit(&together)
    }

    /// A document that contains a sub-document is never garbage-collected by yrs again (DEPENDENCIES, safe use 3).
    fn keep_deleted(&mut self) -> Result<(), IntegrateError> {
        let state = self.state()?;
        *self = Self::new(true);
        self.integrate([state.into()])
    }

    /// Integrates updates in one transaction.
    fn commit(&mut self, updates: &[Bytes]) -> Result<(), IntegrateError> {
        if updates.is_empty() {
            return Ok(());
        }
        self.guarded(|doc| {
            let mut txn = ManuallyDrop::new(doc.transact_mut());
            for update in updates {
                let update = Update::decode_v1(update).map_err(refused)?;
                txn.apply_update(update).map_err(refused)?;
            }
            txn.commit();
            let complete = !txn.has_missing_updates();
            drop(ManuallyDrop::into_inner(txn));
            if complete { Ok(()) } else { Err(IntegrateError::Refused("it misses something".into())) }
        })
    }

    /// The whole state as one update.
    pub fn state(&mut self) -> Result<Vec<u8>, IntegrateError> {
        self.guarded(|doc| Ok(doc.transact().encode_diff_v1(&StateVector::default())))
    }

    /// Lets `read` look into the document.
    pub fn read<T>(&mut self, read: impl FnOnce(&Doc) -> T) -> Result<T, IntegrateError> {
        self.guarded(|doc| Ok(read(doc)))
    }

    fn guarded<T>(&mut self, work: impl FnOnce(&Doc) -> Result<T, IntegrateError>) -> Result<T, IntegrateError> {
        let doc = self.doc.take().ok_or(IntegrateError::Dead)?;
        let result = catch_unwind(AssertUnwindSafe(|| work(&doc))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(IntegrateError::Panicked(text.unwrap_or_else(|| "without a message".into())))
        });
        match result {
            Ok(_) => self.doc = Some(doc),
            // Its destructors may follow bad pointers.
            Err(_) => std::mem::forget(doc),
        }
        result
    }
}

/// Whether a validated update brings a sub-document.
fn has_subdocument(update: &[u8]) -> bool {
    let Ok((mut walker, sections)) = Walker::new(update) else { return false };
    for _ in 0..sections {
        let Ok(section) = walker.section() else { return false };
        let mut clock = section.clock;
        for _ in 0..section.structs {
            let Ok(item) = walker.next(section.client, clock) else { return false };
            if item.kind == Kind::Doc {
                return true;
            }
            clock = item.end();
        }
    }
    false
}

fn refused(error: impl std::fmt::Display) -> IntegrateError {
    IntegrateError::Refused(error.to_string())
}
