//! An application's webhook: a real little HTTP server that answers, hangs, errs or breaks off, as it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What is answered to a question: a status and a body.
pub type Answer = Box<dyn Fn(&Value) -> (u16, String) + Send>;

/// What it does with a question.
pub enum Manner {
    /// Answers with a status and a body.
    Answer(Answer),
    /// Takes the question and says nothing, until it is told otherwise.
    Hang,
    /// Closes the connection.
    BreakOff,
}

/// One question, as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The body.
    pub question: Value,
}

/// A running one; its thread ends with the process.
pub struct Hook {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    manner: Mutex<Manner>,
    asked: Mutex<Vec<Asked>>,
    /// Those that wait in vain.
    hanging: Mutex<Vec<TcpStream>>,
}

impl Hook {
    /// One that does so.
    pub fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared =
            Arc::new(Shared { manner: Mutex::new(manner), asked: Mutex::default(), hanging: Mutex::default() });
        let theirs = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = theirs.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Self { addr, shared }
    }

    /// Where it is asked.
    pub fn url(&self) -> String {
        format!("http://{}/weft?key=canary-in-the-url", self.addr)
    }

    /// From now on it does so.
    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().expect("not poisoned") = manner;
        self.shared.hanging.lock().expect("not poisoned").clear();
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().expect("not poisoned").clone()
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        let Some(asked) = read(&stream) else { return };
        let question = asked.question.clone();
        self.asked.lock().expect("not poisoned").push(asked);
        let answer = match &*self.manner.lock().expect("not poisoned") {
            Manner::Answer(answer) => Some(answer(&question)),
            Manner::Hang => None,
            Manner::BreakOff => return,
        };
        match answer {
            Some((status, body)) => {
                let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n", body.len());
                let _ = write!(stream, "{head}Connection: close\r\n\r\n{body}");
            }
            None => self.hanging.lock().expect("not poisoned").push(stream),
        }
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim().is_empty() { break } else { continue }
        };
        match &*name.to_lowercase() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { authorization, question: serde_json::from_slice(&body).ok()? })
}
