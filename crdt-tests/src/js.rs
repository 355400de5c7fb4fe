//! Stock npm clients, hosted by one node process per test and driven over JSON lines (`js/driver.mjs`).

use std::cell::Cell;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::npm;
use crate::process::Captured;
use crate::server::Server;
use crate::tokens;
use crate::wait::PATIENCE;

/// The y-websocket releases that weft is proven against.
pub const VERSIONS: [&str; 3] = ["1.5.4", "2.1.0", "3.1.0"];
/// The newest of them.
pub const LATEST: &str = "3.1.0";

/// y-sweet's client, by the name that the driver knows it by.
pub const YSWEET: &str = "y-sweet 0.9.1";
/// The releases of @hocuspocus/provider that weft is proven against.
pub const HOCUSPOCUS: [&str; 3] = ["hocuspocus-2.15.3", "hocuspocus-3.4.4", "hocuspocus-4.8.0"];
/// @y/websocket with Yjs 14, by its version.
pub const YJS14: &str = "4.0.0-3";
/// Every stock client on Yjs 13.
pub const EVERY: [&str; 7] =
    [VERSIONS[0], VERSIONS[1], VERSIONS[2], HOCUSPOCUS[0], HOCUSPOCUS[1], HOCUSPOCUS[2], YSWEET];

/// The folder of the driver.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("js")
}

/// Installs the npm packages of the driver; once per process.
pub fn ensure_packages() {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| npm::install(&folder()));
}

/// What a stock client speaks, which decides how it is admitted and how it says that something is saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// y-websocket's providers, which never say so.
    YWebsocket,
    /// Hocuspocus' providers, which count what is not saved.
    Hocuspocus,
    /// y-sweet's provider, which knows whether there are local changes.
    YSweet,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::YWebsocket, Kind::Hocuspocus, Kind::YSweet];

    /// A short name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::YWebsocket => "y-websocket",
            Kind::Hocuspocus => "hocuspocus",
            Kind::YSweet => "y-sweet",
        }
    }

    /// Its releases.
    pub fn versions(self) -> &'static [&'static str] {
        match self {
            Kind::YWebsocket => &[VERSIONS[0], VERSIONS[1], VERSIONS[2], YJS14],
            Kind::Hocuspocus => &HOCUSPOCUS,
            Kind::YSweet => &[YSWEET],
        }
    }

    /// The kind of a version, by the name that the driver knows it by.
    pub fn of(version: &str) -> Self {
        if version == YSWEET {
            Kind::YSweet
        } else if version.starts_with("hocuspocus-") {
            Kind::Hocuspocus
        } else {
            Kind::YWebsocket
        }
    }
}

type Answers = Arc<Mutex<HashMap<u64, mpsc::Sender<Result<Value, String>>>>>;

/// A node process full of clients. Dropping it ends them all without a goodbye.
pub struct Js {
    child: Child,
    stdin: Mutex<ChildStdin>,
    answers: Answers,
    next: AtomicU64,
    stderr: Captured,
}

#[derive(Deserialize)]
struct Answer {
    id: u64,
    ok: Option<Value>,
    error: Option<String>,
}

impl Js {
    /// Starts the driver.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts the driver with these in its environment.
    pub fn start_with(env: &[(&str, &str)]) -> Self {
        ensure_packages();
        let mut node = Command::new("node");
        node.args(["--max-old-space-size=4096", "driver.mjs"]).current_dir(folder()).envs(env.iter().copied());
        Self::spawn(node)
    }

    /// Its process, for signals.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts another driver that speaks the same JSON lines.
    pub fn spawn(mut node: Command) -> Self {
        node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = node.spawn().expect("cannot run node");
        let stderr = Captured::from(child.stderr.take().expect("piped"));
        let stdin = Mutex::new(child.stdin.take().expect("piped"));
        let answers = Answers::default();
        let waiting = answers.clone();
        let stdout = child.stdout.take().expect("piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let answer: Answer = match serde_json::from_str(&line) {
                    Ok(answer) => answer,
                    Err(e) => panic!("the driver printed {line:?}: {e}"),
                };
                let to = waiting.lock().unwrap().remove(&answer.id);
                if let Some(to) = to {
                    let _ = to.send(answer.error.map_or_else(|| Ok(answer.ok.unwrap_or_default()), Err));
                }
            }
            // The driver has ended: whoever waits learns it by a closed channel.
            waiting.lock().unwrap().clear();
        });
        Self { child, stdin, answers, next: AtomicU64::new(1), stderr }
    }

    /// Starts an operation of the driver and returns at once; the answer comes with [`Pending::wait`].
    pub fn begin(&self, op: &str, mut request: Value, deadline: Duration) -> Pending {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (to, from) = mpsc::channel();
        self.answers.lock().unwrap().insert(id, to);
        request["id"] = id.into();
        request["op"] = op.into();
        request["ms"] = u64::try_from(deadline.as_millis()).expect("a deadline in milliseconds").into();
        let line = format!("{request}\n");
        if let Err(e) = self.stdin.lock().unwrap().write_all(line.as_bytes()) {
            panic!("the driver has ended ({e}):\n{}", self.stderr.tail(40));
        }
        // The driver enforces the deadline and says why; ours only catches a driver that hangs.
        Pending { op: op.to_owned(), from, deadline: deadline + Duration::from_secs(20), stderr: self.stderr.clone() }
    }

    /// One operation of the driver, whatever comes of it.
    pub fn try_call(&self, op: &str, request: Value, deadline: Duration) -> Result<Value, String> {
        self.begin(op, request, deadline).try_wait()
    }

    /// One operation of the driver that must succeed.
    pub fn call(&self, op: &str, request: Value) -> Value {
        self.begin(op, request, PATIENCE).wait()
    }

    /// Opens a client on a document, connected unless its options say otherwise.
    pub fn open(&self, version: &str, server: &Server, room: &str) -> Client<'_> {
        self.open_with(version, server, room, json!({}))
    }

    /// As [`Js::open`] with more options, see `Client` in `js/client.mjs`.
    pub fn open_with(&self, version: &str, server: &Server, room: &str, options: Value) -> Client<'_> {
        let mut request = json!({ "version": version, "url": server.url(), "room": room });
        for (key, value) in options.as_object().expect("options are an object") {
            request[key] = value.clone();
        }
        self.open_request(request)
    }

    /// Opens a client that shows these tokens, one after the other, the last one for ever.
    pub fn open_with_tokens(&self, version: &str, server: &Server, room: &str, tokens: &[&str]) -> Client<'_> {
        match Kind::of(version) {
            Kind::YWebsocket => {
                let client = self.open_with(version, server, room, tokens::params(tokens[0]));
                // It is read anew at each connect, so this is for the next one.
                client.wait("me.connects > 0");
                client.run_with("provider.params = { token: args }", json!(tokens.last()));
                client
            }
            Kind::Hocuspocus => self.open_with(version, server, room, json!({ "tokens": tokens })),
            Kind::YSweet => {
                let tokens: Vec<Value> = tokens.iter().map(|token| tokens::client_token(server, room, token)).collect();
                self.open_with(version, server, room, json!({ "tokens": tokens }))
            }
        }
    }

    /// Opens a Hocuspocus client that shares the connection of another one.
    pub fn open_sharing(&self, with: &Client<'_>, room: &str, mut options: Value) -> Client<'_> {
        options["version"] = with.version.clone().into();
        options["room"] = room.into();
        options["sharing"] = with.name.clone().into();
        self.open_request(options)
    }

    /// Opens a client for a sub-document: `code` finds it in the document of `parent`. Its room is its guid.
    pub fn open_subdocument(&self, parent: &Client<'_>, server: &Server, code: &str) -> Client<'_> {
        let found = json!({ "client": parent.name, "code": format!("return {code}") });
        self.open_request(json!({ "version": parent.version, "url": server.url(), "subdocumentOf": found }))
    }

    fn open_request(&self, mut request: Value) -> Client<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let version = request["version"].as_str().expect("a version").to_owned();
        let name = format!("client-{number}/{version}");
        request["client"] = name.clone().into();
        let opened = self.call("open", request);
        let room = opened["room"].as_str().expect("a room").to_owned();
        let id = opened["clientId"].as_u64().expect("a client id");
        Client { js: self, name, version, room, id, closed: Cell::new(false) }
    }

    /// One call of y-sweet's SDK: a method of its `DocumentManager` for the server at the connection string `manager`.
    pub fn sdk(&self, manager: &str, method: &str, args: Value) -> Result<Value, String> {
        self.try_call("sdk", json!({ "manager": manager, "method": method, "args": args }), PATIENCE)
    }

    /// Waits until each of these has had its SyncStep2.
    pub fn synced(&self, clients: &[&Client<'_>]) {
        self.call("synced", json!({ "clients": names(clients) }));
    }

    /// Waits until these have integrated the same updates, checks that they read the same, and gives what they hold.
    pub fn converged(&self, clients: &[&Client<'_>]) -> State {
        self.converged_within(clients, PATIENCE)
    }

    /// As [`Js::converged`] with a deadline.
    pub fn converged_within(&self, clients: &[&Client<'_>], deadline: Duration) -> State {
        let value = self.begin("converged", json!({ "clients": names(clients) }), deadline).wait();
        serde_json::from_value(value).expect("a state")
    }

    /// What a fresh Yjs document holds after applying one update.
    pub fn load(&self, update: &[u8]) -> State {
        use base64::Engine;
        let update = base64::engine::general_purpose::STANDARD.encode(update);
        serde_json::from_value(self.call("load", json!({ "update": update }))).expect("a state")
    }
}

impl Drop for Js {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said = self.stderr.tail(30);
        if std::thread::panicking() && !said.is_empty() {
            eprintln!("--- stderr of the node driver, last lines ---\n{said}");
        }
    }
}

/// An operation under way.
pub struct Pending {
    op: String,
    from: mpsc::Receiver<Result<Value, String>>,
    deadline: Duration,
    stderr: Captured,
}

impl Pending {
    /// Its answer.
    pub fn try_wait(self) -> Result<Value, String> {
        match self.from.recv_timeout(self.deadline) {
            Ok(answer) => answer,
            Err(e) => panic!("{}: no answer from the driver ({e}):\n{}", self.op, self.stderr.tail(40)),
        }
    }

    /// Its answer, which must be a success.
    pub fn wait(self) -> Value {
        let op = self.op.clone();
        self.try_wait().unwrap_or_else(|e| panic!("{op}: {e}"))
    }
}

fn names(clients: &[&Client<'_>]) -> Vec<String> {
    clients.iter().map(|client| client.name.clone()).collect()
}

/// What a document holds, as Yjs sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The shared types by root name, see `dump` in `js/content.mjs`.
    pub content: Value,
    /// State vector, base64.
    pub state_vector: String,
    /// State vector and delete set, base64.
    pub snapshot: String,
    /// Whether something waits for a missing update.
    pub pending: bool,
    /// The whole state as one update, base64.
    pub update: String,
}

impl State {
    /// Fails unless content, state vector and delete set are the same, and says where they differ. The encoding of an update
    /// may differ between equal replicas.
    #[track_caller]
    pub fn assert_same(&self, expected: &State, what: impl std::fmt::Display) {
        if let Some(place) = difference(&self.content, &expected.content, "") {
            panic!("{what}: the content differs at {place}");
        }
        assert_eq!(self.state_vector, expected.state_vector, "{what}: the state vector differs");
        assert_eq!(self.snapshot, expected.snapshot, "{what}: same content and state vector, the delete set differs");
        assert_eq!(self.pending, expected.pending, "{what}: one of them waits for something");
    }

    /// The update as bytes.
    pub fn update_bytes(&self) -> Vec<u8> {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.decode(&self.update).expect("base64")
    }
}

/// Where two values differ first, and how.
fn difference(left: &Value, right: &Value, path: &str) -> Option<String> {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => a.keys().chain(b.keys()).find_map(|key| {
            let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or("(absent)".into());
            difference(&of(a), &of(b), &format!("{path}/{key}"))
        }),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| difference(a, b, &format!("{path}/{at}")))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: {a} where {b} is expected")),
    }
}

/// Frames and payload bytes of a client, by direction and kind (`step1`, `step2`, `update`, `awareness`…).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Frames received, acks not counted.
    pub in_frames: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Frames sent.
    pub out_frames: u64,
    /// Their bytes.
    pub out_bytes: u64,
    /// Frames received by kind.
    pub in_kinds: HashMap<String, u64>,
    /// Frames sent by kind.
    pub out_kinds: HashMap<String, u64>,
}

/// What became of a client that edited without pause.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Account {
    /// Last token pushed.
    pub sent: u64,
    /// Last token acked.
    pub acked: u64,
}

/// A close frame as a client saw it.
#[derive(Debug, Clone, Deserialize)]
pub struct Close {
    /// 1006 when the line just ended.
    pub code: u16,
    /// The reason text.
    pub reason: String,
}

/// One stock client. Dropping it closes its provider as a page does that navigates away.
pub struct Client<'js> {
    js: &'js Js,
    /// Name within the driver.
    pub name: String,
    /// Version of y-websocket, or of the Hocuspocus provider with its name before it.
    pub version: String,
    /// The document.
    pub room: String,
    /// Yjs client id.
    pub id: u64,
    closed: Cell<bool>,
}

impl Client<'_> {
    fn request(&self) -> Value {
        json!({ "client": self.name })
    }

    /// Runs JavaScript with `Y, doc, text, map, array, xml, provider, awareness, args` in scope, and gives its value.
    pub fn run(&self, code: &str) -> Value {
        self.run_with(code, Value::Null)
    }

    /// As [`Client::run`] with `args`.
    pub fn run_with(&self, code: &str, args: Value) -> Value {
        self.js.call("run", json!({ "client": self.name, "code": code, "args": args }))
    }

    /// As [`Client::run`], decoded.
    pub fn get<T: DeserializeOwned>(&self, code: &str) -> T {
        let value = self.run(code);
        serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{code} gave {value}: {e}"))
    }

    /// Waits until the expression is true.
    pub fn wait(&self, code: &str) {
        self.wait_with(code, Value::Null);
    }

    /// As [`Client::wait`] with `args`.
    pub fn wait_with(&self, code: &str, args: Value) {
        self.wait_within(code, args, PATIENCE);
    }

    /// As [`Client::wait`] with `args` and a deadline.
    pub fn wait_within(&self, code: &str, args: Value, deadline: Duration) {
        self.js.begin("wait", json!({ "client": self.name, "code": code, "args": args }), deadline).wait();
    }

    /// Waits for SyncStep2.
    pub fn synced(&self) {
        self.js.synced(&[self]);
    }

    /// Waits until all sent so far is acked: y-websocket clients ask (message 102), Hocuspocus clients are told.
    pub fn ack(&self) {
        self.js.call("ack", self.request());
    }

    /// `provider.disconnect()`
    pub fn disconnect(&self) {
        self.js.call("disconnect", self.request());
        // 1.5.4 keeps its socket until the closing handshake is through.
        self.wait("me.isGone");
    }

    /// `provider.connect()`, and waits for SyncStep2.
    pub fn connect(&self) {
        self.js.call("connect", self.request());
        self.synced();
    }

    /// Cuts the line without a goodbye; the provider comes back by itself.
    pub fn cut(&self) {
        self.js.call("cut", json!({ "client": self.name, "stay": false }));
    }

    /// Cuts the line without a goodbye; stays away until [`Client::connect`].
    pub fn cut_and_stay(&self) {
        self.js.call("cut", json!({ "client": self.name, "stay": true }));
        self.wait("me.isGone");
    }

    /// Traffic since the last call.
    pub fn traffic(&self) -> Traffic {
        serde_json::from_value(self.js.call("traffic", self.request())).expect("traffic")
    }

    /// What it holds.
    pub fn state(&self) -> State {
        serde_json::from_value(self.js.call("state", self.request())).expect("a state")
    }

    /// How its connections ended so far.
    pub fn closes(&self) -> Vec<Close> {
        self.get("me.closes")
    }

    /// How often it was connected so far.
    pub fn opens(&self) -> u64 {
        self.get("me.opens")
    }

    /// Random edits of all four root types.
    pub fn edit(&self, seed: u64, edits: u64) {
        // The driver's generator takes 32 bits.
        self.js.call("edit", json!({ "client": self.name, "seed": seed as u32, "edits": edits }));
    }

    /// Once its connection has ended, it does not come back by itself.
    pub fn stay_away(&self) {
        self.run("me.stayAway()");
    }

    /// Starts to push tokens `prefix-1`, `prefix-2`, … into `array` without pause. What its provider says is saved counts as
    /// acked; where it says nothing, an ack is asked for after each.
    pub fn storm(&self, prefix: &str) {
        self.js.call("storm", json!({ "client": self.name, "prefix": prefix }));
    }

    /// Ends the storm and gives its account.
    pub fn storm_stop(&self) -> Account {
        serde_json::from_value(self.js.call("stormStop", self.request())).expect("an account")
    }

    /// Goes away for good, with a goodbye.
    pub fn close(self) {
        self.close_now();
    }

    fn close_now(&self) {
        if !self.closed.replace(true) {
            self.js.call("close", self.request());
        }
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.close_now();
        }
    }
}

/// Lets several storms blow until `total` of their edits are acked.
pub fn storms_acked(js: &Js, clients: &[Client<'_>], total: u64) -> u64 {
    let list: Vec<&Client<'_>> = clients.iter().collect();
    js.call("stormAcked", json!({ "clients": names(&list), "total": total })).as_u64().expect("a count")
}
