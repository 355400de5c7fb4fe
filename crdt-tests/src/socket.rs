//! A WebSocket of our own: sends any bytes, reads only when told to, and keeps all it was sent.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, WebSocket};

use crate::message;
use crate::wait::PATIENCE;

/// One connection to a document. Pings are answered while it reads; a socket that does not read is a slow reader.
pub struct Socket {
    ws: WebSocket<TcpStream>,
    acks: u64,
    /// Every binary frame received, in order.
    pub frames: Vec<Vec<u8>>,
    /// How the other side ended the connection: its close code, or none when the line just ended.
    pub closed: Option<Option<u16>>,
}

impl Socket {
    /// Connects and shakes hands. `path` is sent as it is, percent-encoding and all.
    pub fn connect(addr: SocketAddr, path: &str) -> Self {
        Self::try_connect(addr, path).unwrap_or_else(|e| panic!("cannot connect to /{path}: {e}"))
    }

    /// Connects and asks for everything, which is how the server comes to know a y-websocket client.
    pub fn greet(addr: SocketAddr, path: &str) -> Self {
        let mut socket = Self::connect(addr, path);
        socket.send(message::step1_empty());
        socket
    }

    /// As [`Socket::connect`], for handshakes that may be refused.
    pub fn try_connect(addr: SocketAddr, path: &str) -> Result<Self, tungstenite::Error> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let request = format!("ws://{addr}/{path}").into_client_request()?;
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (ws, _) = tungstenite::client::client_with_config(request, stream, Some(config)).map_err(|e| match e {
            tungstenite::HandshakeError::Failure(e) => e,
            tungstenite::HandshakeError::Interrupted(_) => tungstenite::Error::Io(std::io::ErrorKind::TimedOut.into()),
        })?;
        Ok(Self { ws, acks: 0, frames: Vec::new(), closed: None })
    }

    /// Sends one binary frame. A connection that the server has ended is no error here: tests ask [`Socket::closed`].
    pub fn send(&mut self, frame: impl Into<Vec<u8>>) {
        self.send_message(Message::binary(frame.into()));
    }

    /// Sends one text frame.
    pub fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text));
    }

    /// Sends any WebSocket message.
    pub fn send_message(&mut self, message: Message) {
        let _ = self.ws.send(message);
    }

    /// Sends bytes as they are, past the WebSocket layer.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.ws.get_mut().write_all(bytes);
    }

    /// The stream below.
    pub fn stream(&self) -> &TcpStream {
        self.ws.get_ref()
    }

    /// Cuts the line: no close frame.
    pub fn cut(self) {
        let _ = self.ws.get_ref().shutdown(std::net::Shutdown::Both);
    }

    /// Sends a close frame.
    pub fn close(&mut self) {
        let _ = self.ws.close(None);
        let _ = self.ws.flush();
    }

    /// The next binary frame within `deadline`; none when there was none or the connection has ended.
    pub fn next(&mut self, deadline: Duration) -> Option<Vec<u8>> {
        let start = Instant::now();
        while self.closed.is_none() {
            let left = deadline.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
            self.ws.get_ref().set_read_timeout(Some(left)).expect("a timeout above zero");
            let before = self.frames.len();
            match self.ws.read() {
                Ok(message) => self.take(message),
                Err(tungstenite::Error::Io(e)) if is_timeout(&e) => return None,
                Err(_) => self.closed = Some(None),
            }
            if self.frames.len() > before {
                return self.frames.last().cloned();
            }
        }
        None
    }

    /// Reads what has arrived already.
    pub fn poll(&mut self) {
        self.stream().set_nonblocking(true).expect("a mode");
        while self.closed.is_none() {
            match self.ws.read() {
                Ok(message) => self.take(message),
                Err(tungstenite::Error::Io(e)) if is_timeout(&e) => break,
                Err(_) => self.closed = Some(None),
            }
        }
        self.stream().set_nonblocking(false).expect("a mode");
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Binary(bytes) => self.frames.push(bytes.to_vec()),
            Message::Text(text) => panic!("the server sent a text frame: {text:?}"),
            Message::Close(frame) => {
                self.closed = Some(frame.map(|frame| frame.code.into()));
                let _ = self.ws.flush();
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
    }

    /// Reads until a frame satisfies `wanted`; panics with `what` at the deadline or at the end of the connection.
    pub fn until(&mut self, what: &str, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.next(left) {
                Some(frame) if wanted(&frame) => return frame,
                Some(_) => {}
                None => panic!("no {what}; closed: {:?}, {} frames received", self.closed, self.frames.len()),
            }
        }
    }

    /// Waits for the end of the connection and gives the close code.
    pub fn until_closed(&mut self, deadline: Duration) -> Option<u16> {
        let start = Instant::now();
        while self.closed.is_none() {
            let left = deadline.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "the connection is still open after {deadline:?}");
            self.next(left);
        }
        self.closed.flatten()
    }

    /// Asks for an ack of all sent so far and waits for its echo.
    pub fn ack(&mut self) {
        self.acks += 1;
        let request = message::ack(self.acks);
        self.send(request.clone());
        self.until("echo of message 102", |frame| frame == request);
    }

    /// Asks for all and waits for the whole answer, as one update.
    pub fn pull(&mut self, state_vector: &[u8]) -> Vec<u8> {
        self.send(message::step1(state_vector));
        let (mut answer, mut whole) = (message::Answer::default(), None);
        self.until("SyncStep2", |frame| {
            whole = answer.take(frame);
            whole.is_some()
        });
        whole.expect("it came")
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
