//! What the public listener needs of the hub, as two small traits, so that sockets and sessions are tested without
//! documents.

use std::sync::Arc;

use bytes::Bytes;

use crate::hub::{Backlog, Hub, HubError, PeerHandle, PeerSink, Readiness};
use crate::ids::{Access, DocName};
use crate::wire::dialect::Address;
use crate::wire::message::ClientMessage;

/// The documents behind a listener.
pub trait Documents: Clone + Send + Sync + 'static {
    /// A session's hold on one document; dropping it leaves the document.
    type Peer: DocumentPeer;

    /// See [`Hub::join`].
    fn join(
        &self,
        doc: &DocName,
        access: Access,
        address: Address,
        sink: Arc<dyn PeerSink>,
    ) -> Result<Self::Peer, HubError>;

    /// See [`Hub::open`].
    fn open(&self, doc: &DocName) -> impl Future<Output = Result<(), HubError>> + Send;

    /// See [`Hub::exists`].
    fn exists(&self, doc: &DocName) -> impl Future<Output = Result<(), HubError>> + Send;

    /// See [`Hub::create`].
    fn create(&self, doc: &DocName) -> impl Future<Output = Result<(), HubError>> + Send;

    /// The whole state, see [`Hub::encode`].
    fn state(&self, doc: &DocName) -> impl Future<Output = Result<Bytes, HubError>> + Send;

    /// See [`Hub::merge`].
    fn merge(&self, doc: &DocName, update: Bytes) -> impl Future<Output = Result<(), HubError>> + Send;

    /// See [`Hub::readiness`].
    fn readiness(&self) -> Readiness;
}

/// One session's place in one document.
pub trait DocumentPeer: Send + Sync + 'static {
    /// See [`PeerHandle::send`]. A future that is dropped before it is ready has sent nothing.
    fn send(&self, message: ClientMessage<'_>) -> impl Future<Output = Result<(), HubError>> + Send;

    /// See [`PeerHandle::caught_up`].
    fn caught_up(&self, lost: bool);

    /// See [`PeerHandle::set_access`].
    fn set_access(&self, access: Access);

    /// See [`PeerHandle::said_too_much`].
    fn said_too_much(&self);

    /// See [`PeerHandle::note_backlog`].
    fn note_backlog(&self, backlog: Backlog);
}

impl Documents for Hub {
    type Peer = PeerHandle;

    fn join(
        &self,
        doc: &DocName,
        access: Access,
        address: Address,
        sink: Arc<dyn PeerSink>,
    ) -> Result<PeerHandle, HubError> {
        Hub::join(self, doc, access, address, sink)
    }

    fn open(&self, doc: &DocName) -> impl Future<Output = Result<(), HubError>> + Send {
        Hub::open(self, doc)
    }

    fn exists(&self, doc: &DocName) -> impl Future<Output = Result<(), HubError>> + Send {
        Hub::exists(self, doc)
    }

    fn create(&self, doc: &DocName) -> impl Future<Output = Result<(), HubError>> + Send {
        Hub::create(self, doc)
    }

    fn state(&self, doc: &DocName) -> impl Future<Output = Result<Bytes, HubError>> + Send {
        Hub::encode(self, doc, None)
    }

    async fn merge(&self, doc: &DocName, update: Bytes) -> Result<(), HubError> {
        Hub::merge(self, doc, update).await.map(drop)
    }

    fn readiness(&self) -> Readiness {
        Hub::readiness(self)
    }
}

impl DocumentPeer for PeerHandle {
    fn send(&self, message: ClientMessage<'_>) -> impl Future<Output = Result<(), HubError>> + Send {
        PeerHandle::send(self, message)
    }

    fn caught_up(&self, lost: bool) {
        PeerHandle::caught_up(self, lost);
    }

    fn set_access(&self, access: Access) {
        PeerHandle::set_access(self, access);
    }

    fn said_too_much(&self) {
        PeerHandle::said_too_much(self);
    }

    fn note_backlog(&self, backlog: Backlog) {
        PeerHandle::note_backlog(self, backlog);
    }
}
