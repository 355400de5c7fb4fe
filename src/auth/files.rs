//! Keys in files: the only place where this room touches the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::{Key, KeyError};
use super::sign::SigningKey;
use crate::limits::{KEY_FILE_BYTES_MAX, SECRET_BYTES_MIN};

/// Why a file of keys cannot be used. Says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read.
    #[error("cannot read the key file {path}: {error}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others than its owner can read a secret.
    #[error(
        "the key file {path} can be read by others than its owner (mode {mode:04o}); anyone who reads it can make tokens. \
         Run `chmod 600 {path}`, and make a new one if others may have read it"
    )]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no text, or too much.
    #[error("the key file {0} is no key: it is not text, or larger than 64 kB")]
    NotText(PathBuf),
    /// Its content is no key.
    #[error("the key file {path} cannot be used: {error}")]
    NotKey {
        /// Which.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// A new one cannot be made.
    #[error("cannot make {path}: {error}{}", if error.kind() == io::ErrorKind::AlreadyExists {
        "; it was not touched, name another file" } else { "" })]
    NotMade {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Reads a secret to verify with.
pub fn secret(path: &Path) -> Result<Key, KeyFileError> {
    Key::secret(trimmed(&read(path, Audience::Owner)?).as_bytes()).map_err(not_key(path))
}

/// Reads a secret to sign with.
pub fn signing_secret(path: &Path) -> Result<SigningKey, KeyFileError> {
    SigningKey::secret(trimmed(&read(path, Audience::Owner)?).as_bytes()).map_err(not_key(path))
}

/// Reads what is sent as a bearer token, which fits a header.
pub fn bearer(path: &Path) -> Result<String, KeyFileError> {
    let text = read(path, Audience::Owner)?;
    let text = trimmed(&text);
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err(not_key(path)(KeyError::NotBearer)) }
}

/// Reads text that nobody but its owner may be able to read, such as the private key of a certificate.
pub fn owners_only(path: &Path) -> Result<String, KeyFileError> {
    read(path, Audience::Owner)
}

/// Reads text that anybody may read, such as a certificate.
pub fn open_to_all(path: &Path) -> Result<String, KeyFileError> {
    read(path, Audience::Anyone)
}

/// Reads a private key to sign with.
pub fn private_key(path: &Path) -> Result<SigningKey, KeyFileError> {
    SigningKey::private(&read(path, Audience::Owner)?).map_err(not_key(path))
}

/// Reads a public key.
pub fn public_key(path: &Path) -> Result<Key, KeyFileError> {
    Key::public(&read(path, Audience::Anyone)?).map_err(not_key(path))
}

/// Reads a JWK set.
pub fn jwks(path: &Path) -> Result<Vec<Key>, KeyFileError> {
    Key::jwks(read(path, Audience::Anyone)?.as_bytes()).map_err(not_key(path))
}

/// Makes a file that only its owner can read, with a fresh secret: 256 random bits in base64url, no line end, so that
/// whoever reads the file as it is has the secret. A file that is there already is left alone.
pub fn new_secret(path: &Path) -> Result<(), KeyFileError> {
    let not_made = |error| KeyFileError::NotMade { path: path.to_owned(), error };
    let mut random = [0; SECRET_BYTES_MIN];
    getrandom::fill(&mut random).map_err(|error| not_made(io::Error::other(error.to_string())))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(not_made)?;
    let written = file.write_all(URL_SAFE_NO_PAD.encode(random).as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|error| {
        // Half a secret must not be taken for one.
        let _ = std::fs::remove_file(path);
        not_made(error)
    })
}

/// Who may be able to read a file.
#[derive(PartialEq, Eq)]
enum Audience {
    Owner,
    Anyone,
}

fn read(path: &Path, audience: Audience) -> Result<String, KeyFileError> {
    let unreadable = |error| KeyFileError::Unreadable { path: path.to_owned(), error };
    let file = File::open(path).map_err(unreadable)?;
    // Of the file that was opened, so that it cannot be another one than was checked.
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o7777;
    if audience == Audience::Owner && mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(KEY_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let not_text = || KeyFileError::NotText(path.to_owned());
    if bytes.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(not_text());
    }
    String::from_utf8(bytes).map_err(|_| not_text())
}

/// Without the line end that editors and `echo` put behind it, and programs that read it commonly take off.
fn trimmed(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}

fn not_key(path: &Path) -> impl FnOnce(KeyError) -> KeyFileError {
    let path = path.to_owned();
    move |error| KeyFileError::NotKey { path, error }
}
