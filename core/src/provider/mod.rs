//! The registry of providers, and what each must say of itself.
//!
//! A provider is one module and one line in [`ALL`]. It declares how it proves who it
//! is, what options its sources take, and how one of its items becomes an event;
//! everything else is shared.

mod arpoone;
mod options;
mod ppoppo;
mod pushpushgo;
mod pushwoosh;

use std::collections::HashMap;

use jiff::tz::TimeZone;

pub use options::OptionError;

use crate::{
    event::{Event, Item, ItemError, Malformed},
    identity,
    json::{self, Object, Wrapper},
    time::Micros,
    ulid::Ulid,
};

/// Every provider that is supported.
pub static ALL: [&Provider; 4] = [
    &ppoppo::PROVIDER,
    &pushwoosh::PROVIDER,
    &arpoone::PROVIDER,
    &pushpushgo::PROVIDER,
];

/// The provider of this name, if it is supported.
pub fn find(name: &str) -> Option<&'static Provider> {
    ALL.into_iter().find(|provider| provider.name == name)
}

/// What is known of a provider.
#[derive(Debug)]
pub struct Provider {
    /// The name in SQL.
    pub name: &'static str,
    pub scheme: Scheme,
    /// Options that its sources take, beyond those that every source takes.
    options: &'static [options::Spec],
    /// How a body may wrap its items.
    wrapper: Option<Wrapper>,
    /// Whether equal items of one request are different events.
    counts_repeats: bool,
    read: for<'a> fn(&Entry<'a, '_>) -> Result<Event<'a>, ItemError>,
}

/// How a request proves that the provider sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// It need not: it arrives on a connection that we opened.
    Dialed,
    /// The whole `Authorization` value is the secret.
    Authorization,
    /// The provider has no scheme: a token in the URL is the secret.
    UrlToken,
    /// This header carries the HMAC-SHA1 of the body, keyed with the secret.
    HmacSha1 { header: &'static str },
}

/// One item, with what its provider's module needs to read it.
#[derive(Debug)]
struct Entry<'a, 's> {
    object: Object<'a>,
    text: &'a str,
    /// How many equal items stood before it in its request.
    repeat: u32,
    source: &'s str,
    zone: &'s TimeZone,
    provider: &'static str,
}

impl Entry<'_, '_> {
    fn derive<'f>(
        &self,
        at: Micros,
        fields: impl IntoIterator<Item = identity::Part<'f>>,
    ) -> Option<Ulid> {
        identity::derive(self.provider, self.source, at, fields)
    }
}

impl Provider {
    /// The items of a body, each with its event or the reason why it is none.
    ///
    /// `source` is part of a derived identity. `zone` is where times without an offset
    /// were written.
    pub fn normalize<'a>(
        &'static self,
        source: &str,
        zone: &TimeZone,
        body: &'a [u8],
    ) -> Result<Vec<Item<'a>>, Malformed> {
        let texts = json::items(body, self.wrapper.as_ref())?;
        let mut seen: HashMap<&str, u32> = HashMap::new();
        let items = (1..).zip(texts).map(|(ordinal, text)| {
            let repeat = if self.counts_repeats {
                let count = seen.entry(text).or_default();
                *count += 1;
                *count - 1
            } else {
                0
            };
            let storable = json::storable(text);
            let event = storable.clone().and_then(|()| {
                let object = Object::parse(text)?;
                let provider = self.name;
                (self.read)(&Entry {
                    object,
                    text,
                    repeat,
                    source,
                    zone,
                    provider,
                })?
                .check_keys()
            });
            Item {
                ordinal,
                text,
                storable: storable.is_ok(),
                event,
            }
        });
        Ok(items.collect())
    }
}
