//! The bar that long work shows to people.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One step for each of so many documents. Drawn on stderr, and only for people; indicatif itself draws nothing when
/// stderr is no terminal.
pub(super) fn documents(documents: usize, json: bool) -> ProgressBar {
    let hidden = json || documents < 2 || !io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} documents, {eta} left  {wide_msg}");
    ProgressBar::with_draw_target(Some(documents as u64), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
