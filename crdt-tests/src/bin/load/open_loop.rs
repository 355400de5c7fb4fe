//! Writers that do not wait: edits go out at a fixed rate, whatever becomes of the acks, and each ack counts from the
//! instant at which its edit was due.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crdt_tests::message;
use hdrhistogram::Histogram;

use crate::Plan;
use crate::acks::edit;
use crate::line::{self, Line};
use crate::report::Report;

/// Edits a second, of all writers together (the promise is an ack within 10 ms at this rate).
const RATE: u64 = 5_000;
/// Sockets, each with a document of its own or all on one.
const WRITERS: usize = 16;

/// The figures of `load acks` at a fixed rate.
pub fn run(plan: &Plan, report: &mut Report) {
    for documents in [WRITERS, 1] {
        let (mut p50, mut p99, mut max) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..plan.runs {
            let micros = once(plan, documents);
            let of = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
            p50.push(of(0.5));
            p99.push(of(0.99));
            max.push(micros.max() as f64 / 1e3);
        }
        let what = format!("{RATE} edits/s from {WRITERS} writers on {documents} documents, open loop");
        report.add(format!("{what}: ack p50"), "ms", &p50);
        report.add(format!("{what}: ack p99"), "ms", &p99);
        report.add(format!("{what}: ack max"), "ms", &max);
    }
}

fn once(plan: &Plan, documents: usize) -> Histogram<u64> {
    let dir = plan.fresh_dir();
    let mut server = plan.start(dir.path().join("data"));
    let edits = RATE * plan.seconds / WRITERS as u64;
    let period = Duration::from_secs(plan.seconds) / u32::try_from(edits).expect("a few thousand");
    let start = Instant::now() + Duration::from_millis(200);
    let addr = server.addr();
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            // Spread evenly over the period.
            let first = start + period * n as u32 / WRITERS as u32;
            std::thread::spawn(move || {
                write(addr, n as u64 + 1, &format!("open-{}", n % documents), first, period, edits)
            })
        })
        .collect();
    let mut micros = Histogram::<u64>::new(3).expect("a histogram");
    for writer in writers {
        micros.add(writer.join().expect("a writer ended well")).expect("the same shape");
    }
    // Every edit accounted for, from disk.
    server.kill();
    server.restart();
    let stored = |n| line::stored(server.addr(), &format!("open-{n}"));
    assert_eq!((0..documents).map(stored).sum::<usize>() as u64, edits * WRITERS as u64, "every acked edit is there");
    micros
}

fn write(addr: SocketAddr, client: u64, room: &str, first: Instant, period: Duration, edits: u64) -> Histogram<u64> {
    let mut line = Line::connect(addr, room).expect("connected");
    line.pull().expect("synced");
    let mut sending = line.stream.try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || {
        use std::io::Write;
        for number in 0..edits {
            let due = first + period * number as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let both = [line::frame(&message::update(&edit(client, number))), line::frame(&message::ack(number))];
            sending.write_all(&both.concat()).expect("sent");
        }
    });
    let mut micros = Histogram::<u64>::new(3).expect("a histogram");
    for number in 0..edits {
        let ack = message::ack(number);
        line.until(|message| message == ack).expect("an ack");
        let due = first + period * number as u32;
        micros.record(due.elapsed().as_micros() as u64).expect("in range");
    }
    sender.join().expect("the sender ended well");
    micros
}
