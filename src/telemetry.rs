//! Logs: to stderr, for people or for programs. Stdout belongs to the answers of commands.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
#[error("the log level {level:?} is not understood: {why}; use error, warn, info, debug, trace, or room=level pairs")]
pub struct TelemetryError {
    level: String,
    why: String,
}

/// Sends what `tracing` is told to stderr; once per process. Colours appear on a terminal only, and not when `NO_COLOR`
/// is set, so that captured logs can be searched.
///
/// # Errors
/// When `level` is not a filter.
pub fn init(format: LogFormat, level: &str) -> Result<(), TelemetryError> {
    let wrong = |why: String| TelemetryError { level: level.to_owned(), why };
    let filter = EnvFilter::builder().parse(level).map_err(|error| wrong(error.to_string()))?;
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Human => logs.try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    }
    .map_err(|error| wrong(error.to_string()))
}
