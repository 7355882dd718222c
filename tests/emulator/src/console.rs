//! The only writer of standard output, on a thread of its own.
//!
//! A harness that does not read must not stall the run: progress is written only by
//! this thread, and only `say` waits for it. Output that is gone ends the run, so that
//! the emulator does not outlive whoever started it.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use crate::{ledger::Book, progress};

const TICK: Duration = Duration::from_millis(200);

enum Order {
    Say(String, oneshot::Sender<()>),
    ShowProgress,
}

#[derive(Debug)]
pub(crate) struct Console {
    orders: SyncSender<Order>,
}

impl Console {
    /// Also returns what resolves when the output is gone.
    pub(crate) fn start(
        output: impl Write + Send + 'static,
        books: Vec<Arc<Book>>,
    ) -> (Self, oneshot::Receiver<io::Error>) {
        // Four orders are ever given: listening, progress, faults, done.
        let (orders, inbox) = sync_channel(4);
        let (fail, failed) = oneshot::channel();
        thread::spawn(move || {
            if let Err(error) = serve(output, &inbox, &books) {
                let _ = fail.send(error);
            } else {
                // Not a failure: keeps `failed` pending until the process ends.
                std::mem::forget(fail);
            }
        });
        (Self { orders }, failed)
    }

    /// Writes a line; returns when it is written.
    pub(crate) async fn say(&self, line: String) -> Result<()> {
        let (written, wait) = oneshot::channel();
        self.order(Order::Say(line, written))?;
        wait.await.context("standard output is gone")
    }

    /// From now on, the totals every 200 ms.
    pub(crate) fn show_progress(&self) -> Result<()> {
        self.order(Order::ShowProgress)
    }

    fn order(&self, order: Order) -> Result<()> {
        self.orders
            .try_send(order)
            .ok()
            .context("standard output is gone")
    }
}

fn serve(mut output: impl Write, inbox: &Receiver<Order>, books: &[Arc<Book>]) -> io::Result<()> {
    let mut showing = false;
    loop {
        match inbox.recv_timeout(TICK) {
            Ok(Order::Say(line, written)) => {
                if showing {
                    // The line may be the last: let the totals before it be final.
                    writeln!(output, "{}", progress::progress(books))?;
                }
                writeln!(output, "{line}")?;
                output.flush()?;
                let _ = written.send(());
            }
            Ok(Order::ShowProgress) => showing = true,
            Err(RecvTimeoutError::Timeout) if showing => {
                writeln!(output, "{}", progress::progress(books))?;
                output.flush()?;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, pipe};

    use super::*;

    #[tokio::test]
    async fn what_is_said_is_written_and_progress_comes_by_itself() {
        let (reader, writer) = pipe().unwrap();
        let (console, _failed) = Console::start(writer, vec![Book::new("s")]);
        console.say("first".to_owned()).await.unwrap();
        console.show_progress().unwrap();
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "first");
        for _ in 0..2 {
            let line = lines.next().unwrap().unwrap();
            assert!(line.starts_with(r#"{"progress":{"s":"#), "{line}");
        }
    }

    #[tokio::test]
    async fn output_that_is_gone_is_told() {
        let (reader, writer) = pipe().unwrap();
        drop(reader);
        let (console, failed) = Console::start(writer, vec![]);
        assert!(console.say("lost".to_owned()).await.is_err());
        assert_eq!(failed.await.unwrap().kind(), io::ErrorKind::BrokenPipe);
    }
}
