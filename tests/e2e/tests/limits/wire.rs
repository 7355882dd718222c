//! HTTP/1.1 by hand: requests in pieces, and what comes back until the other side closes.

use anyhow::{Context as _, Result};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use tidings_e2e::DEADLINE;

#[derive(Debug)]
pub(super) struct Wire(TcpStream);

impl Wire {
    pub(super) fn to(at: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(Self(stream))
    }

    pub(super) fn say(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        Ok(self.0.write_all(bytes.as_ref())?)
    }

    /// Everything until it is closed; an error when it is not.
    pub(super) fn rest(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        match self.0.read_to_end(&mut bytes) {
            Ok(_) => {}
            // Closed before all that was sent was read.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return Err(error).context("it was not closed"),
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// One answer, of which more may follow.
    pub(super) fn answer(&mut self) -> Result<String> {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let mut lines = head.lines();
                let length = lines.find_map(|line| line.strip_prefix("content-length:"));
                let length: usize = length.context("no length")?.trim().parse()?;
                if body.len() >= length {
                    return Ok(text.into_owned());
                }
            }
            let mut more = [0; 1024];
            let read = match self.0.read(&mut more) {
                // A process that was stopped and goes on, as with its machine.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read?,
            };
            anyhow::ensure!(
                read > 0,
                "closed after {:?}",
                String::from_utf8_lossy(&bytes)
            );
            bytes.extend_from_slice(more.get(..read).unwrap_or_default());
        }
    }
}

/// A webhook's head.
pub(super) fn head(source: &str, framing: &str) -> String {
    format!("POST /hooks/{source} HTTP/1.1\r\nhost: localhost\r\n{framing}\r\n\r\n")
}

pub(super) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}
