//! The load tool: what a server of Yjs documents costs, every edit accounted for at every receiver.
//!
//! A [`swarm::Swarm`] is many connections in one thread, which speak a [`dialect::Dialect`]. A [`crowd::Crowd`] writes edits
//! with it, each with a [`token`] in its text, and an [`account::Account`] says who has received which. The servers are those
//! of `load/servers.toml` ([`servers`]); what is done to them is a list of [`scenarios`]; what came of it is kept in files, one
//! a scenario ([`results`]), from which [`report`] writes BENCHMARKS.md.

pub mod account;
pub mod bare;
pub mod compare;
pub mod crowd;
pub mod dialect;
pub mod figures;
pub mod growth;
pub mod lab;
pub mod machine;
pub mod plot;
pub mod poller;
pub mod reader;
pub mod report;
pub mod results;
pub mod scenarios;
pub mod servers;
pub mod swarm;
pub mod text;
pub mod token;

/// What a measurement gives: a server that fails one is named with the reason, and the others go on.
pub type Outcome<T> = Result<T, String>;
