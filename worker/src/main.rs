//! The sidecar of the extension tidings: the transport of delivery events.
//!
//! It answers webhooks and gRPC pushes and follows event streams, batches what
//! arrives, and hands it to `tidings.ingest_batch`. It never parses a payload and
//! never decides what an event means: that is the extension's part.
//!
//! # Layout
//!
//! | part | modules |
//! |---|---|
//! | the process | [`settings`], [`units`], [`log`], [`exit`], [`drain`], [`run`] |
//! | looking | [`check`], [`schema_command`], with [`reach`] and [`reflect`] |
//! | entrances | [`http`] and [`hooks`], [`grpc`] and [`push`], [`serve_tls`], [`gate`], [`stream`] with [`follow`], [`pump`] and [`gather`] |
//! | dialing | [`plan`], [`dial`], [`connection`], [`token`], [`oauth`], [`resume`], [`status`], [`retry`], [`report`] |
//! | the pipeline | [`request`], [`headers`], [`budget`], [`queue`], [`batcher`], [`store`], [`ingest`], [`failure`] |
//! | while Postgres is away | [`spool`] |
//! | what Postgres knows | [`database`], [`tls`], [`version`], [`control`], [`source`], [`registry`], [`lease`], [`directory`], [`upkeep`] |
//! | messages | [`wire`], [`codec`] |
//! | numbers | [`metric`], [`process`], [`backoff`] |
//!
//! Actors: [`batcher::Batcher`], [`store::Store`] (one a connection),
//! [`registry::Registry`], [`upkeep::Upkeep`] and [`stream::Stream`] (one a dialed source). Each owns one
//! thing; decisions are plain functions beside them.

mod backoff;
mod batcher;
mod budget;
mod check;
mod codec;
mod connection;
mod control;
mod database;
mod dial;
mod directory;
mod drain;
mod exit;
mod failure;
mod follow;
mod gate;
mod gather;
mod grpc;
mod headers;
mod hooks;
mod http;
mod ingest;
mod lease;
mod log;
mod metric;
mod oauth;
mod plan;
mod process;
mod pump;
mod push;
mod queue;
mod reach;
mod reflect;
mod registry;
mod report;
mod request;
mod resume;
mod retry;
mod run;
mod schema_command;
mod serve_tls;
mod settings;
mod source;
mod spool;
mod status;
mod store;
mod stream;
#[cfg(test)]
mod testing;
mod tls;
mod token;
mod units;
mod upkeep;
mod version;
mod wire;

use std::io::Write as _;

use exit::Code;
use settings::{Command, Stop};

fn main() {
    let code = match settings::parse(std::env::args_os()) {
        Ok((Command::Run(settings), database)) => run::main(*settings, database),
        Ok((Command::Check(settings), database)) => check::main(&settings, database),
        Ok((Command::Schema(settings), database)) => schema_command::main(&settings, database),
        Ok((Command::Spool(command), database)) => spool::command::main(&command, database),
        Err(Stop::Asked(text)) => {
            // Nobody reads stdout: nothing to say, and no reason to fail.
            let _ = text.print();
            Code::Clean
        }
        Err(Stop::Bad(text)) => {
            // Not eprintln, which panics where nobody reads.
            let _ = writeln!(std::io::stderr(), "{}", text.trim_end());
            Code::Usage
        }
    };
    // Not a return: that would wait for threads that no longer matter, such as a
    // name lookup that hangs.
    std::process::exit(code as i32);
}
