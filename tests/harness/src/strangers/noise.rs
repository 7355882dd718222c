//! Requests that nobody should send, at a steady rate, each on a connection of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Connections at a time.
const SENDERS: u64 = 4;
/// After this time nobody waits for an answer any more.
const PATIENCE: Duration = Duration::from_millis(500);

/// Bytes that are not HTTP.
pub const MALFORMED: &[&[u8]] = &[
    b"NOT HTTP\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST /hooks/arpoone HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
    // The beginning of TLS.
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
];

/// Webhooks of a source that does not exist.
pub const UNKNOWN: &[&[u8]] = &[
    b"POST /hooks/nobody HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[]",
];

/// Sends the requests in turn until it is dropped.
#[derive(Debug)]
pub struct Noise {
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    over: AtomicBool,
    sent: AtomicU64,
    answered: AtomicU64,
}

impl Noise {
    /// Sends at most `rate` requests a second; fewer if the machine does not manage more.
    pub fn make(at: SocketAddr, requests: &'static [&'static [u8]], rate: u64) -> Self {
        let shared = Arc::<Shared>::default();
        let each = Duration::from_secs_f64(SENDERS as f64 / rate.max(1) as f64);
        let senders = (0..SENDERS).map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || send(at, requests, each, &shared))
        });
        Self {
            senders: senders.collect(),
            shared,
        }
    }

    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    pub fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        for sender in self.senders.drain(..) {
            let _ = sender.join();
        }
    }
}

fn send(at: SocketAddr, requests: &[&[u8]], each: Duration, shared: &Shared) {
    let mut due = Instant::now();
    for request in requests.iter().cycle() {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        // What could not be sent in time is not made up for.
        due = (due + each).max(Instant::now() - each);
        let answered = exchange(at, request).unwrap_or_default();
        shared.sent.fetch_add(1, Ordering::Relaxed);
        shared
            .answered
            .fetch_add(u64::from(answered), Ordering::Relaxed);
    }
}

/// Whether there was an answer.
fn exchange(at: SocketAddr, request: &[u8]) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = [0; 1024];
    let mut read = 0;
    loop {
        match stream.read(&mut answer)? {
            0 => return Ok(read > 0),
            more => read += more,
        }
    }
}
