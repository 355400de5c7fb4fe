//! The admin API seen from the outside (contract 2.3): requests, answers, and what its errors mean for a command.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::failure::Failure;
use super::now_ms;
use crate::auth::RevokeReport;
use crate::data_dir::AdminFile;
use crate::hub::{
    CompactReport, DeleteReport, DocActivity, DocReport, DocSummary, ImportReport, ListQuery, StorageReport,
    VacuumProgress, VacuumReport, VerifyPage, VerifyQuery, VerifyReport,
};
use crate::ids::DocName;
use crate::limits::LIST_MAX;
use crate::metrics::Durations;

/// Time to reach a listener on the same machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest line of an answer that comes line by line, bytes; the longest is a report with some damaged records named.
const LINE_BYTES_MAX: usize = 1 << 20;

/// One connection to the admin listener, made anew when the server has closed it.
pub(super) struct AdminClient {
    addr: SocketAddr,
    pid: u32,
    credential: String,
    sender: SendRequest<Full<Bytes>>,
    /// How often the connection was lost and made anew.
    dialed: u32,
}

/// An answer that comes piece by piece.
pub(super) struct Streamed {
    addr: SocketAddr,
    pid: u32,
    body: Incoming,
}

impl Streamed {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| {
                let Self { addr, pid, .. } = self;
                Failure::open(format!("the server on {addr} (pid {pid}) broke off its answer: {error}; see its log"))
            })?;
            // Trailers say nothing to us.
            if let Ok(piece) = frame.into_data() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }
}

/// The answer of `GET top`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Sample {
    pub(super) uptime_ms: u64,
    pub(super) connections: u64,
    pub(super) behind: u64,
    pub(super) documents: u64,
    pub(super) updates_total: u64,
    pub(super) received_bytes_total: u64,
    pub(super) sent_bytes_total: u64,
    pub(super) ack: Durations,
    pub(super) journal_pending_bytes: u64,
    pub(super) unacked: u64,
    pub(super) oldest_unacked_ms: u64,
    pub(super) store_bytes: Option<u64>,
    pub(super) disk_free_bytes: Option<u64>,
    pub(super) disk_total_bytes: Option<u64>,
    pub(super) storage_failed: Option<String>,
    pub(super) docs: Vec<DocActivity>,
}

/// The answer of `GET docs`.
#[derive(Deserialize)]
pub(super) struct DocPage {
    pub(super) docs: Vec<DocSummary>,
    next: Option<DocName>,
}

/// `application/problem+json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    detail: String,
    deleted_ms: Option<u64>,
}

impl Problem {
    fn parse(answer: &[u8]) -> Self {
        serde_json::from_slice(answer).unwrap_or_default()
    }
}

impl AdminClient {
    /// Connects to the server that `admin` announces.
    pub(super) async fn connect(admin: &AdminFile) -> Result<Self, Failure> {
        let addr = reachable(admin.admin);
        let sender = dial(addr).await.map_err(|why| unreachable(addr, admin.pid, &why))?;
        Ok(Self { addr, pid: admin.pid, credential: admin.credential.clone(), sender, dialed: 0 })
    }

    /// Documents by name, page by page, at most `limit`.
    pub(super) async fn list(&mut self, query: ListQuery) -> Result<Vec<DocSummary>, Failure> {
        let ListQuery { prefix, mut after, limit, deleted } = query;
        let mut listed: Vec<DocSummary> = Vec::new();
        loop {
            let want = limit.map_or(LIST_MAX, |limit| limit.saturating_sub(listed.len()).min(LIST_MAX));
            if want == 0 {
                return Ok(listed);
            }
            let asked = ListQuery { prefix: prefix.clone(), after: after.clone(), limit: Some(want), deleted };
            let page = self.page(&asked).await?;
            listed.extend(page.docs);
            match page.next {
                // A server that repeats itself must not keep us here for ever.
                Some(next) if Some(&next) > after.as_ref() => after = Some(next),
                Some(_) => return Err(Failure::open(format!("the server on {} repeats a page", self.addr))),
                None => return Ok(listed),
            }
        }
    }

    /// One page of documents by name.
    pub(super) async fn page(&mut self, query: &ListQuery) -> Result<DocPage, Failure> {
        let limit = query.limit.unwrap_or(LIST_MAX);
        let mut path = format!("/api/v1/docs?limit={limit}&prefix={}", encoded(&query.prefix));
        if query.deleted {
            path.push_str("&deleted=true");
        }
        if let Some(after) = &query.after {
            path.push_str("&after=");
            path.push_str(&encoded(after.as_str()));
        }
        self.json(Method::GET, &path).await
    }

    /// What is stored, live and dead.
    pub(super) async fn storage(&mut self) -> Result<StorageReport, Failure> {
        self.json(Method::GET, "/api/v1/store").await
    }

    /// Gives disk space back; `told` hears how far that has come.
    pub(super) async fn vacuum(
        &mut self,
        dry_run: bool,
        told: impl Fn(VacuumProgress),
    ) -> Result<VacuumReport, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Line {
            Progress(VacuumProgress),
            Done(VacuumReport),
            Stopped { problem: Problem },
        }
        let path = format!("/api/v1/compact?vacuum=true&dry_run={dry_run}");
        let mut lines = self.lines(Method::POST, &path).await?;
        while let Some(line) = lines.next().await.map_err(|why| unreachable(self.addr, self.pid, &why))? {
            match self.parse(&line)? {
                Line::Progress(progress) => told(progress),
                Line::Done(report) => return Ok(report),
                Line::Stopped { problem } => return Err(self.failure(StatusCode::CONFLICT, &problem)),
            }
        }
        Err(unreachable(self.addr, self.pid, "its answer ended early; the store is whole, the old one or the new one"))
    }

    /// What the server has done, and its busiest documents.
    pub(super) async fn top(&mut self, limit: u64) -> Result<Sample, Failure> {
        self.json(Method::GET, &format!("/api/v1/top?limit={limit}")).await
    }

    /// All about one document.
    pub(super) async fn show(&mut self, doc: &DocName) -> Result<DocReport, Failure> {
        self.json(Method::GET, &doc_path(doc, "")).await
    }

    /// Deletes a document.
    pub(super) async fn delete(&mut self, doc: &DocName) -> Result<DeleteReport, Failure> {
        let (began_ms, dialed) = (now_ms(), self.dialed);
        let (status, answer) = self.request(Method::DELETE, &doc_path(doc, ""), Bytes::new()).await?;
        if status == StatusCode::GONE
            && self.dialed > dialed
            && let Some(deleted_ms) = Problem::parse(&answer).deleted_ms.filter(|at_ms| *at_ms >= began_ms)
        {
            // It was us: the connection broke before the first answer came.
            return Ok(DeleteReport { name: doc.clone(), deleted_ms, peers: 0 });
        }
        let answer = self.accept(status, answer)?;
        self.parse(&answer)
    }

    /// The whole state as one update.
    pub(super) async fn update(&mut self, doc: &DocName) -> Result<Bytes, Failure> {
        self.call(Method::GET, &doc_path(doc, "/update"), Bytes::new()).await
    }

    /// The shared types, as JSON text.
    pub(super) async fn content(&mut self, doc: &DocName) -> Result<Bytes, Failure> {
        self.call(Method::GET, &doc_path(doc, "/content"), Bytes::new()).await
    }

    /// The text of the document's text types, UTF-8.
    pub(super) async fn text(&mut self, doc: &DocName) -> Result<Bytes, Failure> {
        self.call(Method::GET, &doc_path(doc, "/text"), Bytes::new()).await
    }

    /// Merges an update.
    pub(super) async fn import(&mut self, doc: &DocName, update: Bytes) -> Result<ImportReport, Failure> {
        let answer = self.call(Method::POST, &doc_path(doc, "/update"), update).await?;
        self.parse(&answer)
    }

    /// Folds the document's log into a snapshot.
    pub(super) async fn compact(&mut self, doc: &DocName, dry_run: bool) -> Result<CompactReport, Failure> {
        self.json(Method::POST, &doc_path(doc, &format!("/compact?dry_run={dry_run}"))).await
    }

    /// Begins a backup of all documents; its bytes come as the server makes them.
    pub(super) async fn backup(&mut self) -> Result<Streamed, Failure> {
        let response = self.send(Method::POST, "/api/v1/backup", Bytes::new()).await;
        let response = response.map_err(|e| unreachable(self.addr, self.pid, &e.to_string()))?;
        let status = response.status();
        let body = response.into_body();
        if status.is_success() {
            return Ok(Streamed { addr: self.addr, pid: self.pid, body });
        }
        let problem = body.collect().await.map_err(|e| unreachable(self.addr, self.pid, &e.to_string()))?;
        self.accept(status, problem.to_bytes()).and(Err(Failure::open(format!("the server answers {status}"))))
    }

    /// Takes back the tokens of a subject.
    pub(super) async fn revoke(&mut self, subject: &str, doc: Option<&DocName>) -> Result<RevokeReport, Failure> {
        let request = serde_json::json!({ "sub": subject, "doc": doc }).to_string();
        let answer = self.call(Method::POST, "/api/v1/revoke", request.into()).await?;
        self.parse(&answer)
    }

    /// Verifies the documents after `after`, as many as the server likes at a time.
    pub(super) async fn verify(&mut self, query: &VerifyQuery) -> Result<VerifyPage, Failure> {
        let VerifyQuery { prefix, after, limit, repair } = query;
        let mut path = format!("/api/v1/verify?limit={limit}&repair={repair}&prefix={}", encoded(prefix));
        if let Some(after) = after {
            path.push_str("&after=");
            path.push_str(&encoded(after.as_str()));
        }
        self.json(Method::POST, &path).await
    }

    /// Verifies one document.
    pub(super) async fn verify_document(&mut self, doc: &DocName, repair: bool) -> Result<VerifyReport, Failure> {
        self.json(Method::POST, &doc_path(doc, &format!("/verify?repair={repair}"))).await
    }

    /// Why the server takes no edits now; `None` when it does.
    pub(super) async fn not_ready(&mut self) -> Result<Option<String>, Failure> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Readiness {
            reason: String,
        }
        let answer = self.exchange(Method::GET, "/ready", Bytes::new()).await;
        let (status, answer) = answer.map_err(|e| unreachable(self.addr, self.pid, &e.to_string()))?;
        if status.is_success() {
            return Ok(None);
        }
        let Readiness { reason } = serde_json::from_slice(&answer).unwrap_or_default();
        Ok(Some(if reason.is_empty() { format!("it answers {status}") } else { reason }))
    }

    async fn json<T: DeserializeOwned>(&mut self, method: Method, path: &str) -> Result<T, Failure> {
        let answer = self.call(method, path, Bytes::new()).await?;
        self.parse(&answer)
    }

    fn parse<T: DeserializeOwned>(&self, answer: &[u8]) -> Result<T, Failure> {
        serde_json::from_slice(answer).map_err(|error| {
            let addr = self.addr;
            Failure::open(format!(
                "the server on {addr} answers otherwise than expected ({error}); is it another version?"
            ))
        })
    }

    /// Sends a request and returns the body of a good answer.
    async fn call(&mut self, method: Method, path: &str, body: Bytes) -> Result<Bytes, Failure> {
        let (status, answer) = self.request(method, path, body).await?;
        self.accept(status, answer)
    }

    /// Sends a request, twice if need be, and returns the answer.
    async fn request(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), Failure> {
        match self.exchange(method.clone(), path, body.clone()).await {
            Ok(answered) => Ok(answered),
            // A server may close a connection that was idle just as we use it. Every request may be made twice: merging
            // and compacting again change nothing, and what is deleted stays so.
            Err(error) if error.is_closed() || error.is_incomplete_message() || error.is_canceled() => {
                self.sender = dial(self.addr).await.map_err(|why| unreachable(self.addr, self.pid, &why))?;
                self.dialed += 1;
                let again = self.exchange(method, path, body).await;
                again.map_err(|e| unreachable(self.addr, self.pid, &e.to_string()))
            }
            Err(error) => Err(unreachable(self.addr, self.pid, &error.to_string())),
        }
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Bytes) -> hyper::Result<(StatusCode, Bytes)> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    async fn send(&mut self, method: Method, path: &str, body: Bytes) -> hyper::Result<Response<Incoming>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.addr.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {}", self.credential))
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(Full::new(body))
            .expect("encoded paths and our own headers make a request");
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Sends a request and reads the answer line by line. Not made twice: its work may have been done.
    async fn lines(&mut self, method: Method, path: &str) -> Result<Lines, Failure> {
        let response = self.send(method, path, Bytes::new()).await;
        let unreachable = |why: hyper::Error| unreachable(self.addr, self.pid, &why.to_string());
        let response = response.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return Ok(Lines { body: response.into_body(), read: BytesMut::new() });
        }
        let answer = response.into_body().collect().await.map_err(unreachable)?.to_bytes();
        Err(self.failure(status, &Problem::parse(&answer)))
    }

    fn accept(&self, status: StatusCode, answer: Bytes) -> Result<Bytes, Failure> {
        if status.is_success() {
            return Ok(answer);
        }
        Err(self.failure(status, &Problem::parse(&answer)))
    }

    fn failure(&self, status: StatusCode, problem: &Problem) -> Failure {
        let what = match (&*problem.detail, &*problem.title) {
            ("", "") => format!("the server on {} answers {status}", self.addr),
            ("", title) => title.to_owned(),
            (detail, _) => detail.to_owned(),
        };
        match (status, &*problem.kind) {
            (StatusCode::NOT_FOUND, "no-such-document") => {
                Failure::found(format!("{what}; `weft ls` lists those that do"))
            }
            (StatusCode::GONE, "document-deleted") => Failure::deleted(what, problem.deleted_ms.unwrap_or(0)),
            (StatusCode::UNPROCESSABLE_ENTITY, _) => {
                Failure::found(format!("{what}; it must be one Yjs update in v1 encoding"))
            }
            (_, "document-damaged") => Failure::found(format!("{what}; other documents are not affected")),
            (_, "backup-running") => Failure::open(format!("{what}; try again once it is done")),
            (StatusCode::PAYLOAD_TOO_LARGE | StatusCode::CONFLICT, _) => Failure::found(what),
            (StatusCode::UNAUTHORIZED, _) => Failure::open(format!(
                "the server on {} refuses the credential of admin.json: {what}; was the data directory copied from \
                 another one?",
                self.addr
            )),
            (StatusCode::INSUFFICIENT_STORAGE, _) => {
                Failure::open(format!("{what}; free some space there, then try again"))
            }
            (StatusCode::SERVICE_UNAVAILABLE, _) => {
                Failure::open(format!("{what}; see the server's log (pid {}), then try again", self.pid))
            }
            (_, "cannot-vacuum") => Failure::found(what),
            _ => Failure::open(format!("{what}; see the server's log (pid {})", self.pid)),
        }
    }
}

/// An answer of one JSON value a line, while it comes.
struct Lines {
    body: Incoming,
    read: BytesMut,
}

impl Lines {
    /// The next line; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let mut line = self.read.split_to(end + 1);
                line.truncate(end);
                return Ok(Some(line.freeze()));
            }
            if self.read.len() > LINE_BYTES_MAX {
                return Err("it sends a line that is too long".to_owned());
            }
            match self.body.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(|error| error.to_string())?;
                    self.read.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                }
                None => return Ok(None),
            }
        }
    }
}

/// A listener on all addresses is reached on this machine's own.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => addr.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => addr.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    addr
}

async fn dial(addr: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
        Ok(connected) => connected.map_err(|e| e.to_string())?,
        Err(_) => return Err(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs())),
    };
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    // Its errors come back through the sender as well.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn unreachable(addr: SocketAddr, pid: u32, why: &str) -> Failure {
    Failure::open(format!("the server on {addr} (pid {pid}) cannot be reached: {why}; see its log, or stop it first"))
}

/// Everything but letters and digits, so that no name can end a path segment or a parameter.
fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn doc_path(doc: &DocName, rest: &str) -> String {
    format!("/api/v1/docs/{}{rest}", encoded(doc.as_str()))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};

    use hyper::service::service_fn;
    use tokio::net::TcpListener;

    use super::*;

    fn doc(name: &str) -> DocName {
        DocName::parse(name).expect("a valid name")
    }

    #[test]
    fn names_stay_one_segment() {
        assert_eq!(doc_path(&doc("a/b c"), "/update"), "/api/v1/docs/a%2Fb%20c/update");
        assert_eq!(doc_path(&doc("ä?#%2F"), ""), "/api/v1/docs/%C3%A4%3F%23%252F");
        assert_eq!(doc_path(&doc(".."), ""), "/api/v1/docs/%2E%2E");
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_on_loopback() {
        let of = |text: &str| reachable(text.parse().expect("an address")).to_string();
        assert_eq!(of("0.0.0.0:9"), "127.0.0.1:9");
        assert_eq!(of("[::]:9"), "[::1]:9");
        assert_eq!(of("10.0.0.1:9"), "10.0.0.1:9");
    }

    type Requests = Arc<Mutex<Vec<String>>>;

    /// A server that notes requests and answers in turn, closing its connection after each one when told to.
    async fn server(answers: Vec<(u16, &'static str)>, keep_alive: bool) -> (AdminFile, Requests) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let admin = listener.local_addr().expect("has an address");
        let requests = Requests::default();
        let noted = requests.clone();
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (noted, answers) = (noted.clone(), answers.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (noted, answers) = (noted.clone(), answers.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.expect("a body").to_bytes();
                        let auth = head.headers[header::AUTHORIZATION].to_str().expect("is text");
                        noted.lock().expect("no panic").push(format!(
                            "{} {} {auth} {}",
                            head.method,
                            head.uri,
                            body.len()
                        ));
                        let (status, body) = answers.lock().expect("no panic").next().expect("an answer is left");
                        let response = Response::builder().status(status).body(Full::new(Bytes::from(body)));
                        Ok::<_, Infallible>(response.expect("a response"))
                    }
                });
                let mut http = hyper::server::conn::http1::Builder::new();
                http.keep_alive(keep_alive);
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        (AdminFile { listen: admin, admin, credential: "secret".to_owned(), pid: 7 }, requests)
    }

    fn summary(name: &str) -> String {
        serde_json::json!({
            "name": name, "snapshot_bytes": 1, "log_bytes": 2, "log_records": 3, "updated_ms": 4, "peers": 0,
        })
        .to_string()
    }

    #[tokio::test]
    async fn lists_are_read_page_by_page() {
        let first = format!(r#"{{"docs":[{},{}],"next":"b c"}}"#, summary("a"), summary("b c"));
        let second = format!(r#"{{"docs":[{}],"next":null}}"#, summary("d"));
        for keep_alive in [true, false] {
            let answers = vec![(200, &*first.clone().leak()), (200, &*second.clone().leak())];
            let (admin, requests) = server(answers, keep_alive).await;
            let mut client = AdminClient::connect(&admin).await.expect("connects");
            let listed =
                client.list(ListQuery { prefix: "a&b".to_owned(), ..ListQuery::default() }).await.expect("lists");
            assert_eq!(listed.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["a", "b c", "d"]);
            assert_eq!(
                *requests.lock().expect("no panic"),
                [
                    "GET /api/v1/docs?limit=10000&prefix=a%26b Bearer secret 0",
                    "GET /api/v1/docs?limit=10000&prefix=a%26b&after=b%20c Bearer secret 0",
                ]
            );
        }
    }

    #[tokio::test]
    async fn a_server_that_repeats_itself_is_left() {
        let page = r#"{"docs":[],"next":"a"}"#;
        let (admin, _) = server(vec![(200, page), (200, page)], true).await;
        let mut client = AdminClient::connect(&admin).await.expect("connects");
        assert!(client.list(ListQuery::default()).await.expect_err("gives up").text.contains("repeats"));
    }

    #[tokio::test]
    async fn problems_become_exit_codes() {
        let cases = [
            (404, r#"{"type":"no-such-document","detail":"document \"x\" does not exist"}"#, 1, "weft ls"),
            (404, r#"{"type":"no-such-route","detail":"nothing here"}"#, 3, "nothing here"),
            (422, r#"{"type":"bad-update","detail":"the update is refused: too short"}"#, 1, "too short"),
            (500, r#"{"type":"document-damaged","detail":"cannot be opened"}"#, 1, "cannot be opened"),
            (413, r#"{"type":"too-large","detail":"at most 1 byte"}"#, 1, "at most 1 byte"),
            (401, r#"{"type":"unauthorized","detail":"no"}"#, 3, "credential"),
            (503, r#"{"type":"storage-failed","detail":"disk full"}"#, 3, "disk full"),
            (503, r#"{"type":"unavailable","title":"Not now"}"#, 3, "Not now"),
            (500, "<html>", 3, "answers 500"),
            (200, "not json", 3, "another version"),
        ];
        for (status, body, code, part) in cases {
            let (admin, _) = server(vec![(status, body)], true).await;
            let mut client = AdminClient::connect(&admin).await.expect("connects");
            let failure = client.show(&doc("x")).await.expect_err("fails");
            assert_eq!(failure.code.number(), code, "{body}: {failure}");
            assert!(failure.text.contains(part), "{body}: {failure}");
        }
    }

    #[tokio::test]
    async fn bodies_and_flags_are_sent() {
        let imported = r#"{"name":"d","offered_bytes":3,"accepted_bytes":2,"parked_bytes":1}"#;
        let compacted = r#"{"name":"d","log_records":1,"log_bytes":2,"snapshot_bytes_before":3,
            "snapshot_bytes_after":4,"written":false,"took_ms":5}"#;
        let (admin, requests) = server(vec![(200, imported), (200, compacted)], true).await;
        let mut client = AdminClient::connect(&admin).await.expect("connects");
        let report = client.import(&doc("d"), Bytes::from_static(b"abc")).await.expect("imports");
        assert_eq!(report.accepted_bytes, 2);
        assert!(!client.compact(&doc("d"), true).await.expect("compacts").written);
        assert_eq!(
            *requests.lock().expect("no panic"),
            ["POST /api/v1/docs/d/update Bearer secret 3", "POST /api/v1/docs/d/compact?dry_run=true Bearer secret 0"]
        );
    }

    #[tokio::test]
    async fn nobody_there_is_said_so() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let admin = listener.local_addr().expect("has an address");
        drop(listener);
        let file = AdminFile { listen: admin, admin, credential: String::new(), pid: 7 };
        let failure = AdminClient::connect(&file).await.err().expect("nobody listens");
        assert!(failure.text.contains("pid 7") && failure.code.number() == 3, "{failure}");
    }
}
