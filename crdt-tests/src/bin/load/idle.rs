//! Many connections that say nothing: what each costs in memory.

use std::time::Duration;

use crdt_tests::process;
use rustix::process::{Resource, Rlimit};

use crate::Plan;
use crate::line::Line;
use crate::report::Report;

/// The figures of `load idle`.
pub fn run(plan: &Plan, report: &mut Report) {
    // The server inherits the limit.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    for rooms in [1, 100] {
        let dir = plan.fresh_dir();
        let server = plan.start(dir.path().join("data"));
        // What the first connections of each room cost once is not per connection.
        let mut lines: Vec<Line> = (0..rooms).map(|room| joined(&server, room)).collect();
        settle();
        let before = process::rss_bytes(server.pid());
        for number in 0..plan.connections {
            lines.push(joined(&server, number % rooms));
        }
        settle();
        let after = process::rss_bytes(server.pid());
        // Still there, all of them.
        for line in &mut lines {
            line.send(&crdt_tests::message::ack(1)).expect("sent");
        }
        let echo = crdt_tests::message::ack(1);
        for line in &mut lines {
            line.until(|message| message == echo).expect("an idle connection still answers");
        }
        let each = (after.saturating_sub(before)) as f64 / plan.connections as f64;
        report.add(format!("memory per idle connection, {} in {rooms} documents", plan.connections), "bytes", &[each]);
        report.add(
            format!("server memory with {} connections in {rooms} documents", plan.connections),
            "MB",
            &[after as f64 / 1e6],
        );
    }
}

fn joined(server: &crdt_tests::server::Server, room: usize) -> Line {
    let mut line = Line::connect(server.addr(), &format!("idle-{room}")).expect("connected");
    line.pull().expect("synced");
    line
}

/// Lets the server finish what joining began; memory has no event to wait for.
fn settle() {
    std::thread::sleep(Duration::from_secs(2));
}
