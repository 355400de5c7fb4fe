//! TLS of the public listener: certificate and key, read anew when that is wanted, and a socket that is written to
//! directly, as a plain one is.
//!
//! A document's task writes frames into sockets without waiting ([`super::outbox`]). With TLS what it writes becomes
//! records in a buffer of the connection's first, of which the kernel may take a part. So that nothing is ever left there
//! unnoticed, a write that could not be passed on whole is said to be one byte shorter than it was: the outbox comes back
//! for that byte once the socket has room, and by then the rest can leave.

use std::io::{self, IoSlice, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, ready};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use tokio::io::ReadBuf;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::certificate;
use crate::auth::files;
use crate::config::TlsSettings;

/// A certificate and its key, as they were last read.
pub struct Tls {
    files: TlsSettings,
    serving: RwLock<Serving>,
}

/// What is shown to those who come now.
#[derive(Clone)]
struct Serving {
    config: Arc<ServerConfig>,
    /// When the certificate ends, seconds since 1970, if it says so.
    ends_s: Option<u64>,
}

/// Shows no key.
impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({:?}, ***)", self.files.cert)
    }
}

impl Tls {
    /// Reads both files.
    ///
    /// # Errors
    /// What is wrong with them, and what to do about it.
    pub fn open(files: TlsSettings) -> Result<Self, String> {
        let serving = RwLock::new(read(&files)?);
        Ok(Self { files, serving })
    }

    /// Reads both files anew, for connections that come from now on.
    ///
    /// # Errors
    /// As [`Tls::open`]; nothing has changed then.
    pub fn reload(&self) -> Result<(), String> {
        let serving = read(&self.files)?;
        *self.serving.write().unwrap_or_else(PoisonError::into_inner) = serving;
        Ok(())
    }

    /// For one handshake.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.serving().config.into()
    }

    /// When the certificate ends, seconds since 1970, if it says so.
    pub(super) fn ends_s(&self) -> Option<u64> {
        self.serving().ends_s
    }

    fn serving(&self) -> Serving {
        self.serving.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(files: &TlsSettings) -> Result<Serving, String> {
    let TlsSettings { cert, key } = files;
    let wrong = |path: &PathBuf, why: String| format!("the file {} cannot be used for TLS: {why}", path.display());
    let text = files::open_to_all(cert).map_err(|error| error.to_string())?;
    let chain: Result<Vec<CertificateDer<'static>>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = chain.map_err(|error| wrong(cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(cert, "it holds no certificate in PEM".to_owned()));
    }
    let ends_s = chain.first().and_then(|own| certificate::ends_s(own));
    let text = files::owners_only(key).map_err(|error| error.to_string())?;
    // Never what the parser says, which may quote the file.
    let parsed = PrivateKeyDer::from_pem_slice(text.as_bytes());
    let parsed = parsed.map_err(|_| wrong(key, "it holds no private key in PEM".to_owned()))?;
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, parsed)
        .map_err(|error| wrong(cert, format!("{error}; is it the certificate of the key in {}?", key.display())))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Serving { config: Arc::new(config), ends_s })
}

/// A socket behind its handshake, shared by whoever reads and whoever writes.
pub(super) struct TlsSocket {
    stream: TcpStream,
    state: Mutex<State>,
}

struct State {
    connection: ServerConnection,
    /// The last byte that was written was not said to be: it will be offered again.
    owes_one: bool,
}

impl TlsSocket {
    pub(super) fn new(stream: TcpStream, connection: ServerConnection) -> Self {
        Self { stream, state: Mutex::new(State { connection, owes_one: false }) }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// As [`tokio::io::AsyncRead`]: ready with nothing at the end.
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let read = self.state().connection.reader().read(buf.initialize_unfilled());
            match read {
                Ok(bytes) => {
                    buf.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The line ended without a word of it, as lines do.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
            ready!(self.stream.poll_read_ready(cx))?;
            let mut state = self.state();
            match state.connection.read_tls(&mut Raw(&self.stream)) {
                Ok(0) => return Poll::Ready(Ok(())),
                Ok(_) => {
                    let processed = state.connection.process_new_packets();
                    // An answer to what came, an alert above all; as far as it goes.
                    let _ = state.flush(&self.stream);
                    if let Err(error) = processed {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Writes a prefix of all `slices` together, as a socket would.
    pub(super) fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.state();
        if !state.flush(&self.stream)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut skip = usize::from(std::mem::take(&mut state.owes_one));
        let mut written = 0;
        for slice in slices {
            let skipped = skip.min(slice.len());
            skip -= skipped;
            written += skipped;
            let rest = slice.get(skipped..).unwrap_or_default();
            if rest.is_empty() {
                continue;
            }
            let taken = state.connection.writer().write(rest)?;
            written += taken;
            if taken < rest.len() {
                break;
            }
        }
        if state.flush(&self.stream)? || written == 0 {
            return Ok(written);
        }
        state.owes_one = true;
        if written > 1 { Ok(written - 1) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    /// Tells the client that nothing more will come; as far as the socket takes it at once.
    pub(super) fn say_end(&self) {
        let mut state = self.state();
        state.connection.send_close_notify();
        let _ = state.flush(&self.stream);
    }

    /// No code under this lock panics with its state half changed.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Passes on what was encrypted; false when the socket is full before all of it is gone.
    fn flush(&mut self, stream: &TcpStream) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Raw(stream)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// The socket below, which never waits.
struct Raw<'a>(&'a TcpStream);

impl Read for Raw<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl Write for Raw<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(bufs)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
