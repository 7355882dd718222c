//! The schema of a dialed source: as it is used, and as it was set.

use std::sync::Arc;

use prost::Message;
use prost_reflect::prost_types::FileDescriptorSet;
use tidings_core::wire::Schema;

use super::database::KnownSource;
use crate::sources::source::Source;

#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) schema: Arc<Schema>,
    /// The schema with the provider's own names, for the comparison with what the
    /// provider describes.
    pub(super) set: FileDescriptorSet,
    pub(super) is_own: bool,
}

impl Spoken {
    pub(super) fn of(source: &Source, known: Option<&KnownSource>) -> Result<Self, String> {
        let schema = source.spoken()?;
        let set = match (&source.schema, source.call()) {
            (None, Some(call)) => call.proto.compile().map_err(|error| error.to_string())?,
            _ => {
                let given = known.and_then(|known| known.schema.as_ref());
                given.map(|(_, set)| set.clone()).unwrap_or_default()
            }
        };
        let set = FileDescriptorSet::decode(set.as_slice());
        Ok(Self {
            schema,
            set: set.map_err(|error| error.to_string())?,
            is_own: source.schema.is_some(),
        })
    }
}
