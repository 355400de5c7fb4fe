//! Starts that are refused: one clear line what to do, exit code 3, and nothing touched.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;

use crdt_tests::message::{self, Writer};
use crdt_tests::server::{DataDir, Options, Refusal, Server, binary};
use crdt_tests::socket::Socket;

/// Exit code 3 and one line that names what is meant by each of `words`.
pub fn assert_refused(refusal: &Refusal, words: &[&str]) {
    assert_eq!(refusal.status.code(), Some(3), "{refusal:?}");
    let said = refusal.stderr();
    assert_eq!(said.lines().count(), 1, "one line says it all: {said:?}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not mention {word:?}");
    }
    assert!(!said.contains("panicked") && !said.contains("Err("), "{said:?}");
}

/// Every file below a directory, with its bytes; what must be the same before and after.
fn tree(dir: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    fn walk(base: &Path, dir: &Path, into: &mut BTreeMap<String, Option<Vec<u8>>>) {
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(base).expect("below").to_string_lossy().into_owned();
            if path.is_dir() {
                into.insert(name, None);
                walk(base, &path, into);
            } else {
                into.insert(name, Some(std::fs::read(&path).expect("read")));
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(dir, dir, &mut files);
    files
}

#[track_caller]
fn assert_untouched(before: &BTreeMap<String, Option<Vec<u8>>>, dir: &Path) {
    let after = tree(dir);
    let names = |tree: &BTreeMap<String, Option<Vec<u8>>>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(before), "files appeared or went");
    for (name, bytes) in before {
        assert!(after[name] == *bytes, "{name} was changed");
    }
}

/// A directory that weft has used and left in good order.
fn used() -> DataDir {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let mut socket = Socket::connect(server.addr(), "kept");
    socket.pull(&[0]);
    socket.send(message::update(&Writer::new(3).append("kept")));
    socket.ack();
    drop(socket);
    server.drain();
    data
}

fn refused(options: Options) -> Refusal {
    match options.try_start() {
        Err(refusal) => refusal,
        Ok(server) => panic!("started on {}", server.data().display()),
    }
}

#[test]
fn c9_a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let address = format!("127.0.0.1:{port}");
    // On a directory in use before, and on one that is not there yet.
    for data in [used(), DataDir::new()] {
        let before = tree(data.outer());
        assert_refused(&refused(Options::new(data.path()).port(port)), &[&address, "--listen"]);
        assert_untouched(&before, data.outer());
        let mut options = Options::new(data.path());
        options.admin = Some(address.clone());
        assert_refused(&refused(options), &[&address, "--admin-listen"]);
        assert_untouched(&before, data.outer());
    }
}

#[test]
fn c9_a_locked_directory() {
    let data = DataDir::new();
    let mut server = Server::start(&data);
    let mut socket = Socket::connect(server.addr(), "mine");
    socket.pull(&[0]);
    let admin = std::fs::read(data.path().join("admin.json")).expect("the running server's address");
    assert_refused(&refused(Options::new(data.path())), &[&data.path().to_string_lossy(), &server.pid().to_string()]);
    assert_eq!(std::fs::read(data.path().join("admin.json")).expect("still there"), admin);
    // The one that is running does not notice.
    socket.send(message::update(&Writer::new(4).append("still mine")));
    socket.ack();
    server.drain();
}

#[test]
fn c9_a_newer_format() {
    let data = used();
    std::fs::write(data.path().join("FORMAT"), "999\n").expect("written");
    let before = tree(data.outer());
    assert_refused(&refused(Options::new(data.path())), &[&data.path().to_string_lossy(), "999", "newer"]);
    assert_untouched(&before, data.outer());
    // Damaged is not newer, and as little touched.
    std::fs::write(data.path().join("FORMAT"), "one").expect("written");
    let before = tree(data.outer());
    assert_refused(&refused(Options::new(data.path())), &["FORMAT"]);
    assert_untouched(&before, data.outer());
}

#[test]
fn c9_a_foreign_directory() {
    let data = DataDir::new();
    std::fs::create_dir(data.path()).expect("made");
    std::fs::write(data.path().join("letter.txt"), "dear").expect("written");
    let before = tree(data.outer());
    assert_refused(&refused(Options::new(data.path())), &[&data.path().to_string_lossy(), "--data"]);
    assert_untouched(&before, data.outer());
    // Nor is a file a directory.
    let file = data.path().join("letter.txt");
    assert_refused(&refused(Options::new(&file)), &["letter.txt"]);
    assert_untouched(&before, data.outer());
}

#[test]
fn c9_a_read_only_directory() {
    use std::os::unix::fs::{PermissionsExt, chown};

    // The administrator may write anywhere, so the server runs as nobody, from where nobody can read it.
    const NOBODY: u32 = 65_534;
    let root = rustix::process::geteuid().is_root();
    for data in [used(), DataDir::new()] {
        let program = data.outer().join("weft");
        std::fs::copy(binary(), &program).expect("copied");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("allowed");
        let mut protect: Vec<_> = tree(data.outer()).into_keys().map(|name| data.outer().join(name)).collect();
        protect.push(data.outer().to_owned());
        for path in protect.iter().filter(|path| path.is_dir()) {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o555)).expect("protected");
        }
        if root {
            // Readable by nobody, as another user's directory is.
            protect.iter().for_each(|path| chown(path, Some(0), Some(0)).expect("owned"));
        }
        let before = tree(data.outer());
        let mut options = Options::with_binary(program, data.path());
        options.user = root.then_some(NOBODY);
        let refusal = refused(options);
        for path in protect.iter().filter(|path| path.is_dir()) {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("given back");
        }
        assert_refused(&refusal, &[&data.path().to_string_lossy()]);
        assert_untouched(&before, data.outer());
    }
}

/// Wrong usage is exit code 2 and names what is wrong (contract 2.1).
#[test]
fn c2_1_wrong_usage() {
    let data = DataDir::new();
    for (args, word) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["--listen", "nowhere"], "nowhere"),
        (&["--listen", "0.0.0.0:0"], "--allow-anonymous"),
        (&["--idle-after", "soon"], "soon"),
    ] {
        let mut command = std::process::Command::new(binary());
        command.arg("serve").args(args).arg("--data").arg(data.path());
        let output = command.output().expect("weft runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(word), "{args:?}: {said}");
        assert!(!data.path().exists(), "{args:?} made the data directory");
    }
}
