//! The providers, and what is checked when a source is added.

use pgrx::{iter::TableIterator, pg_sys::panic::ErrorReport, prelude::*};
use tidings_core::{
    Kind, Provider,
    provider::{self, OptionError},
};

use crate::{
    error::invalid,
    memory::{OPTIONS_ROOM, require},
};

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
#[pg_extern(sql = false)]
pub(crate) fn check_options_0_5(provider_name: &str, options: &str) -> Result<(), ErrorReport> {
    let provider = provider(provider_name)?;
    require(OPTIONS_ROOM.saturating_mul(options.len()))?;
    let options = serde_json::from_str(options)
        .map_err(|reason| refused_option(&OptionError::NotAnObject(reason.to_string())))?;
    provider
        .check_options(&options)
        .map_err(|reason| refused_option(&reason))
}

/// An error that says what to do about a source's options.
pub(crate) fn refused_option(reason: &OptionError) -> ErrorReport {
    let report = invalid(reason.to_string(), reason.hint());
    match reason {
        OptionError::NotAnObject(detail) => report.set_detail(format!("{detail}.")),
        _ => report,
    }
}

/// Whether a source's events come over a connection that the worker opens, and goes on
/// from a cursor.
#[pg_extern(sql = false)]
fn is_dialed(provider_name: &str) -> Result<bool, ErrorReport> {
    Ok(provider(provider_name)?.is_dialed())
}

/// Whether a provider's messages may wait for the recipient's consent.
#[pg_extern(sql = false)]
fn asks_consent(provider_name: &str) -> Result<bool, ErrorReport> {
    Ok(provider(provider_name)?.asks_consent)
}

/// Raises an error unless events can be of all these kinds.
#[pg_extern(sql = false)]
fn require_kinds(kinds: Array<'_, &str>) -> Result<(), ErrorReport> {
    let is_kind = |name: &str| Kind::ALL.iter().any(|kind| kind.as_str() == name);
    match kinds.iter().flatten().find(|name| !is_kind(name)) {
        None => Ok(()),
        Some(name) => {
            let all: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
            Err(invalid(
                format!("no event is of kind \"{name}\""),
                format!("The kinds are {}.", all.join(", ")),
            ))
        }
    }
}

/// The providers that are supported.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns are listed for SQL")]
fn providers() -> TableIterator<
    'static,
    (
        name!(name, &'static str),
        name!(scheme, &'static str),
        name!(is_dialed, bool),
        name!(options, Vec<&'static str>),
    ),
> {
    TableIterator::new(provider::ALL.iter().map(|provider| {
        let options = provider.option_names().collect();
        let scheme = provider.scheme.name();
        (provider.name, scheme, provider.is_dialed(), options)
    }))
}
