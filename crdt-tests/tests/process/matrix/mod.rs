//! The conformance matrix: every stock client, and what it must be able to do with weft. Each cell is driven with the
//! client as it comes from npm against the real binary; README's table says what came of it, and is compared with it.

mod converge;
mod deny;
mod expiry;
mod oversize;
mod presence;
mod read_only;
mod reconnect;
mod restart;
mod table;
mod watchdog;

use std::panic::{self, AssertUnwindSafe};
use std::sync::OnceLock;
use std::thread;

use crdt_tests::js::{HOCUSPOCUS, Js, VERSIONS, YJS14, YSWEET};

/// What came of a cell: in a few words what the user of the client sees, or what went wrong.
type Outcome = Result<String, String>;

/// Proves that a client of this version behaves, and says what its user sees.
type Check = fn(&Js, &'static str) -> &'static str;

/// The clients, by their packages on npm and by what the driver calls them.
const CLIENTS: [(&str, &str); 8] = [
    ("y-websocket 1.5.4", VERSIONS[0]),
    ("y-websocket 2.1.0", VERSIONS[1]),
    ("y-websocket 3.1.0", VERSIONS[2]),
    ("@y/websocket 4.0.0-3", YJS14),
    ("@hocuspocus/provider 2.15.3", HOCUSPOCUS[0]),
    ("@hocuspocus/provider 3.4.4", HOCUSPOCUS[1]),
    ("@hocuspocus/provider 4.8.0", HOCUSPOCUS[2]),
    ("@y-sweet/client 0.9.1", YSWEET),
];

/// What a client must be able to do, beside waiting (`watchdog`), which all of them do at the same time.
const CHECKS: [(&str, Check); 9] = [
    ("converge", converge::check),
    ("reconnect", reconnect::check),
    ("presence", presence::check),
    ("kill -9", restart::kill),
    ("drain", restart::drain),
    ("deny", deny::check),
    ("read-only", read_only::check),
    ("expiry", expiry::check),
    ("oversize", oversize::check),
];

/// What came of the checks of one client, in their order. They run once, whoever asks first; side by side, since most of
/// their time is waiting.
fn row(client: usize) -> &'static [Outcome] {
    static ROWS: [OnceLock<Vec<Outcome>>; CLIENTS.len()] = [const { OnceLock::new() }; CLIENTS.len()];
    ROWS[client].get_or_init(|| {
        let (_, version) = CLIENTS[client];
        let js = Js::start();
        thread::scope(|scope| {
            let running = CHECKS.map(|(name, check)| {
                let js = &js;
                let run = move || outcome(AssertUnwindSafe(|| check(js, version)));
                thread::Builder::new().name(format!("{version}, {name}")).spawn_scoped(scope, run).expect("a thread")
            });
            running.map(|check| check.join().expect("its panic is its outcome")).into()
        })
    })
}

/// What `check` says, or the message of its panic.
fn outcome(check: AssertUnwindSafe<impl FnOnce() -> &'static str>) -> Outcome {
    panic::catch_unwind(check).map(str::to_owned).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
    })
}

fn assert_row(version: &str) {
    let client = CLIENTS.iter().position(|(_, name)| *name == version).expect("a client of the matrix");
    let failed: Vec<String> = CHECKS
        .iter()
        .zip(row(client))
        .filter_map(|((check, _), outcome)| Some(format!("{check}: {}", outcome.as_ref().err()?)))
        .collect();
    assert!(failed.is_empty(), "{} cannot do all that it must:\n{}", CLIENTS[client].0, failed.join("\n"));
}

// The first of all, since it only waits.
#[test]
fn all_clients_outlast_their_watchdogs() {
    let failed: Vec<_> = watchdog::column().iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(failed.is_empty(), "{failed:?}");
}

#[test]
fn client_hocuspocus_2_15_3() {
    assert_row(HOCUSPOCUS[0]);
}

#[test]
fn client_hocuspocus_3_4_4() {
    assert_row(HOCUSPOCUS[1]);
}

#[test]
fn client_hocuspocus_4_8_0() {
    assert_row(HOCUSPOCUS[2]);
}

#[test]
fn client_y_sweet_0_9_1() {
    assert_row(YSWEET);
}

#[test]
fn client_y_websocket_1_5_4() {
    assert_row(VERSIONS[0]);
}

#[test]
fn client_y_websocket_2_1_0() {
    assert_row(VERSIONS[1]);
}

#[test]
fn client_y_websocket_3_1_0() {
    assert_row(VERSIONS[2]);
}

#[test]
fn client_yjs_14_with_y_websocket_4_0_0_3() {
    assert_row(YJS14);
}

#[test]
fn the_table_in_the_readme_is_what_came_of_it() {
    let rows: Vec<table::Row> = (0..CLIENTS.len())
        .map(|client| {
            let mut cells: Vec<_> = CHECKS.iter().map(|(check, _)| *check).zip(row(client)).collect();
            cells.insert(table::WATCHDOG_AT, ("watchdog", &watchdog::column()[client]));
            table::Row { client: CLIENTS[client].0, cells }
        })
        .collect();
    table::compare(&table::render(&rows));
}
