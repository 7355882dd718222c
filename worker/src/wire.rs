//! gRPC messages by descriptor: from bytes to the JSON that the extension reads.
//!
//! There is one path for every message of every provider, whether its schema is
//! ours or the provider's own, so a [`Schema`] is a value and nothing is generated.
//!
//! The JSON has the field names of the `.proto` file, enums by name (an unknown
//! number as the number), 64-bit integers as numbers, and no default values.
//! Nothing of a message is lost:
//! - fields that the schema does not know are kept, encoded, under `@unknown`;
//! - a message that cannot be decoded becomes `{"@undecodable": .., "@error": ..}`
//!   with its bytes in base64, which the extension keeps as rejected.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions, Value};

/// One gRPC method: where it is called and what it speaks.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    service: String,
    path: PathAndQuery,
    input: MessageDescriptor,
    output: MessageDescriptor,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    #[error("the descriptor set cannot be read: {0}")]
    Descriptors(#[from] prost_reflect::DescriptorError),
    #[error("the descriptor set has no method {service}/{method}")]
    NoMethod { service: String, method: String },
    #[error("{0} is not a path")]
    Path(String),
    #[error("the message {message} has no string field {field}")]
    NoField { message: String, field: String },
}

impl Schema {
    /// A method of an encoded `google.protobuf.FileDescriptorSet`.
    pub(crate) fn new(
        descriptor_set: &[u8],
        service: &str,
        method: &str,
    ) -> Result<Self, SchemaError> {
        let pool = DescriptorPool::decode(descriptor_set)?;
        let described = pool
            .get_service_by_name(service)
            .and_then(|service| service.methods().find(|m| m.name() == method))
            .ok_or_else(|| SchemaError::NoMethod {
                service: service.to_owned(),
                method: method.to_owned(),
            })?;
        let path = format!("/{service}/{method}");
        Ok(Self {
            service: service.to_owned(),
            input: described.input(),
            output: described.output(),
            path: path.parse().map_err(|_| SchemaError::Path(path))?,
        })
    }

    /// The stream of a Ppoppo app's events, as reconstructed.
    pub(crate) fn ppoppo() -> Result<Self, SchemaError> {
        let service = "chat.external.ExternalMessageService";
        Self::new(
            tidings_proto::DESCRIPTOR_SET,
            service,
            "StreamSendRequestEvents",
        )
    }

    /// Pushwoosh's push of events, as reconstructed.
    pub(crate) fn pushwoosh() -> Result<Self, SchemaError> {
        let service = "pushwoosh.event_streaming.v1.EventStreaming";
        Self::new(tidings_proto::DESCRIPTOR_SET, service, "StreamEvents")
    }

    pub(crate) fn service(&self) -> &str {
        &self.service
    }

    /// `/package.Service/Method`
    pub(crate) fn path(&self) -> &PathAndQuery {
        &self.path
    }

    /// What the client sends.
    pub(crate) fn input(&self) -> &MessageDescriptor {
        &self.input
    }

    /// What the server sends.
    pub(crate) fn output(&self) -> &MessageDescriptor {
        &self.output
    }
}

/// Encodes a message of these string fields.
pub(crate) fn encode(
    descriptor: &MessageDescriptor,
    fields: &[(&str, &str)],
) -> Result<Bytes, SchemaError> {
    let mut message = DynamicMessage::new(descriptor.clone());
    for (field, value) in fields {
        message
            .try_set_field_by_name(field, Value::String((*value).to_owned()))
            .map_err(|_| SchemaError::NoField {
                message: descriptor.full_name().to_owned(),
                field: (*field).to_owned(),
            })?;
    }
    Ok(message.encode_to_vec().into())
}

/// A received message.
#[derive(Debug)]
pub(crate) struct Decoded {
    /// The message, or the evidence of one that cannot be decoded.
    pub(crate) json: Vec<u8>,
    message: Result<DynamicMessage, String>,
}

impl Decoded {
    pub(crate) fn new(descriptor: &MessageDescriptor, bytes: Bytes) -> Self {
        let message = DynamicMessage::decode(descriptor.clone(), bytes.clone())
            .map_err(|error| error.to_string())
            .and_then(|message| Ok((json(&message)?, message)));
        match message {
            Ok((json, message)) => Self {
                json,
                message: Ok(message),
            },
            Err(error) => Self {
                json: evidence(&bytes, &error),
                message: Err(error),
            },
        }
    }

    /// Why it could not be decoded.
    pub(crate) fn error(&self) -> Option<&str> {
        self.message.as_ref().err().map(String::as_str)
    }

    /// A string field; empty when it is absent or something else.
    pub(crate) fn text(&self, field: &str) -> String {
        let message = self.message.as_ref().ok();
        message
            .and_then(|message| message.get_field_by_name(field))
            .and_then(|value| value.as_str().map(str::to_owned))
            .unwrap_or_default()
    }
}

fn json(message: &DynamicMessage) -> Result<Vec<u8>, String> {
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .use_enum_numbers(false)
        .skip_default_fields(true);
    let mut text = Vec::with_capacity(256);
    message
        .serialize_with_options(&mut serde_json::Serializer::new(&mut text), &options)
        .map_err(|error| error.to_string())?;
    append_unknown(message, &mut text);
    Ok(text)
}

fn append_unknown(message: &DynamicMessage, object: &mut Vec<u8>) {
    let mut unknown = Vec::new();
    for field in message.unknown_fields() {
        field.encode(&mut unknown);
    }
    if unknown.is_empty() || object.pop() != Some(b'}') {
        return;
    }
    if object.len() > 1 {
        object.push(b',');
    }
    let member = format!(r#""@unknown":"{}"}}"#, BASE64_STANDARD.encode(unknown));
    object.extend_from_slice(member.as_bytes());
}

fn evidence(bytes: &[u8], error: &str) -> Vec<u8> {
    serde_json::json!({
        "@undecodable": BASE64_STANDARD.encode(bytes),
        "@error": error,
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use serde_json::{Value, json};
    use tidings_proto::{
        ppoppo::{
            SendRequestEvent, SendRequestEventType, StreamSendRequestEventsReq,
            send_request_event::{Recipient, Summary},
        },
        pushwoosh::{Event, EventStatus},
    };

    use super::*;

    fn decode(descriptor: &MessageDescriptor, bytes: Vec<u8>) -> (Decoded, Value) {
        let decoded = Decoded::new(descriptor, bytes.into());
        let json = serde_json::from_slice(&decoded.json).unwrap();
        (decoded, json)
    }

    #[test]
    fn a_ppoppo_event_keeps_its_names_and_leaves_defaults_out() {
        let schema = Schema::ppoppo().unwrap();
        assert_eq!(
            schema.path(),
            "/chat.external.ExternalMessageService/StreamSendRequestEvents"
        );
        let event = SendRequestEvent {
            event_id: "01ARYZ6S41TSV4RRFFQ69G5FAV".to_owned(),
            send_request_id: "request".to_owned(),
            event_type: SendRequestEventType::RecipientFailed.into(),
            recipient: Some(Recipient {
                ppnum: "12300000004".to_owned(),
                error_code: Some("BLOCKED".to_owned()),
                message_id: None,
            }),
            summary: Some(Summary {
                delivered: i64::MAX,
                failed: 0,
            }),
            occurred_at: "2026-01-02T03:04:05Z".to_owned(),
        };
        let (decoded, value) = decode(schema.output(), event.encode_to_vec());
        assert_eq!(decoded.error(), None);
        assert_eq!(
            value,
            json!({
                "event_id": "01ARYZ6S41TSV4RRFFQ69G5FAV",
                "send_request_id": "request",
                "event_type": "RECIPIENT_FAILED",
                "recipient": {"ppnum": "12300000004", "error_code": "BLOCKED"},
                "summary": {"delivered": i64::MAX},
                "occurred_at": "2026-01-02T03:04:05Z",
            })
        );
    }

    #[test]
    fn an_unknown_enum_number_stays_a_number() {
        let schema = Schema::ppoppo().unwrap();
        let event = SendRequestEvent {
            event_type: 99,
            ..Default::default()
        };
        let (_, value) = decode(schema.output(), event.encode_to_vec());
        assert_eq!(value, json!({"event_type": 99}));
    }

    #[test]
    fn unknown_fields_are_kept_encoded() {
        let schema = Schema::pushwoosh().unwrap();
        // Field 200, a varint of 7; then the same after a known field.
        let unknown = vec![0xc0, 0x0c, 0x07];
        let (_, value) = decode(schema.input(), unknown.clone());
        assert_eq!(value, json!({"@unknown": "wAwH"}));

        let mut bytes = Event {
            uuid: "u".to_owned(),
            message_id: Some(u64::MAX),
            ..Default::default()
        }
        .encode_to_vec();
        bytes.extend(unknown);
        let (decoded, value) = decode(schema.input(), bytes);
        assert_eq!(
            value,
            json!({"uuid": "u", "message_id": u64::MAX, "@unknown": "wAwH"})
        );
        assert_eq!(decoded.text("uuid"), "u");
    }

    #[test]
    fn what_cannot_be_decoded_is_kept_as_evidence() {
        let schema = Schema::pushwoosh().unwrap();
        let (decoded, value) = decode(schema.input(), vec![0xff, 0xff]);
        assert_eq!(value["@undecodable"], "//8=");
        assert_eq!(value["@error"], decoded.error().unwrap());
        assert_eq!(decoded.text("uuid"), "");
    }

    #[test]
    fn requests_and_replies_are_encoded_by_field_name() {
        let ppoppo = Schema::ppoppo().unwrap();
        let bytes = encode(ppoppo.input(), &[("after_event_id", "cursor")]).unwrap();
        assert_eq!(
            StreamSendRequestEventsReq::decode(bytes).unwrap(),
            StreamSendRequestEventsReq {
                send_request_id: None,
                after_event_id: Some("cursor".to_owned()),
            }
        );
        let pushwoosh = Schema::pushwoosh().unwrap();
        let fields = [("uuid", "u"), ("status", "Success")];
        let bytes = encode(pushwoosh.output(), &fields).unwrap();
        assert_eq!(
            EventStatus::decode(bytes).unwrap(),
            EventStatus {
                uuid: "u".to_owned(),
                status: "Success".to_owned(),
            }
        );
        assert!(matches!(
            encode(pushwoosh.output(), &[("absent", "")]),
            Err(SchemaError::NoField { .. })
        ));
    }

    #[test]
    fn a_method_that_is_not_there_is_named() {
        let error = Schema::new(tidings_proto::DESCRIPTOR_SET, "a.B", "C").unwrap_err();
        assert_eq!(error.to_string(), "the descriptor set has no method a.B/C");
        assert!(Schema::new(b"\xff", "a.B", "C").is_err());
    }
}
