//! The gauge of open gaps.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use metrics::gauge;
use tracing::warn;

use crate::process::metric;

/// The sources that have the gauge.
#[derive(Debug, Default)]
pub(super) struct OpenGaps {
    known: HashSet<Arc<str>>,
    /// Why the gaps could not be counted the last time.
    failure: Option<String>,
}

impl OpenGaps {
    /// Shows the number of open gaps of each source. A source that is not counted any more
    /// shows 0.
    pub(super) fn learn(&mut self, counted: Result<HashMap<Arc<str>, i64>, String>) {
        let counted = match counted {
            Ok(counted) => counted,
            Err(reason) => {
                if self.failure.as_ref() != Some(&reason) {
                    warn!(reason, "the open gaps of sources cannot be counted");
                    self.failure = Some(reason);
                }
                return;
            }
        };
        self.failure = None;
        let known = counted.keys().cloned().collect();
        for source in std::mem::replace(&mut self.known, known) {
            if !counted.contains_key(&source) {
                gauge!(metric::OPEN_GAPS, "source" => source.to_string()).set(0.0);
            }
        }
        for (source, gaps) in counted {
            gauge!(metric::OPEN_GAPS, "source" => source.to_string()).set(gaps as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_source_that_is_dropped_shows_none() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let mut gaps = OpenGaps::default();
            let counted = |gaps: &[(&str, i64)]| {
                Ok(gaps
                    .iter()
                    .map(|(name, n)| (Arc::from(*name), *n))
                    .collect())
            };
            let shows = |source: &str, gaps: &str| {
                let line = format!("tidings_worker_open_gaps{{source=\"{source}\"}} {gaps}");
                let text = shown.render();
                assert!(text.lines().any(|l| l == line), "{line}: {text}");
            };
            gaps.learn(counted(&[("a", 2), ("b", 0)]));
            shows("a", "2");
            shows("b", "0");
            gaps.learn(Err("permission denied".to_owned()));
            shows("a", "2");
            gaps.learn(counted(&[("b", 1)]));
            shows("a", "0");
            shows("b", "1");
        });
    }
}
