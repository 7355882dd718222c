//! What a provider's gRPC call needs of its schema, in our names.

/// A call that delivers events, by either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub(super) provider: &'static str,
    /// The field that tells one event from another, and by which the event is found
    /// inside the messages of the stream.
    pub(super) key: &'static str,
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
        kind: Kind::Dialed {
            cursor: "after_event_id",
            filters: &["send_request_id"],
        },
    };

    /// Pushwoosh's push of events.
    pub const PUSHWOOSH: Self = Self {
        provider: "pushwoosh",
        key: "uuid",
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

    /// How its method streams, in words.
    pub(super) fn streams(self) -> &'static str {
        match self.kind {
            Kind::Dialed { .. } => "stream its response and take one request",
            Kind::Served { .. } => "stream both its requests and its responses",
        }
    }
}
