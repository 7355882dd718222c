//! The metrics: their names and their meaning.
//!
//! `source` is a label only for sources that Postgres knows, so that a client cannot
//! create new series by requesting new names.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub(crate) const REQUESTS: &str = "tidings_worker_requests_total";
pub(crate) const EVENTS: &str = "tidings_worker_events_total";
pub(crate) const REFUSED_EARLY: &str = "tidings_worker_refused_early_total";
pub(crate) const PUSH_REFUSED: &str = "tidings_worker_push_streams_refused_total";
pub(crate) const UNMATCHED: &str = "tidings_worker_http_unmatched_total";
pub(crate) const COMMIT_SECONDS: &str = "tidings_worker_commit_seconds";
pub(crate) const BATCH_REQUESTS: &str = "tidings_worker_batch_requests";
pub(crate) const DATABASE_ERRORS: &str = "tidings_worker_database_errors_total";
pub(crate) const DATABASE_UP: &str = "tidings_worker_database_up";
pub(crate) const PENDING_REQUESTS: &str = "tidings_worker_pending_requests";
pub(crate) const PENDING_BYTES: &str = "tidings_worker_pending_bytes";
pub(crate) const HTTP_CONNECTIONS: &str = "tidings_worker_http_connections";
pub(crate) const GRPC_CONNECTIONS: &str = "tidings_worker_grpc_connections";
pub(crate) const GRPC_REFUSED: &str = "tidings_worker_grpc_connections_refused_total";
pub(crate) const PUSH_STREAMS: &str = "tidings_worker_push_streams";
pub(crate) const STREAM_CONNECTED: &str = "tidings_worker_stream_connected";
pub(crate) const STREAM_STATE: &str = "tidings_worker_stream_state";
pub(crate) const STREAM_LEASE: &str = "tidings_worker_stream_lease";
pub(crate) const STREAM_FAILURES: &str = "tidings_worker_stream_failures";
pub(crate) const STREAM_NEXT_TRY: &str = "tidings_worker_stream_next_try_timestamp_seconds";
pub(crate) const STREAM_LAST_EVENT: &str = "tidings_worker_stream_last_event_timestamp_seconds";
pub(crate) const STREAM_ENDS: &str = "tidings_worker_stream_ends_total";
pub(crate) const GAPS: &str = "tidings_worker_gaps_total";
pub(crate) const OPEN_GAPS: &str = "tidings_worker_open_gaps";
pub(crate) const RECONCILED: &str = "tidings_worker_reconciled_requests_total";
pub(crate) const TOKEN_REFRESHES: &str = "tidings_worker_token_refreshes_total";
pub(crate) const UPKEEP: &str = "tidings_worker_upkeep_total";
pub(crate) const LOG_DROPPED: &str = "tidings_worker_log_dropped_total";
pub(crate) const CERTIFICATE_RELOADS: &str = "tidings_worker_certificate_reloads_total";
pub(crate) const SPOOL_REQUESTS: &str = "tidings_worker_spool_requests";
pub(crate) const SPOOL_BYTES: &str = "tidings_worker_spool_bytes";
pub(crate) const SPOOL_OLDEST: &str = "tidings_worker_spool_oldest_seconds";
pub(crate) const SPOOL_DAMAGED: &str = "tidings_worker_spool_damaged_requests";
pub(crate) const SPOOLED: &str = "tidings_worker_spooled_total";
pub(crate) const SPOOL_DRAINED: &str = "tidings_worker_spool_drained_total";
// Metrics of the process, with the names that Prometheus's own clients use.
pub(crate) const PROCESS_MEMORY: &str = "process_resident_memory_bytes";
pub(crate) const PROCESS_FDS: &str = "process_open_fds";
pub(crate) const PROCESS_MAX_FDS: &str = "process_max_fds";
/// Values of the label `path`.
pub(crate) const HOOKS: &str = "hooks";
pub(crate) const OTHER: &str = "other";
const BUILD_INFO: &str = "tidings_worker_build_info";

/// Commits: 0.5 ms to 16 s.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0,
    16.0,
];
const REQUEST_COUNTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Installs the recorder of the process, which is read through the handle.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(COMMIT_SECONDS.to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_REQUESTS.to_owned()), &REQUEST_COUNTS)?
        .install_recorder()?;
    describe();
    begin();
    Ok(handle)
}

/// Creates the series without labels at the start, so that they read as zero before
/// anything has happened, and `rate()` includes the first step.
fn begin() {
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for name in [DATABASE_UP, GRPC_CONNECTIONS, PUSH_STREAMS] {
        gauge!(name).set(0.0);
    }
    counter!(GRPC_REFUSED).absolute(0);
    counter!(LOG_DROPPED).absolute(0);
    for path in [HOOKS, OTHER] {
        counter!(UNMATCHED, "path" => path).absolute(0);
    }
}

fn describe() {
    describe_counter!(
        REQUESTS,
        "Requests that were brought to Postgres, by source and outcome (accepted, unauthorized, malformed, unknown_source, disabled, fenced, commit_failed, declined)"
    );
    describe_counter!(
        EVENTS,
        "Events of committed requests, by source and result (inserted, duplicate, rejected)"
    );
    describe_counter!(
        REFUSED_EARLY,
        "Webhooks that the worker refused by itself, by the word in the answer, such as unknown_source, too_large, busy, sources_unread, commit_timeout, spool_full or spool_failed"
    );
    describe_counter!(
        PUSH_REFUSED,
        "gRPC push streams that were not opened, by reason (unknown_source, takes_no_pushes, disabled, unauthorized, sources_unread, wrong_method, unusable_schema, too_many_streams)"
    );
    describe_counter!(
        UNMATCHED,
        "HTTP requests whose path nothing serves, by path (hooks: under /hooks; other)"
    );
    describe_counter!(
        UPKEEP,
        "Calls of tidings.maintain, by result (done, failed)"
    );
    describe_counter!(
        LOG_DROPPED,
        "Lines of the log that were dropped, because stderr was not read or could not be written"
    );
    describe_counter!(
        CERTIFICATE_RELOADS,
        "Changes of the TLS certificate's files, by result (ok, refused)"
    );
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "Time of one ingest statement, with its commit"
    );
    describe_histogram!(BATCH_REQUESTS, "Requests in one ingest statement");
    describe_counter!(
        DATABASE_ERRORS,
        "Failed ingest attempts, by what happens next (retry, reconnect, isolate, refuse)"
    );
    describe_gauge!(
        DATABASE_UP,
        "1 while Postgres is reachable and its sources can be read"
    );
    describe_gauge!(
        PENDING_REQUESTS,
        "Requests being received or waiting for their commit"
    );
    describe_gauge!(PENDING_BYTES, Unit::Bytes, "Bytes held by pending requests");
    describe_gauge!(HTTP_CONNECTIONS, "Open HTTP connections");
    describe_gauge!(GRPC_CONNECTIONS, "Open gRPC connections");
    describe_counter!(
        GRPC_REFUSED,
        "gRPC connections that were closed at once, as --grpc-connections were open"
    );
    describe_gauge!(
        PROCESS_MEMORY,
        Unit::Bytes,
        "Resident memory of the process"
    );
    describe_gauge!(PROCESS_FDS, "Open file descriptors");
    describe_gauge!(PROCESS_MAX_FDS, "File descriptors that may be open at most");
    describe_gauge!(PUSH_STREAMS, "Open gRPC push streams");
    describe_gauge!(
        STREAM_CONNECTED,
        "1 while a dialed stream is open, by source"
    );
    describe_gauge!(
        STREAM_STATE,
        "1 for the state that a dialed stream is in, by source and state (connecting, connected, waiting, stopped, ended)"
    );
    describe_gauge!(
        STREAM_LEASE,
        "1 while this worker holds the lease of a dialed stream, 0 while another one does, by source"
    );
    describe_gauge!(
        STREAM_FAILURES,
        "Attempts in a row that failed to follow a stream, by source"
    );
    describe_gauge!(
        STREAM_NEXT_TRY,
        Unit::Seconds,
        "When a stream is dialed again, in seconds since 1970, by source; 0 while nothing is planned"
    );
    describe_gauge!(
        STREAM_LAST_EVENT,
        Unit::Seconds,
        "When an event of a stream was last committed, in seconds since 1970, by source"
    );
    describe_counter!(
        STREAM_ENDS,
        "Ends of dialed streams and failed attempts at them, by source and reason (clean, idle, cut, failed, unauthenticated, occupied, refused)"
    );
    describe_counter!(
        GAPS,
        "Gaps that this worker reported, by source and cause (cursor_expired, started_at_live_edge, spool_discarded, provider_gave_up)"
    );
    describe_gauge!(
        OPEN_GAPS,
        "Gaps that are not closed, by source, as tidings.gap has them"
    );
    describe_counter!(
        RECONCILED,
        "Send requests that a provider was asked about, because events may be missing, by source and outcome (answered, unknown, failed)"
    );
    describe_counter!(
        TOKEN_REFRESHES,
        "Tokens asked of a token endpoint, by source and result (ok, refused, failed)"
    );
    describe_gauge!(
        SPOOL_REQUESTS,
        "Requests in the spool: answered 200, not yet in Postgres; without damaged ones"
    );
    describe_gauge!(
        SPOOL_BYTES,
        Unit::Bytes,
        "Bytes of the requests in the spool; without damaged ones"
    );
    describe_gauge!(
        SPOOL_OLDEST,
        Unit::Seconds,
        "Age of the oldest request in the spool; 0 while it is empty"
    );
    describe_gauge!(
        SPOOL_DAMAGED,
        "Damaged requests in the spool: answered 200, kept, and not brought to Postgres"
    );
    describe_counter!(
        SPOOLED,
        "Requests offered to the spool, by result (stored, full, failed)"
    );
    describe_counter!(
        SPOOL_DRAINED,
        "Requests that left the spool, by outcome (accepted, unauthorized, malformed, unknown_source)"
    );
    describe_gauge!(BUILD_INFO, "1, with the version of the worker");
}
