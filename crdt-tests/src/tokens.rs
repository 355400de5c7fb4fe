//! A secret, and tokens that it signs: by the command line as an admin makes them, or to the second as a test needs them.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use weft::auth::{Claims, DocPattern, files};
use weft::ids::Access;
use weft::limits::TOKEN_LEEWAY_S;

use crate::cli::{Cli, path_str};
use crate::server::{DataDir, Options, Server};

/// A secret in a file of its own.
pub struct Secret(PathBuf);

impl Secret {
    /// Made by `weft token --new-secret`.
    pub fn new(data: &DataDir) -> Self {
        let path = data.outer().join("weft.secret");
        Cli::on(data.path()).done(&["token", "--new-secret", path_str(&path)]);
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The secret itself.
    pub fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("the secret is there")
    }

    /// A server that asks for its tokens.
    pub fn options(&self, data: &DataDir) -> Options {
        Options::new(data.path()).arg("--auth-secret").arg(path_str(&self.0))
    }

    /// `weft token --secret FILE ARGS…`
    pub fn mint(&self, args: &[&str]) -> String {
        let all = [&["token", "--secret", path_str(&self.0)], args].concat();
        let output = Cli::on("/no/data/directory").done(&all);
        assert!(output.stderr.is_empty(), "nobody watches: {output:?}");
        output.text().trim_end().to_owned()
    }

    /// A token for `docs` that a server takes for `good_s` more seconds.
    pub fn good_for(&self, subject: &str, docs: &[&str], access: Access, good_s: u64) -> String {
        let claims = Claims {
            subject: Some(subject.to_owned()),
            docs: docs.iter().map(|doc| DocPattern::parse(doc).expect("a pattern")).collect(),
            access,
            admin: false,
            issued_s: Some(now_s()),
            begins_s: None,
            expires_s: now_s() + good_s - TOKEN_LEEWAY_S,
            audience: Vec::new(),
            issuer: None,
        };
        files::signing_secret(&self.0).expect("a secret").sign(&claims, None).expect("random numbers")
    }
}

/// Options of a stock client that sends this token.
pub fn params(token: &str) -> Value {
    json!({ "params": { "token": token } })
}

/// What y-sweet's client is given to open `doc` with this token, as an application's back end makes it.
pub fn client_token(server: &Server, doc: &str, token: &str) -> Value {
    let addr = server.addr();
    let (url, base_url) = (format!("ws://{addr}/d/{doc}/ws"), format!("http://{addr}/d/{doc}"));
    json!({ "url": url, "baseUrl": base_url, "docId": doc, "token": token, "authorization": "full" })
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}
