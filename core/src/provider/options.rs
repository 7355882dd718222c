//! The options of a source, checked when they are set rather than when they are needed.

use serde_json::{Map, Value};

use super::Provider;
use crate::time;

/// An option, what its value must be, what it sets, and which other option it is nothing
/// without.
#[derive(Debug)]
pub(super) struct Spec {
    name: &'static str,
    form: Form,
    doc: &'static str,
    needs: Option<&'static str>,
}

/// What is said of an option in the documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionDoc {
    pub name: &'static str,
    /// What it sets: a sentence, in Markdown.
    pub doc: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    Text,
    Boolean,
    /// An http or https URL.
    Url,
    /// A time zone of the IANA database.
    TimeZone,
    /// A strptime format that reads what it writes.
    TimeFormat,
    /// A number of seconds.
    Seconds,
    /// An array of texts.
    Texts,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

impl Spec {
    /// `doc` is a sentence in Markdown.
    pub(super) const fn new(name: &'static str, form: Form, doc: &'static str) -> Self {
        Self {
            name,
            form,
            doc,
            needs: None,
        }
    }

    /// The option makes no sense without this other one.
    const fn needing(self, needs: &'static str) -> Self {
        Self {
            needs: Some(needs),
            ..self
        }
    }
}

impl Spec {
    const fn doc(&self) -> OptionDoc {
        OptionDoc {
            name: self.name,
            doc: self.doc,
        }
    }
}

/// Options that every source takes.
const COMMON: [Spec; 2] = [
    Spec::new(
        "url_token",
        Form::Text,
        "Requires this token as the last part of the URL, in addition to what the provider's scheme requires.",
    ),
    Spec::new(
        "allow_unauthenticated",
        Form::Boolean,
        "If true, a webhook source without a secret and without a `url_token` accepts every request; otherwise it refuses every request.",
    ),
];

/// Options that every source takes whose provider is dialed.
const DIALED: [Spec; 10] = [
    Spec::new(
        "endpoint",
        Form::Url,
        "The URL that the worker dials. Its path is put before the path of the method.",
    ),
    Spec::new(
        "overlap",
        Form::Seconds,
        "Seconds (default 0): after a connection has ended, the stream is read again from that long before its cursor: at once after a failure, and now and then after clean ends. Set it if several hosts of the provider generate ids, because these may arrive out of order. An event that arrives twice is stored once.",
    ),
    Spec::new(
        "keepalive",
        Form::Seconds,
        "Seconds between two HTTP/2 pings, which detect a dead connection; 0 disables them. A server may answer too many pings with GOAWAY (ENHANCE_YOUR_CALM).",
    ),
    Spec::new(
        "idle_limit",
        Form::Seconds,
        "Seconds without a message after which the stream is reopened; 0 disables the limit.",
    ),
    Spec::new(
        "ca_file",
        Form::Text,
        "A PEM file on the worker's machine with the certificates of your own certificate authority, which replace those of the system.",
    ),
    Spec::new(
        "token_env",
        Form::Text,
        "The environment variable of the worker that holds the secret of a source without a secret in Postgres.",
    ),
    Spec::new(
        "token_file",
        Form::Text,
        "The file on the worker's machine that holds the secret of a source without a secret in Postgres. It is read again when it changes.",
    ),
    Spec::new(
        "token_url",
        Form::Url,
        "The endpoint from which the worker fetches tokens by OAuth2 client credentials, and again before they expire. The secret of the source is then the client secret.",
    )
    .needing("client_id"),
    Spec::new(
        "client_id",
        Form::Text,
        "The client id with which tokens are fetched.",
    )
    .needing("token_url"),
    Spec::new(
        "scope",
        Form::Text,
        "The scope with which tokens are fetched.",
    )
    .needing("token_url"),
];

/// An option of sources whose provider can be asked for events that are missing.
const ASKED: [Spec; 1] = [Spec::new(
    "reconcile",
    Form::Boolean,
    "Whether the worker asks the provider for missing events by itself when the cursor has expired (default true): see [outages](outages.md#what-is-a-gap).",
)];

/// Why options are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    #[error("options are not a JSON object")]
    NotAnObject(String),
    #[error("a source of provider {provider} has no option {name:?}")]
    Unknown {
        provider: &'static str,
        name: String,
        known: String,
    },
    #[error("option {name:?} is not {expected}")]
    Invalid {
        name: String,
        expected: &'static str,
    },
    /// The option belongs to another stream of the provider.
    #[error("option {name:?} does nothing with option \"stream\": {stream:?}")]
    OfAnotherStream {
        name: &'static str,
        stream: &'static str,
    },
    #[error("option {name:?} needs option {needs:?}")]
    Alone {
        name: &'static str,
        needs: &'static str,
    },
}

impl OptionError {
    /// What to do about it, as a sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::NotAnObject(_) => r#"Write them as '{"name": "value"}'."#.to_owned(),
            Self::Unknown { known, .. } => format!("Its options are {known}."),
            Self::Invalid { .. } => "Correct the option's value.".to_owned(),
            Self::OfAnotherStream { name, stream } => format!(
                "Leave out {name:?}: the provider cannot be asked for what is missing in the stream {stream:?}."
            ),
            Self::Alone { name, needs } => format!("Set {needs:?} as well, or leave out {name:?}."),
        }
    }
}

impl Provider {
    /// Refuses an option that sources of this provider do not take, by name, a value of
    /// another form than the option's, and an option without the one that it needs.
    pub fn check_options(&self, options: &Map<String, Value>) -> Result<(), OptionError> {
        for (name, value) in options {
            let Some(spec) = self.specs().find(|spec| spec.name == name) else {
                let known: Vec<_> = self.specs().map(|spec| spec.name).collect();
                return Err(OptionError::Unknown {
                    provider: self.name,
                    name: name.clone(),
                    known: known.join(", "),
                });
            };
            spec.form.check(name, value)?;
            if let Some(needs) = spec.needs.filter(|needs| !options.contains_key(*needs)) {
                return Err(OptionError::Alone {
                    name: spec.name,
                    needs,
                });
            }
        }
        self.check_asked(options)
    }

    /// Refuses the options of [`ASKED`] for a stream of which nothing can be asked.
    fn check_asked(&self, options: &Map<String, Value>) -> Result<(), OptionError> {
        let Some(spec) = ASKED.iter().find(|spec| options.contains_key(spec.name)) else {
            return Ok(());
        };
        let stream = options.get("stream").and_then(Value::as_str);
        match self.call_of(stream) {
            Some(call) if call.inquiry.is_none() => Err(OptionError::OfAnotherStream {
                name: spec.name,
                stream: call.stream,
            }),
            _ => Ok(()),
        }
    }

    /// The names of the options that its sources take.
    pub fn option_names(&self) -> impl Iterator<Item = &'static str> {
        self.specs().map(|spec| spec.name)
    }

    /// The options that are this provider's alone, as the documents describe them.
    pub fn own_options(&self) -> impl Iterator<Item = OptionDoc> {
        self.options.iter().chain(self.asked()).map(Spec::doc)
    }

    /// The options that every source takes, as the documents describe them.
    pub fn common_options() -> impl Iterator<Item = OptionDoc> {
        COMMON.iter().map(Spec::doc)
    }

    /// The options that every source takes whose provider is dialed, as the documents
    /// describe them.
    pub fn dialed_options() -> impl Iterator<Item = OptionDoc> {
        DIALED.iter().map(Spec::doc)
    }

    fn specs(&self) -> impl Iterator<Item = &'static Spec> {
        let dialed: &[Spec] = if self.is_dialed() { &DIALED } else { &[] };
        let own = self.options.iter().chain(self.asked());
        COMMON.iter().chain(dialed).chain(own)
    }

    /// The options of sources whose provider can be asked for events that are missing.
    fn asked(&self) -> &'static [Spec] {
        let can_be_asked = self.calls.iter().any(|call| call.inquiry.is_some());
        if can_be_asked { &ASKED } else { &[] }
    }
}

impl Form {
    /// Refuses a value that is not of this form.
    pub(super) fn check(self, name: &str, value: &Value) -> Result<(), OptionError> {
        let text = value.as_str().filter(|text| !text.is_empty());
        let (fits, expected) = match self {
            Self::Text => (text.is_some(), "a text that is not empty"),
            Self::Boolean => (value.is_boolean(), "true or false"),
            Self::Url => (
                text.is_some_and(|url| {
                    let rest = url.strip_prefix("https://").or(url.strip_prefix("http://"));
                    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
                }),
                "a URL that begins with http:// or https://",
            ),
            Self::TimeZone => (
                text.is_some_and(|name| time::zone(name).is_some()),
                "a time zone of the IANA database, such as Europe/Lisbon",
            ),
            Self::TimeFormat => (
                text.is_some_and(time::is_format),
                "a format that a date and a time can be read with, such as %d/%m/%Y %H:%M:%S",
            ),
            // More would overflow the clocks that it is added to.
            Self::Seconds => (
                value.as_u64().is_some_and(|s| s <= u64::from(u32::MAX)),
                "a whole number of seconds, at most 4294967295",
            ),
            Self::Texts => (
                value.as_array().is_some_and(|values| {
                    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
                    values.iter().all(text)
                }),
                "an array of texts that are not empty",
            ),
            Self::OneOf(words) => (
                text.is_some_and(|text| words.contains(&text)),
                "one of the words that are documented for it",
            ),
        };
        if fits {
            Ok(())
        } else {
            Err(OptionError::Invalid {
                name: name.to_owned(),
                expected,
            })
        }
    }
}

#[cfg(test)]
mod tests {
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
            ("ppoppo", json!({"reconcile": false})),
            (
                "ppoppo",
                json!({"reconcile": true, "stream": "send_requests"}),
            ),
            (
                "ppoppo",
                json!({"token_url": "https://accounts.ppoppo.com/oauth/token", "client_id": "c", "scope": "messaging"}),
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
            ("pushpushgo", json!({"allow_unauthenticated": "yes"})),
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
            (json!({"client_id": "c"}), "token_url"),
            (json!({"scope": "messaging"}), "token_url"),
        ] {
            let error = check("ppoppo", options).unwrap_err();
            assert!(
                error.ends_with(&format!(" needs option {needs:?}")),
                "{error}"
            );
        }
    }
}
