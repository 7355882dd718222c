//! What SQL of earlier versions calls: for the time between a package's upgrade and
//! `ALTER EXTENSION tidings UPDATE`, and while that update goes through them.
//!
//! A function here is called by the symbol that a script in `sql/frozen` names.

use pgrx::{Array, pg_sys::panic::ErrorReport, prelude::*};
use tidings_core::{Item, ItemError};

use crate::{
    error::invalid,
    normalize::{Rows, rows, settings},
    signature::unmet,
    source::check_options_0_5,
    ulid::Ulid,
};

/// `_normalize` of 0.1.0 to 0.4.0. Versions 0.1.0 and 0.2.0 pass the source's time zone
/// alone in place of its options, which are a JSON object, and cannot store an event
/// without a time.
#[pg_extern(sql = false)]
fn normalize_for_source<'a>(
    provider_name: &'a str,
    source: &'a str,
    options: &'a str,
    body: &'a [u8],
) -> Result<Rows<'a>, ErrorReport> {
    if options.starts_with('{') {
        return rows(provider_name, source, &settings(options)?, body, |item| {
            item
        });
    }
    let options = serde_json::json!({ "timezone": options }).to_string();
    rows(provider_name, source, &settings(&options)?, body, timed)
}

/// `_check_options` of 0.1.0 to 0.4.0. Their policy would ignore the option `allow_from`, so that
/// a source would accept requests from every address.
#[pg_extern(sql = false)]
fn check_options(provider_name: &str, options: &str) -> Result<(), ErrorReport> {
    if options.contains("\"allow_from\"") {
        return Err(invalid(
            "unknown option \"allow_from\"",
            "Run ALTER EXTENSION tidings UPDATE first.",
        ));
    }
    check_options_0_5(provider_name, options)
}

/// `_verify` of 0.1.0 to 0.4.0, whose sources accept requests from every address.
#[pg_extern(sql = false)]
fn verify_policy(
    provider_name: Option<&str>,
    secrets: Option<Array<'_, &str>>,
    url_tokens: Option<Array<'_, &str>>,
    allow_unauthenticated: Option<bool>,
    body: Option<&[u8]>,
    headers: Option<&str>,
) -> Result<bool, ErrorReport> {
    let unmet = unmet(
        provider_name,
        secrets,
        url_tokens,
        allow_unauthenticated,
        None,
        body,
        headers,
    );
    Ok(unmet?.is_none())
}

/// The text form, for 0.1.0 to 0.4.0.
#[pg_extern(sql = false)]
fn ulid_out(value: Ulid) -> std::ffi::CString {
    std::ffi::CString::new(value.0.to_ascii()).unwrap_or_default()
}

/// The item, or the reason why these versions cannot store it.
fn timed(mut item: Item<'_>) -> Item<'_> {
    if matches!(&item.event, Ok(event) if event.event_id.is_some() && event.occurred_at.is_none()) {
        item.event = Err(ItemError::Missing(
            "its time, which only an extension that was updated (ALTER EXTENSION tidings UPDATE) can do without,",
        ));
    }
    item
}
