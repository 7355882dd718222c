//! The order of the document: an object stands with those that one uses beside it.

/// A chapter of the document.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) title: &'static str,
    /// What one does with it, as a line of the table of contents.
    pub(super) purpose: &'static str,
    /// Functions (all of one name), tables, views and types.
    pub(super) objects: &'static [&'static str],
}

/// Each public object stands in one of them; `page` fails where one does not.
pub(super) const GROUPS: &[Group] = &[
    Group {
        title: "Sources",
        purpose: "Add the accounts that send events, and keep their secrets.",
        objects: &[
            "add_source",
            "set_source_options",
            "rotate_secret",
            "rename_source",
            "webhook_paths",
            "set_source_enabled",
            "drop_source",
            "providers",
            "set_source_schema",
            "reset_source_schema",
            "source",
            "source_policy",
            "source_schema",
            "source_secret",
            "former_name",
            "dropped_source",
        ],
    },
    Group {
        title: "Ingestion",
        purpose: "Store what a provider sent, without the worker or as the worker does it.",
        objects: &[
            "ingest",
            "ingest_batch",
            "probe_ingest",
            "receipt",
            "verify",
            "find_source",
            "normalize",
            "normalized_event",
            "hmac_sha1",
            "verify_hmac_sha1",
        ],
    },
    Group {
        title: "Events",
        purpose: "Query the events, and see what was refused.",
        objects: &[
            "event",
            "find_messages",
            "message_events",
            "recipient_events",
            "request_events",
            "rejected",
            "replay_rejected",
            "undated",
        ],
    },
    Group {
        title: "State",
        purpose: "See the current state of messages, consents, subscribers and send requests.",
        objects: &[
            "message",
            "consent",
            "subscriber",
            "request",
            "request_summary",
            "rebuild_state",
        ],
    },
    Group {
        title: "Reading the log",
        purpose: "Follow the events in their order, from any position.",
        objects: &[
            "events_after",
            "read_log",
            "log_end",
            "log_horizon",
            "tick",
            "wake",
            "log_head",
            "rebuild_log",
        ],
    },
    Group {
        title: "Consumers",
        purpose: "Follow the log by name, so that each event has its effect exactly once.",
        objects: &[
            "create_consumer",
            "poll",
            "ack",
            "seek",
            "drop_consumer",
            "consumer",
            "lag",
        ],
    },
    Group {
        title: "Streams",
        purpose: "Watch the connections that the worker opens, and choose where they go on.",
        objects: &[
            "stream_status",
            "stream_cursor",
            "set_stream_cursor",
            "hold_streams",
            "release_streams",
            "report_stream",
            "stream_secret",
            "stream",
            "stream_lease",
            "stream_state",
        ],
    },
    Group {
        title: "Gaps",
        purpose: "See where events may be missing, and close the gap once they are recovered.",
        objects: &[
            "gap",
            "close_gap",
            "report_gap",
            "report_refusal",
            "requests_to_reconcile",
            "request_finals",
        ],
    },
    Group {
        title: "Upkeep",
        purpose: "Choose how long what is kept, and erase a person.",
        objects: &[
            "retention",
            "maintain",
            "maintained",
            "erase_recipient",
            "erased",
        ],
    },
    Group {
        title: "Roles",
        purpose: "Give roles the rights that readers and workers need.",
        objects: &["grant_reader", "grant_worker"],
    },
    Group {
        title: "ULIDs",
        purpose: "Work with the type of positions and event ids.",
        objects: &["gen_ulid", "ulid_at"],
    },
];
