//! Standard input controls the run: a line `expire` lets the next cursor shown to each of
//! Ppoppo's streams expire, the first other line starts the run, any further one ends it early,
//! and end of file ends the process.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::sync::oneshot;

use crate::ppoppo::Expiry;

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
    pub(crate) fn open(stop: Stop, expiries: Vec<Expiry>) -> Self {
        let (start, started) = oneshot::channel();
        let (close, closed) = oneshot::channel();
        thread::spawn(move || watch(start, &stop, &expiries, close));
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

fn watch(start: oneshot::Sender<()>, stop: &Stop, expiries: &[Expiry], close: oneshot::Sender<()>) {
    let mut start = Some(start);
    for line in io::stdin().lines() {
        let Ok(line) = line else {
            break;
        };
        if line == "expire" {
            expiries.iter().for_each(Expiry::ask);
        } else if let Some(start) = start.take() {
            let _ = start.send(());
        } else {
            stop.ask();
        }
    }
    drop(start);
    let _ = close.send(());
}
