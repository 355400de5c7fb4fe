//! The demo page in the system's real Chromium, driven over JSON lines (`js/browser/driver.mjs`).

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::js::Js;
use crate::npm;
use crate::server::{Server, workspace};
use crate::skip::skipped;
use crate::wait::PATIENCE;

/// A host name that pages find at this machine and that does not look like it: no secure context, a network that can fail.
pub const OTHER_HOST: &str = "weft.test";

/// Names under which Chromium is installed.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// A Chromium. Dropping it closes it.
pub struct Browser {
    js: Js,
    /// Where it keeps profiles and whatever else it writes; gone with it.
    _home: tempfile::TempDir,
    server: String,
    opened: Cell<u32>,
}

/// Where Chromium is: `WEFT_CHROMIUM`, or else found on the path.
fn executable() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("WEFT_CHROMIUM") {
        return Some(path.into());
    }
    let path = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&path).flat_map(|dir| NAMES.map(|name| dir.join(name)));
    places.find(|place| place.is_file())
}

impl Browser {
    /// Starts one for pages of this server; says so and gives none where there is no Chromium.
    pub fn start(server: &Server) -> Option<Self> {
        let Some(executable) = executable() else {
            skipped("no chromium (apt install chromium)");
            return None;
        };
        let folder = crate::js::folder().join("browser");
        npm::install(&folder);
        let home = tempfile::Builder::new().prefix("weft-chromium-").tempdir().expect("cannot make a directory");
        let mut node = Command::new("node");
        node.arg("driver.mjs").current_dir(folder);
        for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
            node.env(variable, home.path());
        }
        let js = Js::spawn(node);
        let mut args = vec![format!("--host-resolver-rules=MAP {OTHER_HOST} 127.0.0.1")];
        if rustix::process::geteuid().is_root() {
            // Chromium refuses to run as root with it.
            args.push("--no-sandbox".to_owned());
        }
        let address = server.addr();
        let origins = [format!("http://{address}"), format!("http://{OTHER_HOST}:{}", address.port())];
        let launch = json!({ "executable": executable, "args": args, "origins": origins });
        js.call("launch", launch);
        Some(Self { js, _home: home, server: address.to_string(), opened: Cell::new(0) })
    }

    /// Opens a tab of a profile on `/` with this query and fragment, and waits until the editor is there. `options` are
    /// those of Playwright's `newContext`, which count for a profile's first tab, and `hold`, for [`Page::hold`].
    pub fn open_with(&self, profile: &str, target: &str, options: Value) -> Page<'_> {
        self.open_at(&self.server, profile, target, options)
    }

    /// As [`Browser::open_with`], without options.
    pub fn open(&self, profile: &str, target: &str) -> Page<'_> {
        self.open_with(profile, target, json!({}))
    }

    /// As [`Browser::open_with`], by [`OTHER_HOST`].
    pub fn open_elsewhere(&self, profile: &str, target: &str, options: Value) -> Page<'_> {
        let (_, port) = self.server.rsplit_once(':').expect("an address has a port");
        self.open_at(&format!("{OTHER_HOST}:{port}"), profile, target, options)
    }

    fn open_at(&self, host: &str, profile: &str, target: &str, options: Value) -> Page<'_> {
        self.opened.set(self.opened.get() + 1);
        let name = format!("{profile}/{}", self.opened.get());
        let url = format!("http://{host}/{target}");
        self.js.call("open", json!({ "page": name, "profile": profile, "url": url, "options": options }));
        Page { browser: self, name }
    }

    /// Takes a profile's network away, or gives it back.
    pub fn set_offline(&self, profile: &str, on: bool) {
        self.js.call("offline", json!({ "profile": profile, "on": on }));
    }

    /// Waits until these show the same document and it holds each of these parts; gives its HTML.
    pub fn same(&self, pages: &[&Page<'_>], parts: &[&str]) -> String {
        let names: Vec<&str> = pages.iter().map(|page| &*page.name).collect();
        let html = self.js.call("same", json!({ "pages": names, "parts": parts }));
        html.as_str().expect("HTML").to_owned()
    }

    /// Fails if a page threw, logged an error, broke its policy, or asked anybody but the server.
    pub fn assert_no_problems(&self) {
        assert_eq!(self.js.call("problems", json!({})), json!([]));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Best effort: the driver closes it, too, when it is told nothing more.
        let _ = self.js.try_call("quit", json!({}), Duration::from_secs(5));
    }
}

/// A direction between a page and its server.
#[derive(Debug, Clone, Copy)]
pub enum Direction {
    /// To the server.
    Up,
    /// To the page.
    Down,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::Up => "up",
            Direction::Down => "down",
        }
    }
}

/// A tab.
pub struct Page<'browser> {
    browser: &'browser Browser,
    name: String,
}

impl Page<'_> {
    fn call(&self, op: &str, mut request: Value) -> Value {
        request["page"] = self.name.clone().into();
        self.browser.js.call(op, request)
    }

    /// Writes a line of its own at the end of the document.
    pub fn write(&self, text: &str) {
        self.call("write", json!({ "text": text }));
    }

    /// Writes where the caret is.
    pub fn type_on(&self, text: &str) {
        self.call("type", json!({ "text": text }));
    }

    /// Presses a key, such as `Tab` or `Control+b`.
    pub fn press(&self, key: &str) {
        self.call("press", json!({ "key": key }));
    }

    /// Clicks what the selector finds.
    pub fn click(&self, selector: &str) {
        self.call("click", json!({ "selector": selector }));
    }

    /// Fills in a field and presses Enter.
    pub fn fill(&self, selector: &str, text: &str) {
        self.call("fill", json!({ "selector": selector, "text": text }));
    }

    /// Evaluates JavaScript in the page.
    pub fn run(&self, code: &str) -> Value {
        self.call("run", json!({ "code": code }))
    }

    /// Waits until an expression is true in the page, and gives it.
    pub fn wait(&self, code: &str) -> Value {
        self.wait_within(code, PATIENCE)
    }

    /// As [`Page::wait`] with a deadline.
    pub fn wait_within(&self, code: &str, deadline: Duration) -> Value {
        let request = json!({ "page": self.name, "code": code });
        self.browser.js.begin("wait", request, deadline).wait()
    }

    /// Waits until the state shown is of this kind: `saved`, `saving`, `offline`, `refused`, `readonly`.
    pub fn shows(&self, state: &str) {
        self.wait(&format!("document.getElementById('status').dataset.state === '{state}'"));
    }

    /// Waits until the tab may be closed without losing anything.
    pub fn keeps_it(&self) {
        self.wait("document.getElementById('status').dataset.kept === 'yes'");
    }

    /// The words of the state that is shown.
    pub fn status(&self) -> String {
        self.run("document.getElementById('status-word').textContent").as_str().expect("text").to_owned()
    }

    /// The kinds of state that were shown since the last call, in their order, first what was shown then.
    pub fn states(&self) -> Vec<String> {
        let states =
            self.run("statesSeen.splice(0, statesSeen.length, document.getElementById('status').dataset.state)");
        serde_json::from_value(states).expect("a list of states")
    }

    /// What is written, as HTML without the carets of others.
    pub fn written(&self) -> String {
        self.call("written", json!({})).as_str().expect("HTML").to_owned()
    }

    /// Loads the page anew.
    pub fn reload(&self) {
        self.call("reload", json!({}));
    }

    /// Holds back what goes in a direction from now on; only of a page that was opened with the option `hold`.
    pub fn hold(&self, direction: Direction) {
        self.call("hold", json!({ "direction": direction.name() }));
    }

    /// Passes on what was held back, and whatever comes.
    pub fn release(&self, direction: Direction) {
        self.call("release", json!({ "direction": direction.name() }));
    }

    /// Waits until a message of this type is held back.
    pub fn holds(&self, direction: Direction, kind: u8) {
        self.call("held", json!({ "direction": direction.name(), "kind": kind }));
    }

    /// Closes the tab.
    pub fn close(self) {
        self.call("close", json!({}));
    }

    /// Fails with what axe says is wrong.
    pub fn assert_accessible(&self) {
        assert_eq!(self.call("axe", json!({})), json!([]), "{}", self.name);
    }

    /// A picture for people to look at, in cargo's target directory.
    pub fn screenshot(&self, name: &str, full_page: bool) {
        let folder = target_dir().join("demo");
        std::fs::create_dir_all(&folder).expect("cannot make a directory");
        self.call("screenshot", json!({ "path": folder.join(name), "fullPage": full_page }));
    }
}

/// Cargo's target directory, seen from a test that cargo has built.
fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| Path::new(workspace()).join("target"), PathBuf::from)
}
