//! The signals of the process.

use std::{io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tracing::info;

use crate::process::reload::Reload;

/// Signals that follow the first one within this time are one with it, because a supervisor
/// and its children may each send one.
const SAME: Duration = Duration::from_secs(1);

/// The signals that end the process. As soon as they are listened for, no other signal that is
/// usual between programs ends it.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangups: Option<Signal>,
    /// SIGUSR1 and SIGUSR2 would end the process if nobody listened.
    _without_effect: [Signal; 2],
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangups: Some(signal(SignalKind::hangup())?),
            _without_effect: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
            ],
        })
    }

    /// Asks for a reload at every SIGHUP, for ever.
    pub(super) fn reloading(&mut self, reload: Reload) -> impl Future<Output = ()> + use<> {
        let hangups = self.hangups.take();
        async move {
            if let Some(mut hangups) = hangups {
                while hangups.recv().await.is_some() {
                    info!("SIGHUP: certificates, tokens and passwords are read again");
                    reload.ask();
                }
            }
            std::future::pending().await
        }
    }

    /// Resolves with the name of the next signal that ends the process.
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.quit.recv() => "SIGQUIT",
        }
    }

    /// Resolves when a signal comes that is not one with the first, which came at this time.
    pub(super) async fn again(&mut self, first: Instant) {
        loop {
            let name = self.next().await;
            if first.elapsed() >= SAME {
                return;
            }
            info!(
                signal = name,
                "the drain goes on, because it has only just begun"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_states_when_a_signal_is_a_second_one() {
        use crate::testing::documents::{MANUAL, states};

        let least = SAME.as_secs();
        states(
            MANUAL,
            &format!("that comes at least {least} s after the first"),
        );
    }
}
