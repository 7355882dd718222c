//! The worker's Prometheus metrics that the demo and reports show.

use crate::http;
use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Events answered as duplicates, by source. A restarted worker counts from zero, so
/// earlier counts are kept.
#[derive(Debug, Default)]
pub struct Duplicates {
    before: BTreeMap<String, u64>,
    now: BTreeMap<String, u64>,
}

const METRIC: &str = "tidings_worker_events_total";

impl Duplicates {
    pub fn read(&mut self, worker: SocketAddr) -> Result<()> {
        let answer = http::get(worker, "/metrics")?;
        for (source, value) in duplicates(&answer.body) {
            let now = self.now.entry(source.clone()).or_default();
            if value < *now {
                *self.before.entry(source).or_default() += *now;
            }
            *now = value;
        }
        Ok(())
    }

    pub fn of(&self, source: &str) -> u64 {
        let value = |map: &BTreeMap<String, u64>| map.get(source).copied().unwrap_or_default();
        value(&self.before) + value(&self.now)
    }
}

/// The counts of one counter by one of its labels, whatever the others are. A worker shows
/// what it has not counted yet as 0, which is left out here.
pub fn counter(worker: SocketAddr, name: &str, label: &str) -> Result<BTreeMap<String, u64>> {
    let label = format!("{label}=\"");
    let text = http::get(worker, "/metrics")?.body;
    let values = text.lines().filter_map(|line| {
        let labels = line.strip_prefix(name)?.strip_prefix('{')?;
        let (labels, value) = labels.rsplit_once("} ")?;
        let (_, rest) = labels.split_once(&label)?;
        let (of, _) = rest.split_once('"')?;
        Some((of.to_owned(), value.trim().parse::<u64>().ok()?))
    });
    let mut counts = BTreeMap::new();
    for (of, value) in values.filter(|(_, value)| *value > 0) {
        *counts.entry(of).or_default() += value;
    }
    Ok(counts)
}

/// One of a worker's series, such as `name{label="value"}`; None where it has none.
pub fn value(worker: SocketAddr, series: &str) -> Result<Option<f64>> {
    let text = http::get(worker, "/metrics")?.body;
    let value = |line: &str| {
        let value = line.strip_prefix(series)?.strip_prefix(' ')?;
        value.trim().parse().ok()
    };
    Ok(text.lines().find_map(value))
}

/// One that it must have.
pub fn gauge(worker: SocketAddr, series: &str) -> Result<f64> {
    value(worker, series)?.with_context(|| format!("the worker shows no {series}"))
}

/// Every counter with its value, one a line, for a failure's report.
pub fn counters(worker: SocketAddr) -> Result<String> {
    let text = http::get(worker, "/metrics")?.body;
    let counters: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("tidings_") && line.contains("_total"))
        .collect();
    Ok(counters.join("\n"))
}

fn duplicates(text: &str) -> impl Iterator<Item = (String, u64)> {
    text.lines().filter_map(|line| {
        let labels = line.strip_prefix(METRIC)?.strip_prefix('{')?;
        let (labels, value) = labels.rsplit_once("} ")?;
        if !labels.contains("result=\"duplicate\"") {
            return None;
        }
        let (_, rest) = labels.split_once("source=\"")?;
        let (source, _) = rest.split_once('"')?;
        Some((source.to_owned(), value.trim().parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_duplicates_are_read() {
        let text = "# TYPE tidings_worker_events_total counter\n\
            tidings_worker_events_total{source=\"a\",result=\"inserted\"} 7\n\
            tidings_worker_events_total{source=\"a\",result=\"duplicate\"} 3\n\
            tidings_worker_events_total{result=\"duplicate\",source=\"b\"} 4\n";
        let read: Vec<_> = duplicates(text).collect();
        assert_eq!(read, [("a".to_owned(), 3), ("b".to_owned(), 4)]);
    }
}
