//! `weft top`: what a running server does now, drawn anew every second for people, one JSON object a line for programs.

use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use serde::Serialize;
use tokio::sync::mpsc;

use super::admin_client::{AdminClient, Sample};
use super::failure::Failure;
use super::output::{Cell, Output, Table, bytes};
use super::{At, Outcome, serve};
use crate::config::Period;
use crate::data_dir::{self, AdminFile};
use crate::hub::DocActivity;
use crate::limits::TOP_MAX;

/// To the upper left corner, and everything after it gone.
const CLEAR: &[u8] = b"\x1b[H\x1b[J";

/// Arguments of `weft top`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weft top                        until q or Ctrl-C
  weft top --interval 5s --limit 50
  weft top --once | head          one table
  weft top --json                 one JSON object a line, until stopped

Rates are those of the last interval, those of single documents of the last seconds. ack p50 and p99 say how long edits
of the interval took from the journal's queue to the disk. When no server runs on the directory, the exit code is 3.")]
pub(super) struct TopArgs {
    #[command(flatten)]
    pub(super) at: At,
    /// Time between two looks, such as `500ms` or `5s`
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: Period,
    /// Documents shown, the busiest first
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=TOP_MAX as u64))]
    limit: u64,
    /// Look once, and end
    #[arg(long)]
    once: bool,
}

/// What happened between two looks.
#[derive(Debug, Serialize)]
struct Snapshot {
    uptime_ms: u64,
    interval_ms: u64,
    connections: u64,
    /// Of those, how many read too slowly.
    behind: u64,
    documents: u64,
    updates_per_s: f64,
    acks_per_s: f64,
    received_bytes_per_s: f64,
    sent_bytes_per_s: f64,
    /// Null when nothing was acked.
    ack_p50_ms: Option<f64>,
    ack_p99_ms: Option<f64>,
    journal_pending_bytes: u64,
    unacked: u64,
    oldest_unacked_ms: u64,
    store_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    disk_total_bytes: Option<u64>,
    storage_failed: Option<String>,
    docs: Vec<DocActivity>,
}

impl Snapshot {
    fn between(before: &Sample, now: Sample) -> Self {
        // By the server's clock, so that a slow answer distorts no rate. One that was started anew counts from zero.
        let interval_ms = now.uptime_ms.saturating_sub(before.uptime_ms).max(1);
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 * 1_000.0 / interval_ms as f64;
        let acks = now.ack.since(&before.ack);
        let quantile = |q| acks.quantile(q).map(|took| took.as_secs_f64() * 1_000.0);
        Self {
            uptime_ms: now.uptime_ms,
            interval_ms,
            connections: now.connections,
            behind: now.behind,
            documents: now.documents,
            updates_per_s: rate(now.updates_total, before.updates_total),
            acks_per_s: rate(now.ack.count(), before.ack.count()),
            received_bytes_per_s: rate(now.received_bytes_total, before.received_bytes_total),
            sent_bytes_per_s: rate(now.sent_bytes_total, before.sent_bytes_total),
            ack_p50_ms: quantile(0.5),
            ack_p99_ms: quantile(0.99),
            journal_pending_bytes: now.journal_pending_bytes,
            unacked: now.unacked,
            oldest_unacked_ms: now.oldest_unacked_ms,
            store_bytes: now.store_bytes,
            disk_free_bytes: now.disk_free_bytes,
            disk_total_bytes: now.disk_total_bytes,
            storage_failed: now.storage_failed,
            docs: now.docs,
        }
    }

    fn draw(&self, out: &mut Output<'_>) -> io::Result<()> {
        let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), bytes);
        let a_second = |rate: f64| format!("{}/s", bytes(rate as u64));
        let disk = format!("{} free of {}", size(self.disk_free_bytes), size(self.disk_total_bytes));
        let waiting = format!("{} unacked, oldest {} ms", self.unacked, self.oldest_unacked_ms);
        let mut table = Table::new(&["CONNECTIONS", "BEHIND", "DOCUMENTS", "UPDATES/S", "ACKS/S", "IN", "OUT"]);
        table.row(vec![
            Cell::Count(self.connections),
            Cell::Count(self.behind),
            Cell::Count(self.documents),
            Cell::text(format!("{:.1}", self.updates_per_s)),
            Cell::text(format!("{:.1}", self.acks_per_s)),
            Cell::text(a_second(self.received_bytes_per_s)),
            Cell::text(a_second(self.sent_bytes_per_s)),
        ]);
        out.table(&table)?;
        let mut table = Table::new(&["ACK P50", "ACK P99", "JOURNAL", "WAITING", "STORE", "DISK"]);
        table.row(vec![
            Cell::text(ms(self.ack_p50_ms)),
            Cell::text(ms(self.ack_p99_ms)),
            Cell::text(format!("{} pending", bytes(self.journal_pending_bytes))),
            Cell::text(waiting),
            Cell::text(size(self.store_bytes)),
            Cell::text(disk),
        ]);
        out.table(&table)?;
        if let Some(cause) = &self.storage_failed {
            out.line(&format!("STORAGE HAS FAILED, edits are refused: {}", super::output::printable(cause)))?;
        }
        let mut table = Table::new(&["DOCUMENT", "PEERS", "UPDATES/S", "BYTES/S"]);
        for doc in &self.docs {
            table.row(vec![
                Cell::text(doc.name.as_str()),
                Cell::Count(doc.peers),
                Cell::text(format!("{:.1}", doc.updates_per_s)),
                Cell::text(a_second(doc.bytes_per_s)),
            ]);
        }
        out.table(&table)
    }
}

/// Watches the running server; there is nothing to see of a stopped one.
pub(super) fn run(args: &TopArgs, out: &mut Output<'_>) -> Result<Outcome, Failure> {
    let data = args.at.data.display();
    let admin = data_dir::admin_of(&args.at.data).ok_or_else(|| {
        Failure::open(format!("no server is running on {data}; start one with `weft serve --data {data}`"))
    })?;
    let live = out.is_terminal() && !out.is_json() && !args.once;
    let once = args.once || !(live || out.is_json());
    let runtime = serve::runtime()?;
    let (to_end, end) = mpsc::channel(1);
    let _keys = if live { Keys::watch(to_end.clone()) } else { None };
    let watched = runtime.block_on(watch(args, &admin, out, (live, once), end));
    // Nothing that still runs has anything to save.
    runtime.shutdown_background();
    watched
}

/// Looks again and again, until `end` says so.
async fn watch(
    args: &TopArgs,
    admin: &AdminFile,
    out: &mut Output<'_>,
    (live, once): (bool, bool),
    mut end: mpsc::Receiver<()>,
) -> Result<Outcome, Failure> {
    let mut client = AdminClient::connect(admin).await?;
    let mut before = client.top(args.limit).await?;
    loop {
        let next = Instant::now() + args.interval.0.max(Duration::from_millis(100));
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            _ = end.recv() => return Ok(Outcome::Done),
            _ = tokio::signal::ctrl_c() => return Ok(Outcome::Done),
        }
        let now = client.top(args.limit).await?;
        let snapshot = Snapshot::between(&before, now.clone());
        before = now;
        if out.is_json() {
            // On one line, also on a terminal.
            let line = serde_json::to_string(&snapshot).map_err(io::Error::from)?;
            out.line(&line)?;
        } else {
            if live {
                out.raw(CLEAR)?;
            }
            snapshot.draw(out)?;
        }
        if once {
            return Ok(Outcome::Done);
        }
    }
}

/// A terminal that gives keys as they are pressed; dropped, it is as before.
struct Keys(Termios);

impl Keys {
    /// Says when `q` is pressed; `None` when there is no keyboard.
    fn watch(to_end: mpsc::Sender<()>) -> Option<Self> {
        if !io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let mut at_once = before.clone();
        at_once.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(io::stdin(), OptionalActions::Now, &at_once).ok()?;
        std::thread::spawn(move || {
            for key in io::stdin().lock().bytes().map_while(Result::ok) {
                if matches!(key, b'q' | b'Q') {
                    // Full or closed: it is about to end.
                    let _ = to_end.blocking_send(());
                    return;
                }
            }
        });
        Some(Self(before))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that is gone needs no mode.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn rates_are_those_of_the_interval() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_secs(5));
        let before = Sample { uptime_ms: 10_000, updates_total: 100, ack: histogram.snapshot(), ..Sample::default() };
        histogram.observe(Duration::from_micros(700));
        let now = Sample { uptime_ms: 12_000, updates_total: 300, ack: histogram.snapshot(), ..Sample::default() };
        let snapshot = Snapshot::between(&before, now.clone());
        assert_eq!((snapshot.updates_per_s, snapshot.acks_per_s), (100.0, 0.5));
        assert!(snapshot.ack_p99_ms.is_some_and(|ms| (0.5..=1.0).contains(&ms)), "{snapshot:?}");
        let idle = Snapshot::between(&now, now.clone());
        assert_eq!((idle.updates_per_s, idle.ack_p50_ms), (0.0, None));
    }
}
