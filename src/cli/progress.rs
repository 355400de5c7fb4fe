//! The bar that long work shows to people.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// On stderr, and only for people; indicatif itself draws nothing when stderr is no terminal.
fn target(hidden: bool) -> ProgressDrawTarget {
    if hidden || !io::stderr().is_terminal() { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
}

/// One step for each of so many documents.
pub(super) fn documents(documents: usize, json: bool) -> ProgressBar {
    let target = target(json || documents < 2);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} documents, {eta} left  {wide_msg}");
    ProgressBar::with_draw_target(Some(documents as u64), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Bytes, of a number that is said on the way.
pub(super) fn bytes(hidden: bool) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes}, {eta} left  {msg}");
    ProgressBar::with_draw_target(None, target(hidden))
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
