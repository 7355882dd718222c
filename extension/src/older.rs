//! What SQL of earlier versions calls: for the time between a package's upgrade and
//! `ALTER EXTENSION tidings UPDATE`, and while that update goes through them.
//!
//! A function here is called by the symbol that a script in `sql/frozen` names.

use pgrx::{pg_sys::panic::ErrorReport, prelude::*};
use tidings_core::{Item, ItemError};

use crate::{
    normalize::{Rows, rows, settings},
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
