//! The HTTP server for operators: probes and metrics. It has an address of its own, so that
//! who may send webhooks can read neither.

use std::net::TcpListener;

use actix_web::{
    App, HttpResponse,
    dev::Server,
    http::{Method, header::ALLOW},
    middleware::from_fn,
    web,
};
use metrics_exporter_prometheus::PrometheusHandle;
use rustls::ServerConfig;
use serde_json::json;

use super::{
    listen::{self, Bounds},
    probes::{self, Public},
    turn::{Connections, Times, take_turns},
    webhook::Hooks,
};
use crate::process::drain::Drain;

/// Limit on the connections that are kept alive.
const KEPT: usize = 64;
/// Connections beyond them, each of which gets one answer.
const SURPLUS: usize = 16;
/// Limit on all connections of operators.
pub(crate) const CONNECTIONS: usize = KEPT + SURPLUS;

#[derive(Clone, Debug)]
pub(crate) struct AdminSetup {
    pub(crate) hooks: Hooks,
    pub(crate) drain: Drain,
    pub(crate) metrics: PrometheusHandle,
    /// Connections of the server for webhooks.
    pub(crate) public: Connections,
    pub(crate) times: Times,
    pub(crate) tls: Option<ServerConfig>,
}

/// Serves on `listener` until the returned server is stopped.
pub(crate) fn serve(listener: TcpListener, mut setup: AdminSetup) -> std::io::Result<Server> {
    let tls = setup.tls.take();
    let bounds = Bounds {
        connections: Connections::new(KEPT),
        surplus: SURPLUS,
        times: setup.times,
        threads: 1,
    };
    listen::serve(listener, tls, bounds, move || {
        App::new()
            .app_data(web::Data::new(setup.hooks.clone()))
            .app_data(web::Data::new(setup.drain.clone()))
            .app_data(web::Data::new(setup.metrics.clone()))
            .app_data(web::Data::new(Public(setup.public.clone())))
            .wrap(from_fn(take_turns))
            .configure(routes)
    })
}

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .service(probe("/healthz", probes::healthz))
        .service(probe("/readyz", probes::readyz))
        .service(probe("/metrics", probes::metrics))
        .default_service(web::to(not_found));
}

/// A page that is only read: HEAD is answered as GET, without the body.
pub(super) fn probe<F, Args>(path: &str, handler: F) -> actix_web::Resource
where
    F: actix_web::Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: actix_web::Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(only_read))
}

async fn only_read(method: Method) -> HttpResponse {
    let mut response = match method {
        Method::OPTIONS => HttpResponse::NoContent(),
        _ => HttpResponse::MethodNotAllowed(),
    };
    response.insert_header((ALLOW, "GET, HEAD, OPTIONS"));
    response.finish()
}

async fn not_found() -> HttpResponse {
    let detail = "the paths are /healthz, /readyz and /metrics; webhooks are on another port";
    HttpResponse::NotFound().json(json!({"error": "not_found", "detail": detail}))
}
