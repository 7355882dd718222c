//! The source of the settings of connections: they are read again for each connection, as libpq
//! does, so that a rotated password or certificate works without a restart.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tracing::{info, warn};

use super::connect::Target;
use crate::settings::{Database, DatabaseArgs, place};

/// The settings of connections, as they were last read and could be used.
pub(super) struct Source {
    args: DatabaseArgs,
    known: Mutex<Known>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

struct Known {
    target: Arc<Target>,
    /// The reason why the settings that were read last cannot be used.
    complaint: Option<String>,
}

impl Source {
    pub(super) fn new(target: Target, args: &DatabaseArgs) -> Self {
        Self {
            args: args.clone(),
            known: Mutex::new(Known {
                target: Arc::new(target),
                complaint: None,
            }),
        }
    }

    /// The settings as they are now; or, where they cannot be used, as they were before.
    pub(super) async fn read(&self) -> Arc<Target> {
        let args = self.args.clone();
        let read = move || {
            let database = args.database()?;
            Target::new(database).map_err(|error| error.to_string())
        };
        let read = tokio::task::spawn_blocking(read).await;
        let read = read.unwrap_or_else(|_| Err("a part of the worker failed".to_owned()));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let usable = read.and_then(|target| {
            let (database, before) = (&target.database, &known.target.database);
            // The parts of the worker would be connected to different databases.
            if !database.is_same_place(before) {
                return Err(format!(
                    "they name another database, {}: restart the worker to use it",
                    place(database)
                ));
            }
            Ok(target)
        });
        match usable {
            Ok(target) => {
                if target.database != known.target.database {
                    info!(
                        changed = %changes(&known.target.database, &target.database),
                        "the settings of the database were read again"
                    );
                }
                known.target = Arc::new(target);
                known.complaint = None;
            }
            Err(reason) => {
                if known.complaint.as_ref() != Some(&reason) {
                    warn!(
                        reason,
                        "the changed settings of the database cannot be used: the previous ones \
                         stay in use"
                    );
                }
                known.complaint = Some(reason);
            }
        }
        known.target.clone()
    }
}

/// The settings that have changed, in words that show no secret.
fn changes(before: &Database, now: &Database) -> &'static str {
    let passwords = |database: &Database| -> Vec<_> {
        let servers = database.servers.iter();
        servers.map(|server| server.password.clone()).collect()
    };
    match (before.user != now.user, passwords(before) != passwords(now)) {
        (true, _) => "the role",
        (false, true) => "the password",
        (false, false) => "other settings",
    }
}
