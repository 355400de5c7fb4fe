//! Keys and revocations as `weft serve` and `weft token` use them: from files to what [`crate::auth`] works with.

use std::path::Path;

use super::failure::Failure;
use crate::auth::{Expected, Keys, Revocations, files};
use crate::config::{AuthSettings, WebhookSettings};
use crate::data_dir;
use crate::server::{Webhook, WebhookOptions};

/// The keys that `auth` names; `None` when it names none.
pub(super) fn keys(auth: &AuthSettings) -> Result<Option<Keys>, Failure> {
    if !auth.has_keys() {
        return Ok(None);
    }
    let mut keys = Vec::new();
    if let Some(path) = &auth.secret {
        keys.push(files::secret(path).map_err(Failure::open)?);
    }
    // Behind the other, which is the one that signs.
    if let Some(path) = &auth.secret_previous {
        keys.push(files::secret(path).map_err(Failure::open)?);
    }
    if let Some(path) = &auth.public_key {
        keys.push(files::public_key(path).map_err(Failure::open)?);
    }
    if let Some(path) = &auth.jwks {
        keys.extend(files::jwks(path).map_err(Failure::open)?);
    }
    let keys = Keys::new(keys).map_err(|error| Failure::open(format!("the keys cannot be used: {error}")))?;
    Ok(Some(keys))
}

/// The webhook that is to be asked beside them.
pub(super) fn webhook(settings: &WebhookSettings) -> Result<Webhook, Failure> {
    let secret = webhook_secret(settings)?;
    let WebhookSettings { url, secret: _, timeout, kept } = settings.clone();
    Webhook::new(WebhookOptions { url, secret, timeout, kept })
        .map_err(|error| Failure::open(format!("the auth webhook cannot be asked: {error}")))
}

/// What it is sent, if anything is.
pub(super) fn webhook_secret(settings: &WebhookSettings) -> Result<Option<String>, Failure> {
    settings.secret.as_deref().map(files::bearer).transpose().map_err(Failure::open)
}

/// What tokens must say.
pub(super) fn expected(auth: &AuthSettings) -> Expected {
    Expected { audience: auth.audience.clone(), issuer: auth.issuer.clone() }
}

/// The revocations kept in a data directory.
pub(super) fn revocations(data: &Path) -> Result<Revocations, Failure> {
    let saved = data_dir::read_revoked(data).map_err(Failure::open)?;
    let dir = data.to_owned();
    let save = move |bytes: &[u8]| data_dir::write_revoked(&dir, bytes).map_err(|error| error.to_string());
    Revocations::load(saved.as_deref(), Box::new(save)).map_err(|why| {
        let data = data.display();
        Failure::open(format!(
            "{data}/revoked.json is damaged: {why}. It says which tokens are not good any more; put it back from a backup, \
             or change the key, which ends all tokens, and remove it"
        ))
    })
}

/// The list of revocations as it is in a data directory, for a backup; empty where there is none.
pub(super) fn revoked_bytes(data: &Path) -> Result<Vec<u8>, Failure> {
    Ok(data_dir::read_revoked(data).map_err(Failure::open)?.unwrap_or_default())
}

/// Seconds since 1970.
pub(super) fn now_s() -> u64 {
    super::now_ms() / 1_000
}
