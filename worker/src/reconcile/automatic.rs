//! The reconciliation that a worker begins by itself, beside the stream whose cursor has
//! expired.
//!
//! It runs when the stream starts, if there is an open gap of that cause, and when the stream
//! reports one. If it fails, it tries again after a pause that grows to an hour, or when another
//! gap is reported. It never holds up the stream, and ends with it.
//!
//! A send request that began inside the gap is not known before one of its events arrives. For
//! a day after a gap was closed, the requests that have become known since are therefore asked
//! about as well, each once, after pauses that grow from seconds to an hour. (A recipient who is
//! asked for consent has a day to answer.)

use std::{sync::Arc, time::Duration};

use tidings_core::wire::Question;
use tokio::{sync::Notify, time::timeout};
use tracing::{info, warn};

use super::{
    Asker, Known, Records, Report, Wanted, reconcile,
    records::{CURSOR_EXPIRED, OfSource},
};
use crate::{dial::options::Dial, pipeline::batcher::Pipeline, process::backoff::Backoff};

/// Pauses after failures.
pub(super) const LEAST_PAUSE: Duration = Duration::from_secs(60);
pub(super) const GREATEST_PAUSE: Duration = Duration::from_secs(3600);
/// Pause before requests that have become known since a gap was closed are asked about. It
/// doubles up to the greatest pause.
const SOON: Duration = Duration::from_secs(5);
/// How long after a gap was closed this goes on: the time that a recipient has to answer, and an
/// hour.
pub(super) const LATER: Duration = Duration::from_secs(25 * 3600);

/// How to ask the provider of a source.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) dial: Dial,
    pub(crate) question: Arc<Question>,
}

/// What a reconciliation beside a stream reads and writes.
pub(crate) trait Resting: Records {
    /// There is nothing to do for now.
    fn rest(&mut self);
}

impl Resting for OfSource {
    fn rest(&mut self) {
        Self::rest(self);
    }
}

/// Runs for ever. `reported` tells that the stream has reported a gap.
pub(crate) async fn follow<R: Resting>(
    source: Arc<str>,
    way: &Way,
    records: R,
    pipeline: &Pipeline,
    reported: &Notify,
) {
    let mut beside = Beside {
        source,
        way,
        records,
        pipeline,
        known: Known::default(),
        any_cause: false,
        failures: Backoff::between(LEAST_PAUSE, GREATEST_PAUSE),
        looks: Backoff::between(SOON, GREATEST_PAUSE),
    };
    loop {
        let pause = beside.turn().await.min(GREATEST_PAUSE);
        beside.records.rest();
        // A gap that is reported meanwhile ends the pause.
        beside.any_cause |= timeout(pause, reported.notified()).await.is_ok();
    }
}

struct Beside<'a, R> {
    source: Arc<str>,
    way: &'a Way,
    records: R,
    pipeline: &'a Pipeline,
    /// What was asked about since the last gap.
    known: Known,
    /// Whether an open gap of any cause is one to ask for: that which the stream has reported
    /// may be an older one that was extended.
    any_cause: bool,
    failures: Backoff,
    looks: Backoff,
}

impl<R: Resting> Beside<'_, R> {
    /// Does what there is to do, and returns the pause until the next look.
    async fn turn(&mut self) -> Duration {
        match self.look().await {
            Ok(pause) => {
                self.failures.reset();
                pause
            }
            Err(reason) => {
                let pause = self.failures.pause().min(GREATEST_PAUSE);
                warn!(
                    source = %self.source,
                    reason,
                    ?pause,
                    "the provider could not be asked for what is missing; trying again"
                );
                pause
            }
        }
    }

    async fn look(&mut self) -> Result<Duration, String> {
        let gaps = self.records.gaps().await?;
        let any = self.any_cause;
        if gaps.iter().any(|gap| any || gap.cause == CURSOR_EXPIRED) {
            info!(
                source = %self.source,
                gaps = gaps.len(),
                "asking the provider for what the stream did not deliver"
            );
            self.known.forget();
            self.ask(true).await?;
            self.any_cause = false;
            self.looks.reset();
            return Ok(self.looks.pause());
        }
        self.any_cause = false;
        if self.records.has_closed(LATER).await? {
            self.ask(false).await?;
            return Ok(self.looks.pause());
        }
        self.known.forget();
        Ok(GREATEST_PAUSE)
    }

    /// Asks about all that is not known, and closes the gaps if this is for gaps.
    async fn ask(&mut self, closes: bool) -> Result<(), String> {
        let Way { dial, question } = self.way;
        let mut asker = Asker::new(self.source.clone(), dial.clone(), question.clone());
        let wanted = Wanted {
            closes,
            ..Wanted::default()
        };
        let report = reconcile(
            &self.source,
            &mut asker,
            &mut self.records,
            self.pipeline,
            &wanted,
            &mut self.known,
            &mut |_| (),
        )
        .await;
        let Report { tally, closed, .. } = &report;
        if closes || tally.asked > 0 {
            info!(
                source = %self.source,
                asked = tally.asked,
                stored = tally.stored,
                recovered = tally.recovered,
                unknown = tally.unknown,
                failed = tally.failed,
                closed = closed.len(),
                "asked the provider for what the stream did not deliver"
            );
        }
        match failure(&report, closes) {
            Some(reason) => Err(reason),
            None => Ok(()),
        }
    }
}

/// Why there is something left to do, if there is.
fn failure(report: &Report, closes: bool) -> Option<String> {
    if let Some(reason) = &report.given_up {
        return Some(reason.clone());
    }
    if let Some((id, reason)) = report.reasons.first() {
        let others = report.tally.failed.saturating_sub(1);
        return Some(format!("request {id}: {reason} ({others} others failed)"));
    }
    let open = closes && !report.open.is_empty();
    open.then(|| "a gap was reported again meanwhile".to_owned())
}
