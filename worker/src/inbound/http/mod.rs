//! The HTTP servers: one for webhooks, and one for operators, with probes and metrics.

pub(crate) mod admin;
mod answer;
mod attempts;
mod listen;
mod probes;
mod turn;
pub(crate) mod webhook;

use std::net::TcpListener;

use actix_web::{
    App, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    http::{
        ConnectionType, StatusCode,
        header::{ALLOW, CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING},
    },
    middleware::{Next, from_fn},
    web,
};
use metrics::counter;
use rustls::ServerConfig;

use self::{
    answer::{Answer, draining},
    listen::Bounds,
    turn::Turn,
    webhook::Hooks,
};
pub(crate) use self::{
    attempts::Attempts,
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
            .configure(routes)
    })
}

fn routes(config: &mut web::ServiceConfig) {
    let hook = |path: &str| web::resource(path).default_service(web::to(method_not_allowed));
    config
        .service(hook("/hooks/{source}").route(web::post().to(webhook::without_token)))
        .service(hook("/hooks/{source}/{token}").route(web::post().to(webhook::with_token)))
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
        let answer = refuse(&hooks, request.request(), draining());
        return Ok(request.into_response(answer).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

/// Marks the connection as being served, and closes it afterwards if necessary.
async fn take_turns<B: MessageBody + 'static>(
    drain: web::Data<Drain>,
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let turn = request.conn_data::<Turn>().cloned();
    let mut serving = turn.as_ref().map(Turn::take);
    let has_body = has_body(&request);
    let is_surplus = turn.as_ref().is_some_and(Turn::is_surplus);
    let mut response = next.call(request).await?;
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

async fn method_not_allowed(hooks: web::Data<Hooks>, request: HttpRequest) -> HttpResponse {
    let answer = Answer::error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", None);
    let mut response = refuse(&hooks, &request, answer);
    let allowed = HeaderValue::from_static("POST");
    response.headers_mut().insert(ALLOW, allowed);
    response
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
    let answer = Answer::error(StatusCode::NOT_FOUND, "not_found", None);
    hooks.respond(receipt::id(), &request, source_of(&request), answer)
}

/// Refuses a request before any hook reads it.
fn refuse(hooks: &Hooks, request: &HttpRequest, answer: Answer) -> HttpResponse {
    hooks.refuse(receipt::id(), request, source_of(request), answer)
}

/// The segment of the path that names the source in the URL of a webhook, as it was sent.
fn source_of(request: &HttpRequest) -> &str {
    let rest = request.path().strip_prefix(HOOKS).unwrap_or_default();
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
