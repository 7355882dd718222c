//! The queue between the log and stderr.
//!
//! A thread of its own writes the lines, so that nobody waits for whoever reads stderr. While
//! nobody reads, lines wait up to a limit. Beyond it they are dropped and counted until all
//! that waited has been written; then one line says how many were dropped.
//!
//! tracing-appender's `non_blocking` (0.2.5) has such a queue, but does not bound the bytes of
//! the lines, reports no loss in the log, and prints to stdout when it ends with a full queue,
//! which blocks for ever if stdout is the same pipe.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use metrics::counter;
use tracing::warn;
use tracing_subscriber::fmt::MakeWriter;

use crate::process::metric;

/// Limit on the lines that wait, in bytes.
const MOST: usize = 1 << 20;
/// Memory of a line beside its text, in bytes.
const OVERHEAD: usize = 64;
/// Pause before another attempt at a stderr that somebody else made non-blocking.
const RETRY: Duration = Duration::from_millis(20);

/// The lines that wait to be written. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// True from the first line that is dropped until no line waits.
    is_full: bool,
    /// Number of lost lines that no line has reported yet.
    dropped: u64,
    /// True while the thread writes what it has taken.
    is_busy: bool,
    /// True if the last line could not be written, for example because nobody will read it.
    has_failed: bool,
}

impl Waiting {
    fn is_done(&self) -> bool {
        self.lines.is_empty() && !self.is_busy && (self.dropped == 0 || self.has_failed)
    }
}

/// The next step of the thread.
enum Next {
    Write(Vec<u8>),
    /// To report so many lost lines.
    Report(u64),
    /// Nothing has come.
    Idle,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        let waiting = &self.0.waiting;
        waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, or drops it, but never waits for a reader.
    fn push(&self, line: &[u8]) {
        let mut waiting = self.lock();
        let bytes = waiting.bytes.saturating_add(line.len() + OVERHEAD);
        if waiting.is_full || bytes > MOST {
            waiting.is_full = true;
            waiting.dropped += 1;
            drop(waiting);
            counter!(metric::LOG_DROPPED).increment(1);
            self.0.changed.notify_all();
            return;
        }
        waiting.bytes = bytes;
        waiting.lines.push_back(line.to_vec());
        drop(waiting);
        self.0.changed.notify_all();
    }

    /// Starts the thread that writes the lines. It also calls `every` once a period.
    pub(super) fn start(
        self,
        out: impl Write + Send + 'static,
        (period, every): (Duration, impl Fn() + Send + 'static),
    ) -> io::Result<()> {
        let thread = thread::Builder::new().name("log".to_owned());
        let writing = move || self.work(out, period, every);
        thread.spawn(writing).map(drop)
    }

    fn work(&self, mut out: impl Write, period: Duration, every: impl Fn()) {
        let mut due = Instant::now() + period;
        loop {
            match self.next(due) {
                Next::Write(line) => {
                    let written = write(&mut out, &line);
                    self.note(written.is_ok());
                }
                Next::Report(dropped) => warn!(
                    dropped,
                    "lines of the log were dropped, because stderr was not read"
                ),
                Next::Idle => {}
            }
            if Instant::now() >= due {
                due = Instant::now() + period;
                every();
            }
        }
    }

    /// Waits for a line until this time.
    fn next(&self, until: Instant) -> Next {
        let mut waiting = self.lock();
        waiting.is_busy = false;
        loop {
            if let Some(line) = waiting.lines.pop_front() {
                waiting.bytes = waiting.bytes.saturating_sub(line.len() + OVERHEAD);
                waiting.is_busy = true;
                return Next::Write(line);
            }
            waiting.is_full = false;
            if waiting.dropped > 0 && !waiting.has_failed {
                waiting.is_busy = true;
                return Next::Report(std::mem::take(&mut waiting.dropped));
            }
            self.0.changed.notify_all();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Next::Idle;
            }
            let woken = self.0.changed.wait_timeout(waiting, left);
            (waiting, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records whether a line was written.
    fn note(&self, is_written: bool) {
        let mut waiting = self.lock();
        waiting.has_failed = !is_written;
        if !is_written {
            waiting.dropped += 1;
            drop(waiting);
            counter!(metric::LOG_DROPPED).increment(1);
        }
    }

    /// Waits until all lines are written, but no longer than this.
    pub(super) fn flush(&self, patience: Duration) {
        let waiting = self.lock();
        let unfinished = |waiting: &mut Waiting| !waiting.is_done();
        let _ = self
            .0
            .changed
            .wait_timeout_while(waiting, patience, unfinished);
    }
}

fn write(out: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match out.write(line) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A line arrives in one piece.
impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, PipeReader, PipeWriter, pipe},
        sync::mpsc,
    };

    use tracing_subscriber::{layer::SubscriberExt, registry};

    use super::*;

    const NEVER: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A queue whose thread writes to a pipe, and whose reports come back to it.
    fn queue() -> (Queue, PipeReader) {
        let (reader, writer) = pipe().unwrap();
        let queue = Queue::default();
        start(&queue, writer);
        (queue, reader)
    }

    /// The thread of a queue logs to its own queue, as the process does.
    fn start(queue: &Queue, writer: PipeWriter) {
        let (queue, listening) = (queue.clone(), queue.clone());
        let (sender, started) = mpsc::channel();
        thread::spawn(move || {
            let lines = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(listening);
            let _listening = crate::testing::listen(registry().with(lines));
            sender.send(()).unwrap();
            queue.work(writer, NEVER, || {});
        });
        started.recv().unwrap();
    }

    fn line(number: usize) -> String {
        format!("{number} {}\n", "x".repeat(1_000))
    }

    #[test]
    fn the_documents_state_how_much_may_wait() {
        use crate::testing::documents::{MANUAL, states};

        let most = MOST >> 20;
        states(
            "docs/outages.md",
            &format!("up to {most} MiB of the log waits"),
        );
        states(MANUAL, &format!("up to {most} MiB of lines waits"));
    }

    #[test]
    fn lines_are_written_in_order_and_at_once() {
        let (queue, reader) = queue();
        let mut lines = BufReader::new(reader).lines();
        for number in 0..3_000 {
            queue.push(line(number).as_bytes());
            let read = lines.next().unwrap().unwrap();
            assert!(read.starts_with(&format!("{number} ")), "{read}");
        }
        queue.flush(PATIENCE);
        assert!(queue.lock().is_done());
    }

    #[test]
    fn nobody_waits_for_a_reader_and_the_lost_lines_are_counted() {
        let (queue, reader) = queue();
        let lines = 5_000;
        for number in 0..lines {
            queue.push(line(number).as_bytes());
        }
        assert!(queue.lock().bytes <= MOST);
        assert!(queue.lock().lines.len() > 900, "it keeps what it may");
        // The end of the process does not wait for a reader either.
        let patience = Duration::from_millis(20);
        let started = Instant::now();
        queue.flush(patience);
        assert!(started.elapsed() >= patience);
        assert!(!queue.lock().is_done());

        let (mut read, mut reported) = (0, None);
        for line in BufReader::new(reader).lines().map(Result::unwrap) {
            if line.starts_with(char::is_numeric) && line.ends_with('x') {
                assert!(line.starts_with(&format!("{read} ")), "{line}");
                read += 1;
                continue;
            }
            let count = line.split("dropped=").nth(1).unwrap();
            reported = Some(count.trim().parse::<usize>().unwrap());
            break;
        }
        assert_eq!(reported, Some(lines - read));
        queue.flush(PATIENCE);
        assert!(queue.lock().is_done());
    }

    #[test]
    fn a_reader_that_has_gone_stops_nothing() {
        let (queue, reader) = queue();
        drop(reader);
        for number in 0..10 {
            queue.push(line(number).as_bytes());
        }
        queue.flush(PATIENCE);
        let waiting = queue.lock();
        assert!(waiting.is_done());
        assert_eq!(waiting.dropped, 10);
    }

    #[test]
    fn a_stderr_that_somebody_made_non_blocking_loses_nothing() {
        /// Takes a byte, and then nothing for the moment.
        struct Fitful(bool, mpsc::Sender<u8>);

        impl Write for Fitful {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = !self.0;
                if self.0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                self.1.send(bytes[0]).unwrap();
                Ok(1)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let (sender, written) = mpsc::channel();
        let queue = Queue::default();
        let every = (NEVER, || {});
        queue.clone().start(Fitful(false, sender), every).unwrap();
        queue.push(b"all of it");
        queue.flush(PATIENCE);
        assert_eq!(written.try_iter().collect::<Vec<_>>(), b"all of it");
    }
}
