//! The signal that events were stored, for whoever wakes readers up.

use std::sync::Arc;

use tokio::sync::Notify;

/// The signal, which each commit that stored events sets. Signals that nobody has taken yet
/// are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stored(Arc<Notify>);

impl Stored {
    pub(crate) fn tell(&self) {
        self.0.notify_one();
    }

    /// Resolves when events were stored since the signal was last taken, and takes it.
    pub(crate) async fn taken(&self) {
        self.0.notified().await;
    }
}
