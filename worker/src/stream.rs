//! A stream: one dialed source, followed for as long as it is enabled.

use std::{future::pending, sync::Arc, time::Duration};

use actix::prelude::*;
use bytes::Bytes;
use metrics::{counter, gauge};
use tokio::sync::{Notify, watch};
use tracing::{debug, info, warn};
use uuid::Uuid;

pub(crate) use crate::gather::StreamLimits;
use crate::{
    backoff::Backoff,
    batcher::Pipeline,
    dial,
    exit::Vital,
    gather::Gathered,
    headers::Headers,
    metric,
    pump::{End, pump},
    registry::{Registry, Setup, WhereToResume},
    request::{Request, Verdict},
    source::Dial,
    wire::{self, Decoded, Schema},
};

const LEAST_PAUSE: Duration = Duration::from_millis(200);
const GREATEST_PAUSE: Duration = Duration::from_secs(30);
/// After a clean end, which is normal, however often it happens.
const GREATEST_CLEAN_PAUSE: Duration = Duration::from_secs(2);

/// Owns the connection to one source.
///
/// Promises:
/// - It goes on where `tidings.stream_cursor` says, at every connection. Nothing is
///   remembered here, so there is nothing to lose.
/// - Whatever ends the connection, it comes back: soon after a clean end, else
///   after a pause that grows until there is progress again.
/// - Stopped, it ends after the commit in flight.
#[derive(Debug)]
pub(crate) struct Stream {
    follower: Option<Follower>,
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    ended: watch::Sender<bool>,
    vital: Vital,
}

impl Stream {
    pub(crate) fn new(
        source: Arc<str>,
        dial: Dial,
        registry: Addr<Registry>,
        setup: &Setup,
    ) -> Self {
        let wake = Arc::new(Notify::new());
        Self {
            vital: setup.fatal.vital(format!("the stream of {source}")),
            follower: Some(Follower {
                wake: wake.clone(),
                source,
                dial,
                registry,
                pipeline: setup.pipeline.clone(),
                schema: setup.schema.clone(),
                limits: setup.limits,
            }),
            wake,
            stop: watch::Sender::new(false),
            ended: watch::Sender::new(false),
        }
    }
}

impl Actor for Stream {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let Some(follower) = self.follower.take() else {
            return;
        };
        let stop = self.stop.subscribe();
        let following = async move { follower.follow(stop).await };
        ctx.spawn(following.into_actor(self).map(|(), actor, ctx| {
            actor.vital.release();
            actor.ended.send_replace(true);
            ctx.stop();
        }));
    }
}

/// End after the commit in flight; the answer comes when it has ended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Stop;

impl Handler<Stop> for Stream {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.stop.send_replace(true);
        let mut ended = self.ended.subscribe();
        Box::pin(async move {
            // An error means that the actor is gone, which is an end too.
            let _ = ended.wait_for(|ended| *ended).await;
        })
    }
}

/// If you are pausing, try again now: what you failed for may have been mended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

impl Handler<Wake> for Stream {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        self.wake.notify_waiters();
    }
}

/// What the actor does, apart from being one.
#[derive(Debug)]
struct Follower {
    wake: Arc<Notify>,
    source: Arc<str>,
    dial: Dial,
    registry: Addr<Registry>,
    pipeline: Pipeline,
    schema: Arc<Schema>,
    limits: StreamLimits,
}

/// One connection's end.
struct Session {
    end: End,
    events: usize,
}

impl Session {
    /// One that ended before it began.
    fn failed(reason: String) -> Self {
        Self {
            end: End::Uncommitted(reason),
            events: 0,
        }
    }
}

impl Follower {
    async fn follow(self, stop: watch::Receiver<bool>) {
        let source = self.source.as_ref();
        if !self.dial.is_tls() {
            info!(
                source,
                "the endpoint is http: the token travels unencrypted"
            );
        }
        let mut backoff = Backoff::between(LEAST_PAUSE, GREATEST_PAUSE);
        loop {
            let session = self.session(stop.clone()).await;
            self.set_connected(false);
            if session.events > 0 {
                backoff.reset();
            }
            let mut pause = backoff.pause();
            match session.end {
                End::Stopped => return,
                End::Clean => {
                    pause = pause.min(GREATEST_CLEAN_PAUSE);
                    self.count_end("clean");
                    debug!(
                        source,
                        events = session.events,
                        ?pause,
                        "the stream was closed"
                    );
                }
                End::Failed(status) => {
                    pause = dial::retry_hint(&status).unwrap_or_default().max(pause);
                    let (code, reason) = (status.code(), status.message());
                    self.count_end("failed");
                    warn!(
                        source,
                        ?code,
                        reason,
                        ?pause,
                        "the stream failed; reconnecting"
                    );
                }
                End::Uncommitted(reason) => {
                    self.count_end("failed");
                    warn!(
                        source,
                        reason,
                        ?pause,
                        "the stream was given up; reconnecting"
                    );
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
                () = stopped(stop.clone()) => return,
            }
        }
    }

    async fn session(&self, stop: watch::Receiver<bool>) -> Session {
        let opening = async {
            let resume = self.registry.send(WhereToResume(self.source.clone()));
            let resume = resume.await.map_err(|_| "the worker is stopping")??;
            let token = dial::token(&self.dial, resume.secret)?;
            let cursor = resume
                .cursor
                .map(|cursor| dial::rewind(cursor, self.dial.overlap));
            let request = self.request(cursor.as_deref())?;
            let channel = dial::connect(&self.dial).await?;
            let path = self.schema.path();
            let largest = self.limits.message;
            Ok(dial::call(channel, &self.dial, path, &token, request, largest).await)
        };
        let opened: Result<_, String> = tokio::select! {
            opened = opening => opened,
            () = stopped(stop.clone()) => return Session { end: End::Stopped, events: 0 },
        };
        let messages = match opened {
            Ok(Ok(messages)) => messages,
            Ok(Err(status)) => {
                return Session {
                    end: End::Failed(status),
                    events: 0,
                };
            }
            Err(reason) => return Session::failed(reason),
        };
        info!(source = self.source.as_ref(), "the stream is open");
        self.set_connected(true);

        let committed = std::cell::Cell::new(0);
        let commit = |array, events| {
            let commit = self.commit(array);
            let committed = &committed;
            async move {
                commit.await?;
                committed.set(committed.get() + events);
                Ok(())
            }
        };
        let gathered = Gathered::new(self.limits);
        let end = pump(
            messages,
            gathered,
            |m| self.decode(m),
            commit,
            stopped(stop),
        )
        .await;
        Session {
            end,
            events: committed.get(),
        }
    }

    fn request(&self, cursor: Option<&str>) -> Result<Bytes, String> {
        let filter = self.dial.send_request_id.as_deref();
        let fields: Vec<_> = [("send_request_id", filter), ("after_event_id", cursor)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        wire::encode(self.schema.input(), &fields).map_err(|error| error.to_string())
    }

    fn decode(&self, message: Bytes) -> Vec<u8> {
        let decoded = Decoded::new(self.schema.output(), message);
        if let Some(reason) = decoded.error() {
            let source = self.source.as_ref();
            warn!(
                source,
                reason, "an event cannot be decoded; it is kept as rejected"
            );
        }
        decoded.json
    }

    async fn commit(&self, array: Bytes) -> Result<(), String> {
        let request = Request {
            source: self.source.clone(),
            body: array,
            headers: Headers::default().template().with_receipt(Uuid::now_v7()),
        };
        let outcome = self.pipeline.submit(vec![request]).await.pop();
        match outcome {
            Some(Ok(receipt)) if receipt.verdict == Verdict::Accepted => Ok(()),
            Some(Ok(receipt)) => {
                let detail = receipt.detail.map(|d| format!(": {d}")).unwrap_or_default();
                Err(format!(
                    "its events are {}{detail}",
                    receipt.verdict.as_str()
                ))
            }
            Some(Err(refusal)) => Err(refusal.to_string()),
            None => Err("no outcome".to_owned()),
        }
    }

    fn set_connected(&self, connected: bool) {
        let source = self.source.to_string();
        gauge!(metric::STREAM_CONNECTED, "source" => source).set(f64::from(u8::from(connected)));
    }

    fn count_end(&self, reason: &'static str) {
        let source = self.source.to_string();
        counter!(metric::STREAM_ENDS, "source" => source, "reason" => reason).increment(1);
    }
}

/// Resolves when the stream is told to stop.
async fn stopped(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        // The actor is gone, and this future with it.
        pending::<()>().await;
    }
}
