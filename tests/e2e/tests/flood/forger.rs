//! Clients that send what is to be refused, as fast as they are answered.

use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

/// Answers by status.
pub(super) type Tally = Arc<Mutex<BTreeMap<u16, u64>>>;

/// Sends so many requests over one connection, each after the answer to the one before.
pub(super) async fn forge(at: SocketAddr, path: String, requests: u64, tally: Tally) -> Result<()> {
    let body = "x".repeat(1_000);
    let mut connection = None;
    for number in 0..requests {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nx-ppg-signature: {number:040x}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut open = match connection.take() {
            Some(open) => open,
            None => BufStream::new(TcpStream::connect(at).await?),
        };
        let (status, stays) = ask(&mut open, request.as_bytes()).await?;
        if stays {
            connection = Some(open);
        }
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.entry(status).or_default() += 1;
    }
    Ok(())
}

/// The answer's status, and whether the connection stays open.
async fn ask(connection: &mut BufStream<TcpStream>, request: &[u8]) -> Result<(u16, bool)> {
    connection.write_all(request).await?;
    connection.flush().await?;
    let mut status = None;
    let (mut length, mut stays) = (0, true);
    loop {
        let mut line = String::new();
        ensure!(connection.read_line(&mut line).await? > 0, "no answer");
        let line = line.trim_end().to_ascii_lowercase();
        if status.is_none() {
            status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
            if status.is_none() {
                bail!("not an answer: {line}");
            }
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        } else if line == "connection: close" {
            stays = false;
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await?;
    Ok((status.context("no status")?, stays))
}
