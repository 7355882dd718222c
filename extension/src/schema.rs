//! What is checked when a source gets a schema of its own.

use pgrx::{pg_sys::panic::ErrorReport, prelude::*};
use tidings_core::wire::{self, Schema};

use crate::{
    error::invalid,
    memory::{OPTIONS_ROOM, require},
    source::provider,
};

/// Bytes that compiling a byte of a schema takes at most.
const SCHEMA_ROOM: usize = 64;

/// A schema that is longer is refused before it is read.
const MAX_READ: usize = 4 << 20;

/// The descriptor set of a schema, compiled where it is given as text. An error says why
/// the worker could not use it.
#[pg_extern(sql = false)]
fn check_schema(
    provider_name: Option<&str>,
    method: Option<&str>,
    proto: Option<&str>,
    descriptor_set: Option<&[u8]>,
    names: Option<&str>,
) -> Result<Vec<u8>, ErrorReport> {
    let provider = provider(provider_name.unwrap_or_default())?;
    if provider.calls.is_empty() {
        let name = provider.name;
        return Err(invalid(
            format!("sources of provider {name} have no gRPC schema"),
            "Only a source whose events come by gRPC has one.",
        ));
    }
    let length = |bytes: Option<usize>| bytes.unwrap_or_default();
    let texts = length(proto.map(str::len)) + length(descriptor_set.map(<[u8]>::len));
    let read = SCHEMA_ROOM * texts.min(MAX_READ);
    let names_room = OPTIONS_ROOM.saturating_mul(length(names.map(str::len)));
    require(texts.saturating_add(read).saturating_add(names_room))?;
    let refuse = |reason: String| {
        invalid("the schema cannot be used", HINT).set_detail(format!("{reason}."))
    };
    let names = serde_json::from_str(names.unwrap_or("{}")).map_err(|_| {
        invalid(
            "names are not a JSON object of texts",
            "Write them as '{\"their_name\": \"our_name\"}'.",
        )
    })?;
    let set = match (proto, descriptor_set) {
        (Some(proto), _) => wire::compile(proto).map_err(|reason| refuse(reason.to_string()))?,
        (None, set) => set.unwrap_or_default().to_vec(),
    };
    // Which of the provider's calls the source uses does not matter here.
    let method = method.unwrap_or_default();
    let mut schemas = provider
        .calls
        .iter()
        .map(|call| Schema::new(call, &set, method, &names));
    let first = schemas.next().transpose();
    if let Err(reason) = first
        && !schemas.any(|schema| schema.is_ok())
    {
        return Err(refuse(reason.to_string()));
    }
    Ok(set)
}

const HINT: &str = "The provider's documentation or its server reflection says which schema it speaks; names maps its names to those that the worker has.";
