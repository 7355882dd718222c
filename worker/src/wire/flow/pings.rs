//! Pings, which detect a peer that has vanished.

use std::time::Duration;

use h2::{Ping, PingPong};
use tokio::time::{sleep, timeout};

/// Pings every `interval`, if that is set, and resolves when a ping has not been answered
/// within `limit`.
pub(crate) async fn unanswered(
    pings: Option<PingPong>,
    interval: Option<Duration>,
    limit: Duration,
) {
    if let (Some(mut pings), Some(interval)) = (pings, interval) {
        loop {
            sleep(interval).await;
            match timeout(limit.min(interval), pings.ping(Ping::opaque())).await {
                Ok(Ok(_)) => {}
                // The connection has ended, and reports that itself.
                Ok(Err(_)) => break,
                Err(_) => return,
            }
        }
    }
    std::future::pending().await
}
