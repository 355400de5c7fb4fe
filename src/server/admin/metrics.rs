//! `GET /metrics`: what there is to watch over, in Prometheus's text format 0.0.4 (OPERATIONS).
//!
//! The numbers are counted where things happen, in `metrics`' counters; here they are only put into words. That takes
//! fewer lines than registering each one with a library would, and nothing on the hot path but what counts.
//!
//! No label names a document, a user or an address: their number has no bound. `GET /api/v1/top` is for those.

use std::fmt::Write as _;
use std::time::Duration;

use super::Api;
use crate::hub::Readiness;
use crate::metrics::{BOUNDS_US, Durations};
use crate::server::access::now_s;
use crate::server::error::Problem;
use crate::wire::dialect::Dialect;

/// The kind of the answer.
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Text in the making.
#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.0, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        // `Display` of a float is the shortest text that reads back as the same number, and never has an exponent.
        let _ = writeln!(self.0, " {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.one(name, "gauge", help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.one(name, "counter", help, value as f64);
    }

    fn counters<'a>(&mut self, name: &str, help: &str, label: &str, values: impl IntoIterator<Item = (&'a str, u64)>) {
        self.family(name, "counter", help);
        for (text, value) in values {
            self.sample(name, &[(label, text)], value as f64);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, durations: &Durations) {
        self.family(name, "histogram", help);
        let (bucket, mut below) = (format!("{name}_bucket"), 0);
        for (index, count) in durations.counts.iter().enumerate() {
            below += count;
            let bound = BOUNDS_US.get(index).map_or_else(|| "+Inf".to_owned(), |us| seconds(*us).to_string());
            self.sample(&bucket, &[("le", &bound)], below as f64);
        }
        self.sample(&format!("{name}_sum"), &[], seconds(durations.sum_us));
        self.sample(&format!("{name}_count"), &[], below as f64);
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl Api {
    /// All metrics.
    pub(super) async fn metrics(&self) -> Result<String, Problem> {
        let mut page = Page::default();
        let ready = matches!(self.hub.readiness(), Readiness::Ready) && !self.draining.is_set();
        page.family("weft_build_info", "gauge", "What is running.");
        page.sample("weft_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        page.gauge("weft_ready", "Whether /ready says yes.", f64::from(u8::from(ready)));
        page.gauge("weft_uptime_seconds", "Since the server began to listen.", self.started.elapsed().as_secs_f64());
        self.connections(&mut page);
        self.documents(&mut page);
        self.reloads(&mut page);
        self.webhook(&mut page);
        if let Some(audit) = &self.audit {
            page.counter(
                "weft_audit_records_total",
                "Number of the newest record of what admins did.",
                audit.head().seq,
            );
            let failed = f64::from(u8::from(audit.is_failed()));
            page.gauge(
                "weft_audit_failed",
                "Whether records cannot be written, so that admins can do nothing.",
                failed,
            );
        }
        page.counter(
            "weft_admin_refused_total",
            "Calls of the admin API without a good credential.",
            self.refusals.counted.get(),
        );
        if let Some(ends_s) = self.tls.as_ref().and_then(|tls| tls.ends_s()) {
            page.gauge(
                "weft_cert_expiry_seconds",
                "How long the certificate of the public listener is still good.",
                ends_s.saturating_sub(now_s()) as f64,
            );
        }
        // A store that cannot be asked is one of the things to be told, not a reason to tell nothing.
        if let Ok(storage) = self.hub.storage().await {
            let (disk, live) = (storage.disk_bytes as f64, storage.live_bytes as f64);
            page.gauge("weft_docs_stored", "Documents that the store holds.", storage.documents as f64);
            page.gauge("weft_store_disk_bytes", "Bytes that the store takes on disk, live and dead.", disk);
            page.gauge("weft_store_live_bytes", "Bytes of those that are live; a vacuum gives the rest back.", live);
        }
        Ok(page.0)
    }

    fn connections(&self, page: &mut Page) {
        let counts = self.sessions.counts();
        page.family(
            "weft_connections",
            "gauge",
            "WebSocket sessions open now; behind: reading too slowly, unknown: having said nothing yet.",
        );
        for (dialect, tally) in &counts.open {
            let dialect = dialect.map_or("unknown", Dialect::name);
            for (state, number) in [("open", tally.sessions - tally.behind), ("behind", tally.behind)] {
                page.sample("weft_connections", &[("dialect", dialect), ("state", state)], number as f64);
            }
        }
        page.counters(
            "weft_connects_total",
            "Connections by what became of them; limit: over a cap, timeout: no whole request in time, origin: a page that is not let in, proto: no good handshake or document name.",
            "result",
            counts.connects,
        );
        page.family("weft_disconnects_total", "counter", "Sessions that ended, by close code and reason.");
        for ((code, reason), number) in &counts.disconnects {
            let labels = [("code", &*code.to_string()), ("reason", reason)];
            page.sample("weft_disconnects_total", &labels, *number as f64);
        }
        let traffic = counts.traffic;
        page.counter("weft_received_bytes_total", "Bytes of WebSocket frames received.", traffic.bytes_in);
        page.counter("weft_received_messages_total", "Messages received and understood.", traffic.messages_in);
        page.counter(
            "weft_sent_bytes_total",
            "Bytes of WebSocket frames that the kernel has taken.",
            traffic.bytes_out,
        );
        page.counter("weft_sent_messages_total", "Frames that the kernel has taken whole.", traffic.messages_out);
        page.gauge(
            "weft_send_queue_bytes",
            "Bytes that wait for the sockets of all clients together.",
            counts.waiting_bytes as f64,
        );
        page.counters(
            "weft_slow_clients_total",
            "Slow readers; diff: caught up by one diff, closed: dropped for giving no sign of life or reading nothing.",
            "action",
            [("diff", traffic.caught_up), ("closed", counts.given_up)],
        );
        page.family(
            "weft_over_budget_total",
            "counter",
            "Who wanted more than its share (per), of what (budget); slowed: not read from until it was paid for, closed: for going on, refused: connections.",
        );
        for (per, budget, action, number) in self.sessions.over_budget().all() {
            page.sample(
                "weft_over_budget_total",
                &[("per", per), ("budget", budget), ("action", action)],
                number as f64,
            );
        }
        let figures = self.hub.figures();
        for (budget, refused) in [("documents", figures.refused_documents), ("memory", figures.refused_for_memory)] {
            let labels = [("per", "server"), ("budget", budget), ("action", "refused")];
            page.sample("weft_over_budget_total", &labels, refused as f64);
        }
        for (budget, number) in figures.slowed {
            let labels = [("per", "document"), ("budget", budget), ("action", "slowed")];
            page.sample("weft_over_budget_total", &labels, number as f64);
        }
        page.counter("weft_malformed_messages_total", "Messages that could not be understood.", traffic.malformed);
    }

    fn reloads(&self, page: &mut Page) {
        page.family(
            "weft_reloads_total",
            "counter",
            "Files read anew on SIGHUP; failed: what was before stays in force.",
        );
        for (what, tries) in self.reloads.all() {
            let (ok, failed) = tries.get();
            for (result, number) in [("ok", ok), ("failed", failed)] {
                page.sample("weft_reloads_total", &[("what", what), ("result", result)], number as f64);
            }
        }
        page.family("weft_reload_failing", "gauge", "Whether such a file could not be used the last time.");
        for (what, tries) in self.reloads.all() {
            page.sample("weft_reload_failing", &[("what", what)], f64::from(u8::from(tries.failing())));
        }
    }

    fn webhook(&self, page: &mut Page) {
        let Some(webhook) = self.webhook.as_deref() else { return };
        let figures = &webhook.figures;
        page.counters(
            "weft_webhook_total",
            "Questions about tokens; spared: not asked since the hook does not answer, cached: answered not long ago.",
            "result",
            [
                ("allowed", figures.allowed.get()),
                ("denied", figures.denied.get()),
                ("failed", figures.failed.get()),
                ("spared", figures.spared.get()),
                ("cached", figures.cached.get()),
            ],
        );
        page.histogram("weft_webhook_seconds", "Asking the hook, whatever came of it.", &figures.took.snapshot());
        let up = f64::from(u8::from(webhook.is_asked()));
        page.gauge("weft_webhook_up", "Whether the hook is asked, or left alone since it does not answer.", up);
    }

    fn documents(&self, page: &mut Page) {
        let figures = self.hub.figures();
        page.gauge("weft_docs_open", "Documents awake now.", figures.documents_awake as f64);
        if let Some(bytes) = figures.resident_bytes {
            page.gauge("weft_resident_memory_bytes", "Memory of the server, its worker's aside.", bytes as f64);
        }
        page.counters("weft_updates_total", "Updates by what became of them.", "result", figures.updates);
        page.counter("weft_update_bytes_total", "Bytes of updates that brought something new.", figures.applied_bytes);
        page.gauge(
            "weft_pending_structs",
            "Structs in open documents that wait for a missing one.",
            figures.pending_structs as f64,
        );
        page.histogram("weft_doc_load_seconds", "Loading a document that slept.", &figures.loads);
        page.counter(
            "weft_broken_docs_total",
            "Documents with an update that breaks whoever integrates it; they are served and stored without being integrated.",
            figures.broken,
        );
        page.counter(
            "weft_workers_started_total",
            "Processes started in which updates are integrated.",
            figures.workers.started,
        );
        page.counter("weft_workers_lost_total", "Those of them that died or took too long.", figures.workers.lost);
        page.counter(
            "weft_quarantined_docs_total",
            "Documents whose journal records could not be stored and are kept aside.",
            figures.set_aside,
        );

        let journal = &figures.journal;
        page.histogram("weft_ack_seconds", "From an edit's append to the journal until it is durable.", &journal.ack);
        page.histogram("weft_journal_fsync_seconds", "Syncs of the journal.", &journal.sync);
        page.gauge("weft_unacked_updates", "Journal records that are not durable yet.", journal.unacked as f64);
        let oldest = if journal.unacked == 0 { Duration::ZERO } else { journal.oldest_unacked };
        page.gauge("weft_oldest_unacked_seconds", "How long the oldest of them has waited.", oldest.as_secs_f64());
        page.gauge(
            "weft_journal_pending_bytes",
            "Bytes of the journal that no checkpoint has carried into the store yet.",
            journal.bytes_pending as f64,
        );
        if let Some(disk) = journal.disk {
            let ratio = disk.free_bytes as f64 / disk.total_bytes.max(1) as f64;
            page.gauge("weft_disk_free_ratio", "Part of the file system of the data that is free.", ratio);
            page.gauge("weft_disk_free_bytes", "Bytes of it that are free.", disk.free_bytes as f64);
        }
        page.counters(
            "weft_storage_errors_total",
            "Failures of storage, by what was done.",
            "op",
            figures.storage_errors,
        );
        page.histogram("weft_checkpoint_seconds", "Carrying the journal into the store.", &figures.checkpoints);
        page.histogram("weft_compaction_seconds", "Folding one document's log into a snapshot.", &figures.folds);
        page.counters(
            "weft_compactions_total",
            "Such folds by what became of them.",
            "result",
            [("ok", figures.folds.count()), ("failed", figures.folds_failed)],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut page = Page::default();
        page.counters("a_total", "What.", "of", [("x\"\\\n", 3)]);
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(60));
        histogram.observe(Duration::from_secs(60));
        page.histogram("h_seconds", "How long.", &histogram.snapshot());
        let text = page.0;
        assert!(
            text.starts_with("# HELP a_total What.\n# TYPE a_total counter\na_total{of=\"x\\\"\\\\\\n\"} 3\n"),
            "{text}"
        );
        for line in [
            "h_seconds_bucket{le=\"0.00005\"} 0",
            "h_seconds_bucket{le=\"0.0001\"} 1",
            "h_seconds_bucket{le=\"30\"} 1",
            "h_seconds_bucket{le=\"+Inf\"} 2",
            "h_seconds_sum 60.00006",
            "h_seconds_count 2",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }
}
