//! The schema that a source is dialed by: as it is used, and as it was given.

use prost::Message;
use prost_reflect::prost_types::FileDescriptorSet;
use tidings_core::wire::Schema;
use tidings_proto::DESCRIPTOR_SET;

use super::database::KnownSource;
use crate::{sources::source::Source, wire};

#[derive(Debug)]
pub(super) struct Spoken {
    pub(super) schema: Schema,
    /// With the provider's own names, to be compared with what the provider says.
    pub(super) set: FileDescriptorSet,
    pub(super) is_own: bool,
}

impl Spoken {
    pub(super) fn of(source: &Source, known: Option<&KnownSource>) -> Result<Self, String> {
        let given = known.and_then(|known| known.schema.as_ref());
        let (schema, set) = match &source.schema {
            Some(own) => {
                let set = given.map_or(&[][..], |(_, set)| set);
                (own.usable.as_ref().clone()?, set)
            }
            None => {
                let ours = wire::ppoppo();
                (ours.map_err(|error| error.to_string())?, DESCRIPTOR_SET)
            }
        };
        Ok(Self {
            schema,
            set: FileDescriptorSet::decode(set).map_err(|error| error.to_string())?,
            is_own: source.schema.is_some(),
        })
    }
}
