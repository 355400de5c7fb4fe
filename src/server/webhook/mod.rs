//! Asks the application who may do what (contract 2.4, `--auth-webhook`): one POST for a token and a document, answered
//! with 200 and what is granted, or 401 or 403.
//!
//! It fails closed: without an answer nobody is let in. Whoever is in stays until the grant ends, since nobody is asked
//! about them. A hook that does not answer is left alone for a while ([`breaker`]); what it said is remembered for some
//! seconds ([`cache`]). A token is in the question and nowhere else: not in a log, not in the cache.

mod breaker;
mod cache;
mod call;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use self::breaker::Breaker;
use self::cache::{Cache, Question, question};
use self::call::Caller;
use super::access::now_s;
use crate::auth::{Authority, Denied, Grant, Holder};
use crate::config::WebhookUrl;
use crate::ids::{Access, DocName};
use crate::limits::{WEBHOOK_ASKING_MAX, WEBHOOK_GRANT_S};
use crate::metrics::{Counter, Histogram};

/// Where the hook is, and how patient we are with it.
pub struct WebhookOptions {
    /// Where.
    pub url: WebhookUrl,
    /// What it is sent as bearer token, so that it knows who asks.
    pub secret: Option<String>,
    /// Longest time for an answer.
    pub timeout: Duration,
    /// How long an answer is remembered.
    pub kept: Duration,
}

/// The application's word on who may do what.
pub struct Webhook {
    caller: Caller,
    timeout: Duration,
    state: Mutex<State>,
    /// Room for questions that are being asked.
    asking: Semaphore,
    /// What came of them.
    pub(super) figures: Figures,
}

/// Shows neither the URL nor what is sent.
impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhook(***)")
    }
}

struct State {
    breaker: Breaker,
    cache: Cache,
}

/// What came of questions.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) allowed: Counter,
    pub(super) denied: Counter,
    pub(super) failed: Counter,
    /// Not asked, since the hook does not answer.
    pub(super) spared: Counter,
    pub(super) cached: Counter,
    pub(super) took: Histogram,
}

/// What the hook said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Granted(Grant),
    Denied,
}

/// What it will have said.
pub(super) type Answer = oneshot::Receiver<Result<Grant, Denied>>;

/// What is known at once, or later.
pub(super) enum Decision {
    Now(Result<Grant, Denied>),
    Later(Answer),
}

impl Webhook {
    /// One that asks there.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read.
    pub fn new(options: WebhookOptions) -> Result<Self, String> {
        let WebhookOptions { url, secret, timeout, kept } = options;
        Ok(Self {
            caller: Caller::new(url, secret)?,
            timeout,
            state: Mutex::new(State { breaker: Breaker::default(), cache: Cache::new(kept) }),
            asking: Semaphore::new(WEBHOOK_ASKING_MAX),
            figures: Figures::default(),
        })
    }

    /// From now on it is sent this.
    pub fn replace_secret(&self, secret: Option<String>) {
        self.caller.replace_secret(secret);
    }

    /// What the hook grants the bearer of `token` in `doc`, no more than `known`, which its token is known to grant.
    pub(super) fn decide(
        self: &Arc<Self>,
        authority: &Arc<Authority>,
        token: &str,
        doc: &DocName,
        remote: Option<IpAddr>,
        known: Option<Grant>,
    ) -> Decision {
        let question = question(token, doc);
        let remembered = self.state().cache.get(&question, Instant::now()).cloned();
        match remembered {
            Some(Verdict::Granted(grant)) if is_good(authority, &grant, doc) => {
                self.figures.cached.add(1);
                return Decision::Now(Ok(within(known, grant)));
            }
            Some(Verdict::Denied) => {
                self.figures.cached.add(1);
                return Decision::Now(Err(Denied::NoAccess));
            }
            // Revoked since, or at its end: it is for the hook to say whether that still is so.
            Some(Verdict::Granted(_)) => self.state().cache.forget(&question),
            None => {}
        }
        let (answer, receiver) = oneshot::channel();
        let (hook, token, doc) = (self.clone(), token.to_owned(), doc.clone());
        // A task of its own: the breaker must learn the outcome, also when whoever asked has left.
        tokio::spawn(async move {
            let verdict = hook.ask(question, &token, &doc, remote).await;
            let _ = answer.send(verdict.map(|grant| within(known, grant)));
        });
        Decision::Later(receiver)
    }

    /// Whether it is asked as a rule, which it is not while it does not answer.
    pub(super) fn is_asked(&self) -> bool {
        self.state().breaker.is_closed()
    }

    async fn ask(
        &self,
        question: Question,
        token: &str,
        doc: &DocName,
        remote: Option<IpAddr>,
    ) -> Result<Grant, Denied> {
        let began = Instant::now();
        // The time to wait for room counts: whoever comes last of a crowd is not to wait for ever.
        let Ok(Ok(_room)) = tokio::time::timeout(self.timeout, self.asking.acquire()).await else {
            self.figures.spared.add(1);
            return Err(Denied::Unknown);
        };
        if !self.state().breaker.permit(Instant::now()) {
            self.figures.spared.add(1);
            return Err(Denied::Unknown);
        }
        let said = tokio::time::timeout(self.timeout, self.caller.call(token, doc, remote)).await;
        self.figures.took.observe(began.elapsed());
        let verdict = match said.unwrap_or_else(|_| Err("it does not answer in time".to_owned())) {
            Ok(Some(granted)) => {
                self.figures.allowed.add(1);
                let asked_s = now_s();
                let ends_s = granted.exp.unwrap_or_else(|| asked_s.saturating_add(WEBHOOK_GRANT_S));
                let holder = Holder { subject: granted.sub.map(Arc::from), issued_s: asked_s, key: None };
                Verdict::Granted(Grant { access: granted.access, ends_s: Some(ends_s), holder })
            }
            Ok(None) => {
                self.figures.denied.add(1);
                Verdict::Denied
            }
            Err(why) => {
                self.figures.failed.add(1);
                let mut state = self.state();
                let was_closed = state.breaker.is_closed();
                state.breaker.failed(Instant::now());
                let opened = was_closed && !state.breaker.is_closed();
                drop(state);
                if opened {
                    tracing::error!(%why, "the auth webhook fails; nobody new is let in until it answers");
                } else {
                    tracing::debug!(%why, "the auth webhook fails");
                }
                return Err(Denied::Unknown);
            }
        };
        let mut state = self.state();
        if !state.breaker.is_closed() {
            tracing::info!("the auth webhook answers again");
        }
        state.breaker.answered();
        state.cache.put(question, verdict.clone(), Instant::now());
        match verdict {
            Verdict::Granted(grant) => Ok(grant),
            Verdict::Denied => Err(Denied::NoAccess),
        }
    }

    /// Nothing under this lock is ever half changed, so a poisoned one is as good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a grant that is remembered would still be given.
fn is_good(authority: &Authority, grant: &Grant, doc: &DocName) -> bool {
    let revoked = authority.is_revoked(&grant.holder, None) || authority.is_revoked(&grant.holder, Some(doc));
    !revoked && grant.ends_s.is_none_or(|ends_s| now_s() < ends_s)
}

/// What both grant: a token that is good by a key, and the hook.
fn within(known: Option<Grant>, hooked: Grant) -> Grant {
    let Some(known) = known else { return hooked };
    let access: Access = known.access.min(hooked.access);
    let ends_s = known.ends_s.into_iter().chain(hooked.ends_s).min();
    let subject = known.holder.subject.or(hooked.holder.subject);
    Grant { access, ends_s, holder: Holder { subject, ..known.holder } }
}
