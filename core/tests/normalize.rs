//! What each payload of `testdata/` becomes, as snapshots, and the words of the
//! providers' pages as a table.
//!
//! A payload is a file `testdata/<provider>/<name>.json`, its snapshot `<name>.snap`
//! beside it; `<name>.options` holds the source's options, where it has any. Names that
//! begin with `page` are the samples of the provider's own page as they stand there. A
//! field that is absent is null; only identity and time are shown even then.

#[cfg(test)]
mod support;

use std::{collections::BTreeSet, fs, path::Path};

use insta::{assert_yaml_snapshot, glob};
use jiff::Timestamp;
use serde::Serialize;
use support::{normalize, providers};
use tidings_core::{Event, Item, Malformed, Settings, provider, time};

/// A body, as a snapshot shows it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome<'a> {
    Malformed(String),
    Items(Vec<Row<'a>>),
}

#[derive(Serialize)]
struct Row<'a> {
    ordinal: u32,
    #[serde(skip_serializing_if = "is_true")]
    storable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    event: Option<Columns<'a>>,
}

#[derive(Serialize)]
struct Columns<'a> {
    kind: &'static str,
    provider_kind: &'a str,
    event_id: Option<String>,
    occurred_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_true(value: &bool) -> bool {
    *value
}

impl<'a> From<&'a Result<Vec<Item<'a>>, Malformed>> for Outcome<'a> {
    fn from(result: &'a Result<Vec<Item<'a>>, Malformed>) -> Self {
        match result {
            Ok(items) => Self::Items(items.iter().map(Row::from).collect()),
            Err(malformed) => Self::Malformed(malformed.to_string()),
        }
    }
}

impl<'a> From<&'a Item<'a>> for Row<'a> {
    fn from(item: &'a Item<'a>) -> Self {
        Self {
            ordinal: item.ordinal,
            storable: item.storable,
            error: item.event.as_ref().err().map(ToString::to_string),
            event: item.event.as_ref().ok().map(Columns::from),
        }
    }
}

impl<'a> From<&'a Event<'a>> for Columns<'a> {
    fn from(event: &'a Event<'a>) -> Self {
        let at = |micros: time::Micros| match Timestamp::from_microsecond(micros.get()) {
            Ok(at) => at.to_string(),
            Err(error) => error.to_string(),
        };
        Self {
            kind: event.kind.as_str(),
            provider_kind: &event.provider_kind,
            event_id: event.event_id.map(|id| id.to_string()),
            occurred_at: event.occurred_at.map(at),
            channel: event.channel.as_deref(),
            request_id: event.request_id.as_deref(),
            message_id: event.message_id.as_deref(),
            recipient: event.recipient.as_deref(),
            campaign: event.campaign.as_deref(),
            error_code: event.error_code.as_deref(),
            reason: event.reason.as_deref(),
        }
    }
}

/// The payloads of every provider, each against its snapshot. The source is named as the
/// provider is.
#[test]
fn payloads_become_their_snapshots() {
    glob!("../testdata", "*/*.json", |path| {
        let name = name_of(path.parent());
        let Some(provider) = provider::find(&name) else {
            return;
        };
        let options = fs::read_to_string(path.with_extension("options"));
        let options = Settings::from_options(options.as_deref().unwrap_or("{}")).unwrap();
        let body = fs::read(path).unwrap();
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(format!("../testdata/{name}"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.remove_snapshot_suffix();
        settings.bind(|| {
            let result = provider.normalize(&name, &options, &body);
            assert_yaml_snapshot!(name_of(Some(path)), Outcome::from(&result));
        });
    });
}

/// A snapshot that outlives its payload tests nothing.
#[test]
fn payloads_and_snapshots_come_in_pairs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    for provider in providers() {
        let names = |kind: &str| -> BTreeSet<String> {
            fs::read_dir(root.join(provider))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == kind))
                .map(|path| name_of(Some(&path)))
                .collect()
        };
        let payloads = names("json");
        assert_eq!(payloads, names("snap"), "{provider}");
        assert!(names("options").is_subset(&payloads), "{provider}");
        assert!(payloads.len() >= 25, "{provider}: {}", payloads.len());
    }
}

fn name_of(path: Option<&Path>) -> String {
    path.and_then(Path::file_stem)
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// The words that the providers' pages give, whatever the rest of an item says.
#[test]
fn documented_words_mean_what_the_pages_say() {
    for (provider, template, words) in [
        (
            "ppoppo",
            r#"{"event_id":"01J93XS9VVR000000000000001","event_type":"WORD"}"#,
            &[
                ("RECIPIENT_DELIVERED", "message.delivered"),
                ("RECIPIENT_FAILED", "message.failed"),
                ("RECIPIENT_PENDING_CONSENT", "consent.requested"),
                ("CONSENT_GRANTED", "consent.granted"),
                ("CONSENT_DENIED", "consent.denied"),
                ("REQUEST_COMPLETED", "request.completed"),
                ("POLL_RESPONSE_RECEIVED", "poll.answered"),
            ][..],
        ),
        (
            "pushwoosh",
            r#"{"event_name":"WORD","timestamp":1723799271}"#,
            &[
                ("Push Sent", "message.sent"),
                ("Email Delivered", "message.delivered"),
                ("Email Opened", "message.opened"),
                ("Email Bounced", "message.bounced"),
            ],
        ),
        (
            "arpoone",
            r#"{"MessageId":"m1","Status":"WORD","ReportDateTime":"2024-10-01T11:34:56Z"}"#,
            &[
                ("DELIVERED", "message.delivered"),
                ("NOT_DELIVERED", "message.failed"),
                ("PENDING", "message.pending"),
            ],
        ),
        (
            "pushpushgo",
            r#"{"kind":"WORD","ts":"2024-10-01T11:34:56Z"}"#,
            &[
                ("subscriber:update", "subscriber.updated"),
                ("subscriber:subscribe", "subscriber.subscribed"),
                ("subscriber:unsubscribe", "subscriber.unsubscribed"),
                ("transaction:message:delivered", "message.delivered"),
                ("transaction:message:clicked", "message.clicked"),
                ("transaction:message:rejected", "message.rejected"),
                ("transaction:message:error", "message.failed"),
            ],
        ),
    ] {
        for (word, expected) in words {
            let body = template.replace("WORD", word);
            let items = normalize(provider, "s", body.as_bytes()).unwrap();
            let event = items[0].event.as_ref().unwrap();
            assert_eq!(event.kind.as_str(), *expected, "{provider}: {word}");
            assert_eq!(event.provider_kind, *word);
        }
    }
}

/// Arpoone's page does not say in which zone its times are: the source's option does.
#[test]
fn a_time_without_an_offset_is_read_in_the_sources_zone() {
    let read = |options: &str, at: &str| {
        let body = format!(r#"[{{"MessageId":"m1","Status":"PENDING","ReportDateTime":"{at}"}}]"#);
        let settings = Settings::from_options(options).unwrap();
        let arpoone = provider::find("arpoone").unwrap();
        let items = arpoone.normalize("s", &settings, body.as_bytes()).unwrap();
        let event = items[0].event.clone().unwrap();
        (event.event_id, event.occurred_at.unwrap().get())
    };
    let lisbon = r#"{"timezone":"Europe/Lisbon","url_token":"t"}"#;
    let summer = 1_727_782_496_000_000;
    assert_eq!(read(lisbon, "2024-10-01T12:34:56").1, summer);
    assert_eq!(read(lisbon, "2024-10-01T11:34:56Z").1, summer);
    assert_eq!(read(lisbon, "2024-01-01T12:00:00").1, 1_704_110_400_000_000);
    // The same moment written differently is the same state.
    assert_eq!(
        read(lisbon, "2024-10-01T12:34:56"),
        read(lisbon, "2024-10-01T13:34:56+02:00")
    );
    let day_first = r#"{"timezone":"Europe/Lisbon","time_format":"%d/%m/%Y %H:%M:%S"}"#;
    assert_eq!(
        read(day_first, "01/10/2024 12:34:56"),
        read(lisbon, "2024-10-01T11:34:56Z")
    );
    assert_eq!(read(day_first, "2024-10-01T12:34:56").1, summer);
}

#[test]
fn settings_that_cannot_be_read_with_are_refused() {
    for (options, reason) in [
        ("", "options are not a JSON object"),
        ("[]", "options are not a JSON object"),
        (
            r#"{"timezone":"Lisbon"}"#,
            r#"option "timezone" is not a time zone"#,
        ),
        (
            r#"{"timezone":1}"#,
            r#"option "timezone" is not a time zone"#,
        ),
        (
            r#"{"time_format":"dd/MM"}"#,
            r#"option "time_format" is not a format"#,
        ),
        (
            r#"{"time_format":null}"#,
            r#"option "time_format" is not a format"#,
        ),
    ] {
        let error = Settings::from_options(options).unwrap_err().to_string();
        assert!(error.starts_with(reason), "{error}");
    }
}

#[test]
fn an_unknown_provider_is_none() {
    for name in ["", "Arpoone", "twilio", "arpoone "] {
        assert!(provider::find(name).is_none(), "{name:?}");
    }
    for name in providers() {
        assert_eq!(provider::find(name).map(|found| found.name), Some(name));
    }
}
