//! The call that returns the status of a send request, and what its answer becomes.

use prost::Message;
use serde_json::{Value, json};
use tidings_core::{Settings, provider, wire::Question};
use tidings_proto::ppoppo::{
    GetSendRequestStatusRequest, GetSendRequestStatusResponse, RecipientDeliveryStatus,
    RecipientStatus, SendRequestStatus, SendRequestSummary,
};

use crate::peer::call;

fn question() -> Question {
    Question::of(&call("ppoppo").inquiry.unwrap()).unwrap()
}

#[test]
fn a_send_request_is_asked_for_by_its_id() {
    let question = question();
    assert_eq!(
        question.path(),
        "/pcs.external.v1.MessageService/GetSendRequestStatus"
    );
    let asked = question.request("r\"1").unwrap();
    let asked = GetSendRequestStatusRequest::decode(asked).unwrap();
    assert_eq!(asked.id, "r\"1");
}

#[test]
fn an_answer_is_a_body_that_is_read() {
    let recipient =
        |ppnum: &str, status: RecipientDeliveryStatus, code: Option<&str>| RecipientStatus {
            ppnum: ppnum.to_owned(),
            status: status.into(),
            error_code: code.map(str::to_owned),
            ..RecipientStatus::default()
        };
    let answer = GetSendRequestStatusResponse {
        request: Some(SendRequestSummary {
            status: SendRequestStatus::Failed.into(),
            total_recipients: 3,
            delivered: 1,
            ..SendRequestSummary::default()
        }),
        recipients: vec![
            recipient("1", RecipientDeliveryStatus::Delivered, None),
            recipient("2", RecipientDeliveryStatus::Failed, Some("consent_denied")),
            recipient("3", RecipientDeliveryStatus::Pending, None),
        ],
    };
    let items = question().items("r\"1", answer.encode_to_vec().into());
    let items = items.unwrap();
    let first: Value = serde_json::from_str(&items[0]).unwrap();
    assert_eq!(
        first,
        json!({
            "reconciled": true, "send_request_id": "r\"1",
            "summary": {"status": "SEND_REQUEST_STATUS_FAILED", "total_recipients": 3, "delivered": 1},
        })
    );
    let body = format!("[{}]", items.join(","));
    let ppoppo = provider::find("ppoppo").unwrap();
    let read = ppoppo.normalize("s", &Settings::default(), body.as_bytes());
    let read: Vec<_> = read
        .unwrap()
        .into_iter()
        .map(|item| item.event.unwrap())
        .map(|event| (event.kind.as_str(), event.recipient.map(String::from)))
        .collect();
    let told = |kind, ppnum: &str| (kind, Some(ppnum.to_owned()));
    assert_eq!(
        read,
        [
            ("request.failed", None),
            told("message.delivered", "1"),
            told("consent.denied", "2"),
            told("message.pending", "3"),
        ]
    );
    let nothing = GetSendRequestStatusResponse::default().encode_to_vec();
    assert_eq!(question().items("r", nothing.into()), Ok(Vec::new()));
    assert!(question().items("r", vec![0x0a, 0x7f].into()).is_err());
}
