//! Sockets and HTTP: what a document's task never sees.
//!
//! [`Server`] is the public listener: [`accept`] takes connections, [`routes`] answers HTTP, [`websocket`] turns a
//! request into a [`session`], which reads messages and, through its [`outbox`], tells the client what documents have to
//! say. What the messages mean is a [`conversation`]'s concern, one for each dialect; that with [`hocuspocus`] clients has
//! many documents. [`AdminServer`] is the other listener, for `/api/v1`. [`error`] alone knows close codes and
//! statuses. Nothing here knows of disk, of other nodes, or of what is in an update.

mod accept;
mod access;
mod accounts;
mod admin;
mod body;
mod certificate;
mod conversation;
mod demo;
pub mod documents;
mod error;
mod hocuspocus;
mod line;
mod origin;
mod outbox;
mod routes;
mod session;
mod sessions;
mod spending;
#[cfg(test)]
mod tests;
mod tls;
mod webhook;
mod websocket;
mod ysweet;

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use warp::http::HeaderMap;

pub use self::accept::Address;
pub use self::accounts::Allowance;
pub use self::sessions::Sessions;
pub use self::tls::Tls;
pub use self::webhook::{Webhook, WebhookOptions};

use self::accept::{Slot, Slots};
use self::access::Judges;
use self::accounts::{Accounts, Addresses, Full, Seat};
use self::admin::Api;
use self::documents::Documents;
use self::session::Timing;
use self::spending::{Budgets, Per, Spending};
use self::ysweet::YSweet;
use crate::audit::Audit;
use crate::auth::{Authority, Holder};
use crate::budget::Rates;
use crate::config::{Origins, Proxies, PublicUrl};
use crate::hub::{Hub, PeerSink, Readiness, Sender};
use crate::ids::Principal;
use crate::limits::{
    ADMIN_BODY_BYTES_MAX, ADMIN_CONNECTIONS_MAX, ADMIN_STOP_TIMEOUT, CLOSE_TIMEOUT, CONNECTIONS_MAX, MESSAGE_BYTES_MAX,
    RATE_PATIENCE,
};
use crate::metrics::Reloads;
use crate::wire::close::CloseReason;

/// Shortest pause between two groups of sessions that are closed on drain; a timer is no finer.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// Says to both listeners that the process is about to end. A clone shares the flag; it is set once.
#[derive(Debug, Clone, Default)]
pub struct DrainFlag(Arc<Drain>);

#[derive(Debug, Default)]
struct Drain {
    begun: AtomicBool,
    wanted: Notify,
}

impl DrainFlag {
    /// From now on `/ready` answers 503 and no WebSocket is accepted.
    pub fn set(&self) {
        self.0.begun.store(true, Ordering::SeqCst);
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// Asks whoever runs the server to drain it.
    pub(super) fn ask(&self) {
        self.0.wanted.notify_one();
    }

    /// Returns when an admin has asked for a drain, also when that was before this call.
    pub async fn asked(&self) {
        self.0.wanted.notified().await;
    }
}

/// How the public listener behaves.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Connections at once; further ones are answered 503.
    pub connections_max: usize,
    /// Whether document names in paths are percent-decoded (contract 2.2).
    pub path_decode: bool,
    /// Who decides about tokens; without it everybody may do everything.
    pub authority: Option<Arc<Authority>>,
    /// Who must agree with it.
    pub webhook: Option<Arc<Webhook>>,
    /// Whether `/` is the demo.
    pub demo: bool,
    /// Where y-sweet clients are told to connect to; without it, where the caller found us.
    pub public_url: Option<PublicUrl>,
    /// Which web pages are let in.
    pub origins: Origins,
    /// Who says where clients are.
    pub proxies: Proxies,
    /// What TLS is spoken with, if it is.
    pub tls: Option<Arc<Tls>>,
    /// How much anybody may have.
    pub shares: Shares,
}

/// How much of the server's work clients may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// One connection.
    pub connection: Rates,
    /// How long a connection is made to wait altogether before it is closed.
    pub patience: Duration,
    /// All connections from one address.
    pub address: Allowance,
    /// All connections of one user.
    pub user: Allowance,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            connection: Rates::of_connection(),
            patience: RATE_PATIENCE,
            address: Allowance::default(),
            user: Allowance::default(),
        }
    }
}

impl ServerOptions {
    /// Everybody may do everything, from anywhere: where nobody else can connect, as in tests.
    pub fn open() -> Self {
        Self {
            connections_max: CONNECTIONS_MAX,
            path_decode: true,
            authority: None,
            webhook: None,
            demo: false,
            public_url: None,
            origins: Origins::Any,
            proxies: Proxies::default(),
            tls: None,
            shares: Shares::default(),
        }
    }
}

/// What every connection of the public listener shares.
struct Shared<D> {
    documents: D,
    sessions: Sessions,
    draining: DrainFlag,
    path_decode: bool,
    judges: Judges,
    demo: bool,
    ysweet: YSweet,
    /// Which web pages are let in.
    pages: origin::Gate,
    proxies: Proxies,
    /// Makes principals of names and addresses.
    principals: RandomState,
    addresses: Arc<Addresses>,
    users: Accounts<Arc<str>>,
    budgets: Arc<Budgets>,
    /// Clients denied so far, which spreads how long they are held.
    denied: AtomicU32,
    timing: &'static Timing,
}

impl<D: Documents> Shared<D> {
    /// Where a request's client is, as far as can be believed.
    fn client(&self, slot: Option<&Slot>, headers: &HeaderMap) -> Option<SocketAddr> {
        let said = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let said: Vec<&str> = said.collect();
        slot.map(|slot| self.proxies.client(slot.remote(), said.iter().copied()))
    }

    /// A place for a client among those of its address; where it connected itself, it has one already.
    fn seat(&self, slot: Option<&Slot>, client: Option<SocketAddr>) -> Result<Option<Seat>, Full> {
        let seat = match (slot, client) {
            (Some(slot), Some(client)) if slot.remote().ip() == client.ip() => Ok(slot.seat()),
            (_, Some(client)) => self.addresses.seat(client.ip()),
            (_, None) => Ok(None),
        };
        seat.inspect_err(|full| self.sessions.note_no_seat(Per::Address, *full))
    }

    /// A place for a session among those of its user, unless it has no name.
    fn user_seat(&self, holder: &Holder) -> Result<Option<Seat>, Full> {
        let Some(user) = &holder.subject else { return Ok(None) };
        let seat = self.users.seat(|| user.clone());
        seat.inspect_err(|full| self.sessions.note_no_seat(Per::User, *full))
    }

    /// Who a client is as far as can be told: a user by the subject of its token, else whoever is at its address.
    fn principal(&self, holder: &Holder, client: Option<SocketAddr>) -> Option<Principal> {
        let hash = match (&holder.subject, client) {
            (Some(user), _) => self.principals.hash_one((Per::User.name(), user)),
            (None, Some(client)) => self.principals.hash_one((Per::Address.name(), client.ip().to_canonical())),
            (None, None) => return None,
        };
        Some(Principal(hash))
    }

    /// The same in words.
    fn sender(holder: &Holder, client: Option<SocketAddr>) -> Sender {
        Sender::Client { user: holder.subject.clone(), from: client }
    }

    /// What a client spends.
    fn spending(&self, client: Option<SocketAddr>, seat: Option<Seat>) -> Spending {
        Spending::new(self.budgets.clone(), client.map(|client| client.ip()), seat)
    }

    fn readiness(&self) -> Readiness {
        if self.draining.is_set() { Readiness::Draining } else { self.documents.readiness() }
    }

    /// Why `/ready` says no; `None` when all is well.
    fn not_ready(&self) -> Option<String> {
        error::not_ready(&self.readiness())
    }

    /// Why no new WebSocket is taken. When storage has failed, reading goes on (S7); only a drain turns clients away.
    fn refuses_sessions(&self) -> Option<String> {
        self.not_ready().filter(|_| self.readiness() == Readiness::Draining)
    }
}

/// The public listener and its sessions. Dropping it stops accepting; sessions go on until they end or the runtime does.
pub struct Server {
    addr: SocketAddr,
    sessions: Sessions,
    slots: Slots,
    draining: DrainFlag,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts to listen and accept; call within a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start<D: Documents>(
        address: Address,
        options: &ServerOptions,
        documents: D,
        sessions: Sessions,
        draining: DrainFlag,
    ) -> io::Result<Self> {
        Self::start_with(address, options, documents, sessions, draining, &Timing::DEFAULT)
    }

    fn start_with<D: Documents>(
        address: Address,
        options: &ServerOptions,
        documents: D,
        sessions: Sessions,
        draining: DrainFlag,
        timing: &'static Timing,
    ) -> io::Result<Self> {
        let listener = address.listen()?;
        let addr = listener.local_addr()?;
        let Shares { connection, patience, address, user } = options.shares;
        let addresses = Arc::new(Addresses::new(address, options.proxies.clone()));
        let slots = Slots::new(options.connections_max, Some((sessions.clone(), addresses.clone())));
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            documents,
            sessions: sessions.clone(),
            draining: draining.clone(),
            path_decode: options.path_decode,
            judges: Judges { authority: options.authority.clone(), webhook: options.webhook.clone() },
            demo: options.demo,
            ysweet: YSweet::new(options.public_url.clone(), options.tls.is_some()),
            pages: origin::Gate::new(options.origins.clone()),
            proxies: options.proxies.clone(),
            principals: RandomState::new(),
            addresses,
            users: Accounts::new(user),
            budgets: Arc::new(Budgets::new(connection, patience, sessions.over_budget())),
            denied: AtomicU32::new(0),
            timing,
        });
        let filter = routes::public(shared);
        let accepting =
            tokio::spawn(accept::run(listener, slots.clone(), options.tls.clone(), MESSAGE_BYTES_MAX, filter, stopped));
        Ok(Self { addr, sessions, slots, draining, stop, accepting })
    }

    /// Where it listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.slots.used()
    }

    /// Stops accepting, closes every session with [`CloseReason::Restart`], evenly over `spread` so that not all clients
    /// come back in the same moment, and returns when the last one is gone or has had [`CLOSE_TIMEOUT`] for it.
    pub async fn drain(self, spread: Duration) {
        self.draining.set();
        self.stop.send_replace(true);
        // Fails only when the loop panicked; then nothing accepts either.
        let _ = self.accepting.await;
        let open = self.sessions.refuse_more();
        let (count, began) = (open.len(), tokio::time::Instant::now());
        tracing::info!(sessions = count, "closing sessions");
        for (index, outbox) in open.into_iter().enumerate() {
            let at = began + spread.mul_f64(index as f64 / count as f64);
            if at > tokio::time::Instant::now() + DRAIN_STEP {
                tokio::time::sleep_until(at).await;
            }
            outbox.close(CloseReason::Restart);
        }
        // A little more than a handshake may take, so that a session's own end comes first.
        if tokio::time::timeout(CLOSE_TIMEOUT + Duration::from_millis(500), self.sessions.all_gone()).await.is_err() {
            tracing::warn!(sessions = self.sessions.len(), "some sessions did not end in time");
        }
    }
}

/// How the admin listener behaves.
#[derive(Clone)]
pub struct AdminOptions {
    /// What callers of `/api/v1` may send as bearer token…
    pub credential: String,
    /// …or else a token that this takes, with the claim `admin`.
    pub authority: Option<Arc<Authority>>,
    /// Over how long clients are sent away on a drain, to be told to who asks for one.
    pub drain: Duration,
    /// The list of revoked tokens, which a backup takes along.
    pub revoked: ReadRevoked,
    /// What was read anew, to be told.
    pub reloads: Arc<Reloads>,
    /// Who else is asked about tokens, to be told of.
    pub webhook: Option<Arc<Webhook>>,
    /// Where what admins do is recorded.
    pub audit: Option<Arc<Audit>>,
    /// What TLS is spoken with on the other listener, to be told.
    pub tls: Option<Arc<Tls>>,
}

/// Reads the list of revoked tokens as it is on disk, empty where there is none; blocks. It is kept also while no tokens
/// are asked for.
pub type ReadRevoked = Arc<dyn Fn() -> Result<Vec<u8>, String> + Send + Sync>;

/// The admin listener (contract 2.3). Dropping it stops accepting.
pub struct AdminServer {
    addr: SocketAddr,
    slots: Slots,
    stop: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl AdminServer {
    /// Starts to listen and accept; call within a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(
        address: Address,
        options: &AdminOptions,
        hub: Hub,
        sessions: Sessions,
        draining: DrainFlag,
    ) -> io::Result<Self> {
        let listener = address.listen()?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let filter = admin::filter(Api::new(hub, sessions, draining, options));
        let slots = Slots::new(ADMIN_CONNECTIONS_MAX, None);
        let running = accept::run(listener, slots.clone(), None, ADMIN_BODY_BYTES_MAX, filter, stopped);
        Ok(Self { addr, slots, stop, accepting: tokio::spawn(running) })
    }

    /// Where it listens, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting, and gives answers that have begun [`ADMIN_STOP_TIMEOUT`] to reach their callers: one of them may
    /// be that to the drain itself.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // Fails only when the loop panicked; then nothing accepts either.
        let _ = self.accepting.await;
        let deadline = tokio::time::Instant::now() + ADMIN_STOP_TIMEOUT;
        while self.slots.used() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(DRAIN_STEP).await;
        }
    }
}
