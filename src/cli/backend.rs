//! Who does what a command asks for: the server that runs on the data directory, over its admin API, or this process,
//! which opens the directory itself. Commands cannot tell the difference.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::admin_client::{AdminClient, Streamed};
use super::failure::Failure;
use super::{keys, now_ms, serve};
use crate::audit::{Audit, Entry};
use crate::auth::{Revocation, RevokeReport};
use crate::data_dir::{self, DataDir, DataDirError};
use crate::hub::{
    BackupPieces, CompactReport, DeleteReport, DocReport, DocSummary, Hub, HubOptions, ImportReport, ListQuery,
    StorageReport, VacuumProgress, VacuumReport, VerifyPage, VerifyQuery, VerifyReport,
};
use crate::ids::DocName;
use crate::limits::{LIST_MAX, WORKER_MEMORY};
use crate::worker::Isolation;

/// How long a directory may be locked without a server that answers: one that is starting or stopping, or another
/// command at work.
const BUSY_FOR: Duration = Duration::from_secs(5);
const BUSY_RETRY: Duration = Duration::from_millis(50);

/// Either way to the documents.
pub(super) enum Backend {
    /// A server runs on the directory.
    Online(AdminClient),
    /// Nobody does, so we do.
    Offline(Offline),
}

/// A data directory opened by this process.
pub(super) struct Offline {
    hub: Hub,
    /// Where what is done is recorded; opened by the first act.
    audit: Option<Audit>,
    /// Keeps others out.
    dir: DataDir,
}

impl Offline {
    /// Does something on the record: before it is begun, and what came of it.
    async fn act<T, E: Into<Failure>>(
        &mut self,
        act: &str,
        doc: Option<&DocName>,
        detail: Option<&str>,
        done: impl AsyncFnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, Failure> {
        if self.audit.is_none() {
            self.audit = Some(Audit::open(&data_dir::audit_dir(self.dir.path())).map_err(Failure::open)?);
        }
        let entry = Entry {
            who: format!("local user {}", rustix::process::getuid().as_raw()),
            act: act.to_owned(),
            doc: doc.map(|doc| doc.as_str().to_owned()),
            detail: detail.map(str::to_owned),
            ..Entry::default()
        };
        self.record(&entry, "begun")?;
        let outcome = done(self).await.map_err(Into::into);
        self.record(&entry, if outcome.is_ok() { "done" } else { "failed" })?;
        outcome
    }

    fn record(&self, entry: &Entry, result: &str) -> Result<(), Failure> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let entry = Entry { at: now_ms(), result: result.to_owned(), ..entry.clone() };
        audit.append(entry).map_err(Failure::open)
    }
}

/// What comes piece by piece.
pub(super) enum Pieces {
    /// From a server.
    Online(Streamed),
    /// From this process.
    Offline(BackupPieces),
}

impl Pieces {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Online(streamed) => streamed.next().await,
            Self::Offline(pieces) => Ok(pieces.next().await),
        }
    }
}

/// Keeps the directory locked.
pub(super) struct Closed {
    _dir: Option<DataDir>,
}

/// What to do about a data directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfAbsent {
    /// Make it.
    Create,
    /// Say so. A misspelt `--data` must not leave an empty directory behind.
    Fail,
}

impl Backend {
    /// Reaches the server on `data`, or else opens `data`.
    pub(super) async fn open(data: &Path, if_absent: IfAbsent) -> Result<Self, Failure> {
        Self::open_after(data, if_absent, |_| Ok(())).await
    }

    /// As [`Backend::open`]; if no server runs there, `look` sees the locked directory before anything in it is opened,
    /// and may decide that nothing shall be.
    pub(super) async fn open_after(
        data: &Path,
        if_absent: IfAbsent,
        mut look: impl FnMut(&DataDir) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        if if_absent == IfAbsent::Fail && !data_dir::exists(data) {
            let data = data.display();
            return Err(Failure::open(format!("{data} is not a weft data directory; name the right one with --data")));
        }
        let started = Instant::now();
        loop {
            let refused = match DataDir::open(data) {
                Ok(dir) => {
                    look(&dir)?;
                    let options = HubOptions {
                        quarantine: Some(dir.quarantine()),
                        isolation: Isolation::in_this_program(WORKER_MEMORY),
                        ..HubOptions::default()
                    };
                    let hub = serve::open_hub(&dir, options).await.map_err(Failure::open)?;
                    return Ok(Self::Offline(Offline { hub, audit: None, dir }));
                }
                Err(locked @ DataDirError::Locked { .. }) => match data_dir::admin_of(data) {
                    Some(admin) => match AdminClient::connect(&admin).await {
                        Ok(client) => return Ok(Self::Online(client)),
                        Err(refused) => refused,
                    },
                    None => Failure::open(locked),
                },
                Err(other) => return Err(Failure::open(other)),
            };
            if started.elapsed() > BUSY_FOR {
                return Err(refused);
            }
            tokio::time::sleep(BUSY_RETRY).await;
        }
    }

    /// Verifies some documents, and says where to go on.
    pub(super) async fn verify(&mut self, query: VerifyQuery) -> Result<VerifyPage, Failure> {
        match self {
            Self::Online(client) => client.verify(&query).await,
            Self::Offline(Offline { hub, .. }) if !query.repair => Ok(hub.verify(query).await?),
            Self::Offline(offline) => {
                offline.act("repair", None, None, async |offline| offline.hub.verify(query).await).await
            }
        }
    }

    /// Verifies one document.
    pub(super) async fn verify_document(&mut self, doc: &DocName, repair: bool) -> Result<VerifyReport, Failure> {
        match self {
            Self::Online(client) => client.verify_document(doc, repair).await,
            Self::Offline(Offline { hub, .. }) if !repair => Ok(hub.verify_document(doc, false).await?),
            Self::Offline(offline) => {
                let repaired = async |offline: &Offline| offline.hub.verify_document(doc, true).await;
                offline.act("repair", Some(doc), None, repaired).await
            }
        }
    }

    /// Documents by name, at most `limit`.
    pub(super) async fn list(&mut self, prefix: &str, limit: Option<usize>) -> Result<Vec<DocSummary>, Failure> {
        self.find(ListQuery { prefix: prefix.to_owned(), limit, ..ListQuery::default() }).await
    }

    /// Documents, or tombstones, by name.
    pub(super) async fn find(&mut self, query: ListQuery) -> Result<Vec<DocSummary>, Failure> {
        match self {
            Self::Online(client) => client.list(query).await,
            Self::Offline(Offline { hub, .. }) => Ok(hub.list(query).await?),
        }
    }

    /// Deletes a document; durable once this returns.
    pub(super) async fn delete(&mut self, doc: &DocName) -> Result<DeleteReport, Failure> {
        match self {
            Self::Online(client) => client.delete(doc).await,
            Self::Offline(offline) => {
                offline.act("delete", Some(doc), None, async |offline| offline.hub.delete(doc).await).await
            }
        }
    }

    /// One page of what is asked for: at most what one call may carry.
    pub(super) async fn page(&mut self, query: &ListQuery) -> Result<Vec<DocSummary>, Failure> {
        let query = ListQuery { limit: Some(query.limit.unwrap_or(LIST_MAX).min(LIST_MAX)), ..query.clone() };
        match self {
            Self::Online(client) => Ok(client.page(&query).await?.docs),
            Self::Offline(Offline { hub, .. }) => Ok(hub.list(query).await?),
        }
    }

    /// What is stored, live and dead.
    pub(super) async fn storage(&mut self) -> Result<StorageReport, Failure> {
        match self {
            Self::Online(client) => client.storage().await,
            Self::Offline(Offline { hub, .. }) => Ok(hub.storage().await?),
        }
    }

    /// Gives disk space back; `told` hears how far that has come.
    pub(super) async fn vacuum(
        &mut self,
        dry_run: bool,
        told: impl Fn(VacuumProgress) + Send + 'static,
    ) -> Result<VacuumReport, Failure> {
        match self {
            Self::Online(client) => client.vacuum(dry_run, told).await,
            Self::Offline(offline) => {
                let watch = move |progress| {
                    told(progress);
                    ControlFlow::Continue(())
                };
                if dry_run {
                    return Ok(offline.hub.vacuum(true, watch).await?);
                }
                offline.act("vacuum", None, None, async |offline| offline.hub.vacuum(false, watch).await).await
            }
        }
    }

    /// All about one document.
    pub(super) async fn show(&mut self, doc: &DocName) -> Result<DocReport, Failure> {
        match self {
            Self::Online(client) => client.show(doc).await,
            Self::Offline(Offline { hub, .. }) => Ok(hub.show(doc).await?),
        }
    }

    /// The whole state as one update.
    pub(super) async fn update(&mut self, doc: &DocName) -> Result<Bytes, Failure> {
        match self {
            Self::Online(client) => client.update(doc).await,
            Self::Offline(Offline { hub, .. }) => Ok(hub.encode(doc, None).await?),
        }
    }

    /// The shared types, as JSON text.
    pub(super) async fn content(&mut self, doc: &DocName) -> Result<Bytes, Failure> {
        match self {
            Self::Online(client) => client.content(doc).await,
            Self::Offline(Offline { hub, .. }) => Ok(hub.content(doc).await?.to_string().into()),
        }
    }

    /// The text of the document's text types, UTF-8.
    pub(super) async fn text(&mut self, doc: &DocName) -> Result<Bytes, Failure> {
        match self {
            Self::Online(client) => client.text(doc).await,
            Self::Offline(Offline { hub, .. }) => Ok(hub.text(doc).await?.into()),
        }
    }

    /// Merges an update; durable once this returns.
    pub(super) async fn import(&mut self, doc: &DocName, update: Bytes) -> Result<ImportReport, Failure> {
        match self {
            Self::Online(client) => client.import(doc, update).await,
            Self::Offline(offline) => {
                offline.act("import", Some(doc), None, async |offline| offline.hub.import(doc, update).await).await
            }
        }
    }

    /// Folds the document's log into a snapshot.
    pub(super) async fn compact(&mut self, doc: &DocName, dry_run: bool) -> Result<CompactReport, Failure> {
        match self {
            Self::Online(client) => client.compact(doc, dry_run).await,
            Self::Offline(Offline { hub, .. }) if dry_run => Ok(hub.compact(doc, true).await?),
            Self::Offline(offline) => {
                offline.act("compact", Some(doc), None, async |offline| offline.hub.compact(doc, false).await).await
            }
        }
    }

    /// Begins a backup of all documents as they are at one instant.
    pub(super) async fn backup(&mut self) -> Result<Pieces, Failure> {
        match self {
            Self::Online(client) => Ok(Pieces::Online(client.backup().await?)),
            Self::Offline(offline) => {
                let begin = async |offline: &Offline| {
                    Ok::<_, Failure>(offline.hub.backup(keys::revoked_bytes(offline.dir.path())?).await?)
                };
                Ok(Pieces::Offline(offline.act("backup", None, None, begin).await?))
            }
        }
    }

    /// Takes back the tokens of a subject; durable once this returns.
    pub(super) async fn revoke(&mut self, subject: &str, doc: Option<&DocName>) -> Result<RevokeReport, Failure> {
        match self {
            Self::Online(client) => client.revoke(subject, doc).await,
            Self::Offline(offline) => {
                let revoke = async |offline: &Offline| {
                    let revoked = keys::revocations(offline.dir.path())?.revoke(subject, doc, keys::now_s());
                    let Revocation { subject, doc, at_s } = revoked.map_err(Failure::found)?;
                    Ok::<_, Failure>(RevokeReport { subject, doc, at_s, closed: 0 })
                };
                offline.act("revoke", doc, Some(subject), revoke).await
            }
        }
    }

    /// Makes everything durable. The directory stays locked until [`Closed`] is dropped, which must be after the
    /// runtime's end: the hub's own tasks keep the store open until then.
    pub(super) async fn close(self) -> (Closed, Result<(), Failure>) {
        match self {
            Self::Online(_) => (Closed { _dir: None }, Ok(())),
            Self::Offline(Offline { hub, dir, .. }) => {
                let drained = hub.drain().await.map_err(Failure::from);
                (Closed { _dir: Some(dir) }, drained)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    use crate::data_dir::AdminFile;
    use crate::server::{Address, AdminOptions, AdminServer, DrainFlag, Sessions};

    /// `Y.Text` "t" with the content "weft", by client 1.
    const WEFT: &[u8] = &[1, 1, 1, 0, 4, 1, 1, b't', 4, b'w', b'e', b'f', b't', 0];

    fn doc(name: &str) -> DocName {
        DocName::parse(name).expect("a valid name")
    }

    /// Every call there is, with what must come of it.
    async fn does_everything(backend: &mut Backend) {
        for name in ["notes/a b", "notes/ä?%2F", "other"] {
            let report = backend.import(&doc(name), Bytes::from_static(WEFT)).await.expect("imports");
            assert_eq!((report.offered_bytes, report.parked_bytes), (WEFT.len() as u64, 0));
            assert!(report.accepted_bytes > 0);
            let again = backend.import(&doc(name), Bytes::from_static(WEFT)).await.expect("imports");
            assert_eq!(again.accepted_bytes, 0);
        }
        let names = |listed: Vec<DocSummary>| listed.into_iter().map(|d| d.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(backend.list("", None).await.expect("lists")), ["notes/a b", "notes/ä?%2F", "other"]);
        assert_eq!(names(backend.list("notes/", Some(1)).await.expect("lists")), ["notes/a b"]);
        let d = doc("notes/ä?%2F");
        let report = backend.show(&d).await.expect("shows");
        assert_eq!((report.state_vector, report.clients), (vec![(1, 4)], 1));
        assert_eq!(report.roots, [("t".to_owned(), "text".to_owned())]);
        assert_eq!(backend.update(&d).await.expect("exports"), WEFT);
        assert_eq!(backend.text(&d).await.expect("exports"), "weft");
        let content: serde_json::Value =
            serde_json::from_slice(&backend.content(&d).await.expect("exports")).expect("is JSON");
        assert_eq!(content, serde_json::json!({ "t": "weft" }));
        let dry = backend.compact(&d, true).await.expect("compacts");
        let wet = backend.compact(&d, false).await.expect("compacts");
        assert_eq!((dry.written, wet.written), (false, true));
        assert_eq!(dry.snapshot_bytes_after, wet.snapshot_bytes_after);

        let deleted = backend.delete(&doc("other")).await.expect("deletes");
        assert_eq!((deleted.name, deleted.peers), (doc("other"), 0));
        let gone = backend.delete(&doc("other")).await.expect_err("is gone");
        assert!(!gone.concerns_all_documents() && gone.text.contains("was deleted on 20"), "{gone}");
        assert_eq!(backend.update(&doc("other")).await, Err(gone.clone()));
        assert_eq!(backend.show(&doc("other")).await.expect_err("is gone"), gone);
        assert_eq!(backend.compact(&doc("other"), false).await.expect_err("is gone"), gone);
        let tombstones =
            backend.find(ListQuery { deleted: true, ..ListQuery::default() }).await.expect("lists tombstones");
        assert_eq!(tombstones[0].deleted_ms, Some(deleted.deleted_ms));
        assert_eq!(
            (names(tombstones), backend.list("", None).await.map(|d| d.len())),
            (vec!["other".to_owned()], Ok(2))
        );
        let again = backend.import(&doc("other"), Bytes::from_static(WEFT)).await.expect("imports");
        assert!(again.recreated);
        assert_eq!(backend.update(&doc("other")).await.expect("exports"), WEFT);
        let never = backend.delete(&doc("nope")).await.expect_err("is not there");
        assert!(!never.concerns_all_documents() && never.text.contains("weft ls"), "{never}");
        assert_eq!(backend.list("", None).await.map(|d| d.len()), Ok(3), "and everything is in the store");
        let stored = backend.storage().await.expect("measures");
        assert_eq!((stored.documents, stored.dead_bytes), (3, stored.disk_bytes - stored.live_bytes));
        assert!(stored.live_bytes > 100, "{stored:?}");
        let dry = backend.vacuum(true, |_| {}).await.expect("vacuums");
        let wet = backend.vacuum(false, |_| {}).await.expect("vacuums");
        assert_eq!((dry.dry_run, wet.dry_run, dry.documents, wet.documents), (true, false, 3, 3));
        assert_eq!((wet.damaged_records, wet.live_bytes_after), (0, stored.live_bytes));
        assert_eq!(backend.text(&d).await.expect("exports"), "weft");

        let missing = backend.show(&doc("nope")).await.expect_err("is not there");
        assert!(!missing.concerns_all_documents() && missing.text.contains("weft ls"), "{missing}");
        let garbage = backend.import(&d, Bytes::from_static(b"garbage")).await.expect_err("is refused");
        assert!(!garbage.concerns_all_documents() && garbage.text.contains("v1"), "{garbage}");
    }

    #[test]
    fn offline() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for if_absent in [IfAbsent::Create, IfAbsent::Fail] {
            let runtime = serve::runtime().expect("starts");
            let closed = runtime.block_on(async {
                let mut backend = Backend::open(dir.path(), if_absent).await.expect("opens");
                match if_absent {
                    IfAbsent::Create => does_everything(&mut backend).await,
                    IfAbsent::Fail => assert_eq!(backend.list("", None).await.expect("lists").len(), 3),
                }
                let (closed, result) = backend.close().await;
                result.expect("drains");
                closed
            });
            runtime.shutdown_timeout(serve::RUNTIME_END);
            drop(closed);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn online() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut data = DataDir::open(dir.path()).expect("opens");
        let hub = serve::open_hub(&data, HubOptions::default()).await.expect("opens");
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let options = AdminOptions {
            credential: "secret".to_owned(),
            authority: None,
            drain: Duration::ZERO,
            revoked: Arc::new(|| Ok(Vec::new())),
            reloads: Arc::default(),
            webhook: None,
            audit: None,
            tls: None,
        };
        let server = AdminServer::start(
            Address::take(loopback).expect("a free port"),
            &options,
            hub.clone(),
            Sessions::default(),
            DrainFlag::default(),
        )
        .expect("listens");
        let admin = server.local_addr();
        let file = AdminFile { listen: admin, admin, credential: "secret".to_owned(), pid: std::process::id() };
        data.announce(&file).expect("announces");
        let mut backend = Backend::open(dir.path(), IfAbsent::Fail).await.expect("reaches the server");
        assert!(matches!(backend, Backend::Online(_)));
        does_everything(&mut backend).await;

        data.announce(&AdminFile { credential: "wrong".to_owned(), ..file }).expect("announces");
        let mut stranger = Backend::open(dir.path(), IfAbsent::Fail).await.expect("reaches the server");
        let refused = stranger.list("", None).await.expect_err("is refused");
        assert!(refused.concerns_all_documents(), "{refused}");
        hub.drain().await.expect("drains");
    }

    #[tokio::test]
    async fn a_misspelt_directory_is_not_made() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let misspelt = dir.path().join("wfet-data");
        let refused = Backend::open(&misspelt, IfAbsent::Fail).await.err().expect("refuses");
        assert!(refused.text.contains("--data"), "{refused}");
        assert!(!misspelt.exists());
    }
}
