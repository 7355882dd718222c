//! The state of a stream, as `tidings.stream_status` and the metrics show it.
//!
//! - A stream sets its [`Status`]; [`report`] sends the newest one to Postgres at each
//!   change and every 30 s, so that a worker that has vanished is noticed too.
//! - Reports are sent one after the other, at most a few a second. States that last only
//!   a moment may be left out, but the last one never is.
//! - A report that fails is retried until it, or a newer one, succeeds. The stream never
//!   waits for a report.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use actix::prelude::*;
use metrics::gauge;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::debug;

use crate::process::metric;

const INTERVAL: Duration = Duration::from_secs(30);
const LEAST_INTERVAL: Duration = Duration::from_millis(200);
/// Pause after a report that failed.
const PAUSE: Duration = Duration::from_secs(2);
/// Time limit for the last report.
const LAST: Duration = Duration::from_secs(2);
/// Limit on the text of an error, in characters.
const LONGEST_ERROR: usize = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The worker is dialing.
    Connecting,
    /// The stream is open.
    Connected,
    /// The stream failed, and is dialed again at a known time.
    Waiting,
    /// Somebody has to change something; the stream is dialed again then, or at a known
    /// time.
    Stopped,
    /// The worker or the source has ended the stream.
    Ended,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [
        Self::Connecting,
        Self::Connected,
        Self::Waiting,
        Self::Stopped,
        Self::Ended,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
        }
    }
}

/// The status of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) state: State,
    /// Number of consecutive failed attempts.
    pub(crate) failures: u32,
    /// Why the last attempt failed. `None` keeps what was reported before.
    pub(crate) last_error: Option<String>,
    pub(crate) last_error_at: Option<SystemTime>,
    pub(crate) next_try: Option<SystemTime>,
}

/// Sets the status of a stream. When it is dropped, the reports end with the last one.
#[derive(Debug)]
pub(crate) struct Reporter {
    source: Arc<str>,
    status: watch::Sender<Status>,
}

impl Reporter {
    pub(crate) fn new(source: Arc<str>) -> Self {
        let reporter = Self {
            source,
            status: watch::Sender::new(Status {
                state: State::Connecting,
                failures: 0,
                last_error: None,
                last_error_at: None,
                next_try: None,
            }),
        };
        reporter.measure();
        reporter
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Sets a state that needs no retry.
    pub(crate) fn set(&self, state: State) {
        self.status.send_modify(|status| {
            status.state = state;
            status.next_try = None;
        });
        self.measure();
    }

    /// Records that events were committed.
    pub(crate) fn progress(&self) {
        let source = self.source.to_string();
        gauge!(metric::STREAM_LAST_EVENT, "source" => source).set(metric::unix(SystemTime::now()));
        let changed = self.status.send_if_modified(|status| {
            let failed = status.failures > 0;
            status.failures = 0;
            failed
        });
        if changed {
            self.measure();
        }
    }

    /// Sets a state that lasts for `pause`, or until something changes, after so many
    /// `failures`.
    pub(crate) fn pause(
        &self,
        state: State,
        pause: Option<Duration>,
        failures: u32,
        error: Option<&str>,
    ) {
        let now = SystemTime::now();
        self.status.send_modify(|status| {
            *status = Status {
                state,
                failures,
                last_error: error.map(shortened).or_else(|| status.last_error.take()),
                last_error_at: error.map(|_| now).or(status.last_error_at),
                next_try: pause.and_then(|pause| now.checked_add(pause)),
            };
        });
        self.measure();
    }

    fn measure(&self) {
        let status = self.status.borrow();
        let source = self.source.to_string();
        for state in State::ALL {
            let is = f64::from(u8::from(state == status.state));
            gauge!(metric::STREAM_STATE, "source" => source.clone(), "state" => state.as_str())
                .set(is);
        }
        let connected = status.state == State::Connected;
        gauge!(metric::STREAM_CONNECTED, "source" => source.clone())
            .set(f64::from(u8::from(connected)));
        gauge!(metric::STREAM_FAILURES, "source" => source.clone()).set(f64::from(status.failures));
        // 0 means that no retry is planned.
        let next_try = status.next_try.map(metric::unix).unwrap_or_default();
        gauge!(metric::STREAM_NEXT_TRY, "source" => source).set(next_try);
    }
}

/// Seconds since 1970.
/// The text in one line of limited length.
fn shortened(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(LONGEST_ERROR).collect()
}

/// Reports to Postgres; the answer is sent when the report is stored.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<(), String>")]
pub(crate) struct Report {
    pub(crate) source: Arc<str>,
    pub(crate) status: Status,
}

/// Reports the newest status until its sender is gone, and then the last one.
pub(crate) async fn report(
    source: Arc<str>,
    mut status: watch::Receiver<Status>,
    to: Recipient<Report>,
) {
    loop {
        let newest = status.borrow_and_update().clone();
        let mut end = status.clone();
        let gone = async { while end.changed().await.is_ok() {} };
        let sent = tokio::select! {
            sent = send(&source, newest, &to) => sent,
            () = gone => break,
        };
        let pause = if sent { INTERVAL } else { PAUSE };
        let least = if sent { LEAST_INTERVAL } else { PAUSE };
        let over = tokio::select! {
            changed = status.changed() => changed.is_err(),
            () = sleep(pause) => false,
        };
        if over || after(&mut status, least).await {
            break;
        }
    }
    let last = status.borrow().clone();
    // Postgres may be down for long, and the next worker will report for itself.
    let _ = timeout(LAST, send(&source, last, &to)).await;
}

/// Waits for `least` or for the end, and returns whether the end has come.
async fn after(status: &mut watch::Receiver<Status>, least: Duration) -> bool {
    let ended = async { while status.changed().await.is_ok() {} };
    timeout(least, ended).await.is_ok()
}

async fn send(source: &Arc<str>, status: Status, to: &Recipient<Report>) -> bool {
    let report = Report {
        source: source.clone(),
        status,
    };
    let result = match to.send(report).await {
        Ok(result) => result,
        Err(_) => Err("the worker is stopping".to_owned()),
    };
    if let Err(reason) = &result {
        debug!(
            source = source.as_ref(),
            reason, "a stream's state was not reported"
        );
    }
    result.is_ok()
}

/// The name of this worker in reports: its host and process id.
pub(crate) fn worker() -> &'static str {
    static WORKER: LazyLock<String> = LazyLock::new(|| {
        let host = rustix::system::uname();
        let host = host.nodename().to_string_lossy();
        format!("{host} {}", std::process::id())
    });
    &WORKER
}

#[cfg(test)]
mod tests;
