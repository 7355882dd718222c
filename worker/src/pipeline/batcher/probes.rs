//! The probes: whether Postgres takes requests, asked over an idle lane while the attempts to
//! store requests do not say so.

use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    super::{
        lanes::Closed,
        store::{LaneHandle, Open},
    },
    Batcher,
};
use crate::{
    postgres::failure::{Failure, Next},
    process::backoff::Backoff,
};

/// Time after which the batcher looks again whether a probe is due.
const TICK: Duration = Duration::from_millis(250);
/// Pauses between probes. They grow as long as no request is stored, also where probes pass:
/// then a request shows what a probe does not.
const LEAST_PAUSE: Duration = Duration::from_millis(500);
const GREATEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Probes {
    is_running: bool,
    due: Instant,
    pauses: Backoff,
    /// Number of commits at the last probe.
    commits: u64,
}

impl Probes {
    pub(super) fn new() -> Self {
        Self {
            is_running: false,
            due: Instant::now(),
            pauses: Backoff::between(LEAST_PAUSE, GREATEST_PAUSE),
            commits: 0,
        }
    }
}

/// The lane of a probe.
enum Lane {
    Idle(LaneHandle, Instant),
    Closed(Box<Closed<LaneHandle>>),
}

impl Batcher {
    /// Probes while that says something new, from the start on.
    pub(super) fn watch(&mut self, ctx: &mut Context<Self>) {
        self.probe(ctx);
        ctx.run_interval(TICK, |actor, ctx| actor.probe(ctx));
    }

    /// Begins a probe if one is due and a lane is idle. If none is, requests are being tried,
    /// which say more.
    fn probe(&mut self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let commits = self.taking.commits();
        if commits != self.probes.commits {
            self.probes.commits = commits;
            self.probes.pauses.reset();
        }
        if self.probes.is_running || self.probes.due > now || !self.taking.wants_probe() {
            return;
        }
        let lane = match self.lanes.take(now) {
            Some(lane) => Lane::Idle(lane, now),
            None => match self.lanes.open(now) {
                Some(closed) => Lane::Closed(Box::new(closed)),
                None => return,
            },
        };
        self.probes.is_running = true;
        let handle = match &lane {
            Lane::Idle(handle, _) => handle,
            Lane::Closed(closed) => &closed.lane,
        };
        let probed = handle.open.send(Open { probes: true });
        let probed = probed.into_actor(self).map(move |probed, actor, ctx| {
            actor.probes.is_running = false;
            actor.probes.due = Instant::now() + actor.probes.pauses.pause();
            // A lane that panicked has ended the process.
            if let Ok(probed) = probed {
                actor.probed(probed, lane);
                actor.dispatch(ctx);
                actor.probe(ctx);
            }
        });
        ctx.spawn(probed);
    }

    fn probed(&mut self, probed: Result<(), Failure>, lane: Lane) {
        let now = Instant::now();
        let is_unconnected = |failure: &Failure| failure.next == Next::Unconnected;
        let has_lost = probed.as_ref().is_err_and(is_unconnected);
        match lane {
            Lane::Idle(lane, began) if has_lost => self.lanes.put_back_closed(lane, began, now),
            Lane::Idle(lane, began) => self.lanes.put_back(lane, began),
            Lane::Closed(closed) if has_lost => self.lanes.unopened(*closed, now),
            Lane::Closed(closed) => self.lanes.opened(*closed),
        }
        match probed {
            Ok(()) => self.taking.passed(),
            Err(failure) if has_lost => {
                self.unconnected(&failure);
                // The next lane may have lost its connection too, or says that it has not.
                if self.lanes.has_connection() {
                    self.probes.due = now;
                }
            }
            Err(failure) => match failure.next {
                Next::Retry => self.taking.failed(&failure.reason),
                Next::Refuse | Next::Isolate => self.taking.refused(&failure.reason),
                Next::Reconnect | Next::Unconnected => self.taking.lost(&failure.reason),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::documents::{MANUAL, states};

    #[test]
    fn the_documents_state_how_often_it_probes() {
        // Jitter adds up to one more.
        let (least, greatest) = (LEAST_PAUSE.as_secs_f64(), 2 * GREATEST_PAUSE.as_secs());
        let words = format!("probes every {least} to {greatest} s");
        states(MANUAL, &words);
        states("docs/outages.md", &words);
    }
}
