//! Options as Postgres has them.

use serde_json::json;

use super::{oauth::Server, *};

fn dial(endpoint: &str) -> Result<Dial, String> {
    Dial::new("ppoppo", &json!({"endpoint": endpoint}))
}

#[test]
fn ppoppo_endpoints() {
    for (endpoint, origin, prefix, is_tls) in [
        (
            "https://api.ppoppo.com/ext",
            "https://api.ppoppo.com/",
            "/ext",
            true,
        ),
        (
            "https://api.sandbox.ppoppo.com/ext",
            "https://api.sandbox.ppoppo.com/",
            "/ext",
            true,
        ),
        ("http://localhost:3203", "http://localhost:3203/", "", false),
        ("https://host/a/b/", "https://host/", "/a/b", true),
    ] {
        let dial = dial(endpoint).unwrap();
        assert_eq!(dial.origin, origin);
        assert_eq!(dial.prefix, prefix);
        assert_eq!(dial.is_tls(), is_tls);
    }
}

#[test]
fn an_endpoint_that_cannot_be_dialed_is_refused() {
    for endpoint in ["", "localhost:3203", "ftp://host", "/path", "http://h/?a=b"] {
        assert!(dial(endpoint).is_err(), "{endpoint:?}");
    }
    let default = Dial::new("ppoppo", &json!({})).unwrap();
    assert_eq!(default.origin, "https://chat.ppoppo.com/");
    assert!(Dial::new("ppoppo", &json!({"endpoint": 1})).is_err());
    assert!(Dial::new("ppoppo", &json!({"endpoint": "http://h", "overlap": -1})).is_err());
}

#[test]
fn an_endpoint_that_is_refused_is_not_repeated() {
    for endpoint in [
        "https://user:s3cret@host/ext",
        "https://s3cret@host/ext",
        "ftp://user:s3cret@host",
        "https://user:s3cret@ho st/",
        "https://host/?token=s3cret",
    ] {
        let error = dial(endpoint).unwrap_err();
        assert!(error.contains("endpoint"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
    assert!(dial("https://host/@ext").is_ok());
}

#[test]
fn seconds_are_bounded() {
    let greatest = u64::from(u32::MAX);
    for name in ["overlap", "keepalive", "idle_limit"] {
        let options = |seconds: u64| json!({"endpoint": "http://h", name: seconds});
        assert!(Dial::new("ppoppo", &options(greatest)).is_ok(), "{name}");
        for seconds in [greatest + 1, u64::MAX] {
            let error = Dial::new("ppoppo", &options(seconds)).unwrap_err();
            assert!(
                error.contains(name) && error.contains("4294967295"),
                "{error}"
            );
        }
    }
}

#[test]
fn periods_have_defaults_and_an_end() {
    let defaults = dial("http://h").unwrap();
    assert_eq!(defaults.keepalive, Some(Duration::from_secs(20)));
    assert_eq!(defaults.idle_limit, Some(Duration::from_secs(65)));
    let options = json!({"endpoint": "http://h", "keepalive": 0, "idle_limit": 5});
    let dial = Dial::new("ppoppo", &options).unwrap();
    assert_eq!(dial.keepalive, None);
    assert_eq!(dial.idle_limit, Some(Duration::from_secs(5)));
}

#[test]
fn each_stream_has_its_cursor_and_its_filters() {
    let options = json!({"stream": "channels", "channel_ids": ["a", "b"]});
    let dial = Dial::new("ppoppo", &options).unwrap();
    assert_eq!(dial.origin, "https://chat.ppoppo.com/");
    assert_eq!(
        (dial.prefix.as_str(), dial.cursor),
        ("/ext", "after_message_id")
    );
    let both = [
        ("channel_ids", "a".to_owned()),
        ("channel_ids", "b".to_owned()),
    ];
    assert_eq!(dial.filters, both);
    let options = json!({"stream": "channels", "channel_ids": ["a", 7]});
    let error = Dial::new("ppoppo", &options).unwrap_err();
    assert!(error.contains("channel_ids"), "{error}");
}

fn oauth(options: Value) -> Result<OAuth, String> {
    Dial::new("ppoppo", &options).map(|dial| dial.oauth.unwrap())
}

#[test]
fn a_secret_is_not_sent_in_the_open() {
    let tls = "https://api.ppoppo.com/ext";
    for (option, path) in [("token_url", "/oauth/token"), ("issuer", "/tenant")] {
        let server = |endpoint: &str, url: &str| {
            oauth(json!({"endpoint": endpoint, option: url, "client_id": "c"})).map(|o| o.server)
        };
        for origin in [
            "https://accounts.ppoppo.com",
            "http://localhost:3100",
            "http://127.0.0.1:3100",
            "http://[::1]:3100",
        ] {
            let url = format!("{origin}{path}");
            match server(tls, &url).unwrap() {
                Server::Endpoint(found) => assert_eq!(found, url.as_str()),
                Server::Issuer { name, document } => {
                    assert_eq!(name, url);
                    let expected = format!("{url}/.well-known/openid-configuration");
                    assert_eq!(document, expected.as_str());
                }
            }
        }
        let error = server(tls, "http://accounts.ppoppo.com").unwrap_err();
        assert!(
            error.contains("unencrypted") && error.contains(option),
            "{error}"
        );
        assert!(server(tls, "http://localhost.example.com/").is_err());
        assert!(server("http://ppoppo:3203", "http://accounts:3100/").is_ok());
        for url in [
            "",
            "accounts.ppoppo.com",
            "https://id:secret@host/",
            "ftp://host",
        ] {
            let error = server(tls, url).unwrap_err();
            assert!(
                error.contains(option) && !error.contains("secret@"),
                "{error}"
            );
        }
        let no_client = json!({"endpoint": tls, option: "https://h/"});
        assert!(oauth(no_client).unwrap_err().contains("client_id"));
    }
    for issuer in ["https://host/?a=b", "https://host/#a"] {
        let options = json!({"issuer": issuer, "client_id": "c"});
        assert!(oauth(options).unwrap_err().contains("issuer"), "{issuer}");
    }
}

#[test]
fn a_document_leads_only_where_the_secret_may_be_sent() {
    let of = |endpoint: &str| {
        let options = json!({"endpoint": endpoint, "client_id": "c", "issuer": "https://a/"});
        oauth(options).unwrap()
    };
    let tls = of("https://h/ext");
    for url in ["https://b/token", "http://localhost/token"] {
        assert_eq!(tls.endpoint(url).unwrap(), url);
    }
    for url in ["http://b/token", "https://me:secret@b/", "/token", ""] {
        assert_eq!(tls.endpoint(url), None, "{url}");
    }
    assert!(of("http://h/ext").endpoint("http://b/token").is_some());
}

#[test]
fn ppoppo_needs_no_more_than_a_client() {
    let least = oauth(json!({"client_id": "c"})).unwrap();
    let document = "https://accounts.ppoppo.com/.well-known/openid-configuration";
    assert!(matches!(&least.server, Server::Issuer { document: at, .. } if *at == document));
    let resource = "https://chat.ppoppo.com/ext";
    assert_eq!(least.resource.as_deref(), Some(resource));
    assert_eq!((least.scope, least.needed), (None, Some("chat.read")));
    assert!(least.in_form);
    assert_eq!(Dial::new("ppoppo", &json!({})).unwrap().oauth, None);
}

#[test]
fn the_resource_is_the_endpoint_as_it_is_written() {
    for endpoint in [
        "https://Chat.ppoppo.com:443/ext/",
        "https://chat.ppoppo.com/%65xt",
    ] {
        let written = oauth(json!({"endpoint": endpoint, "client_id": "c"})).unwrap();
        assert_eq!(written.resource.as_deref(), Some(endpoint));
        let options = json!({"endpoint": endpoint, "client_id": "c", "resource": "urn:a"});
        assert_eq!(oauth(options).unwrap().resource.as_deref(), Some("urn:a"));
    }
}

#[test]
fn only_one_way_to_the_token_endpoint_is_given() {
    let both = json!({"client_id": "c", "issuer": "https://a", "token_url": "https://a/token"});
    let error = oauth(both).unwrap_err();
    assert!(error.contains("issuer and token_url"), "{error}");
}
