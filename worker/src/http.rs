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
use serde_json::json;

use crate::{
    drain::Drain,
    hooks::{self, Hooks},
    metric,
    source::Database,
};

#[derive(Clone, Debug)]
pub(crate) struct HttpSetup {
    pub(crate) hooks: Hooks,
    pub(crate) drain: Drain,
    pub(crate) metrics: PrometheusHandle,
    pub(crate) max_connections: usize,
}

/// Time for a request's head; its body has the request's patience.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Serves on `listener` until the returned server is stopped.
pub(crate) fn serve(listener: TcpListener, setup: HttpSetup) -> std::io::Result<Server> {
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
    Ok(server
        .workers(workers)
        .max_connections(max_connections)
        .client_request_timeout(HEAD_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        // The drain waits for the requests; this is for what it did not wait for.
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run())
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
        Database::Up => HttpResponse::Ok().json(json!({"status": "ready"})),
        Database::Down(reason) => not_ready(reason),
    }
}

async fn metrics(hooks: web::Data<Hooks>, metrics: web::Data<PrometheusHandle>) -> HttpResponse {
    let (requests, bytes) = hooks.budget.taken();
    gauge!(metric::PENDING_REQUESTS).set(requests as f64);
    gauge!(metric::PENDING_BYTES).set(bytes as f64);
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
mod tests {
    use std::{sync::Arc, sync::Mutex, time::Duration};

    use actix_web::{
        http::{Method, StatusCode, header},
        test::{TestRequest, call_service, init_service, read_body},
    };
    use serde_json::Value;

    use super::*;
    use crate::{
        budget::{Budget, Limits},
        directory::fake::{directory, snapshot, source},
        request::{Outcome, Request, Verdict, fake},
        source::Snapshot,
        testing,
    };

    const MAX_BODY: usize = 100;

    /// The service over a pipeline that answers as told.
    struct Fixture {
        hooks: Hooks,
        drain: Drain,
        seen: Arc<Mutex<Vec<Request>>>,
    }

    fn fixture(now: Snapshot, answer: fn(&Request) -> Outcome) -> Fixture {
        let (pipeline, seen) = testing::pipeline(answer, Duration::from_secs(5));
        let (directory, _) = directory(now.clone(), now);
        let limits = Limits {
            requests: 1,
            bytes: 1_000,
        };
        Fixture {
            hooks: Hooks {
                pipeline,
                directory,
                budget: Budget::new(limits),
                max_body: MAX_BODY,
            },
            drain: Drain::new(),
            seen,
        }
    }

    fn known() -> Snapshot {
        let mut disabled = source("off", "arpoone");
        disabled.enabled = false;
        snapshot(&[source("sms", "arpoone"), source("chat", "ppoppo"), disabled])
    }

    fn accept(_: &Request) -> Outcome {
        Ok(fake::receipt(Verdict::Accepted))
    }

    impl Fixture {
        async fn call(&self, request: TestRequest) -> (StatusCode, Value, Option<String>) {
            let app = App::new()
                .app_data(web::Data::new(self.hooks.clone()))
                .app_data(web::Data::new(self.drain.clone()))
                .wrap(from_fn(count))
                .configure(routes);
            let response = call_service(&init_service(app).await, request.to_request()).await;
            let status = response.status();
            let retry_after = response.headers().get(header::RETRY_AFTER);
            let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
            let body = read_body(response).await;
            (status, serde_json::from_slice(&body).unwrap(), retry_after)
        }
    }

    fn post(path: &str) -> TestRequest {
        TestRequest::post().uri(path).set_payload("[1]")
    }

    #[actix_web::test]
    async fn a_request_reaches_the_lane_as_it_came() {
        let fixture = fixture(known(), accept);
        let request = post("/hooks/sms/the%20token")
            .insert_header(("X-Signature", "ab"))
            .insert_header(("Receipt-Id", "forged"))
            .insert_header(("Url-Token", "forged"));
        let (status, body, _) = fixture.call(request).await;
        assert_eq!(status, 200);
        assert_eq!(body, json!({"inserted": 1, "duplicate": 0, "rejected": 0}));

        let seen = fixture.seen.lock().unwrap();
        assert_eq!(seen[0].source.as_ref(), "sms");
        assert_eq!(seen[0].body, "[1]");
        let headers: Value = serde_json::from_str(&seen[0].headers).unwrap();
        assert_eq!(headers["x-signature"], "ab");
        assert_eq!(headers["url-token"], "the token");
        let id: uuid::Uuid = headers["receipt-id"].as_str().unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
    }

    #[actix_web::test]
    async fn what_is_not_a_hook_is_refused_before_the_lane() {
        let fixture = fixture(known(), accept);
        let large = "x".repeat(MAX_BODY + 1);
        let cases = [
            (post("/hooks/absent"), 404, None),
            (post("/hooks/chat"), 404, None),
            (post("/hooks/off"), 503, Some("60")),
            (post("/hooks/sms/a%00b"), 401, None),
            (
                post("/hooks/sms").insert_header(("content-encoding", "gzip")),
                415,
                None,
            ),
            (post("/hooks/sms").set_payload(large), 413, None),
            (post("/hooks/sms").method(Method::PUT), 405, None),
            (post("/elsewhere"), 404, None),
        ];
        for (request, expected, retry_after) in cases {
            let (status, body, retry) = fixture.call(request).await;
            assert_eq!(status, expected, "{body}");
            assert_eq!(retry.as_deref(), retry_after, "{body}");
        }
        assert!(fixture.seen.lock().unwrap().is_empty());
    }

    #[actix_web::test]
    async fn an_uncompressed_body_may_say_so() {
        let fixture = fixture(known(), accept);
        let request = post("/hooks/sms").insert_header(("content-encoding", "identity"));
        assert_eq!(fixture.call(request).await.0, 200);
    }

    #[actix_web::test]
    async fn at_a_limit_it_asks_to_come_again() {
        let fixture = fixture(known(), accept);
        let _taken = fixture.hooks.budget.try_take(0).unwrap();
        let (status, body, retry_after) = fixture.call(post("/hooks/sms")).await;
        assert_eq!(
            (status, retry_after.as_deref()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("1"))
        );
        assert_eq!(body, json!({"error": "busy"}));
    }

    #[actix_web::test]
    async fn without_postgres_it_is_alive_but_not_ready() {
        let fixture = fixture(Snapshot::default(), accept);
        let (status, body, _) = fixture.call(TestRequest::get().uri("/readyz")).await;
        assert_eq!(
            (status, &body["reason"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("not connected yet"))
        );
        assert_eq!(
            fixture.call(TestRequest::get().uri("/healthz")).await.0,
            200
        );
        let (status, _, retry_after) = fixture.call(post("/hooks/sms")).await;
        assert_eq!(
            (status, retry_after.as_deref()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("5"))
        );
    }

    #[actix_web::test]
    async fn draining_sends_new_requests_away() {
        let fixture = fixture(known(), accept);
        fixture.drain.begin();
        let (status, body, retry_after) = fixture.call(post("/hooks/sms")).await;
        assert_eq!(
            (status, retry_after.as_deref()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("1"))
        );
        assert_eq!(body, json!({"error": "stopping"}));
        assert!(fixture.seen.lock().unwrap().is_empty());
    }
}
