//! Closed-loop writers: each sends one small update, waits for its durable ack, and sends the next.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crdt_tests::bare_log::Space;
use crdt_tests::message::{self, var_uint};
use crdt_tests::process;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Plan;
use crate::disk;
use crate::line::{self, frame};
use crate::report::Report;

/// What became of one writer.
struct Done {
    sent: u64,
    nanos: Histogram<u64>,
}

/// The figures of `load acks`: on the same disk, in turns, what a bare file gives to closed-loop writers and what the
/// server gives to as many. Only figures of one run of the program may be compared.
pub fn run(plan: &Plan, report: &mut Report) {
    let duration = Duration::from_secs(plan.seconds);
    let writers = plan.writers;
    let mut bare: [Vec<f64>; 3] = Default::default();
    let mut served: [Served; 2] = Default::default();
    for _ in 0..plan.runs {
        for (served, documents) in served.iter_mut().zip([writers, 1]) {
            let dir = plan.fresh_dir();
            let (growing, p50) = disk::closed_loop(dir.path(), Space::Growing, writers, duration);
            let (prepared, _) = disk::closed_loop(dir.path(), Space::Prepared, writers, duration);
            for (runs, figure) in bare.iter_mut().zip([growing, prepared, p50]) {
                runs.push(figure);
            }
            serve(plan, documents, growing, served);
        }
    }
    let [growing, prepared, p50] = &bare;
    let what = format!("{writers} writers on a bare file");
    report.add(format!("{what}: append + fdatasync"), "1/s", growing);
    report.add(format!("{what}: p50"), "ms", p50);
    report.add(format!("{what}: prepared space"), "1/s", prepared);
    for (served, documents) in served.iter().zip([writers, 1]) {
        let what = format!("{writers} writers on {documents} documents");
        report.add(format!("{what}: durable acks"), "1/s", &served.acks);
        report.add(format!("{what}: of the bare file just before"), "%", &served.percent);
        report.add(format!("{what}: ack p50"), "ms", &served.p50);
        report.add(format!("{what}: ack p99"), "ms", &served.p99);
        report.add(format!("{what}: server CPU per ack"), "µs", &served.cpu);
    }
}

/// One figure a run.
#[derive(Default)]
struct Served {
    acks: Vec<f64>,
    percent: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    cpu: Vec<f64>,
}

fn serve(plan: &Plan, documents: usize, bare: f64, served: &mut Served) {
    let dir = plan.fresh_dir();
    let mut server = plan.start(dir.path().join("data"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let before = process::cpu_time(server.pid());
    let start = Instant::now();
    let done = runtime.block_on(async {
        let deadline = start + Duration::from_secs(plan.seconds);
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
    let rate = acked as f64 / elapsed;
    served.acks.push(rate);
    served.percent.push(100.0 * rate / bare);
    served.p50.push(nanos.value_at_quantile(0.5) as f64 / 1e6);
    served.p99.push(nanos.value_at_quantile(0.99) as f64 / 1e6);
    served.cpu.push(cpu * 1e6 / acked as f64);
    // Every edit accounted for, from disk.
    server.kill();
    server.restart();
    let stored: usize = (0..documents).map(|n| line::stored(server.addr(), &format!("acks-{n}"))).sum();
    assert_eq!(stored as u64, acked, "every acked edit is there after kill -9, and no other");
}

/// A one-letter insertion after the writer's last one, in v1 encoding.
pub fn edit(client: u64, clock: u64) -> Vec<u8> {
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
