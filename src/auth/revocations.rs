//! Which tokens were taken back before they expired.
//!
//! A revocation names a subject, and maybe one document; it concerns the tokens that were issued up to the second in which
//! it was made. It is remembered until the last of them must have expired, and no longer, so the list stays short. It is
//! on disk before it counts as made: a restart must not let anybody back in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::Holder;
use crate::ids::DocName;
use crate::limits::{REVOCATIONS_MAX, SUBJECT_BYTES_MAX, TOKEN_LEEWAY_S, TOKEN_LIFETIME_S_MAX};

/// Tokens of one subject that are not good any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// The `sub` of the tokens.
    #[serde(rename = "sub")]
    pub subject: String,
    /// Only what they open in this document; all, without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc: Option<DocName>,
    /// They were issued in this second or before, since 1970.
    #[serde(rename = "at")]
    pub at_s: u64,
}

/// What became of a revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeReport {
    /// The `sub` of the tokens.
    #[serde(rename = "sub")]
    pub subject: String,
    /// Only what they open in this document; all, without one.
    pub doc: Option<DocName>,
    /// They were issued in this second or before, since 1970.
    #[serde(rename = "at")]
    pub at_s: u64,
    /// Sessions that it closed.
    pub closed: u64,
}

impl Revocation {
    /// Whether it takes back what `holder` was granted in `doc`.
    pub fn concerns(&self, holder: &Holder, doc: &DocName) -> bool {
        holder.subject.as_deref() == Some(&*self.subject)
            && holder.issued_s <= self.at_s
            && self.doc.as_ref().is_none_or(|revoked| revoked == doc)
    }
}

/// Why a revocation was not made. Nothing has changed then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The subject is empty or too long.
    #[error("a subject has 1 to {SUBJECT_BYTES_MAX} bytes")]
    BadSubject,
    /// There are [`REVOCATIONS_MAX`] already.
    #[error(
        "{REVOCATIONS_MAX} revocations are remembered already; change the key instead, which ends all tokens at once"
    )]
    Full,
    /// It could not be written.
    #[error("the revocation could not be written: {0}")]
    NotSaved(String),
}

/// What the file of revocations looks like.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    version: u32,
    revocations: Vec<Revocation>,
}

const VERSION: u32 = 1;

/// Puts the whole list on disk; when it returns, it is there.
pub type Save = Box<dyn Fn(&[u8]) -> Result<(), String> + Send + Sync>;

/// When, by subject and document.
type Table = BTreeMap<String, BTreeMap<Option<DocName>, u64>>;

/// All revocations that still matter.
pub struct Revocations {
    table: RwLock<Table>,
    /// Held while the list is written, so that lists are written in the order in which they grow; never while it is read.
    save: Mutex<Save>,
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({} subjects)", self.read().len())
    }
}

impl Revocations {
    /// None yet, and none will be kept: for commands that only look.
    pub fn none() -> Self {
        Self::over(Table::new(), Box::new(|_| Err("there is no data directory".to_owned())))
    }

    /// Those in `bytes`, as `save` has last been given them; `None` when nothing has been saved yet.
    ///
    /// # Errors
    /// When the bytes are damaged. To go on without them would let revoked tokens in again.
    pub fn load(bytes: Option<&[u8]>, save: Save) -> Result<Self, String> {
        Ok(Self::over(bytes.map(read).transpose()?.unwrap_or_default(), save))
    }

    /// Replaces them by those in `bytes`, which somebody else has written where `save` writes.
    ///
    /// # Errors
    /// As [`Revocations::load`], and when there are none any more though there were some. They stay as they are then.
    pub fn reload(&self, bytes: Option<&[u8]>) -> Result<(), String> {
        // No revocation is made meanwhile, or the older list could replace the newer one.
        let _saving = self.saving();
        let table = match bytes {
            Some(bytes) => read(bytes)?,
            None if self.read().is_empty() => return Ok(()),
            None => return Err("it is gone".to_owned()),
        };
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(())
    }

    fn over(table: Table, save: Save) -> Self {
        Self { table: RwLock::new(table), save: Mutex::new(save) }
    }

    /// Takes back all tokens of `subject` that were issued until now, or what they open in `doc`. Durable on return.
    /// Blocks for the disk.
    ///
    /// # Errors
    /// See [`RevokeError`].
    pub fn revoke(&self, subject: &str, doc: Option<&DocName>, now_s: u64) -> Result<Revocation, RevokeError> {
        if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
            return Err(RevokeError::BadSubject);
        }
        let save = self.saving();
        let mut table = self.read().clone();
        forget_expired(&mut table, now_s);
        let at_s = {
            let at = table.entry(subject.to_owned()).or_default().entry(doc.cloned()).or_default();
            *at = now_s.max(*at);
            *at
        };
        if table.values().map(BTreeMap::len).sum::<usize>() > REVOCATIONS_MAX {
            return Err(RevokeError::Full);
        }
        let bytes = serde_json::to_vec_pretty(&OnDisk { version: VERSION, revocations: listed(&table) });
        save(&bytes.map_err(|error| RevokeError::NotSaved(error.to_string()))?).map_err(RevokeError::NotSaved)?;
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
        Ok(Revocation { subject: subject.to_owned(), doc: doc.cloned(), at_s })
    }

    /// Whether what `holder` was granted is taken back: everything, or what it had in `doc`.
    pub fn covers(&self, holder: &Holder, doc: Option<&DocName>) -> bool {
        let Some(subject) = holder.subject.as_deref() else { return false };
        let table = self.read();
        let Some(revoked) = table.get(subject) else { return false };
        let covers = |doc: Option<&DocName>| revoked.get(&doc.cloned()).is_some_and(|at_s| holder.issued_s <= *at_s);
        covers(None) || (doc.is_some() && covers(doc))
    }

    /// No code under these locks leaves what they guard half changed, so a poisoned one is as good.
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn saving(&self) -> MutexGuard<'_, Save> {
        self.save.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(bytes: &[u8]) -> Result<Table, String> {
    let OnDisk { version, revocations } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if version != VERSION {
        return Err(format!("it has version {version}, this weft knows {VERSION}"));
    }
    let mut table = Table::new();
    for Revocation { subject, doc, at_s } in revocations {
        table.entry(subject).or_default().insert(doc, at_s);
    }
    Ok(table)
}

fn listed(table: &Table) -> Vec<Revocation> {
    let of = |(subject, docs): (&String, &BTreeMap<Option<DocName>, u64>)| {
        let one = |(doc, at_s): (&Option<DocName>, &u64)| Revocation {
            subject: subject.clone(),
            doc: doc.clone(),
            at_s: *at_s,
        };
        docs.iter().map(one).collect::<Vec<_>>()
    };
    table.iter().flat_map(of).collect()
}

/// Drops revocations of tokens of which none can be good any more.
fn forget_expired(table: &mut Table, now_s: u64) {
    // Its bearer's clock may have been ahead when a token was issued, and ours is lenient when it ends.
    let remembered = TOKEN_LIFETIME_S_MAX + 3 * TOKEN_LEEWAY_S;
    table.retain(|_, docs| {
        docs.retain(|_, at_s| at_s.saturating_add(remembered) > now_s);
        !docs.is_empty()
    });
}
