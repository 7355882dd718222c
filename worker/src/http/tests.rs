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
