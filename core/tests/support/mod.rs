//! What several of these tests share.

use tidings_core::{Item, Malformed, provider, time};

pub(crate) const PROVIDERS: [&str; 4] = ["ppoppo", "pushwoosh", "arpoone", "pushpushgo"];

/// The items of a body that a source of this provider received, in UTC.
pub(crate) fn normalize<'a>(
    provider: &str,
    source: &str,
    body: &'a [u8],
) -> Result<Vec<Item<'a>>, Malformed> {
    let utc = time::zone("UTC").unwrap();
    let provider = provider::find(provider).unwrap();
    provider.normalize(source, &utc, body)
}
