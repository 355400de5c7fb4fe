//! `connections` and `top`: who is here, and where something happens.

use serde::Serialize;

use super::Api;
use crate::hub::DocActivity;
use crate::ids::ConnId;
use crate::metrics::Durations;
use crate::server::error::Problem;
use crate::server::sessions::{Connection, ConnectionQuery};

/// The answer of `GET connections`.
#[derive(Serialize)]
pub(super) struct ConnectionPage {
    connections: Vec<Connection>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<u64>,
}

/// The answer of `GET top`. Totals count from the start of the server; two answers tell what happened between them.
#[derive(Serialize)]
pub(super) struct Top {
    uptime_ms: u64,
    connections: u64,
    behind: u64,
    documents: u64,
    /// Updates that brought something new.
    updates_total: u64,
    update_bytes_total: u64,
    received_bytes_total: u64,
    sent_bytes_total: u64,
    /// From append to durable; bounds as in `weft_ack_seconds` of the metrics, counts not added up.
    ack: Durations,
    journal_pending_bytes: u64,
    unacked: u64,
    oldest_unacked_ms: u64,
    /// Absent when the store does not say.
    store_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
    /// Why nothing is written any more.
    storage_failed: Option<String>,
    docs: Vec<DocActivity>,
}

impl Api {
    /// One page; one more than it holds is asked for, to know whether another follows.
    pub(super) fn list_connections(&self, mut query: ConnectionQuery) -> ConnectionPage {
        let limit = query.limit;
        query.limit = limit + 1;
        let mut connections = self.sessions.list(&query);
        let more = connections.len() > limit;
        connections.truncate(limit);
        let next = connections.last().filter(|_| more).map(|last| last.id);
        ConnectionPage { connections, next }
    }

    /// Closes one connection so that its client comes back, and says what it was.
    pub(super) fn disconnect(&self, id: ConnId) -> Result<Connection, Problem> {
        self.sessions.disconnect(id).ok_or_else(|| Problem::no_such_connection(id))
    }

    /// What happens now, and the busiest documents.
    pub(super) async fn top(&self, limit: usize) -> Top {
        let (counts, figures) = (self.sessions.counts(), self.hub.figures());
        let (open, journal) = (counts.all_open(), figures.journal);
        let applied = figures.updates.iter().find(|(name, _)| *name == "applied").map_or(0, |(_, number)| *number);
        Top {
            uptime_ms: self.started.elapsed().as_millis() as u64,
            connections: open.sessions,
            behind: open.behind,
            documents: figures.documents_awake as u64,
            updates_total: applied,
            update_bytes_total: figures.applied_bytes,
            received_bytes_total: counts.traffic.bytes_in,
            sent_bytes_total: counts.traffic.bytes_out,
            ack: journal.ack,
            journal_pending_bytes: journal.bytes_pending,
            unacked: journal.unacked,
            oldest_unacked_ms: if journal.unacked == 0 { 0 } else { journal.oldest_unacked.as_millis() as u64 },
            store_bytes: self.hub.store_bytes().await.ok(),
            disk_free_bytes: journal.disk.map(|disk| disk.free_bytes),
            disk_total_bytes: journal.disk.map(|disk| disk.total_bytes),
            storage_failed: figures.failed,
            docs: self.hub.busiest(limit),
        }
    }
}
