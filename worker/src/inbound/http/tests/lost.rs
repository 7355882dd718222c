//! The parts that are kept of a request that a source loses, and odd requests that are taken.

use std::{
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use tidings_core::{network::Network, policy::BODY_AS_SENT_HEADER};

use super::*;
use crate::{
    inbound::http::kept::{self, tests::Desk},
    sources::refused::KeepRefusal,
};

const PEER: &str = "203.0.113.9:4711";

/// A fixture, and what is kept of its refused requests.
fn keeping(now: Snapshot) -> (Fixture, Arc<Mutex<Vec<KeepRefusal>>>) {
    let mut fixture = fixture(now.clone(), accept);
    let kept: Arc<Mutex<Vec<KeepRefusal>>> = Arc::default();
    let desk = Desk {
        answer: Ok(()),
        kept: Arc::clone(&kept),
    };
    let (handle, waiting) = Kept::new();
    let (sender, snapshot) = watch::channel(now);
    let follow = kept::follow(waiting, desk.start().recipient(), snapshot);
    actix_web::rt::spawn(async move {
        follow.await;
        drop(sender);
    });
    fixture.hooks.kept = handle;
    fixture.hooks.budget = Budget::new(Limits {
        requests: 10,
        bytes: 100_000,
        share: 100,
        wire: 1_000,
        message: 0,
    });
    (fixture, kept)
}

fn sources() -> Snapshot {
    snapshot(&[
        source("sms", "arpoone"),
        source("ppg", "pushpushgo"),
        source("chat", "ppoppo"),
    ])
}

impl Fixture {
    async fn only(&self, kept: &Arc<Mutex<Vec<KeepRefusal>>>) -> Option<KeepRefusal> {
        self.hooks.kept.settle().await;
        let mut kept = kept.lock().unwrap();
        assert!(kept.len() <= 1, "{kept:?}");
        kept.pop()
    }
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[actix_web::test]
async fn what_a_known_source_loses_is_kept_with_the_reason_the_sender_and_the_beginning() {
    let (fixture, kept) = keeping(sources());
    let from = |request: TestRequest| request.peer_addr(PEER.parse().unwrap());
    let large = "x".repeat(MAX_BODY + 1);
    for (request, status, reason, body, bytes) in [
        (
            post("/hooks/sms/the-token").insert_header(("content-encoding", "br")),
            415,
            "answered 415 (unsupported_encoding): send the body as it is, or with one Content-Encoding of gzip or deflate",
            "[1]",
            3,
        ),
        (
            post("/hooks/sms/the-token").insert_header(("content-encoding", "deflate")),
            400,
            "answered 400 (malformed): the body cannot be inflated as its Content-Encoding says",
            "[1]",
            3,
        ),
        (
            post("/hooks/sms/the-token").set_payload(large.clone()),
            413,
            "answered 413 (too_large): a body has at most 100 bytes",
            &large[..MAX_BODY],
            MAX_BODY as i64 + 1,
        ),
        (
            post("/hooks/sms/the-token").insert_header((header::CONTENT_LENGTH, 1_000_000)),
            413,
            "answered 413 (too_large): a body has at most 100 bytes",
            "[1]",
            1_000_000,
        ),
        (
            post("/hooks/sms/the-token/more"),
            404,
            "answered 404 (not_found)",
            "[1]",
            3,
        ),
        (
            post("/hooks/sms/the-token").method(Method::PUT),
            405,
            "answered 405 (method_not_allowed): events are taken by POST",
            "[1]",
            3,
        ),
        (
            post("/hooks/sms/a%00b"),
            401,
            "answered 401 (unauthorized): the token in the URL contains U+0000",
            "",
            3,
        ),
    ] {
        let (given, _, _, receipt) = fixture.receipted(from(request)).await;
        assert_eq!(given, status, "{reason}");
        let refusal = fixture.only(&kept).await.unwrap();
        assert_eq!(refusal.source.as_ref(), "sms");
        assert_eq!(
            (refusal.reason.as_str(), &refusal.body[..]),
            (reason, body.as_bytes())
        );
        assert_eq!(refusal.bytes, bytes, "{reason}");
        let headers: Value = serde_json::from_str(&refusal.headers).unwrap();
        assert_eq!(headers["receipt-id"], receipt.unwrap());
        assert_eq!(headers["peer-address"], "203.0.113.9");
        let token = (status != 401).then_some("the-token");
        assert_eq!(
            headers.get("url-token").and_then(Value::as_str),
            token,
            "{reason}"
        );
    }
    assert!(fixture.seen.lock().unwrap().is_empty());
}

#[actix_web::test]
async fn nothing_is_kept_of_strangers_of_probes_and_of_what_is_sent_again() {
    let (fixture, kept) = keeping(sources());
    let packed = || post("/hooks/absent").insert_header(("content-encoding", "br"));
    for (request, status) in [
        (packed(), 404),
        (post("/hooks/absent/token/more"), 404),
        (post("/hooks/absent/token").method(Method::PUT), 405),
        (post("/hooks/chat/token"), 404),
        (post("/hooks/chat/token/more"), 404),
        (TestRequest::delete().uri("/hooks/sms"), 405),
        (TestRequest::get().uri("/hooks/sms/token/more"), 404),
        (post("/elsewhere"), 404),
        (post("/hooks/sms/token"), 200),
    ] {
        assert_eq!(fixture.call(request).await.0, status);
        assert_eq!(fixture.only(&kept).await, None);
    }
    fixture.drain.begin();
    assert_eq!(fixture.call(post("/hooks/sms/token")).await.0, 503);
    assert_eq!(fixture.only(&kept).await, None);
}

/// The body arrives in every form in which senders compress.
#[actix_web::test]
async fn a_compressed_body_is_taken_as_the_body_that_it_is() {
    let (fixture, _) = keeping(sources());
    let body = b"[{\"Status\": \"DELIVERED\"}]";
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(body).unwrap();
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
    raw.write_all(body).unwrap();
    let (zlib, raw) = (zlib.finish().unwrap(), raw.finish().unwrap());
    for (coding, sent) in [
        ("gzip", gzip(body)),
        ("X-GZIP", gzip(body)),
        ("identity, gzip", gzip(body)),
        ("deflate", zlib),
        ("deflate", raw),
        ("gzip", Vec::new()),
    ] {
        for (path, is_signed) in [("/hooks/sms", false), ("/hooks/ppg", true)] {
            let request = post(path)
                .insert_header(("content-encoding", coding))
                .set_payload(sent.clone());
            assert_eq!(fixture.call(request).await.0, 200, "{coding}");
            let seen = fixture.seen.lock().unwrap().pop().unwrap();
            let whole: &[u8] = if sent.is_empty() { b"" } else { body };
            assert_eq!(&seen.body[..], whole, "{coding}");
            // Only a signature can cover the bytes as sent.
            let headers: Value = serde_json::from_str(&seen.headers.to_string()).unwrap();
            assert_eq!(
                headers.get(BODY_AS_SENT_HEADER).is_some(),
                is_signed,
                "{path}"
            );
        }
    }
}

#[actix_web::test]
async fn what_a_body_expands_to_has_the_limits_of_a_body_and_is_in_the_budget() {
    let (mut fixture, kept) = keeping(sources());
    let send = |bytes: usize| {
        post("/hooks/sms")
            .insert_header(("content-encoding", "gzip"))
            .set_payload(gzip(&vec![b' '; bytes]))
    };
    assert_eq!(fixture.call(send(MAX_BODY)).await.0, 200);
    let (status, body, _) = fixture.call(send(MAX_BODY + 1)).await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (413, &json!("too_large"))
    );
    assert!(fixture.only(&kept).await.is_some());
    // A bomb, within the limit of a body.
    fixture.hooks.max_body = 1 << 20;
    assert_eq!(fixture.call(send(64 << 10)).await.0, 200);
    let (status, body, _) = fixture.call(send(90_000)).await;
    assert_eq!(status, 413);
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("100 times"), "{detail}");
    assert!(fixture.only(&kept).await.is_some());
    // What is inflated is charged as what is sent.
    fixture.hooks.budget = Budget::new(Limits {
        requests: 10,
        bytes: 10_000,
        share: 100,
        wire: 1_000,
        message: 0,
    });
    let (status, body, _) = fixture.call(send(20_000)).await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (503, &json!("source_busy"))
    );
    assert_eq!(fixture.only(&kept).await, None);
}

#[actix_web::test]
async fn the_sender_is_who_has_connected_or_whom_a_trusted_proxy_names() {
    let (mut fixture, _) = keeping(sources());
    let mut sender = async |proxies: &[&str], peer: &str, forwarded: &str| {
        let networks: Vec<Network> = proxies.iter().map(|text| text.parse().unwrap()).collect();
        fixture.hooks.proxies = Proxies::new(&networks);
        let request = post("/hooks/sms")
            .insert_header(("x-forwarded-for", forwarded))
            .insert_header(("peer-address", "192.0.2.99"))
            .peer_addr(peer.parse::<SocketAddr>().unwrap());
        assert_eq!(fixture.call(request).await.0, 200);
        let seen = fixture.seen.lock().unwrap().pop().unwrap();
        let headers: Value = serde_json::from_str(&seen.headers.to_string()).unwrap();
        headers["peer-address"]
            .as_str()
            .unwrap()
            .parse::<IpAddr>()
            .unwrap()
    };
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let proxy = "10.0.0.1:80";
    assert_eq!(sender(&[], PEER, "192.0.2.7").await, address("203.0.113.9"));
    assert_eq!(
        sender(&["10.0.0.0/8"], PEER, "192.0.2.7").await,
        address("203.0.113.9")
    );
    assert_eq!(sender(&[], proxy, "192.0.2.7").await, address("10.0.0.1"));
    assert_eq!(
        sender(&["10.0.0.0/8"], proxy, "192.0.2.7").await,
        address("192.0.2.7")
    );
    assert_eq!(
        sender(&["10.0.0.0/8"], proxy, "192.0.2.7, 203.0.113.9").await,
        address("203.0.113.9")
    );
}
