mod attempts;
mod lost;
mod refusals;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use actix::Actor;
use actix_web::{
    http::{Method, StatusCode, header},
    test::{TestRequest, call_service, init_service, read_body},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::{
    admission::{
        budget::{Budget, Limits, Payer},
        directory::{
            Directory,
            fake::{self as sources, directory, snapshot, source},
        },
    },
    gaps::Gaps,
    inbound::{
        peer::Proxies,
        refusal::{self, Refusals},
    },
    pipeline::{
        request::{Outcome, Refusal, Request, Verdict, fake},
        taking::Taking,
    },
    sources::source::{Database, Snapshot},
    spool, testing,
};

const MAX_BODY: usize = 100;

/// The service over a pipeline that answers as told.
struct Fixture {
    hooks: Hooks,
    drain: Drain,
    seen: Arc<Mutex<Vec<Request>>>,
}

fn fixture(now: Snapshot, answer: fn(&Request) -> Outcome) -> Fixture {
    let (pipeline, seen) = testing::pipeline(answer, testing::PATIENCE);
    let (directory, _) = directory(now.clone(), now.clone());
    let limits = Limits {
        requests: 1,
        bytes: 1_000,
        share: 100,
        wire: 1_000,
        message: 0,
    };
    Fixture {
        hooks: Hooks {
            pipeline,
            taking: match &now.database {
                Database::Up => Taking::trusting(),
                Database::Down(reason) => Taking::stopped_for(reason),
            },
            directory,
            budget: Budget::new(limits),
            max_body: MAX_BODY,
            body_timeout: Duration::from_secs(5),
            spool: None,
            refusals: Refusals::default(),
            attempts: Attempts::new(Gaps::default()),
            proxies: Proxies::default(),
            kept: Kept::new().0,
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
        let (status, body, retry_after, _) = self.receipted(request).await;
        (status, body, retry_after)
    }

    /// The same, and the receipt id.
    async fn receipted(
        &self,
        request: TestRequest,
    ) -> (StatusCode, Value, Option<String>, Option<String>) {
        let app = App::new()
            .app_data(web::Data::new(self.hooks.clone()))
            .app_data(web::Data::new(self.drain.clone()))
            .wrap(from_fn(count))
            .wrap(slashes())
            .configure(routes);
        Self::answered(call_service(&init_service(app).await, request.to_request()).await).await
    }

    /// The answer of the server for operators.
    async fn probe(&self, path: &str) -> (StatusCode, Value) {
        let app = App::new()
            .app_data(web::Data::new(self.hooks.clone()))
            .app_data(web::Data::new(self.drain.clone()))
            .configure(admin::routes);
        let request = TestRequest::get().uri(path).to_request();
        let response = call_service(&init_service(app).await, request).await;
        let (status, body, ..) = Self::answered(response).await;
        (status, body)
    }

    async fn answered(
        response: ServiceResponse<impl MessageBody>,
    ) -> (StatusCode, Value, Option<String>, Option<String>) {
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.map(|value| value.to_str().unwrap().to_owned());
        let header = response.headers().get(refusal::RECEIPT);
        let header = header.map(|value| value.to_str().unwrap().to_owned());
        let body = read_body(response).await;
        let mut body: Value = serde_json::from_slice(&body).unwrap();
        // Each answer to a webhook has one; what follows is about the rest of the body.
        let receipt = body.as_object_mut().unwrap().remove("receipt");
        assert_eq!(receipt, header.clone().map(Value::from));
        (status, body, retry_after, header)
    }
}

/// To be sent again, when something has come back.
fn later(error: &str) -> (StatusCode, Value, Option<String>) {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    (status, json!({"error": error}), Some("5".to_owned()))
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
    let headers: Value = serde_json::from_str(&seen[0].headers.to_string()).unwrap();
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
            post("/hooks/sms").insert_header(("content-encoding", "br")),
            415,
            None,
        ),
        (
            post("/hooks/sms").insert_header(("content-encoding", "gzip")),
            400,
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
async fn a_body_that_is_not_compressed_may_say_so() {
    let fixture = fixture(known(), accept);
    for coding in ["", "identity", "identity, identity", "utf-8"] {
        let request = post("/hooks/sms").insert_header(("content-encoding", coding));
        assert_eq!(fixture.call(request).await.0, 200, "{coding}");
    }
}

/// A path with a slash at its end, or two for one, as forms in which providers store URLs.
#[actix_web::test]
async fn a_path_is_read_without_its_surplus_slashes() {
    let fixture = fixture(known(), accept);
    for (path, token) in [
        ("/hooks/sms/", None),
        ("/hooks//sms", None),
        ("/hooks/sms/the%20token/", Some("the token")),
        ("//hooks/sms//the%20token//?a=b", Some("the token")),
        ("/hooks/sms/a%2Fb/", Some("a/b")),
    ] {
        assert_eq!(fixture.call(post(path)).await.0, 200, "{path}");
        let seen = fixture.seen.lock().unwrap().pop().unwrap();
        let headers: Value = serde_json::from_str(&seen.headers.to_string()).unwrap();
        assert_eq!(
            headers.get("url-token").and_then(Value::as_str),
            token,
            "{path}"
        );
    }
}

/// Whatever the token, so that the answer says nothing of it.
#[actix_web::test]
async fn a_probe_is_told_that_there_is_such_a_hook_and_nothing_is_stored() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let fixture = fixture(known(), accept);
    for method in [Method::GET, Method::HEAD] {
        for (path, expected) in [
            ("/hooks/sms", 200),
            ("/hooks/sms/token", 200),
            ("/hooks/sms/guess/", 200),
            ("/hooks/off", 200),
            ("/hooks/chat", 404),
            ("/hooks/absent", 404),
            ("/hooks/absent/token", 404),
            ("/hooks/sms/token/more", 404),
        ] {
            let probe = TestRequest::default().method(method.clone()).uri(path);
            assert_eq!(fixture.call(probe).await.0, expected, "{method} {path}");
        }
    }
    assert!(fixture.seen.lock().unwrap().is_empty());
    let text = recorder.handle().render();
    let counted = format!("{}{{source=\"sms\"}} 6", metric::HOOK_PROBES);
    assert!(text.contains(&counted), "{text}");
}

#[actix_web::test]
async fn other_methods_are_told_which_there_are() {
    let fixture = fixture(known(), accept);
    let app = App::new()
        .app_data(web::Data::new(fixture.hooks.clone()))
        .app_data(web::Data::new(fixture.drain.clone()))
        .configure(routes);
    let app = init_service(app).await;
    for (method, path, expected) in [
        (Method::OPTIONS, "/hooks/sms", 204),
        (Method::OPTIONS, "/hooks/absent/token", 204),
        (Method::PUT, "/hooks/sms/token", 405),
        (Method::DELETE, "/hooks/sms", 405),
        (Method::TRACE, "/hooks/absent", 405),
    ] {
        let request = TestRequest::default().method(method.clone()).uri(path);
        let response = call_service(&app, request.to_request()).await;
        assert_eq!(response.status(), expected, "{method} {path}");
        let allowed = response.headers().get(header::ALLOW).unwrap();
        assert_eq!(allowed, "POST, GET, HEAD, OPTIONS", "{method} {path}");
    }
    assert!(fixture.seen.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn at_a_limit_it_asks_to_come_again() {
    let fixture = fixture(known(), accept);
    let other = Payer::Source("other".into());
    let _taken = fixture.hooks.budget.try_take(other, 0).unwrap();
    let (status, body, retry_after) = fixture.call(post("/hooks/sms")).await;
    assert_eq!(
        (status, retry_after.as_deref()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("1"))
    );
    assert_eq!(body, json!({"error": "busy"}));
}

/// A budget for four requests, one for each of four sources.
fn quarters() -> Budget {
    Budget::new(Limits {
        requests: 4,
        bytes: 1_000,
        share: 25,
        wire: 1_000,
        message: 0,
    })
}

#[actix_web::test]
async fn at_a_share_it_asks_that_source_alone_to_come_again() {
    let mut fixture = fixture(known(), accept);
    fixture.hooks.budget = quarters();
    for (payer, path, other, expected) in [
        (Payer::Strangers, "/hooks/absent", "/hooks/sms", 200),
        (
            Payer::Source("sms".into()),
            "/hooks/sms",
            "/hooks/absent",
            404,
        ),
    ] {
        let _taken = fixture.hooks.budget.try_take(payer, 0).unwrap();
        let (status, body, retry_after) = fixture.call(post(path)).await;
        assert_eq!(
            (status, retry_after.as_deref()),
            (StatusCode::SERVICE_UNAVAILABLE, Some("1"))
        );
        assert_eq!(body, json!({"error": "source_busy"}));
        assert_eq!(fixture.call(post(other)).await.0, expected);
    }
}

#[actix_web::test]
async fn without_postgres_it_is_alive_but_not_ready() {
    let fixture = fixture(Snapshot::default(), accept);
    let (status, body) = fixture.probe("/readyz").await;
    assert_eq!(
        (status, &body["reason"]),
        (StatusCode::SERVICE_UNAVAILABLE, &json!("not connected yet"))
    );
    assert_eq!(fixture.probe("/healthz").await.0, 200);
    let public = |path| fixture.call(TestRequest::get().uri(path));
    assert_eq!(public("/healthz").await.0, 200);
    for path in ["/readyz", "/metrics"] {
        assert_eq!(public(path).await.0, 404, "{path} is the operators'");
    }
    assert_eq!(fixture.probe("/hooks/sms").await.0, 404);
    assert_eq!(
        fixture.call(post("/hooks/sms")).await,
        later("sources_unread")
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

/// A fixture with a spool in a folder of its own.
fn spooling(now: Snapshot, answer: fn(&Request) -> Outcome, limit: u64) -> (Fixture, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let spool = spool::tests::open(folder.path(), limit).unwrap();
    let mut fixture = fixture(now, answer);
    fixture.hooks.spool = Some(spool);
    (fixture, folder)
}

fn away() -> Snapshot {
    let mut snapshot = known();
    snapshot.database = Database::Down("gone".to_owned());
    snapshot
}

#[actix_web::test]
async fn while_postgres_is_away_a_hook_is_spooled_at_once() {
    let (fixture, _folder) = spooling(away(), accept, 1 << 20);
    let (status, body, _) = fixture.call(post("/hooks/sms/token")).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"spooled": true})));
    assert!(fixture.seen.lock().unwrap().is_empty(), "it was not tried");
    for (path, expected) in [
        // Nobody can look whether it has been added since.
        ("/hooks/absent", 503),
        ("/hooks/chat", 404),
        ("/hooks/off", 503),
    ] {
        assert_eq!(fixture.call(post(path)).await.0, expected, "{path}");
    }
    let (status, body) = fixture.probe("/readyz").await;
    assert_eq!(
        (status, &body["status"]),
        (StatusCode::OK, &json!("ready, spooling"))
    );
    assert_eq!(body["spool"]["requests"], 1);
    assert_eq!(
        (&body["reason"], &body["degraded"]),
        (&json!("gone"), &json!(true))
    );
}

#[actix_web::test]
async fn readiness_says_whether_webhooks_are_taken_and_since_when_they_are_not() {
    let mut taken = fixture(known(), accept);
    let (status, body) = taken.probe("/readyz").await;
    assert_eq!(
        (status, body),
        (
            StatusCode::OK,
            json!({"status": "ready", "degraded": false})
        )
    );

    // Connected, and read-only.
    taken.hooks.taking = Taking::stopped_for("read-only");
    let (status, body) = taken.probe("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&body["status"], &body["reason"]),
        (&json!("not ready"), &json!("read-only"))
    );
    let since: jiff::Timestamp = body["since"].as_str().unwrap().parse().unwrap();
    let age = jiff::Timestamp::now().duration_since(since).as_secs();
    assert!((0..10).contains(&age), "{body}");
    let (mut spooled, _folder) = spooling(known(), accept, 1 << 20);
    spooled.hooks.taking = taken.hooks.taking.clone();
    let (status, body) = spooled.probe("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&body["status"], &body["degraded"]),
        (&json!("ready, spooling"), &json!(true))
    );
    let (_, body, _) = spooled.call(post("/hooks/sms/token")).await;
    assert_eq!(body, json!({"spooled": true}));
}

/// The control connection is lost alone.
#[actix_web::test]
async fn what_postgres_takes_is_not_spooled_because_another_connection_is_lost() {
    let (mut fixture, _folder) = spooling(away(), accept, 1 << 20);
    fixture.hooks.taking = Taking::trusting();
    let (status, body, _) = fixture.call(post("/hooks/sms/token")).await;
    assert_eq!((status.as_u16(), &body["inserted"]), (200, &json!(1)));
    let (status, body) = fixture.probe("/readyz").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (&body["status"], &body["reason"]),
        (&json!("ready, degraded"), &json!("gone"))
    );
    // Its sources were never read.
    fixture = self::fixture(Snapshot::default(), accept);
    fixture.hooks.taking = Taking::trusting();
    assert_eq!(fixture.probe("/readyz").await.0, 503);
}

/// A folder where the reserve should be: there is no room for it.
#[actix_web::test]
async fn a_worker_whose_spool_fails_is_not_ready_without_postgres() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("reserve")).unwrap();
    let mut fixture = fixture(away(), accept);
    fixture.hooks.spool = Some(spool::tests::open(folder.path(), 1 << 20).unwrap());
    let (status, body) = fixture.probe("/readyz").await;
    assert_eq!(
        (status, &body["spool"]["damaged"]),
        (StatusCode::OK, &json!(0))
    );
    assert_eq!(fixture.call(post("/hooks/sms/token")).await.0, 503);
    assert_eq!(fixture.probe("/readyz").await.0, 503);
}

/// It may be one that is being restored.
#[actix_web::test]
async fn where_no_source_is_listed_those_that_the_spool_remembers_are_kept() {
    let unknown = |_: &Request| Ok(fake::receipt(Verdict::UnknownSource));
    let (fixture, _folder) = spooling(snapshot(&[]), unknown, 1 << 20);
    let spool = fixture.hooks.spool.clone().unwrap();
    spool::tests::learn(&spool, &known()).await;
    let (status, body, _) = fixture.call(post("/hooks/sms/token")).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"spooled": true})));
    assert!(fixture.seen.lock().unwrap().is_empty(), "it was not tried");
    assert_eq!(fixture.call(post("/hooks/absent")).await.0, 404);
}

/// Its source was listed until the database was made anew.
#[actix_web::test]
async fn what_was_on_its_way_into_a_database_without_sources_is_kept() {
    let (mut fixture, _folder) = spooling(known(), accept, 1 << 20);
    let spool = fixture.hooks.spool.clone().unwrap();
    spool::tests::learn(&spool, &known()).await;
    let (database, receiver) = watch::channel(known());
    let control = sources::Control {
        looks: Arc::default(),
        later: snapshot(&[]),
        snapshot: database.clone(),
    };
    fixture.hooks.directory = Directory::new(receiver, control.start().recipient());
    let restored = move |_: &[Request]| {
        database.send_replace(snapshot(&[]));
        vec![Ok(fake::receipt(Verdict::UnknownSource))]
    };
    let (pipeline, seen) = testing::pipeline_of_batches(restored, Duration::from_secs(5));
    fixture.hooks.pipeline = pipeline;
    let (status, body, _) = fixture.call(post("/hooks/sms/token")).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"spooled": true})));
    assert_eq!(seen.lock().unwrap().len(), 1);
}

/// Else whoever guesses names could have it refused.
#[actix_web::test]
async fn those_that_the_spool_remembers_do_not_wait_with_the_strangers() {
    let (mut fixture, _folder) = spooling(snapshot(&[]), accept, 1 << 20);
    fixture.hooks.budget = quarters();
    let spool = fixture.hooks.spool.clone().unwrap();
    spool::tests::learn(&spool, &known()).await;
    let _taken = fixture.hooks.budget.try_take(Payer::Strangers, 0).unwrap();
    assert_eq!(fixture.call(post("/hooks/absent")).await.0, 503);
    let (status, body, _) = fixture.call(post("/hooks/sms/token")).await;
    assert_eq!((status, body), (StatusCode::OK, json!({"spooled": true})));
}

#[actix_web::test]
async fn what_was_not_committed_in_time_is_spooled_and_the_next_not_tried() {
    let refuse = |_: &Request| Err(Refusal::Failed("as the test wants".into()));
    let (fixture, _folder) = spooling(known(), refuse, 1 << 20);
    for _ in 0..3 {
        let (status, body, _) = fixture.call(post("/hooks/sms/token")).await;
        assert_eq!((status, body), (StatusCode::OK, json!({"spooled": true})));
    }
    assert_eq!(fixture.seen.lock().unwrap().len(), 1);
}

#[actix_web::test]
async fn the_spool_keeps_what_would_have_gone_to_the_lane() {
    let refuse = |_: &Request| Err(Refusal::Busy);
    let (fixture, folder) = spooling(known(), refuse, 1 << 20);
    let request = post("/hooks/sms/the%20token").insert_header(("X-Signature", "ab"));
    assert_eq!(fixture.call(request).await.0, 200);
    let seen = fixture.seen.lock().unwrap()[0].clone();
    let headers = seen.headers.to_string();
    let file = std::fs::read(folder.path().join("requests.redb")).unwrap();
    let held = |what: &[u8]| file.windows(what.len()).any(|window| window == what);
    assert!(held(headers.as_bytes()), "the same receipt id");
    assert!(headers.contains("the token"));
}

#[actix_web::test]
async fn a_full_spool_asks_to_come_again() {
    let (fixture, _folder) = spooling(away(), accept, 720);
    assert_eq!(fixture.call(post("/hooks/sms/token")).await.0, 200);
    let large = || post("/hooks/sms/token").set_payload("x".repeat(MAX_BODY));
    assert_eq!(fixture.call(large()).await.0, 200);
    assert_eq!(fixture.call(large()).await, later("spool_full"));
}

/// Such as by a trigger of the operator's; what else is busy says nothing of commits either.
#[actix_web::test]
async fn what_is_refused_by_itself_is_spooled_and_the_next_is_tried() {
    let answer = |request: &Request| match &request.body[..] {
        b"odd" => Err(Refusal::Declined("as the test wants".into())),
        b"busy" => Err(Refusal::Busy),
        _ => accept(request),
    };
    let (spooling, _folder) = spooling(known(), answer, 1 << 20);
    for body in ["odd", "busy"] {
        let odd = post("/hooks/sms/token").set_payload(body);
        let (status, body, _) = spooling.call(odd).await;
        assert_eq!((status, body), (StatusCode::OK, json!({"spooled": true})));
        let (_, body, _) = spooling.call(post("/hooks/sms/token")).await;
        assert_eq!(body["inserted"], 1, "{body}");
    }
    let odd = post("/hooks/sms/token").set_payload("odd");
    let answer = fixture(known(), answer).call(odd).await;
    assert_eq!(answer, later("declined"));
}

/// A commit that was late once does not keep what follows from Postgres.
#[actix_web::test]
async fn a_spool_that_refuses_is_no_way_round_postgres() {
    let (full, _folder) = spooling(known(), late_once, 1_000);
    let mut broken = fixture(known(), late_once);
    broken.hooks.spool = Some(spool::tests::broken(1));
    for (fixture, error) in [(full, "spool_full"), (broken, "spool_failed")] {
        let late = || post("/hooks/sms/token").set_payload("late");
        let refused = loop {
            match fixture.call(late()).await {
                (StatusCode::OK, spooled, _) => assert_eq!(spooled, json!({"spooled": true})),
                (_, body, _) => break body,
            }
        };
        assert_eq!(refused, json!({"error": error}));
        let (status, body, _) = fixture.call(post("/hooks/sms/token")).await;
        assert_eq!((status.as_u16(), &body["inserted"]), (200, &json!(1)));
    }
}

fn late_once(request: &Request) -> Outcome {
    match &request.body[..] {
        b"late" => Err(Refusal::Failed("as the test wants".into())),
        _ => accept(request),
    }
}

#[actix_web::test]
async fn what_was_answered_for_good_is_not_spooled() {
    let refuse = |_: &Request| Ok(fake::receipt(Verdict::Unauthorized));
    let (fixture, _folder) = spooling(known(), refuse, 1 << 20);
    assert_eq!(fixture.call(post("/hooks/sms/token")).await.0, 401);
    assert_eq!(fixture.hooks.spool.as_ref().unwrap().depth().requests, 0);
}

#[test]
fn the_documents_state_the_limits_of_a_webhook() {
    use crate::testing::documents::{MANUAL, states};

    let head = turn::HEAD_BYTES >> 10;
    states(MANUAL, &format!("head of an HTTP request: {head} KiB"));

    let hold = webhook::HOLD.as_secs();
    states(MANUAL, &format!("within {hold} s"));
    states("README.md", &format!("within {hold} s"));
    states("docs/outages.md", &format!("no commit within {hold} s"));

    let surplus = listen::SURPLUS;
    states(
        MANUAL,
        &format!("{surplus} connections beyond --http-connections"),
    );
    states(MANUAL, &format!("one of the {surplus} has been answered"));
    states(
        "docs/security.md",
        &format!("and {surplus} more are answered once"),
    );
}
