//! Bodies read into what a fact is about.

use std::borrow::Cow;

use serde_json::Value;
use tidings_core::{
    Event, Item, Settings,
    policy::{self, Demands},
    provider,
    time::Micros,
};

/// The items of a body that a source without options received.
pub(crate) fn items<'a>(provider: &str, body: &'a str) -> Vec<Item<'a>> {
    items_with(provider, "{}", body)
}

pub(crate) fn items_with<'a>(provider: &str, options: &str, body: &'a str) -> Vec<Item<'a>> {
    let settings = Settings::from_options(options).unwrap();
    provider::find(provider)
        .unwrap()
        .normalize("s", &settings, body.as_bytes())
        .unwrap()
}

/// The only event of a body.
pub(crate) fn event<'a>(provider: &str, body: &'a str) -> Event<'a> {
    match items(provider, body).as_slice() {
        [item] => item.event.clone().unwrap(),
        items => panic!("{} items: {body}", items.len()),
    }
}

pub(crate) fn kind(provider: &str, body: &str) -> &'static str {
    event(provider, body).kind.as_str()
}

/// Microseconds since 1970 of the only event.
pub(crate) fn at(provider: &str, body: &str) -> Option<i64> {
    event(provider, body).occurred_at.map(Micros::get)
}

/// A field of the only item's payload, as it is stored.
pub(crate) fn stored(provider: &str, body: &str, field: &str) -> Value {
    let items = items(provider, body);
    assert!(items[0].storable && items[0].event.is_ok(), "{body}");
    let payload: Value = serde_json::from_str(items[0].text()).unwrap();
    payload[field].clone()
}

/// Whether a request with these headers meets the demands of a source.
pub(crate) fn let_in(
    provider: &str,
    secrets: &[&str],
    url_tokens: &[&str],
    body: &str,
    headers: &[(&str, &str)],
) -> bool {
    let demands = Demands {
        secrets: secrets.to_vec(),
        url_tokens: url_tokens.to_vec(),
        ..Demands::default()
    };
    let header = |name: &str| {
        let mut headers = headers.iter();
        let (_, value) = headers.find(|(found, _)| *found == name)?;
        Some(Cow::Borrowed(*value))
    };
    policy::verify(
        provider::find(provider).unwrap(),
        &demands,
        body.as_bytes(),
        header,
    )
    .is_ok()
}
