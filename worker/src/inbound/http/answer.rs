//! The answer to a provider, which asks it to retry or not to.

use std::{sync::Arc, time::Duration};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    admission::budget::Spent,
    inbound::refusal::RECEIPT,
    pipeline::request::{Outcome, Refusal, Verdict},
    spool::Unspooled,
};

/// An answer, before it is converted to HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Body,
    /// Time after which to retry, in seconds.
    pub(crate) retry_after: Option<u64>,
    /// Whether the connection is closed after the answer, because the rest of the body is
    /// not read.
    pub(crate) closes: bool,
    /// Details for the log, which the sender is not told.
    pub(crate) reason: Option<Arc<str>>,
}

/// The body as it is sent.
#[derive(Serialize)]
struct Receipted {
    #[serde(flatten)]
    body: Body,
    receipt: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(crate) enum Body {
    Counts {
        inserted: u32,
        duplicate: u32,
        rejected: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
    /// Spooled: the request is committed later, and its outcome is not known yet.
    Spooled { spooled: bool },
    Error {
        error: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
    },
}

/// The words for refusals that no commit counts, which are the reasons in the metric.
pub(crate) const CAUSES: [&str; 17] = [
    "busy",
    "commit_timeout",
    "disabled",
    "malformed",
    "method_not_allowed",
    "not_found",
    "overloaded",
    "sources_unread",
    "source_busy",
    "spool_failed",
    "spool_full",
    "stopping",
    "timeout",
    "too_large",
    "unauthorized",
    "unknown_source",
    "unsupported_encoding",
];

/// The meanings of an answer for its sender, as the metric of its time has them.
pub(crate) const OUTCOMES: [&str; 4] = [COMMITTED, SPOOLED, REFUSED, UNAVAILABLE];
const COMMITTED: &str = "committed";
const SPOOLED: &str = "spooled";
const REFUSED: &str = "refused";
const UNAVAILABLE: &str = "unavailable";

/// Time to retry after a limit of the worker was reached, which a commit relieves.
const SOON: u64 = 1;
/// Time to retry when something has to recover first.
const LATER: u64 = 5;

impl Answer {
    pub(crate) fn error(
        status: StatusCode,
        error: &'static str,
        detail: impl Into<Option<String>>,
    ) -> Self {
        let detail = detail.into();
        Self {
            status,
            body: Body::Error { error, detail },
            retry_after: None,
            closes: false,
            reason: None,
        }
    }

    pub(super) fn because(self, reason: impl Into<Arc<str>>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..self
        }
    }

    pub(super) fn closing(self) -> Self {
        Self {
            closes: true,
            ..self
        }
    }

    pub(super) fn retry(
        error: &'static str,
        detail: impl Into<Option<String>>,
        seconds: u64,
    ) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::error(StatusCode::SERVICE_UNAVAILABLE, error, detail)
        }
    }

    /// The answer to the provider for an outcome.
    pub(super) fn of(outcome: Outcome) -> Self {
        let receipt = match outcome {
            Ok(receipt) => receipt,
            Err(refusal) => return Self::of_refusal(&refusal),
        };
        match receipt.verdict {
            Verdict::Accepted => Self {
                status: StatusCode::OK,
                body: Body::Counts {
                    inserted: receipt.inserted,
                    duplicate: receipt.duplicate,
                    rejected: receipt.rejected,
                    detail: receipt.detail.filter(|_| receipt.rejected > 0),
                },
                retry_after: None,
                closes: false,
                reason: None,
            },
            Verdict::Unauthorized => Self::error(StatusCode::UNAUTHORIZED, "unauthorized", None),
            Verdict::Malformed => Self::error(StatusCode::BAD_REQUEST, "malformed", receipt.detail),
            Verdict::UnknownSource => unknown(),
            Verdict::Disabled => disabled(),
            // A webhook is never fenced.
            Verdict::Fenced => Self::retry(receipt.verdict.as_str(), None, LATER),
        }
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        let word = refusal.as_str();
        match refusal {
            Refusal::Busy | Refusal::Stopping => Self::retry(word, None, SOON),
            Refusal::Late | Refusal::Overloaded => Self::retry(word, None, LATER),
            Refusal::Failed(reason) | Refusal::Declined(reason) => {
                Self::retry(word, None, LATER).because(reason.clone())
            }
        }
    }

    /// The word for why a request is refused; `None` where it is not.
    pub(crate) fn cause(&self) -> Option<&'static str> {
        match self.body {
            Body::Error { error, .. } => Some(error),
            Body::Counts { .. } | Body::Spooled { .. } => None,
        }
    }

    /// The meaning of the answer for the sender: that an event is stored or spooled, is not to be
    /// sent again, or is to be sent again.
    pub(super) fn outcome(&self) -> &'static str {
        match self.body {
            Body::Counts { .. } => COMMITTED,
            Body::Spooled { .. } => SPOOLED,
            Body::Error { .. } if self.status.is_server_error() => UNAVAILABLE,
            Body::Error { .. } => REFUSED,
        }
    }

    /// The answer to a request that was fsynced in the spool.
    pub(super) fn spooled() -> Self {
        Self {
            status: StatusCode::OK,
            body: Body::Spooled { spooled: true },
            retry_after: None,
            closes: false,
            reason: None,
        }
    }

    /// Details of a refusal for the log: those that the sender is told too, or else those
    /// that it is not.
    pub(crate) fn reason(&self) -> Option<&str> {
        match &self.body {
            Body::Error {
                detail: Some(detail),
                ..
            } => Some(detail),
            _ => self.reason.as_deref(),
        }
    }

    pub(crate) fn into_response(self, receipt: Uuid) -> HttpResponse {
        let receipt = receipt.to_string();
        let mut response = HttpResponse::build(self.status);
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        if self.closes {
            response.force_close();
        }
        response.insert_header((RECEIPT, receipt.as_str()));
        response.json(Receipted {
            body: self.body,
            receipt,
        })
    }
}

pub(crate) fn unknown() -> Answer {
    Answer::error(StatusCode::NOT_FOUND, "unknown_source", None)
}

pub(super) fn disabled() -> Answer {
    Answer::retry("disabled", None, 60)
}

pub(crate) fn draining() -> Answer {
    Answer::retry("stopping", None, SOON)
}

/// The answer while the worker cannot tell whether there is such a source.
pub(super) fn unread() -> Answer {
    Answer::retry("sources_unread", None, LATER)
}

/// The answer if neither Postgres nor the spool took a request.
pub(super) fn unspooled(why: Unspooled) -> Answer {
    match why {
        Unspooled::Full => Answer::retry("spool_full", None, LATER),
        Unspooled::Failed(error) => {
            Answer::retry("spool_failed", None, LATER).because(error.to_string())
        }
    }
}

/// The answer when the source's share or the whole budget is used.
pub(super) fn busy(spent: Spent) -> Answer {
    match spent {
        Spent::Budget => Answer::of_refusal(&Refusal::Busy),
        // Not 429, because some providers send an event again only after a 5xx.
        Spent::Share => Answer::retry("source_busy", None, SOON),
    }
}

/// The answer to a body that is late, because of its sender, the network, or a pause of
/// this process. The request may be valid, so a provider that gives up after any 4xx does
/// not get 408.
pub(super) fn slow(patience: Duration, needs_5xx: bool) -> Answer {
    let detail = format!("the body did not come within {patience:?}");
    let answer = match needs_5xx {
        true => Answer::retry("timeout", detail, SOON),
        false => Answer::error(StatusCode::REQUEST_TIMEOUT, "timeout", detail),
    };
    answer.closing()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{pipeline::request::Receipt, spool::SpoolError};

    fn body(answer: &Answer) -> Value {
        serde_json::to_value(&answer.body).unwrap()
    }

    fn receipt(verdict: Verdict, rejected: u32) -> Outcome {
        Ok(Receipt {
            verdict,
            inserted: 2,
            duplicate: 1,
            rejected,
            detail: Some("item 3: no Status".to_owned()),
        })
    }

    #[test]
    fn committed_is_200_with_the_counts() {
        let answer = Answer::of(receipt(Verdict::Accepted, 0));
        assert_eq!(answer.status, 200);
        assert_eq!(
            body(&answer),
            json!({"inserted": 2, "duplicate": 1, "rejected": 0})
        );
        let answer = Answer::of(receipt(Verdict::Accepted, 1));
        assert_eq!(answer.status, 200);
        assert_eq!(body(&answer)["detail"], "item 3: no Status");
    }

    #[test]
    fn only_what_may_pass_asks_to_come_again() {
        let cases = [
            (receipt(Verdict::Unauthorized, 0), 401, None),
            (receipt(Verdict::Malformed, 0), 400, None),
            (receipt(Verdict::UnknownSource, 0), 404, None),
            (receipt(Verdict::Disabled, 0), 503, Some(60)),
            (Err(Refusal::Busy), 503, Some(SOON)),
            (Err(Refusal::Late), 503, Some(LATER)),
            (Err(Refusal::Overloaded), 503, Some(LATER)),
            (Err(Refusal::Failed("x".into())), 503, Some(LATER)),
            (Err(Refusal::Stopping), 503, Some(SOON)),
            (Err(Refusal::Declined("x".into())), 503, Some(LATER)),
            (receipt(Verdict::Fenced, 0), 503, Some(LATER)),
        ];
        for (outcome, status, retry_after) in cases {
            let answer = Answer::of(outcome.clone());
            assert_eq!(answer.status, status, "{outcome:?}");
            assert_eq!(answer.retry_after, retry_after, "{outcome:?}");
        }
    }

    #[test]
    fn at_a_limit_the_answer_says_whose_it_is_and_to_come_again() {
        for (spent, word) in [(Spent::Share, "source_busy"), (Spent::Budget, "busy")] {
            let answer = busy(spent);
            assert_eq!(body(&answer)["error"], word);
            assert_eq!(
                (answer.status.as_u16(), answer.retry_after),
                (503, Some(SOON))
            );
        }
    }

    #[test]
    fn a_refusal_does_not_tell_strangers_about_the_database() {
        let reason = || "host db.internal".into();
        for refusal in [Refusal::Failed(reason()), Refusal::Declined(reason())] {
            let answer = Answer::of(Err(refusal));
            assert!(!body(&answer).to_string().contains("db.internal"));
            assert_eq!(answer.reason, Some(reason()), "for the log");
        }
    }

    #[test]
    fn each_cause_has_a_word_of_its_own() {
        let reason = || "x".into();
        for (answer, word) in [
            (unread(), "sources_unread"),
            (Answer::of(Err(Refusal::Late)), "commit_timeout"),
            (Answer::of(Err(Refusal::Overloaded)), "overloaded"),
            (Answer::of(Err(Refusal::Failed(reason()))), "commit_failed"),
            (Answer::of(Err(Refusal::Declined(reason()))), "declined"),
            (Answer::of(receipt(Verdict::Fenced, 0)), "fenced"),
            (unspooled(Unspooled::Full), "spool_full"),
            (
                unspooled(Unspooled::Failed(SpoolError::Ended)),
                "spool_failed",
            ),
        ] {
            assert_eq!(answer.cause(), Some(word));
            assert_eq!(body(&answer), json!({"error": word}));
            assert_eq!(
                (answer.status, answer.retry_after),
                (StatusCode::SERVICE_UNAVAILABLE, Some(LATER))
            );
        }
    }
}
