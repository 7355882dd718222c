//! Converts a body to rows.
//!
//! `_normalize` returns one row at a time, as they are asked for: [`Reading`] keeps the place
//! in the body, [`tidings_core`] reads the item there, and [`Buffer`] holds the values of its
//! row, which Postgres copies into a tuple. Before each step there is room for it
//! ([`require`]), and between two items the statement can be cancelled.

use std::borrow::Cow;

use pgrx::{
    PgSqlErrorCode,
    callconv::{BoxRet, FcInfo},
    datum::TimestampWithTimeZone,
    iter::TableIterator,
    pg_sys::{
        self,
        panic::{ErrorReport, ErrorReportable},
    },
    prelude::*,
};
use tidings_core::{
    Facts, Item, Items, Malformed, identity,
    json::{room_for_body, room_for_text, varlena_header},
    provider::Settings,
    time::Micros,
};

use crate::{
    error::error,
    memory::{OPTIONS_ROOM, require},
    source::{provider, refused_option},
    ulid::{POSTGRES_EPOCH, Ulid, timestamptz},
};

/// Declares a datum that Postgres copies before the row after it is asked for, by its type in
/// SQL: its bytes are in a buffer of [`Reading`].
macro_rules! borrowed {
    ($($name:ident: $sql:literal, $oid:ident;)+) => {
        $(
            #[derive(Clone, Copy)]
            pub(crate) struct $name(pg_sys::Datum);

            pgrx::impl_sql_translatable!($name, $sql);

            impl IntoDatum for $name {
                fn into_datum(self) -> Option<pg_sys::Datum> {
                    Some(self.0)
                }

                fn type_oid() -> pg_sys::Oid {
                    borrowed!(@oid $oid)
                }
            }

            // SAFETY: the datum is of the type that SQL declares.
            unsafe impl BoxRet for $name {
                unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
                    unsafe { fcinfo.return_raw_datum(self.0) }
                }
            }
        )+
    };
    (@oid ULID) => { Ulid::type_oid() };
    (@oid $oid:ident) => { pg_sys::$oid };
}

borrowed! {
    TextRef: "text", TEXTOID;
    BytesRef: "bytea", BYTEAOID;
    JsonbRef: "jsonb", JSONBOID;
    UlidRef: "ulid", ULID;
}

/// One item in SQL: the columns of `_normalize`, in their order.
type Columns = (
    // Null in the single row that means that the whole body is malformed.
    Option<i32>,
    Option<UlidRef>,
    Option<TextRef>,
    Option<TextRef>,
    Option<TextRef>,
    Option<TimestampWithTimeZone>,
    Option<TextRef>,
    Option<TextRef>,
    Option<TextRef>,
    Option<TextRef>,
    Option<TextRef>,
    Option<TextRef>,
    Option<JsonbRef>,
    // Why the item is not an event, and then its bytes.
    Option<TextRef>,
    Option<BytesRef>,
    Option<TextRef>,
);

/// What `_normalize` returns, of this version and of earlier ones: SQL that declares the
/// first columns alone gets these, so that a new one is added at the end.
pub(crate) type Rows<'a> = TableIterator<'a, Columns>;

/// The rows of a body that was sent to a source. `options` are the source's, as JSON.
#[pg_extern(sql = false)]
fn normalize_0_5<'a>(
    provider_name: &'a str,
    source: &'a str,
    options: &'a str,
    body: &'a [u8],
) -> Result<Rows<'a>, ErrorReport> {
    let settings = settings(options)?;
    rows(provider_name, source, &settings, body, |item| item)
}

/// The settings in the options of a source.
pub(crate) fn settings(options: &str) -> Result<Settings, ErrorReport> {
    require(OPTIONS_ROOM.saturating_mul(options.len()))?;
    Settings::from_options(options).map_err(|reason| refused_option(&reason))
}

/// The rows of a body, each item as `seen` has it.
pub(crate) fn rows<'a>(
    provider_name: &str,
    source: &'a str,
    settings: &Settings,
    body: &'a [u8],
    seen: fn(Item<'a>) -> Item<'a>,
) -> Result<Rows<'a>, ErrorReport> {
    let provider = provider(provider_name)?;
    require(room_for_body(body.len()))?;
    let (items, malformed) = match provider.items(source, settings, body, interruptible) {
        Ok(items) => (Some(items), None),
        Err(reason) => (None, Some(reason)),
    };
    Ok(TableIterator::new(Reading {
        items,
        malformed,
        seen,
        row: Buffer::default(),
    }))
}

/// A body that is being read, one row at a time.
struct Reading<'a> {
    items: Option<Items<'a, 'a>>,
    /// Why the body has no items, until that was said.
    malformed: Option<Malformed>,
    seen: fn(Item<'a>) -> Item<'a>,
    row: Buffer,
}

impl Iterator for Reading<'_> {
    type Item = Columns;

    fn next(&mut self) -> Option<Columns> {
        let Some(items) = &mut self.items else {
            let reason = self.malformed.take()?.to_string();
            self.row.empty(reason.len());
            let error = Some(self.row.text(&reason));
            return Some(columns(error));
        };
        require(items.room()).unwrap_or_report();
        let item = (self.seen)(items.next()?);
        let payload = if item.storable { items.jsonb() } else { None };
        let payload = payload.map(|jsonb| JsonbRef(pg_sys::Datum::from(jsonb.as_ptr())));
        Some(self.row.columns(item, payload))
    }
}

/// The row that says that a body is malformed.
fn columns(error: Option<TextRef>) -> Columns {
    (
        None, None, None, None, None, None, None, None, None, None, None, None, None, error, None,
        None,
    )
}

/// The values of one row that Postgres refers to, as it stores them.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Buffer {
    /// Longest header of a value, with what aligns it.
    const HEADER: usize = 8;

    /// Number of values in a row at most.
    const VALUES: usize = 16;

    /// Makes room for values of this length all together, so that none of them moves.
    fn empty(&mut self, length: usize) {
        self.0.clear();
        self.0.reserve(length + Self::VALUES * Self::HEADER);
    }

    fn columns(&mut self, item: Item<'_>, payload: Option<JsonbRef>) -> Columns {
        let ordinal = i32::try_from(item.ordinal).ok();
        let length = |text: &Option<Cow<'_, str>>| text.as_deref().map_or(0, str::len);
        let cursor = item.cursor;
        let event = match item.event {
            Ok(event) => event,
            Err(reason) => {
                let reason = reason.to_string();
                self.empty(reason.len() + item.bytes.len() + length(&cursor));
                let error = Some(self.text(&reason));
                let item = Some(BytesRef(self.varlena(item.bytes)));
                let cursor = cursor.map(|cursor| self.text(&cursor));
                return (
                    ordinal, None, None, None, None, None, None, None, None, None, None, None,
                    payload, error, item, cursor,
                );
            }
        };
        let kind = event.kind.as_str();
        let texts = [
            event.channel,
            event.request_id,
            event.message_id,
            event.recipient,
            event.campaign,
            event.error_code,
            event.reason,
            cursor,
        ];
        let all = texts.iter().map(length).sum::<usize>();
        self.empty(size_of::<Ulid>() + kind.len() + event.provider_kind.len() + all);
        let event_id = event.event_id.map(|id| UlidRef(self.bytes(&id.to_bytes())));
        let kind = Some(self.text(kind));
        let provider_kind = Some(self.text(&event.provider_kind));
        let texts = texts.map(|text| text.map(|text| self.text(&text)));
        let [
            channel,
            request_id,
            message_id,
            recipient,
            campaign,
            error_code,
            reason,
            cursor,
        ] = texts;
        let occurred_at = event.occurred_at.map(|at| timestamptz(at.get()));
        (
            ordinal,
            event_id,
            kind,
            provider_kind,
            channel,
            occurred_at.transpose().unwrap_or_report(),
            request_id,
            message_id,
            recipient,
            campaign,
            error_code,
            reason,
            payload,
            None,
            None,
            cursor,
        )
    }

    fn text(&mut self, text: &str) -> TextRef {
        TextRef(self.varlena(text.as_bytes()))
    }

    /// Bytes with their length before them.
    fn varlena(&mut self, bytes: &[u8]) -> pg_sys::Datum {
        if let Some(header) = short_header(bytes.len()) {
            let datum = self.bytes(&[header]);
            self.0.extend(bytes);
            return datum;
        }
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        let datum = self.bytes(&varlena_header(bytes.len() + 4));
        self.0.extend(bytes);
        datum
    }

    /// The place of these bytes, once they are in the buffer.
    fn bytes(&mut self, bytes: &[u8]) -> pg_sys::Datum {
        let start = self.0.len();
        debug_assert!(start + bytes.len() <= self.0.capacity());
        self.0.extend(bytes);
        let place = self.0.get(start..).unwrap_or_default();
        pg_sys::Datum::from(place.as_ptr())
    }
}

/// The one byte with which Postgres begins a short value of this length.
fn short_header(length: usize) -> Option<u8> {
    let whole = u8::try_from(length + 1)
        .ok()
        .filter(|whole| *whole < 0x80)?;
    Some(if cfg!(target_endian = "big") {
        whole | 0x80
    } else {
        whole << 1 | 1
    })
}

/// Ends the statement if that was asked for.
fn interruptible() {
    pgrx::check_for_interrupts!();
}

/// The facts of a stored event that its payload tells.
fn facts<'a>(provider_name: &str, payload: &'a str) -> Result<Facts<'a>, ErrorReport> {
    let provider = provider(provider_name)?;
    require(room_for_text(payload.len()))?;
    Ok(provider.facts(payload))
}

/// The sender's own id of a subscriber, as the payload of a stored event says it.
#[pg_extern(sql = false)]
fn custom_id(provider_name: &str, payload: &str) -> Result<Option<String>, ErrorReport> {
    let custom_id = facts(provider_name, payload)?.custom_id;
    Ok(custom_id.map(Cow::into_owned))
}

/// What a send request came to, as the payload of a stored event says it.
#[pg_extern(sql = false)]
fn summary(provider_name: &str, payload: &str) -> Result<Option<JsonbRef>, ErrorReport> {
    let summary = facts(provider_name, payload)?.summary;
    // SAFETY: jsonb_in takes one cstring; pnstrdup makes one, in the memory of the call.
    let datum = summary.and_then(|json| unsafe {
        let text = pg_sys::pnstrdup(json.as_ptr().cast(), json.len());
        let argument = Some(pg_sys::Datum::from(text));
        pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[argument])
    });
    Ok(datum.map(JsonbRef))
}

/// When a recipient was asked for consent, as the payload of a stored event says it.
#[pg_extern(sql = false)]
fn asked_at(
    provider_name: &str,
    payload: &str,
) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    let asked_at = facts(provider_name, payload)?.asked_at;
    asked_at.map(|at| timestamptz(at.get())).transpose()
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
    // A UUID has four hyphens, and is forgiven a few more.
    (text.len() <= 64).then_some(())?;
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
