//! Draining: no new requests are accepted, and those in flight are finished.

use std::sync::Arc;

use tokio::sync::watch;

/// Shared by everything that accepts work. Draining begins once and never ends.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    begun: Arc<watch::Sender<bool>>,
    in_flight: Arc<watch::Sender<usize>>,
}

impl Drain {
    pub(crate) fn new() -> Self {
        Self {
            begun: Arc::new(watch::Sender::new(false)),
            in_flight: Arc::new(watch::Sender::new(0)),
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
        self.in_flight.send_modify(|count| *count += 1);
        InFlight(self.in_flight.clone())
    }

    /// Resolves when nothing is in flight.
    pub(crate) async fn finished(&self) {
        let _ = self
            .in_flight
            .subscribe()
            .wait_for(|count| *count == 0)
            .await;
    }
}

#[derive(Debug)]
pub(crate) struct InFlight(Arc<watch::Sender<usize>>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
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
}
