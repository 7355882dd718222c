//! Reconciliation: a provider is asked how send requests stand, where events of its stream
//! may be missing.
//!
//! The send requests come from `tidings.requests_to_reconcile`. Their list is read before the
//! first question, because a busy source may have new requests faster than questions may be
//! asked. The provider is asked about one of them after the other, over a connection beside
//! the stream's; each answer goes to ingest like any other request of the source, without the
//! epoch of a lease. Answers have identities of their own, so that asking twice changes
//! nothing.
//!
//! Promises:
//! - It keeps nothing besides what ingest and `close_gap` commit. Killed at any point and
//!   started again, it comes to the same end.
//! - It closes only gaps that were open before it read the list, and only if each request of
//!   the list was answered, or is unknown to the provider.
//! - It is bounded in its rate, in the time and size of an answer, and in the number of calls
//!   for one request. If the provider leaves several requests in a row unanswered, it gives
//!   up.
//!
//! # Layout
//!
//! - `asker`, `pace`: one question after the other, over a dialed connection
//! - `known`: the requests that need not be asked about again
//! - `records`: the list of requests and the gaps, in Postgres
//! - `tally`: what has come of it
//! - [`automatic`]: what a worker does by itself beside a stream

mod asker;
pub(crate) mod automatic;
mod known;
mod pace;
pub(crate) mod records;
mod tally;

use std::{sync::Arc, time::SystemTime};

use metrics::counter;

use self::asker::Answer;
pub(crate) use self::{
    asker::Asker,
    known::Known,
    records::{Books, Gap, OfSource, Records},
    tally::{Tally, counted},
};
use crate::{
    pipeline::{
        batcher::Pipeline,
        headers::Headers,
        request::{Refusal, Request, Verdict},
    },
    process::{metric, receipt},
};

/// Number of requests in a row without an answer after which the provider counts as away.
const SILENT: u32 = 3;
/// Limit on the items of one body: a request, and the recipients that it may have.
const ITEMS: usize = 1001;
/// Number of ids after which no further page of the list is read before they are asked about.
const LISTED: usize = 100_000;
/// Limit on the reasons that are kept for the report.
const REASONS: usize = 20;

/// What to ask about, beside what the gaps and unfinished recipients need.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// Send requests by their ids.
    pub(crate) named: Vec<String>,
    /// Send requests with an event since then.
    pub(crate) since: Option<SystemTime>,
    /// Whether the gaps are closed afterwards.
    pub(crate) closes: bool,
}

/// The end of a reconciliation.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) tally: Tally,
    /// Why it ended before all was asked.
    pub(crate) given_up: Option<String>,
    /// The first requests without an answer, and why.
    pub(crate) reasons: Vec<(String, String)>,
    /// The gaps that it closed.
    pub(crate) closed: Vec<Gap>,
    /// The gaps that it found open, and left open.
    pub(crate) open: Vec<Gap>,
}

impl Report {
    /// Whether each request was answered or is unknown to the provider.
    pub(crate) fn is_complete(&self) -> bool {
        self.given_up.is_none() && self.tally.failed == 0
    }
}

/// Asks about all that is wanted and not known, and closes the gaps. `progress` hears of each
/// request.
pub(crate) async fn reconcile<R: Records>(
    source: &Arc<str>,
    asker: &mut Asker,
    records: &mut R,
    pipeline: &Pipeline,
    wanted: &Wanted,
    known: &mut Known,
    progress: &mut impl FnMut(&Tally),
) -> Report {
    let mut run = Run {
        source,
        asker,
        records,
        pipeline,
        known,
        report: Report::default(),
        silent: 0,
    };
    let done = run.all(wanted, progress).await;
    run.report.given_up = done.err();
    run.report
}

struct Run<'a, R> {
    source: &'a Arc<str>,
    asker: &'a mut Asker,
    records: &'a mut R,
    pipeline: &'a Pipeline,
    known: &'a mut Known,
    report: Report,
    /// Requests in a row without an answer.
    silent: u32,
}

/// What came of the answer to a question.
enum Stored {
    Yes { inserted: u64, recovered: u64 },
    No(String),
}

impl<R: Records> Run<'_, R> {
    /// An error is the reason why it gives up.
    async fn all(
        &mut self,
        wanted: &Wanted,
        progress: &mut impl FnMut(&Tally),
    ) -> Result<(), String> {
        // Before the list is read, so that none is closed which the list does not cover.
        self.report.open = self.records.gaps().await?;
        for id in &wanted.named {
            self.one(id, progress).await?;
        }
        let mut listed = self.list(wanted.since, None).await?;
        loop {
            for id in &listed {
                self.one(id, progress).await?;
            }
            match listed.last() {
                Some(last) if listed.len() >= LISTED => {
                    listed = self.list(wanted.since, Some(last)).await?;
                }
                _ => break,
            }
        }
        if wanted.closes && self.report.is_complete() {
            self.close().await?;
        }
        Ok(())
    }

    /// The ids of the list as it is now, behind this one: all of them, or [`LISTED`] and the
    /// rest of a page.
    async fn list(
        &mut self,
        since: Option<SystemTime>,
        after: Option<&str>,
    ) -> Result<Vec<String>, String> {
        let mut ids: Vec<String> = Vec::new();
        while ids.len() < LISTED {
            let after = ids.last().map(String::as_str).or(after);
            let page = self.records.page(since, after).await?;
            if page.is_empty() {
                break;
            }
            ids.extend(page.into_iter().map(|listed| listed.id));
        }
        Ok(ids)
    }

    async fn one(&mut self, id: &str, progress: &mut impl FnMut(&Tally)) -> Result<(), String> {
        if self.known.has(id) {
            return Ok(());
        }
        let asked = self.ask(id).await;
        progress(&self.report.tally);
        asked
    }

    async fn ask(&mut self, id: &str) -> Result<(), String> {
        self.report.tally.asked += 1;
        let answer = self.asker.ask(id, self.records).await;
        let silent = matches!(&answer, Ok(Answer::Silent(_)));
        let stored = match answer {
            Ok(Answer::Items(items)) => self.store(id, &items).await,
            Ok(Answer::Unknown) => {
                self.report.tally.unknown += 1;
                self.silent = 0;
                self.known.add(id);
                self.count(UNKNOWN);
                return Ok(());
            }
            Ok(Answer::Declined(reason) | Answer::Silent(reason)) => Ok(Stored::No(reason)),
            Err(reason) => Err(reason),
        };
        self.silent = if silent { self.silent + 1 } else { 0 };
        let (reason, is_last) = match stored {
            Ok(Stored::Yes {
                inserted,
                recovered,
            }) => {
                self.report.tally.stored += inserted;
                self.report.tally.recovered += recovered;
                self.known.add(id);
                self.count(ANSWERED);
                return Ok(());
            }
            Ok(Stored::No(reason)) => (reason, self.silent >= SILENT),
            Err(reason) => (reason, true),
        };
        self.report.tally.failed += 1;
        self.count(FAILED);
        if is_last {
            return Err(reason);
        }
        if self.report.reasons.len() < REASONS {
            self.report.reasons.push((id.to_owned(), reason));
        }
        Ok(())
    }

    /// Hands an answer to ingest. An error concerns more than this request.
    async fn store(&mut self, id: &str, items: &[String]) -> Result<Stored, String> {
        let before = self.records.finals(id).await?;
        let mut inserted = 0;
        for items in items.chunks(ITEMS) {
            let request = Request {
                source: self.source.clone(),
                body: format!("[{}]", items.join(",")).into(),
                headers: Headers::default().template().with_receipt(receipt::id()),
            };
            let outcome = self.pipeline.submit(vec![request]).await.pop();
            match outcome {
                Some(Ok(receipt)) if receipt.verdict == Verdict::Accepted => {
                    inserted += u64::from(receipt.inserted);
                    if receipt.rejected > 0 {
                        let detail = receipt.detail.unwrap_or_default();
                        return Ok(Stored::No(format!(
                            "{} of its answer cannot be read, and are in tidings.rejected: {detail}",
                            counted(receipt.rejected.into(), "item")
                        )));
                    }
                }
                Some(Ok(receipt)) => {
                    let detail = receipt.detail.map(|d| format!(": {d}")).unwrap_or_default();
                    let verdict = receipt.verdict.as_str();
                    return Err(format!("its answers are {verdict}{detail}"));
                }
                Some(Err(Refusal::Declined(reason))) => {
                    return Ok(Stored::No(format!(
                        "Postgres declines its answer: {reason}"
                    )));
                }
                Some(Err(refusal)) => return Err(refusal.to_string()),
                None => return Err("no outcome".to_owned()),
            }
        }
        let after = self.records.finals(id).await?;
        Ok(Stored::Yes {
            inserted,
            recovered: u64::try_from(after - before).unwrap_or_default(),
        })
    }

    async fn close(&mut self) -> Result<(), String> {
        let by = format!("reconcile: {}", self.report.tally.line());
        for gap in std::mem::take(&mut self.report.open) {
            // Whoever reads the row should know what was not asked about.
            let by = if gap.may_hide_requests() {
                format!(
                    "{by}; a request of which no event has arrived is asked about only if it is named by --request"
                )
            } else {
                by.clone()
            };
            match self.records.close(&gap, &by).await {
                Ok(true) => self.report.closed.push(gap),
                Ok(false) => self.report.open.push(gap),
                Err(reason) => {
                    self.report.open.push(gap);
                    return Err(reason);
                }
            }
        }
        Ok(())
    }

    fn count(&self, outcome: &'static str) {
        let source = self.source.to_string();
        counter!(metric::RECONCILED, "source" => source, "outcome" => outcome).increment(1);
    }
}

const ANSWERED: &str = "answered";
const UNKNOWN: &str = "unknown";
const FAILED: &str = "failed";
/// The possible outcomes of a question, in the words of the metric.
pub(crate) const OUTCOMES: [&str; 3] = [ANSWERED, UNKNOWN, FAILED];

#[cfg(test)]
mod tests;
