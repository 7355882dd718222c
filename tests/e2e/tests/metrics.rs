//! The result of a scrape: before anything has happened, after something has, and as promtool
//! judges it.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use tidings_e2e::{eventually, on_stage, on_stage_with, play, wait_known};
use tidings_harness::http;
use tidings_harness::paths;
use tidings_harness::stage::Stage;

const SMS: &[u8] = br#"[{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"0b1f5d1e-7f1e-4f57-a8a1-0e4f3c2c7a11","OrganizationId":"b9a1c6f2-7f4e-4f0c-9a53-2f0f3f6c1d22","ReportDescription":"ok","ReportDateTime":"2026-01-01T00:00:00","TotalSegments":1}]"#;

/// One scrape: the values by series.
struct Scrape {
    text: String,
    values: BTreeMap<String, f64>,
}

impl Scrape {
    fn of(stage: &Stage) -> Result<Self> {
        let text = http::get(stage.worker.admin, "/metrics")?.body;
        let values = text.lines().filter(|line| !line.starts_with('#'));
        let values = values.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            Some((series.to_owned(), value.parse().ok()?))
        });
        Ok(Self {
            values: values.collect(),
            text,
        })
    }

    fn value(&self, series: &str) -> Result<f64> {
        let value = self.values.get(series).copied();
        value.with_context(|| format!("no {series}:\n{}", self.text))
    }

    /// The series of a metric.
    fn series(&self, name: &str) -> Vec<(&str, f64)> {
        let values = self.values.iter();
        let of_it = values.filter(|(series, _)| {
            series
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        });
        of_it
            .map(|(series, value)| (series.as_str(), *value))
            .collect()
    }
}

/// The names of the counters that the worker describes.
fn counters() -> Result<Vec<String>> {
    let text = std::fs::read_to_string(paths::root().join("worker/src/process/metric.rs"))?;
    let described = text.split("describe_counter!(").skip(1);
    let names = described
        .filter_map(|rest| rest.split(',').next())
        .map(str::trim);
    names
        .map(|name| {
            let start = format!("const {name}: &str =");
            let (_, rest) = text.split_once(&start).with_context(|| name.to_owned())?;
            let value = rest.split('"').nth(1);
            Ok(value.with_context(|| name.to_owned())?.to_owned())
        })
        .collect()
}

/// A webhook and a dialed stream, which the worker knows when this returns.
fn add_sources(stage: &Stage) -> Result<()> {
    let mut client = stage.connect()?;
    client.batch_execute(
        r#"select tidings.add_source('sms', 'arpoone', 'token');
           select tidings.add_source('chat', 'ppoppo', 'secret',
             '{"client_id": "app", "endpoint": "http://127.0.0.1:9"}');
           select tidings.create_consumer('mailer');"#,
    )?;
    eventually("the sources have their series", || {
        let seen = Scrape::of(stage)?;
        let has = |source: &str| {
            let series =
                format!(r#"tidings_worker_events_total{{source="{source}",result="inserted"}}"#);
            seen.values.contains_key(&series)
        };
        Ok((has("sms") && has("chat")).then_some(()))
    })
}

#[test]
fn each_counter_is_at_zero_before_anything_happens() -> Result<()> {
    on_stage(|stage| {
        add_sources(stage)?;
        let before = Scrape::of(stage)?;
        let counters = counters()?;
        ensure!(counters.len() >= 13, "{counters:?}");
        // What is not to happen in the moments before the scrape.
        let busy = [
            "tidings_worker_upkeep_total",
            "tidings_worker_stream_ends_total",
            "tidings_worker_token_refreshes_total",
        ];
        for name in counters {
            let series = before.series(&name);
            ensure!(!series.is_empty(), "there is no {name}:\n{}", before.text);
            let is_busy = busy.contains(&name.as_str());
            ensure!(
                is_busy || series.iter().all(|(_, value)| *value == 0.0),
                "{series:?}"
            );
        }
        let refused = r#"tidings_worker_requests_total{source="sms",outcome="unauthorized"}"#;
        ensure!(before.value(refused)? == 0.0);
        for _ in 0..3 {
            let answer = http::post(stage.worker.http, "/hooks/sms/guessed", &[], SMS)?;
            ensure!(answer.status == 401, "{answer:?}");
        }
        let after = Scrape::of(stage)?;
        ensure!(
            after.value(refused)? == 3.0,
            "increase() sees {:?}",
            after.value(refused)
        );
        Ok(())
    })
}

#[test]
fn limits_stand_beside_what_they_bound() -> Result<()> {
    let flags = [
        "--pending-requests",
        "1000",
        "--source-share",
        "20",
        "--push-streams",
        "7",
    ];
    on_stage_with(&flags, |stage| {
        let seen = Scrape::of(stage)?;
        for (name, limit) in [
            ("tidings_worker_pending_requests", 1000.0),
            ("tidings_worker_pending_bytes", f64::from(64 << 20)),
            ("tidings_worker_source_pending_requests", 200.0),
            (
                "tidings_worker_grpc_pending_bytes",
                f64::from(64 << 20) / 5.0,
            ),
            ("tidings_worker_push_streams", 7.0),
        ] {
            let used = seen.value(name)?;
            let bound = seen.value(&format!("{name}_limit"))?;
            ensure!(used <= bound, "{name}: {used} of {bound}");
            ensure!((bound - limit).abs() <= 1.0, "{name}: {bound}, not {limit}");
        }
        for name in ["http_connections", "grpc_connections"] {
            ensure!(seen.value(&format!("tidings_worker_{name}_limit"))? > 0.0);
        }
        Ok(())
    })
}

#[test]
fn times_and_lags_are_shown() -> Result<()> {
    on_stage(|stage| {
        let now =
            || -> Result<f64> { Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64()) };
        let begun = now()?;
        add_sources(stage)?;
        let first = Scrape::of(stage)?;
        let last = r#"tidings_worker_source_last_event_timestamp_seconds{source="sms"}"#;
        ensure!((begun..=now()?).contains(&first.value(last)?));
        let started = first.value("process_start_time_seconds")?;
        ensure!(
            started <= begun + 1.0 && started > begun - 600.0,
            "{started}"
        );
        ensure!(first.value("process_cpu_seconds_total")? >= 0.0);
        let maintained = "tidings_worker_upkeep_last_success_timestamp_seconds";
        eventually("the first upkeep is done", || {
            let at = Scrape::of(stage)?.value(maintained)?;
            Ok((at > begun - 600.0).then_some(()))
        })?;

        wait_known(stage.worker.http, "sms")?;
        let sent = now()?;
        let answer = http::post(stage.worker.http, "/hooks/sms/token", &[], SMS)?;
        ensure!(answer.status == 200, "{answer:?}");
        let seen = Scrape::of(stage)?;
        ensure!(seen.value(last)? >= sent, "{:?}", seen.value(last));
        let answered =
            r#"tidings_worker_request_seconds_count{route="webhook",outcome="committed"}"#;
        ensure!(seen.value(answered)? == 1.0);
        // The consumer has not taken the event. The worker looks every few seconds.
        let behind = r#"tidings_worker_consumer_behind_events{consumer="mailer"}"#;
        let age = r#"tidings_worker_consumer_oldest_event_age_seconds{consumer="mailer"}"#;
        let seen = eventually("the lag is seen", || {
            let seen = Scrape::of(stage)?;
            Ok((seen.value(behind).ok() == Some(1.0)).then_some(seen))
        })?;
        ensure!((0.0..600.0).contains(&seen.value(age)?));
        ensure!((0.0..600.0).contains(&seen.value("tidings_worker_log_horizon_age_seconds")?));

        let mut client = stage.connect()?;
        client.batch_execute(
            "select tidings.drop_consumer('mailer'); select tidings.drop_source('sms')",
        )?;
        eventually("what was dropped shows no number, and counts stay", || {
            let seen = Scrape::of(stage)?;
            let gone = seen.value(behind)?.is_nan() && seen.value(last)?.is_nan();
            let counted = r#"tidings_worker_requests_total{source="sms",outcome="accepted"}"#;
            ensure!(seen.value(counted)? == 1.0);
            Ok(gone.then_some(()))
        })
    })
}

#[test]
fn promtool_finds_nothing_to_mend() -> Result<()> {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("SKIPPED: promtool is missing: install Debian's package prometheus");
        return Ok(());
    }
    on_stage(|stage| {
        add_sources(stage)?;
        let mut emulator = stage.add_emulator(&play(stage, 200, 1))?;
        emulator.begin()?;
        eventually("events of all providers are stored", || {
            emulator.listen()?;
            Ok(emulator.is_done().then_some(()))
        })?;
        let seen = Scrape::of(stage)?;
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = promtool.stdin.take().context("there is no input")?;
        stdin.write_all(seen.text.as_bytes())?;
        drop(stdin);
        let output = promtool.wait_with_output()?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(
            output.status.success() && said.trim().is_empty(),
            "{said}\n{}",
            seen.text
        );
        Ok(())
    })
}
