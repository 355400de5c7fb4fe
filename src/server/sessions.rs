//! The sessions that are open, so that others than their own tasks can look at them and end them: a drain all of them, an
//! admin one, a revocation some.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::Notify;

use super::accounts::Full;
use super::outbox::{Ended, Outbox, Place, Traffic};
use super::spending::{OverBudget, Per};
use crate::auth::{Authority, Holder, Revocation};
use crate::hub::PeerSink;
use crate::ids::{ConnId, DocName};
use crate::metrics::Counter;
use crate::wire::close::CloseReason;
use crate::wire::dialect::Dialect;

/// The sessions of the public listener, as both listeners know them. A clone shares them.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Registry>);

#[derive(Default)]
struct Registry {
    open: Mutex<Open>,
    empty: Notify,
    /// Clients that were let in.
    let_in: Counter,
    /// Clients whose token was no good.
    denied: Counter,
    /// Connections turned away because there were too many.
    over_the_cap: Counter,
    /// Handshakes and document names that were no good.
    no_good: Counter,
    /// Connections that did not come to a request in time.
    too_slow: Counter,
    /// Handshakes and requests of pages from elsewhere.
    foreign: Counter,
    over_budget: Arc<OverBudget>,
}

#[derive(Default)]
struct Open {
    by_id: BTreeMap<ConnId, Entry>,
    last_id: u64,
    draining: bool,
    /// What went through sessions that have ended.
    ended: Traffic,
    /// How many ended so.
    disconnects: BTreeMap<(u16, &'static str), u64>,
}

/// One session. There may be a hundred thousand of them, so what is here is shared or small.
struct Entry {
    outbox: Arc<Outbox>,
    within: Within,
    remote: Option<SocketAddr>,
    /// Milliseconds since 1970.
    since_ms: u64,
}

/// Which documents a session is in.
enum Within {
    /// None yet, or none any more.
    Nothing,
    /// The only one that it can be in.
    One(Visit),
    /// Several, each with a sink of its own.
    Many(BTreeMap<Place, (Visit, Arc<dyn PeerSink>)>),
}

/// A session in one document.
struct Visit {
    doc: DocName,
    /// To whom the document is open in it.
    holder: Holder,
}

impl Within {
    fn visits(&self) -> impl Iterator<Item = &Visit> {
        let (one, many) = match self {
            Within::Nothing => (None, None),
            Within::One(visit) => (Some(visit), None),
            Within::Many(visits) => (None, Some(visits)),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(_, (visit, _))| visit))
    }
}

/// One session, for admins.
#[derive(Debug, Serialize)]
pub(super) struct Connection {
    /// Never given twice while the server runs.
    pub(super) id: u64,
    /// The document, if it is in exactly one.
    doc: Option<DocName>,
    /// All documents that it is in.
    docs: Vec<Visited>,
    /// Where it comes from, as far as declared proxies say; with port 0 where they do not say that.
    remote: Option<SocketAddr>,
    /// What its client speaks, once it has spoken.
    dialect: Option<&'static str>,
    since_ms: u64,
    received_bytes: u64,
    received_messages: u64,
    sent_bytes: u64,
    sent_messages: u64,
    /// Bytes that wait for its socket.
    waiting_bytes: u64,
    /// The subject of its token, if it has one and is in one document.
    user: Option<Arc<str>>,
    /// It reads too slowly and will get one diff instead of what was dropped.
    behind: bool,
    /// The code it is being closed with.
    closing: Option<u16>,
}

/// A document that a session is in, for admins.
#[derive(Debug, Serialize)]
struct Visited {
    doc: DocName,
    /// The subject of the token that opened it, if it has one.
    user: Option<Arc<str>>,
}

/// Which sessions to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ConnectionQuery {
    /// Only those in this document.
    pub(super) doc: Option<DocName>,
    /// Only those with a larger id; for paging.
    pub(super) after: ConnId,
    /// At most this many.
    pub(super) limit: usize,
}

/// Sessions of one dialect.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    pub(super) sessions: u64,
    /// Of those, how many read too slowly.
    pub(super) behind: u64,
}

/// All sessions together.
#[derive(Debug)]
pub(super) struct Counts {
    /// Open now, by what they speak; under `None` those that have said nothing yet.
    pub(super) open: BTreeMap<Option<Dialect>, Tally>,
    pub(super) waiting_bytes: u64,
    /// Of those open and of those that have ended.
    pub(super) traffic: Traffic,
    /// By close code and reason.
    pub(super) disconnects: BTreeMap<(u16, &'static str), u64>,
    /// Of those, how many gave no sign of life or could not be served any more.
    pub(super) given_up: u64,
    /// Connections by what became of them.
    pub(super) connects: [(&'static str, u64); 6],
}

impl Sessions {
    /// Enters a session until the guard is dropped. One that comes while draining is closed at once.
    pub(super) fn register(&self, outbox: Arc<Outbox>, remote: Option<SocketAddr>) -> Registered {
        let since_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let mut open = self.open();
        if open.draining {
            outbox.close(CloseReason::Restart);
        }
        open.last_id += 1;
        let id = ConnId(open.last_id);
        open.by_id.insert(id, Entry { outbox, within: Within::Nothing, remote, since_ms });
        drop(open);
        Registered { sessions: self.clone(), id }
    }

    /// Counts a client that was let in.
    pub(super) fn note_let_in(&self) {
        self.0.let_in.add(1);
    }

    /// Counts a client whose token was no good.
    pub(super) fn note_denied(&self) {
        self.0.denied.add(1);
    }

    /// Counts a connection that was turned away because there were too many.
    pub(super) fn note_over_the_cap(&self) {
        self.0.over_the_cap.add(1);
    }

    /// Counts a connection that was turned away because there were too many of its address or user.
    pub(super) fn note_no_seat(&self, per: Per, full: Full) {
        self.note_over_the_cap();
        self.0.over_budget.note_refused(per, full);
    }

    /// Who has spent too much, to be counted.
    pub(super) fn over_budget(&self) -> Arc<OverBudget> {
        self.0.over_budget.clone()
    }

    /// Counts a handshake or a document name that was no good.
    pub(super) fn note_no_good(&self) {
        self.0.no_good.add(1);
    }

    /// Counts a connection that did not come to a request in time.
    pub(super) fn note_too_slow(&self) {
        self.0.too_slow.add(1);
    }

    /// Counts a handshake or a request of a page that is not let in.
    pub(super) fn note_foreign(&self) {
        self.0.foreign.add(1);
    }

    /// Those that `query` asks for, by id.
    pub(super) fn list(&self, query: &ConnectionQuery) -> Vec<Connection> {
        let open = self.open();
        let later = open.by_id.range((Bound::Excluded(query.after), Bound::Unbounded));
        let is_in = |entry: &Entry, doc: &DocName| entry.within.visits().any(|visit| visit.doc == *doc);
        let wanted = later.filter(|(_, entry)| query.doc.as_ref().is_none_or(|doc| is_in(entry, doc)));
        wanted.take(query.limit).map(|(id, entry)| entry.describe(*id)).collect()
    }

    /// Ends every session in a document to which what `revocation` takes back was granted, and says how many those were.
    /// A revocation of one document leaves the token good for others, so its code is another (WIRE §6).
    pub(super) fn revoke(&self, revocation: &Revocation) -> usize {
        let reason = if revocation.doc.is_some() { CloseReason::Forbidden } else { CloseReason::Unauthorized };
        self.end_where(|holder, doc| revocation.concerns(holder, doc).then_some(reason))
    }

    /// Ends every session in a document that `authority` would not open to it any more, since its keys or its list of
    /// revocations are others than they were; says how many those were.
    pub fn end_revoked(&self, authority: &Authority) -> usize {
        self.end_where(|holder, doc| {
            if authority.is_revoked(holder, None) {
                Some(CloseReason::Unauthorized)
            } else {
                authority.is_revoked(holder, Some(doc)).then_some(CloseReason::Forbidden)
            }
        })
    }

    /// Ends the sessions in documents for which there is a reason to.
    fn end_where(&self, reason: impl Fn(&Holder, &DocName) -> Option<CloseReason>) -> usize {
        let reason = |visit: &Visit| reason(&visit.holder, &visit.doc);
        let mut concerned: Vec<(Arc<dyn PeerSink>, CloseReason)> = Vec::new();
        for entry in self.open().by_id.values() {
            match &entry.within {
                Within::Nothing => {}
                Within::One(visit) => concerned.extend(reason(visit).map(|why| (entry.outbox.clone() as _, why))),
                Within::Many(visits) => {
                    let all = visits.values().filter_map(|(visit, sink)| Some((sink.clone(), reason(visit)?)));
                    concerned.extend(all);
                }
            }
        }
        concerned.iter().for_each(|(sink, reason)| sink.close(*reason));
        concerned.len()
    }

    /// Ends one session so that its client comes back; `None` when there is none of this id.
    pub(super) fn disconnect(&self, id: ConnId) -> Option<Connection> {
        let open = self.open();
        let entry = open.by_id.get(&id)?;
        let (outbox, was) = (entry.outbox.clone(), entry.describe(id));
        drop(open);
        outbox.close(CloseReason::Admin);
        Some(was)
    }

    /// All of them together. Looks at each one, so it is for those who ask every few seconds.
    pub(super) fn counts(&self) -> Counts {
        let open = self.open();
        let (mut traffic, mut waiting_bytes) = (open.ended, 0);
        let all = Dialect::ALL.map(Some).into_iter().chain([None]);
        let mut tallies: BTreeMap<_, _> = all.map(|dialect| (dialect, Tally::default())).collect();
        for entry in open.by_id.values() {
            let load = entry.outbox.load();
            traffic += entry.outbox.traffic();
            let tally = tallies.entry(entry.outbox.dialect()).or_default();
            tally.sessions += 1;
            tally.behind += u64::from(load.behind);
            waiting_bytes += load.waiting_bytes as u64;
        }
        let given_up = |reason: &str| reason == "dead" || reason == CloseReason::Overloaded.name();
        Counts {
            open: tallies,
            waiting_bytes,
            traffic,
            given_up: open.disconnects.iter().filter(|((_, reason), _)| given_up(reason)).map(|(_, n)| n).sum(),
            disconnects: open.disconnects.clone(),
            connects: [
                ("ok", self.0.let_in.get()),
                ("auth", self.0.denied.get()),
                ("limit", self.0.over_the_cap.get()),
                ("timeout", self.0.too_slow.get()),
                ("proto", self.0.no_good.get()),
                ("origin", self.0.foreign.get()),
            ],
        }
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

impl Counts {
    /// Those open now, whatever they speak.
    pub(super) fn all_open(&self) -> Tally {
        self.open.values().fold(Tally::default(), |sum, tally| Tally {
            sessions: sum.sessions + tally.sessions,
            behind: sum.behind + tally.behind,
        })
    }
}

impl Entry {
    fn describe(&self, id: ConnId) -> Connection {
        let (traffic, load) = (self.outbox.traffic(), self.outbox.load());
        let visited = |visit: &Visit| Visited { doc: visit.doc.clone(), user: visit.holder.subject.clone() };
        let docs: Vec<Visited> = self.within.visits().map(visited).collect();
        let only = if docs.len() == 1 { docs.first() } else { None };
        let (doc, user) = only.map(|only| (only.doc.clone(), only.user.clone())).unzip();
        Connection {
            id: id.0,
            doc,
            docs,
            remote: self.remote,
            dialect: self.outbox.dialect().map(Dialect::name),
            since_ms: self.since_ms,
            received_bytes: traffic.bytes_in,
            received_messages: traffic.messages_in,
            sent_bytes: traffic.bytes_out,
            sent_messages: traffic.messages_out,
            waiting_bytes: load.waiting_bytes as u64,
            user: user.flatten(),
            behind: load.behind,
            closing: load.closing.map(|reason| reason.code(self.outbox.dialect().unwrap_or_default())),
        }
    }
}

/// A session's place in [`Sessions`].
pub(super) struct Registered {
    sessions: Sessions,
    id: ConnId,
}

impl Registered {
    /// It is in this document, the only one that it can be in.
    pub(super) fn enter(&self, doc: DocName, holder: Holder) {
        self.change(|within| *within = Within::One(Visit { doc, holder }));
    }

    /// It is also in this document.
    pub(super) fn enter_at(&self, place: Place, doc: DocName, holder: Holder, sink: Arc<dyn PeerSink>) {
        self.change(|within| {
            let visit = (Visit { doc, holder }, sink);
            match within {
                Within::Many(visits) => drop(visits.insert(place, visit)),
                Within::Nothing | Within::One(_) => *within = Within::Many(BTreeMap::from([(place, visit)])),
            }
        });
    }

    /// It is not in the document at this place any more.
    pub(super) fn leave(&self, place: Place) {
        self.change(|within| {
            if let Within::Many(visits) = within {
                visits.remove(&place);
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Within)) {
        if let Some(entry) = self.sessions.open().by_id.get_mut(&self.id) {
            change(&mut entry.within);
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        /// What a client's own library reports when no close frame came.
        const NO_CLOSE_FRAME: u16 = 1006;
        let mut open = self.sessions.open();
        let entry = open.by_id.remove(&self.id);
        if let Some(entry) = &entry {
            // In the same moment in which it is not among the open ones any more, so that no sum ever falls.
            open.ended += entry.outbox.traffic();
            let dialect = entry.outbox.dialect().unwrap_or_default();
            let end = match entry.outbox.ended() {
                Ended::Closed(reason) => (reason.code(dialect), reason.name()),
                Ended::Dead => (NO_CLOSE_FRAME, "dead"),
                Ended::Lost => (NO_CLOSE_FRAME, "lost"),
            };
            *open.disconnects.entry(end).or_default() += 1;
        }
        let empty = open.by_id.is_empty();
        drop(open);
        drop(entry);
        if empty {
            self.sessions.0.empty.notify_waiters();
        }
    }
}
