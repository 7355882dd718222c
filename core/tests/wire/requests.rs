//! Requests that the worker sends.

use prost::Message;
use serde_json::json;
use tidings_core::{provider, wire::Schema};
use tidings_proto::ppoppo::{StreamChannelEventsRequest, StreamSendRequestEventsRequest};

use crate::peer::{Peer, call, own, ppoppo, pushwoosh};

#[test]
fn ppoppo_request_after_event_id() {
    let read = |values: &[(&str, &str)]| {
        let request = ppoppo().request(values).unwrap();
        StreamSendRequestEventsRequest::decode(request).unwrap()
    };
    let request = read(&[("after_event_id", "01ARYZ6S41TSV4RRFFQ69G5FAV")]);
    assert_eq!(
        request.after_event_id.as_deref(),
        Some("01ARYZ6S41TSV4RRFFQ69G5FAV")
    );
    assert_eq!(read(&[]).after_event_id, None, "from the start");
}

#[test]
fn ppoppo_request_send_request_id() {
    let request = ppoppo().request(&[("send_request_id", "one")]).unwrap();
    let request = StreamSendRequestEventsRequest::decode(request).unwrap();
    assert_eq!(request.send_request_id.as_deref(), Some("one"));
    let request = ppoppo().request(&[("after_event_id", "a")]).unwrap();
    let request = StreamSendRequestEventsRequest::decode(request).unwrap();
    assert_eq!(request.send_request_id, None, "the whole app");
}

#[test]
fn ppoppo_request_channel_ids() {
    let channels = json!({"stream": "channels"});
    let call = provider::find("ppoppo").unwrap().call(&channels).unwrap();
    let schema = Schema::of(call).unwrap();
    let read = |values: &[(&str, &str)]| {
        let request = schema.request(values).unwrap();
        StreamChannelEventsRequest::decode(request).unwrap()
    };
    let some = [("channel_ids", "a"), ("channel_ids", "b")];
    let request = read(&[&some[..], &[("after_message_id", "01A")]].concat());
    assert_eq!(request.channel_ids, ["a", "b"]);
    assert_eq!(request.after_message_id.as_deref(), Some("01A"));
    assert_eq!(read(&[]), StreamChannelEventsRequest::default());
}

#[test]
fn a_field_that_the_request_lacks_is_named() {
    let error = ppoppo().request(&[("since", "x")]).unwrap_err();
    assert!(
        error.ends_with("StreamSendRequestEventsRequest has no field since"),
        "{error}"
    );
    assert!(pushwoosh().request(&[("uuid", "x")]).is_err());
}

#[test]
fn a_cursor_goes_back_in_the_form_it_came_in() {
    for (event, request, sent, expected) in [
        ("string", "string", "01A", json!("01A")),
        ("string", "bytes", "01A", json!("MDFB")),
        ("string", "google.protobuf.StringValue", "01A", json!("01A")),
        // Bytes are base64 in the event's JSON, and so in the cursor.
        ("bytes", "bytes", "/wA=", json!("/wA=")),
        ("bytes", "string", "/wA=", json!("/wA=")),
        (
            "google.protobuf.BytesValue",
            "google.protobuf.BytesValue",
            "/wA=",
            json!("/wA="),
        ),
    ] {
        let proto = format!(
            "syntax = \"proto3\"; import \"google/protobuf/wrappers.proto\";
             service S {{ rpc M(R) returns (stream E); }}
             message R {{ {request} after_event_id = 1; }} message E {{ {event} event_id = 1; string event_type = 2; }}"
        );
        let schema = own(call("ppoppo"), &proto, "S/M", "{}").unwrap();
        let bytes = schema.request(&[("after_event_id", sent)]).unwrap();
        assert_eq!(
            Peer::new(&proto).read("R", &bytes),
            json!({"after_event_id": expected}),
            "{event} {request}"
        );
    }
}
