//! The log, on stderr: text for people at a terminal, JSON lines for machines.
//!
//! A JSON line has `timestamp`, `level`, `target`, `message` and every other field at the
//! top level. Secrets are never fields, and the output of libraries that would print them
//! is suppressed (see [`tells_secrets`]).
//!
//! Nobody waits for whoever reads stderr ([`queue`]), and strangers cannot fill the log
//! (see [`tells_of_strangers`] and [`throttle`]).

mod queue;
mod throttle;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal, stderr},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tracing::{Level, Metadata, error, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use self::{queue::Queue, throttle::Throttle};

/// Time limit for the last lines of the process.
const LAST_LINES: Duration = Duration::from_secs(2);

/// True from the end of the listeners on.
static LISTENERS_END: AtomicBool = AtomicBool::new(false);

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

/// The log of the process.
#[derive(Debug)]
pub(crate) struct Log(Queue);

impl Log {
    /// Waits until the last lines are written, but not for a reader that does not read.
    pub(crate) fn flush(&self) {
        self.0.flush(LAST_LINES);
    }
}

/// Starts the log of the process.
pub(crate) fn init(format: Format, filter: &str) -> std::io::Result<Log> {
    let filter = EnvFilter::try_new(filter)
        .unwrap_or_else(|_| EnvFilter::default().add_directive(LevelFilter::INFO.into()));
    let terminal = stderr().is_terminal();
    let text = match format {
        Format::Auto => terminal,
        Format::Text => true,
        Format::Json => false,
    };
    let (queue, throttle) = (Queue::default(), Throttle::default());
    let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone());
    let lines = if text {
        lines.with_ansi(terminal).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    let quiet = filter_fn(|metadata| {
        !tells_secrets(metadata) && !tells_of_strangers(metadata) && !tells_of_the_end(metadata)
    });
    let summary = throttle.clone();
    tracing_subscriber::registry()
        .with(filter)
        .with(lines.with_filter(quiet.and(throttle)))
        .init();
    let every = (throttle::EVERY, move || summary.summarize());
    queue.clone().start(stderr(), every)?;
    log_panics();
    Ok(Log(queue))
}

/// Logs panics like everything else: the default is a text that is written to stderr by the
/// thread that panics, and so may wait for ever.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let location = panic.location().map(tracing::field::display);
        let backtrace = Backtrace::capture();
        let captured = backtrace.status() == BacktraceStatus::Captured;
        let backtrace = captured.then(|| tracing::field::display(&backtrace));
        let message = panic.payload_as_str().unwrap_or("without a message");
        error!(thread, location, backtrace, "panicked: {message}");
    }));
}

/// Below `info`, Postgres' client prints the parameters of statements, which hold
/// headers and bodies, and the HTTP/2 libraries print headers. Whatever the filter
/// says, these are left out.
fn tells_secrets(metadata: &Metadata<'_>) -> bool {
    const TELLERS: [&str; 5] = ["tokio_postgres", "h2", "hyper", "tonic", "actix_http"];
    *metadata.level() > Level::INFO && TELLERS.contains(&library(metadata))
}

/// These log an error or a warning for each malformed request or handshake. Whatever the
/// filter says, that is left out. The worker has lines of its own about them, at debug.
fn tells_of_strangers(metadata: &Metadata<'_>) -> bool {
    ["actix_http", "rustls"].contains(&library(metadata))
}

/// From here on actix-server does not complain that its listener is gone, because the drain
/// has ended it.
pub(crate) fn listeners_end() {
    LISTENERS_END.store(true, Ordering::SeqCst);
}

fn tells_of_the_end(metadata: &Metadata<'_>) -> bool {
    library(metadata) == "actix_server" && LISTENERS_END.load(Ordering::SeqCst)
}

fn library<'a>(metadata: &Metadata<'a>) -> &'a str {
    metadata.target().split("::").next().unwrap_or_default()
}
