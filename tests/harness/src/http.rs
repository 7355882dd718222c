//! The part of HTTP/1.1 that reading metrics and testing a webhook needs: one request for
//! each connection, over plain TCP, with every byte determined by the caller.

use crate::DEADLINE;
use anyhow::{Context as _, Result};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

/// An answer; header names in lower case.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(have, _)| have == name)?;
        Some(value)
    }
}

pub fn get(at: SocketAddr, path: &str) -> Result<Answer> {
    request(at, "GET", path, &[], b"")
}

pub fn post(at: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    request(at, "POST", path, headers, body)
}

/// HTTP/1.0 on the wire, so that the answer's body is neither chunked nor kept alive.
pub fn request(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&at, DEADLINE)
        .with_context(|| format!("cannot connect to {at}"))?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    exchange(&mut stream, method, path, headers, body)
}

/// One request over a connection, such as one inside TLS.
pub fn exchange(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.0\r\nhost: localhost\r\n");
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    // A server may answer, and close, before it has read a body it refuses.
    let sent = stream.write_all(body);
    let mut bytes = Vec::new();
    let received = stream.read_to_end(&mut bytes);
    parse(&bytes).with_context(|| {
        format!("{method} {path}: no answer (sent: {sent:?}, received: {received:?})")
    })
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Some(Answer {
        status,
        headers,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let answer =
            parse(b"HTTP/1.1 401 Unauthorized\r\nRetry-After: 1\r\n\r\nno\r\n\r\n").unwrap();
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.body, "no\r\n\r\n");
        assert!(parse(b"HTTP/1.1").is_none());
    }
}
