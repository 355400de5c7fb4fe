//! One question to the webhook, over HTTP/1.1 on a connection of its own.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use crate::config::WebhookUrl;
use crate::ids::{Access, DocName};
use crate::limits::{SUBJECT_BYTES_MAX, WEBHOOK_ANSWER_BYTES_MAX};

/// What the hook is told.
#[derive(Serialize)]
struct Question<'a> {
    token: &'a str,
    document: &'a DocName,
    /// Where the client connects from.
    address: Option<IpAddr>,
}

/// What it grants.
#[derive(Debug, Deserialize)]
pub(super) struct Granted {
    /// To whom, for revocations and `weft top`.
    #[serde(default)]
    pub(super) sub: Option<String>,
    /// How much. Not to be left out: a hook that says nothing of it grants nothing.
    pub(super) access: Access,
    /// Until when, seconds since 1970.
    #[serde(default)]
    pub(super) exp: Option<u64>,
}

/// Knows where to ask. Has no `Debug`, since the URL and the secret are none of anybody's business.
pub(super) struct Caller {
    url: WebhookUrl,
    /// Replaced as a whole when it is read anew.
    secret: RwLock<Option<String>>,
    tls: Option<TlsConnector>,
}

impl Caller {
    pub(super) fn new(url: WebhookUrl, secret: Option<String>) -> Result<Self, String> {
        let tls = if url.is_tls() { Some(trusting()?) } else { None };
        Ok(Self { url, secret: RwLock::new(secret), tls })
    }

    pub(super) fn replace_secret(&self, secret: Option<String>) {
        *self.secret.write().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    /// What is granted; `None` for nothing. An error says why nothing is known.
    pub(super) async fn call(
        &self,
        token: &str,
        doc: &DocName,
        remote: Option<IpAddr>,
    ) -> Result<Option<Granted>, String> {
        let body = serde_json::to_vec(&Question { token, document: doc, address: remote }).map_err(text)?;
        let mut request = Request::post(self.url.target())
            .header(header::HOST, self.url.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("weft/", env!("CARGO_PKG_VERSION")));
        if let Some(secret) = &*self.secret.read().unwrap_or_else(PoisonError::into_inner) {
            let mut value = header::HeaderValue::try_from(format!("Bearer {secret}")).map_err(text)?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(text)?;
        let stream = TcpStream::connect(self.url.host_and_port()).await.map_err(text)?;
        match &self.tls {
            None => Self::on(stream, request).await,
            Some(tls) => {
                let name = ServerName::try_from(self.url.host().to_owned()).map_err(text)?;
                Self::on(tls.connect(name, stream).await.map_err(text)?, request).await
            }
        }
    }

    /// Asks on a connection.
    async fn on<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<Option<Granted>, String> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        // Ends with the sender, or when the other side closes.
        let driver = Driver(tokio::spawn(connection));
        let answer = Self::answer(&mut sender, request).await;
        drop(driver);
        answer
    }

    async fn answer(
        sender: &mut http1::SendRequest<Full<Bytes>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Option<Granted>, String> {
        let response = sender.send_request(request).await.map_err(text)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(None),
            status => return Err(format!("it answers {status}")),
        }
        let body = Limited::new(response.into_body(), WEBHOOK_ANSWER_BYTES_MAX).collect().await.map_err(text)?;
        // Only where, since what is there may be anything.
        let granted: Granted = serde_json::from_slice(&body.to_bytes())
            .map_err(|error| format!("its answer is not {{\"sub\", \"access\"}} (column {})", error.column()))?;
        if granted.sub.as_ref().is_some_and(|sub| sub.len() > SUBJECT_BYTES_MAX) {
            return Err(format!("its `sub` has more than {SUBJECT_BYTES_MAX} bytes"));
        }
        Ok(Some(granted))
    }
}

/// A connection's task, which must not outlive the question: whoever hangs would hold it for ever.
struct Driver<T>(JoinHandle<T>);

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What this machine trusts (or what `SSL_CERT_FILE` names).
fn trusting() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "this machine trusts no certificates; install `ca-certificates`, or name some in SSL_CERT_FILE".into()
        );
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
