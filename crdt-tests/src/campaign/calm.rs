//! The look at a data directory after the storm, on a machine on which nothing fails any more.

use std::path::Path;

use crate::cli::Cli;
use crate::http;
use crate::ledger::{Found, Ledger};
use crate::seed;
use crate::server::{Options, Server};
use crate::wait::PATIENCE;
use crate::writers;

/// Verifies the directory, starts the server on it, compares all documents with the ledger, and lets an edit be acked.
pub fn check(data: &Path, ledger: &mut Ledger, when: &str, seed: u64) -> Server {
    // A directory whose making was cut short holds nothing yet.
    if data.join("FORMAT").exists() {
        let verified = Cli::on(data).run(&["verify"]);
        assert_eq!(verified.code, 0, "{when}: weft verify: {}{}", verified.text(), verified.stderr);
    }
    let server = Options::new(data).try_start().unwrap_or_else(|refusal| panic!("{when}: does not start: {refusal:?}"));
    assert!(http::is_ready(server.addr()), "{when}: started and not ready");
    ledger.check(when, |doc| writers::read(server.addr(), doc));
    let doc = ledger.certain().into_iter().next().unwrap_or_else(|| "first".into());
    let is_acked = writers::write_once(server.addr(), &doc, PATIENCE, ledger, &mut seed::rng(seed, 9));
    assert!(is_acked, "{when}: an edit is not acked");
    server
}

/// What a server that runs on the directory shows of a document.
pub fn read(server: &Server) -> impl FnMut(&str) -> Found {
    let addr = server.addr();
    move |doc| writers::read(addr, doc)
}
