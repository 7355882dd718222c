//! The metrics: their names and their meaning.
//!
//! `source` is a label only for sources that Postgres knows, so that a client cannot
//! create new series by requesting new names.

use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::gauges;

pub(crate) const REQUESTS: &str = "tidings_worker_requests_total";
pub(crate) const EVENTS: &str = "tidings_worker_events_total";
pub(crate) const REFUSED_EARLY: &str = "tidings_worker_refused_early_total";
pub(crate) const PUSH_REFUSED: &str = "tidings_worker_push_streams_refused_total";
pub(crate) const REFUSED_KEPT: &str = "tidings_worker_refused_kept_total";
pub(crate) const HOOK_PROBES: &str = "tidings_worker_hook_probes_total";
pub(crate) const HTTP_BROKEN: &str = "tidings_worker_http_broken_total";
pub(crate) const UNMATCHED: &str = "tidings_worker_http_unmatched_total";
pub(crate) const COMMIT_SECONDS: &str = "tidings_worker_commit_seconds";
pub(crate) const BATCH_REQUESTS: &str = "tidings_worker_batch_requests";
pub(crate) const DATABASE_ERRORS: &str = "tidings_worker_database_errors_total";
pub(crate) const DATABASE_UP: &str = "tidings_worker_database_up";
pub(crate) const CONTROL_UP: &str = "tidings_worker_control_up";
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
pub(crate) const REQUEST_SECONDS: &str = "tidings_worker_request_seconds";
pub(crate) const LAST_EVENT: &str = "tidings_worker_source_last_event_timestamp_seconds";
pub(crate) const UPKEEP_LAST_SUCCESS: &str = "tidings_worker_upkeep_last_success_timestamp_seconds";
pub(crate) const CERTIFICATE_EXPIRES: &str =
    "tidings_worker_tls_certificate_expiry_timestamp_seconds";
pub(crate) const CONSUMER_BEHIND: &str = "tidings_worker_consumer_behind_events";
pub(crate) const CONSUMER_AGE: &str = "tidings_worker_consumer_oldest_event_age_seconds";
pub(crate) const HORIZON_AGE: &str = "tidings_worker_log_horizon_age_seconds";
pub(crate) const SOURCE_REQUESTS: &str = "tidings_worker_source_pending_requests";
pub(crate) const SOURCE_BYTES: &str = "tidings_worker_source_pending_bytes";
pub(crate) const GRPC_BYTES: &str = "tidings_worker_grpc_pending_bytes";
// Limits, beside what they bound.
pub(crate) const PENDING_REQUESTS_LIMIT: &str = "tidings_worker_pending_requests_limit";
pub(crate) const PENDING_BYTES_LIMIT: &str = "tidings_worker_pending_bytes_limit";
pub(crate) const SOURCE_REQUESTS_LIMIT: &str = "tidings_worker_source_pending_requests_limit";
pub(crate) const SOURCE_BYTES_LIMIT: &str = "tidings_worker_source_pending_bytes_limit";
pub(crate) const GRPC_BYTES_LIMIT: &str = "tidings_worker_grpc_pending_bytes_limit";
pub(crate) const HTTP_CONNECTIONS_LIMIT: &str = "tidings_worker_http_connections_limit";
pub(crate) const GRPC_CONNECTIONS_LIMIT: &str = "tidings_worker_grpc_connections_limit";
pub(crate) const PUSH_STREAMS_LIMIT: &str = "tidings_worker_push_streams_limit";
pub(crate) const SPOOL_BYTES_LIMIT: &str = "tidings_worker_spool_bytes_limit";
pub(crate) const BATCH_REQUESTS_LIMIT: &str = "tidings_worker_batch_requests_limit";
pub(crate) const BATCH_BYTES_LIMIT: &str = "tidings_worker_batch_bytes_limit";
/// Values of the label `reason` of [`HTTP_BROKEN`].
pub(crate) const MALFORMED: &str = "malformed";
pub(crate) const HEAD_TOO_LARGE: &str = "head_too_large";
pub(crate) const TIMEOUT: &str = "timeout";
/// Values of the label `path`.
pub(crate) const HOOKS: &str = "hooks";
pub(crate) const OTHER: &str = "other";
const BUILD_INFO: &str = "tidings_worker_build_info";

/// Commits: 0.5 ms to 16 s.
const SECONDS: [f64; 16] = [
    0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0,
    16.0,
];
/// Buckets for the times of answers: 1 ms to 30 s.
const ANSWER_SECONDS: [f64; 14] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];
const REQUEST_COUNTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];

/// Installs the recorder of the process, which is read through the handle.
pub(crate) fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(COMMIT_SECONDS.to_owned()), &SECONDS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_REQUESTS.to_owned()), &REQUEST_COUNTS)?
        .set_buckets_for_metric(Matcher::Full(REQUEST_SECONDS.to_owned()), &ANSWER_SECONDS)?
        .install_recorder()?;
    describe();
    gauges::describe();
    begin();
    Ok(handle)
}

/// Creates the series without a label from elsewhere at the start, so that they read as zero
/// before anything has happened, and `rate()` includes the first step. Those whose labels
/// belong to other parts are created in `run`.
pub(crate) fn begin() {
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for name in [
        DATABASE_UP,
        CONTROL_UP,
        GRPC_CONNECTIONS,
        PUSH_STREAMS,
        UPKEEP_LAST_SUCCESS,
    ] {
        gauge!(name).set(0.0);
    }
    counter!(GRPC_REFUSED).increment(0);
    for reason in [MALFORMED, HEAD_TOO_LARGE, TIMEOUT] {
        zero(HTTP_BROKEN, "reason", reason);
    }
    counter!(LOG_DROPPED).increment(0);
    for path in [HOOKS, OTHER] {
        zero(UNMATCHED, "path", path);
    }
    for name in [COMMIT_SECONDS, BATCH_REQUESTS] {
        let _ = histogram!(name);
    }
}

/// Creates the series of a counter with this label.
pub(crate) fn zero(name: &'static str, label: &'static str, value: &'static str) {
    counter!(name, label => value).increment(0);
}

/// Creates the series of a counter with a source and this label.
pub(crate) fn zero_of(
    source: &str,
    name: &'static str,
    label: &'static str,
    values: impl IntoIterator<Item = &'static str>,
) {
    for value in values {
        counter!(name, "source" => source.to_owned(), label => value).increment(0);
    }
}

/// A time in seconds since 1970.
pub(crate) fn unix(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
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
        "Webhooks that the worker refused by itself, by source (empty if it is not known) and by the word in the answer, such as unknown_source, not_found, too_large, unsupported_encoding, busy, sources_unread, commit_timeout, spool_full or spool_failed"
    );
    describe_counter!(
        PUSH_REFUSED,
        "gRPC push streams that were not opened, by reason (unknown_source, takes_no_pushes, disabled, unauthorized, sources_unread, wrong_method, unusable_schema, too_many_streams, too_many_streams_of_source, too_many_calls)"
    );
    describe_counter!(
        REFUSED_KEPT,
        "Webhooks of known sources that were answered 4xx before Postgres saw them, by source and result (kept: in tidings.rejected; dropped: too many at once, or Postgres was away)"
    );
    describe_counter!(HOOK_PROBES, "GET and HEAD requests to webhooks, by source");
    describe_counter!(
        HTTP_BROKEN,
        "HTTP connections that ended because of what was sent, by reason (malformed: not HTTP, answered 400; head_too_large: closed, or answered 431; timeout: no head in time)"
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
        "Failed ingest attempts, by what happens next (retry, reconnect, unconnected, isolate, refuse)"
    );
    describe_gauge!(
        DATABASE_UP,
        "1 while Postgres takes requests, as commits show, or probes where there are none"
    );
    describe_gauge!(
        CONTROL_UP,
        "1 while the control connection is there, over which the worker reads its sources and holds leases"
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
        "gRPC connections that were closed because --grpc-connections were open: the new one, or one without a push stream"
    );
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
    describe_limits();
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "Time from the first byte of a webhook's head, or from the last event of a push's chunk, to the answer, by route (webhook, push) and outcome (committed, spooled, refused, unavailable)"
    );
    describe_gauge!(
        LAST_EVENT,
        Unit::Seconds,
        "When a request of the source was last accepted by this worker, in seconds since 1970; until then, when the worker learned of the source; NaN while the source is disabled, and after it was dropped"
    );
    describe_gauge!(
        CONSUMER_BEHIND,
        "Events that a consumer has not acknowledged, as tidings.lag has them; NaN if that cannot be read, and after the consumer was dropped"
    );
    describe_gauge!(
        CONSUMER_AGE,
        Unit::Seconds,
        "How long ago the first event that a consumer has not acknowledged was received; 0 if there is none"
    );
    describe_gauge!(
        HORIZON_AGE,
        Unit::Seconds,
        "How far the horizon of the log, up to which readers get events, is behind the clock"
    );
    describe_gauge!(
        UPKEEP_LAST_SUCCESS,
        Unit::Seconds,
        "When tidings.maintain last succeeded, in seconds since 1970; 0 before"
    );
    describe_gauge!(
        CERTIFICATE_EXPIRES,
        Unit::Seconds,
        "When the certificate that is served expires, in seconds since 1970"
    );
    describe_gauge!(BUILD_INFO, "1, with the version of the worker");
}

fn describe_limits() {
    describe_gauge!(
        SOURCE_REQUESTS,
        "Pending requests of the source that has most of them"
    );
    describe_gauge!(
        SOURCE_BYTES,
        Unit::Bytes,
        "Bytes held by the pending requests of the source that holds most"
    );
    describe_gauge!(
        GRPC_BYTES,
        Unit::Bytes,
        "Bytes that arrived over gRPC and whose events are not answered yet"
    );
    describe_gauge!(
        PENDING_REQUESTS_LIMIT,
        "Limit on pending requests (--pending-requests)"
    );
    describe_gauge!(
        PENDING_BYTES_LIMIT,
        Unit::Bytes,
        "Limit on the bytes held by pending requests (--pending-bytes)"
    );
    describe_gauge!(
        SOURCE_REQUESTS_LIMIT,
        "Limit on the pending requests of one source (--source-share)"
    );
    describe_gauge!(
        SOURCE_BYTES_LIMIT,
        Unit::Bytes,
        "Limit on the bytes held by the pending requests of one source (--source-share)"
    );
    describe_gauge!(
        GRPC_BYTES_LIMIT,
        Unit::Bytes,
        "Limit on the bytes that arrived over gRPC and whose events are not answered yet"
    );
    describe_gauge!(
        HTTP_CONNECTIONS_LIMIT,
        "Limit on open HTTP connections (--http-connections, or what the file descriptors allow)"
    );
    describe_gauge!(
        GRPC_CONNECTIONS_LIMIT,
        "Limit on open gRPC connections (--grpc-connections)"
    );
    describe_gauge!(
        PUSH_STREAMS_LIMIT,
        "Limit on open gRPC push streams (--push-streams)"
    );
    describe_gauge!(
        SPOOL_BYTES_LIMIT,
        Unit::Bytes,
        "Limit on the bytes of the requests in the spool (--spool-bytes)"
    );
    describe_gauge!(
        BATCH_REQUESTS_LIMIT,
        "Limit on the requests in one ingest statement (--batch-requests)"
    );
    describe_gauge!(
        BATCH_BYTES_LIMIT,
        Unit::Bytes,
        "Limit on the bytes in one ingest statement (--batch-bytes)"
    );
}
