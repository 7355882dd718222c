//! A stream: one dialed source, followed for as long as it is enabled.

pub(crate) mod desk;
pub(crate) mod follow;
pub(crate) mod gather;
pub(crate) mod pump;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod retry;

use std::sync::Arc;

use actix::prelude::*;
use tokio::sync::{Notify, watch};

pub(crate) use self::gather::StreamLimits;
use self::{
    desk::WhereToResume,
    follow::{Follower, Plan},
    report::{Report, Reporter, report},
};
use crate::{
    pipeline::batcher::Pipeline,
    process::exit::{Fatal, Vital},
};

/// Owns the connection to one source; what it does is in [`crate::stream::follow`].
///
/// Promises:
/// - It goes on where `tidings.stream_cursor` says, at every connection. Nothing that
///   matters is remembered here, so there is nothing to lose.
/// - Whatever ends the connection, it comes back, and says meanwhile what it is doing.
/// - Stopped, it ends after the commit in flight.
#[derive(Debug)]
pub(crate) struct Stream {
    follower: Option<Follower>,
    reports: Recipient<Report>,
    wake: Arc<Notify>,
    stop: watch::Sender<bool>,
    ended: watch::Sender<bool>,
    vital: Vital,
}

/// What the streams have in common.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) pipeline: Pipeline,
    pub(crate) limits: StreamLimits,
    pub(crate) fatal: Fatal,
}

impl Stream {
    /// Under the lease of this epoch. With a reason instead of a plan, it only reports that.
    pub(crate) fn new(
        source: Arc<str>,
        epoch: i64,
        plan: Result<Plan, String>,
        desk: Recipient<WhereToResume>,
        reports: Recipient<Report>,
        setup: Setup,
    ) -> Self {
        let wake = Arc::new(Notify::new());
        Self {
            vital: setup.fatal.vital(format!("the stream of {source}")),
            follower: Some(Follower {
                reporter: Reporter::new(source.clone()),
                source,
                epoch,
                plan,
                desk,
                pipeline: setup.pipeline,
                limits: setup.limits,
                wake: wake.clone(),
            }),
            reports,
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
        let reports = report(
            follower.source.clone(),
            follower.reporter.subscribe(),
            self.reports.clone(),
        );
        let following = follower.follow(self.stop.subscribe());
        let both = async move {
            tokio::join!(following, reports);
        };
        ctx.spawn(both.into_actor(self).map(|(), actor, ctx| {
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

/// If you are pausing, see whether what you failed for has been mended.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

impl Handler<Wake> for Stream {
    type Result = ();

    fn handle(&mut self, _: Wake, _: &mut Self::Context) {
        // Kept until it pauses, if it does not yet.
        self.wake.notify_one();
    }
}
