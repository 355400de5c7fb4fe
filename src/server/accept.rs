//! Our own accept loop around warp's filters: what a listener needs before the first byte of HTTP is understood.
//!
//! `warp::serve` has no limit on connections, no deadline for a request head and leaves Nagle on; a server that faces
//! clients needs all three (HARDENING §2). This room knows nothing of routes.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use warp::http::Request;
use warp::{Filter, Reply};

use super::accounts::{Addresses, Seat};
use super::sessions::Sessions;
use super::spending::Per;
use super::tls::Tls;
use crate::limits::{ACCEPT_BACKLOG, ACCEPT_PAUSE, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_TIMEOUT, HTTP_HEADERS_MAX};

/// What a connection over the cap is told, as far as its socket takes it at once.
const OVER_THE_CAP: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// An address that is ours, at which nobody is heard yet. Taken before anything on disk is touched, so that a port in use
/// costs nothing.
#[derive(Debug)]
pub struct Address(Socket);

impl Address {
    /// Takes `addr`; port 0 takes a free one.
    ///
    /// Accepted sockets inherit TCP_NODELAY: each edit is a small write that somebody waits for.
    ///
    /// # Errors
    /// What the kernel says, most often that the port is in use.
    pub fn take(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        // A restarted server must not wait for connections of its predecessor to time out.
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        Ok(Self(socket))
    }

    /// Starts to listen. Call within a tokio runtime.
    pub(super) fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(ACCEPT_BACKLOG)?;
        TcpListener::from_std(self.0.into())
    }
}

/// How many connections may be open, and how many are.
#[derive(Clone)]
pub(super) struct Slots {
    used: Arc<AtomicUsize>,
    max: usize,
    /// Who is told of those that are turned away, and who has a place for them; nobody where admins come.
    clients: Option<(Sessions, Arc<Addresses>)>,
}

impl Slots {
    pub(super) fn new(max: usize, clients: Option<(Sessions, Arc<Addresses>)>) -> Self {
        Self { used: Arc::default(), max, clients }
    }

    /// Connections open now, whether they speak HTTP or WebSocket.
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, remote: SocketAddr) -> Option<Slot> {
        let next = |used| (used < self.max).then_some(used + 1);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_err() {
            self.clients.iter().for_each(|(sessions, _)| sessions.note_over_the_cap());
            return None;
        }
        let mut slot = Occupied { remote, used: self.used.clone(), seat: None, sessions: None };
        if let Some((sessions, addresses)) = &self.clients {
            slot.sessions = Some(sessions.clone());
            let seat = addresses.seat(remote.ip()).inspect_err(|full| sessions.note_no_seat(Per::Address, *full));
            slot.seat = seat.ok()?;
        }
        Some(Slot(Arc::new(slot)))
    }
}

/// One connection's place under the cap, free again when its last holder drops it. Found in each request's extensions.
#[derive(Clone)]
pub(super) struct Slot(Arc<Occupied>);

struct Occupied {
    remote: SocketAddr,
    used: Arc<AtomicUsize>,
    /// Who counts those that take too long, if anybody.
    sessions: Option<Sessions>,
    /// Among those of its address, where their number or what they spend is limited.
    seat: Option<Seat>,
}

impl Slot {
    /// It took too long to say what it wants.
    fn note_too_slow(&self) {
        self.0.sessions.iter().for_each(Sessions::note_too_slow);
    }

    /// Its place among those of its address, if it has one.
    pub(super) fn seat(&self) -> Option<Seat> {
        self.0.seat.clone()
    }

    /// Who connected.
    pub(super) fn remote(&self) -> SocketAddr {
        self.0.remote
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until `stop` says so, and serves each connection by a task of its own; no request may have a body of more than
/// `body_bytes_max`. Returns with the listener closed; connections that are answering go on to the end of their answer,
/// upgraded ones are none of its business.
pub(super) async fn run<F>(
    listener: TcpListener,
    slots: Slots,
    tls: Option<Arc<Tls>>,
    body_bytes_max: usize,
    filter: F,
    mut stop: watch::Receiver<bool>,
) where
    F: Filter<Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    let mut exhausted = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                if std::mem::take(&mut exhausted) {
                    tracing::info!("connections are accepted again");
                }
                match slots.take(remote) {
                    Some(slot) => {
                        let (filter, stop) = (filter.clone(), stop.clone());
                        match &tls {
                            None => drop(tokio::spawn(serve(stream, slot, body_bytes_max, filter, stop))),
                            Some(tls) => {
                                drop(tokio::spawn(secure(stream, tls.acceptor(), slot, body_bytes_max, filter, stop)));
                            }
                        }
                    }
                    None => turn_away(stream),
                }
            }
            Err(error) if is_exhaustion(&error) => {
                // The connection stays in the backlog, so the listener stays ready: without a pause this would spin.
                if !std::mem::replace(&mut exhausted, true) {
                    tracing::error!(%error, "failed to accept connections; raise the limit on open files");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // The client left between handshake and accept; the next one is not affected.
            Err(error) => tracing::debug!(%error, "failed to accept a connection"),
        }
    }
}

/// Whether the process or the machine has run out of something: EMFILE, ENFILE, ENOBUFS, ENOMEM.
fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error
        .raw_os_error()
        .map(Errno::from_raw_os_error)
        .is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

fn turn_away(stream: TcpStream) {
    tracing::debug!("a connection over the cap is turned away");
    if let Ok(mut stream) = stream.into_std() {
        // Non-blocking and best effort: whoever cannot be told finds the connection closed.
        let _ = stream.write(OVER_THE_CAP);
    }
}

/// Shakes hands for TLS, then serves. A stranger may take no longer for it than for a request's head.
async fn secure<F>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    slot: Slot,
    body_bytes_max: usize,
    filter: F,
    mut stop: watch::Receiver<bool>,
) where
    F: Filter<Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    let remote = slot.remote();
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(HTTP_HEAD_TIMEOUT, acceptor.accept(stream)) => shaken,
        _ = stop.wait_for(|stopped| *stopped) => return,
    };
    match shaken {
        Ok(Ok(stream)) => Box::pin(serve(stream, slot, body_bytes_max, filter, stop)).await,
        Ok(Err(error)) => tracing::debug!(%remote, %error, "a tls handshake failed"),
        Err(_) => {
            slot.note_too_slow();
            tracing::debug!(%remote, "a tls handshake took too long");
        }
    }
}

async fn serve<S, F>(stream: S, slot: Slot, body_bytes_max: usize, filter: F, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Filter<Error = std::convert::Infallible> + Clone + Send + Sync + 'static,
    F::Extract: Reply,
    F::Future: Send,
{
    let remote = slot.remote();
    let this = slot.clone();
    let inner = TowerToHyperService::new(warp::service(filter));
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(|body| Limited::new(body, body_bytes_max));
        request.extensions_mut().insert(slot.clone());
        inner.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD_TIMEOUT)
        .max_buf_size(HTTP_HEAD_BYTES_MAX)
        .max_headers(HTTP_HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => Some(served),
        _ = stop.wait_for(|stopped| *stopped) => None,
    };
    let served = match served {
        Some(served) => served,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        if error.is_timeout() {
            this.note_too_slow();
        }
        tracing::debug!(%remote, %error, "an http connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_counted_and_given_back() {
        let remote = SocketAddr::from(([127, 0, 0, 1], 9));
        let slots = Slots::new(2, None);
        let first = slots.take(remote).unwrap();
        let second = slots.take(remote).unwrap();
        assert!(slots.take(remote).is_none());
        let shared = first.clone();
        drop(first);
        assert_eq!(slots.used(), 2);
        drop(shared);
        assert_eq!(slots.used(), 1);
        assert!(slots.take(remote).is_some());
        drop(second);
    }

    #[test]
    fn running_out_of_descriptors_is_told_from_a_client_that_left() {
        assert!(is_exhaustion(&io::Error::from_raw_os_error(24)));
        assert!(!is_exhaustion(&io::ErrorKind::ConnectionAborted.into()));
    }
}
