//! A client closes a connection on which it has heard nothing for half a minute (WIRE g4, h7): weft says something in
//! time, so that one that is alone and idle stays. The one real sleep of the matrix, for all clients at once.

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crdt_tests::js::{Client, Js};
use crdt_tests::server::{DataDir, Server};
use serde_json::json;

use super::{CLIENTS, Outcome, outcome};

/// Stock clients look every 3 s whether the last message is older than 30 s, so this is where they would have closed.
const WATCHDOG: Duration = Duration::from_secs(37);

/// What came of each client; whoever asks first waits for it.
pub(super) fn column() -> &'static [Outcome] {
    static COLUMN: OnceLock<Vec<Outcome>> = OnceLock::new();
    COLUMN.get_or_init(|| {
        let data = DataDir::new();
        let server = Server::start(&data);
        let js = Js::start();
        let (start, mut rooms) = (Instant::now(), 0..);
        // With presence a client renews it every 15 s and hears its echo (h12); without, only our keep-alive is left.
        let idle = CLIENTS.map(|(_, version)| {
            [json!({}), json!({ "awareness": null })].map(|options| {
                // Alone in its document, or it would hear the others.
                let room = format!("idle-{}", rooms.next().expect("there are more"));
                js.open_with(version, &server, &room, options)
            })
        });
        idle.iter().for_each(|pair| js.synced(&[&pair[0], &pair[1]]));
        std::thread::sleep(WATCHDOG.saturating_sub(start.elapsed()));
        idle.each_ref().map(|pair| outcome(AssertUnwindSafe(|| stayed(pair)))).into()
    })
}

fn stayed(pair: &[Client<'_>; 2]) -> &'static str {
    for client in pair {
        assert_eq!((client.opens(), client.closes().len()), (1, 0), "{} was disconnected", client.name);
        client.run("text.insert(0, 'still here')");
        client.ack();
        assert_eq!(client.opens(), 1);
    }
    "stays"
}
