//! Stock Hocuspocus providers, alone and beside y-websocket clients (WIRE §3, §6).

mod access;
mod backlog;
mod converge;
mod life;
mod lines;
mod rules;
mod saved;
