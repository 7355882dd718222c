//! The series of the metrics whose labels are known before anything happens.
//!
//! A counter whose first series appears with the value 3 has grown by 3, and no query can
//! see it: `increase()` needs a value before. Each counter therefore has all its series from
//! the start of the worker, or from when the worker learns of their source. A counter stays
//! after its source was dropped, because a counter that vanishes is read as one that starts
//! again.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use metrics::{counter, gauge, histogram};
use strum::IntoEnumIterator;
use tokio::sync::watch;

use super::descriptors::Room;
use crate::{
    admission::budget::{self, Payer},
    dial::{options::Dial, token},
    gaps::report,
    inbound::{grpc::push, http, tls},
    pipeline::outcomes,
    postgres::{failure::Next, upkeep},
    process::metric::{self, zero, zero_of},
    reconcile,
    settings::LimitArgs,
    sources::source::{Snapshot, Source},
    spool,
    stream::{gap, retry},
};

/// Creates the series that belong to no source.
pub(super) fn begin() {
    for next in Next::iter() {
        zero(metric::DATABASE_ERRORS, "next", next.as_str());
    }
    // Those of names that are no source's.
    zero_of("", metric::REFUSED_EARLY, "reason", http::CAUSES);
    for cause in push::CAUSES {
        zero(metric::PUSH_REFUSED, "reason", cause);
    }
    for result in upkeep::RESULTS {
        zero(metric::UPKEEP, "result", result);
    }
    for result in tls::RESULTS {
        zero(metric::CERTIFICATE_RELOADS, "result", result);
    }
    for result in spool::RESULTS {
        zero(metric::SPOOLED, "result", result);
    }
    for outcome in spool::drain::outcomes() {
        zero(metric::SPOOL_DRAINED, "outcome", outcome);
    }
    for outcome in http::OUTCOMES {
        let _ = histogram!(metric::REQUEST_SECONDS, "route" => "webhook", "outcome" => outcome);
    }
    for outcome in push::OUTCOMES {
        let _ = histogram!(metric::REQUEST_SECONDS, "route" => "push", "outcome" => outcome);
    }
}

/// Sets the limits beside the gauges of what they bound.
pub(super) fn limits(limits: &LimitArgs, budget: budget::Limits, room: &Room) {
    let (source, wire) = (budget.of(&Payer::Source("".into())), budget.of_wire());
    for (name, limit) in [
        (metric::PENDING_REQUESTS_LIMIT, f64::from(budget.requests)),
        (metric::PENDING_BYTES_LIMIT, f64::from(budget.bytes)),
        (metric::SOURCE_REQUESTS_LIMIT, f64::from(source.requests)),
        (metric::SOURCE_BYTES_LIMIT, f64::from(source.bytes)),
        (metric::GRPC_BYTES_LIMIT, f64::from(wire.bytes)),
        (metric::HTTP_CONNECTIONS_LIMIT, room.http as f64),
        (metric::GRPC_CONNECTIONS_LIMIT, room.grpc as f64),
        (metric::PUSH_STREAMS_LIMIT, f64::from(limits.push_streams)),
        (metric::SPOOL_BYTES_LIMIT, f64::from(limits.spool_bytes.0)),
        (
            metric::BATCH_REQUESTS_LIMIT,
            f64::from(limits.batch_requests),
        ),
        (metric::BATCH_BYTES_LIMIT, f64::from(limits.batch_bytes.0)),
    ] {
        gauge!(name).set(limit);
    }
}

/// Creates the series of each source that the worker learns of, for ever.
pub(super) async fn follow(mut snapshot: watch::Receiver<Snapshot>) {
    let mut awaited = HashSet::new();
    loop {
        let now = snapshot.borrow_and_update().sources.clone();
        if let Some(sources) = now {
            sources.values().for_each(|source| of_source(source));
            let enabled = sources.values().filter(|source| source.enabled);
            await_events(
                &mut awaited,
                enabled.map(|source| source.name.clone()).collect(),
            );
        }
        if snapshot.changed().await.is_err() {
            return;
        }
    }
}

/// Creates the series of a source.
fn of_source(source: &Source) {
    let (name, is_dialed) = (source.name.as_ref(), source.is_dialed());
    outcomes::begin(name, is_dialed);
    if !is_dialed {
        zero_of(name, metric::REFUSED_EARLY, "reason", http::CAUSES);
        zero_of(name, metric::REFUSED_KEPT, "result", http::KEPT);
        counter!(metric::HOOK_PROBES, "source" => name.to_owned()).increment(0);
        let causes = report::Cause::iter().map(report::Cause::as_str);
        return zero_of(name, metric::GAPS, "cause", causes);
    }
    let causes = gap::Cause::iter().map(gap::Cause::as_str);
    zero_of(name, metric::GAPS, "cause", causes);
    let ends = retry::Cause::iter().map(retry::Cause::as_str);
    zero_of(name, metric::STREAM_ENDS, "reason", ends);
    if source.question().is_ok() {
        zero_of(name, metric::RECONCILED, "outcome", reconcile::OUTCOMES);
    }
    let dial = Dial::new(&source.provider, &source.options);
    if dial.is_ok_and(|dial| dial.oauth.is_some()) {
        zero_of(name, metric::TOKEN_REFRESHES, "result", token::RESULTS);
    }
}

/// Sets the time of the last event of each source that events are awaited of now, and was not
/// before, to now: a source that is silent from the start is noticed too. The time of one that
/// was disabled or dropped is not a number, which is late for no alert.
fn await_events(awaited: &mut HashSet<Arc<str>>, enabled: HashSet<Arc<str>>) {
    let last = |source: &Arc<str>, time: f64| {
        gauge!(metric::LAST_EVENT, "source" => source.to_string()).set(time);
    };
    for source in enabled.difference(awaited) {
        last(source, metric::unix(SystemTime::now()));
    }
    for source in awaited.difference(&enabled) {
        last(source, f64::NAN);
    }
    *awaited = enabled;
}

#[cfg(test)]
mod tests;
