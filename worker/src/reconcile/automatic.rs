//! The reconciliation that a worker begins by itself, beside the stream whose cursor has
//! expired.
//!
//! It runs when the stream starts, if there is an open gap of that cause, and when the stream
//! reports one. If it fails, it tries again after a pause that grows to an hour, or when another
//! gap is reported. It never holds up the stream, and ends with it.

use std::{sync::Arc, time::Duration};

use tidings_core::wire::Question;
use tokio::{sync::Notify, time::timeout};
use tracing::{info, warn};

use super::{
    Asker, Records, Report, Wanted, reconcile,
    records::{CURSOR_EXPIRED, OfSource},
};
use crate::{dial::options::Dial, pipeline::batcher::Pipeline, process::backoff::Backoff};

const LEAST_PAUSE: Duration = Duration::from_secs(60);
const GREATEST_PAUSE: Duration = Duration::from_secs(3600);

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
    mut records: R,
    pipeline: &Pipeline,
    reported: &Notify,
) {
    let mut pauses = Backoff::between(LEAST_PAUSE, GREATEST_PAUSE);
    // The gap that was reported may be an older one that was extended, of another cause.
    let mut any_cause = false;
    loop {
        let failure = once(&source, way, &mut records, pipeline, any_cause)
            .await
            .err();
        records.rest();
        match failure {
            None => {
                pauses.reset();
                reported.notified().await;
                any_cause = true;
            }
            Some(reason) => {
                let pause = pauses.pause().min(GREATEST_PAUSE);
                warn!(
                    source = %source,
                    reason,
                    ?pause,
                    "what is missing could not be asked for; trying again"
                );
                // A gap that is reported meanwhile ends the pause.
                let _ = timeout(pause, reported.notified()).await;
            }
        }
    }
}

/// Asks if there is an open gap for which it should.
async fn once(
    source: &Arc<str>,
    way: &Way,
    records: &mut impl Records,
    pipeline: &Pipeline,
    any_cause: bool,
) -> Result<(), String> {
    let gaps = records.gaps().await?;
    if !gaps
        .iter()
        .any(|gap| any_cause || gap.cause == CURSOR_EXPIRED)
    {
        return Ok(());
    }
    info!(
        source = %source,
        gaps = gaps.len(),
        "asking the provider for what the stream did not deliver"
    );
    let mut asker = Asker::new(source.clone(), way.dial.clone(), way.question.clone());
    let wanted = Wanted::default();
    let report = reconcile(source, &mut asker, records, pipeline, &wanted, &mut |_| ()).await;
    let Report { tally, closed, .. } = &report;
    info!(
        source = %source,
        asked = tally.asked,
        stored = tally.stored,
        recovered = tally.recovered,
        unknown = tally.unknown,
        failed = tally.failed,
        closed = closed.len(),
        "asked the provider for what the stream did not deliver"
    );
    match failure(&report) {
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

/// Why there is something left to do, if there is.
fn failure(report: &Report) -> Option<String> {
    if let Some(reason) = &report.given_up {
        return Some(reason.clone());
    }
    if let Some((id, reason)) = report.reasons.first() {
        let others = report.tally.failed.saturating_sub(1);
        return Some(format!("request {id}: {reason} ({others} others failed)"));
    }
    let open = !report.open.is_empty();
    open.then(|| "a gap was reported again meanwhile".to_owned())
}
