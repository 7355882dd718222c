//! Standard input as the starting gate: a line starts the run, end of file ends it.

use std::{io, thread};

use tokio::sync::oneshot;

#[derive(Debug)]
pub(crate) struct Gate {
    started: oneshot::Receiver<()>,
    closed: oneshot::Receiver<()>,
}

impl Gate {
    /// Reads on a thread of its own, which the process does not wait for when it ends.
    pub(crate) fn open() -> Self {
        let (start, started) = oneshot::channel();
        let (close, closed) = oneshot::channel();
        thread::spawn(move || watch(start, close));
        Self { started, closed }
    }

    /// True when a line came, false when the input ended without one.
    pub(crate) async fn started(&mut self) -> bool {
        (&mut self.started).await.is_ok()
    }

    /// Returns when the input has ended.
    pub(crate) async fn closed(self) {
        // A failed thread is an ended input.
        let _ = self.closed.await;
    }
}

fn watch(start: oneshot::Sender<()>, close: oneshot::Sender<()>) {
    let mut start = Some(start);
    for line in io::stdin().lines() {
        if line.is_err() {
            break;
        }
        if let Some(start) = start.take() {
            let _ = start.send(());
        }
    }
    drop(start);
    let _ = close.send(());
}
