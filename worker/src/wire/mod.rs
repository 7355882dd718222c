//! The schemas that the worker has of its own, as reconstructed in `proto/`: for every
//! source that brings none.

pub(crate) mod codec;

use tidings_core::wire::{Call, Names, Schema, SchemaError};
use tidings_proto::DESCRIPTOR_SET;

/// The stream of a Ppoppo app's events.
pub(crate) fn ppoppo() -> Result<Schema, SchemaError> {
    let method = "/chat.external.ExternalMessageService/StreamSendRequestEvents";
    Schema::new(Call::PPOPPO, DESCRIPTOR_SET, method, &Names::new())
}

/// Pushwoosh's push of events.
pub(crate) fn pushwoosh() -> Result<Schema, SchemaError> {
    let method = "/pushwoosh.event_streaming.v1.EventStreaming/StreamEvents";
    Schema::new(Call::PUSHWOOSH, DESCRIPTOR_SET, method, &Names::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_at_hand_can_be_used() {
        let called = [ppoppo(), pushwoosh()].map(|schema| schema.unwrap().service().to_owned());
        assert_eq!(
            called,
            [
                "chat.external.ExternalMessageService",
                "pushwoosh.event_streaming.v1.EventStreaming"
            ]
        );
    }
}
