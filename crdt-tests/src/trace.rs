//! Recorded editing histories: where they are, and typing them in through stock clients.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::js::{Client, Js};
use crate::server::workspace;
use crate::skip::skipped;

/// The recorded histories that lie beside the workspace when it is developed; they are not part of it.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = beside(name);
    if path.is_file() {
        return Some(path);
    }
    skipped(&format!("traces absent ({name}: no ../shared/traces beside the workspace)"));
    None
}

/// Where one of them would be.
pub fn beside(name: &str) -> PathBuf {
    workspace().join("../shared/traces").join(format!("{name}.json.gz"))
}

/// Our own histories, part of the repository.
pub fn fixture(name: &str) -> PathBuf {
    workspace().join("fixtures/keystrokes").join(format!("{name}.json.gz"))
}

/// A history loaded into a driver.
pub struct Trace<'js> {
    js: &'js Js,
    name: String,
    /// Edits in it.
    pub edits: u64,
    /// Authors of a concurrent one; 1 for a sequential one.
    pub agents: usize,
    /// Whether authors edited at the same time.
    pub concurrent: bool,
}

impl<'js> Trace<'js> {
    /// Reads a `.json.gz`.
    pub fn read(js: &'js Js, path: &Path) -> Self {
        let name = path.to_string_lossy().into_owned();
        let value = js.call("readTrace", json!({ "trace": name, "path": name }));
        Self {
            js,
            name,
            edits: value["edits"].as_u64().expect("edits"),
            agents: value["agents"].as_u64().expect("agents") as usize,
            concurrent: value["concurrent"].as_bool().expect("concurrent"),
        }
    }

    /// Types it through these clients, edit by edit: the agents of a concurrent history are the clients; a sequential one is
    /// typed in turns of `slice_edits`. Returns when all clients have all of it.
    pub fn type_in(&self, clients: &[&Client<'_>], slice_edits: u64, deadline: Duration) {
        let names: Vec<&str> = clients.iter().map(|client| client.name.as_str()).collect();
        let request = json!({ "trace": self.name, "clients": names, "sliceEdits": slice_edits });
        let done = self.js.begin("typeTrace", request, deadline).wait();
        assert_eq!(done["edits"], self.edits, "every edit was typed");
    }

    /// Whether a client reads what the history says it should; `Err` says where not.
    pub fn check(&self, client: &Client<'_>) -> Result<Value, String> {
        let request = json!({ "trace": self.name, "client": client.name });
        self.js.try_call("checkTrace", request, Duration::from_secs(30))
    }
}
