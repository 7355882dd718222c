//! A refused webhook in the answer, the log and the metrics.

use super::*;

/// The receipt id of a request, as the lane has it.
fn receipt_of(request: &Request) -> Option<String> {
    request.headers.receipt()
}

#[actix_web::test]
async fn the_receipt_id_of_an_answer_is_the_one_that_postgres_is_given() {
    let fixture = fixture(known(), accept);
    let (_, _, _, first) = fixture.receipted(post("/hooks/sms")).await;
    let (_, _, _, second) = fixture.receipted(post("/hooks/sms")).await;
    let seen = fixture.seen.lock().unwrap();
    assert!(first.is_some() && first != second);
    assert_eq!(
        [first, second],
        [receipt_of(&seen[0]), receipt_of(&seen[1])]
    );
}

#[actix_web::test]
async fn each_refusal_has_one_line_in_the_log_with_the_receipt_id_of_its_answer() {
    let refuse = |request: &Request| match &request.body[..] {
        b"odd" => Err(Refusal::Declined("a trigger".into())),
        _ => Ok(fake::receipt(Verdict::Unauthorized)),
    };
    let fixture = fixture(known(), refuse);
    let delete = |path| TestRequest::delete().uri(path);
    let cases = [
        ("WARN", post("/hooks/sms"), "sms", "unauthorized"),
        (
            "WARN",
            post("/hooks/sms").set_payload("odd"),
            "sms",
            "declined",
        ),
        ("WARN", post("/hooks/off"), "off", "disabled"),
        ("WARN", post("/hooks/sms/token/more"), "sms", "not_found"),
        ("DEBUG", post("/hooks/absent"), "absent", "unknown_source"),
        // The worker dials it: it has no webhooks to lose.
        ("DEBUG", post("/hooks/chat"), "chat", "unknown_source"),
        ("DEBUG", delete("/hooks/sms"), "sms", "method_not_allowed"),
        // Events may have come with it.
        (
            "WARN",
            post("/hooks/sms").method(Method::PUT),
            "sms",
            "method_not_allowed",
        ),
        ("DEBUG", post("/mistyped/sms/the-token"), "", "not_found"),
    ];
    for (level, request, source, cause) in cases {
        let log = testing::Log::default();
        let listening = log.listen();
        let peer = "192.0.2.7:4711".parse().unwrap();
        let (_, body, _, receipt) = fixture.receipted(request.peer_addr(peer)).await;
        drop(listening);
        assert_eq!(body["error"], cause);
        let text = log.text();
        let [line] = text
            .lines()
            .filter(|line| line.contains("is refused"))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap();
        for part in [
            level.to_owned(),
            format!("receipt={}", receipt.unwrap()),
            format!("source={source:?}"),
            "peer=192.0.2.7:4711".to_owned(),
            format!("cause={cause:?}"),
        ] {
            assert!(line.contains(&part), "{part}: {line}");
        }
        assert!(!text.contains("the-token"), "{text}");
    }
}

#[actix_web::test]
async fn draining_tells_the_receipt_id_too() {
    let fixture = fixture(known(), accept);
    fixture.drain.begin();
    let log = testing::Log::default();
    let _listening = log.listen();
    let (_, body, _, receipt) = fixture.receipted(post("/hooks/sms/token")).await;
    assert_eq!(body, json!({"error": "stopping"}));
    assert!(log.text().contains(&receipt.unwrap()), "{}", log.text());
}

/// Postgres is away, and the answer is the same for whoever sends requests.
#[actix_web::test]
async fn each_cause_has_its_word_in_the_answer_and_in_the_metric() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let fenced = |_: &Request| Ok(fake::receipt(Verdict::Fenced));
    let failed = |_: &Request| Err(Refusal::Failed("no such function".into()));
    let declined = |_: &Request| Err(Refusal::Declined("a trigger".into()));
    let mut late = fixture(known(), accept);
    let (pipeline, _) = testing::slow_pipeline(
        |requests| vec![Ok(fake::receipt(Verdict::Accepted)); requests.len()],
        Duration::from_secs(3600),
        Duration::from_millis(1),
    );
    late.hooks.pipeline = pipeline;
    let mut broken = fixture(away(), accept);
    broken.hooks.spool = Some(spool::tests::broken(1));
    // Its own word is counted by the lane, as the outcome of a commit.
    for (fixture, word, is_early) in [
        (fixture(Snapshot::default(), accept), "sources_unread", true),
        (late, "commit_timeout", true),
        (fixture(known(), failed), "commit_failed", false),
        (fixture(known(), declined), "declined", false),
        (fixture(known(), fenced), "fenced", false),
        (broken, "spool_failed", true),
    ] {
        let answer = fixture.call(post("/hooks/sms")).await;
        assert_eq!(answer, later(word));
        // The source is a label as soon as it is known.
        let source = if word == "sources_unread" { "" } else { "sms" };
        let counted = format!(
            "{}{{source=\"{source}\",reason=\"{word}\"}} 1",
            metric::REFUSED_EARLY
        );
        let text = recorder.handle().render();
        assert_eq!(text.contains(&counted), is_early, "{word}: {text}");
    }
}

#[actix_web::test]
async fn a_path_that_nothing_serves_is_counted_whatever_it_is() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let fixture = fixture(known(), accept);
    for path in ["/hooks", "/hooks/", "/hooks/absent/a/b/c", "/hooks/sms/a/b"] {
        assert_eq!(fixture.call(post(path)).await.0, 404, "{path}");
    }
    for path in ["/", "/hook/sms/token", "/hookshot", "/.env"] {
        assert_eq!(fixture.call(post(path)).await.0, 404, "{path}");
    }
    let text = recorder.handle().render();
    let counted: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with(metric::UNMATCHED))
        .collect();
    assert_eq!(counted.len(), 2, "{text}");
    for path in ["hooks", "other"] {
        let four = format!("{}{{path=\"{path}\"}} 4", metric::UNMATCHED);
        assert!(counted.contains(&four.as_str()), "{text}");
    }
}
