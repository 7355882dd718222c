//! The answers to the probes of an operator: liveness, readiness and metrics.

use std::{sync::Arc, time::SystemTime};

use actix_web::{HttpResponse, http::StatusCode, web};
use jiff::{Timestamp, Unit};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};

use super::{turn::Connections, webhook::Hooks};
use crate::{
    process::{drain::Drain, gauges, metric},
    sources::source::Database,
    spool::Spool,
};

/// The connections of the server for webhooks, which a metric counts.
#[derive(Debug)]
pub(super) struct Public(pub(super) Connections);

pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// 200 if webhooks are taken: by Postgres, or by the spool.
pub(super) async fn readyz(hooks: web::Data<Hooks>, drain: web::Data<Drain>) -> HttpResponse {
    if drain.has_begun() {
        return Ready::no("the worker is stopping".into(), None).response(&hooks);
    }
    Ready::of(&hooks).response(&hooks)
}

/// Whether webhooks are taken, and what is wrong, if something is.
#[derive(Debug)]
struct Ready {
    status: StatusCode,
    word: &'static str,
    reason: Option<Arc<str>>,
    since: Option<SystemTime>,
}

impl Ready {
    fn no(reason: Arc<str>, since: Option<SystemTime>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            word: "not ready",
            reason: Some(reason),
            since,
        }
    }

    fn yes(word: &'static str, reason: Option<Arc<str>>, since: Option<SystemTime>) -> Self {
        Self {
            status: StatusCode::OK,
            word,
            reason,
            since,
        }
    }

    fn of(hooks: &Hooks) -> Self {
        let trouble = hooks.taking.trouble();
        let since = trouble.as_ref().map(|trouble| trouble.since);
        let control = match hooks.directory.database() {
            Database::Up => None,
            Database::Down(reason) => Some(Arc::from(reason)),
        };
        let has_sources = hooks.directory.sources().is_some();
        let reason = match (trouble, control) {
            (None, None) => return Self::yes("ready", None, None),
            // The sources are those that were read last.
            (None, control) if has_sources => return Self::yes("ready, degraded", control, None),
            // It takes a moment, and then webhooks need not be spooled.
            (Some(trouble), None) if trouble.is_unproven => {
                return Self::no(trouble.reason, since);
            }
            (Some(trouble), _) if has_sources => trouble.reason,
            // The control connection knows best why there are no sources at all.
            (_, Some(reason)) => reason,
            (Some(trouble), None) => trouble.reason,
        };
        match can_spool(hooks) {
            true => Self::yes("ready, spooling", Some(reason), since),
            false => match hooks.spool.as_ref().and_then(Spool::failure) {
                Some(failure) => Self::no(format!("{reason}; {failure}").into(), since),
                None => Self::no(reason, since),
            },
        }
    }

    fn response(self, hooks: &Hooks) -> HttpResponse {
        let mut body = Map::from_iter([("status".to_owned(), json!(self.word))]);
        if self.status.is_success() {
            body.insert("degraded".to_owned(), json!(self.reason.is_some()));
        }
        if let Some(reason) = &self.reason {
            body.insert("reason".to_owned(), json!(reason.as_ref()));
        }
        let since = self.since.and_then(|since| Timestamp::try_from(since).ok());
        if let Some(since) = since.and_then(|since| since.round(Unit::Second).ok()) {
            body.insert("since".to_owned(), json!(since.to_string()));
        }
        if let Some(spool) = &hooks.spool {
            body.insert("spool".to_owned(), depth(spool));
        }
        HttpResponse::build(self.status).json(body)
    }
}

/// Whether webhooks are accepted without Postgres.
fn can_spool(hooks: &Hooks) -> bool {
    let spool = hooks.spool.as_ref();
    spool.is_some_and(|spool| {
        spool.is_taking() && (hooks.directory.sources().is_some() || spool.knows_any())
    })
}

fn depth(spool: &Spool) -> Value {
    let depth = spool.depth();
    json!({
        "requests": depth.requests,
        "bytes": depth.bytes,
        "oldest_seconds": depth.oldest.map(|_| depth.oldest_seconds()),
        "damaged": depth.damaged.requests,
        "failed": spool.failure(),
    })
}

pub(super) async fn metrics(
    hooks: web::Data<Hooks>,
    public: web::Data<Public>,
    metrics: web::Data<PrometheusHandle>,
) -> HttpResponse {
    gauge!(metric::HTTP_CONNECTIONS).set(public.0.open() as f64);
    gauges::count();
    let (requests, bytes) = hooks.budget.taken();
    gauge!(metric::PENDING_REQUESTS).set(requests as f64);
    gauge!(metric::PENDING_BYTES).set(bytes as f64);
    let (requests, bytes) = hooks.budget.taken_by_a_source();
    gauge!(metric::SOURCE_REQUESTS).set(requests as f64);
    gauge!(metric::SOURCE_BYTES).set(bytes as f64);
    gauge!(metric::GRPC_BYTES).set(hooks.budget.taken_by_wire() as f64);
    if let Some(spool) = &hooks.spool {
        spool.count();
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics.render())
}
