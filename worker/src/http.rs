//! The HTTP server: the hooks, and what an operator's probes ask.

use std::{net::TcpListener, time::Duration};

use actix_web::{
    App, HttpResponse, HttpServer,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    http::header::{CONNECTION, HeaderValue},
    middleware::{Next, from_fn},
    web,
};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use rustls::ServerConfig;
use serde_json::{Map, Value, json};

use crate::{
    drain::Drain,
    hooks::{self, Hooks},
    metric,
    serve_tls::HANDSHAKE_TIMEOUT,
    source::Database,
};

#[derive(Clone, Debug)]
pub(crate) struct HttpSetup {
    pub(crate) hooks: Hooks,
    pub(crate) drain: Drain,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) max_connections: usize,
    pub(crate) tls: Option<ServerConfig>,
}

/// Time for a request's head; its body has the request's patience.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Serves on `listener` until the returned server is stopped.
pub(crate) fn serve(listener: TcpListener, mut setup: HttpSetup) -> std::io::Result<Server> {
    let tls = setup.tls.take();
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let max_connections = setup.max_connections.div_ceil(workers);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::new(setup.hooks.clone()))
            .app_data(web::Data::new(setup.drain.clone()))
            .app_data(web::Data::new(setup.metrics.clone()))
            .wrap(from_fn(count))
            .configure(routes)
    });
    let server = server
        .workers(workers)
        .max_connections(max_connections)
        // Handshakes are connections: who is slow at one holds nobody else up.
        .max_connection_rate(max_connections)
        .tls_handshake_timeout(HANDSHAKE_TIMEOUT)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        // The drain waits for the requests; this is for what it did not wait for.
        .shutdown_timeout(1)
        .disable_signals();
    let server = match tls {
        Some(config) => server.listen_rustls_0_23(listener, config),
        None => server.listen(listener),
    };
    Ok(server?.run())
}

fn routes(config: &mut web::ServiceConfig) {
    let hook = |path: &str| web::resource(path).default_service(web::to(method_not_allowed));
    config
        .service(hook("/hooks/{source}").route(web::post().to(hooks::without_token)))
        .service(hook("/hooks/{source}/{token}").route(web::post().to(hooks::with_token)))
        .route("/healthz", web::get().to(healthz))
        .route("/healthz", web::head().to(healthz))
        .route("/readyz", web::get().to(readyz))
        .route("/readyz", web::head().to(readyz))
        .route("/metrics", web::get().to(metrics))
        .default_service(web::to(not_found));
}

/// Counts requests in flight, so that the drain can wait for them. A request that
/// comes while draining, over a connection that was open, is sent away.
async fn count<B: MessageBody + 'static>(
    drain: web::Data<Drain>,
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let _in_flight = drain.enter();
    let hook = request.path().starts_with("/hooks/");
    let mut response = if hook && drain.has_begun() {
        let answer = hooks::draining().into_response();
        request.into_response(answer).map_into_right_body()
    } else {
        next.call(request).await?.map_into_left_body()
    };
    if drain.has_begun() {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
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
        spool.has_room() && (hooks.directory.sources().is_some() || spool.knows_any())
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
        });
        body.insert("spool".to_owned(), depth);
    }
    body.into()
}

async fn metrics(hooks: web::Data<Hooks>, metrics: web::Data<PrometheusHandle>) -> HttpResponse {
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
