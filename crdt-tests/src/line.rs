//! A slow line between clients and a server: what comes down each of its connections takes its time, and it can be cut.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::Instant;

/// What may be under way on the near side of the line, bytes; so the server soon feels how slow it is.
const WINDOW_BYTES: u32 = 64 << 10;
/// Bytes passed on at a time.
const PIECE_BYTES: usize = 8 << 10;

/// The line. Dropping it ends all connections through it.
pub struct SlowLine {
    addr: SocketAddr,
    cuts: watch::Sender<u32>,
    _runtime: Runtime,
}

impl SlowLine {
    /// A line to `to` that brings `bytes_per_s` to each client.
    pub fn start(to: SocketAddr, bytes_per_s: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let addr = listener.local_addr().expect("an address");
        let (cuts, _) = watch::channel(0);
        let cut = cuts.clone();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut cut = cut.subscribe();
                tokio::spawn(async move {
                    tokio::select! {
                        _ = cut.changed() => {}
                        _ = carry(client, to, bytes_per_s) => {}
                    }
                });
            }
        });
        Self { addr, cuts, _runtime: runtime }
    }

    /// For clients: `ws://…`.
    pub fn url(&self) -> String {
        format!("ws://{}", self.addr)
    }

    /// Ends what goes through it now, without a goodbye; who comes again is served.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn carry(client: TcpStream, to: SocketAddr, bytes_per_s: u64) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(WINDOW_BYTES)?;
    let server = socket.connect(to).await?;
    client.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async move {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let down = async move {
        let (mut piece, mut due) = (vec![0; PIECE_BYTES], Instant::now());
        loop {
            let read = from_server.read(&mut piece).await?;
            if read == 0 {
                return to_client.shutdown().await;
            }
            // A line that was idle has not saved anything up.
            due = due.max(Instant::now()) + Duration::from_secs_f64(read as f64 / bytes_per_s as f64);
            tokio::time::sleep_until(due).await;
            to_client.write_all(&piece[..read]).await?;
        }
    };
    tokio::try_join!(up, down).map(|_| ())
}
