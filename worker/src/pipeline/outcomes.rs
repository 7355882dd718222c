//! Metrics of what became of the requests of one batch.

use std::collections::HashMap;

use metrics::counter;

use super::request::{Outcome, Request, Verdict};
use crate::process::metric;

/// Counts one batch: one addition a source and outcome, not one a request.
pub(super) fn count(requests: &[Request], outcomes: &[Outcome]) {
    let mut by_outcome = HashMap::<(&str, &str), u64>::new();
    let mut by_source = HashMap::<&str, [u64; 3]>::new();
    for (request, outcome) in requests.iter().zip(outcomes) {
        let mut source = request.source.as_ref();
        let word = match outcome {
            Ok(receipt) => {
                // Dropped since the name was looked up: no longer a label.
                if receipt.verdict == Verdict::UnknownSource {
                    source = "";
                }
                let [inserted, duplicate, rejected] = by_source.entry(source).or_default();
                *inserted += u64::from(receipt.inserted);
                *duplicate += u64::from(receipt.duplicate);
                *rejected += u64::from(receipt.rejected);
                receipt.verdict.as_str()
            }
            Err(refusal) => refusal.as_str(),
        };
        *by_outcome.entry((source, word)).or_default() += 1;
    }
    for ((source, outcome), count) in by_outcome {
        counter!(metric::REQUESTS, "source" => source.to_owned(), "outcome" => outcome.to_owned())
            .increment(count);
    }
    for (source, counts) in by_source {
        for (result, count) in ["inserted", "duplicate", "rejected"].iter().zip(counts) {
            if count > 0 {
                counter!(metric::EVENTS, "source" => source.to_owned(), "result" => *result)
                    .increment(count);
            }
        }
    }
}
