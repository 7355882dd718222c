//! The gauges of how far the log's horizon and its consumers are behind.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use metrics::gauge;
use tracing::warn;

use crate::process::metric;

/// Time between two readings of the lag.
pub(super) const EVERY: Duration = Duration::from_secs(15);

/// The lag of the log's horizon and of the consumers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Lag {
    /// Number of seconds by which the horizon is behind the clock; `None` on a standby.
    pub(super) horizon: Option<f64>,
    /// Number of events by which each consumer is behind, and the age of the oldest of them in
    /// seconds; `None` if the consumer was not looked at.
    pub(super) consumers: HashMap<String, Option<(i32, f64)>>,
}

/// The consumers that have the gauges.
#[derive(Debug, Default)]
pub(super) struct Lags {
    known: HashSet<String>,
    /// The reason why the lag could not be read the last time.
    failure: Option<String>,
}

impl Lags {
    /// Shows the lag. What is not known shows no number, because an old one would look like
    /// one of now; so does a consumer that was dropped.
    pub(super) fn learn(&mut self, lag: Result<Lag, String>) {
        let lag = match lag {
            Ok(lag) => {
                self.failure = None;
                lag
            }
            Err(reason) => {
                if self.failure.as_ref() != Some(&reason) {
                    warn!(reason, "how far consumers are behind cannot be read");
                    self.failure = Some(reason);
                }
                Lag::default()
            }
        };
        gauge!(metric::HORIZON_AGE).set(lag.horizon.unwrap_or(f64::NAN));
        let now = lag.consumers.keys().cloned().collect();
        for consumer in std::mem::replace(&mut self.known, now) {
            if !self.known.contains(&consumer) {
                show(&consumer, (f64::NAN, f64::NAN));
            }
        }
        for (consumer, behind) in &lag.consumers {
            if let Some((events, age)) = behind {
                show(consumer, (f64::from(*events), *age));
            }
        }
    }
}

fn show(consumer: &str, (events, age): (f64, f64)) {
    gauge!(metric::CONSUMER_BEHIND, "consumer" => consumer.to_owned()).set(events);
    gauge!(metric::CONSUMER_AGE, "consumer" => consumer.to_owned()).set(age);
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_consumer_shows_a_number_as_long_as_it_is_known() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        let behind = |name: &str| {
            let series = format!("{}{{consumer=\"{name}\"}} ", metric::CONSUMER_BEHIND);
            let text = shown.render();
            let mut lines = text.lines();
            lines.find_map(|line| Some(line.strip_prefix(&series)?.parse::<f64>().unwrap()))
        };
        let lag = |consumers: &[(&str, Option<(i32, f64)>)]| {
            let consumers = consumers.iter().map(|(name, of)| ((*name).to_owned(), *of));
            Ok(Lag {
                horizon: Some(0.5),
                consumers: consumers.collect(),
            })
        };
        metrics::with_local_recorder(&recorder, || {
            let mut lags = Lags::default();
            lags.learn(lag(&[("a", Some((3, 1.5))), ("b", Some((0, 0.0)))]));
            assert_eq!((behind("a"), behind("b")), (Some(3.0), Some(0.0)));
            // One that was not looked at this time keeps its number, one that was dropped
            // has none.
            lags.learn(lag(&[("a", None)]));
            assert_eq!(behind("a"), Some(3.0));
            assert!(behind("b").is_some_and(f64::is_nan));
            lags.learn(Err("permission denied".to_owned()));
            assert!(behind("a").is_some_and(f64::is_nan));
            lags.learn(lag(&[("a", Some((7, 9.0)))]));
            assert_eq!(behind("a"), Some(7.0));
        });
    }
}
