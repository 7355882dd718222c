//! A body becomes rows.

use std::{borrow::Cow, ffi::CString};

use pgrx::{
    PgSqlErrorCode,
    callconv::{BoxRet, FcInfo},
    datum::TimestampWithTimeZone,
    iter::TableIterator,
    pg_sys::{self, panic::ErrorReport},
    prelude::*,
};
use tidings_core::{
    Event, Item, ItemError, Malformed, identity,
    provider::{OptionError, Settings},
    time::Micros,
};

use crate::{
    error::error,
    source::{provider, refused_option},
    ulid::{POSTGRES_EPOCH, Ulid, timestamptz},
};

/// A `jsonb` made from JSON text that [`tidings_core::json::storable`] found fit.
pub(crate) struct Jsonb(CString);

pgrx::impl_sql_translatable!(Jsonb, "jsonb");

impl IntoDatum for Jsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: jsonb_in takes one cstring, which lives as long as `self`.
        unsafe {
            pgrx::direct_function_call_as_datum(
                pg_sys::jsonb_in,
                &[Some(pg_sys::Datum::from(self.0.as_ptr()))],
            )
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

// SAFETY: a jsonb is returned as the datum that jsonb_in made.
unsafe impl BoxRet for Jsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        match self.into_datum() {
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

/// A row of `tidings.normalized_event`, and the item's bytes where it is no event.
/// `ordinal` is null in the one row that says that the whole body is malformed.
type Row = (
    Option<i32>,
    Option<Ulid>,
    Option<&'static str>,
    Option<String>,
    Option<String>,
    Option<TimestampWithTimeZone>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<Jsonb>,
    Option<String>,
    Option<Vec<u8>>,
);

/// The rows of a body that was sent to a source.
///
/// `options` are the source's, as JSON. An installation of version 0.2.0 or older, which
/// is still to be updated, passes its time zone alone, and cannot store events without a
/// time.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns are listed for SQL")]
fn normalize_for_source(
    provider_name: &str,
    source: &str,
    options: &str,
    body: &[u8],
) -> Result<
    TableIterator<
        'static,
        (
            name!(ordinal, Option<i32>),
            name!(event_id, Option<Ulid>),
            name!(kind, Option<&'static str>),
            name!(provider_kind, Option<String>),
            name!(channel, Option<String>),
            name!(occurred_at, Option<TimestampWithTimeZone>),
            name!(request_id, Option<String>),
            name!(message_id, Option<String>),
            name!(recipient, Option<String>),
            name!(campaign, Option<String>),
            name!(error_code, Option<String>),
            name!(reason, Option<String>),
            name!(payload, Option<Jsonb>),
            name!(error, Option<String>),
            name!(item, Option<Vec<u8>>),
        ),
    >,
    ErrorReport,
> {
    let (settings, is_current) = settings(options)?;
    let rows = match provider(provider_name)?.normalize(source, &settings, body) {
        Ok(items) => items
            .into_iter()
            .map(|item| if is_current { item } else { timed(item) })
            .map(row)
            .collect::<Result<Vec<_>, _>>()?,
        Err(reason) => vec![malformed(&reason)],
    };
    Ok(TableIterator::new(rows))
}

/// The settings of a source, and whether the installation is of this version.
fn settings(options: &str) -> Result<(Settings, bool), ErrorReport> {
    let refuse = |reason: OptionError| refused_option(&reason);
    if options.starts_with('{') {
        return Ok((Settings::from_options(options).map_err(refuse)?, true));
    }
    let options = serde_json::json!({ "timezone": options }).to_string();
    Ok((Settings::from_options(&options).map_err(refuse)?, false))
}

/// The item, or the reason why an installation of an earlier version cannot store it.
fn timed(mut item: Item<'_>) -> Item<'_> {
    if matches!(&item.event, Ok(event) if event.event_id.is_some() && event.occurred_at.is_none()) {
        item.event = Err(ItemError::Missing(
            "its time, which only an extension that was updated (ALTER EXTENSION tidings UPDATE) can do without,",
        ));
    }
    item
}

fn row(item: Item<'_>) -> Result<Row, ErrorReport> {
    let ordinal = i32::try_from(item.ordinal).ok();
    let payload = if item.storable {
        CString::new(item.text).ok().map(Jsonb)
    } else {
        None
    };
    let event = match item.event {
        Ok(event) => event,
        Err(reason) => {
            let item = Some(item.text.as_bytes().to_vec());
            return Ok(refused(ordinal, payload, reason.to_string(), item));
        }
    };
    let Event {
        event_id,
        kind,
        provider_kind,
        channel,
        occurred_at,
        ..
    } = event;
    let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    Ok((
        ordinal,
        event_id.map(Ulid),
        Some(kind.as_str()),
        Some(provider_kind.into_owned()),
        text(channel),
        occurred_at.map(|at| timestamptz(at.get())).transpose()?,
        text(event.request_id),
        text(event.message_id),
        text(event.recipient),
        text(event.campaign),
        text(event.error_code),
        text(event.reason),
        payload,
        None,
        None,
    ))
}

fn malformed(reason: &Malformed) -> Row {
    refused(None, None, reason.to_string(), None)
}

fn refused(
    ordinal: Option<i32>,
    payload: Option<Jsonb>,
    error: String,
    item: Option<Vec<u8>>,
) -> Row {
    let none = || None;
    (
        ordinal,
        None,
        None,
        none(),
        none(),
        None,
        none(),
        none(),
        none(),
        none(),
        none(),
        none(),
        payload,
        Some(error),
        item,
    )
}

/// Raised by `tidings.normalize` for a body that cannot be cut into items.
#[pg_extern(sql = false)]
fn raise_malformed(reason: &str) -> Result<bool, ErrorReport> {
    Err(
        error(PgSqlErrorCode::ERRCODE_INVALID_JSON_TEXT, reason).set_hint(
            "Pass the body as the provider sent it: one JSON object, or an array of objects.",
        ),
    )
}

/// The time and the randomness of the id under which a request was received, or null
/// where the text is neither a ULID nor a UUID.
#[pg_extern(sql = false)]
fn receipt(text: &str) -> Option<Ulid> {
    let ulid = text.parse::<tidings_core::Ulid>().ok().or_else(|| {
        let bytes: [u8; 16] = hex(&text.replace('-', ""))?;
        Some(tidings_core::Ulid::from_bytes(bytes))
    })?;
    Some(Ulid(ulid))
}

fn hex(digits: &str) -> Option<[u8; 16]> {
    (digits.len() == 32).then_some(())?;
    u128::from_str_radix(digits, 16).ok().map(u128::to_be_bytes)
}

/// The identity of an event that has none of its own: the receipt that brought it, its
/// place there, and what it says. A receipt that is ingested again, after its answer was lost, meets
/// itself.
#[pg_extern(sql = false)]
fn receipt_event_id(
    provider_name: &str,
    source: &str,
    receipt: Ulid,
    received_at: TimestampWithTimeZone,
    ordinal: i32,
    item: &str,
) -> Option<Ulid> {
    let at = Micros::new(i64::from(received_at).checked_add(POSTGRES_EPOCH)?)?;
    let (receipt, ordinal) = (receipt.0.to_bytes(), ordinal.to_be_bytes());
    let fields = [&receipt[..], &ordinal[..], item.as_bytes()].map(Some);
    identity::derive(provider_name, source, at, fields).map(Ulid)
}
