//! Converts a body to rows.

use std::{borrow::Cow, ffi::CString};

use pgrx::{
    PgSqlErrorCode,
    callconv::{BoxRet, FcInfo},
    datum::TimestampWithTimeZone,
    iter::TableIterator,
    pg_sys::{self, panic::ErrorReport},
    prelude::*,
};
use tidings_core::{Item, identity, provider::Settings, time::Micros};

use crate::{
    error::error,
    source::{provider, refused_option},
    ulid::{POSTGRES_EPOCH, Ulid, timestamptz},
};

/// A `jsonb` from JSON text that [`tidings_core::json::storable`] has checked.
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

/// One item in SQL: the columns of `_normalize`.
#[derive(Default)]
pub(crate) struct Row {
    /// `None` in the single row that means that the whole body is malformed.
    ordinal: Option<i32>,
    event_id: Option<Ulid>,
    kind: Option<&'static str>,
    provider_kind: Option<String>,
    channel: Option<String>,
    occurred_at: Option<TimestampWithTimeZone>,
    request_id: Option<String>,
    message_id: Option<String>,
    recipient: Option<String>,
    campaign: Option<String>,
    error_code: Option<String>,
    reason: Option<String>,
    payload: Option<Jsonb>,
    /// Why the item is not an event.
    error: Option<String>,
    /// The bytes of an item that is not an event.
    item: Option<Vec<u8>>,
    cursor: Option<String>,
}

/// [`Row`] in the order of its columns in SQL.
type Columns = (
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
    Option<String>,
);

/// What `_normalize` returns, of this version and of earlier ones: SQL that declares the
/// first columns alone gets these, so that a new one is added at the end.
pub(crate) type Rows = TableIterator<'static, Columns>;

impl From<Row> for Columns {
    fn from(row: Row) -> Self {
        (
            row.ordinal,
            row.event_id,
            row.kind,
            row.provider_kind,
            row.channel,
            row.occurred_at,
            row.request_id,
            row.message_id,
            row.recipient,
            row.campaign,
            row.error_code,
            row.reason,
            row.payload,
            row.error,
            row.item,
            row.cursor,
        )
    }
}

/// The rows of a body that was sent to a source. `options` are the source's, as JSON.
#[pg_extern(sql = false)]
fn normalize_0_5(
    provider_name: &str,
    source: &str,
    options: &str,
    body: &[u8],
) -> Result<Rows, ErrorReport> {
    let settings = Settings::from_options(options).map_err(|reason| refused_option(&reason))?;
    rows(provider_name, source, &settings, body, |item| item)
}

/// The rows of a body, each item as `seen` has it.
pub(crate) fn rows(
    provider_name: &str,
    source: &str,
    settings: &Settings,
    body: &[u8],
    seen: impl Fn(Item<'_>) -> Item<'_>,
) -> Result<Rows, ErrorReport> {
    let rows = match provider(provider_name)?.normalize(source, settings, body) {
        Ok(items) => items
            .into_iter()
            .map(|item| row(seen(item)))
            .collect::<Result<Vec<_>, _>>()?,
        Err(reason) => vec![Row {
            error: Some(reason.to_string()),
            ..Row::default()
        }],
    };
    Ok(TableIterator::new(rows.into_iter().map(Columns::from)))
}

fn row(item: Item<'_>) -> Result<Row, ErrorReport> {
    let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
    let said = Row {
        ordinal: i32::try_from(item.ordinal).ok(),
        payload: (item.storable)
            .then(|| CString::new(item.text).ok().map(Jsonb))
            .flatten(),
        cursor: text(item.cursor),
        ..Row::default()
    };
    let event = match item.event {
        Ok(event) => event,
        Err(reason) => {
            return Ok(Row {
                error: Some(reason.to_string()),
                item: Some(item.text.as_bytes().to_vec()),
                ..said
            });
        }
    };
    Ok(Row {
        event_id: event.event_id.map(Ulid),
        kind: Some(event.kind.as_str()),
        provider_kind: Some(event.provider_kind.into_owned()),
        channel: text(event.channel),
        occurred_at: event
            .occurred_at
            .map(|at| timestamptz(at.get()))
            .transpose()?,
        request_id: text(event.request_id),
        message_id: text(event.message_id),
        recipient: text(event.recipient),
        campaign: text(event.campaign),
        error_code: text(event.error_code),
        reason: text(event.reason),
        ..said
    })
}

/// The sender's own id of a subscriber, as the payload of a stored event says it.
#[pg_extern(sql = false)]
fn custom_id(provider_name: &str, payload: &str) -> Result<Option<String>, ErrorReport> {
    let facts = provider(provider_name)?.facts(payload);
    Ok(facts.custom_id.map(Cow::into_owned))
}

/// What a send request came to, as the payload of a stored event says it.
#[pg_extern(sql = false)]
fn summary(provider_name: &str, payload: &str) -> Result<Option<Jsonb>, ErrorReport> {
    let facts = provider(provider_name)?.facts(payload);
    Ok(facts
        .summary
        .and_then(|json| CString::new(json).ok())
        .map(Jsonb))
}

/// When a recipient was asked for consent, as the payload of a stored event says it.
#[pg_extern(sql = false)]
fn asked_at(
    provider_name: &str,
    payload: &str,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    let facts = provider(provider_name)?.facts(payload);
    facts.asked_at.map(|at| timestamptz(at.get())).transpose()
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

/// The identity of an event that has none of its own: from the receipt id, the place of
/// the event in the request, and its content. If the request is submitted again after its
/// answer was lost, the event is recognized as a duplicate.
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
