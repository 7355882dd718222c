//! An event, as every provider's items become one.

use std::borrow::Cow;

use crate::{json::Object, kind::Kind, time::Micros, ulid::Ulid};

/// A function that is called at reasonable distances while a body is read, so that who asked for it
/// can end that by unwinding.
pub type Pause = fn();

/// The content of one item of a request, in our vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    /// Identity, the same however often the event arrives. `None` if nothing in the item
    /// distinguishes the event from others; then each delivery is an event of its own.
    pub event_id: Option<Ulid>,
    pub kind: Kind,
    /// The provider's own name of the kind.
    pub provider_kind: Cow<'a, str>,
    /// `sms`, `push`, `email`, `chat`, or the provider's word in lower case.
    pub channel: Option<Cow<'a, str>>,
    /// Time by the provider's clock; `None` if the item carries no time. An event that
    /// has a time has an id as well.
    pub occurred_at: Option<Micros>,
    /// The send request that the message belongs to.
    pub request_id: Option<Cow<'a, str>>,
    pub message_id: Option<Cow<'a, str>>,
    /// The recipient of the message: a phone number, an address, a device or a
    /// subscriber.
    pub recipient: Option<Cow<'a, str>>,
    pub campaign: Option<Cow<'a, str>>,
    pub error_code: Option<Cow<'a, str>>,
    pub reason: Option<Cow<'a, str>>,
}

/// Limit on a request, message or recipient id, in bytes. Two of them must fit into one
/// entry of a btree, because otherwise storing the event would be an ERROR for its whole
/// batch.
pub const MAX_KEY: usize = 1000;

impl Event<'_> {
    /// Refuses an event whose ids are too long for an index.
    pub(crate) fn check_keys(self) -> Result<Self, ItemError> {
        let keys = [
            ("the request id", &self.request_id),
            ("the message id", &self.message_id),
            ("the recipient", &self.recipient),
        ];
        for (field, key) in keys {
            let bytes = key.as_deref().map_or(0, str::len);
            if bytes > MAX_KEY {
                return Err(ItemError::TooLong { field, bytes });
            }
        }
        Ok(self)
    }
}

/// Facts about an item that SQL needs beside its event, and that only some providers
/// have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The cursor of the item's stream after the item.
    pub cursor: Option<Cow<'a, str>>,
    /// The sender's own id of the subscriber.
    pub custom_id: Option<Cow<'a, str>>,
    /// The summary of the send request, as JSON.
    pub summary: Option<&'a str>,
    /// When the send request added the recipient, and asked for consent if there was none.
    pub asked_at: Option<Micros>,
}

impl Facts<'_> {
    /// The facts of a provider that says none of them.
    pub(crate) fn none<'a>(_: Object<'a, '_>) -> Facts<'a> {
        Facts::default()
    }
}

/// One item of a request, with its place in the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Item<'a> {
    /// Number of the item in the request, from 1.
    pub ordinal: u32,
    /// The item as sent. One that is not JSON need not be text in UTF-8 either.
    pub bytes: &'a [u8],
    /// Whether the item can be stored as `jsonb`.
    pub storable: bool,
    /// [`Facts::cursor`], also of an item that is no event: its stream goes on behind it.
    pub cursor: Option<Cow<'a, str>>,
    pub event: Result<Event<'a>, ItemError>,
}

impl<'a> Item<'a> {
    /// The item as text; empty if it is none.
    pub fn text(&self) -> &'a str {
        str::from_utf8(self.bytes).unwrap_or_default()
    }
}

/// Why one item is not an event. The other items of its request are not affected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ItemError {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{field} is not {expected}")]
    Invalid {
        field: &'static str,
        expected: &'static str,
    },
    #[error("{field} has {bytes} bytes, more than the {limit} that are indexed", limit = MAX_KEY)]
    TooLong { field: &'static str, bytes: usize },
    #[error("the item is {0}, not an object")]
    NotAnObject(&'static str),
    #[error("the item is not JSON: {0}")]
    NotJson(String),
    #[error("the body ends inside of its array, so that the end of the item is not certain")]
    Unended,
    #[error("the item cannot be stored as jsonb: {0}")]
    NotStorable(String),
}

/// Why a whole body cannot be cut into items.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the body is empty")]
    Empty,
    #[error("the body has {0} bytes, more than the {limit} that are read", limit = crate::json::MAX_BODY)]
    TooLarge(usize),
    #[error("the body has more than the {limit} items that are read", limit = crate::json::MAX_ITEMS)]
    TooMany,
    #[error("the body is in UTF-16 or UTF-32, and JSON is sent in UTF-8")]
    Utf16,
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    #[error("the body is {0}, not an object or an array of objects")]
    NotItems(&'static str),
}
