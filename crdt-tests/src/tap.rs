//! A wire tap: whoever connects through it is served as ever, and what it is sent is kept to the byte, with handshakes,
//! close reasons and whatever else no client looks at.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What one connection was sent.
type Heard = Arc<Mutex<Vec<u8>>>;

/// On one listener of a server.
pub struct Tap {
    addr: SocketAddr,
    over: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Tap {
    /// Begins to listen; connections go on to `to`.
    pub fn on(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let tap = Self { addr, over: Arc::default(), heard: Arc::default() };
        let (over, all) = (tap.over.clone(), tap.heard.clone());
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let heard = Heard::default();
                all.lock().expect("no tap has panicked").push(heard.clone());
                // Who is not served sees that the line has ended.
                let _ = carry(&client, to, heard);
            }
        });
        tap
    }

    /// Where to connect instead.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What each connection was sent so far.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        let all = self.heard.lock().expect("no tap has panicked");
        all.iter().map(|heard| heard.lock().expect("no tap has panicked").clone()).collect()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn carry(client: &TcpStream, to: SocketAddr, heard: Heard) -> std::io::Result<()> {
    let server = TcpStream::connect(to)?;
    server.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client.try_clone()?);
    thread::spawn(move || {
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut piece) {
            heard.lock().expect("no tap has panicked").extend_from_slice(&piece[..read]);
            if to_client.write_all(&piece[..read]).is_err() {
                break;
            }
        }
        let _ = to_client.shutdown(Shutdown::Both);
        let _ = from_server.shutdown(Shutdown::Both);
    });
    Ok(())
}
