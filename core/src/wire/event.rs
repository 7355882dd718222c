//! One event, decoded.

use base64::{Engine, prelude::BASE64_STANDARD};
use prost_reflect::{DynamicMessage, MessageDescriptor, bytes::Bytes};

use super::{
    envelope::{Form, Piece},
    json,
    key::{Key, KeyField},
    time::TimeField,
};

/// A received event.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The event as a JSON object, or the evidence of an event that cannot be decoded.
    pub json: Vec<u8>,
    /// Key of the event; empty if the event has none, `None` if this is not an event and
    /// needs no reply.
    pub key: Option<Key>,
    /// Why the event could not be decoded.
    pub error: Option<String>,
}

impl Decoded {
    pub(super) fn new(
        descriptor: &MessageDescriptor,
        key: &KeyField,
        time: Option<&TimeField>,
        piece: Piece,
    ) -> Self {
        let Piece { bytes, form } = piece;
        match form {
            Form::Event { around } => {
                let mut decoded = DynamicMessage::decode(descriptor.clone(), bytes.clone());
                if let Some(time) = time
                    && decoded.as_ref().map_or(true, |m| time.is_doubtful(m))
                    && let Some(message) = time.decode(descriptor, &bytes)
                {
                    decoded = Ok(message);
                }
                match decoded {
                    Ok(message) => {
                        // Most events take less than this, and one allocation is enough.
                        let mut json = Vec::with_capacity(384.max(bytes.len() * 2));
                        json::write(&message, &around, &mut json);
                        Self {
                            json,
                            key: Some(key.get(&message)),
                            error: None,
                        }
                    }
                    Err(error) => Self::undecodable(&bytes, error.to_string(), Some(key)),
                }
            }
            Form::Cut(reason) => Self::undecodable(&bytes, reason, Some(key)),
            Form::Rest(reason) => Self::undecodable(&bytes, reason, None),
        }
    }

    fn undecodable(bytes: &Bytes, error: String, key: Option<&KeyField>) -> Self {
        let evidence = serde_json::json!({
            "@undecodable": BASE64_STANDARD.encode(bytes),
            "@error": error,
        });
        Self {
            json: evidence.to_string().into_bytes(),
            key: key.map(|key| key.scan(bytes)),
            error: Some(error),
        }
    }
}
