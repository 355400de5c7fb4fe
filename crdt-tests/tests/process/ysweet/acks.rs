//! "Saved" is true: `hasLocalChanges` turns false only when all is on disk, never for a write that was refused, and a disk
//! that is slow costs nobody his connection (WIRE §2, g-s2, g-s4).

use crdt_tests::cli::path_str;
use crdt_tests::faults::{self, Fault, How};
use crdt_tests::js::{Js, LATEST};
use crdt_tests::mount::SmallDisk;
use crdt_tests::server::{DataDir, Options, Server};
use crdt_tests::skip::skipped;

use super::{open, saved};

/// As after a failed sync (S7): the server reads on and writes nothing more.
#[test]
fn s7_a_y_sweet_client_on_a_dead_disk_stays_and_is_never_told_that_it_is_saved() {
    let Some(failing) = Failing::start(How::Eio) else { return };
    let js = Js::start();
    let clients = [open(&js, &failing.server, "dead"), open(&js, &failing.server, "dead")];
    js.synced(&[&clients[0], &clients[1]]);
    clients.iter().for_each(saved);
    clients[0].run("me.localChanges.length = 0");
    failing.fail_now();
    clients[0].run("text.insert(0, 'never saved')");
    clients[0].traffic();
    clients[0].wait("(me.traffic.inKinds.awareness ?? 0) >= 2");
    clients[0].run("text.insert(0, 'nor this ')");
    clients[0].wait("(me.traffic.inKinds.awareness ?? 0) >= 4");
    assert!(clients[0].get::<bool>("provider.hasLocalChanges && !me.localChanges.includes(false)"));
    for client in &clients {
        assert_eq!(client.opens(), 1);
    }
}

/// S9: who stayed although there was no room is called back when there is, with what was refused.
#[test]
fn s9_a_y_sweet_client_is_saved_by_itself_when_a_full_disk_has_room_again() {
    const MIB: u64 = 1 << 20;
    let Some(disk) = SmallDisk::mount(300 * MIB) else { return };
    let mut options = Options::new(disk.inside().join("data")).arg("--min-free-bytes").arg((80 * MIB).to_string());
    options.wrapper = disk.wrapper();
    let server = options.start();
    let js = Js::start();
    let writer = open(&js, &server, "full");
    writer.synced();
    writer.run("text.insert(0, 'kept ')");
    saved(&writer);
    disk.fill_but(70 * MIB);
    crdt_tests::wait::until("it is full", crdt_tests::wait::PATIENCE, || {
        (!crdt_tests::http::is_ready(server.addr())).then_some(())
    });
    writer.run("text.insert(5, 'typed on a full disk ')");
    writer.traffic();
    writer.wait("(me.traffic.inKinds.awareness ?? 0) >= 2");
    let reader = js.open(LATEST, &server, "full");
    reader.synced();
    assert_eq!(reader.get::<String>("text.toString()"), "kept ");
    assert!(writer.get::<bool>("provider.hasLocalChanges"));
    assert_eq!(writer.opens(), 1, "it is not sent away to come back at once, again and again (g-s3)");
    disk.free();
    saved(&writer);
    reader.wait("text.toString() === 'kept typed on a full disk '");
    assert_eq!(writer.opens(), 2);
}

#[test]
fn g_s2_a_slow_disk_costs_nobody_his_connection() {
    let Some(failing) = Failing::start(How::Slow) else { return };
    let js = Js::start();
    let client = open(&js, &failing.server, "slow");
    client.synced();
    client.wait("provider.receivedAtLeastOneSyncResponse");
    failing.fail_now();
    // A sync takes 5 s, and the client's patience is 3 s.
    client.run("text.insert(0, 'slow'); me.editedAt = Date.now(); me.savedAfter = null");
    client.run("provider.once('local-changes', has => { me.savedAfter = [has, Date.now() - me.editedAt] })");
    client.wait("me.savedAfter !== null");
    let (has, ms): (bool, u64) = client.get("me.savedAfter");
    assert!(!has && ms > 4_000, "saved after {ms} ms, on a disk that takes 5 s");
    assert_eq!(client.opens(), 1);
}

/// A server whose disk is no good any more once it is told so.
struct Failing {
    data: DataDir,
    server: Server,
}

impl Failing {
    fn start(how: How) -> Option<Self> {
        let Some(library) = faults::library() else {
            skipped("there is no glibc to take the place of");
            return None;
        };
        let data = DataDir::new();
        let report = data.outer().join("report");
        let fault = Fault { nth: 1, how, sticks: true };
        let mut options = Options::new(data.path());
        options.env.extend(faults::environment(library, &data.path(), &report, Some(fault)));
        let told = path_str(&data.outer().join("now")).to_owned();
        let server = options.env("FAULTY_DISK_WHILE", told).start();
        Some(Self { data, server })
    }

    fn fail_now(&self) {
        std::fs::write(self.data.outer().join("now"), "").expect("written");
    }
}
