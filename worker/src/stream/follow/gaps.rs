//! How the gap in front of the events of a connection is reported.

use std::cell::RefCell;

use metrics::counter;
use tracing::{debug, warn};

use super::{
    Following,
    session::{Session, Uncommitted},
};
use crate::{
    process::metric,
    stream::{
        desk::ReportGap,
        gap::{Cause, Gap},
    },
};

impl Following<'_> {
    /// Writes a gap to Postgres, and says so once in the log and in the metric.
    pub(super) async fn report_gap(
        &self,
        gap: Gap,
        session: &RefCell<Session>,
    ) -> Result<(), Uncommitted> {
        let source = self.source();
        let is_expired = gap.cause == Cause::CursorExpired;
        if is_expired {
            let mut session = session.borrow_mut();
            if session.events == 0 && self.overlap.went_back() {
                return Err(Uncommitted::NotStored);
            }
            // It comes before the events. A provider that repeats it ends the connection, so
            // that the pauses between connections bound the number of gaps.
            if std::mem::replace(&mut session.expired, true) {
                let reason = "the provider says again that the cursor has expired";
                return Err(Uncommitted::Failed(reason.to_owned()));
            }
        }
        let from = {
            let session = session.borrow();
            let resume = session.resume.as_ref().filter(|_| session.events == 0);
            resume.and_then(|resume| resume.cursor.clone())
        };
        let gap = Gap {
            // It may quote what the provider was sent.
            detail: gap.detail.map(|detail| self.tokens.redact(&detail)),
            ..gap
        };
        let (cause, detail) = (gap.cause.as_str(), gap.detail.clone());
        let moved_to = gap.resume_after.clone();
        let report = ReportGap {
            source: self.follower.source.clone(),
            epoch: self.follower.epoch,
            gap,
        };
        let failed = |reason| Uncommitted::Failed(format!("a gap could not be reported: {reason}"));
        let answer = self.follower.gaps.send(report).await;
        let answer = answer.unwrap_or_else(|_| Err("the worker is stopping".to_owned()));
        let Some(id) = answer.map_err(failed)? else {
            return Err(failed("another worker follows the stream since".to_owned()));
        };
        if let (Some(cursor), Some(resume)) = (moved_to, &mut session.borrow_mut().resume) {
            resume.cursor = Some(cursor);
        }
        if is_expired {
            self.follower.gap_found.notify_one();
        }
        // As long as no event comes, all connections have the same gap in front of them.
        if self.last_gap.replace(Some(id)) == Some(id) {
            debug!(source, cause, gap = id, "the gap is still there");
            return Ok(());
        }
        counter!(metric::GAPS, "source" => source.to_owned(), "cause" => cause).increment(1);
        let ask = if self.plan.dial.inquires {
            format!("ask for them with `tidings-worker reconcile {source}`, or ")
        } else {
            String::new()
        };
        warn!(
            source,
            cause,
            gap = id,
            from,
            detail,
            "events may be missing from the stream: {ask}close the gap with `select tidings.close_gap({id})`"
        );
        Ok(())
    }
}
