//! Bodies of requests and answers: read in pieces under a bound, written whole or in pieces with back-pressure.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures_core::Stream;
use serde::Serialize;
use tokio::sync::mpsc;
use warp::Reply;
use warp::http::{Response, StatusCode};

use super::error::Problem;
use super::routes;
use crate::limits::{ADMIN_BODY_STALL_TIMEOUT, ADMIN_STREAM_PIECES_MAX};

// ---- requests -----------------------------------------------------------------------------------------------------

/// A request's body, of which nothing is read before somebody asks for it.
pub(super) struct RequestBody {
    pieces: Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>,
    /// Bytes that may still come.
    left: usize,
    bytes_max: usize,
}

/// A body that was read already.
struct Once(Option<Bytes>);

impl Stream for Once {
    type Item = Result<Bytes, warp::Error>;

    fn poll_next(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.take().map(Ok))
    }
}

impl RequestBody {
    /// What was read of another one.
    pub(super) fn read(bytes: Bytes) -> Self {
        let bytes_max = bytes.len();
        Self { pieces: Box::pin(Once(Some(bytes))), left: bytes_max, bytes_max }
    }

    /// `pieces` as warp gives them, at most `bytes_max` bytes altogether.
    pub(super) fn new<B: Buf>(
        pieces: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
        bytes_max: usize,
    ) -> Self {
        Self { pieces: Box::pin(Pieces(Box::pin(pieces))), left: bytes_max, bytes_max }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// 413 beyond the bound of the route; 408 when nothing more comes; 400 when the caller has left in the middle, who
    /// will hardly hear it.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let next = std::future::poll_fn(|cx| self.pieces.as_mut().poll_next(cx));
        let next = tokio::time::timeout(ADMIN_BODY_STALL_TIMEOUT, next).await;
        let piece = match next.map_err(|_| Problem::request_timeout(ADMIN_BODY_STALL_TIMEOUT))? {
            None => return Ok(None),
            Some(Ok(piece)) => piece,
            Some(Err(error)) if is_over_the_limit(&error) => return Err(Problem::too_large(self.bytes_max)),
            Some(Err(error)) => return Err(Problem::bad_request(format!("the body ends early: {error}"))),
        };
        self.left = self.left.checked_sub(piece.len()).ok_or_else(|| Problem::too_large(self.bytes_max))?;
        Ok(Some(piece))
    }

    /// All of it, for those who cannot use less. Memory grows with what has come, not with what was announced.
    ///
    /// # Errors
    /// As [`RequestBody::next`].
    pub(super) async fn whole(mut self) -> Result<Bytes, Problem> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut whole = BytesMut::from(first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// warp's pieces as [`Bytes`]; they are such already, so nothing is copied.
struct Pieces<S>(Pin<Box<S>>);

impl<S, B> Stream for Pieces<S>
where
    S: Stream<Item = Result<B, warp::Error>>,
    B: Buf,
{
    type Item = Result<Bytes, warp::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let piece = self.0.as_mut().poll_next(cx);
        piece.map(|piece| piece.map(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining()))))
    }
}

/// Whether the listener itself found the body too long.
fn is_over_the_limit(error: &warp::Error) -> bool {
    let mut error: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = error {
        if cause.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        error = cause.source();
    }
    false
}

// ---- answers ------------------------------------------------------------------------------------------------------

/// The kind of an answer that is one JSON value a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// What a caller is told: all at once, or piece by piece while it is made.
pub(super) enum Answer {
    Whole(Response<Bytes>),
    Streamed(&'static str, mpsc::Receiver<Result<Bytes, Broken>>),
}

/// Ends a streamed answer before its end, so that its reader cannot take it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the answer breaks off: {0}")]
pub(super) struct Broken(String);

/// The caller has left, or takes nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left;

/// Where the pieces of a streamed answer go in. At most [`ADMIN_STREAM_PIECES_MAX`] of them wait for the socket; whoever
/// makes them waits then, and is told when the caller has left.
pub(super) struct Pen(mpsc::Sender<Result<Bytes, Broken>>);

impl Pen {
    /// Writes one piece, when there is room. A piece should be 64 KiB or so.
    ///
    /// # Errors
    /// [`Left`]; stop working then.
    pub(super) async fn write(&self, piece: impl Into<Bytes>) -> Result<(), Left> {
        self.0.send(Ok(piece.into())).await.map_err(|_| Left)
    }

    /// The same from a thread that may block, such as one of `spawn_blocking`.
    ///
    /// # Errors
    /// [`Left`]; stop working then.
    pub(super) fn write_blocking(&self, piece: impl Into<Bytes>) -> Result<(), Left> {
        self.0.blocking_send(Ok(piece.into())).map_err(|_| Left)
    }

    /// Writes one value as a line of JSON.
    ///
    /// # Errors
    /// [`Left`]; stop working then.
    pub(super) async fn line(&self, value: &impl Serialize) -> Result<(), Left> {
        self.write(json_line(value)).await
    }

    /// The same from a thread that may block.
    ///
    /// # Errors
    /// [`Left`]; stop working then.
    #[expect(dead_code, reason = "backups and repairs, whose routes come next, block")]
    pub(super) fn line_blocking(&self, value: &impl Serialize) -> Result<(), Left> {
        self.write_blocking(json_line(value))
    }

    /// Breaks the answer off, when what was begun cannot be brought to its end: the caller sees a transfer that failed,
    /// not a short one. The status has left already, so this is all that can be told; log the cause.
    #[expect(dead_code, reason = "backups and repairs, whose routes come next, block")]
    pub(super) async fn break_off(self, why: impl ToString) {
        // Should the caller have left, nobody needs to be told.
        let _ = self.0.send(Err(Broken(why.to_string()))).await;
    }
}

/// An answer that `write` makes in a task of its own; it ends when `write` drops its pen.
pub(super) fn streamed<F>(kind: &'static str, write: impl FnOnce(Pen) -> F) -> Answer
where
    F: Future<Output = ()> + Send + 'static,
{
    let (pen, pieces) = mpsc::channel(ADMIN_STREAM_PIECES_MAX);
    tokio::spawn(write(Pen(pen)));
    Answer::Streamed(kind, pieces)
}

/// One JSON value.
pub(super) fn json(value: &impl Serialize) -> Answer {
    routes::content("application/json", encoded(value)).into()
}

/// One JSON value, of something that has only begun.
pub(super) fn accepted(value: &impl Serialize) -> Answer {
    let mut response = routes::content("application/json", encoded(value));
    *response.status_mut() = StatusCode::ACCEPTED;
    response.into()
}

/// Bytes that mean something to a program.
pub(super) fn binary(bytes: Bytes) -> Answer {
    routes::content("application/octet-stream", bytes).into()
}

fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = encoded(value);
    line.push(b'\n');
    line
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    match serde_json::to_vec(value) {
        Ok(body) => body,
        // The reports are plain structs with string keys; their encoding cannot fail.
        Err(error) => panic!("a report cannot be encoded: {error}"),
    }
}

impl From<Response<Bytes>> for Answer {
    fn from(response: Response<Bytes>) -> Self {
        Self::Whole(response)
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        Self::Whole(problem.into_response())
    }
}

impl Reply for Answer {
    fn into_response(self) -> warp::reply::Response {
        match self {
            Answer::Whole(response) => response.into_response(),
            Answer::Streamed(kind, pieces) => {
                // The head is that of any other answer; only the body comes by another way.
                let (head, _) = routes::content(kind, Bytes::new()).into_parts();
                let mut response = warp::reply::stream(Received(pieces)).into_response();
                *response.headers_mut() = head.headers;
                response
            }
        }
    }
}

/// A channel as the stream that HTTP takes a body from.
struct Received(mpsc::Receiver<Result<Bytes, Broken>>);

impl Stream for Received {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_writes_waits_for_the_reader_and_hears_that_it_left() {
        let (report, mut reported) = mpsc::unbounded_channel();
        let answer = streamed(NDJSON, async move |pen| {
            for number in 0u64.. {
                let written = pen.line(&number).await;
                report.send((number, written)).unwrap();
                if written.is_err() {
                    return;
                }
            }
        });
        let Answer::Streamed(_, mut pieces) = answer else { panic!("it is streamed") };
        for number in 0..ADMIN_STREAM_PIECES_MAX as u64 {
            assert_eq!(reported.recv().await, Some((number, Ok(()))));
        }
        tokio::task::yield_now().await;
        assert!(reported.try_recv().is_err(), "the bound is reached");
        assert_eq!(pieces.recv().await.unwrap().unwrap(), "0\n");
        assert_eq!(reported.recv().await, Some((ADMIN_STREAM_PIECES_MAX as u64, Ok(()))));
        drop(pieces);
        assert_eq!(reported.recv().await, Some((ADMIN_STREAM_PIECES_MAX as u64 + 1, Err(Left))));
        assert_eq!(reported.recv().await, None, "the task has ended");
    }

    /// A body that comes in these pieces.
    struct Given(std::vec::IntoIter<&'static [u8]>);

    impl Stream for Given {
        type Item = Result<Bytes, warp::Error>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            Poll::Ready(self.0.next().map(|piece| Ok(Bytes::from_static(piece))))
        }
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_their_bound() {
        let body = |bytes_max| RequestBody::new(Given(vec![&b"ab"[..], b"c", b"de"].into_iter()), bytes_max);
        assert_eq!(body(5).whole().await.unwrap(), "abcde");
        assert_eq!(body(4).whole().await, Err(Problem::too_large(4)));
        let mut pieces = body(4);
        assert_eq!(pieces.next().await.unwrap().unwrap(), "ab");
        assert_eq!(pieces.next().await.unwrap().unwrap(), "c");
        assert_eq!(pieces.next().await, Err(Problem::too_large(4)));
    }
}
