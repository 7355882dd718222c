//! Both of our schemas under other names and numbers, wrapped, in batches: they give what
//! ours give, and the peer reads what they send.

use prost::Message;
use serde_json::{Value, json};
use tidings_core::wire::{Key, Reply, Schema};
use tidings_proto::pushwoosh::Event;

use crate::peer::{PAGE, Peer, call, decode, own, page, ppoppo, pushwoosh};

const PPOPPO: &str = include_str!("../../testdata/wire/ppoppo_variant.proto");
const PPOPPO_NAMES: &str = include_str!("../../testdata/wire/ppoppo_names.json");
const PUSHWOOSH: &str = include_str!("../../testdata/wire/pushwoosh_variant.proto");
const PUSHWOOSH_NAMES: &str = include_str!("../../testdata/wire/pushwoosh_names.json");

fn notices() -> Schema {
    let method = "/acme.notices.v2.NoticeService/FollowNotices";
    own(call("ppoppo"), PPOPPO, method, PPOPPO_NAMES).unwrap()
}

fn hits() -> Schema {
    let method = "acme.hits.v3.HitService/DeliverHits";
    own(call("pushwoosh"), PUSHWOOSH, method, PUSHWOOSH_NAMES).unwrap()
}

#[test]
fn ppoppo_proto_package_service_rpc() {
    let ours = ppoppo();
    assert_eq!(ours.service(), "pcs.external.v1.MessageService");
    assert_eq!(
        ours.path(),
        "/pcs.external.v1.MessageService/StreamSendRequestEvents"
    );
    let other = notices();
    assert_eq!(other.service(), "acme.notices.v2.NoticeService");
    assert_eq!(other.path(), "/acme.notices.v2.NoticeService/FollowNotices");
}

#[test]
fn the_same_ppoppo_events_are_the_same_json() {
    let types = [
        ("SEND_REQUEST_EVENT_TYPE_UNSPECIFIED", "WHAT_NOTHING"),
        ("RECIPIENT_DELIVERED", "WHAT_ARRIVED"),
        ("RECIPIENT_FAILED", "WHAT_LOST"),
        ("RECIPIENT_PENDING_CONSENT", "WHAT_ASKED"),
        ("CONSENT_GRANTED", "WHAT_ALLOWED"),
        ("CONSENT_DENIED", "WHAT_FORBIDDEN"),
        ("REQUEST_COMPLETED", "WHAT_DONE"),
        ("POLL_RESPONSE_RECEIVED", "WHAT_VOTED"),
    ];
    let mut ours = Vec::new();
    let mut theirs = Vec::new();
    for (n, (of, what)) in types.into_iter().enumerate() {
        let id = format!("01ARYZ6S41TSV4RRFFQ69G5FA{n}");
        let at = format!("2026-01-02T03:04:05.00{n}Z").replace(".000Z", "Z");
        let mut event = json!({
            "event_id": id, "send_request_id": "request", "event_type": of, "occurred_at": at,
        });
        let mut notice = json!({"id": id, "request": "request", "what": what, "at": at});
        if of == "REQUEST_COMPLETED" {
            event["summary"] = json!({"delivered": 7, "failed": 2});
            notice["totals"] = json!({"good": 7, "bad": 2});
        } else {
            event["recipient"] = json!({"ppnum": "12300000004", "message_id": "m-1"});
            notice["who"] = json!({"number": "12300000004", "message": "m-1"});
        }
        if of == "RECIPIENT_FAILED" {
            event["recipient"]["error_code"] = "BLOCKED".into();
            notice["who"]["fault"] = "BLOCKED".into();
        }
        let bytes = Peer::new(PAGE).encode("chat.external.SendRequestEvent", &event);
        ours.extend(decode(&page(), bytes));
        theirs.push(notice);
    }
    let batch = json!({"made_at": 1_767_323_045_000_u64, "notices": theirs});
    let bytes = Peer::new(PPOPPO).encode("acme.notices.v2.FollowNoticesResponse", &batch);
    assert_eq!(decode(&notices(), bytes), ours);
    assert_eq!(ours.len(), 8);
}

#[test]
fn the_same_pushwoosh_events_are_the_same_json() {
    let event = Event {
        uuid: "5d8b7c0e".to_owned(),
        event_name: "Email Opened".to_owned(),
        message_id: Some(u64::MAX),
        message_code: "E682-E6D92B9A-53E24868".to_owned(),
        campaign_id: Some(961_048),
        platform: "Email".to_owned(),
        payload: "Hello \u{1f44b}".to_owned(),
        application_code: "32E5A-9B411".to_owned(),
        hwid: "someone@example.com".to_owned(),
        user_id: "1894410".to_owned(),
        timestamp: 1_723_799_271,
        journey_title: "Journey".to_owned(),
        journey_point_title: "Point".to_owned(),
        live_activity_id: Some("live".to_owned()),
    };
    let hit = json!({
        "key": "5d8b7c0e", "name": "Email Opened", "message": u64::MAX,
        "code": "E682-E6D92B9A-53E24868", "campaign": 961_048, "device": "Email",
        "content": "Hello \u{1f44b}", "application": "32E5A-9B411",
        "hardware": "someone@example.com", "user": "1894410", "at": 1_723_799_271,
        "journey": "Journey", "point": "Point", "activity": "live",
    });
    let batch = json!({"batch": 1, "hits": [hit, {"key": "second"}]});
    let bytes = Peer::new(PUSHWOOSH).encode("acme.hits.v3.DeliverHitsRequest", &batch);
    let mut ours = decode(&pushwoosh(), event.encode_to_vec());
    ours.push(json!({"uuid": "second"}));
    assert_eq!(decode(&hits(), bytes), ours);
}

#[test]
fn the_peer_reads_the_request_in_its_own_names() {
    let peer = Peer::new(PPOPPO);
    let read = |values: &[(&str, &str)]| -> Value {
        let request = notices().request(values).unwrap();
        peer.read("acme.notices.v2.FollowNoticesRequest", &request)
    };
    assert_eq!(
        read(&[("after_event_id", "01A"), ("send_request_id", "r")]),
        json!({"since": "01A", "campaign": "r"})
    );
    assert_eq!(read(&[]), json!({}));
}

#[test]
fn the_peer_reads_the_replies_in_its_own_names() {
    let schema = hits();
    let batch = json!({"hits": [{"key": "a"}, {"key": "b"}]});
    let peer = Peer::new(PUSHWOOSH);
    let bytes = peer.encode("acme.hits.v3.DeliverHitsRequest", &batch);
    let keys: Vec<Key> = schema
        .events(bytes.into())
        .map(|event| event.key.unwrap())
        .collect();
    let replies = [
        Reply {
            key: &keys[0],
            refused: None,
        },
        Reply {
            key: &keys[1],
            refused: Some("busy"),
        },
    ];
    let replies = schema.replies(&replies);
    assert_eq!(replies.len(), 1, "a batch is answered by a batch");
    assert_eq!(
        peer.read("acme.hits.v3.DeliverHitsResponse", &replies[0]),
        json!({"acks": [
            {"key": "a", "result": "RESULT_OK"},
            {"key": "b", "result": "RESULT_RETRY"},
        ]})
    );
}
