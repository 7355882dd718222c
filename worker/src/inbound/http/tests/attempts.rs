//! Which refusals are reported as lost.

use tokio::time;

use super::*;
use crate::gaps::Report;

const PUSH: &str = "/hooks/push";

fn sources() -> Snapshot {
    let mut disabled = source("off", "pushwoosh");
    disabled.enabled = false;
    snapshot(&[
        source("push", "pushwoosh"),
        source("sms", "arpoone"),
        source("ppg", "pushpushgo"),
        disabled,
    ])
}

fn with_gaps(now: Snapshot, answer: fn(&Request) -> Outcome) -> (Fixture, Gaps) {
    let mut fixture = fixture(now, answer);
    let gaps = Gaps::default();
    fixture.hooks.attempts = Attempts::new(gaps.clone());
    (fixture, gaps)
}

fn failed(_: &Request) -> Outcome {
    Err(Refusal::Failed("as the test wants".into()))
}

/// The text of its body.
fn as_told(request: &Request) -> Outcome {
    match &request.body[..] {
        b"failed" => failed(request),
        b"unauthorized" => Ok(fake::receipt(Verdict::Unauthorized)),
        b"malformed" => Ok(fake::receipt(Verdict::Malformed)),
        _ => accept(request),
    }
}

async fn send(fixture: &Fixture, path: &str, authorization: &str, body: &str) -> u16 {
    let request = post(path)
        .insert_header(("authorization", authorization))
        .set_payload(body.to_owned());
    fixture.call(request).await.0.as_u16()
}

fn only(gaps: &Gaps) -> Report {
    let [report] = gaps.waiting().try_into().unwrap();
    report
}

#[actix_web::test]
async fn a_body_that_was_refused_as_often_as_it_is_sent_is_lost() {
    let (fixture, gaps) = with_gaps(sources(), failed);
    for body in ["a", "b"] {
        for attempt in 1..=4 {
            let before = gaps.len();
            assert_eq!(send(&fixture, PUSH, "Bearer x", body).await, 503);
            assert!(gaps.len() == before || attempt == 4, "{attempt}");
        }
    }
    let report = only(&gaps);
    assert_eq!(report.key.source, "push");
    assert_eq!(
        report.text(&report.extent),
        "answered 503 each time: 2 requests, 2 bytes; pushwoosh has given up after 4 attempts, \
         the last of them refused with commit_failed"
    );
    let proof = report.key.proof.unwrap();
    assert_eq!(proof.provider, "pushwoosh");
    assert_eq!(proof.headers, r#"{"authorization":"Bearer x"}"#);
}

#[actix_web::test]
async fn a_body_that_is_accepted_in_between_is_not_lost() {
    let (fixture, gaps) = with_gaps(sources(), failed);
    let mut accepting = self::fixture(sources(), accept);
    accepting.hooks.attempts = fixture.hooks.attempts.clone();
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(send(&fixture, PUSH, "x", "body").await, 503);
        }
        assert_eq!(send(&accepting, PUSH, "x", "body").await, 200);
    }
    // Nor is one that comes again much later.
    time::pause();
    for _ in 0..6 {
        time::advance(Duration::from_secs(601)).await;
        assert_eq!(send(&fixture, PUSH, "x", "later").await, 503);
        assert_eq!(send(&fixture, PUSH, "x", "another").await, 503);
    }
    assert_eq!(gaps.len(), 0, "{:?}", gaps.waiting());
}

/// Their attempts are not one another's.
#[actix_web::test]
async fn other_senders_and_other_providers_are_counted_apart() {
    let (fixture, gaps) = with_gaps(sources(), failed);
    for attempt in 0..4 {
        let stranger = format!("guess {attempt}");
        assert_eq!(send(&fixture, PUSH, &stranger, "body").await, 503);
        // They repeat until they are accepted, or nobody knows.
        for path in ["/hooks/sms/token", "/hooks/ppg", "/hooks/absent"] {
            assert_ne!(send(&fixture, path, "x", "body").await, 200);
        }
    }
    assert_eq!(gaps.len(), 0, "{:?}", gaps.waiting());
}

#[actix_web::test]
async fn after_a_4xx_only_what_was_not_kept_is_lost() {
    let (fixture, gaps) = with_gaps(sources(), as_told);
    for (body, status) in [("unauthorized", 401), ("malformed", 400), ("fine", 200)] {
        assert_eq!(send(&fixture, PUSH, "x", body).await, status);
    }
    let large = "x".repeat(MAX_BODY + 1);
    for path in ["/hooks/sms/token", "/hooks/ppg"] {
        assert_eq!(send(&fixture, path, "x", &large).await, 413);
    }
    assert_eq!(send(&fixture, "/hooks/push/a%00b", "x", "body").await, 401);
    assert_eq!(gaps.len(), 0, "{:?}", gaps.waiting());
    for _ in 0..2 {
        assert_eq!(send(&fixture, "/hooks/push/token", "x", &large).await, 413);
    }
    let report = only(&gaps);
    assert_eq!(
        report.text(&report.extent),
        "answered 413 (too_large): 2 requests; pushwoosh sends none of them again"
    );
    let headers = report.key.proof.unwrap().headers;
    assert_eq!(headers, r#"{"authorization":"x","url-token":"token"}"#);
}

/// The requests have a path with a part too many, another method, or another encoding.
#[actix_web::test]
async fn what_is_refused_whatever_it_contains_is_lost_too() {
    let to = |path: &str| post(path).insert_header(("authorization", "x"));
    for (request, status, cause) in [
        (to("/hooks/push/token/more"), 404, "not_found"),
        (
            to("/hooks/push").method(Method::PUT),
            405,
            "method_not_allowed",
        ),
        (
            to("/hooks/push").insert_header(("content-encoding", "br")),
            415,
            "unsupported_encoding",
        ),
        (
            to("/hooks/push").insert_header(("content-encoding", "gzip")),
            400,
            "malformed",
        ),
    ] {
        let (fixture, gaps) = with_gaps(sources(), accept);
        assert_eq!(fixture.call(request).await.0, status);
        let what = format!("answered {status} ({cause})");
        assert_eq!(only(&gaps).key.what, what);
    }
    // A sender of another provider sends it again, or may.
    let (fixture, gaps) = with_gaps(sources(), accept);
    assert_eq!(fixture.call(to("/hooks/sms/token/more")).await.0, 404);
    assert_eq!(fixture.call(to("/hooks/push/")).await.0, 200);
    assert_eq!(gaps.len(), 0, "{:?}", gaps.waiting());
}

/// Postgres checks the address where it writes the gap, and attempts may have different ones.
#[actix_web::test]
async fn the_proof_has_the_address_where_the_source_demands_one() {
    let mut demanding = source("push", "pushwoosh");
    demanding.options = json!({"allow_from": ["192.0.2.0/24"]});
    let (fixture, gaps) = with_gaps(snapshot(&[demanding]), failed);
    for attempt in 1..=4 {
        let request = post(PUSH)
            .insert_header(("authorization", "x"))
            .peer_addr(format!("192.0.2.{attempt}:80").parse().unwrap());
        assert_eq!(fixture.call(request).await.0, 503);
    }
    let headers = only(&gaps).key.proof.unwrap().headers;
    assert_eq!(
        headers,
        r#"{"authorization":"x","peer-address":"192.0.2.4"}"#
    );
}

/// Attempts after 0, 1, 4 and 12 s.
#[actix_web::test]
async fn what_is_refused_unread_for_as_long_as_it_is_sent_may_be_lost() {
    time::pause();
    for (pauses, expected) in [(&[1, 3, 8][..], 1), (&[1, 3], 0), (&[1, 3, 7], 0)] {
        let (fixture, gaps) = with_gaps(sources(), accept);
        let refused = async || assert_eq!(send(&fixture, "/hooks/off", "x", "body").await, 503);
        refused().await;
        for pause in pauses {
            time::advance(Duration::from_secs(*pause)).await;
            refused().await;
        }
        assert_eq!(gaps.len(), expected, "{pauses:?}");
        if expected > 0 {
            let report = only(&gaps);
            assert_eq!(
                report.text(&report.extent),
                "answered 503 before the body was read: 4 requests; refusals for longer than \
                 the 12 s after which pushwoosh gives up, the last of them with disabled"
            );
            assert_eq!(report.extent.from, Some(report.extent.to - 12_000));
        }
    }
}

/// Postgres will say whether there is such a source, and which provider it has.
#[actix_web::test]
async fn where_the_sources_are_not_known_yet_any_provider_is_supposed() {
    time::pause();
    let (fixture, gaps) = with_gaps(Snapshot::default(), accept);
    for pause in [0, 1, 3, 8] {
        time::advance(Duration::from_secs(pause)).await;
        assert_eq!(send(&fixture, PUSH, "x", "body").await, 503);
    }
    let report = only(&gaps);
    assert_eq!(report.key.source, "push");
    assert_eq!(report.key.proof.unwrap().provider, "pushwoosh");
    // No source has such a name.
    let long = format!("/hooks/{}", "x".repeat(64));
    for pause in [0, 1, 3, 8] {
        time::advance(Duration::from_secs(pause)).await;
        assert_eq!(send(&fixture, &long, "x", "body").await, 503);
    }
    assert_eq!(gaps.len(), 1);
}
