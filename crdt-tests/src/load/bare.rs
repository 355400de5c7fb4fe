//! The bare loop: hands each edit to all others of its room, in one write each, and does nothing else. No server can write to
//! as many sockets at less cost; what it costs is the limit.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::dialect;
use super::poller::{Poller, Ready};

const LISTENER: usize = usize::MAX - 1;

struct Peer {
    stream: TcpStream,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
    room: Option<String>,
}

/// Serves until it is killed. Frames that arrive in one read leave in one write.
pub fn serve(addr: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    listener.set_nonblocking(true)?;
    let mut poller = Poller::new()?;
    poller.add(&listener, LISTENER, false)?;
    let mut peers: Vec<Option<Peer>> = Vec::new();
    let mut rooms: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut scratch = vec![0; 256 << 10];
    let mut ready = Vec::new();
    loop {
        ready.clear();
        poller.wait(Instant::now() + Duration::from_secs(3_600), &mut ready)?;
        for Ready { key, read, write } in &ready {
            if *key == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    poller.add(&stream, peers.len(), false)?;
                    peers.push(Some(Peer { stream, inbound: Vec::new(), outbound: Vec::new(), room: None }));
                }
                continue;
            }
            let Some(peer) = &mut peers[*key] else { continue };
            let mut ended = *write && flush(peer, &poller, *key).is_err();
            let mut relayed = Vec::new();
            if *read && !ended {
                match peer.stream.read(&mut scratch) {
                    Ok(0) => ended = true,
                    Ok(bytes) => {
                        peer.inbound.extend_from_slice(&scratch[..bytes]);
                        let was_in = peer.room.is_some();
                        let (relay, answer) = take(peer);
                        relayed = relay;
                        ended = send(peer, &poller, *key, &answer).is_err();
                        if let (false, Some(room)) = (was_in, &peer.room) {
                            rooms.entry(room.clone()).or_default().push(*key);
                        }
                    }
                    Err(e) => ended = e.kind() != io::ErrorKind::WouldBlock,
                }
            }
            let room = peer.room.clone();
            if ended {
                peers[*key] = None;
                rooms.values_mut().for_each(|room| room.retain(|other| other != key));
            }
            if relayed.is_empty() {
                continue;
            }
            for other in room.and_then(|room| rooms.get(&room)).into_iter().flatten().filter(|other| *other != key) {
                if let Some(peer) = &mut peers[*other] {
                    // Who cannot be written to is found when it is read from.
                    let _ = send(peer, &poller, *other, &relayed);
                }
            }
        }
    }
}

/// What is to go to all others, and what to the one who said it.
fn take(peer: &mut Peer) -> (Vec<u8>, Vec<u8>) {
    let (mut relay, mut answer) = (Vec::new(), Vec::new());
    if peer.room.is_none() {
        let Some(end) = memchr::memmem::find(&peer.inbound, b"\r\n\r\n") else { return (relay, answer) };
        let head = String::from_utf8_lossy(&peer.inbound[..end]).into_owned();
        peer.inbound.drain(..end + 4);
        let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
        if !head.contains("Sec-WebSocket-Key") {
            return (relay, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec());
        }
        // The clients of the load tool all send the same key.
        answer.extend_from_slice(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
        peer.room = Some(path);
    }
    let mut at = 0;
    while let Some((masked, payload)) = split_masked(&peer.inbound[at..]) {
        let message = &peer.inbound[at + payload.start..at + payload.end];
        at += payload.end;
        match message {
            _ if !masked => {}
            [0, 0, ..] => server_frame(&mut answer, &[0, 1, 2, 0, 0]),
            [0, 2, ..] => server_frame(&mut relay, message),
            [102, ..] => server_frame(&mut answer, message),
            _ => {}
        }
    }
    peer.inbound.drain(..at);
    (relay, answer)
}

/// The first frame of a client, whose mask is all zeros.
fn split_masked(bytes: &[u8]) -> Option<(bool, std::ops::Range<usize>)> {
    let mut unmasked = bytes.get(..14.min(bytes.len()))?.to_vec();
    let second = unmasked.get_mut(1)?;
    let masked = *second & 0x80 != 0;
    *second &= 0x7f;
    let (head, len) = match *second {
        126 => (4, u16::from_be_bytes(unmasked.get(2..4)?.try_into().ok()?).into()),
        127 => (10, u64::from_be_bytes(unmasked.get(2..10)?.try_into().ok()?) as usize),
        len => (2, usize::from(len)),
    };
    let head = head + if masked { 4 } else { 0 };
    (bytes.len() >= head + len).then_some((masked, head..head + len))
}

fn server_frame(into: &mut Vec<u8>, message: &[u8]) {
    // A client's frame without its mask.
    let frame = dialect::frame(&[], message);
    let head = frame.len() - message.len() - 4;
    into.push(frame[0]);
    into.push(frame[1] & 0x7f);
    into.extend_from_slice(&frame[2..head]);
    into.extend_from_slice(message);
}

fn send(peer: &mut Peer, poller: &Poller, key: usize, frames: &[u8]) -> io::Result<()> {
    let was_clear = peer.outbound.is_empty();
    if was_clear && !frames.is_empty() {
        let written = match peer.stream.write(frames) {
            Ok(written) => written,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(e) => return Err(e),
        };
        if written == frames.len() {
            return Ok(());
        }
        peer.outbound.extend_from_slice(&frames[written..]);
        return poller.change(&peer.stream, key, true);
    }
    peer.outbound.extend_from_slice(frames);
    Ok(())
}

fn flush(peer: &mut Peer, poller: &Poller, key: usize) -> io::Result<()> {
    while !peer.outbound.is_empty() {
        match peer.stream.write(&peer.outbound) {
            Ok(written) => drop(peer.outbound.drain(..written)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    poller.change(&peer.stream, key, false)
}
