//! Files that say who may sign: PEM, JWK sets, and the list of revoked tokens. Whoever can write them is trusted; a damaged
//! one must be refused in words, and one that is taken must mean the same when it is read again.

use weft::auth::{Key, Keys, Revocations, SigningKey};
use weft::limits::AUTH_KEYS_MAX;

use crate::parts::Parts;

/// Reads one file as each of them.
pub fn run(input: &[u8]) {
    let mut parts = Parts::of(input);
    let kind = parts.choice();
    let bytes = parts.rest();
    match kind % 4 {
        0 => {
            if let Ok(text) = std::str::from_utf8(bytes) {
                if let Ok(key) = Key::public(text) {
                    assert!(!text.contains("PRIVATE KEY"));
                    let shown = format!("{key:?}");
                    assert!(shown.ends_with("***)"), "{shown}");
                }
                if let Ok(key) = SigningKey::private(text) {
                    // Whoever has the private key is not taken for one that has the public one.
                    assert!(Key::public(text).is_err());
                    let _ = key.algorithm();
                }
            }
        }
        1 => {
            if let Ok(keys) = Key::jwks(bytes) {
                assert!(!keys.is_empty());
                let count = keys.len();
                if let Ok(keys) = Keys::new(keys) {
                    assert!(count <= AUTH_KEYS_MAX);
                    assert_eq!(keys.describe().len(), count);
                }
            }
        }
        2 => {
            let _ = Key::secret(bytes);
            let _ = SigningKey::secret(bytes);
        }
        _ => {
            let none = || Revocations::none();
            let read = Revocations::load(Some(bytes), Box::new(|_| Ok(())));
            assert_eq!(read.is_ok(), none().reload(Some(bytes)).is_ok(), "at start and later");
            if let Ok(revocations) = read {
                check_revocations(&revocations);
            }
        }
    }
}

/// Adding one keeps the others, and what is saved can be read.
fn check_revocations(revocations: &Revocations) {
    let _ = format!("{revocations:?}");
    let saved = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = saved.clone();
    let save = Box::new(move |bytes: &[u8]| {
        *into.lock().expect("nobody panics with it") = bytes.to_vec();
        Ok(())
    });
    let fresh = Revocations::load(None, save).expect("none yet");
    fresh.revoke("ada", None, super::token::NOW).expect("there is room");
    let bytes = saved.lock().expect("nobody panics with it").clone();
    revocations.reload(Some(&bytes)).expect("what was saved can be read");
}
