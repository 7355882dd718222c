//! HMAC-SHA1 in SQL, and the check of a request against the policy of its source.

use pgrx::{Array, pg_sys::panic::ErrorReport, prelude::*};
use tidings_core::{
    json::{room_for_text, string_in},
    policy, signature,
};

use crate::{memory::require, source::provider};

#[pg_extern(sql = false)]
fn hmac_sha1(body: &[u8], key: &[u8]) -> Vec<u8> {
    signature::hmac_sha1(body, key).to_vec()
}

#[pg_extern(sql = false)]
fn verify_hmac_sha1(body: &[u8], key: &[u8], signature: &str) -> bool {
    signature::verify_hmac_sha1(body, key, signature)
}

/// What a request lacks of the demands of a source; null where it meets them. Null arrays
/// demand nothing. Headers are the text of a jsonb, because pgrx cannot read every jsonb;
/// those that are no object, and values that are no strings, carry nothing.
#[pg_extern(sql = false)]
pub(crate) fn unmet(
    provider_name: Option<&str>,
    secrets: Option<Array<'_, &str>>,
    url_tokens: Option<Array<'_, &str>>,
    allow_unauthenticated: Option<bool>,
    allow_from: Option<Array<'_, &str>>,
    body: Option<&[u8]>,
    headers: Option<&str>,
) -> Result<Option<String>, ErrorReport> {
    let headers = headers.unwrap_or_default();
    let given = secrets.as_ref().map_or(0, Array::len)
        + url_tokens.as_ref().map_or(0, Array::len)
        + allow_from.as_ref().map_or(0, Array::len);
    require(room_for_text(headers.len() + given * size_of::<&str>()))?;
    let demands = policy::Demands {
        secrets: secrets
            .iter()
            .flat_map(|array| array.iter().flatten())
            .collect(),
        url_tokens: url_tokens
            .iter()
            .flat_map(|array| array.iter().flatten())
            .collect(),
        allow_unauthenticated: allow_unauthenticated.unwrap_or(false),
        allow_from: allow_from
            .as_ref()
            .map(|array| array.iter().flatten().collect()),
    };
    let header = |name: &str| string_in(headers, name);
    let verified = policy::verify(
        provider(provider_name.unwrap_or_default())?,
        &demands,
        body.unwrap_or_default(),
        header,
    );
    Ok(verified.err().map(|unmet| unmet.to_string()))
}

/// The address of the sender of a request in its canonical form; null if it is not known.
#[pg_extern(sql = false)]
fn peer_address(headers: &str) -> Result<Option<String>, ErrorReport> {
    require(room_for_text(headers.len()))?;
    let address = policy::peer_address(|name: &str| string_in(headers, name));
    Ok(address.map(|address| address.to_string()))
}
