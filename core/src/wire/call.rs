//! A gRPC call that delivers events, as its provider's module describes it.

use super::status;

/// A gRPC call that delivers events, made by either side.
///
/// The names are those of the provider's own `.proto` file. A source whose schema has
/// other names maps them to these by [`Names`](super::Names).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The value of the option `stream` by which a source chooses this call among those
    /// of its provider; empty if the provider has one call only.
    pub stream: &'static str,
    /// `/package.Service/Method`
    pub method: &'static str,
    /// The file that describes the method.
    pub proto: Proto,
    /// The field that tells one event from another, and by which the event is found
    /// inside the messages of the stream. `outer.inner` is the field `inner` of the
    /// message in the event's field `outer`.
    pub key: &'static str,
    /// The field without which an event says nothing that is understood.
    pub needs: &'static str,
    /// Whether the event may be in a field beside its key, which is found when the event
    /// is read.
    pub beside: bool,
    /// A field that may be text in the schema and a `google.protobuf.Timestamp` on the wire.
    pub time: Option<&'static str>,
    /// The values of enums that are understood.
    pub values: &'static [&'static str],
    /// What a message of the stream may carry; `None` if it carries events alone.
    pub frame: Option<Frame>,
    pub role: Role,
    /// The call by which missing events are made up for; `None` if the provider has none.
    pub inquiry: Option<Inquiry>,
}

/// A unary call that returns the status of a send request and of its recipients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inquiry {
    /// `/package.Service/Method`
    pub method: &'static str,
    pub proto: Proto,
    /// The request's field for the id of the send request.
    pub id: &'static str,
    /// The answer's field for the request as a whole.
    pub summary: &'static str,
    /// The answer's list of recipients.
    pub recipients: &'static str,
}

/// A `.proto` file of this repository. It may import `google/protobuf/*`, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proto {
    /// Its path below `proto/`, which is its name in descriptors too.
    pub name: &'static str,
    pub text: &'static str,
}

/// A message of a stream that is a oneof: an event, or a word about the stream itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The member that holds the event.
    pub event: &'static str,
    /// The members that say that the stream is alive, and nothing else.
    pub alive: &'static [&'static str],
    /// The member that says that the request's cursor was too old: events between it and
    /// the next event are not in the stream.
    pub expired: Option<&'static str>,
}

/// Which side makes the call, and what the worker's own messages carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The worker calls, and the provider streams events.
    Dialed {
        /// The request's field that says where to resume; without it a stream could not
        /// be resumed, so every schema must have it.
        cursor: &'static str,
        start: Start,
        /// The options of a source that go into the request's field of the same name.
        filters: &'static [&'static str],
    },
    /// The provider calls and streams events, and the worker streams replies, each with
    /// the key of an event.
    Served {
        /// The reply's field that says whether the event has to be sent again.
        status: &'static str,
        /// The status, where it is a text, of an event that need not be sent again.
        success: &'static str,
        /// The field for the reason of a refusal, where a schema has it.
        reason: &'static str,
    },
}

/// The place where a stream begins if its request has no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest event that the provider has.
    Oldest,
    /// The next event that happens; those before it are not in the stream. Cursors are
    /// ULIDs, so that the smallest ULID of a moment is the cursor of that moment.
    LiveEdge,
}

impl Call {
    /// Whether the provider makes the call, to the worker.
    pub fn is_served(&self) -> bool {
        matches!(self.role, Role::Served { .. })
    }

    /// The options of a source that go into the request, each in the field of its name.
    pub fn filters(&self) -> &'static [&'static str] {
        match self.role {
            Role::Dialed { filters, .. } => filters,
            Role::Served { .. } => &[],
        }
    }

    /// The name of the method, without its service.
    pub fn method_name(&self) -> &'static str {
        self.method.rsplit('/').next().unwrap_or_default()
    }

    /// The event's own field of the key's path.
    pub(super) fn key_field(&self) -> &'static str {
        self.key.split('.').next().unwrap_or_default()
    }

    /// Whether a value of an enum has a name that is understood.
    pub(super) fn knows(&self, value: &str) -> bool {
        let value = value.to_ascii_uppercase();
        // A schema prefixes its values with the enum's name.
        self.values.iter().any(|known| value.ends_with(known))
            || self.is_served() && status::is_known(&value)
    }

    /// How its method streams, in words.
    pub(super) fn streams(&self) -> &'static str {
        match self.role {
            Role::Dialed { .. } => "stream its response and take one request",
            Role::Served { .. } => "stream both its requests and its responses",
        }
    }
}
