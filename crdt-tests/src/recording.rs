//! Recordings of stock clients in `fixtures/frames`, made by `js/record.mjs`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::server::workspace;

/// Where they lie.
pub fn folder() -> PathBuf {
    workspace().join("fixtures/frames")
}

/// One line of a recording.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// What the client was doing from here on.
    Scene {
        /// In words.
        scene: String,
    },
    /// The socket opened or closed.
    Event {
        /// `open` or `close`.
        event: String,
    },
    /// One WebSocket message.
    Frame {
        /// `c>s` or `s>c`.
        dir: String,
        /// In words.
        meaning: String,
        /// Its bytes.
        hex: String,
    },
    /// The end: what the document held.
    End {
        /// Client, content, state vector.
        end: End,
    },
}

/// What the document held at the end.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Package and version.
    pub client: String,
    /// As [`crate::js::State::content`].
    pub content: Value,
    /// State vector, hexadecimal.
    pub state_vector: String,
}

/// Reads one recording.
pub fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {line}: {e}", path.display()));
    text.lines().map(parse).collect()
}

/// All recordings, by file name.
pub fn all() -> Vec<(String, Vec<Line>)> {
    let entries = std::fs::read_dir(folder()).expect("fixtures/frames is part of the repository");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    assert!(!files.is_empty(), "no recordings");
    files.iter().map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), read(path))).collect()
}

/// Bytes of a hexadecimal text.
pub fn bytes(hex: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
    (0..hex.len()).step_by(2).map(digit).collect()
}

impl Line {
    /// The bytes of a frame in one direction.
    pub fn frame(&self, direction: &str) -> Option<Vec<u8>> {
        match self {
            Line::Frame { dir, hex, .. } if dir == direction => Some(bytes(hex)),
            _ => None,
        }
    }
}
