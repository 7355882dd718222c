//! What several of these tests share.

use tidings_core::{Item, Malformed, Settings, provider};

/// The items of a body that a source of this provider received, without options.
pub(crate) fn normalize<'a>(
    provider: &str,
    source: &str,
    body: &'a [u8],
) -> Result<Vec<Item<'a>>, Malformed> {
    let provider = provider::find(provider).unwrap();
    provider.normalize(source, &Settings::default(), body)
}

/// The names of all providers.
pub(crate) fn providers() -> impl Iterator<Item = &'static str> {
    provider::ALL.into_iter().map(|provider| provider.name)
}
