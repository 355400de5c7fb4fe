//! The sessions that are open, so that others than their own tasks can end them: a drain all of them, a revocation some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::outbox::Outbox;
use crate::auth::{Holder, Revocation};
use crate::hub::PeerSink;
use crate::ids::{ConnId, DocName};
use crate::wire::close::CloseReason;

/// The sessions of the public listener, as both listeners know them. A clone shares them.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Registry>);

#[derive(Default)]
struct Registry {
    open: Mutex<Open>,
    empty: Notify,
}

#[derive(Default)]
struct Open {
    by_id: HashMap<ConnId, Entry>,
    last_id: u64,
    draining: bool,
}

/// One session. There may be a hundred thousand of them, so what is here is shared or small.
struct Entry {
    outbox: Arc<Outbox>,
    doc: DocName,
    /// To whom the document is open in it.
    holder: Holder,
}

impl Sessions {
    /// Enters a session until the guard is dropped. One that comes while draining is closed at once.
    pub(super) fn register(&self, outbox: Arc<Outbox>, doc: DocName, holder: Holder) -> Registered {
        let mut open = self.open();
        if open.draining {
            outbox.close(CloseReason::Restart);
        }
        open.last_id += 1;
        let id = ConnId(open.last_id);
        open.by_id.insert(id, Entry { outbox, doc, holder });
        drop(open);
        Registered { sessions: self.clone(), id }
    }

    /// Closes every session to which what `revocation` takes back was granted, and says how many those were. A revocation
    /// of one document leaves the token good for others, so its code is another (WIRE §6).
    pub(super) fn revoke(&self, revocation: &Revocation) -> usize {
        let reason = if revocation.doc.is_some() { CloseReason::Forbidden } else { CloseReason::Unauthorized };
        let concerned: Vec<Arc<Outbox>> = {
            let open = self.open();
            let concerns = |entry: &&Entry| revocation.concerns(&entry.holder, &entry.doc);
            open.by_id.values().filter(concerns).map(|entry| entry.outbox.clone()).collect()
        };
        concerned.iter().for_each(|outbox| outbox.close(reason));
        concerned.len()
    }

    pub(super) fn len(&self) -> usize {
        self.open().by_id.len()
    }

    /// All that are open; later ones are closed as they come.
    pub(super) fn refuse_more(&self) -> Vec<Arc<Outbox>> {
        let mut open = self.open();
        open.draining = true;
        open.by_id.values().map(|entry| entry.outbox.clone()).collect()
    }

    pub(super) async fn all_gone(&self) {
        loop {
            let mut gone = std::pin::pin!(self.0.empty.notified());
            // Registered before the count is read, or the last session could leave unseen in between.
            gone.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            gone.await;
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session's place in [`Sessions`].
pub(super) struct Registered {
    sessions: Sessions,
    id: ConnId,
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut open = self.sessions.open();
        let entry = open.by_id.remove(&self.id);
        let empty = open.by_id.is_empty();
        drop(open);
        drop(entry);
        if empty {
            self.sessions.0.empty.notify_waiters();
        }
    }
}
