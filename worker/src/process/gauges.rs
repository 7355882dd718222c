//! Metrics of the process as the system sees it, with the names that Prometheus's own
//! clients use: its start, its CPU time, its memory and its file descriptors.

use std::sync::LazyLock;

use metrics_process::Collector;

static COLLECTOR: LazyLock<Collector> = LazyLock::new(Collector::default);

/// Describes the metrics of the process.
pub(super) fn describe() {
    COLLECTOR.describe();
}

/// Sets the metrics of the process, as far as the system reports the values.
pub(crate) fn count() {
    COLLECTOR.collect();
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;
    use crate::process::metric;

    #[test]
    fn the_system_tells_of_the_process() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        metrics::with_local_recorder(&recorder, count);
        let text = shown.render();
        let value = |name: &str| -> f64 {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value
                .unwrap_or_else(|| panic!("no {name}: {text}"))
                .parse()
                .unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!(value("process_open_fds") >= 3.0);
        assert!(value("process_max_fds") > value("process_open_fds"));
        assert!(value("process_cpu_seconds_total") >= 0.0);
        let age = metric::unix(SystemTime::now()) - value("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
