//! The log, on stderr: text for people at a terminal, JSON lines for machines.
//!
//! A JSON line has `timestamp`, `level`, `target`, `message` and every other field at the
//! top level. Secrets are never fields, and the output of libraries that would print them
//! is suppressed (see [`tells_secrets`]).

use std::io::IsTerminal;

use tracing::{Level, Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt,
};

/// The form of the lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Text on a terminal, JSON elsewhere
    #[default]
    Auto,
    /// Text
    Text,
    /// One JSON object a line
    Json,
}

/// Checks a filter such as `info` or `info,tidings_worker=debug`.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("write a level (error, warn, info, debug or trace), \
                       or a filter such as info,tidings_worker=debug"
            .to_owned()),
    }
}

pub(crate) fn init(format: Format, filter: &str) {
    let filter = EnvFilter::try_new(filter)
        .unwrap_or_else(|_| EnvFilter::default().add_directive(LevelFilter::INFO.into()));
    let terminal = std::io::stderr().is_terminal();
    let text = match format {
        Format::Auto => terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if text {
        lines.with_ansi(terminal).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    let quiet = filter_fn(|metadata| !tells_secrets(metadata));
    tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(quiet))
        .init();
}

/// Below `info`, Postgres' client prints the parameters of statements, which hold
/// headers and bodies, and the HTTP/2 libraries print headers. Whatever the filter
/// says, these are left out.
fn tells_secrets(metadata: &Metadata<'_>) -> bool {
    const TELLERS: [&str; 5] = ["tokio_postgres", "h2", "hyper", "tonic", "actix_http"];
    let library = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() > Level::INFO && TELLERS.contains(&library)
}
