//! The options of `weft serve`: from flags, environment and `weft.toml` to one checked [`Settings`] (contract 2.1).
//!
//! One struct, [`ServeOptions`], describes them for all three sources, so an option cannot exist in one and be missing in
//! another. What comes first wins: flag, environment, file, default.

mod file;
mod given_as;
mod origin;
mod proxies;
mod shares;
mod webhook;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use serde::Deserialize;

pub use self::origin::{Origin, Origins};
pub use self::proxies::{Network, Proxies};
pub use self::shares::ShareSettings;
pub use self::webhook::WebhookUrl;

use crate::budget::RatesGiven;
use crate::limits::{CONNECTIONS_MAX, IDLE_AFTER, WEBHOOK_CACHE, WEBHOOK_TIMEOUT, WORKER_MEMORY};

const LISTEN: &str = "127.0.0.1:1234";
const ADMIN_LISTEN: &str = "127.0.0.1:1235";
const DATA: &str = "./weft-data";
const LOG_LEVEL: &str = "info";
const DRAIN_MS: u64 = 3_000;

/// Arguments of `weft serve`.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(after_help = "\
Examples:
  weft serve
  weft serve --data /var/lib/weft --config /etc/weft.toml
  weft serve --listen 0.0.0.0:1234 --auth-secret weft.secret
  WEFT_LISTEN=0.0.0.0:1234 weft serve --allow-anonymous

`weft token --new-secret weft.secret` makes a secret, `weft token --doc 'notes/*' --secret weft.secret` a token.")]
pub struct ServeArgs {
    /// Read options that are given neither as flag nor in the environment from this TOML file
    #[arg(long, env = "WEFT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// All others.
    #[command(flatten)]
    pub options: ServeOptions,
}

/// Every option of `weft serve`; `None` where a source says nothing. Keys of `weft.toml` are the names of the flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServeOptions {
    /// Address that editors connect to; port 0 takes a free one [default: 127.0.0.1:1234]
    #[arg(long, env = "WEFT_LISTEN", value_name = "ADDR")]
    pub listen: Option<String>,
    /// Address of the admin API; port 0 takes a free one [default: 127.0.0.1:1235]
    #[arg(long, env = "WEFT_ADMIN_LISTEN", value_name = "ADDR")]
    pub admin_listen: Option<String>,
    /// Directory that holds the documents; made if it is not there [default: ./weft-data]
    #[arg(long, env = "WEFT_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// How logs look on stderr [default: human]
    #[arg(long, env = "WEFT_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or directives such as `info,weft::server=debug` [default: info]
    #[arg(long, env = "WEFT_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Milliseconds over which clients are sent away on shutdown, so that they do not come back all at once
    /// [default: 3000]
    #[arg(long, env = "WEFT_DRAIN_MS", value_name = "MS")]
    pub drain_ms: Option<u64>,
    /// Connections at once; further ones are answered 503 [default: 100000]
    #[arg(long, env = "WEFT_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,
    /// Bytes that must be free where the data directory is for edits to be taken; with less they are refused, reading goes
    /// on, and edits are taken again by themselves once there is room; 0 turns this off [default: 256 MiB, or a tenth of
    /// the file system if that is less]
    #[arg(long, env = "WEFT_MIN_FREE_BYTES", value_name = "N")]
    pub min_free_bytes: Option<u64>,
    /// Most memory for the process that integrates updates to fold logs and to read what documents say, bytes; what breaks it
    /// disturbs nobody. 0 does without it, in the server itself [default: 2 GiB]
    #[arg(long, env = "WEFT_WORKER_MEMORY", value_name = "N")]
    pub worker_memory: Option<u64>,
    /// How long a document without editors stays in memory, such as `500ms`, `30s`, `5m` [default: 30s]
    #[arg(long, env = "WEFT_IDLE_AFTER", value_name = "TIME")]
    pub idle_after: Option<Period>,
    /// Serve everybody, also on an address that other machines can reach; without effect where a key is given
    #[arg(
        long,
        env = "WEFT_ALLOW_ANONYMOUS",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    pub allow_anonymous: Option<bool>,
    /// File with the secret that signs tokens (HS256), only readable by its owner; with a key, every client needs a token
    #[arg(long, env = "WEFT_AUTH_SECRET", value_name = "FILE")]
    pub auth_secret: Option<PathBuf>,
    /// File with the secret before that one: tokens that it signed stay good while clients move to new ones
    #[arg(long, env = "WEFT_AUTH_SECRET_PREVIOUS", value_name = "FILE")]
    pub auth_secret_previous: Option<PathBuf>,
    /// File with the public key that tokens are verified with, in PEM: Ed25519, P-256 or RSA
    #[arg(long, env = "WEFT_AUTH_PUBLIC_KEY", value_name = "FILE")]
    pub auth_public_key: Option<PathBuf>,
    /// File with a JWK set of such public keys, found by the key id of a token
    #[arg(long, env = "WEFT_AUTH_JWKS", value_name = "FILE")]
    pub auth_jwks: Option<PathBuf>,
    /// What `aud` of every token must name
    #[arg(long, env = "WEFT_AUTH_AUDIENCE", value_name = "NAME")]
    pub auth_audience: Option<String>,
    /// What `iss` of every token must be
    #[arg(long, env = "WEFT_AUTH_ISSUER", value_name = "NAME")]
    pub auth_issuer: Option<String>,
    /// Serve editors over TLS with this certificate, in PEM with those between it and its root; with --tls-key
    #[arg(long, env = "WEFT_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// File with the certificate's private key, in PEM, only readable by its owner
    #[arg(long, env = "WEFT_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Ask the application who may do what: a POST of token, document and address, answered by 200 with `sub` and `access`,
    /// or by 403; with a key, both must agree
    #[arg(long, env = "WEFT_AUTH_WEBHOOK", value_name = "URL")]
    pub auth_webhook: Option<WebhookUrl>,
    /// File with what the webhook is sent as bearer token, only readable by its owner
    #[arg(long, env = "WEFT_AUTH_WEBHOOK_SECRET", value_name = "FILE")]
    pub auth_webhook_secret: Option<PathBuf>,
    /// How long the webhook may take to answer; nobody is let in without an answer [default: 3s]
    #[arg(long, env = "WEFT_AUTH_WEBHOOK_TIMEOUT", value_name = "TIME")]
    pub auth_webhook_timeout: Option<Period>,
    /// How long an answer of the webhook is remembered; `0s` asks each time [default: 10s]
    #[arg(long, env = "WEFT_AUTH_WEBHOOK_CACHE", value_name = "TIME")]
    pub auth_webhook_cache: Option<Period>,
    /// Whether `%20` in a path is a space in the document's name, or kept as it is [default: on]
    #[arg(long, env = "WEFT_PATH_DECODE", value_name = "SWITCH")]
    pub path_decode: Option<Switch>,
    /// Whether a browser that opens the address of `--listen` gets a small collaborative editor [default: on where that is
    /// loopback, else off]
    #[arg(long, env = "WEFT_DEMO", value_name = "SWITCH")]
    pub demo: Option<Switch>,
    /// Where clients reach this server, such as `https://collab.example.com`: what y-sweet clients are told [default: where
    /// the SDK that asks for them found it]
    #[arg(long, env = "WEFT_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<PublicUrl>,
    /// Origins of web pages that may use this server, such as `https://app.example.com`, with commas between them; `*` for all
    /// [default: all where tokens are needed or --allow-anonymous is given, else pages of this machine]
    #[arg(long, env = "WEFT_ALLOW_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    #[serde(deserialize_with = "given_as::one_or_more")]
    pub allow_origin: Option<Vec<Origin>>,
    /// Networks of proxies that say in `X-Forwarded-For` where a client is, such as `10.0.0.0/8`, with commas between them;
    /// nobody else is believed [default: none]
    #[arg(long, env = "WEFT_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',')]
    #[serde(deserialize_with = "given_as::one_or_more")]
    pub trusted_proxy: Option<Vec<Network>>,
    /// What one connection may send or cause a second, such as `messages=2000,bytes=1000000,structs=50000,cpu-ms=100,opens=5`, of
    /// which a minute's worth may come at once; who wants more is slowed. Kinds that are not named stay as they are; `off` is
    /// no limit [default: messages=10000,bytes=8388608,structs=200000,cpu-ms=250,opens=20]
    #[arg(long, env = "WEFT_RATE_PER_CONNECTION", value_name = "RATES")]
    pub rate_per_connection: Option<RatesGiven>,
    /// The same for all connections from one address together, where it says who is who: loopback and trusted proxies
    /// themselves are not limited [default: off]
    #[arg(long, env = "WEFT_RATE_PER_ADDRESS", value_name = "RATES")]
    pub rate_per_address: Option<RatesGiven>,
    /// The same for all connections of one user, by the subject of its token [default: off]
    #[arg(long, env = "WEFT_RATE_PER_USER", value_name = "RATES")]
    pub rate_per_user: Option<RatesGiven>,
    /// The same for one document: who edits it waits, whoever wanted too much of it [default: off]
    #[arg(long, env = "WEFT_RATE_PER_DOCUMENT", value_name = "RATES")]
    pub rate_per_document: Option<RatesGiven>,
    /// How long a client is slowed that goes on to want more than twice its rates, before it is closed (1013); counted is half
    /// the time [default: 30s]
    #[arg(long, env = "WEFT_RATE_PATIENCE", value_name = "TIME")]
    pub rate_patience: Option<Period>,
    /// Connections at once from one address; further ones are answered 503 [default: any number]
    #[arg(long, env = "WEFT_MAX_CONNECTIONS_PER_ADDRESS", value_name = "N")]
    pub max_connections_per_address: Option<usize>,
    /// Connections at once of one user, by the subject of its token; further ones are closed (1013) [default: any number]
    #[arg(long, env = "WEFT_MAX_CONNECTIONS_PER_USER", value_name = "N")]
    pub max_connections_per_user: Option<usize>,
    /// Documents in memory at once; when there are many, those without editors are put to sleep sooner, and further ones are not
    /// opened (1013) [default: 100000]
    #[arg(long, env = "WEFT_MAX_OPEN_DOCUMENTS", value_name = "N")]
    pub max_open_documents: Option<usize>,
    /// Memory of the server, bytes, the worker's aside; near it, documents without editors are put to sleep sooner, and beyond it
    /// nobody joins a document (1013) until some is free again [default: any]
    #[arg(long, env = "WEFT_MAX_MEMORY", value_name = "BYTES")]
    pub max_memory: Option<u64>,
    /// Bytes that one document may have; beyond it clients can only make it smaller (4413), while imports are not limited; 0 is no
    /// limit [default: 67108864]
    #[arg(long, env = "WEFT_MAX_DOCUMENT_BYTES", value_name = "BYTES")]
    pub max_document_bytes: Option<u64>,
    /// Pieces of content that one document may have, deleted ones too, as Yjs counts them (structs); 0 is no limit
    /// [default: 5000000]
    #[arg(long, env = "WEFT_MAX_DOCUMENT_STRUCTS", value_name = "N")]
    pub max_document_structs: Option<u64>,
    /// Print the addresses as one JSON object
    #[arg(
        long,
        env = "WEFT_JSON",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    pub json: Option<bool>,
}

/// Where the keys of tokens are, and whom tokens must be for: for commands other than `serve`, which say it in fewer words.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AuthArgs {
    /// Read what is not said here from this TOML file, as `weft serve` does
    #[arg(long, env = "WEFT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// File with the secret that signs tokens (HS256)
    #[arg(long, alias = "auth-secret", env = "WEFT_AUTH_SECRET", value_name = "FILE")]
    pub secret: Option<PathBuf>,
    /// File with the secret before that one, whose tokens are still good
    #[arg(long, alias = "auth-secret-previous", env = "WEFT_AUTH_SECRET_PREVIOUS", value_name = "FILE")]
    pub secret_previous: Option<PathBuf>,
    /// File with the public key that tokens are verified with, in PEM
    #[arg(long, alias = "auth-public-key", env = "WEFT_AUTH_PUBLIC_KEY", value_name = "FILE")]
    pub public_key: Option<PathBuf>,
    /// File with a JWK set of public keys
    #[arg(long, alias = "auth-jwks", env = "WEFT_AUTH_JWKS", value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// Whom the token is for (`aud`)
    #[arg(long, alias = "auth-audience", env = "WEFT_AUTH_AUDIENCE", value_name = "NAME")]
    pub audience: Option<String>,
    /// Who issues it (`iss`)
    #[arg(long, alias = "auth-issuer", env = "WEFT_AUTH_ISSUER", value_name = "NAME")]
    pub issuer: Option<String>,
}

/// Which keys tokens are checked with, and what they must say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// The file of a secret.
    pub secret: Option<PathBuf>,
    /// The file of the secret before it.
    pub secret_previous: Option<PathBuf>,
    /// The file of a public key.
    pub public_key: Option<PathBuf>,
    /// The file of a JWK set.
    pub jwks: Option<PathBuf>,
    /// What `aud` must name.
    pub audience: Option<String>,
    /// What `iss` must be.
    pub issuer: Option<String>,
}

impl AuthSettings {
    /// Whether there is any key. Without one nobody is asked for a token.
    pub fn has_keys(&self) -> bool {
        self.secret.is_some() || self.secret_previous.is_some() || self.public_key.is_some() || self.jwks.is_some()
    }

    fn or(self, fallback: Self) -> Self {
        Self {
            secret: self.secret.or(fallback.secret),
            secret_previous: self.secret_previous.or(fallback.secret_previous),
            public_key: self.public_key.or(fallback.public_key),
            jwks: self.jwks.or(fallback.jwks),
            audience: self.audience.or(fallback.audience),
            issuer: self.issuer.or(fallback.issuer),
        }
    }
}

impl AuthArgs {
    /// What is given, filled up from the file, if one is named.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid.
    pub fn resolve(self) -> Result<AuthSettings, ConfigError> {
        let Self { config, secret, secret_previous, public_key, jwks, audience, issuer } = self;
        let given = AuthSettings { secret, secret_previous, public_key, jwks, audience, issuer };
        Ok(match config {
            Some(path) => given.or(file::read(&path)?.auth()),
            None => given,
        })
    }
}

/// How logs look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// One JSON object a line, for programs.
    Json,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// Yes.
    On,
    /// No.
    Off,
}

/// A span of time, written as a whole number and a unit: `500ms`, `30s`, `5m`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Period(pub Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let ms_each = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(format!("{text:?} is not a time such as 500ms, 30s, 5m, 2h or 7d")),
        };
        let number: u64 = number.parse().map_err(|_| format!("{text:?} does not begin with a whole number"))?;
        let ms = number.checked_mul(ms_each).ok_or_else(|| format!("{text:?} is too long"))?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

impl TryFrom<String> for Period {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// Where a server is reached: `http://` or `https://`, a host, perhaps a port and a path. Clients use the same with `ws`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PublicUrl {
    tls: bool,
    /// Behind the scheme, without a slash at its end.
    place: String,
}

impl PublicUrl {
    /// For requests.
    pub fn http(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.place)
    }

    /// What pages from there name as their origin.
    pub fn origin(&self) -> String {
        let host = self.place.split('/').next().unwrap_or_default();
        let origin = format!("{}://{host}", if self.tls { "https" } else { "http" });
        match origin.parse() {
            Ok(Origin::Exactly(origin)) => origin,
            Ok(Origin::Any) | Err(_) => origin,
        }
    }

    /// For sockets.
    pub fn ws(&self) -> String {
        format!("{}://{}", if self.tls { "wss" } else { "ws" }, self.place)
    }
}

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not an address such as https://collab.example.com");
        let (tls, place) = match text.split_once("://") {
            Some(("http", place)) => (false, place),
            Some(("https", place)) => (true, place),
            _ => return Err(wrong()),
        };
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let in_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
        let in_path = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~%/".contains(&byte);
        if host.is_empty() || !host.bytes().all(in_host) || !path.bytes().all(in_path) {
            return Err(wrong());
        }
        Ok(Self { tls, place: place.trim_end_matches('/').to_owned() })
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// What the listener for editors proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSettings {
    /// The file of the certificate, and of those between it and its root.
    pub cert: PathBuf,
    /// The file of its private key.
    pub key: PathBuf,
}

/// How the application is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSettings {
    /// Where.
    pub url: WebhookUrl,
    /// The file with what it is sent.
    pub secret: Option<PathBuf>,
    /// Longest time for an answer.
    pub timeout: Duration,
    /// How long an answer is remembered.
    pub kept: Duration,
}

/// Options as the server uses them: complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where editors connect.
    pub listen: SocketAddr,
    /// Where the admin API listens.
    pub admin_listen: SocketAddr,
    /// Where the documents are.
    pub data: PathBuf,
    /// How logs look.
    pub log_format: LogFormat,
    /// What is logged, in the words of `tracing`'s filter.
    pub log_level: String,
    /// Over how long clients are sent away on shutdown.
    pub drain: Duration,
    /// Connections at once.
    pub connections_max: usize,
    /// Bytes that must be free for edits to be taken; `None` leaves it to the size of the disk.
    pub min_free_bytes: Option<u64>,
    /// Most memory for the worker process, bytes; 0 for none.
    pub worker_memory: u64,
    /// How long a document without peers stays awake.
    pub idle_after: Duration,
    /// Whether names in paths are percent-decoded.
    pub path_decode: bool,
    /// Where clients reach the server, if that is said.
    pub public_url: Option<PublicUrl>,
    /// Which tokens are good.
    pub auth: AuthSettings,
    /// Who else is asked about tokens.
    pub webhook: Option<WebhookSettings>,
    /// Whether editors are served over TLS, and with what.
    pub tls: Option<TlsSettings>,
    /// Whether `/` is the demo.
    pub demo: bool,
    /// Which pages are let in.
    pub origins: Origins,
    /// Who says where clients are.
    pub proxies: Proxies,
    /// How much of the server's work anybody may have.
    pub shares: ShareSettings,
    /// Whether the addresses are printed as JSON.
    pub json: bool,
}

/// Why the options cannot be used. Each text says what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file of `--config` cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file of `--config` is not what it should be.
    #[error("the configuration {path} is not valid: {message}")]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// An address that cannot be understood.
    #[error("--{flag} {value:?} is not an address such as 127.0.0.1:1234: {why}")]
    Address {
        /// Which option.
        flag: &'static str,
        /// What was given.
        value: String,
        /// Why not.
        why: String,
    },
    /// A public address without authentication.
    #[error(
        "refusing to listen on {0}: anyone who reaches it could read and change every document. Make a secret with \
         `weft token --new-secret weft.secret` and name it with --auth-secret, so that clients need a token; or listen on \
         127.0.0.1 behind a proxy that checks users; or pass --allow-anonymous"
    )]
    Exposed(SocketAddr),
    /// Half of what TLS needs.
    #[error("--tls-cert and --tls-key belong together: a certificate, and the private key that it is for")]
    HalfTls,
    /// Tokens are told apart, and nobody is asked for one.
    #[error(
        "--auth-audience and --auth-issuer say what tokens must say, but no key to check tokens with is given; name \
             one with --auth-secret, --auth-public-key or --auth-jwks"
    )]
    NoKey,
}

impl ConfigError {
    /// Whether the command line is at fault (exit code 2) and not a file (exit code 3).
    pub fn is_usage(&self) -> bool {
        match self {
            ConfigError::Address { .. } | ConfigError::Exposed(_) | ConfigError::HalfTls | ConfigError::NoKey => true,
            ConfigError::Unreadable { .. } | ConfigError::Invalid { .. } => false,
        }
    }
}

impl ServeArgs {
    /// Reads the file, if one is named, fills in defaults and checks everything.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn resolve(self) -> Result<Settings, ConfigError> {
        let given = match &self.config {
            Some(path) => self.options.or(file::read(path)?),
            None => self.options,
        };
        let shares = given.shares();
        let auth = given.auth();
        if !auth.has_keys() && (auth.audience.is_some() || auth.issuer.is_some()) {
            return Err(ConfigError::NoKey);
        }
        let listen = address("listen", given.listen.as_deref().unwrap_or(LISTEN))?;
        let loopback = listen.ip().to_canonical().is_loopback();
        let anonymous = given.allow_anonymous.unwrap_or(false);
        let tls = match (given.tls_cert, given.tls_key) {
            (Some(cert), Some(key)) => Some(TlsSettings { cert, key }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(ConfigError::HalfTls),
        };
        let webhook = given.auth_webhook.map(|url| WebhookSettings {
            url,
            secret: given.auth_webhook_secret,
            timeout: given.auth_webhook_timeout.map_or(WEBHOOK_TIMEOUT, |period| period.0),
            kept: given.auth_webhook_cache.map_or(WEBHOOK_CACHE, |period| period.0),
        });
        let guarded = auth.has_keys() || webhook.is_some();
        let origins = Origins::of(given.allow_origin, given.public_url.as_ref(), guarded || anonymous);
        let settings = Settings {
            origins,
            proxies: Proxies(given.trusted_proxy.unwrap_or_default()),
            listen,
            admin_listen: address("admin-listen", given.admin_listen.as_deref().unwrap_or(ADMIN_LISTEN))?,
            data: given.data.unwrap_or_else(|| DATA.into()),
            log_format: given.log_format.unwrap_or(LogFormat::Human),
            log_level: given.log_level.unwrap_or_else(|| LOG_LEVEL.to_owned()),
            drain: Duration::from_millis(given.drain_ms.unwrap_or(DRAIN_MS)),
            connections_max: given.max_connections.unwrap_or(CONNECTIONS_MAX),
            min_free_bytes: given.min_free_bytes,
            worker_memory: given.worker_memory.unwrap_or(WORKER_MEMORY),
            idle_after: given.idle_after.map_or(IDLE_AFTER, |period| period.0),
            path_decode: given.path_decode.unwrap_or(Switch::On) == Switch::On,
            public_url: given.public_url,
            auth,
            webhook,
            tls,
            shares,
            demo: given.demo.map_or(loopback, |demo| demo == Switch::On),
            json: given.json.unwrap_or(false),
        };
        if !loopback && !guarded && !anonymous {
            return Err(ConfigError::Exposed(settings.listen));
        }
        Ok(settings)
    }
}

impl ServeOptions {
    /// What they say about tokens.
    fn auth(&self) -> AuthSettings {
        AuthSettings {
            secret: self.auth_secret.clone(),
            secret_previous: self.auth_secret_previous.clone(),
            public_key: self.auth_public_key.clone(),
            jwks: self.auth_jwks.clone(),
            audience: self.auth_audience.clone(),
            issuer: self.auth_issuer.clone(),
        }
    }

    /// These, and `fallback`'s where these say nothing.
    fn or(self, fallback: Self) -> Self {
        Self {
            listen: self.listen.or(fallback.listen),
            admin_listen: self.admin_listen.or(fallback.admin_listen),
            data: self.data.or(fallback.data),
            log_format: self.log_format.or(fallback.log_format),
            log_level: self.log_level.or(fallback.log_level),
            drain_ms: self.drain_ms.or(fallback.drain_ms),
            max_connections: self.max_connections.or(fallback.max_connections),
            min_free_bytes: self.min_free_bytes.or(fallback.min_free_bytes),
            worker_memory: self.worker_memory.or(fallback.worker_memory),
            idle_after: self.idle_after.or(fallback.idle_after),
            allow_anonymous: self.allow_anonymous.or(fallback.allow_anonymous),
            auth_secret: self.auth_secret.or(fallback.auth_secret),
            auth_secret_previous: self.auth_secret_previous.or(fallback.auth_secret_previous),
            auth_public_key: self.auth_public_key.or(fallback.auth_public_key),
            auth_jwks: self.auth_jwks.or(fallback.auth_jwks),
            auth_audience: self.auth_audience.or(fallback.auth_audience),
            auth_issuer: self.auth_issuer.or(fallback.auth_issuer),
            tls_cert: self.tls_cert.or(fallback.tls_cert),
            tls_key: self.tls_key.or(fallback.tls_key),
            auth_webhook: self.auth_webhook.or(fallback.auth_webhook),
            auth_webhook_secret: self.auth_webhook_secret.or(fallback.auth_webhook_secret),
            auth_webhook_timeout: self.auth_webhook_timeout.or(fallback.auth_webhook_timeout),
            auth_webhook_cache: self.auth_webhook_cache.or(fallback.auth_webhook_cache),
            path_decode: self.path_decode.or(fallback.path_decode),
            demo: self.demo.or(fallback.demo),
            public_url: self.public_url.or(fallback.public_url),
            allow_origin: self.allow_origin.or(fallback.allow_origin),
            trusted_proxy: self.trusted_proxy.or(fallback.trusted_proxy),
            rate_per_connection: self.rate_per_connection.or(fallback.rate_per_connection),
            rate_per_address: self.rate_per_address.or(fallback.rate_per_address),
            rate_per_user: self.rate_per_user.or(fallback.rate_per_user),
            rate_per_document: self.rate_per_document.or(fallback.rate_per_document),
            rate_patience: self.rate_patience.or(fallback.rate_patience),
            max_connections_per_address: self.max_connections_per_address.or(fallback.max_connections_per_address),
            max_open_documents: self.max_open_documents.or(fallback.max_open_documents),
            max_memory: self.max_memory.or(fallback.max_memory),
            max_document_bytes: self.max_document_bytes.or(fallback.max_document_bytes),
            max_document_structs: self.max_document_structs.or(fallback.max_document_structs),
            max_connections_per_user: self.max_connections_per_user.or(fallback.max_connections_per_user),
            json: self.json.or(fallback.json),
        }
    }
}

/// An address, or a name that resolves to one; IPv4 first, since that is what `localhost` means to most clients.
fn address(flag: &'static str, value: &str) -> Result<SocketAddr, ConfigError> {
    let wrong = |why: String| ConfigError::Address { flag, value: value.to_owned(), why };
    if let Ok(addr) = value.parse() {
        return Ok(addr);
    }
    let found: Vec<SocketAddr> = value.to_socket_addrs().map_err(|error| wrong(error.to_string()))?.collect();
    let chosen = found.iter().find(|addr| addr.is_ipv4()).or(found.first());
    chosen.copied().ok_or_else(|| wrong("the name has no address".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn parse(args: &[&str]) -> ServeArgs {
        Line::try_parse_from([&["weft"], args].concat()).unwrap_or_else(|error| panic!("{error}")).serve
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn nothing_given_gives_the_defaults_of_the_contract() {
        let settings = ServeArgs::default().resolve().unwrap();
        assert_eq!(settings.listen, SocketAddr::from(([127, 0, 0, 1], 1234)));
        assert_eq!(settings.admin_listen, SocketAddr::from(([127, 0, 0, 1], 1235)));
        assert_eq!(settings.data, Path::new("./weft-data"));
        assert_eq!((settings.log_format, &*settings.log_level), (LogFormat::Human, "info"));
        assert_eq!((settings.connections_max, settings.idle_after), (CONNECTIONS_MAX, IDLE_AFTER));
        assert!(settings.path_decode && settings.demo && !settings.json);
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = file(
            "listen = '127.0.0.1:1'\ndrain-ms = 7\nidle-after = '2m'\nlog-format = 'json'\npath-decode = 'off'\njson = true\n",
        );
        let path = file.path().to_str().unwrap();
        let settings = parse(&["--config", path, "--listen", "127.0.0.1:2", "--json=false"]).resolve().unwrap();
        assert_eq!(settings.listen.port(), 2);
        assert_eq!(settings.drain, Duration::from_millis(7));
        assert_eq!(settings.idle_after, Duration::from_secs(120));
        assert_eq!(settings.log_format, LogFormat::Json);
        assert!(!settings.path_decode && !settings.json);
        assert_eq!(settings.admin_listen.port(), 1235);
    }

    #[test]
    fn mistakes_in_the_file_name_the_line() {
        for (text, said) in [
            ("\nlisten-on = 'x'", "line 2: unknown field `listen-on`"),
            ("drain-ms = 'soon'", "line 1: invalid type"),
            ("idle-after = '5 parsecs'", "is not a time"),
            ("= 1", "line 1"),
        ] {
            let file = file(text);
            let args = ServeArgs { config: Some(file.path().to_owned()), ..ServeArgs::default() };
            let error = args.resolve().unwrap_err();
            assert!(!error.is_usage());
            let shown = error.to_string();
            assert!(shown.contains(said) && !shown.contains('\n'), "{shown}");
        }
        let args = ServeArgs { config: Some("/no/such/file".into()), ..ServeArgs::default() };
        assert!(matches!(args.resolve(), Err(ConfigError::Unreadable { .. })));
    }

    #[test]
    fn only_loopback_is_open_without_a_word() {
        for (listen, open) in [
            ("127.0.0.1:0", true),
            ("127.9.9.9:0", true),
            ("[::1]:0", true),
            ("[::ffff:127.0.0.1]:0", true),
            ("localhost:0", true),
            ("0.0.0.0:0", false),
            ("[::]:0", false),
            ("192.168.0.1:0", false),
        ] {
            let refused = parse(&["--listen", listen]).resolve();
            assert_eq!(refused.is_ok(), open, "{listen}");
            if let Err(error) = refused {
                assert!(error.is_usage() && error.to_string().contains("--allow-anonymous"));
            }
            let exposed = parse(&["--listen", listen, "--allow-anonymous"]).resolve().unwrap();
            assert_eq!(exposed.demo, open, "the demo is on by default where nobody else can see it");
            for (switch, on) in [("on", true), ("off", false)] {
                let given = parse(&["--listen", listen, "--allow-anonymous", "--demo", switch]).resolve().unwrap();
                assert_eq!(given.demo, on, "{listen}");
            }
            for key in ["--auth-secret", "--auth-public-key", "--auth-jwks"] {
                assert!(parse(&["--listen", listen, key, "/a/file"]).resolve().is_ok(), "{key}");
            }
            let no_key = parse(&["--listen", listen, "--auth-audience", "us"]).resolve();
            assert!(matches!(no_key, Err(ConfigError::NoKey)));
        }
        for listen in ["", "1234", "127.0.0.1", "127.0.0.1:99999"] {
            assert!(matches!(parse(&["--listen", listen]).resolve(), Err(ConfigError::Address { .. })), "{listen}");
        }
    }

    #[test]
    fn periods_have_a_unit() {
        let ms = |text: &str| text.parse::<Period>().map(|period| period.0.as_millis());
        assert_eq!(ms("250ms"), Ok(250));
        assert_eq!(ms("30s"), Ok(30_000));
        assert_eq!(ms("5m"), Ok(300_000));
        assert_eq!(ms("1h"), Ok(3_600_000));
        assert_eq!(ms("7d"), Ok(604_800_000));
        for wrong in ["", "5", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "18446744073709551615h"] {
            assert!(ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_option_is_a_flag_a_variable_and_a_key() {
        use clap::CommandFactory;
        let command = Line::command();
        for arg in command.get_arguments().filter(|arg| !matches!(arg.get_id().as_str(), "help" | "config")) {
            let flag = arg.get_long().expect("a flag");
            let variable = format!("WEFT_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(&*variable));
            let error = toml::from_str::<ServeOptions>(&format!("{flag} = []")).unwrap_err().to_string();
            assert!(!error.contains("unknown field"), "{error}");
        }
    }
}
