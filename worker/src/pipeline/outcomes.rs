//! Metrics of what became of the requests of one batch.

use std::collections::HashMap;

use metrics::counter;

use super::request::{Outcome, Request, Verdict};
use crate::process::metric;

/// Counts one batch, with one addition for each source and outcome rather than for each
/// request.
pub(super) fn count(requests: &[Request], outcomes: &[Outcome]) {
    let mut by_outcome = HashMap::<(&str, &str), u64>::new();
    let mut by_source = HashMap::<&str, [u64; 3]>::new();
    for (request, outcome) in requests.iter().zip(outcomes) {
        let mut source = request.source.as_ref();
        let word = match outcome {
            Ok(receipt) => {
                // The source was dropped since its name was looked up, and must no longer
                // be a label.
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

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::pipeline::request::{Refusal, fake};

    #[test]
    fn each_outcome_is_counted_under_its_word() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let outcomes = [
            Ok(fake::receipt(Verdict::Accepted)),
            Ok(fake::receipt(Verdict::Fenced)),
            Err(Refusal::Failed("x".into())),
            Err(Refusal::Declined("x".into())),
        ];
        let requests = outcomes.each_ref().map(|_| fake::request("sms", "{}"));
        metrics::with_local_recorder(&recorder, || count(&requests, &outcomes));
        let text = recorder.handle().render();
        for word in ["accepted", "fenced", "commit_failed", "declined"] {
            let counted = format!(
                "{}{{source=\"sms\",outcome=\"{word}\"}} 1",
                metric::REQUESTS
            );
            assert!(text.contains(&counted), "{word}: {text}");
        }
    }
}
