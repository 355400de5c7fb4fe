//! The admin API as a program far away sees it: requests byte by byte, so that wrong ones can be sent too.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::server::Server;
use crate::wait::PATIENCE;

/// One listener, and what to say to be let in.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where.
    pub addr: SocketAddr,
    /// Bearer token; none is sent when there is none.
    pub credential: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
    /// The connection ended before the body did.
    pub cut_short: bool,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// The body as JSON values, one a line.
    pub fn lines(&self) -> Vec<Value> {
        let value = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        self.text().lines().map(value).collect()
    }

    /// As it must be when all went well.
    pub fn ok(self) -> Self {
        assert_eq!(self.status, 200, "{}", self.text());
        assert!(!self.cut_short, "the body is whole");
        self
    }

    /// The `type` of a problem, having checked that it is one.
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        for field in ["title", "detail"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
        }
        problem["type"].as_str().expect("a type").to_owned()
    }
}

impl Admin {
    /// The admin listener of a server, with its local credential.
    pub fn of(server: &Server) -> Self {
        let file = std::fs::read(server.data().join("admin.json")).expect("admin.json is there");
        let file: Value = serde_json::from_slice(&file).expect("admin.json is JSON");
        let credential = file["credential"].as_str().expect("a credential").to_owned();
        Self { addr: server.admin_addr(), credential: Some(credential) }
    }

    /// Sends a request without a body.
    pub fn send(&self, method: &str, target: &str) -> Response {
        self.send_with(method, target, &[], b"")
    }

    /// Sends a GET that must succeed.
    pub fn get(&self, target: &str) -> Response {
        self.send("GET", target).ok()
    }

    /// Sends a request with headers and a body; its length is said unless a header says something of it.
    pub fn send_with(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut stream = self.open(method, target, headers, (!body.is_empty()).then_some(body.len()));
        // A server that has seen enough may answer and close while we still send.
        let _ = stream.write_all(body);
        read_response(stream, method).unwrap_or_else(|e| panic!("{method} {target}: no answer: {e}"))
    }

    /// Sends the head of a request, and gives the connection.
    pub fn open(&self, method: &str, target: &str, headers: &[(&str, &str)], length: Option<usize>) -> TcpStream {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.addr);
        if let Some(credential) = &self.credential {
            head.push_str(&format!("Authorization: Bearer {credential}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let said = headers.iter().any(|(name, _)| matches!(*name, "Content-Length" | "Transfer-Encoding"));
        if let Some(length) = length.filter(|_| !said) {
            head.push_str(&format!("Content-Length: {length}\r\n"));
        }
        head.push_str("\r\n");
        let mut stream = TcpStream::connect(self.addr).expect("the admin listener takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(head.as_bytes()).expect("the request is sent");
        stream
    }
}

/// Reads one answer to its end.
///
/// # Errors
/// When not even its head comes whole.
pub fn read_response(stream: TcpStream, method: &str) -> io::Result<Response> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut next = |reader: &mut BufReader<TcpStream>| -> io::Result<String> {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    };
    let status = next(&mut reader)?;
    let status = status.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    let mut headers = Vec::new();
    loop {
        let line = next(&mut reader)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut response = Response { status, headers, body: Vec::new(), cut_short: false };
    if method == "HEAD" {
        reader.read_to_end(&mut response.body)?;
        return Ok(response);
    }
    if response.header("transfer-encoding") == Some("chunked") {
        loop {
            let Ok(size) = next(&mut reader) else { break response.cut_short = true };
            let size = u64::from_str_radix(&size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            let read = reader.by_ref().take(size).read_to_end(&mut response.body).unwrap_or(0) as u64;
            if read < size || next(&mut reader).is_err() {
                break response.cut_short = true;
            }
            if size == 0 {
                break;
            }
        }
    } else {
        let length = response.header("content-length").and_then(|length| length.parse::<usize>().ok());
        reader.read_to_end(&mut response.body)?;
        response.cut_short = length.is_some_and(|length| length != response.body.len());
    }
    Ok(response)
}
