//! The loop of a stream: dial, resume, read, commit, and again.
//!
//! Where a connection goes on is decided in [`resume`](crate::stream::resume), what its end
//! means in [`status`](crate::dial::status), when the next one comes in
//! [`retry`](crate::stream::retry); one connection, from its beginning to its end, is in
//! [`session`], and how the gap in front of it is reported in [`gaps`]. While it pauses, a stream looks up at every change that
//! Postgres tells of: another secret or cursor is tried at once, and so is another
//! content of its token's file. SIGHUP ends every pause, and the files are read again.

mod gaps;
mod session;

use std::{cell::Cell, sync::Arc, time::Duration};

use actix::Recipient;
use metrics::counter;
use tidings_core::wire::Schema;
use tokio::{
    sync::{Notify, watch},
    time::sleep,
};
use tracing::{debug, info, warn};

use self::session::Session;
use super::{
    desk::{ReportGap, Resume, WhereToResume},
    gather::StreamLimits,
    report::{Reporter, State},
    resume::Overlap,
    retry::{Brought, Cause, Next, Retry},
};
use crate::{
    dial::{options::Dial, token::Tokens},
    pipeline::batcher::Pipeline,
    process::{
        metric,
        reload::{Reload, Reloads},
    },
};

/// The endpoint to dial, and its schema.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) dial: Dial,
    pub(crate) schema: Arc<Schema>,
}

/// Follows the stream of a source.
#[derive(Debug)]
pub(crate) struct Follower {
    pub(crate) source: Arc<str>,
    /// Epoch of the lease under which the stream is followed.
    pub(crate) epoch: i64,
    pub(crate) plan: Result<Plan, String>,
    /// Answers where to resume.
    pub(crate) desk: Recipient<WhereToResume>,
    /// Writes gaps.
    pub(crate) gaps: Recipient<ReportGap>,
    pub(crate) pipeline: Pipeline,
    pub(crate) limits: StreamLimits,
    pub(crate) reporter: Reporter,
    pub(crate) wake: Arc<Notify>,
    pub(crate) reload: Reload,
    /// Told when a gap of this stream was found for which its provider can be asked.
    pub(crate) gap_found: Arc<Notify>,
}

impl Follower {
    /// Runs until it is stopped.
    pub(crate) async fn follow(self, stop: watch::Receiver<bool>) {
        match &self.plan {
            Ok(plan) => Following::new(&self, plan).run(&stop).await,
            Err(reason) => {
                let source = self.source.as_ref();
                warn!(source, reason, "this source cannot be dialed");
                self.reporter.pause(State::Stopped, None, 0, Some(reason));
                stopped(&stop).await;
            }
        }
        self.reporter.set(State::Ended);
    }
}

struct Following<'a> {
    follower: &'a Follower,
    plan: &'a Plan,
    tokens: Tokens,
    overlap: Overlap,
    retry: Retry,
    keepalive: Option<Duration>,
    /// The gap that was reported last.
    last_gap: Cell<Option<i64>>,
}

impl<'a> Following<'a> {
    fn new(follower: &'a Follower, plan: &'a Plan) -> Self {
        let dial = &plan.dial;
        Self {
            tokens: Tokens::new(&follower.source, dial),
            overlap: Overlap::new(dial.overlap),
            retry: Retry::new(),
            keepalive: dial.keepalive,
            last_gap: Cell::new(None),
            follower,
            plan,
        }
    }

    fn source(&self) -> &'a str {
        &self.follower.source
    }

    async fn run(mut self, stop: &watch::Receiver<bool>) {
        let source = self.source();
        if !self.plan.dial.is_tls() {
            info!(
                source,
                "the endpoint is http: the token is sent unencrypted"
            );
        }
        loop {
            // The files are read from here on.
            let reloads = self.follower.reload.subscribe();
            let session = self.session(stop).await;
            let Some((cause, reason)) = &session.ended else {
                return;
            };
            let cause = *cause;
            let futile = session.nothing_stored();
            let brought = Brought {
                stored: session.stored,
                futile: futile.is_some(),
                heard: session.frames > 0,
                lasted: session.open.map(|open| open.elapsed()).unwrap_or_default(),
            };
            let Next { state, pause } = self.retry.after(cause, brought);
            // The events that were read count here, whether or not they were stored.
            self.overlap.ended(cause != Cause::Clean, session.events);
            if cause == Cause::Unauthenticated {
                self.tokens.discard();
            }
            let end = cause.as_str();
            counter!(metric::STREAM_ENDS, "source" => source.to_owned(), "reason" => end)
                .increment(1);
            let failures = self.retry.failures();
            let failure = cause.is_failure().then(|| match (cause, state) {
                (Cause::Unauthenticated, State::Stopped) => {
                    format!("{reason}; it was refused twice in a row")
                }
                _ => reason.clone(),
            });
            let reasons: Vec<_> = failure.into_iter().chain(futile).collect();
            // The error of an event may quote the server.
            let error = (!reasons.is_empty()).then(|| self.tokens.redact(&reasons.join("; ")));
            let error = error.as_deref();
            let reporter = &self.follower.reporter;
            reporter.pause(state, Some(pause), failures, error);
            let (events, frames) = (session.events, session.frames);
            match (error, state) {
                (None, _) => debug!(source, end, events, frames, ?pause, "the stream ended"),
                (Some(reason), State::Stopped) => {
                    warn!(
                        source,
                        reason,
                        ?pause,
                        "the stream has stopped until the cause is fixed"
                    );
                }
                (Some(reason), _) => {
                    warn!(
                        source,
                        reason,
                        events,
                        ?pause,
                        "the stream failed; reconnecting"
                    );
                }
            }
            let watches = state == State::Stopped || cause == Cause::Unauthenticated;
            match self.wait(pause, watches, (session, reloads), stop).await {
                Waited::Out => {}
                Waited::Changed => self.retry.renewed(),
                Waited::Stopped => return,
            }
        }
    }

    async fn ask(&self) -> Result<Resume, String> {
        let ask = WhereToResume(self.follower.source.clone());
        let answer = self.follower.desk.send(ask).await;
        answer.map_err(|_| "the worker is stopping".to_owned())?
    }

    /// Pauses. With `watches`, another content of the token's file ends the pause too.
    async fn wait(
        &self,
        pause: Duration,
        watches: bool,
        (session, mut reloads): (Session, Reloads),
        stop: &watch::Receiver<bool>,
    ) -> Waited {
        let out = sleep(pause);
        let changed = async {
            if !watches {
                std::future::pending::<()>().await;
            }
            self.tokens.changed().await;
        };
        tokio::select! {
            () = out => Waited::Out,
            () = changed => Waited::Changed,
            () = self.news(session) => Waited::Changed,
            () = reloads.next() => Waited::Changed,
            () = stopped(stop) => Waited::Stopped,
        }
    }

    /// Resolves when Postgres has another secret or cursor than the session had.
    async fn news(&self, session: Session) {
        let mut known = session.resume;
        if session.events > 0 {
            // Each commit moved the cursor.
            known = self.ask().await.ok();
        }
        loop {
            self.follower.wake.notified().await;
            // While Postgres is down there is no change. Its return is a change for a
            // session that failed because Postgres was down.
            if let Ok(now) = self.ask().await
                && known != Some(now)
            {
                return;
            }
        }
    }
}

/// How a pause ended.
enum Waited {
    Out,
    Changed,
    Stopped,
}

/// Resolves when the stream is told to stop.
pub(crate) async fn stopped(stop: &watch::Receiver<bool>) {
    if stop.clone().wait_for(|stop| *stop).await.is_err() {
        // Nothing can stop the stream any more, because the process is ending.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
