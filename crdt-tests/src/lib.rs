//! The harness behind weft's process tests: the real binary, the real npm clients, and bytes of our own making.
//!
//! A test reads: start a [`server::Server`] on a [`server::DataDir`], open clients with [`js::Js`] or raw sockets with
//! [`socket::Socket`], let them edit, break something, and ask clients and [`cli::Cli`] what they see. Nothing here sleeps and
//! hopes: every wait is for a condition and has a deadline.

pub mod admin;
pub mod attacks;
pub mod author;
pub mod bare_log;
pub mod browser;
pub mod campaign;
pub mod cli;
pub mod faults;
pub mod flips;
pub mod golden;
pub mod golden_backup;
pub mod history;
pub mod hocuspocus;
pub mod hook;
pub mod hostile;
pub mod http;
pub mod js;
pub mod ledger;
pub mod line;
pub mod load;
pub mod message;
pub mod mount;
pub mod npm;
pub mod power;
pub mod process;
pub mod recording;
pub mod seed;
pub mod server;
pub mod skip;
pub mod socket;
pub mod sweep;
pub mod tap;
pub mod tokens;
pub mod torn;
pub mod trace;
pub mod used;
pub mod wait;
pub mod writers;
