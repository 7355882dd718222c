//! What a webhook is answered, and what is kept of it.

use anyhow::{Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write as _;
use std::net::SocketAddr;
use tidings_e2e::{on_stage, post_known, wait_known, wait_logged};
use tidings_harness::http::{self, Answer};
use tidings_harness::metrics;
use tidings_harness::stage::Stage;

/// A request that PushPushGo could have made: the signature was computed apart
/// from this code base.
const PROJECT: &str = "5d411352784425000bd02a15";
const BODY: &[u8] = br#"{"kind":"subscriber:subscribe","projectId":"5d411352784425000bd02a15","customId":"c1","ppgId":"p1"}"#;
const SIGNATURE: &str = "76f0823ba5b77649859f8d91fe352b24750dff62";
const SMS: &[u8] = br#"[{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"0b1f5d1e-7f1e-4f57-a8a1-0e4f3c2c7a11","OrganizationId":"b9a1c6f2-7f4e-4f0c-9a53-2f0f3f6c1d22","ReportDescription":"ok","ReportDateTime":"2026-01-01T00:00:00","TotalSegments":1}]"#;

#[test]
fn a_signed_hook_is_accepted_and_any_other_refused() -> Result<()> {
    on_stage(|stage| {
        add(stage, "signed", "pushpushgo", Some(PROJECT), "{}")?;
        let at = stage.worker.http;
        let signed = |signature: &str, body| {
            let header = [("x-ppg-signature", signature)];
            post(at, "/hooks/signed", &header, body)
        };
        let answer = signed(SIGNATURE, BODY)?;
        expect(&answer, 200)?;
        let counts: serde_json::Value = serde_json::from_str(&answer.body)?;
        ensure!(counts["inserted"] == 1, "{counts}");

        expect(
            &signed("76f0823ba5b77649859f8d91fe352b24750dff63", BODY)?,
            401,
        )?;
        expect(&signed(SIGNATURE, b"{}")?, 401)?;
        expect(&post(at, "/hooks/signed", &[], BODY)?, 401)?;
        kept(stage, "unauthorized", 3)?;

        // The right signature of what is not JSON.
        let broken = "{";
        let signature: String = stage
            .connect()?
            .query_one(
                "select encode(tidings.hmac_sha1($1::text::bytea, $2::text::bytea), 'hex')",
                &[&broken, &PROJECT],
            )?
            .get(0);
        expect(&signed(&signature, broken.as_bytes())?, 400)?;
        kept(stage, "malformed", 1)
    })
}

#[test]
fn a_token_in_the_path_is_a_secret_of_its_own() -> Result<()> {
    on_stage(|stage| {
        add(stage, "sms", "arpoone", Some("token-1"), "{}")?;
        add(
            stage,
            "both",
            "pushpushgo",
            Some(PROJECT),
            r#"{"url_token": "token-2"}"#,
        )?;
        add(stage, "nothing", "arpoone", None, "{}")?;
        add(
            stage,
            "open",
            "arpoone",
            None,
            r#"{"allow_unauthenticated": true}"#,
        )?;
        let at = stage.worker.http;

        expect(&post(at, "/hooks/sms/token-1", &[], SMS)?, 200)?;
        expect(&post(at, "/hooks/sms/token-2", &[], SMS)?, 401)?;
        expect(&post(at, "/hooks/sms", &[], SMS)?, 401)?;
        // A header of that name is the client's, not the path's.
        expect(
            &post(at, "/hooks/sms", &[("url-token", "token-1")], SMS)?,
            401,
        )?;

        let signature = [("x-ppg-signature", SIGNATURE)];
        expect(&post(at, "/hooks/both/token-2", &signature, BODY)?, 200)?;
        expect(&post(at, "/hooks/both", &signature, BODY)?, 401)?;
        expect(&post(at, "/hooks/both/token-2", &[], BODY)?, 401)?;

        expect(&post(at, "/hooks/nothing", &[], SMS)?, 401)?;
        expect(&post(at, "/hooks/open", &[], SMS)?, 200)?;
        kept(stage, "unauthorized", 6)
    })
}

#[test]
fn what_is_no_hook_is_refused_before_the_database() -> Result<()> {
    on_stage(|stage| {
        add(
            stage,
            "open",
            "arpoone",
            None,
            r#"{"allow_unauthenticated": true}"#,
        )?;
        let at = stage.worker.http;
        for path in ["/hooks/unknown", "/hooks/unknown/token"] {
            expect(&post_known(at, path, &[], SMS)?, 404)?;
        }
        expect(&post(at, "/elsewhere", &[], SMS)?, 404)?;
        expect(&http::request(at, "DELETE", "/hooks/open", &[], b"")?, 405)?;
        let large = vec![b' '; 64 << 20];
        expect(&post(at, "/hooks/open", &[], &large)?, 413)?;
        kept(stage, "unauthorized", 0)
    })
}

/// From the answer, to the worker's log, to what is kept and why.
#[test]
fn a_refusal_is_found_by_the_receipt_id_in_its_answer() -> Result<()> {
    on_stage(|stage| {
        add(stage, "sms", "arpoone", Some("token"), "{}")?;
        let at = stage.worker.http;
        let accepted = post(at, "/hooks/sms/token", &[], SMS)?;
        expect(&accepted, 200)?;
        receipt(&accepted)?;

        for (path, reason) in [
            ("/hooks/sms", "the URL carries no token"),
            ("/hooks/sms/guess", "the token in the URL does not match"),
        ] {
            let refused = post(at, path, &[], SMS)?;
            expect(&refused, 401)?;
            ensure!(!refused.body.contains(reason), "{refused:?}");
            let receipt = receipt(&refused)?;
            let kept = stage.connect()?.query(
                "select reason from tidings.rejected where headers ->> 'receipt-id' = $1",
                &[&receipt],
            )?;
            ensure!(kept.len() == 1, "{} rows of {receipt}", kept.len());
            let why: String = kept[0].get(0);
            ensure!(why == reason, "{why}");
        }

        // The first of its cause is a warning; the second is counted for the next one.
        let unmatched = post(at, "/hooks/sms/token/more", &[], SMS)?;
        expect(&unmatched, 404)?;
        let log = stage.cluster.folder().join("worker.log");
        let refusals = wait_logged(&log, 2, |line| line.contains("a webhook is refused"))?;
        let refusals: Vec<Value> = refusals
            .iter()
            .map(|line| serde_json::from_str(line))
            .collect::<Result<_, _>>()?;
        let causes: Vec<_> = refusals.iter().map(|line| &line["cause"]).collect();
        ensure!(causes == ["unauthorized", "not_found"], "{refusals:?}");
        let last = &refusals[1];
        ensure!(last["receipt"] == receipt(&unmatched)?, "{last}");
        ensure!(last["source"] == "sms" && last["level"] == "WARN", "{last}");
        let peer = last["peer"].as_str().unwrap_or_default();
        ensure!(peer.starts_with("127.0.0.1:"), "{last}");

        let counted = metrics::counter(
            stage.worker.admin,
            "tidings_worker_http_unmatched_total",
            "path",
        )?;
        ensure!(counted.get("hooks") == Some(&1), "{counted:?}");
        Ok(())
    })
}

/// Providers and load balancers ask like this before they send: nothing is stored, and nothing
/// is said of the token.
#[test]
fn a_probe_of_a_hook_is_answered_and_stores_nothing() -> Result<()> {
    on_stage(|stage| {
        add(stage, "sms", "arpoone", Some("token"), "{}")?;
        let at = stage.worker.http;
        for method in ["GET", "HEAD"] {
            let probe = |path: &str| http::request(at, method, path, &[], b"");
            for path in [
                "/hooks/sms",
                "/hooks/sms/",
                "/hooks/sms/token",
                "/hooks/sms/guess",
            ] {
                let answer = probe(path)?;
                expect(&answer, 200)?;
                ensure!((method == "HEAD") == answer.body.is_empty(), "{answer:?}");
            }
            expect(&probe("/hooks/unknown")?, 404)?;
            expect(&probe("/healthz")?, 200)?;
        }
        let answer = http::request(at, "OPTIONS", "/hooks/sms/token", &[], b"")?;
        expect(&answer, 204)?;
        ensure!(
            answer.header("allow") == Some("POST, GET, HEAD, OPTIONS"),
            "{answer:?}"
        );
        let probes = metrics::counter(
            stage.worker.admin,
            "tidings_worker_hook_probes_total",
            "source",
        )?;
        // Those of the test, and the one with which it waited for the source.
        ensure!(probes.get("sms") >= Some(&8), "{probes:?}");
        kept(stage, "unauthorized", 0)?;
        kept(stage, "refused", 0)
    })
}

/// People and programs put such slashes into URLs.
#[test]
fn a_hook_is_found_with_a_slash_too_many() -> Result<()> {
    on_stage(|stage| {
        add(stage, "sms", "arpoone", Some("token"), "{}")?;
        let at = stage.worker.http;
        for path in [
            "/hooks/sms/token/",
            "/hooks//sms/token",
            "//hooks/sms//token//",
            "/hooks/sms/token/?a=b",
        ] {
            expect(&post(at, path, &[], SMS)?, 200)?;
        }
        for path in ["/hooks/sms/", "/hooks/sms/guess/"] {
            expect(&post(at, path, &[], SMS)?, 401)?;
        }
        kept(stage, "unauthorized", 2)
    })
}

/// The pages that name the sources are not at the address for webhooks.
#[test]
fn operators_have_an_address_of_their_own() -> Result<()> {
    on_stage(|stage| {
        add(stage, "sms", "arpoone", Some("token"), "{}")?;
        let (public, admin) = (stage.worker.http, stage.worker.admin);
        for path in ["/metrics", "/readyz", "/healthz"] {
            for method in ["GET", "HEAD"] {
                let answer = http::request(admin, method, path, &[], b"")?;
                expect(&answer, 200)?;
                ensure!((method == "HEAD") == answer.body.is_empty(), "{answer:?}");
            }
            expect(&http::post(admin, path, &[], b"")?, 405)?;
        }
        for path in ["/metrics", "/readyz"] {
            expect(&http::get(public, path)?, 404)?;
        }
        let alive = http::get(public, "/healthz")?;
        ensure!(alive.body == r#"{"status":"alive"}"#, "{alive:?}");
        expect(&http::post(admin, "/hooks/sms/token", &[], SMS)?, 404)?;
        Ok(())
    })
}

/// Nobody documents which of the two a provider signs.
#[test]
fn a_signature_covers_a_compressed_body_as_sent_or_inflated() -> Result<()> {
    on_stage(|stage| {
        add(stage, "signed", "pushpushgo", Some(PROJECT), "{}")?;
        let at = stage.worker.http;
        let (packed, other) = (gzip(BODY)?, gzip(b"{\"kind\":\"other\"}")?);
        let signature = |bytes: &[u8]| -> Result<String> {
            let row = stage.connect()?.query_one(
                "select encode(tidings.hmac_sha1($1, $2::text::bytea), 'hex')",
                &[&bytes, &PROJECT],
            )?;
            Ok(row.try_get(0)?)
        };
        let send = |signature: &str, headers: &[(&str, &str)], body: &[u8]| {
            let mut all = vec![("x-ppg-signature", signature), ("content-encoding", "gzip")];
            all.extend(headers);
            post(at, "/hooks/signed", &all, body)
        };
        expect(&send(&signature(&packed)?, &[], &packed)?, 200)?;
        expect(&send(SIGNATURE, &[], &packed)?, 200)?;
        expect(&send(&signature(&other)?, &[], &packed)?, 401)?;
        // Only the worker says what the bytes as sent were.
        let forged = stage
            .connect()?
            .query_one("select encode($1::bytea, 'base64')", &[&other])?;
        let forged: String = forged.try_get(0)?;
        let forged = [("body-as-sent", forged.trim())];
        expect(&send(&signature(&other)?, &forged, &packed)?, 401)?;
        kept(stage, "unauthorized", 2)?;
        // It is verified again as it came, once the secret is right.
        let mut client = stage.connect()?;
        client.batch_execute("select tidings.rotate_secret('signed', 'another', '0')")?;
        expect(&send(&signature(&packed)?, &[], &packed)?, 401)?;
        client.execute(
            "select tidings.rotate_secret('signed', $1, '0')",
            &[&PROJECT],
        )?;
        let replayed = client.query_one(
            "select count(*) from tidings.replay_rejected('signed') where verdict = 'accepted'",
            &[],
        )?;
        ensure!(replayed.try_get::<_, i64>(0)? == 1);
        kept(stage, "unauthorized", 2)
    })
}

fn gzip(body: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

/// The receipt id, which the header and the body agree on.
fn receipt(answer: &Answer) -> Result<String> {
    let body: Value = serde_json::from_str(&answer.body)?;
    let header = answer.header("tidings-receipt");
    ensure!(
        header.is_some() && body.get("receipt").and_then(Value::as_str) == header,
        "{answer:?}"
    );
    Ok(header.unwrap_or_default().to_owned())
}

#[test]
fn the_same_hook_twice_is_one_event() -> Result<()> {
    on_stage(|stage| {
        add(stage, "sms", "arpoone", Some("token"), "{}")?;
        let at = stage.worker.http;
        for inserted in [1, 0] {
            let answer = post(at, "/hooks/sms/token", &[], SMS)?;
            expect(&answer, 200)?;
            let counts: serde_json::Value = serde_json::from_str(&answer.body)?;
            ensure!(counts["inserted"] == inserted, "{counts}");
            ensure!(counts["duplicate"] == 1 - inserted, "{counts}");
        }
        Ok(())
    })
}

#[test]
fn one_bad_item_does_not_fail_its_batch() -> Result<()> {
    on_stage(|stage| {
        add(stage, "sms", "arpoone", Some("token"), "{}")?;
        let mut items: Vec<serde_json::Value> = serde_json::from_slice(SMS)?;
        items.push(serde_json::json!("no event at all"));
        let body = serde_json::to_vec(&items)?;
        let answer = post(stage.worker.http, "/hooks/sms/token", &[], &body)?;
        expect(&answer, 200)?;
        let counts: serde_json::Value = serde_json::from_str(&answer.body)?;
        ensure!(
            counts["inserted"] == 1 && counts["rejected"] == 1,
            "{counts}"
        );
        kept(stage, "item", 1)
    })
}

/// Its page: HTTP 200 and nothing else, or the hook comes again; 1 to 1000 items a
/// hook. One object, and more items than that, are taken as well.
#[test]
fn arpoone_ack_is_exactly_200() -> Result<()> {
    on_stage(|stage| {
        add(stage, "sms", "arpoone", Some("token"), "{}")?;
        let reports = |from: usize, count: usize| -> Vec<Value> {
            (from..from + count).map(report).collect()
        };
        let mut mixed = reports(2_000, 1_000);
        let bad = [
            json!(null),
            json!("none"),
            json!({}),
            json!({"Status": "DELIVERED"}),
        ];
        mixed.splice(400..404, bad);
        for (what, body, inserted, duplicate, rejected) in [
            ("one object", report(0), 1, 0, 0),
            ("an array of 1", json!(reports(1, 1)), 1, 0, 0),
            ("an array of 1000", json!(reports(2, 1_000)), 1_000, 0, 0),
            ("the same again", json!(reports(2, 1_000)), 0, 1_000, 0),
            ("bad items among good ones", json!(mixed), 996, 0, 4),
            ("bad items only", json!([null, {}]), 0, 0, 2),
            ("no items", json!([]), 0, 0, 0),
            (
                "an array of 1001",
                json!(reports(4_000, 1_001)),
                1_001,
                0,
                0,
            ),
        ] {
            let body = body.to_string();
            let at = stage.worker.http;
            let answer = post(at, "/hooks/sms/token", &[], body.as_bytes())?;
            ensure!(answer.status == 200, "{what}: {answer:?}");
            let counts: Value = serde_json::from_str(&answer.body)?;
            let wanted = json!([inserted, duplicate, rejected]);
            let have = json!([counts["inserted"], counts["duplicate"], counts["rejected"]]);
            ensure!(have == wanted, "{what}: {counts}");
        }
        kept(stage, "item", 6)
    })
}

/// A delivery report of its own.
fn report(number: usize) -> Value {
    json!({
        "Msisdn": "351913462111",
        "Status": "DELIVERED",
        "MessageId": format!("0b1f5d1e-0000-4000-8000-{number:012x}"),
        "OrganizationId": "b9a1c6f2-7f4e-4f0c-9a53-2f0f3f6c1d22",
        "ReportDateTime": "2026-01-01T00:00:00",
    })
}

fn add(
    stage: &Stage,
    name: &str,
    provider: &str,
    secret: Option<&str>,
    options: &str,
) -> Result<()> {
    stage.connect()?.execute(
        "select tidings.add_source($1, $2, $3, $4::text::jsonb)",
        &[&name, &provider, &secret, &options],
    )?;
    wait_known(stage.worker.http, name)
}

fn post(at: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    http::post(at, path, &all, body)
}

fn expect(answer: &Answer, status: u16) -> Result<()> {
    ensure!(answer.status == status, "not {status}: {answer:?}");
    Ok(())
}

/// So many rows of that verdict are in the quarantine.
fn kept(stage: &Stage, verdict: &str, rows: i64) -> Result<()> {
    let row = stage.connect()?.query_one(
        "select count(*) from tidings.rejected where verdict = $1",
        &[&verdict],
    )?;
    let have: i64 = row.get(0);
    ensure!(have == rows, "{have} rejected as {verdict}, not {rows}");
    Ok(())
}
