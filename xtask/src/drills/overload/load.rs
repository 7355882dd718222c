//! Clients that send one event each and give up after a few seconds.

use anyhow::{Result, bail, ensure};
use serde_json::json;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidings_harness::{DEADLINE, http};

/// The client's own time limit.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
const PATH: &str = "/hooks/sms/token";
const TICK: Duration = Duration::from_millis(20);

/// The outcome of one request.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    id: String,
    /// Time at which it was sent, after the begin.
    pub(super) due: Duration,
    /// 0 if there was no answer in time.
    pub(super) status: u16,
    pub(super) took: Duration,
}

#[derive(Debug)]
pub(super) struct Clients {
    worker: SocketAddr,
    next: AtomicU64,
    acknowledged: Vec<String>,
}

impl Clients {
    pub(super) fn new(worker: SocketAddr) -> Self {
        Self {
            worker,
            next: AtomicU64::new(0),
            acknowledged: Vec::new(),
        }
    }

    /// Waits until the worker knows the source.
    pub(super) fn wait_known(&self) -> Result<()> {
        let deadline = Instant::now() + DEADLINE;
        while http::post(self.worker, PATH, &[], b"[]")?.status != 200 {
            ensure!(Instant::now() < deadline, "the worker knows no sms");
            thread::sleep(TICK);
        }
        Ok(())
    }

    /// Events a second that so many clients have stored, each of which sends when its last
    /// event was answered.
    pub(super) fn capacity(
        &mut self,
        clients: usize,
        warm: Duration,
        measured: Duration,
    ) -> Result<f64> {
        let over = AtomicBool::new(false);
        let started = Instant::now();
        let work = || {
            let mut answers = Vec::new();
            while !over.load(Ordering::Relaxed) {
                answers.push(self.send(started));
            }
            answers
        };
        let answers: Vec<Answer> = thread::scope(|scope| {
            let clients: Vec<_> = (0..clients).map(|_| scope.spawn(work)).collect();
            thread::sleep(warm + measured);
            over.store(true, Ordering::Relaxed);
            let answers = clients.into_iter().map(|client| client.join());
            answers
                .flat_map(|own| own.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let within = |answer: &&Answer| {
            let end = answer.due + answer.took;
            answer.status == 200 && end >= warm && end < warm + measured
        };
        let stored = answers.iter().filter(within).count();
        if let Some(other) = answers.iter().find(|answer| answer.status != 200) {
            bail!("without an overload an answer was {}", other.status);
        }
        self.keep(&answers);
        Ok(stored as f64 / measured.as_secs_f64())
    }

    /// Sends at this rate, whatever becomes of it.
    pub(super) fn offer(&mut self, rate: f64, lasts: Duration) -> Result<Vec<Answer>> {
        let started = Instant::now();
        let count = (rate * lasts.as_secs_f64()) as u32;
        let each = Duration::from_secs_f64(1.0 / rate);
        let this = &*self;
        let answers: Vec<Answer> = thread::scope(|scope| {
            let mut sent = Vec::new();
            for number in 0..count {
                let due = each * number;
                thread::sleep(due.saturating_sub(started.elapsed()));
                sent.push(scope.spawn(move || this.send(started)));
            }
            let answers = sent.into_iter().map(|sent| sent.join());
            answers
                .map(|answer| answer.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        self.keep(&answers);
        Ok(answers)
    }

    /// The ids of what was answered 200.
    pub(super) fn acknowledged(&self) -> &[String] {
        &self.acknowledged
    }

    fn keep(&mut self, answers: &[Answer]) {
        let taken = answers.iter().filter(|answer| answer.status == 200);
        self.acknowledged
            .extend(taken.map(|answer| answer.id.clone()));
    }

    fn send(&self, started: Instant) -> Answer {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let id = format!("overload-{number}");
        let body = json!([{"Msisdn": "351913462111", "Status": "DELIVERED", "MessageId": id,
                           "ReportDateTime": "2026-01-01T00:00:00Z"}]);
        let due = started.elapsed();
        let sent = Instant::now();
        let status = exchange(self.worker, &body.to_string(), sent + PATIENCE);
        Answer {
            id,
            due,
            status: status.unwrap_or_default(),
            took: sent.elapsed(),
        }
    }
}

/// The status of the answer, if it is there before the deadline; then the connection is
/// closed.
fn exchange(to: SocketAddr, body: &str, deadline: Instant) -> std::io::Result<u16> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(std::io::Error::from(ErrorKind::TimedOut))
        } else {
            Ok(left)
        }
    };
    let mut stream = TcpStream::connect_timeout(&to, left()?)?;
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(format!("{head}{body}").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        stream.set_read_timeout(Some(left()?))?;
        match stream.read(&mut buffer)? {
            0 => break,
            more => answer.extend(buffer.iter().take(more)),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|word| word.parse().ok());
    status.ok_or_else(|| ErrorKind::InvalidData.into())
}
