//! Sends webhooks at a fixed rate: each is due at its time, whatever happened to earlier
//! ones, and its latency counts from that time.

use super::webhook::Webhook;
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// Connections, and threads.
const SENDERS: usize = 64;
/// Longer than any provider waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// The outcome of one webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// 0 where there was no answer.
    pub(super) status: u16,
    pub(super) spooled: bool,
    pub(super) took: Duration,
    /// What was not 200.
    pub(super) reason: Option<String>,
}

/// Sends all webhooks at this rate from the given time on; the answers are in the order
/// of the webhooks.
pub(super) fn send(
    to: SocketAddr,
    webhooks: &[Webhook],
    rate: u64,
    started: Instant,
) -> Vec<Answered> {
    let each = Duration::from_secs_f64(1.0 / rate as f64);
    let work = |sender: usize| {
        let mut connection = None;
        let own = webhooks.iter().enumerate().skip(sender).step_by(SENDERS);
        own.map(|(number, webhook)| {
            let due = started + each.mul_f64(number as f64);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let answer = exchange(&mut connection, to, webhook);
            (number, answered(answer, due.elapsed()))
        })
        .collect::<Vec<_>>()
    };
    let mut all: Vec<(usize, Answered)> = thread::scope(|scope| {
        let work = &work;
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| scope.spawn(move || work(sender)))
            .collect();
        let results = senders.into_iter().map(|sender| sender.join());
        results
            .flat_map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    all.sort_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, answered)| answered).collect()
}

fn answered(answer: Result<(u16, String)>, took: Duration) -> Answered {
    match answer {
        Ok((status, body)) => Answered {
            status,
            spooled: body.contains("\"spooled\":true"),
            took,
            reason: (status != 200).then_some(body),
        },
        Err(error) => Answered {
            status: 0,
            spooled: false,
            took,
            reason: Some(format!("{error:#}")),
        },
    }
}

/// Over the connection that is open, or another one.
fn exchange(
    connection: &mut Option<BufReader<TcpStream>>,
    to: SocketAddr,
    webhook: &Webhook,
) -> Result<(u16, String)> {
    // An idle connection may have been closed, which only its use shows.
    if let Some(open) = connection.take().filter(is_open) {
        *connection = Some(open);
    }
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            connection.insert(BufReader::new(stream))
        }
    };
    let answer = ask(stream, webhook);
    if !matches!(&answer, Ok((_, _, true))) {
        *connection = None;
    }
    answer.map(|(status, body, _)| (status, body))
}

fn is_open(stream: &BufReader<TcpStream>) -> bool {
    let stream = stream.get_ref();
    let peek = || -> std::io::Result<usize> {
        stream.set_nonblocking(true)?;
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        peeked
    };
    peek().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

/// The status, the body, and whether the connection stays open.
fn ask(stream: &mut BufReader<TcpStream>, webhook: &Webhook) -> Result<(u16, String, bool)> {
    let Webhook {
        path, header, body, ..
    } = webhook;
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    if let Some((name, value)) = header {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.get_mut().write_all(request.as_bytes())?;
    let (mut status, mut length, mut stays) = (None, 0, true);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            bail!("the connection was closed before the answer");
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if status.is_none() {
            status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
        } else if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        } else if line == "connection: close" {
            stays = false;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let status = status.context("the answer has no status")?;
    Ok((status, String::from_utf8_lossy(&body).into_owned(), stays))
}
