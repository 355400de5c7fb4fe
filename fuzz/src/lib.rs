//! Everything of weft that reads bytes from outside, under bytes that nobody expects.
//!
//! A [`Target`] is an ordinary function of bytes that must never panic, whatever the bytes: what it asserts is that two
//! readers agree, that what was accepted says the same when it is written again, and that limits hold. Three drivers run
//! the same functions:
//!
//! - `tests/corpus.rs` replays every file of `corpus/`, as ordinary tests;
//! - `tests/mutated.rs` changes those files by chance, for `WEFT_FUZZ_SECONDS` each ([`driver`]);
//! - `src/bin/guided.rs` is libFuzzer, which learns from the branches that are taken. It needs a build of its own, which
//!   `campaign fuzz` in `crdt-tests` makes, also under AddressSanitizer.
//!
//! Around each run [`gauge`] watches memory and [`driver`] time. What fails is kept in `found/`; once it is mended it moves
//! to `corpus/`, under a name that says what it was.

pub mod corpus;
pub mod driver;
pub mod gauge;
pub mod mutate;
pub mod parts;
pub mod script;
pub mod targets;

pub use targets::{TARGETS, Target};
