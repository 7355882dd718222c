//! Items of each provider, drawn field by field.

use jiff::Timestamp;
use proptest::{prelude::*, sample::subsequence};
use serde_json::Value;

/// What a provider's items are made of, and which fields tell them apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) provider: &'static str,
    pub(crate) fields: &'static [(&'static str, Form)],
    pub(crate) keys: &'static [&'static str],
    /// Whether the bytes are the identity: then equal items of a request are counted,
    /// if the provider sends batches, and an item that is written differently is another.
    pub(crate) bytes: bool,
    /// Whether the identity is derived, rather than the provider's own ULID.
    pub(crate) derived: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Text,
    Ulid,
    Number,
    Seconds,
    DateTime,
    Word(&'static [&'static str]),
    Object,
}

use Form::{DateTime, Number, Object, Seconds, Text, Word};

const PPOPPO: Shape = Shape {
    provider: "ppoppo",
    fields: &[
        ("event_id", Form::Ulid),
        ("send_request_id", Text),
        (
            "event_type",
            Word(&["RECIPIENT_DELIVERED", "CONSENT_GRANTED", "NEW"]),
        ),
        ("recipient", Object),
        ("occurred_at", DateTime),
    ],
    keys: &["event_id"],
    bytes: false,
    derived: false,
};

const PUSHWOOSH: Shape = Shape {
    provider: "pushwoosh",
    fields: &[
        ("event_name", Word(&["Push Sent", "Push Opened", "New"])),
        ("message_code", Text),
        ("hwid", Text),
        ("campaign_id", Number),
        ("timestamp", Seconds),
    ],
    keys: &[
        "event_name",
        "message_code",
        "hwid",
        "campaign_id",
        "timestamp",
    ],
    bytes: true,
    derived: true,
};

const ARPOONE: Shape = Shape {
    provider: "arpoone",
    fields: &[
        ("Msisdn", Text),
        (
            "Status",
            Word(&["PENDING", "DELIVERED", "NOT_DELIVERED", "NEW"]),
        ),
        ("MessageId", Text),
        ("OrganizationId", Text),
        ("ReportDescription", Text),
        ("ReportDateTime", DateTime),
        ("TotalSegments", Number),
        ("CustomPayload", Text),
    ],
    keys: &["MessageId", "Status", "ReportDateTime", "ReportDescription"],
    bytes: false,
    derived: true,
};

const PUSHPUSHGO: Shape = Shape {
    provider: "pushpushgo",
    fields: &[
        (
            "kind",
            Word(&[
                "transaction:message:delivered",
                "transaction:message:clicked",
                "transaction:message:error",
            ]),
        ),
        ("projectId", Text),
        ("subscriberId", Text),
        ("messageId", Text),
        ("provider", Text),
        ("clickAction", Number),
        ("reason", Text),
        ("payload", Object),
        ("ts", DateTime),
    ],
    keys: &["kind", "subscriberId", "messageId", "clickAction", "ts"],
    bytes: false,
    derived: true,
};

pub(crate) const SHAPES: [Shape; 14] = [
    PPOPPO,
    // An id that is no ULID, with and without a time.
    Shape {
        fields: &[
            ("event_id", Text),
            (
                "event_type",
                Word(&["RECIPIENT_DELIVERED", "CONSENT_GRANTED", "NEW"]),
            ),
            ("summary", Object),
            ("occurred_at", DateTime),
        ],
        keys: &["event_id", "occurred_at"],
        derived: true,
        ..PPOPPO
    },
    Shape {
        fields: &[("event_id", Text), ("recipient", Object)],
        derived: true,
        ..PPOPPO
    },
    PUSHWOOSH,
    Shape {
        fields: &[
            ("event_name", Word(&["Push Sent", "Push Opened", "New"])),
            ("live_activity_id", Text),
        ],
        keys: &["event_name", "live_activity_id"],
        ..PUSHWOOSH
    },
    // By gRPC, with and without a time.
    Shape {
        fields: &[
            ("uuid", Text),
            ("event_name", Word(&["Push Sent", "Push Opened", "New"])),
            ("hwid", Text),
            ("campaign_id", Number),
            ("timestamp", Seconds),
        ],
        keys: &["uuid", "timestamp"],
        bytes: false,
        ..PUSHWOOSH
    },
    Shape {
        fields: &[
            ("uuid", Text),
            ("event_name", Word(&["Push Sent", "Push Opened", "New"])),
        ],
        keys: &["uuid"],
        bytes: false,
        ..PUSHWOOSH
    },
    ARPOONE,
    Shape {
        fields: &[
            ("Msisdn", Text),
            ("Status", Word(&["PENDING", "DELIVERED", "NEW"])),
            ("MessageId", Text),
            ("ReportDescription", Text),
        ],
        keys: &["MessageId", "Status", "ReportDescription"],
        ..ARPOONE
    },
    // An e-mail event, and an inbound SMS.
    Shape {
        fields: &[
            ("EventType", Word(&["opened", "clicked", "NEW"])),
            ("Email", Text),
            ("MessageId", Text),
            ("Time", Seconds),
            ("EventDetails", Object),
        ],
        keys: &["EventType", "Email", "MessageId", "Time", "EventDetails"],
        ..ARPOONE
    },
    Shape {
        fields: &[
            ("Id", Text),
            ("OrganizationId", Text),
            ("ReceiveDateTime", DateTime),
            ("From", Text),
            ("Text", Text),
        ],
        keys: &["Id", "ReceiveDateTime"],
        ..ARPOONE
    },
    PUSHPUSHGO,
    Shape {
        fields: &[
            (
                "kind",
                Word(&[
                    "transaction:message:delivered",
                    "transaction:message:clicked",
                ]),
            ),
            ("subscriberId", Text),
            ("messageId", Text),
            ("clickAction", Number),
            ("payload", Object),
        ],
        keys: &["kind", "subscriberId", "messageId", "clickAction"],
        ..PUSHPUSHGO
    },
    // What the page does not describe.
    Shape {
        fields: &[
            (
                "kind",
                Word(&["campaign:finished", "transaction:message:sent", "new"]),
            ),
            ("campaignId", Text),
            ("subscriberId", Text),
            ("messageId", Text),
            ("ts", DateTime),
        ],
        keys: &["kind", "campaignId", "subscriberId", "messageId", "ts"],
        bytes: true,
        ..PUSHPUSHGO
    },
];

/// The values of an item, in the order of its shape's fields.
pub(crate) type Values = Vec<Value>;

impl Form {
    fn value(self) -> BoxedStrategy<Value> {
        match self {
            Text => "[a-c]{1,2}|[\\PC&&[^\u{0}]]{1,8}"
                .prop_map(Value::from)
                .boxed(),
            Self::Ulid => "[0-7][0-9A-HJKMNP-TV-Z]{25}".prop_map(Value::from).boxed(),
            Number => (0..4u32).prop_map(Value::from).boxed(),
            // Of ten digits: eight may be a date.
            Seconds => (1_000_000_000..2_000_000_000u32)
                .prop_map(Value::from)
                .boxed(),
            DateTime => (0..4_000_000_000_000i64)
                .prop_map(|ms| Value::from(Timestamp::from_millisecond(ms).unwrap().to_string()))
                .boxed(),
            Word(words) => prop::sample::select(words).prop_map(Value::from).boxed(),
            Object => ("[a-z]{1,3}", any::<i32>())
                .prop_map(|(name, value)| serde_json::json!({ name: value }))
                .boxed(),
        }
    }
}

impl Shape {
    pub(crate) fn values(self) -> impl Strategy<Value = Values> {
        let forms: Vec<_> = self.fields.iter().map(|(_, form)| form.value()).collect();
        forms
    }

    /// Two items that differ in at most two fields, and whether those are keys.
    pub(crate) fn pair(self) -> impl Strategy<Value = (Values, Values)> {
        let indices: Vec<usize> = (0..self.fields.len()).collect();
        (self.values(), self.values(), subsequence(indices, 0..=2)).prop_map(
            |(left, other, changed)| {
                let mut right = left.clone();
                for index in changed {
                    right[index] = other[index].clone();
                }
                (left, right)
            },
        )
    }

    /// Whether two items are the same event.
    pub(crate) fn same(self, left: &Values, right: &Values) -> bool {
        let keys = |values: &Values| -> Vec<Value> {
            self.fields
                .iter()
                .zip(values)
                .filter(|((name, _), _)| self.keys.contains(name))
                .map(|(_, value)| value.clone())
                .collect()
        };
        keys(left) == keys(right)
    }

    /// The item as its provider writes it.
    pub(crate) fn text(self, values: &Values) -> String {
        self.write(
            values,
            &(0..values.len()).collect::<Vec<_>>(),
            "",
            str::to_owned,
        )
    }

    /// The item with its fields in another order, with `blank` wherever JSON takes
    /// blanks, and its strings written by `string`.
    pub(crate) fn write(
        self,
        values: &Values,
        order: &[usize],
        blank: &str,
        string: impl Fn(&str) -> String,
    ) -> String {
        let fields: Vec<String> = order
            .iter()
            .map(|&index| {
                let name = self.fields[index].0;
                let value = string(&values[index].to_string());
                format!("{blank}\"{name}\"{blank}:{blank}{value}{blank}")
            })
            .collect();
        format!("{{{}}}", fields.join(","))
    }
}
