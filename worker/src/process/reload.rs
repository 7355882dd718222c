//! Reading files again when SIGHUP asks for it.
//!
//! Whatever reads a file that may change while the worker runs subscribes here: certificates,
//! tokens, passwords. SIGHUP never ends the process.

use std::sync::Arc;

use tokio::sync::watch;

/// Shared by all parts that read files. The number counts the requests to read them again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reload(Arc<watch::Sender<u64>>);

impl Reload {
    /// Asks every part to read its files again.
    pub(crate) fn ask(&self) {
        self.0
            .send_modify(|requests| *requests = requests.wrapping_add(1));
    }

    /// The requests from now on, for one part.
    pub(crate) fn subscribe(&self) -> Reloads {
        Reloads(self.0.subscribe())
    }
}

/// The requests to read files again, as one part sees them.
#[derive(Clone, Debug)]
pub(crate) struct Reloads(watch::Receiver<u64>);

impl Reloads {
    /// Resolves when files are to be read again. All requests since the last call are one.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody can ask any more, because the process is ending.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn every_part_hears_of_a_request_once_and_of_none_before_it_subscribed() {
        let reload = Reload::default();
        reload.ask();
        let (mut one, mut two) = (reload.subscribe(), reload.subscribe());
        assert!(one.next().now_or_never().is_none());
        reload.ask();
        reload.ask();
        for part in [&mut one, &mut two] {
            assert!(part.next().now_or_never().is_some());
            assert!(part.next().now_or_never().is_none());
        }
        drop(reload);
        assert!(one.next().now_or_never().is_none());
    }
}
