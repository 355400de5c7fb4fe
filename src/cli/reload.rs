//! SIGHUP: the files that keys, revocations, the certificate and the webhook's secret are in are read anew while everything
//! goes on. A file that cannot be used changes nothing but a line in the log and a number in the metrics.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::signal::unix::Signal;

use super::failure::Failure;
use super::keys;
use crate::auth::Authority;
use crate::config::{AuthSettings, WebhookSettings};
use crate::data_dir;
use crate::metrics::{Reloads, Tries};
use crate::server::{Sessions, Tls, Webhook};

/// What is read anew, and who must know.
pub(super) struct Reload {
    /// Which files of keys.
    pub(super) auth: AuthSettings,
    /// Where the list of revocations is.
    pub(super) data: PathBuf,
    /// Who works with them; without it there is nothing to read.
    pub(super) authority: Option<Arc<Authority>>,
    /// Who else is asked, and which file what it is sent is in.
    pub(super) webhook: Option<(WebhookSettings, Arc<Webhook>)>,
    /// What TLS is spoken with, if it is.
    pub(super) tls: Option<Arc<Tls>>,
    /// Those who came in with what counts no more.
    pub(super) sessions: Sessions,
    /// What became of it.
    pub(super) reloads: Arc<Reloads>,
}

impl Reload {
    /// From now on at each of these signals. Call within a runtime.
    pub(super) fn on(self, mut hangup: Signal) {
        let this = Arc::new(self);
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                let this = this.clone();
                // One at a time, in the order of the signals: the last one's files are those that stay in force.
                let _ = tokio::task::spawn_blocking(move || this.now()).await;
            }
        });
    }

    fn now(&self) {
        if let Some(tls) = &self.tls {
            note("tls", &self.reloads.tls, tls.reload().map_err(Failure::open));
        }
        if let Some((settings, webhook)) = self.webhook.as_ref().filter(|(settings, _)| settings.secret.is_some()) {
            let secret = keys::webhook_secret(settings).map(|secret| webhook.replace_secret(secret));
            note("webhook", &self.reloads.webhook, secret);
        }
        let Some(authority) = self.authority.as_deref() else {
            return tracing::info!(
                tls = self.tls.is_some(),
                "SIGHUP: no keys are configured, so there is nothing to read anew"
            );
        };
        note("keys", &self.reloads.keys, self.keys(authority));
        note("revocations", &self.reloads.revocations, self.revocations(authority));
        let closed = self.sessions.end_revoked(authority);
        if closed > 0 {
            tracing::info!(closed, "sessions ended that came with a key that is gone, or with a revoked token");
        }
    }

    fn keys(&self, authority: &Authority) -> Result<(), Failure> {
        if let Some(keys) = keys::keys(&self.auth)? {
            let described = keys.describe();
            authority.replace_keys(keys);
            tracing::info!(keys = ?described, "keys read anew");
        }
        Ok(())
    }

    fn revocations(&self, authority: &Authority) -> Result<(), Failure> {
        let saved = data_dir::read_revoked(&self.data).map_err(Failure::open)?;
        authority.revocations().reload(saved.as_deref()).map_err(|why| {
            Failure::open(format!("{}/revoked.json is damaged: {why}; put it back from a backup", self.data.display()))
        })
    }
}

fn note(what: &str, tries: &Tries, result: Result<(), Failure>) {
    tries.note(result.is_ok());
    if let Err(Failure { text, .. }) = result {
        tracing::error!(what, why = %text, "SIGHUP: not read anew; what was before stays in force");
    }
}
