//! The other side of a call, which knows only its own names.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use serde_json::Value;
use tidings_core::{
    provider,
    wire::{self, Bytes, Call, Names, Schema},
};

pub(crate) fn names(text: &str) -> Names {
    serde_json::from_str(text).unwrap()
}

/// The call of a provider's events.
pub(crate) fn call(provider: &str) -> &'static Call {
    let provider = provider::find(provider).unwrap();
    provider.call(&Value::Null).unwrap()
}

/// Ours, as the worker has it.
pub(crate) fn ppoppo() -> Schema {
    Schema::of(call("ppoppo")).unwrap()
}

/// Ppoppo's stream as its page has it, as a source's own schema: its events have no frames.
pub(crate) const PAGE: &str = include_str!("../../testdata/wire/ppoppo_page.proto");

pub(crate) fn page() -> Schema {
    let method = "/chat.external.ExternalMessageService/StreamSendRequestEvents";
    own(call("ppoppo"), PAGE, method, "{}").unwrap()
}

pub(crate) fn pushwoosh() -> Schema {
    Schema::of(call("pushwoosh")).unwrap()
}

/// A source's own schema, from its text.
pub(crate) fn own(
    call: &Call,
    proto: &str,
    method: &str,
    mapping: &str,
) -> Result<Schema, wire::SchemaError> {
    Schema::new(call, &wire::compile(proto)?, method, &names(mapping))
}

/// What a schema makes of a message.
pub(crate) fn decode(schema: &Schema, message: impl Into<Bytes>) -> Vec<Value> {
    schema
        .events(message.into())
        .map(|event| serde_json::from_slice(&event.json).unwrap())
        .collect()
}

pub(crate) struct Peer(DescriptorPool);

impl Peer {
    pub(crate) fn new(proto: &str) -> Self {
        let set = wire::compile(proto).unwrap();
        Self(DescriptorPool::decode(set.as_slice()).unwrap())
    }

    pub(crate) fn message(&self, name: &str) -> MessageDescriptor {
        self.0.get_message_by_name(name).unwrap()
    }

    /// The bytes of a message, from its JSON in the peer's names.
    pub(crate) fn encode(&self, name: &str, json: &Value) -> Vec<u8> {
        DynamicMessage::deserialize(self.message(name), json)
            .unwrap()
            .encode_to_vec()
    }

    /// What the peer reads, in its own names.
    pub(crate) fn read(&self, name: &str, bytes: &[u8]) -> Value {
        let message = DynamicMessage::decode(self.message(name), bytes).unwrap();
        let options = SerializeOptions::new().use_proto_field_name(true);
        let json = message.serialize_with_options(serde_json::value::Serializer, &options);
        json.unwrap()
    }
}
