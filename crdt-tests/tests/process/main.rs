//! The real binary with real clients. One test program, so that tests that must wait overlap with tests that need not.

mod access;
mod admin;
mod backup;
mod backup_kills;
mod cli;
mod connections;
mod converge;
mod crash;
mod deletion;
mod frames;
mod golden;
mod health;
mod hostile;
mod nth;
mod patience;
mod power_cut;
mod presence;
mod reconnect;
mod referee;
mod refusals;
mod restart;
mod slow_reader;
mod storage_failure;
mod token;
mod vacuum;
mod verify;
