//! Scheduled upkeep: partitions, retention and the bound of `tidings.rejected`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix::prelude::*;
use metrics::{counter, gauge};
use tracing::{info, warn};

use super::{ConnectError, Connector, failure::describe};
use crate::process::{
    exit::{Code, Exit, Fatal, Vital},
    metric,
};

const MAINTAIN: &str = "select action, object, rows, detail from tidings.maintain()";
/// Pause after a failure, which may be transient; a missing partition costs only time.
const RETRY: Duration = Duration::from_secs(60);

const DONE: &str = "done";
const FAILED: &str = "failed";
/// Results of a call, in the words of the metric.
pub(crate) const RESULTS: [&str; 2] = [DONE, FAILED];

/// Owns the schedule of `tidings.maintain()`.
///
/// Promises:
/// - `maintain` is called when the worker starts and then once in every interval, on a
///   connection of its own that is open only for the call. Several workers may call it:
///   one of them does the work, and the others get `busy`.
/// - Each action is logged as a line, and so is a failure, which affects nothing else.
#[derive(Debug)]
pub(crate) struct Upkeep {
    connector: Arc<Connector>,
    every: Duration,
    fatal: Fatal,
    _vital: Vital,
}

impl Upkeep {
    pub(crate) fn new(connector: Arc<Connector>, every: Duration, fatal: Fatal) -> Self {
        Self {
            connector,
            every,
            _vital: fatal.vital("the upkeep"),
            fatal,
        }
    }
}

impl Actor for Upkeep {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let (connector, every) = (self.connector.clone(), self.every);
        let fatal = self.fatal.clone();
        let schedule = async move {
            loop {
                let pause = match maintain(&connector).await {
                    Ok(()) => {
                        counter!(metric::UPKEEP, "result" => DONE).increment(1);
                        let now = metric::unix(SystemTime::now());
                        gauge!(metric::UPKEEP_LAST_SUCCESS).set(now);
                        every
                    }
                    Err(Failed::Incompatible(reason)) => {
                        return fatal.exit(Exit::new(Code::Incompatible, reason));
                    }
                    Err(Failed::ForNow(reason)) => {
                        counter!(metric::UPKEEP, "result" => FAILED).increment(1);
                        warn!(reason, "the upkeep failed; trying again");
                        RETRY.min(every)
                    }
                };
                actix::clock::sleep(pause).await;
            }
        };
        ctx.spawn(schedule.into_actor(self));
    }
}

/// What a failure means for the schedule.
enum Failed {
    ForNow(String),
    /// The extension has another version than this worker, as every connection detects.
    Incompatible(String),
}

async fn maintain(connector: &Connector) -> Result<(), Failed> {
    // There is no limit on its work, and its locks have a timeout of their own.
    let session = connector
        .for_upkeep()
        .connect(|_| {})
        .await
        .map_err(|error| match error {
            ConnectError::Incompatible(reason) => Failed::Incompatible(reason),
            error => Failed::ForNow(error.to_string()),
        })?;
    let failed = |error: tokio_postgres::Error| Failed::ForNow(describe(&error));
    for row in session.query(MAINTAIN, &[]).await.map_err(failed)? {
        let text = |column| row.try_get::<_, Option<String>>(column).map_err(failed);
        let (action, object, detail) = (text(0)?, text(1)?, text(3)?);
        let rows: Option<i64> = row.try_get(2).map_err(failed)?;
        // What providers were told is stored.
        match action.as_deref() == Some("discarded") {
            true => warn!(action, object, rows, detail, "upkeep"),
            false => info!(action, object, rows, detail, "upkeep"),
        }
    }
    Ok(())
}
