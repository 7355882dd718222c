//! The registry of providers, and what each of them declares.
//!
//! A provider is one module and one word in [`ALL`]'s list. The module declares how the
//! provider proves who it is, what options its sources take, by which gRPC calls its
//! events come if they do, and how one of its items becomes an event; everything else is
//! shared. `docs/adding-a-provider.md` adds one, step by step.

#[cfg(test)]
mod example;
mod items;
mod options;
mod settings;

use std::time::Duration;

use serde_json::Value;

pub use self::{
    items::Items,
    options::{OptionDoc, OptionError},
    settings::Settings,
};
use crate::{
    event::{Event, Facts, Item, ItemError, Malformed, Pause},
    identity,
    json::{self, Object, Tape, Wrapper},
    time::{self, Micros},
    ulid::Ulid,
    wire::Call,
};

/// Declares the module of each provider, and [`ALL`].
macro_rules! providers {
    ($($name:ident),+) => {
        $(mod $name;)+

        /// Every provider that is supported.
        pub static ALL: [&Provider; [$(stringify!($name)),+].len()] = [$(&$name::PROVIDER),+];
    };
}

/// A file below `proto/`, by its path there.
macro_rules! proto {
    ($path:literal) => {
        crate::wire::Proto {
            name: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/", $path)),
        }
    };
}

providers! { ppoppo, pushwoosh, arpoone, pushpushgo }

/// The provider of this name, if it is supported.
pub fn find(name: &str) -> Option<&'static Provider> {
    ALL.into_iter().find(|provider| provider.name == name)
}

/// The declaration of a provider.
#[derive(Debug)]
pub struct Provider {
    /// The name in SQL.
    pub name: &'static str,
    pub scheme: Scheme,
    /// Description of a source's secret.
    pub secret: &'static str,
    /// The pauses after which the provider repeats a webhook that was answered 5xx: it
    /// discards the webhook after the last of these attempts. `None` if it goes on until it
    /// is accepted, or does not say when it gives up.
    pub retries: Option<&'static [Duration]>,
    /// Whether the provider gives an event up after any 4xx, and sends it again only
    /// after a 5xx.
    pub gives_up_after_4xx: bool,
    /// Whether the provider holds a message back until the recipient has consented to it, so
    /// that the delivery is what says that the recipient did.
    pub asks_consent: bool,
    /// The gRPC calls by which its events come; empty if they come by HTTP alone. A
    /// source uses one of them.
    pub calls: &'static [Call],
    /// Options that its sources take, beyond those that every source takes, or every
    /// source that is dialed.
    options: &'static [options::Spec],
    /// How a body may wrap its items, beyond an array of them.
    wrapper: Option<Wrapper>,
    /// Whether equal items of one request are different events.
    counts_repeats: bool,
    /// The event of one item.
    read: for<'a> fn(&Entry<'a, '_>) -> Result<Event<'a>, ItemError>,
    /// Further facts about one item.
    facts: for<'a> fn(Object<'a, '_>) -> Facts<'a>,
}

/// How a request proves that the provider sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// No proof is needed, because the event arrives on a connection that the worker
    /// opened.
    Dialed(Dialing),
    /// The whole `Authorization` value is the secret.
    Authorization,
    /// The provider has no scheme: a token in the URL is the secret.
    UrlToken,
    /// This header carries the HMAC-SHA1 of the body, keyed with the secret.
    HmacSha1 {
        header: &'static str,
        /// What the key is and who else can read it, if it is not a secret. The signature
        /// then does not prove who sent the body.
        readable_key: Option<&'static str>,
    },
}

impl Scheme {
    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dialed(_) => "dialed",
            Self::Authorization => "authorization",
            Self::UrlToken => "url-token",
            Self::HmacSha1 { .. } => "hmac-sha1",
        }
    }
}

/// How a provider is dialed by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialing {
    /// Without one, every source has to name its endpoint.
    pub endpoint: Option<&'static str>,
    /// Seconds between two pings of HTTP/2; 0 for none.
    pub keepalive: u32,
    /// Seconds without a message after which the stream is opened anew; 0 for never.
    pub idle_limit: u32,
    pub grant: Grant,
}

/// How tokens for a provider are fetched, by OAuth2 client credentials, unless a source's
/// options say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The issuer of a source that has a client.
    pub issuer: Option<&'static str>,
    /// Whether a token is fetched for a resource (RFC 8707), which is the endpoint.
    pub resource: bool,
    /// Whether the client's id and secret go into the form, rather than into a header.
    pub in_form: bool,
    /// The scope without which a token is of no use.
    pub scope: Option<&'static str>,
}

/// One item, with what its provider's module needs to read it.
#[derive(Debug)]
struct Entry<'a, 's> {
    object: Object<'a, 's>,
    text: &'a str,
    /// Number of equal items before this one in its request.
    repeat: u32,
    source: &'s str,
    settings: &'s Settings,
    provider: &'static str,
    pause: Pause,
}

impl Entry<'_, '_> {
    /// The id of an event that has none, derived from the fields that identify it.
    fn derive<'f>(
        &self,
        at: Option<Micros>,
        fields: impl IntoIterator<Item = identity::Part<'f>>,
    ) -> Option<Ulid> {
        identity::derive(self.provider, self.source, at, fields)
    }

    /// The time in a field: `None` if the field is absent or empty, or a time that was never
    /// set; an error if its value is not a time.
    fn time(&self, field: &'static str, value: Option<&str>) -> Result<Option<Micros>, ItemError> {
        let is_text = value.is_some_and(|value| value.starts_with('"'));
        match value.and_then(json::text) {
            Some(text) => self.time_as(field, &text, is_text),
            None => Ok(None),
        }
    }

    /// The time in a text; `None` for a time that was never set, which is the start of 1970, or
    /// the year 1 of .NET and Go. Digits that may be a date are not read as a number, because
    /// only the source's format tells which of the two is meant.
    fn time_as(
        &self,
        field: &'static str,
        text: &str,
        may_be_date: bool,
    ) -> Result<Option<Micros>, ItemError> {
        if time::is_never(text) {
            return Ok(None);
        }
        if let Some(at) = self.settings.formatted(text) {
            return Ok(at.if_set());
        }
        if may_be_date && time::is_date(text) {
            return Err(ItemError::Invalid {
                field,
                expected: "a Unix time: its digits are a date, which only a time_format reads",
            });
        }
        let at = self.settings.time(text).ok_or(ItemError::Invalid {
            field,
            expected: "a date-time or a Unix time, from 1970 on",
        })?;
        Ok(at.if_set())
    }
}

impl Provider {
    /// How the provider is dialed by default, if its events arrive on a connection that
    /// the worker opens.
    pub fn dialing(&self) -> Option<Dialing> {
        match self.scheme {
            Scheme::Dialed(dialing) => Some(dialing),
            _ => None,
        }
    }

    /// Whether its events arrive on a connection that the worker opens.
    pub fn is_dialed(&self) -> bool {
        self.dialing().is_some()
    }

    /// Whether its requests carry a signature of the body, so that the bytes as sent matter.
    pub fn signs_body(&self) -> bool {
        matches!(self.scheme, Scheme::HmacSha1 { .. })
    }

    /// The call by which the events of a source with these options arrive, if they arrive
    /// over gRPC: the one that the option `stream` names, or the first.
    pub fn call(&self, options: &Value) -> Option<&'static Call> {
        self.call_of(options.get("stream").and_then(Value::as_str))
    }

    /// The call of this stream, or the first.
    fn call_of(&self, stream: Option<&str>) -> Option<&'static Call> {
        let mut calls = self.calls.iter();
        calls.find(|call| stream.is_none_or(|stream| call.stream == stream))
    }

    /// The items of a body, each with its event or the reason why it is not one.
    ///
    /// `source` is part of a derived identity, and `settings` come from its options.
    pub fn normalize<'a>(
        &'static self,
        source: &str,
        settings: &Settings,
        body: &'a [u8],
    ) -> Result<Vec<Item<'a>>, Malformed> {
        let items = self.items(source, settings, body, || {});
        items.map(Iterator::collect)
    }

    /// The same, each item when it is asked for, and with pauses meanwhile.
    pub fn items<'a, 's>(
        &'static self,
        source: &'s str,
        settings: &Settings,
        body: &'a [u8],
        pause: Pause,
    ) -> Result<Items<'a, 's>, Malformed> {
        Items::new(self, source, settings, body, pause)
    }

    /// Further facts about an item; none if the item is not an object. They depend only
    /// on the text, so that a stored item gives the same facts as when it arrived.
    pub fn facts<'a>(&self, item: &'a str) -> Facts<'a> {
        let tape = Tape::of(item, || {}).ok();
        let object = tape.as_ref().and_then(|tape| tape.value(item).object());
        object.map_or_else(Facts::default, self.facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    /// The guide shows a module that works.
    #[test]
    fn the_example_of_the_guide_is_a_provider() {
        let guide = include_str!("../../../docs/adding-a-provider.md");
        let module = include_str!("example.rs");
        assert!(guide.contains(&format!("```rust\n{module}```\n")));

        let body = br#"{"id":"e1","type":"opened","to":"a@example.com","at":1727782496}"#;
        let items = example::PROVIDER.normalize("s", &Settings::default(), body);
        let event = items.unwrap().remove(0).event.unwrap();
        assert_eq!(event.kind, Kind::MessageOpened);
        assert_eq!(event.recipient.as_deref(), Some("a@example.com"));
        assert_eq!(event.event_id.map(Ulid::ms), Some(1_727_782_496_000));
    }

    /// The worker has no body of what it refused before the body was read.
    #[test]
    fn who_gives_up_proves_who_it_is_without_the_body() {
        for provider in ALL {
            let gives_up = provider.gives_up_after_4xx || provider.retries.is_some();
            let without_body = matches!(provider.scheme, Scheme::Authorization | Scheme::UrlToken);
            assert!(!gives_up || without_body, "{}", provider.name);
        }
    }
}
