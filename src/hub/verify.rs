//! Reads everything of a document, says what is wrong with it, and puts it right as far as that can be done.
//!
//! A document is verified on its own: its records one by one, then what they amount to, built anew beside whatever is
//! served, and compared with that. Nothing is removed by a repair whose bytes are not kept in quarantine first.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::checkpoint::now_ms;
use super::mailbox::Query;
use super::quarantine::{self, KeptUpdate, Kind, Label};
use super::{Hub, HubError, Inner};
use crate::ids::{DocName, Seq};
use crate::replica::{Census, Replica};
use crate::store::{DamagedRecord, Examined};
use crate::wire::update;

/// Which documents are verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyQuery {
    /// Names start with this.
    pub prefix: String,
    /// Names come after this one.
    pub after: Option<DocName>,
    /// At most so many.
    pub limit: usize,
    /// Whether what is wrong is put right.
    pub repair: bool,
}

/// What came of some documents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyPage {
    /// One each, also for those that are whole.
    pub docs: Vec<VerifyReport>,
    /// What to send as `after` for the next page; none on the last one.
    pub next: Option<DocName>,
    /// Files in quarantine that nobody has acknowledged; on the last page. A repair acknowledges them.
    pub kept: Vec<String>,
    /// Of those, the updates that break whoever integrates them.
    #[serde(default)]
    pub kept_updates: Vec<KeptUpdate>,
}

/// What verifying one document found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// The document.
    pub name: DocName,
    /// Updates that were read.
    pub updates: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is wrong, or was before the repair; empty of a whole document.
    pub problems: Vec<VerifyProblem>,
    /// Whether the document was put right.
    pub repaired: bool,
    /// Where the bytes of damaged records are kept now.
    pub kept_in: Vec<String>,
    /// Updates that were kept aside earlier and are back in the document.
    pub brought_back: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProblem {
    /// Where: which record, or which part of the document.
    pub what: String,
    /// What is wrong there.
    pub why: String,
}

impl VerifyProblem {
    fn new(what: impl Into<String>, why: impl ToString) -> Self {
        Self { what: what.into(), why: why.to_string() }
    }
}

/// A document as its records tell it.
struct Read {
    examined: Examined,
    /// Updates that make a document.
    good: Vec<Bytes>,
    /// Updates that no document can take.
    bad: Vec<(Bytes, String)>,
    census: Option<Census>,
}

impl Hub {
    /// Verifies documents in the order of their names, also those of which there are only pieces.
    ///
    /// # Errors
    /// Of storage; what is wrong with a document is none.
    pub async fn verify(&self, query: VerifyQuery) -> Result<VerifyPage, HubError> {
        self.inner.checkpoint_if_possible().await?;
        let VerifyQuery { prefix, after, limit, repair } = query;
        let (all, limit) = (prefix.is_empty(), limit.max(1));
        let asked = limit + 1;
        let mut names =
            self.inner.in_store(move |store| store.names_of_contents(&prefix, after.as_ref(), asked)).await?;
        let mut page = VerifyPage::default();
        if names.len() > limit {
            names.truncate(limit);
            page.next = names.last().cloned();
        }
        for name in &names {
            page.docs.push(self.verify_document(name, repair).await?);
        }
        if page.next.is_none() {
            page.kept = self.kept();
            page.kept_updates = self.kept_updates(&page.kept);
            if let Some(dir) = self.inner.options.quarantine.as_deref().filter(|_| repair && all) {
                quarantine::acknowledge(dir).map_err(|error| HubError::Storage(format!("the quarantine: {error}")))?;
            }
        }
        Ok(page)
    }

    /// Verifies one document.
    ///
    /// # Errors
    /// [`HubError::NoSuchDocument`] when there is nothing of it, and those of storage.
    pub async fn verify_document(&self, doc: &DocName, repair: bool) -> Result<VerifyReport, HubError> {
        let before = self.served(doc).await;
        self.inner.checkpoint_if_possible().await?;
        // A fold would change the records that are being looked at.
        let folds = self.inner.compactions.turn.lock().await;
        let read = self.inner.read_all(doc).await?;
        let nothing = read.examined.head.is_none() && read.good.is_empty() && read.examined.is_whole();
        if nothing && before.is_none() {
            return Err(HubError::NoSuchDocument(doc.clone()));
        }
        let mut problems: Vec<_> =
            read.examined.damaged.iter().map(|record| VerifyProblem::new(&*record.what, &record.why)).collect();
        problems.extend(read.examined.missing.iter().map(|why| VerifyProblem::new("the document", why)));
        problems.extend(read.bad.iter().map(|(_, why)| VerifyProblem::new("an update", why)));
        if let Some(before) = before.as_ref().filter(|_| problems.is_empty() && !self.inner.storage_has_failed()) {
            let after = self.served(doc).await;
            problems.extend(differences(before, after.as_ref(), read.census.as_ref()));
        }
        let mut report = VerifyReport {
            name: doc.clone(),
            updates: read.good.len() as u64,
            bytes: read.good.iter().map(|update| update.len() as u64).sum(),
            problems,
            repaired: false,
            kept_in: Vec::new(),
            brought_back: 0,
        };
        if repair && !report.problems.is_empty() {
            report.kept_in = self.inner.keep_damaged(doc, &read).await?;
            let mut updates = read.good;
            if before.is_some()
                && let Ok(served) = self.encode(doc, None).await
            {
                // What a running server still has in memory is not lost.
                updates.push(served);
            }
            self.inner.rebuild(doc, updates).await?;
            report.repaired = true;
            self.inner.reload(doc).await;
            warn!(?doc, problems = report.problems.len(), kept_in = ?report.kept_in, "document repaired");
        }
        drop(folds);
        if repair {
            report.brought_back = self.bring_back(doc).await?;
        }
        Ok(report)
    }

    /// Names of the files in quarantine that nobody has acknowledged: damage that was found, and bytes that were set
    /// aside. For a gauge and for `weft verify`.
    pub fn kept(&self) -> Vec<String> {
        self.inner.options.quarantine.as_deref().map(quarantine::unacknowledged).unwrap_or_default()
    }

    /// What is known of those of these files that are updates which break whoever integrates them.
    fn kept_updates(&self, names: &[String]) -> Vec<KeptUpdate> {
        let dir = self.inner.options.quarantine.as_deref();
        dir.map(|dir| quarantine::kept_updates(dir, names)).unwrap_or_default()
    }

    /// What the awake document has, if it is awake and answers.
    async fn served(&self, doc: &DocName) -> Option<Census> {
        if !self.inner.awake().contains_key(doc) {
            return None;
        }
        self.ask(doc, Query::Census).await.ok()
    }

    /// Merges what the journal held for a document that could not be stored then.
    async fn bring_back(&self, doc: &DocName) -> Result<u64, HubError> {
        let Some(dir) = self.inner.options.quarantine.as_deref() else { return Ok(0) };
        let kept = quarantine::kept_journal(dir, doc);
        let mut brought_back = 0;
        for update in kept {
            // One that is no update was never accepted.
            match self.import(doc, update).await {
                Ok(_) => brought_back += 1,
                Err(HubError::BadUpdate(why)) => warn!(?doc, why, "an update kept aside is refused"),
                Err(error) => return Err(error),
            }
        }
        if brought_back > 0 {
            info!(?doc, updates = brought_back, "updates kept aside are back");
        }
        Ok(brought_back)
    }
}

impl Inner {
    /// Reads a document and builds it anew, off the async threads.
    async fn read_all(self: &Arc<Self>, doc: &DocName) -> Result<Read, HubError> {
        let _turn = self.loads.acquire().await.map_err(|_| HubError::Draining)?;
        let name = doc.clone();
        self.in_store(move |store| {
            let examined = store.examine(&name)?;
            let (good, bad) = sift(examined.updates.clone());
            let census = load(&good).ok().map(|replica| replica.census());
            Ok(Read { examined, good, bad, census })
        })
        .await
    }

    async fn keep_damaged(self: &Arc<Self>, doc: &DocName, read: &Read) -> Result<Vec<String>, HubError> {
        let Some(dir) = self.options.quarantine.clone() else {
            return Err(HubError::Storage("there is no quarantine to keep damaged records in".to_owned()));
        };
        let (doc, records) = (doc.clone(), read.examined.damaged.clone());
        let bad = read.bad.iter().map(|(update, why)| DamagedRecord {
            what: "an update".to_owned(),
            key: Vec::new(),
            why: why.clone(),
            bytes: update.to_vec(),
        });
        let records: Vec<DamagedRecord> = records.into_iter().chain(bad).collect();
        let kept = tokio::task::spawn_blocking(move || {
            let keep = |record: &DamagedRecord| {
                let label = Label {
                    kind: Kind::Record,
                    document: doc.clone(),
                    key: record.key.iter().map(|byte| format!("{byte:02x}")).collect(),
                    why: format!("{}: {}", record.what, record.why),
                    updates: Vec::new(),
                    senders: Vec::new(),
                };
                quarantine::keep(&dir, &label, &[&record.bytes]).map(|path| path.display().to_string())
            };
            records.iter().map(keep).collect::<std::io::Result<Vec<String>>>()
        });
        match kept.await {
            Ok(kept) => kept.map_err(|error| HubError::Storage(error.to_string())),
            Err(panic) => Err(HubError::Storage(panic.to_string())),
        }
    }

    /// Makes `updates` the whole document.
    async fn rebuild(self: &Arc<Self>, doc: &DocName, updates: Vec<Bytes>) -> Result<(), HubError> {
        let (name, inner) = (doc.clone(), self.clone());
        self.in_store(move |store| {
            // As small as a snapshot should be, if the proof that nothing is lost by that succeeds.
            let log = || Ok(updates.iter().map(|update| (None, update.clone())).collect());
            let folded = inner.fold_log(&name, log).map(|folded| folded.updates);
            // Positions begin anew.
            inner.senders.forget(&name, Seq(u64::MAX));
            store.rebuild(&name, folded.unwrap_or(updates), now_ms())
        })
        .await
    }

    /// Ends the life of an awake document, so that it begins a new one from the store.
    async fn reload(self: &Arc<Self>, doc: &DocName) {
        let Some(mailbox) = self.awake().get(doc).cloned() else { return };
        if !self.storage_has_failed() {
            mailbox.recovered();
        }
        let (reply, answer) = tokio::sync::oneshot::channel();
        if mailbox.post(super::mailbox::Mail::Query(Query::Reload(reply))).is_ok() {
            // It ends without an answer.
            let _ = answer.await;
        }
    }
}

fn load(updates: &[Bytes]) -> Result<Replica, crate::replica::LoadError> {
    Replica::load(updates.iter().map(|update| &update[..]), Seq(updates.len() as u64))
}

/// Tells updates that make a document from those that no document can take.
fn sift(updates: Vec<Bytes>) -> (Vec<Bytes>, Vec<(Bytes, String)>) {
    let (mut good, mut bad) = (Vec::with_capacity(updates.len()), Vec::new());
    for update in updates {
        match update::validate(&update) {
            Ok(()) => good.push(update),
            Err(error) => bad.push((update, error.to_string())),
        }
    }
    while let Err(error) = load(&good) {
        // The shortest beginning that does not load ends with one that cannot be taken.
        let (mut loads, mut fails) = (0, good.len());
        while fails - loads > 1 {
            let middle = loads + (fails - loads) / 2;
            match load(good.get(..middle).unwrap_or_default()) {
                Ok(_) => loads = middle,
                Err(_) => fails = middle,
            }
        }
        bad.push((good.remove(fails - 1), error.to_string()));
    }
    (good, bad)
}

/// How what is served differs from what is stored. `before` and `after` were asked before and after the records were
/// read; edits in between may be in either.
fn differences(before: &Census, after: Option<&Census>, stored: Option<&Census>) -> Vec<VerifyProblem> {
    let Some(stored) = stored else { return vec![VerifyProblem::new("the document", "it cannot be built anew")] };
    let problem = |why: String| VerifyProblem::new("what is served", why);
    if after.is_some_and(|after| (&after.clocks, after.deleted_ticks) == (&before.clocks, before.deleted_ticks)) {
        // A snapshot may name more deletions than the updates it was folded from (see `replica::compaction`), never fewer.
        let same = stored.clocks == before.clocks && stored.deleted_ticks >= before.deleted_ticks;
        return if same { Vec::new() } else { vec![problem("it differs from what its records amount to".to_owned())] };
    }
    let lacking = before.clocks.iter().find(|(client, clock)| stored.clocks.get(client).unwrap_or(&0) < clock);
    lacking.map(|(client, _)| problem(format!("edits of client {} are not stored", client.0))).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Y.Text` "t" with the content "weft", by client 1.
    const WEFT: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 4, b'w', b'e', b'f', b't', 0];

    #[test]
    fn updates_that_no_document_takes_are_told_from_the_others() {
        let good = Bytes::from_static(WEFT);
        let (kept, bad) = sift(vec![Bytes::from_static(b"rubbish"), good.clone(), Bytes::from_static(&[9, 9])]);
        assert_eq!(kept, [good]);
        assert_eq!(bad.len(), 2);
    }
}
