//! Draining: no new requests are accepted, and those in flight are finished.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{Notify, watch};

/// Shared by everything that accepts work. Draining begins once and never ends.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    begun: Arc<watch::Sender<bool>>,
    in_flight: Arc<Count>,
}

/// Number of requests in flight. Every request changes it, so that it is an atomic number and
/// no more.
#[derive(Debug, Default)]
struct Count {
    number: AtomicUsize,
    /// Notified whenever the number becomes 0.
    none: Notify,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self {
            begun: Arc::new(watch::Sender::new(false)),
            in_flight: Arc::default(),
        }
    }

    pub(crate) fn begin(&self) {
        self.begun.send_replace(true);
    }

    pub(crate) fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// Resolves when draining begins.
    pub(crate) fn begun(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut begun = self.begun.subscribe();
        async move {
            // An error means that every sender is gone: the process is ending.
            let _ = begun.wait_for(|begun| *begun).await;
        }
    }

    /// Counts a request, or a stream of them, as in flight until the guard is dropped.
    pub(crate) fn enter(&self) -> InFlight {
        self.in_flight.number.fetch_add(1, Ordering::SeqCst);
        InFlight(self.in_flight.clone())
    }

    /// Resolves when nothing is in flight.
    pub(crate) async fn finished(&self) {
        loop {
            // Notifications count from here on, so that none is missed.
            let none = self.in_flight.none.notified();
            if self.in_flight.number.load(Ordering::SeqCst) == 0 {
                return;
            }
            none.await;
        }
    }
}

#[derive(Debug)]
pub(crate) struct InFlight(Arc<Count>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.number.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn it_is_finished_when_the_last_request_is() {
        let drain = Drain::new();
        let (one, two) = (drain.enter(), drain.enter());
        drain.begin();
        assert!(drain.has_begun());
        assert!(drain.begun().now_or_never().is_some());
        drop(one);
        assert!(drain.finished().now_or_never().is_none());
        drop(two);
        assert!(drain.finished().now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_waits_is_told_of_the_last_one() {
        let drain = Drain::new();
        let one = drain.enter();
        let mut waiting = std::pin::pin!(drain.finished());
        assert!(waiting.as_mut().now_or_never().is_none());
        // One that comes and goes meanwhile is not the last.
        drop(drain.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(one);
        waiting.await;
    }
}
