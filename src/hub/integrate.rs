//! What needs the updates integrated: folding a log, and reading what a document says. Done elsewhere ([`crate::worker`]),
//! and what breaks there is never integrated again.
//!
//! A document whose log breaks yrs goes on: it is served, written and stored as bytes as before, its log is folded without
//! yrs, and only what it says cannot be read. What broke it is kept in quarantine, which is also how a restart knows.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tracing::{error, info, warn};

use super::mailbox::Mail;
use super::quarantine::{self, Kind, Label, UNKNOWN_SENDER};
use super::{HubError, Inner};
use crate::ids::{DocName, PeerId, Seq};
use crate::replica::compaction::{self, Folded};
use crate::replica::content::Content;
use crate::worker::{Integrator, IntegratorError, Isolation, Workers};

/// All updates of a document, each with its position; `None` is a snapshot's.
pub(super) type WholeLog = Vec<(Option<Seq>, Bytes)>;

/// Integrates, and remembers what cannot be.
pub(super) struct Integration {
    integrator: Integrator,
    /// Documents that are not given to yrs any more.
    broken: Mutex<BTreeSet<DocName>>,
}

impl Integration {
    /// One that knows what lies in `quarantine`.
    pub(super) fn new(isolation: Isolation, quarantine: Option<&Path>) -> Self {
        let broken = quarantine.map(quarantine::broken_documents).unwrap_or_default();
        if !broken.is_empty() {
            info!(
                documents = broken.len(),
                "documents are not integrated any more, because of what lies in quarantine"
            );
        }
        Self { integrator: Integrator::new(isolation), broken: Mutex::new(broken) }
    }

    pub(super) fn workers(&self) -> Workers {
        self.integrator.workers()
    }

    /// To be called from time to time, so that an idle server is one process.
    pub(super) fn rest(&self) {
        self.integrator.rest();
    }

    fn broken(&self) -> MutexGuard<'_, BTreeSet<DocName>> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Folds the whole log of `doc`. Blocks. The log may be large, so it is not held while others work on it: `read` is asked
    /// again when it is needed again.
    pub(super) fn fold_log(
        &self,
        doc: &DocName,
        mut read: impl FnMut() -> Result<WholeLog, HubError>,
    ) -> Result<Folded, HubError> {
        let failed = |error: &dyn std::fmt::Display| HubError::cannot_compact(doc, error);
        if !self.integration.broken().contains(doc) {
            let updates = || match read() {
                Ok(log) => Ok(log.into_iter().map(|(_, update)| update).collect()),
                Err(error) => Err(error.to_string()),
            };
            match self.integration.integrator.fold(updates) {
                Ok(folded) => return Ok(folded),
                Err(IntegratorError::Breaks { at, why }) => {
                    self.blame(doc, read()?.get(at), &why);
                }
                Err(error @ (IntegratorError::Worker(_) | IntegratorError::Log(_))) => return Err(failed(&error)),
                // Authors who lie about what they have seen can make a document that depends on the order of reading.
                Err(error @ (IntegratorError::Fold(_) | IntegratorError::Refused(_))) => {
                    warn!(?doc, %error, "folded without the proof that it says the same");
                }
            }
        }
        compaction::squash(read()?.iter().map(|(_, update)| &update[..])).map_err(|error| failed(&error))
    }

    /// Reads the shared types of `doc`, whose whole state is `state`. Blocks.
    pub(super) fn read_content(&self, doc: &DocName, state: &Bytes) -> Result<Content, HubError> {
        let broken = |why: &str| HubError::CannotRead { doc: doc.clone(), why: why.to_owned() };
        if self.integration.broken().contains(doc) {
            return Err(broken("an update in it breaks whoever integrates it; see the quarantine"));
        }
        self.integration.integrator.read(state).map_err(|error| {
            if let IntegratorError::Breaks { why, .. } = &error {
                self.blame(doc, None, why);
            }
            broken(&error.to_string())
        })
    }

    /// Keeps what breaks yrs, and gives it nothing of the document any more. Without an update it is the document as a whole.
    /// Who sent it is noted, and sent away (WIRE §6) if it is still there and nobody else had a part in that record.
    fn blame(&self, doc: &DocName, update: Option<&(Option<Seq>, Bytes)>, why: &str) {
        let (seq, bytes) = match update {
            Some((seq, update)) => (*seq, update.clone()),
            None => (None, Bytes::new()),
        };
        let senders = seq.map(|seq| self.senders.of(doc, seq)).unwrap_or_default();
        let mut names: Vec<String> = senders.iter().map(|(_, sender)| sender.to_string()).collect();
        if names.is_empty() {
            names.push(UNKNOWN_SENDER.to_owned());
        }
        let label = Label {
            kind: Kind::Update,
            document: doc.clone(),
            key: String::new(),
            why: why.to_owned(),
            updates: seq.map(|seq| (seq, bytes.len() as u64)).into_iter().collect(),
            senders: names,
        };
        let kept = self.options.quarantine.as_deref().map(|dir| quarantine::keep_update(dir, &label, &bytes));
        let kept_in = match kept {
            Some(Ok(path)) => path.display().to_string(),
            Some(Err(error)) => format!("nowhere: {error}"),
            None => "nowhere".to_owned(),
        };
        error!(
            ?doc, %why, ?seq, bytes = bytes.len(), kept_in, senders = ?label.senders,
            "an update breaks whoever integrates it; the document goes on without being integrated"
        );
        self.stats.broken.add(1);
        self.integration.broken().insert(doc.clone());
        if let [(Some(peer), _)] = senders[..] {
            self.send_away(doc, peer);
        }
    }

    /// Takes no more writes of a peer, if it is still there.
    fn send_away(&self, doc: &DocName, peer: PeerId) {
        if let Some(mailbox) = self.awake().get(doc) {
            let _ = mailbox.post(Mail::Unacceptable(peer));
        }
    }
}
