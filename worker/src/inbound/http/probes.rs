//! The answers to the probes of an operator: liveness, readiness and metrics.

use actix_web::{HttpResponse, web};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Map, Value, json};

use super::{turn::Connections, webhook::Hooks};
use crate::{
    process::{drain::Drain, gauges, metric},
    sources::source::Database,
};

/// The connections of the server for webhooks, which a metric counts.
#[derive(Debug)]
pub(super) struct Public(pub(super) Connections);

pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

pub(super) async fn readyz(hooks: web::Data<Hooks>, drain: web::Data<Drain>) -> HttpResponse {
    let not_ready = |reason: String| {
        HttpResponse::ServiceUnavailable().json(json!({"status": "not ready", "reason": reason}))
    };
    if drain.has_begun() {
        return not_ready("the worker is stopping".to_owned());
    }
    match hooks.directory.database() {
        Database::Up => HttpResponse::Ok().json(ready(&hooks, None)),
        Database::Down(reason) if can_spool(&hooks) => {
            HttpResponse::Ok().json(ready(&hooks, Some(reason)))
        }
        Database::Down(reason) => not_ready(reason),
    }
}

/// Whether webhooks are accepted without Postgres.
fn can_spool(hooks: &Hooks) -> bool {
    let spool = hooks.spool.as_ref();
    spool.is_some_and(|spool| {
        spool.is_taking() && (hooks.directory.sources().is_some() || spool.knows_any())
    })
}

/// The body of `/readyz`; `spooling` is the reason why Postgres is down.
fn ready(hooks: &Hooks, spooling: Option<String>) -> Value {
    let status = match spooling {
        Some(_) => "ready, spooling",
        None => "ready",
    };
    let mut body = Map::from_iter([("status".to_owned(), json!(status))]);
    if let Some(reason) = spooling {
        body.insert("reason".to_owned(), json!(reason));
    }
    if let Some(spool) = &hooks.spool {
        let depth = spool.depth();
        let depth = json!({
            "requests": depth.requests,
            "bytes": depth.bytes,
            "oldest_seconds": depth.oldest.map(|_| depth.oldest_seconds()),
            "damaged": depth.damaged.requests,
        });
        body.insert("spool".to_owned(), depth);
    }
    body.into()
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
    if let Some(spool) = &hooks.spool {
        spool.count();
    }
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(metrics.render())
}
