//! Closed-loop writers: each sends one small update, waits for its durable ack, and sends the next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crdt_tests::message::{self, var_uint};
use crdt_tests::process;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Plan;
use crate::disk::{self, Space};
use crate::line::{self, Line, frame};
use crate::report::Report;

/// What became of one writer.
struct Done {
    sent: u64,
    nanos: Histogram<u64>,
}

/// The figures of `load acks`.
pub fn run(plan: &Plan, report: &mut Report) {
    let duration = Duration::from_secs(plan.seconds);
    for documents in [plan.writers, 1] {
        let dir = plan.fresh_dir();
        let mut server = plan.start(dir.path().join("data"));
        let second = Duration::from_secs(1);
        let (growing, _) = disk::write_and_sync(dir.path(), Space::Growing, 1, second);
        let (prepared, sync) = disk::write_and_sync(dir.path(), Space::Prepared, 1, second);
        let (grouped, _) = disk::write_and_sync(dir.path(), Space::Prepared, plan.writers, second);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let before = process::cpu_time(server.pid());
        let start = Instant::now();
        let done = runtime.block_on(async {
            let deadline = start + duration;
            let tasks: Vec<_> = (0..plan.writers)
                .map(|n| tokio::spawn(write(server.addr(), n as u64 + 1, format!("acks-{}", n % documents), deadline)))
                .collect();
            let mut done = Vec::new();
            for task in tasks {
                done.push(task.await.expect("a writer ended well"));
            }
            done
        });
        let elapsed = start.elapsed().as_secs_f64();
        let cpu = (process::cpu_time(server.pid()) - before).as_secs_f64();
        let acked: u64 = done.iter().map(|done| done.sent).sum();
        let mut nanos = Histogram::<u64>::new(3).expect("a histogram");
        done.iter().for_each(|done| nanos.add(&done.nanos).expect("same range"));
        let of = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e6;
        let what = format!("{} writers on {documents} documents", plan.writers);
        report.add(format!("{what}: durable acks"), "1/s", &[acked as f64 / elapsed]);
        report.add(format!("{what}: ack latency p50"), "ms", &[of(0.5)]);
        report.add(format!("{what}: ack latency p99"), "ms", &[of(0.99)]);
        report.add(format!("{what}: ack latency max"), "ms", &[nanos.max() as f64 / 1e6]);
        report.add(format!("{what}: server CPU per ack"), "µs", &[cpu * 1e6 / acked as f64]);
        report.add("  the same disk, a bare file: append + fdatasync", "1/s", &[growing]);
        report.add("  the same disk, a prepared file: write + fdatasync", "1/s", &[prepared]);
        report.add("  the same disk, a prepared file: one write + fdatasync", "ms", &[sync.as_secs_f64() * 1e3]);
        report.add(format!("  the same disk, a prepared file: in groups of {}", plan.writers), "1/s", &[grouped]);
        // Every edit accounted for, from disk.
        server.kill();
        server.restart();
        let stored: usize = (0..documents)
            .map(|n| {
                let update = Line::connect(server.addr(), &format!("acks-{n}")).and_then(|mut line| line.pull());
                line::text_of(&update.expect("synced")).len()
            })
            .sum();
        assert_eq!(stored as u64, acked, "every acked edit is there after kill -9, and no other");
    }
}

/// A one-letter insertion after the writer's last one, in v1 encoding.
fn edit(client: u64, clock: u64) -> Vec<u8> {
    let id = var_uint(client);
    let place = match clock.checked_sub(1) {
        None => [&[0x04, 1][..], &message::var_bytes(b"text")].concat(),
        Some(left) => [&[0x84][..], &id, &var_uint(left)].concat(),
    };
    [&[1, 1][..], &id, &var_uint(clock), &place, &[1, b'x', 0]].concat()
}

async fn write(addr: SocketAddr, client: u64, room: String, deadline: Instant) -> Done {
    let mut stream = TcpStream::connect(addr).await.expect("connected");
    stream.set_nodelay(true).expect("no delay");
    stream.write_all(line::upgrade(&room).as_bytes()).await.expect("sent");
    let mut buffer = Vec::with_capacity(64 << 10);
    let head = loop {
        stream.read_buf(&mut buffer).await.expect("received");
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    buffer.drain(..head);
    stream.write_all(&frame(&message::step1_empty())).await.expect("sent");
    until(&mut stream, &mut buffer, |message| message.starts_with(&[0, 1])).await;
    let mut done = Done { sent: 0, nanos: Histogram::new(3).expect("a histogram") };
    while Instant::now() < deadline {
        let ack = message::ack(done.sent);
        let both = [frame(&message::update(&edit(client, done.sent))), frame(&ack)].concat();
        let start = Instant::now();
        stream.write_all(&both).await.expect("sent");
        until(&mut stream, &mut buffer, |message| message == ack).await;
        done.nanos.record(start.elapsed().as_nanos() as u64).expect("in range");
        done.sent += 1;
    }
    done
}

async fn until(stream: &mut TcpStream, buffer: &mut Vec<u8>, wanted: impl Fn(&[u8]) -> bool) {
    let mut at = 0;
    loop {
        while let Some((opcode, payload)) = line::split(&buffer[at..]) {
            let message = at + payload.start..at + payload.end;
            at = message.end;
            assert_ne!(opcode, 8, "the server closed: {:?}", &buffer[message]);
            if opcode == 2 && wanted(&buffer[message]) {
                buffer.drain(..at);
                return;
            }
        }
        buffer.drain(..at);
        at = 0;
        let read = stream.read_buf(buffer).await.expect("received");
        assert_ne!(read, 0, "the server ended the connection");
    }
}
