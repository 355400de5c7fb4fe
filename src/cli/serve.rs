//! `weft serve`: the one place where all rooms meet. Opens the disk, wakes the hub, listens, and drains on a signal.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::Failure;
use super::keys;
use super::reload::Reload;
use crate::audit::Audit;
use crate::auth::{Authority, Keys};
use crate::config::{ServeArgs, Settings, ShareSettings};
use crate::data_dir::{self, AdminFile, DataDir};
use crate::hub::{Disk, Hub, HubOptions, SizeMax};
use crate::journal::{Journal, JournalOptions};
use crate::limits::OPEN_FILES_RESERVED;
use crate::metrics::Reloads;
use crate::server::{
    Address, AdminOptions, AdminServer, Allowance, DrainFlag, ReadRevoked, Server, ServerOptions, Sessions, Shares, Tls,
};
use crate::store::sled::SledStore;
use crate::telemetry;
use crate::worker::Isolation;

/// Stack of each worker thread. yrs recurses over what documents contain; memory is taken only as far as it is used.
const THREAD_STACK_BYTES: usize = 64 << 20;
/// How long blocking work that is still running may hold up the end of the process.
pub(super) const RUNTIME_END: Duration = Duration::from_secs(1);

/// Serves until told to stop. Exit codes: 0 drained, 2 wrong usage, 3 could not open, listen or finish.
pub fn run(args: ServeArgs) -> ExitCode {
    match try_run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { text, code }) => {
            eprintln!("weft serve: {text}");
            ExitCode::from(code.number())
        }
    }
}

fn try_run(args: ServeArgs) -> Result<(), Failure> {
    let settings =
        args.resolve().map_err(|error| if error.is_usage() { Failure::usage(error) } else { Failure::open(error) })?;
    telemetry::init(settings.log_format, &settings.log_level).map_err(Failure::usage)?;
    let open_files = raise_open_files();
    let runtime = runtime()?;
    let served = serve(&runtime, &settings, open_files);
    runtime.shutdown_timeout(RUNTIME_END);
    served
}

/// Threads for the hub and whatever is around it, with the stacks that [`Hub::start`] asks for.
pub(super) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("weft")
        .thread_stack_size(THREAD_STACK_BYTES)
        .build()
        .map_err(|error| Failure::open(format!("cannot start threads: {error}")))
}

/// Each connection is an open file, and the usual soft limit of 1,024 is for programs that use `select`. Returns the
/// limit; `None` when there is none.
fn raise_open_files() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => {
            tracing::debug!(?current, ?maximum, "raised the limit on open files");
            maximum
        }
        Err(error) => {
            tracing::warn!(?current, ?maximum, %error, "failed to raise the limit on open files");
            current
        }
    }
}

/// How many connections there can be without touching the open files that the journal, the store and admins need: a
/// crowd at the door must not make a write to disk fail.
fn connections_within(wanted: usize, open_files: Option<u64>) -> usize {
    let Some(open_files) = open_files else { return wanted };
    let open_files = usize::try_from(open_files).unwrap_or(usize::MAX);
    wanted.min(open_files - OPEN_FILES_RESERVED.min(open_files / 2))
}

fn serve(runtime: &Runtime, settings: &Settings, open_files: Option<u64>) -> Result<(), Failure> {
    let address = Address::take(settings.listen).map_err(|e| cannot_listen("listen", settings.listen, &e))?;
    let admin_address =
        Address::take(settings.admin_listen).map_err(|e| cannot_listen("admin-listen", settings.admin_listen, &e))?;
    let keys = keys::keys(&settings.auth)?;
    let mut data_dir = DataDir::open(&settings.data).map_err(Failure::open)?;
    let tls = settings.tls.clone().map(Tls::open).transpose().map_err(Failure::open)?.map(Arc::new);
    let webhook = settings.webhook.as_ref().map(keys::webhook).transpose()?.map(Arc::new);
    let authority = match keys.or(webhook.is_some().then(Keys::none)) {
        Some(keys) => {
            let revocations = keys::revocations(data_dir.path())?;
            tracing::info!(keys = ?keys.describe(), webhook = webhook.is_some(), "every client needs a token");
            Some(Arc::new(Authority::new(keys, keys::expected(&settings.auth), revocations)))
        }
        None => None,
    };
    let entered = runtime.enter();
    // Signals are caught before anything is open that a signal should close with care.
    let mut signals = Signals::new().map_err(|error| Failure::open(format!("cannot catch signals: {error}")))?;
    let disk = Disk::of(&settings.data, settings.min_free_bytes).map_err(|error| {
        Failure::open(format!("cannot ask how much space is free in {}: {error}", settings.data.display()))
    })?;
    let options = HubOptions {
        idle_after: settings.idle_after,
        disk: Some(disk),
        quarantine: Some(data_dir.quarantine()),
        rates: settings.shares.document,
        documents_max: settings.shares.documents_max,
        memory_max: settings.shares.memory_max,
        size_max: SizeMax { bytes: settings.shares.document_bytes_max, structs: settings.shares.document_structs_max },
        isolation: Isolation::in_this_program(settings.worker_memory),
        ..HubOptions::default()
    };
    let hub = runtime.block_on(open_hub(&data_dir, options)).map_err(Failure::open)?;

    let audit = Arc::new(Audit::open(&data_dir::audit_dir(data_dir.path())).map_err(Failure::open)?);
    let draining = DrainFlag::default();
    let credential = new_credential().map_err(Failure::open)?;
    let data = settings.data.clone();
    let revoked: ReadRevoked = Arc::new(move || keys::revoked_bytes(&data).map_err(|failure| failure.to_string()));
    let reloads = Arc::<Reloads>::default();
    let admin_options = AdminOptions {
        credential: credential.clone(),
        authority: authority.clone(),
        drain: settings.drain,
        revoked,
        reloads: reloads.clone(),
        webhook: webhook.clone(),
        audit: Some(audit),
        tls: tls.clone(),
    };
    let sessions = Sessions::default();
    let reload = Reload {
        auth: settings.auth.clone(),
        data: data_dir.path().to_owned(),
        authority: authority.clone(),
        webhook: settings.webhook.clone().zip(webhook.clone()),
        tls: tls.clone(),
        sessions: sessions.clone(),
        reloads,
    };
    reload.on(signal(SignalKind::hangup()).map_err(|error| Failure::open(format!("cannot catch signals: {error}")))?);
    let admin = AdminServer::start(admin_address, &admin_options, hub.clone(), sessions.clone(), draining.clone())
        .map_err(|error| cannot_listen("admin-listen", settings.admin_listen, &error))?;
    let server_options = ServerOptions {
        connections_max: connections_within(settings.connections_max, open_files),
        path_decode: settings.path_decode,
        authority,
        webhook,
        demo: settings.demo,
        public_url: settings.public_url.clone(),
        origins: settings.origins.clone(),
        proxies: settings.proxies.clone(),
        tls,
        shares: shares(&settings.shares),
    };
    let server = Server::start(address, &server_options, hub.clone(), sessions, draining.clone())
        .map_err(|error| cannot_listen("listen", settings.listen, &error))?;
    let reachable =
        AdminFile { listen: server.local_addr(), admin: admin.local_addr(), credential, pid: std::process::id() };
    data_dir.announce(&reachable).map_err(Failure::open)?;
    announce(settings, server.local_addr(), admin.local_addr());
    let (wanted, possible) = (settings.connections_max, server_options.connections_max);
    if possible < wanted {
        tracing::info!(wanted, possible, ?open_files, "the limit on open files allows fewer connections");
    }
    drop(entered);

    runtime.block_on(async {
        let told = tokio::select! {
            told = signals.next() => told.name(),
            () = draining.asked() => "an admin",
        };
        tracing::info!(told_by = told, connections = server.connections(), "draining");
        tokio::spawn(async move {
            let again = signals.next().await;
            tracing::warn!(signal = again.name(), "ending at once");
            // Acked edits are on disk; nothing that has to be saved is lost by leaving here.
            std::process::exit(again.exit_code());
        });
        server.drain(settings.drain).await;
        let drained = hub.drain().await;
        admin.stop().await;
        drained.map_err(|error| Failure::open(format!("failed to drain: {error}")))?;
        tracing::info!("drained");
        Ok(())
    })
}

fn shares(settings: &ShareSettings) -> Shares {
    let allowance = |rates, connections_max| Allowance { connections_max, rates };
    Shares {
        connection: settings.connection,
        patience: settings.patience,
        address: allowance(settings.address, settings.address_connections_max),
        user: allowance(settings.user, settings.user_connections_max),
    }
}

/// Opens what is on disk, replays the journal into the store, and starts the hub on both.
pub(super) async fn open_hub(dir: &DataDir, options: HubOptions) -> Result<Hub, Box<dyn std::error::Error>> {
    // A damaged segment's bytes are kept, and what can be read of it goes on.
    let journal_options = JournalOptions { quarantine: Some(dir.quarantine()), ..JournalOptions::default() };
    let (journal, recovery) = Journal::open(&dir.journal(), journal_options)?;
    tracing::debug!(?recovery, "journal opened");
    let store = SledStore::open(dir.store())?;
    Ok(Hub::start(journal, Arc::new(store), options).await?)
}

/// A fresh secret for the admin API: 256 random bits, base64url.
fn new_credential() -> Result<String, String> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| format!("the system gives no random bytes: {error}"))?;
    Ok(URL_SAFE_NO_PAD.encode(secret))
}

fn cannot_listen(flag: &str, addr: SocketAddr, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; stop it or choose another address",
        io::ErrorKind::PermissionDenied => "ports below 1024 need privileges; choose another address",
        _ => "choose another address",
    };
    Failure::open(format!("cannot listen on {addr}: {error}; {hint} with --{flag}"))
}

/// Says on stdout where the server is, once it accepts connections.
fn announce(settings: &Settings, listen: SocketAddr, admin: SocketAddr) {
    let data = settings.data.display();
    let line = if settings.json {
        let data = serde_json::Value::from(data.to_string());
        format!(r#"{{"listen":"{listen}","admin":"{admin}","data":{data}}}"#)
    } else {
        let (http, ws) = if settings.tls.is_some() { ("https", "wss") } else { ("http", "ws") };
        let demo = if settings.demo { format!("demo {http}://{listen}, ") } else { String::new() };
        format!("weft is listening on {ws}://{listen} ({demo}admin http://{admin}), data in {data}")
    };
    // Whoever closed our stdout does not want to know, and that is no reason to stop.
    let _ = writeln!(io::stdout(), "{line}");
    let _ = io::stdout().flush();
}

/// What tells the server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

/// Which of them came.
#[derive(Debug, Clone, Copy)]
enum Told {
    Terminate,
    Interrupt,
}

impl Signals {
    /// Must be called within a runtime.
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Terminate,
            _ = self.interrupt.recv() => Told::Interrupt,
        }
    }
}

impl Told {
    fn name(self) -> &'static str {
        match self {
            Told::Terminate => "SIGTERM",
            Told::Interrupt => "SIGINT",
        }
    }

    /// What a shell reports for a process that died of the signal.
    fn exit_code(self) -> i32 {
        match self {
            Told::Terminate => 143,
            Told::Interrupt => 130,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_open_files_are_kept_from_connections() {
        assert_eq!(connections_within(100_000, None), 100_000);
        assert_eq!(connections_within(100, Some(1 << 20)), 100);
        assert_eq!(connections_within(100_000, Some(20_000)), 20_000 - OPEN_FILES_RESERVED);
        assert_eq!(connections_within(100_000, Some(64)), 32);
    }

    #[test]
    fn credentials_are_long_and_differ() {
        let (one, other) = (new_credential().unwrap(), new_credential().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
    }
}
