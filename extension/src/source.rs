//! What is checked when a source is added.

use pgrx::{pg_sys::panic::ErrorReport, prelude::*};
use tidings_core::{
    Provider,
    provider::{self, OptionError},
};

use crate::error::invalid;

/// The provider of this name, or an error that names those that are supported.
pub(crate) fn provider(name: &str) -> Result<&'static Provider, ErrorReport> {
    provider::find(name).ok_or_else(|| {
        let names: Vec<_> = provider::ALL.iter().map(|provider| provider.name).collect();
        invalid(
            format!("unknown provider \"{name}\""),
            format!("The providers are {}.", names.join(", ")),
        )
    })
}

/// Raises an error unless the provider exists and its sources take these options.
#[pg_extern(name = "_check_options", immutable, strict, parallel_safe)]
fn check_options(provider_name: &str, options: &str) -> Result<(), ErrorReport> {
    let provider = provider(provider_name)?;
    let options = serde_json::from_str(options).map_err(|reason| {
        invalid(
            "options are not a JSON object",
            "Write them as '{\"name\": \"value\"}'.",
        )
        .set_detail(format!("{reason}."))
    })?;
    provider.check_options(&options).map_err(|reason| {
        let hint = match &reason {
            OptionError::Unknown { known, .. } => format!("Its options are {known}."),
            OptionError::Invalid { .. } => "Correct the option's value.".to_owned(),
        };
        invalid(reason.to_string(), hint)
    })
}

/// Whether a source's events come over a connection that the worker opens, and goes on
/// from a cursor.
#[pg_extern(name = "_is_dialed", immutable, strict, parallel_safe)]
fn is_dialed(provider_name: &str) -> Result<bool, ErrorReport> {
    Ok(provider(provider_name)?.is_dialed())
}
