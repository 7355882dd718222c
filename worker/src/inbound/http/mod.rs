//! The HTTP server: the hooks, and what an operator's probes ask.

mod answer;
mod listen;
mod turn;
pub(crate) mod webhook;

use std::net::TcpListener;

use actix_web::{
    App, HttpResponse,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    http::{
        ConnectionType,
        header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    },
    middleware::{Next, from_fn},
    web,
};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use rustls::ServerConfig;
use serde_json::{Map, Value, json};

use self::{answer::draining, webhook::Hooks};
pub(crate) use self::{
    listen::SURPLUS,
    turn::{Connections, Times, Turn},
};
use crate::{
    process::{drain::Drain, gauges, metric},
    sources::source::Database,
};

#[derive(Clone, Debug)]
pub(crate) struct HttpSetup {
    pub(crate) hooks: Hooks,
    pub(crate) drain: Drain,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) connections: Connections,
    pub(crate) times: Times,
    pub(crate) tls: Option<ServerConfig>,
}

/// Serves on `listener` until the returned server is stopped.
pub(crate) fn serve(listener: TcpListener, mut setup: HttpSetup) -> std::io::Result<Server> {
    let tls = setup.tls.take();
    let bounds = (setup.connections.clone(), setup.times);
    listen::serve(listener, tls, bounds, move || {
        App::new()
            .app_data(web::Data::new(setup.hooks.clone()))
            .app_data(web::Data::new(setup.drain.clone()))
            .app_data(web::Data::new(setup.metrics.clone()))
            .app_data(web::Data::new(setup.connections.clone()))
            .wrap(from_fn(count))
            .configure(routes)
    })
}

fn routes(config: &mut web::ServiceConfig) {
    let hook = |path: &str| web::resource(path).default_service(web::to(method_not_allowed));
    config
        .service(hook("/hooks/{source}").route(web::post().to(webhook::without_token)))
        .service(hook("/hooks/{source}/{token}").route(web::post().to(webhook::with_token)))
        .route("/healthz", web::get().to(healthz))
        .route("/healthz", web::head().to(healthz))
        .route("/readyz", web::get().to(readyz))
        .route("/readyz", web::head().to(readyz))
        .route("/metrics", web::get().to(metrics))
        .default_service(web::to(not_found));
}

/// Counts requests in flight, so that the drain can wait for them. A request that
/// comes while draining, over a connection that was open, is sent away. What is told of
/// the connection: that it is being served, and whether it is closed afterwards.
async fn count<B: MessageBody + 'static>(
    drain: web::Data<Drain>,
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let _in_flight = drain.enter();
    let turn = request.conn_data::<Turn>().cloned();
    let mut serving = turn.as_ref().map(Turn::take);
    let has_body = has_body(&request);
    let is_surplus = turn.as_ref().is_some_and(Turn::is_surplus);
    let hook = request.path().starts_with("/hooks/");
    let mut response = if hook && drain.has_begun() {
        let answer = draining().into_response();
        request.into_response(answer).map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };
    let is_unread = has_body && turn.is_some_and(|turn| !turn.is_finished());
    if is_unread && let Some(serving) = &mut serving {
        serving.leave();
    }
    if is_surplus || is_unread || drain.has_begun() {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

fn has_body(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

async fn readyz(hooks: web::Data<Hooks>, drain: web::Data<Drain>) -> HttpResponse {
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

/// Whether webhooks are taken without Postgres.
fn can_spool(hooks: &Hooks) -> bool {
    let spool = hooks.spool.as_ref();
    spool.is_some_and(|spool| {
        spool.is_taking() && (hooks.directory.sources().is_some() || spool.knows_any())
    })
}

/// `spooling` is why Postgres is away.
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

async fn metrics(
    hooks: web::Data<Hooks>,
    connections: web::Data<Connections>,
    metrics: web::Data<PrometheusHandle>,
) -> HttpResponse {
    gauge!(metric::HTTP_CONNECTIONS).set(connections.open() as f64);
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

async fn method_not_allowed() -> HttpResponse {
    HttpResponse::MethodNotAllowed()
        .insert_header(("allow", "POST"))
        .json(json!({"error": "method_not_allowed"}))
}

async fn not_found() -> HttpResponse {
    HttpResponse::NotFound().json(json!({"error": "not_found"}))
}

#[cfg(test)]
mod tests;
