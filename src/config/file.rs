//! The file of `--config`.

use std::fmt;
use std::path::Path;

use super::{ConfigError, ServeOptions};

/// What it says.
pub(super) fn read(path: &Path) -> Result<ServeOptions, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error: toml::de::Error| ConfigError::Invalid {
        path: path.to_owned(),
        message: OneLine { error: &error, text: &text }.to_string(),
    })
}

/// A TOML error without the drawing of the line, which would not fit a log.
struct OneLine<'a> {
    error: &'a toml::de::Error,
    text: &'a str,
}

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(before) = self.error.span().and_then(|span| self.text.get(..span.start)) {
            write!(f, "line {}: ", before.matches('\n').count() + 1)?;
        }
        f.write_str(&self.error.message().replace('\n', " "))
    }
}
