//! Which documents are awake; one task feeds each one. (Skeleton of the interface; bodies are being written.)

pub mod admin;
pub mod peer;

use std::sync::Arc;

use crate::ids::DocName;
use crate::journal::Journal;
use crate::store::Store;

pub use admin::{CompactReport, DocReport, DocSummary, ImportReport, ListQuery};
pub use peer::{Delivery, FrameKind, PeerHandle, PeerSink};

/// Everything that wakes, feeds and puts to sleep documents. Cheap to clone.
#[derive(Clone)]
pub struct Hub {}

/// How the hub behaves; every field has a flag of `weft serve`.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// A document without peers sleeps after this.
    pub idle_after: std::time::Duration,
}

/// Why the hub could not do what was asked. A variant exists where a caller branches on it.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// Nothing is stored under this name.
    #[error("document {0:?} does not exist")]
    NoSuchDocument(DocName),
    /// The server is draining.
    #[error("the server is shutting down")]
    Draining,
    /// Storage failed; only a restart leaves this state (S7).
    #[error("storage failed: {0}")]
    Storage(String),
    /// The bytes offered are not an acceptable update.
    #[error("the update is refused: {0}")]
    BadUpdate(String),
}

/// Whether new edits can be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// All is well.
    Ready,
    /// Shutting down.
    Draining,
    /// Storage failed, with the cause.
    StorageFailed(String),
}

impl Hub {
    /// Starts with an opened journal and store; call within a tokio runtime.
    pub fn start(_journal: Journal, _store: Arc<dyn Store>, _options: HubOptions) -> Hub {
        unimplemented!()
    }
    /// Joins a document, waking it if it sleeps. What it has to say arrives at `sink`.
    pub async fn join(&self, _doc: DocName, _sink: Arc<dyn PeerSink>) -> Result<PeerHandle, HubError> {
        unimplemented!()
    }
    /// For `/ready`.
    pub fn readiness(&self) -> Readiness {
        unimplemented!()
    }
    /// Lists stored documents.
    pub async fn list(&self, _query: ListQuery) -> Result<Vec<DocSummary>, HubError> {
        unimplemented!()
    }
    /// All about one document.
    pub async fn show(&self, _doc: &DocName) -> Result<DocReport, HubError> {
        unimplemented!()
    }
    /// The diff that answers state vector `sv` (v1 bytes); the whole state without one.
    pub async fn encode(&self, _doc: &DocName, _sv: Option<bytes::Bytes>) -> Result<bytes::Bytes, HubError> {
        unimplemented!()
    }
    /// The state vector, v1 bytes.
    pub async fn state_vector(&self, _doc: &DocName) -> Result<bytes::Bytes, HubError> {
        unimplemented!()
    }
    /// The shared types as JSON.
    pub async fn content(&self, _doc: &DocName) -> Result<serde_json::Value, HubError> {
        unimplemented!()
    }
    /// The text of the document's text types.
    pub async fn text(&self, _doc: &DocName) -> Result<String, HubError> {
        unimplemented!()
    }
    /// Merges an update (creating the document if need be); returns when durable.
    pub async fn import(&self, _doc: DocName, _update: bytes::Bytes) -> Result<ImportReport, HubError> {
        unimplemented!()
    }
    /// Folds the document's log into a snapshot; with `dry_run` only says what it would do.
    pub async fn compact(&self, _doc: &DocName, _dry_run: bool) -> Result<CompactReport, HubError> {
        unimplemented!()
    }
    /// Refuses new work, makes everything durable, carries the journal into the store.
    pub async fn drain(&self) -> Result<(), HubError> {
        unimplemented!()
    }
}
