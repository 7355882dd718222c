use std::{collections::BTreeMap, fs, path::Path};

use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;

use super::*;
use crate::pipeline::request::Refusal;

fn source(name: &str, provider: &str, options: serde_json::Value) -> Source {
    Source {
        id: 1,
        name: name.into(),
        provider: provider.to_owned(),
        options,
        enabled: true,
        schema: None,
        former_names: Vec::new(),
    }
}

/// The result of a scrape after the closure.
fn shown(work: impl FnOnce()) -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, work);
    handle.render()
}

/// The counters that are described, by the names of their constants.
fn counters() -> BTreeMap<&'static str, &'static str> {
    let text = include_str!("../../process/metric.rs");
    let described = text.split("describe_counter!(").skip(1);
    let described = described.filter_map(|rest| rest.split(',').next());
    let value = |name: &str| {
        let (_, rest) = text
            .split_once(&format!("const {name}: &str = \""))
            .unwrap();
        rest.split('"').next().unwrap()
    };
    described
        .map(|name| (name.trim(), value(name.trim())))
        .collect()
}

#[test]
fn each_counter_that_is_described_is_at_zero_before_anything_happens() {
    let text = shown(|| {
        metric::begin();
        begin();
        let oauth = json!({"client_id": "app", "endpoint": "https://chat.example"});
        of_source(&source("sms", "arpoone", json!({})));
        of_source(&source("chat", "ppoppo", oauth));
    });
    let counters = counters();
    assert!(counters.len() >= 13, "{counters:?}");
    for name in counters.values() {
        let mut series = text
            .lines()
            .filter_map(|line| line.strip_prefix(name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .peekable();
        assert!(series.peek().is_some(), "there is no {name}: {text}");
        assert!(
            series.all(|rest| rest.ends_with(" 0")),
            "{name} is not 0: {text}"
        );
    }
    for series in [
        r#"tidings_worker_requests_total{source="sms",outcome="unauthorized"} 0"#,
        r#"tidings_worker_requests_total{source="sms",outcome="commit_failed"} 0"#,
        r#"tidings_worker_requests_total{source="chat",outcome="fenced"} 0"#,
        r#"tidings_worker_requests_total{source="",outcome="unknown_source"} 0"#,
        r#"tidings_worker_events_total{source="sms",result="rejected"} 0"#,
        r#"tidings_worker_gaps_total{source="sms",cause="provider_gave_up"} 0"#,
        r#"tidings_worker_gaps_total{source="chat",cause="cursor_expired"} 0"#,
        r#"tidings_worker_stream_ends_total{source="chat",reason="failed"} 0"#,
        r#"tidings_worker_database_errors_total{next="isolate"} 0"#,
        r#"tidings_worker_token_refreshes_total{source="chat",result="refused"} 0"#,
        r#"tidings_worker_commit_seconds_count 0"#,
    ] {
        assert!(
            text.lines().any(|line| line == series),
            "no {series}: {text}"
        );
    }
    // What cannot happen to a source has no series.
    assert!(
        !text.contains(r#"{source="sms",outcome="fenced"}"#),
        "{text}"
    );
    assert!(
        !text.contains(r#"stream_ends_total{source="sms""#),
        "{text}"
    );
}

/// The first text in each call of these functions, in the files of a folder.
fn words(folder: &str, calls: &[&str]) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut words = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|of| of != "rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        // What tests make up is no word of the worker.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for call in calls {
            for rest in text.split(call).skip(1) {
                let call = rest.split(';').next().unwrap();
                if let Some(word) = call.split('"').nth(1) {
                    words.push(word.to_owned());
                }
            }
        }
    }
    words
}

#[test]
fn each_word_in_an_answer_is_in_the_list() {
    let found = words("src/inbound/http", &["Answer::error(", "Answer::retry("]);
    assert!(found.len() >= 12, "{found:?}");
    for word in &found {
        assert!(
            http::CAUSES.contains(&word.as_str()),
            "the word {word} of an answer is not in CAUSES"
        );
    }
    for refusal in Refusal::iter().filter(|refusal| !outcomes::is_counted(refusal)) {
        let word = refusal.as_str();
        assert!(http::CAUSES.contains(&word), "{word} is not in CAUSES");
    }
    let found = words("src/inbound/grpc/push", &["Denied::new("]);
    // One word is a constant.
    assert!(found.len() + 1 >= push::CAUSES.len(), "{found:?}");
    for word in &found {
        assert!(
            push::CAUSES.contains(&word.as_str()),
            "the word {word} of a refused stream is not in CAUSES"
        );
    }
}

#[test]
fn a_source_that_is_silent_from_the_start_has_a_time_and_a_dropped_one_has_none() {
    let time = |text: &str, source: &str| -> f64 {
        let series = format!("{}{{source=\"{source}\"}} ", metric::LAST_EVENT);
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(&series));
        value
            .unwrap_or_else(|| panic!("no {series}: {text}"))
            .parse()
            .unwrap()
    };
    let now = metric::unix(SystemTime::now());
    let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    let text = shown(|| {
        let mut awaited = HashSet::new();
        await_events(&mut awaited, names(&["sms", "mail"]));
        gauge!(metric::LAST_EVENT, "source" => "sms").set(7.0);
        await_events(&mut awaited, names(&["sms"]));
    });
    assert_eq!(time(&text, "sms"), 7.0, "a later list leaves it as it is");
    assert!(time(&text, "mail").is_nan());
    let text = shown(|| await_events(&mut HashSet::new(), names(&["sms"])));
    assert!(time(&text, "sms") >= now);
}
