//! What a provider's gRPC call needs of its schema, in our names.

use super::status;

/// A call that delivers events, by either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub(super) provider: &'static str,
    /// The field that tells one event from another, and by which the event is found
    /// inside the messages of the stream.
    pub(super) key: &'static str,
    /// The field without which an event says nothing that is understood.
    pub(super) needs: &'static str,
    /// Whether the event may be in a field beside its key, which is found when it is read.
    pub(super) beside: bool,
    /// A field that may be text in the schema and a `google.protobuf.Timestamp` on the wire.
    pub(super) time: Option<&'static str>,
    /// The values of enums that are understood.
    values: &'static [&'static str],
    pub(super) kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// We call, and the server streams events. The request may carry these fields; the
    /// first one it must have, as a stream could not be resumed without it.
    Dialed {
        cursor: &'static str,
        filters: &'static [&'static str],
    },
    /// The provider calls and streams events, and we stream replies that carry the
    /// event's key and a status, and may carry the reason of a refusal.
    Served {
        status: &'static str,
        reason: &'static str,
    },
}

impl Call {
    /// Ppoppo's stream of an app's events.
    pub const PPOPPO: Self = Self {
        provider: "ppoppo",
        key: "event_id",
        needs: "event_type",
        beside: false,
        time: Some("occurred_at"),
        values: &[
            "RECIPIENT_DELIVERED",
            "RECIPIENT_FAILED",
            "RECIPIENT_PENDING_CONSENT",
            "CONSENT_GRANTED",
            "CONSENT_DENIED",
            "REQUEST_COMPLETED",
            "POLL_RESPONSE_RECEIVED",
        ],
        kind: Kind::Dialed {
            cursor: "after_event_id",
            filters: &["send_request_id"],
        },
    };

    /// Pushwoosh's push of events.
    pub const PUSHWOOSH: Self = Self {
        provider: "pushwoosh",
        key: "uuid",
        needs: "event_name",
        beside: true,
        time: None,
        values: &[],
        kind: Kind::Served {
            status: "status",
            reason: "reason",
        },
    };

    /// The call of this provider, if its events come by gRPC.
    pub fn of(provider: &str) -> Option<Self> {
        [Self::PPOPPO, Self::PUSHWOOSH]
            .into_iter()
            .find(|call| call.provider == provider)
    }

    /// Whether a value of an enum has a name that is understood.
    pub(super) fn knows(self, value: &str) -> bool {
        let served = matches!(self.kind, Kind::Served { .. });
        let value = value.to_ascii_uppercase();
        // A schema prefixes its values with the enum's name.
        self.values.iter().any(|known| value.ends_with(known)) || served && status::is_known(&value)
    }

    /// How its method streams, in words.
    pub(super) fn streams(self) -> &'static str {
        match self.kind {
            Kind::Dialed { .. } => "stream its response and take one request",
            Kind::Served { .. } => "stream both its requests and its responses",
        }
    }
}
