//! WIRE g5: a document that takes a line longer than a client waits for a frame gets there, and a line that is cut goes on
//! where it was.

use std::time::{Duration, Instant};

use crdt_tests::js::{Client, Js, LATEST, VERSIONS, YSWEET};
use crdt_tests::line::SlowLine;
use crdt_tests::server::{DataDir, Server};
use serde_json::json;

/// Clients give a connection up that brings no frame for so long (WIRE g4).
const WATCHDOG: Duration = Duration::from_secs(30);
/// Size of the document, MB; `WEFT_G5_MB` for others, such as the 60 of yhub#55.
const MEGABYTES: u64 = 6;

fn megabytes() -> u64 {
    std::env::var("WEFT_G5_MB").ok().and_then(|n| n.parse().ok()).unwrap_or(MEGABYTES)
}

/// A megabyte of paragraphs, here and there, with deletes and other types; returns the size of the document.
const WRITE_A_MEGABYTE: &str = r"
    const word = n => (n * 2654435761 % 4294967296).toString(36)
    for (let i = 0; i < 1000; i++) {
        const from = args * 1000 + i
        doc.transact(() => {
            const paragraph = Array.from({ length: 140 }, (_, n) => word(from * 140 + n)).join(' ')
            text.insert(Math.floor(text.length * (from * 7919 % 1000) / 1000), paragraph)
            if (i % 10 === 0) text.delete(Math.floor(text.length / 2), 5)
            if (i % 20 === 0) map.set(`key ${from % 500}`, { from, words: [paragraph.slice(0, 20)] })
        })
    }
    return Y.encodeStateAsUpdate(doc).byteLength";

fn write(writer: &Client<'_>) -> u64 {
    let mut bytes = 0;
    for n in 0..megabytes() {
        bytes = writer.run_with(WRITE_A_MEGABYTE, json!(n)).as_u64().expect("a size");
        writer.ack();
    }
    bytes
}

#[test]
fn g5_a_document_larger_than_the_line_takes_in_30_s_reaches_every_stock_client() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let writer = js.open(LATEST, &server, "large");
    writer.synced();
    let bytes = write(&writer);
    assert!(bytes > megabytes() * 900_000, "{bytes} bytes");
    // So slow that it takes half as long again as a client waits, or as fast as is asked for.
    let rate = std::env::var("WEFT_G5_BYTES_PER_S").ok().and_then(|n| n.parse().ok()).unwrap_or(bytes / 45);
    let began = Instant::now();
    let lines: Vec<(SlowLine, Client<'_>)> = VERSIONS
        .iter()
        .chain([&YSWEET])
        .map(|version| {
            let line = SlowLine::start(server.addr(), rate);
            let client = js.open_with(version, &server, "large", json!({ "url": line.url() }));
            (line, client)
        })
        .collect();
    let slow: Vec<&Client<'_>> = lines.iter().map(|(_, client)| client).collect();
    slow[0].wait("(me.traffic.inKinds.update ?? 0) >= 3");
    // What others do meanwhile comes with the end of it.
    writer.run("text.insert(0, 'written meanwhile '); map.set('meanwhile', true)");
    writer.ack();
    let patience = Duration::from_secs(2 * bytes / rate) + WATCHDOG;
    for client in &slow {
        client.wait_within("provider.synced", json!(null), patience);
        assert!(began.elapsed() > WATCHDOG, "no client would have minded: {:?}", began.elapsed());
        assert_eq!(client.opens(), 1, "{}: its connection was not given up", client.version);
        let traffic = client.traffic();
        assert_eq!(traffic.in_kinds["step2"], 1, "{traffic:?}");
        assert!(traffic.in_kinds["update"] > 5, "{traffic:?}");
        assert!(traffic.in_bytes < bytes + bytes / 20, "{} bytes of {bytes}: {traffic:?}", traffic.in_bytes);
    }
    println!("{bytes} bytes to {} clients at {rate} bytes/s each in {:?}", slow.len(), began.elapsed());
    let all: Vec<&Client<'_>> = slow.iter().copied().chain([&writer]).collect();
    js.converged_within(&all, patience);
}

#[test]
fn g5_p3_a_line_that_is_cut_goes_on_where_it_was() {
    let data = DataDir::new();
    let server = Server::start(&data);
    let js = Js::start();
    let writer = js.open(LATEST, &server, "cut");
    writer.synced();
    let bytes = write(&writer);
    for version in [LATEST, YSWEET] {
        let line = SlowLine::start(server.addr(), bytes / 6);
        let client = js.open_with(version, &server, "cut", json!({ "url": line.url() }));
        for part in [bytes / 4, bytes / 2] {
            client.wait_with("me.traffic.inBytes >= args", json!(part));
            assert!(!client.get::<bool>("provider.synced"));
            line.cut();
        }
        client.wait_within("provider.synced", json!(null), Duration::from_secs(60));
        assert_eq!(client.opens(), 3);
        js.converged(&[&writer, &client]);
        // Whole frames only are counted; a portion that the cut has torn comes again.
        let got = client.traffic().in_bytes;
        assert!((bytes * 9 / 10..bytes * 11 / 10).contains(&got), "{version}: {got} bytes for a document of {bytes}");
    }
}
