//! The options of a source, checked when they are set rather than when they are needed.

use serde_json::{Map, Value};

use super::Provider;
use crate::{network::Network, time, wire::Call};

/// An option, what its value must be, what it sets, and how it goes with others.
#[derive(Debug)]
pub(super) struct Spec {
    name: &'static str,
    form: Form,
    doc: &'static str,
    /// The option is nothing without one of these; empty if it stands by itself.
    needs: &'static [&'static str],
    /// The option that does the same in another way.
    excludes: Option<&'static str>,
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
    /// An array of networks or addresses.
    Networks,
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
            needs: &[],
            excludes: None,
        }
    }

    /// The option makes no sense without one of these others.
    const fn needing(self, needs: &'static [&'static str]) -> Self {
        Self { needs, ..self }
    }

    /// Only one of the two options can be set.
    const fn excluding(self, other: &'static str) -> Self {
        Self {
            excludes: Some(other),
            ..self
        }
    }

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

/// Options that every source takes whose provider sends requests to the worker.
const CALLED: [Spec; 1] = [Spec::new(
    "allow_from",
    Form::Networks,
    "Accepts requests from these networks and addresses alone, in addition to what else is required: an array such as `[\"192.0.2.0/24\", \"2001:db8::7\"]`. Behind a proxy the worker needs `--trusted-proxies`, because it sees the address of the proxy otherwise.",
)];

/// The option that some providers have a default for.
const ISSUER: &str = "issuer";

/// Options that every source takes whose provider is dialed.
const DIALED: [Spec; 12] = [
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
        ISSUER,
        Form::Url,
        "The URL of the OAuth2 authorization server, from which the worker fetches tokens by client credentials, and again before they expire. Its token endpoint is read from `<issuer>/.well-known/openid-configuration`. The secret of the source is then the client secret.",
    )
    .needing(&["client_id"]),
    Spec::new(
        "token_url",
        Form::Url,
        "The token endpoint itself, instead of `issuer`.",
    )
    .needing(&["client_id"])
    .excluding(ISSUER),
    Spec::new(
        "client_id",
        Form::Text,
        "The client id with which tokens are fetched.",
    )
    .needing(&[ISSUER, "token_url"]),
    Spec::new(
        "resource",
        Form::Text,
        "The API for which tokens are fetched (RFC 8707). Servers compare it byte for byte, so that a trailing slash matters.",
    )
    .needing(&["client_id"]),
    Spec::new(
        "scope",
        Form::Text,
        "The scope with which tokens are fetched. Without it no scope is sent.",
    )
    .needing(&["client_id"]),
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
        /// The stream that the option restricts, if it restricts one.
        of: Option<&'static str>,
    },
    #[error("option {name:?} needs option {}", either(needs))]
    Alone {
        name: &'static str,
        needs: &'static [&'static str],
    },
    #[error("options {name:?} and {other:?} exclude each other")]
    Both {
        name: &'static str,
        other: &'static str,
    },
}

/// `"a" or "b"`
fn either(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    names.join(" or ")
}

impl OptionError {
    /// What to do about it, as a sentence.
    pub fn hint(&self) -> String {
        match self {
            Self::NotAnObject(_) => r#"Write them as '{"name": "value"}'."#.to_owned(),
            Self::Unknown { known, .. } => format!("Its options are {known}."),
            Self::Invalid { .. } => "Correct the option's value.".to_owned(),
            Self::OfAnotherStream {
                name, of: Some(of), ..
            } => format!("Leave out {name:?}, or set \"stream\" to {of:?}, which it restricts."),
            Self::OfAnotherStream { name, stream, .. } => format!(
                "Leave out {name:?}: the provider cannot be asked for what is missing in the stream {stream:?}."
            ),
            Self::Alone { name, needs } => {
                let needs = either(needs);
                format!("Set {needs} as well, or leave out {name:?}.")
            }
            Self::Both { name, other } => format!("Leave out {name:?} or {other:?}."),
        }
    }
}

impl Provider {
    /// Refuses an option that sources of this provider do not take, by name, a value of
    /// another form than the option's, and options that do not go together.
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
            self.check_company(spec, options)?;
        }
        Ok(())
    }

    /// Refuses an option without the one that it needs, beside one that does the same, or
    /// for a stream that it does not restrict.
    fn check_company(&self, spec: &Spec, options: &Map<String, Value>) -> Result<(), OptionError> {
        let name = spec.name;
        let has = |other: &str| options.contains_key(other) || self.has_default(other);
        if !spec.needs.is_empty() && !spec.needs.iter().any(|other| has(other)) {
            let needs = spec.needs;
            return Err(OptionError::Alone { name, needs });
        }
        let other = spec.excludes.filter(|other| options.contains_key(*other));
        if let Some(other) = other {
            return Err(OptionError::Both { name, other });
        }
        let stream = options.get("stream").and_then(Value::as_str);
        match self.call_of(stream) {
            Some(call) => self.check_stream(name, call),
            None => Ok(()),
        }
    }

    /// Refuses an option that does nothing for the call of the stream that is followed.
    fn check_stream(&self, name: &'static str, call: &Call) -> Result<(), OptionError> {
        let mut restricted = self.calls.iter().filter(|c| c.filters().contains(&name));
        let of = restricted.next().map(|call| call.stream);
        let restricts_another = of.is_some() && !call.filters().contains(&name);
        let is_unasked = call.inquiry.is_none() && ASKED.iter().any(|spec| spec.name == name);
        if restricts_another || is_unasked {
            let stream = call.stream;
            return Err(OptionError::OfAnotherStream { name, stream, of });
        }
        Ok(())
    }

    /// Whether an option has a value where a source does not set it.
    fn has_default(&self, name: &str) -> bool {
        let issuer = self.dialing().and_then(|dialing| dialing.grant.issuer);
        name == ISSUER && issuer.is_some()
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

    /// The options that every source takes whose provider sends requests to the worker, as
    /// the documents describe them.
    pub fn called_options() -> impl Iterator<Item = OptionDoc> {
        CALLED.iter().map(Spec::doc)
    }

    /// The options that every source takes whose provider is dialed, as the documents
    /// describe them.
    pub fn dialed_options() -> impl Iterator<Item = OptionDoc> {
        DIALED.iter().map(Spec::doc)
    }

    fn specs(&self) -> impl Iterator<Item = &'static Spec> {
        let by_direction: &[Spec] = if self.is_dialed() { &DIALED } else { &CALLED };
        let own = self.options.iter().chain(self.asked());
        COMMON.iter().chain(by_direction).chain(own)
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
            Self::Networks => (
                value.as_array().is_some_and(|values| {
                    let text = |value: &Value| value.as_str().map(str::parse::<Network>);
                    let is_network = |value| text(value).is_some_and(|network| network.is_ok());
                    !values.is_empty() && values.iter().all(is_network)
                }),
                "an array of addresses and of networks in CIDR notation, without bits beyond their prefix, such as [\"192.0.2.0/24\", \"2001:db8::7\"]",
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
mod tests;
