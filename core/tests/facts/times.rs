//! A time that was never set, in what a provider may send. The events of Ppoppo then have the time
//! of their id, which ppoppo.rs tests.

use crate::reading::at;

/// A body of each provider with this JSON value as its time.
fn bodies(time: &str) -> [(&'static str, String); 3] {
    [
        (
            "arpoone",
            format!(r#"{{"MessageId":"m","Status":"DELIVERED","ReportDateTime":{time}}}"#),
        ),
        (
            "pushpushgo",
            format!(
                r#"{{"kind":"transaction:message:delivered","messageId":"m","subscriberId":"p","ts":{time}}}"#
            ),
        ),
        (
            "pushwoosh",
            format!(r#"{{"event_name":"Push Sent","timestamp":{time}}}"#),
        ),
    ]
}

#[test]
fn a_time_that_was_never_set_is_none() {
    for never in [
        "0",
        "\"0\"",
        "0.0",
        r#""1970-01-01T00:00:00Z""#,
        r#""1970-01-01T00:00:00""#,
        r#""1970-01-01 00:00:00.000000""#,
        r#""1970-01-01T01:00:00+01:00""#,
        r#""0001-01-01T00:00:00Z""#,
        "-62135596800",
    ] {
        for (provider, body) in bodies(never) {
            assert_eq!(at(provider, &body), None, "{body}");
        }
    }
}

#[test]
fn a_second_later_it_is_a_time() {
    for set in ["1", r#""1970-01-01T00:00:01Z""#] {
        for (provider, body) in bodies(set) {
            assert_eq!(at(provider, &body), Some(1_000_000), "{body}");
        }
    }
}
