//! Metrics of what became of the requests of one batch.

use std::{
    collections::{HashMap, HashSet},
    time::SystemTime,
};

use metrics::{counter, gauge};
use strum::IntoEnumIterator;

use super::request::{Outcome, Refusal, Request, Verdict};
use crate::process::metric;

/// The possible fates of an event of a request.
const RESULTS: [&str; 3] = ["inserted", "duplicate", "rejected"];

/// Creates the series of a source, and the one of the requests whose source is unknown.
pub(crate) fn begin(source: &str, is_dialed: bool) {
    let zero = |source: &str, outcome: &'static str| {
        counter!(metric::REQUESTS, "source" => source.to_owned(), "outcome" => outcome)
            .increment(0);
    };
    for verdict in Verdict::iter() {
        match verdict {
            Verdict::UnknownSource => zero("", verdict.as_str()),
            // Only a dialed stream has a lease.
            Verdict::Fenced if !is_dialed => {}
            verdict => zero(source, verdict.as_str()),
        }
    }
    for refusal in Refusal::iter().filter(is_counted) {
        zero(source, refusal.as_str());
    }
    for result in RESULTS {
        counter!(metric::EVENTS, "source" => source.to_owned(), "result" => result).increment(0);
    }
}

/// Whether a request that is refused so was brought to Postgres.
pub(crate) fn is_counted(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Failed(_) | Refusal::Declined(_) => true,
        Refusal::Busy | Refusal::Overloaded | Refusal::Late | Refusal::Stopping => false,
    }
}

/// Counts one batch, with one addition for each source and outcome rather than for each
/// request.
pub(super) fn count(requests: &[Request], outcomes: &[Option<Outcome>]) {
    let mut by_outcome = HashMap::<(&str, &str), u64>::new();
    let mut by_source = HashMap::<&str, [u64; 3]>::new();
    let mut accepted = HashSet::<&str>::new();
    let both = requests.iter().zip(outcomes);
    for (request, outcome) in
        both.filter_map(|(request, outcome)| Some((request, outcome.as_ref()?)))
    {
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
        if matches!(outcome, Ok(receipt) if receipt.verdict == Verdict::Accepted) {
            accepted.insert(source);
        }
    }
    let now = metric::unix(SystemTime::now());
    for source in accepted {
        gauge!(metric::LAST_EVENT, "source" => source.to_owned()).set(now);
    }
    for ((source, outcome), count) in by_outcome {
        counter!(metric::REQUESTS, "source" => source.to_owned(), "outcome" => outcome.to_owned())
            .increment(count);
    }
    for (source, counts) in by_source {
        for (result, count) in RESULTS.into_iter().zip(counts) {
            if count > 0 {
                counter!(metric::EVENTS, "source" => source.to_owned(), "result" => result)
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
        ]
        .map(Some);
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
