//! `tidings-worker spool status|drain|set-aside`: shows what a spool contains, drains it
//! without a running worker, or moves it away.

mod aside;

use std::{io::Write, path::Path, sync::Arc};

use actix::prelude::*;
use serde_json::json;

use crate::{
    gaps::{Gaps, reporter::Reporter},
    pipeline::{batcher::Batcher, lane::Lane, queue::BatchLimits, settle::Told, store::Store},
    postgres::{ConnectError, Connector},
    process::exit::{Code, Fatal},
    settings::{Database, SpoolCommand, SpoolDrainArgs, SpoolStatusArgs, place},
    sources::{queries::Queries, readers},
    spool::{
        Depth, Mode, Spool,
        drain::{self, LIMITS},
    },
};

pub(crate) fn main(command: &SpoolCommand, database: Database) -> Code {
    let done = match command {
        SpoolCommand::Status(args) => status(args),
        SpoolCommand::Drain(args) => System::new().block_on(empty(args, database)),
        SpoolCommand::SetAside(args) => System::new().block_on(aside::set_aside(args, database)),
    };
    done.unwrap_or_else(|(code, reason)| {
        let _ = writeln!(std::io::stderr(), "tidings-worker: {reason}");
        code
    })
}

type Done = Result<Code, (Code, String)>;

/// There is no bound, because the command puts nothing into the spool.
fn open(folder: &Path, gaps: &Gaps) -> Result<Spool, (Code, String)> {
    let spool = Spool::open(folder, Mode::Existing, 0, gaps.clone(), None);
    spool.map_err(|error| (Code::Spool, error.to_string()))
}

fn status(args: &SpoolStatusArgs) -> Done {
    let depth = open(&args.spool_dir, &Gaps::default())?.depth();
    say(&shown(depth, args.json));
    Ok(Code::Clean)
}

/// If nobody reads the output, the work is done all the same.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn time(milliseconds: Option<u64>) -> Option<String> {
    let milliseconds = i64::try_from(milliseconds?).ok()?;
    let time = jiff::Timestamp::from_millisecond(milliseconds);
    time.ok().map(|time| time.to_string())
}

fn many(requests: u64, bytes: u64, oldest: Option<String>) -> String {
    let oldest = oldest.map_or(String::new(), |oldest| {
        format!(", the oldest from {oldest}")
    });
    format!("{}, {bytes} bytes{oldest}", counted(requests))
}

fn counted(requests: u64) -> String {
    match requests {
        1 => "1 request".to_owned(),
        _ => format!("{requests} requests"),
    }
}

fn shown(depth: Depth, as_json: bool) -> String {
    let (oldest, damaged) = (time(depth.oldest), depth.damaged);
    let damaged_oldest = time(damaged.oldest);
    if as_json {
        let text = json!({
            "requests": depth.requests,
            "bytes": depth.bytes,
            "oldest_at": oldest,
            "oldest_seconds": depth.oldest.map(|_| depth.oldest_seconds()),
            "damaged": damaged.requests,
            "damaged_bytes": damaged.bytes,
            "damaged_oldest_at": damaged_oldest,
        });
        return text.to_string();
    }
    let whole = many(depth.requests, depth.bytes, oldest);
    match (depth.requests, damaged.requests) {
        (0, 0) => "empty".to_owned(),
        (_, 0) => whole,
        _ => {
            let damaged = many(damaged.requests, damaged.bytes, damaged_oldest);
            format!("{whole}; damaged, and kept: {damaged}")
        }
    }
}

async fn empty(args: &SpoolDrainArgs, database: Database) -> Done {
    let gaps = Gaps::open(Some(&args.spool_dir));
    let spool = open(&args.spool_dir, &gaps)?;
    let place = place(&database);
    let connector = Connector::new(database, &args.database);
    let connector = connector.map_err(|error| (Code::Usage, error.to_string()))?;
    let session = connector.connect(|_| ()).await.map_err(|error| {
        let code = match error {
            ConnectError::Unreachable(_) => Code::Unavailable,
            ConnectError::Incompatible(_) => Code::Incompatible,
        };
        (code, format!("{place}: {error}"))
    })?;
    let queries = Queries::new(session);
    let sources = queries.sources(None).await;
    let sources = sources.map_err(|reason| (Code::Unavailable, format!("{place}: {reason}")))?;
    if sources.is_empty() {
        let reason = format!(
            "{place} has no sources, without which no request can be stored: \
             add them, or name the database that has them"
        );
        return Err((Code::Findings, reason));
    }
    let (fatal, _exits) = Fatal::channel();
    let lane = Lane::new(Arc::new(connector), fatal.clone());
    let told = Told::new();
    let lane = Store::new(lane, told.clone(), fatal.vital("the connection")).start();
    let limits = BatchLimits {
        requests: LIMITS.requests,
        bytes: LIMITS.bytes,
    };
    let lanes = vec![lane.into()];
    let vital = fatal.vital("the batcher");
    let thread = Arbiter::current();
    let Told { stored, taking } = told;
    let pipeline = Batcher::spawn(limits, lanes, args.patience, taking, vital, &thread);
    let draining = drain::once(&spool, &pipeline, LIMITS);
    let drained = readers::wake_during(stored, &queries, draining).await;
    let drained = drained.map_err(|error| (Code::Spool, error.to_string()))?;
    // Perhaps no worker of this folder is started again.
    let reported = Reporter::new(gaps.clone(), queries).round().await;
    gaps.save();
    let left = shown(spool.depth(), false);
    say(&format!("{} drained; left: {left}", drained.done));
    if let Err(reason) = reported {
        say(&format!(
            "gaps could not be reported, and are kept in the folder: {reason}"
        ));
    }
    if drained.blocked {
        let reason = format!("{place} accepts no requests at present");
        return Err((Code::Unavailable, reason));
    }
    match left_behind(drained.stays, spool.depth().damaged.requests) {
        Some(reason) => Err((Code::Findings, reason)),
        None => Ok(Code::Clean),
    }
}

fn left_behind(stays: usize, damaged: u64) -> Option<String> {
    let stays = (stays > 0).then(|| {
        format!(
            "{} left in the spool: of sources that are disabled or that Postgres does not \
             know, declined by Postgres, or not committed in time",
            counted(stays as u64)
        )
    });
    let damaged =
        (damaged > 0).then(|| format!("{} damaged, and kept in the spool", counted(damaged)));
    let reasons: Vec<String> = stays.into_iter().chain(damaged).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Damaged;

    #[test]
    fn it_is_shown_to_people_and_to_programs() {
        assert_eq!(shown(Depth::default(), false), "empty");
        assert_eq!(many(1, 9, None), "1 request, 9 bytes");
        let depth = Depth {
            requests: 2,
            bytes: 300,
            oldest: Some(1_767_225_600_000),
            ..Depth::default()
        };
        assert_eq!(
            shown(depth, false),
            "2 requests, 300 bytes, the oldest from 2026-01-01T00:00:00Z"
        );
        let value: serde_json::Value = serde_json::from_str(&shown(depth, true)).unwrap();
        assert_eq!(value["requests"], 2);
        assert_eq!(value["oldest_at"], "2026-01-01T00:00:00Z");
        let empty = shown(Depth::default(), true);
        let empty: serde_json::Value = serde_json::from_str(&empty).unwrap();
        assert_eq!(empty["oldest_at"], serde_json::Value::Null);
    }

    #[test]
    fn what_is_damaged_is_shown_and_is_a_failure() {
        let damaged = Damaged {
            requests: 3,
            bytes: 900,
            oldest: Some(1_767_225_600_000),
        };
        let depth = Depth {
            damaged,
            ..Depth::default()
        };
        assert_eq!(
            shown(depth, false),
            "0 requests, 0 bytes; damaged, and kept: 3 requests, 900 bytes, \
             the oldest from 2026-01-01T00:00:00Z"
        );
        let value: serde_json::Value = serde_json::from_str(&shown(depth, true)).unwrap();
        assert_eq!(
            (&value["damaged"], &value["damaged_bytes"]),
            (&json!(3), &json!(900))
        );
        assert_eq!(value["damaged_oldest_at"], "2026-01-01T00:00:00Z");
        assert_eq!(left_behind(0, 0), None);
        let said = left_behind(0, 3).unwrap();
        assert_eq!(said, "3 requests damaged, and kept in the spool");
        assert!(
            left_behind(2, 3)
                .unwrap()
                .starts_with("2 requests left in the spool: ")
        );
    }
}
