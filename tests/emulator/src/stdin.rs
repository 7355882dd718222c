//! Standard input as the starting gate: a line starts the run, another one has it come
//! to its end, end of file ends the process.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::sync::oneshot;

/// Whether nothing more is to be drawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Gate {
    started: oneshot::Receiver<()>,
    closed: oneshot::Receiver<()>,
}

impl Gate {
    /// Reads on a thread of its own, which the process does not wait for when it ends.
    pub(crate) fn open(stop: Stop) -> Self {
        let (start, started) = oneshot::channel();
        let (close, closed) = oneshot::channel();
        thread::spawn(move || watch(start, &stop, close));
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

fn watch(start: oneshot::Sender<()>, stop: &Stop, close: oneshot::Sender<()>) {
    let mut start = Some(start);
    for line in io::stdin().lines() {
        if line.is_err() {
            break;
        }
        match start.take() {
            Some(start) => {
                let _ = start.send(());
            }
            None => stop.ask(),
        }
    }
    drop(start);
    let _ = close.send(());
}
