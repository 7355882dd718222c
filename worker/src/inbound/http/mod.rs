//! The HTTP servers: one for webhooks, and one for operators, with probes and metrics.

pub(crate) mod admin;
mod answer;
mod attempts;
mod body;
mod kept;
mod listen;
mod probes;
mod turn;
pub(crate) mod webhook;

use std::net::TcpListener;

use actix_web::{
    App, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    middleware::{Next, NormalizePath, from_fn},
    web,
};
use metrics::counter;
use rustls::ServerConfig;

use self::{answer::draining, listen::Bounds, turn::take_turns, webhook::Hooks};
pub(crate) use self::{
    answer::{CAUSES, OUTCOMES},
    attempts::Attempts,
    kept::{Kept, RESULTS as KEPT, follow as keep},
    listen::SURPLUS,
    turn::{Connections, Times},
};
use crate::process::{drain::Drain, metric, receipt};

/// The beginning of a hook's path.
const HOOKS: &str = "/hooks/";

#[derive(Clone, Debug)]
pub(crate) struct HttpSetup {
    pub(crate) hooks: Hooks,
    pub(crate) drain: Drain,
    pub(crate) connections: Connections,
    pub(crate) times: Times,
    pub(crate) tls: Option<ServerConfig>,
}

/// Serves on `listener` until the returned server is stopped.
pub(crate) fn serve(listener: TcpListener, mut setup: HttpSetup) -> std::io::Result<Server> {
    let tls = setup.tls.take();
    let bounds = Bounds {
        connections: setup.connections.clone(),
        surplus: SURPLUS,
        times: setup.times,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
    };
    listen::serve(listener, tls, bounds, move || {
        App::new()
            .app_data(web::Data::new(setup.hooks.for_this_thread()))
            .app_data(web::Data::new(setup.drain.clone()))
            .wrap(from_fn(count))
            .wrap(from_fn(take_turns))
            .wrap(slashes())
            .configure(routes)
    })
}

/// Reads a path with a slash at its end, or with two slashes for one, as the path without them.
fn slashes() -> NormalizePath {
    NormalizePath::trim()
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(web::resource("/hooks/{source}").to(webhook::without_token))
        .service(web::resource("/hooks/{source}/{token}").to(webhook::with_token))
        .service(web::resource("/hooks/{source}/{token}/{more:.+}").to(webhook::with_more))
        .service(admin::probe("/healthz", probes::healthz))
        .default_service(web::to(not_found));
}

/// Counts requests in flight, so that the drain can wait for them. A webhook that arrives
/// during the drain, over an open connection, is refused.
async fn count<B: MessageBody + 'static>(
    drain: web::Data<Drain>,
    hooks: web::Data<Hooks>,
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let _in_flight = drain.enter();
    if request.path().starts_with(HOOKS) && drain.has_begun() {
        let answer = {
            let request = request.request();
            hooks.refuse(receipt::id(), request, source_of(request), draining())
        };
        return Ok(request.into_response(answer).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// Counts the request. The log does not repeat its path, because the path may hold the token of
/// a mistyped URL.
async fn not_found(hooks: web::Data<Hooks>, request: HttpRequest) -> HttpResponse {
    let is_hook = format!("{}/", request.path()).starts_with(HOOKS);
    let path = if is_hook {
        metric::HOOKS
    } else {
        metric::OTHER
    };
    counter!(metric::UNMATCHED, "path" => path).increment(1);
    hooks.respond(receipt::id(), &request, "", webhook::not_found())
}

/// The segment of the path that names the source in the URL of a webhook, as it was sent.
fn source_of(request: &HttpRequest) -> &str {
    let rest = request.path().strip_prefix(HOOKS).unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
