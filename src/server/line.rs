//! A client's line once HTTP is done with it: a TCP stream as it is, or TLS on one. Nothing is between a plain one and its
//! session but the question which of both it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

use super::outbox::Socket;
use super::tls::TlsSocket;

/// Where a session reads.
pub(super) enum Reader {
    Plain(OwnedReadHalf),
    Tls(Arc<TlsSocket>),
}

/// Where its outbox writes.
pub(super) enum Writer {
    Plain(OwnedWriteHalf),
    Tls(Arc<TlsSocket>),
}

/// Both ends of a line.
pub(super) type Line = (Reader, Writer);

/// A line, and what came on it before anybody listened; `None` when it is of no kind that we serve.
pub(super) fn take_over(upgraded: Upgraded) -> Option<(Line, Vec<u8>)> {
    // What was read is copied: the buffer is 8 KiB of hyper's, and as a rule holds nothing.
    let upgraded = match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let (reader, writer) = parts.io.into_inner().into_split();
            return Some(((Reader::Plain(reader), Writer::Plain(writer)), parts.read_buf.to_vec()));
        }
        Err(upgraded) => upgraded,
    };
    let parts = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>().ok()?;
    let (stream, connection) = parts.io.into_inner().into_inner();
    let socket = Arc::new(TlsSocket::new(stream, connection));
    Some(((Reader::Tls(socket.clone()), Writer::Tls(socket)), parts.read_buf.to_vec()))
}

impl Reader {
    /// Reads what is there; ready with nothing at the end.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Reader::Plain(reader) => Pin::new(reader).poll_read(cx, buf),
            Reader::Tls(socket) => socket.poll_read(cx, buf),
        }
    }
}

impl Writer {
    /// The socket at the bottom.
    pub(super) fn stream(&self) -> &TcpStream {
        match self {
            Writer::Plain(writer) => writer.as_ref(),
            Writer::Tls(socket) => socket.stream(),
        }
    }

    /// Says in its own language, if it has one, that nothing more will come.
    pub(super) fn say_end(&self) {
        match self {
            Writer::Plain(_) => {}
            Writer::Tls(socket) => socket.say_end(),
        }
    }
}

impl Socket for Writer {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Writer::Plain(writer) => writer.try_write(bytes),
            Writer::Tls(socket) => socket.try_write_vectored(&[IoSlice::new(bytes)]),
        }
    }

    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Writer::Plain(writer) => writer.try_write_vectored(slices),
            Writer::Tls(socket) => socket.try_write_vectored(slices),
        }
    }
}
