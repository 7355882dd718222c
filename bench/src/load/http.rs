//! Requests over kept connections, all of which are written beforehand, so that the load
//! costs as little as possible: it runs on the same cores as what it measures.

use crate::measure::stats::Times;
use anyhow::{Context as _, Result, bail, ensure};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// Limit on an answer.
const GREATEST_ANSWER: usize = 64 << 10;
/// Limit on the wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request, as its bytes.
pub(crate) type Request = Vec<u8>;

/// A POST with one more header.
pub(crate) fn post(path: &str, header: Option<(&str, &str)>, body: &[u8]) -> Request {
    let header = header.map_or(String::new(), |(name, value)| {
        format!("{name}: {value}\r\n")
    });
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{header}content-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The outcome of the requests, all of which were answered 200.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) times: Times,
    /// Time of each answer; kept only if the requests have a schedule.
    pub(crate) at: Vec<(usize, Instant)>,
    pub(crate) took: Duration,
}

/// Sends one request after the other on each connection, until the time is up or none is
/// left.
pub(crate) fn closed(
    to: SocketAddr,
    requests: Vec<Request>,
    connections: usize,
    until: Duration,
) -> Result<Answered> {
    runtime()?.block_on(async move {
        let requests = Arc::new(requests);
        let next = Arc::new(AtomicUsize::new(0));
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Connection::open(to).await?);
        }
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for mut connection in open {
            let (requests, next) = (Arc::clone(&requests), Arc::clone(&next));
            tasks.spawn(async move {
                let mut times = Times::default();
                while began.elapsed() < until {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(request) = requests.get(at) else {
                        break;
                    };
                    let sent = Instant::now();
                    connection.exchange(request).await?;
                    times.push(sent.elapsed());
                }
                Ok(times)
            });
        }
        let mut answered = Answered::default();
        while let Some(times) = tasks.join_next().await {
            let times: Result<Times> = times?;
            answered.times.append(times?);
        }
        answered.took = began.elapsed();
        Ok(answered)
    })
}

/// The schedule of an open load: so many requests together, every so often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) together: u32,
    pub(crate) every: Duration,
}

impl Pace {
    pub(crate) fn one(every: Duration) -> Self {
        Self { together: 1, every }
    }

    /// Time of a request from the beginning.
    fn after(self, at: usize) -> Duration {
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        self.every * at.checked_div(self.together).unwrap_or(at)
    }
}

/// Sends a request at each time of a schedule, whatever became of those before, over so many
/// connections. A time is counted from the schedule, so that a queue before the connections is
/// part of it.
pub(crate) fn open(
    to: SocketAddr,
    requests: Vec<Request>,
    connections: usize,
    pace: Pace,
) -> Result<Answered> {
    runtime()?.block_on(async move {
        let count = requests.len();
        let requests = Arc::new(requests);
        let (due, queue) = mpsc::unbounded_channel::<(usize, Instant)>();
        let queue = Arc::new(Mutex::new(queue));
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let mut connection = Connection::open(to).await?;
            let (requests, queue) = (Arc::clone(&requests), Arc::clone(&queue));
            tasks.spawn(async move {
                let mut answered = Answered::default();
                loop {
                    let next = queue.lock().await.recv().await;
                    let Some((at, scheduled)) = next else { break };
                    let request = requests.get(at).context("no such request")?;
                    connection.exchange(request).await?;
                    let now = Instant::now();
                    answered.times.push(now - scheduled);
                    answered.at.push((at, now));
                }
                Ok(answered)
            });
        }
        // A thread, because a timer of the runtime ticks in milliseconds.
        let began = Instant::now();
        let pacer = std::thread::spawn(move || {
            for at in 0..count {
                let scheduled = began + pace.after(at);
                std::thread::sleep(scheduled.saturating_duration_since(Instant::now()));
                if due.send((at, scheduled)).is_err() {
                    return;
                }
            }
        });
        let mut all = Answered::default();
        while let Some(answered) = tasks.join_next().await {
            let answered: Result<Answered> = answered?;
            let answered = answered?;
            all.times.append(answered.times);
            all.at.extend(answered.at);
        }
        all.took = began.elapsed();
        ensure!(pacer.join().is_ok(), "the pacer failed");
        ensure!(all.times.len() == count, "not every request was answered");
        Ok(all)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(to: SocketAddr) -> Result<Self> {
        ensure!(to.ip().is_loopback(), "the load is for this machine alone");
        let stream = TcpStream::connect(to)
            .await
            .with_context(|| format!("cannot connect to {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
        })
    }

    /// Sends it, and reads its answer, which is to be 200.
    async fn exchange(&mut self, request: &[u8]) -> Result<()> {
        let exchange = async {
            self.stream.write_all(request).await?;
            self.buffer.clear();
            loop {
                let read = self.stream.read_buf(&mut self.buffer).await?;
                ensure!(read > 0, "the connection was closed");
                if let Some(status) = whole(&self.buffer)? {
                    if status != 200 {
                        bail!("answered: {}", String::from_utf8_lossy(&self.buffer));
                    }
                    return Ok(());
                }
                ensure!(
                    self.buffer.len() < GREATEST_ANSWER,
                    "the answer is too long"
                );
            }
        };
        tokio::time::timeout(PATIENCE, exchange)
            .await
            .context("no answer")?
    }
}

/// The status of a whole answer; none if more of it is to come.
fn whole(bytes: &[u8]) -> Result<Option<u16>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let (head, body) = bytes.split_at(end + 4);
    let head = std::str::from_utf8(head)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.context("an answer without content-length")?;
    let status = status.context("an answer without status")?;
    Ok((body.len() >= length).then_some(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(whole(&answer[..20]).unwrap(), None);
        assert_eq!(whole(&answer[..39]).unwrap(), None);
        assert_eq!(whole(answer).unwrap(), Some(200));
        assert!(whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[test]
    fn a_request_says_how_long_its_body_is() {
        let request = post("/p", Some(("a", "b")), b"xy");
        let text = String::from_utf8(request).unwrap();
        assert!(text.starts_with("POST /p HTTP/1.1\r\n"), "{text}");
        assert!(
            text.ends_with("a: b\r\ncontent-length: 2\r\n\r\nxy"),
            "{text}"
        );
    }
}
