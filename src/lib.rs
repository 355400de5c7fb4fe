//! weft: a collaboration server that every Yjs editor can point at.
//!
//! The tour, in the order an edit travels:
//!
//! 1. [`wire`] turns bytes into messages and back, and refuses what is malformed. Pure.
//! 2. `server` owns sockets: it accepts, parses through [`wire`], and hands messages on.
//! 3. `hub` knows which documents are awake and runs one task for each.
//! 4. [`replica`] is one document's state machine: events in, effects out. Pure.
//! 5. `journal` is the promise: what it has synced to disk may be acknowledged.
//! 6. `store` is the library: snapshots and update logs, filled from the journal.
//! 7. `backup` is the file that all documents fit into, for the day the disk is lost.
//! 8. `auth` says who may do what: keys, tokens, and what they grant.
//! 9. `audit` is what admins did, so that nothing of it can be changed unseen.
//! 10. `migrate` reads other servers' storage, and knows nothing of ours.
//! 11. `budget` is how much anybody may have of what the server does.
//! 12. `worker` is the process in which yrs may fall over what somebody sent.
//! 13. `cli` is where all rooms meet; `weft serve` starts there.
//!
//! [`ids`] and [`limits`] are the words and the bounds that all rooms share. `wire` and `replica` build without the
//! feature `serve`, which holds every dependency that touches a socket, a disk or a clock.

pub mod ids;
pub mod limits;
pub mod replica;
pub mod wire;

#[cfg(feature = "serve")]
pub mod audit;
#[cfg(feature = "serve")]
pub mod auth;
#[cfg(feature = "serve")]
pub mod backup;
#[cfg(feature = "serve")]
pub mod budget;
#[cfg(feature = "serve")]
pub mod cli;
#[cfg(feature = "serve")]
pub mod config;
#[cfg(feature = "serve")]
pub mod data_dir;
#[cfg(feature = "serve")]
pub mod hub;
#[cfg(feature = "serve")]
pub mod journal;
#[cfg(feature = "serve")]
pub mod metrics;
#[cfg(feature = "serve")]
pub mod migrate;
#[cfg(feature = "serve")]
pub mod server;
#[cfg(feature = "serve")]
pub mod store;
#[cfg(feature = "serve")]
pub mod telemetry;
#[cfg(feature = "serve")]
pub mod worker;
