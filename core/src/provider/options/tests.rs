//! Options as a user sets them.

use super::*;
use crate::provider;
use serde_json::json;

fn check(provider: &str, options: Value) -> Result<(), String> {
    let options = options.as_object().unwrap().clone();
    provider::find(provider)
        .unwrap()
        .check_options(&options)
        .map_err(|error| error.to_string())
}

#[test]
fn options_are_checked_by_name_and_form() {
    for (provider, options) in [
        (
            "arpoone",
            json!({"timezone": "Europe/Lisbon", "url_token": "t"}),
        ),
        ("arpoone", json!({"time_format": "%d/%m/%Y %H:%M:%S"})),
        (
            "ppoppo",
            json!({"endpoint": "http://localhost:1/ext", "overlap": 5}),
        ),
        (
            "ppoppo",
            json!({"keepalive": 0, "idle_limit": 900, "ca_file": "/etc/ca.pem"}),
        ),
        (
            "ppoppo",
            json!({"stream": "channels", "channel_ids": ["c", "d"]}),
        ),
        (
            "ppoppo",
            json!({"token_url": "https://accounts.ppoppo.com/oauth/token", "client_id": "c", "scope": "messaging"}),
        ),
        ("ppoppo", json!({"reconcile": false})),
        (
            "ppoppo",
            json!({"reconcile": true, "stream": "send_requests"}),
        ),
        ("ppoppo", json!({"client_id": "c"})),
        (
            "arpoone",
            json!({"allow_from": ["192.0.2.0/24", "2001:db8::/32", "203.0.113.9"]}),
        ),
        (
            "ppoppo",
            json!({"client_id": "c", "issuer": "https://accounts.example", "resource": "urn:chat"}),
        ),
    ] {
        assert_eq!(check(provider, options), Ok(()));
    }
    let error = check("pushwoosh", json!({"timezone": "UTC"})).unwrap_err();
    assert_eq!(
        error,
        r#"a source of provider pushwoosh has no option "timezone""#
    );
    for (provider, options) in [
        ("arpoone", json!({"timezone": "Lisbon"})),
        ("arpoone", json!({"timezone": 1})),
        ("arpoone", json!({"time_format": "%d/%m/%Y %Z"})),
        ("arpoone", json!({"time_format": "HH:mm"})),
        ("ppoppo", json!({"endpoint": "api.ppoppo.com"})),
        ("ppoppo", json!({"endpoint": "http://"})),
        ("ppoppo", json!({"overlap": -1})),
        ("ppoppo", json!({"overlap": u64::MAX})),
        ("ppoppo", json!({"keepalive": "5s"})),
        ("ppoppo", json!({"token_env": ""})),
        ("ppoppo", json!({"stream": "events"})),
        ("ppoppo", json!({"reconcile": "no"})),
        ("ppoppo", json!({"channel_ids": "c"})),
        ("ppoppo", json!({"channel_ids": ["c", ""]})),
        ("ppoppo", json!({"token_url": "accounts", "client_id": "c"})),
        ("ppoppo", json!({"issuer": "accounts", "client_id": "c"})),
        ("ppoppo", json!({"resource": "", "client_id": "c"})),
        ("pushpushgo", json!({"allow_unauthenticated": "yes"})),
        ("arpoone", json!({"allow_from": "192.0.2.0/24"})),
        ("arpoone", json!({"allow_from": []})),
        ("arpoone", json!({"allow_from": [7]})),
        ("arpoone", json!({"allow_from": ["192.0.2.7/24"]})),
        ("pushwoosh", json!({"allow_from": ["192.0.2.0/24", "*"]})),
    ] {
        assert!(
            check(provider, options.clone())
                .unwrap_err()
                .contains(" is not "),
            "{options}"
        );
    }
}

#[test]
fn what_is_missing_can_be_asked_of_some_streams_alone() {
    let error = check("ppoppo", json!({"reconcile": true, "stream": "channels"}));
    assert_eq!(
        error.unwrap_err(),
        r#"option "reconcile" does nothing with option "stream": "channels""#
    );
    for provider in ["arpoone", "pushwoosh", "pushpushgo"] {
        let error = check(provider, json!({"reconcile": true})).unwrap_err();
        assert!(error.ends_with(r#"has no option "reconcile""#), "{error}");
    }
}

#[test]
fn options_of_one_flow_need_each_other() {
    for (options, needs) in [
        (json!({"token_url": "https://a/token"}), "client_id"),
        (json!({"issuer": "https://a"}), "client_id"),
        (json!({"scope": "chat.read"}), "client_id"),
        (json!({"resource": "https://a"}), "client_id"),
    ] {
        let error = check("ppoppo", options).unwrap_err();
        assert!(
            error.ends_with(&format!(" needs option {needs:?}")),
            "{error}"
        );
    }
    let alone = OptionError::Alone {
        name: "client_id",
        needs: &["issuer", "token_url"],
    };
    assert_eq!(
        alone.to_string(),
        r#"option "client_id" needs option "issuer" or "token_url""#
    );
    let both = json!({"client_id": "c", "issuer": "https://a", "token_url": "https://a/token"});
    assert_eq!(
        check("ppoppo", both).unwrap_err(),
        r#"options "token_url" and "issuer" exclude each other"#
    );
}

#[test]
fn an_option_that_the_stream_does_not_know_is_refused() {
    for (options, of) in [
        (
            json!({"stream": "channels", "send_request_id": "r"}),
            "send_requests",
        ),
        (
            json!({"stream": "send_requests", "channel_ids": ["c"]}),
            "channels",
        ),
        (json!({"channel_ids": ["c"]}), "channels"),
    ] {
        let options = options.as_object().unwrap();
        let provider = provider::find("ppoppo").unwrap();
        let error = provider.check_options(options).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(" does nothing with option \"stream\": "),
            "{text}"
        );
        assert!(error.hint().contains(of), "{}", error.hint());
    }
    let both = json!({"stream": "send_requests", "send_request_id": "r"});
    assert_eq!(check("ppoppo", both), Ok(()));
}
