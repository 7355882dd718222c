//! The sidecar of the extension tidings: the transport of delivery events.
//!
//! The worker answers webhooks and gRPC pushes, follows event streams, batches the
//! requests, and hands them to `tidings.ingest_batch`. It decodes gRPC messages to JSON,
//! but never decides what an event means: that is the extension's part.
//!
//! # Layout
//!
//! The folders are the way of a webhook, here from the outside inwards. Nothing imports
//! from a folder above its own row, and nothing in a circle.
//!
//! | folder | what it is |
//! |---|---|
//! | [`run`] | `tidings-worker run`: wires the parts, waits, and ends them in order |
//! | [`inbound`] | the listeners: webhooks and probes over HTTP, pushes over gRPC, TLS for both |
//! | [`commands`] | the other commands: `check`, `schema`, `reconcile`, `spool` |
//! | [`spool`] | keeps webhooks while Postgres is down |
//! | [`admission`] | admits requests: known sources, within their share of the pending requests |
//! | [`gaps`] | reports where requests of a source may be lost |
//! | [`sources`] | the sources in Postgres, and the streams that this worker follows |
//! | [`stream`] | one dialed source: followed, resumed, retried, reported |
//! | [`reconcile`] | asks a provider about send requests of which events may be missing |
//! | [`pipeline`] | gathers requests in batches, and answers them after the commit |
//! | [`postgres`] | connections to Postgres, their errors, its upkeep |
//! | [`settings`], [`dial`] | flags and environment; calls to providers and their tokens |
//! | [`process`], [`wire`] | end, log and metrics of the process; schemas and codec of gRPC messages |
//!
//! # What runs
//!
//! Each part owns one thing; decisions are plain functions beside it. Nothing is restarted
//! inside the process: where the last column says "the process", the unexpected end of the
//! part, also by a panic, ends the process ([`process::exit::Vital`]).
//!
//! | part | runs as | owns | its end ends |
//! |---|---|---|---|
//! | [`pipeline::batcher::Batcher`] | actor | the queue of requests that wait for a commit, and when Postgres is probed | the process |
//! | [`pipeline::store::Store`] | actor, one for each connection | a connection to Postgres, and the batch that is being committed | the process |
//! | [`sources::control::Control`] | actor | the control connection, the snapshot of the sources | the process |
//! | [`sources::streams::Streams`] | actor | the leases, and which streams run | the process |
//! | [`postgres::upkeep::Upkeep`] | actor | the schedule of `tidings.maintain()` | the process |
//! | [`stream::Stream`] | task, one for each followed source | the connection to a provider, and the events that were read and are not committed | the process, unless the stream was stopped |
//! | the HTTP server ([`inbound::http`]) | threads of actix-web, and a task that watches them | the HTTP listener and its connections | the process, unless the drain has begun |
//! | the admin server ([`inbound::http::admin`]) | a thread of actix-web, and a task that watches it | the listener for probes and metrics, and its connections | the process, unless the drain has begun |
//! | the gRPC server ([`inbound::grpc`]) | task, with one for each connection | the gRPC listener and its connections | the process, unless the drain has begun |
//! | a chunk of a push ([`inbound::grpc::push`]) | task | its share of the budget, until its events are answered | its call |
//! | the keeper of the spool ([`spool`]) | thread | the spool's file | the process |
//! | the drain of the spool ([`spool::drain`]) | loop | the requests that were tried, and when they are retried | the process |
//! | the reporter of gaps ([`gaps::reporter`]) | loop | the gaps that wait for Postgres | the process, unless the drain has begun |
//! | the keeper of refused requests ([`inbound::http`]) | loop | the refused requests that wait to be kept in `tidings.rejected` | the process |
//! | the wake-ups of readers ([`sources::readers`]) | loop | nothing; it asks the control connection to notify, and to tick | the process |
//! | the spool's list of sources | loop | the names whose webhooks are spooled | the process |
//! | the renewal of the certificate ([`inbound::tls`]) | loop | the certificate that is served | the process |
//! | the reload on SIGHUP ([`process::reload`]) | loop | nothing; it tells the parts that read files | the process |
//! | the log ([`process::log`]) | thread | the lines that wait for stderr | nothing |
//! | the settings of the database ([`run`]) | loop | nothing; it asks for them to be read again on SIGHUP | the process |
//! | the series of the sources ([`run`]) | loop | the names whose metrics exist | the process |
//! | the upkeep of the metrics ([`run`]) | loop | nothing; it folds histograms that nobody reads | the process |
//! | a connection to Postgres ([`postgres`]) | task | the socket | nothing, because its owner opens another |
//! | a connection to a provider ([`dial::connection`]) | task | the socket | nothing, because its stream opens another |

mod admission;
mod commands;
mod dial;
mod gaps;
mod inbound;
mod pipeline;
mod postgres;
mod process;
mod reconcile;
mod run;
mod settings;
mod sources;
mod spool;
mod stream;
#[cfg(test)]
mod testing;
mod wire;

use std::io::Write as _;

use process::exit::Code;
use settings::{Command, Stop};

fn main() {
    let parsed = settings::parse(std::env::args_os());
    // `run` logs these warnings, and `check` prints them among its findings.
    if let Ok((Command::Schema(_) | Command::Reconcile(_) | Command::Spool(_), database)) = &parsed
    {
        for note in &database.notes {
            let _ = writeln!(std::io::stderr(), "tidings-worker: {note}");
        }
    }
    let code = match parsed {
        Ok((Command::Run(settings), database)) => run::main(*settings, database),
        Ok((Command::Check(settings), database)) => commands::check::main(&settings, database),
        Ok((Command::Schema(settings), database)) => commands::schema::main(&settings, database),
        Ok((Command::Reconcile(settings), database)) => {
            commands::reconcile::main(&settings, database)
        }
        Ok((Command::Spool(command), database)) => commands::spool::main(&command, database),
        Err(Stop::Asked(text)) => {
            // If nobody reads stdout, that is no reason to fail.
            let _ = text.print();
            Code::Clean
        }
        Err(Stop::Bad(text)) => {
            // eprintln would panic if nobody reads stderr.
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
            Code::Usage
        }
    };
    // A return would wait for threads that no longer matter, such as a name lookup that
    // hangs.
    std::process::exit(code as i32);
}
