//! Advice on the settings of the server (docs/server-settings.md) for which a measurement
//! shows that another value is worth its price.
//!
//! A server that writes little WAL gets no advice on `shared_buffers`, `checkpoint_timeout` and
//! `wal_compression`. The statistics of the server are averages since they were last reset.

mod facts;

use self::facts::Facts;
use super::findings::Finding;
use crate::postgres::{Session, failure::describe};

/// Least WAL of a busy server, in bytes a day: see [`Facts::is_busy`].
const BUSY: i64 = 10 << 30;
/// Number of requested checkpoints from which they are no accident.
const SEVERAL: i64 = 10;
/// The default of `shared_buffers`, in bytes.
const DEFAULT_BUFFERS: i64 = 128 << 20;
/// The default of `checkpoint_timeout`, in seconds.
const DEFAULT_TIMEOUT: i64 = 300;
/// Number of statements over all partitions for which the lock table should have room.
const AT_ONCE: i64 = 4;

const PAGE: &str = "docs/server-settings.md";

pub(super) async fn findings(session: &Session) -> Vec<Finding> {
    match Facts::read(session).await {
        Ok(facts) => [vec![shown(&facts)], advice(&facts)].concat(),
        Err(error) => {
            let found = format!(
                "not checked, because they cannot be read: {}",
                describe(&error)
            );
            vec![Finding::warn("server settings", found)]
        }
    }
}

/// The settings, and in the details the measurements that they are compared with.
fn shown(facts: &Facts) -> Finding {
    let settings = format!(
        "shared_buffers {}, max_wal_size {}, checkpoint_timeout {}, wal_compression {}, \
         synchronous_commit {}, max_locks_per_transaction {}",
        size(facts.shared_buffers),
        size(facts.max_wal_size),
        facts.checkpoint_timeout_shown,
        facts.wal_compression,
        facts.synchronous_commit,
        facts.locks_per_transaction,
    );
    Finding::ok("server settings", settings).details([
        format!("indexes with random keys: {}", size(facts.random_indexes)),
        format!(
            "checkpoints since {}: {} by time, {} requested",
            facts.checkpoints_since, facts.by_time, facts.requested
        ),
        format!(
            "WAL since {}: {}, at most {} % of it full-page images",
            facts.wal_since,
            size(facts.wal),
            percent(facts.whole_pages, facts.wal)
        ),
        format!(
            "locks of a statement that opens all {} partitions: {} of {}",
            facts.partitions, facts.locks_of_all, facts.locks
        ),
    ])
}

/// One finding for each setting that should be changed.
fn advice(facts: &Facts) -> Vec<Finding> {
    let checkpoints = max_wal_size(facts).or_else(|| checkpoint_timeout(facts));
    // Rarer checkpoints save more WAL than compression, and CPU too: they come first.
    let pages = checkpoints.or_else(|| wal_compression(facts));
    let all = [
        synchronous_commit(facts),
        shared_buffers(facts),
        pages,
        max_locks_per_transaction(facts),
    ];
    all.into_iter().flatten().collect()
}

fn synchronous_commit(facts: &Facts) -> Option<Finding> {
    (facts.synchronous_commit == "off").then(|| {
        let found = format!(
            "off: a commit is reported before it is on the disk, so that a crash can lose an event \
             that was acknowledged; the worker turns it on for its own sessions, but other sessions \
             that ingest do not; run {}, and ALTER ROLE .. RESET synchronous_commit or \
             ALTER DATABASE .. RESET synchronous_commit if this role or database has a value of \
             its own ({PAGE})",
            set("synchronous_commit", "on")
        );
        Finding::warn("synchronous_commit", found)
    })
}

fn shared_buffers(facts: &Facts) -> Option<Finding> {
    let applies = facts.shared_buffers <= DEFAULT_BUFFERS
        && facts.random_indexes > facts.shared_buffers
        && facts.is_busy();
    applies.then(|| {
        let found = format!(
            "{}, and the indexes with random keys take {}, so batches read and evict their \
             pages, which costs rate and CPU; set shared_buffers to a quarter of the memory and restart \
             the server ({PAGE})",
            size(facts.shared_buffers),
            size(facts.random_indexes)
        );
        Finding::warn("shared_buffers", found)
    })
}

fn max_wal_size(facts: &Facts) -> Option<Finding> {
    facts.wal_forces_checkpoints().then(|| {
        let found = format!(
            "{}, and since {} the WAL has forced most of {} requested checkpoints, while {} started by \
             time; after every checkpoint ingest writes full-page images to the WAL again, which \
             costs WAL and rate; raise max_wal_size until checkpoints start by time, beginning \
             with {}; the price is a longer recovery after a crash ({PAGE})",
            size(facts.max_wal_size),
            facts.checkpoints_since,
            facts.requested,
            facts.by_time,
            set("max_wal_size", &value(facts.max_wal_size.saturating_mul(4)))
        );
        Finding::warn("max_wal_size", found)
    })
}

fn checkpoint_timeout(facts: &Facts) -> Option<Finding> {
    let applies = facts.checkpoint_timeout <= DEFAULT_TIMEOUT
        && facts.by_time >= facts.requested
        && facts.is_busy()
        && facts.is_mostly_pages();
    applies.then(|| {
        let found = format!(
            "{}, and up to {} % of {} WAL since {} are full-page images, which are written again \
             after each checkpoint and cost WAL and rate; if a recovery may take some minutes, run {} \
             ({PAGE})",
            facts.checkpoint_timeout_shown,
            percent(facts.whole_pages, facts.wal),
            size(facts.wal),
            facts.wal_since,
            set("checkpoint_timeout", "15min")
        );
        Finding::warn("checkpoint_timeout", found)
    })
}

fn wal_compression(facts: &Facts) -> Option<Finding> {
    let applies = facts.wal_compression == "off"
        && facts.has_lz4
        && facts.is_shipped
        && facts.is_busy()
        && facts.is_mostly_pages();
    applies.then(|| {
        let found = format!(
            "off, and up to {} % of {} WAL since {} are full-page images, which go to a standby or \
             an archive; if its disk or the network is the limit, run {}; the price is some CPU of ingest \
             ({PAGE})",
            percent(facts.whole_pages, facts.wal),
            size(facts.wal),
            facts.wal_since,
            set("wal_compression", "lz4")
        );
        Finding::warn("wal_compression", found)
    })
}

fn max_locks_per_transaction(facts: &Facts) -> Option<Finding> {
    let applies = facts.locks_of_all.saturating_mul(AT_ONCE) > facts.locks;
    applies.then(|| {
        let mut enough = facts.locks_per_transaction.max(1);
        let sessions = facts.locks / enough;
        while enough.saturating_mul(sessions) < facts.locks_of_all.saturating_mul(2 * AT_ONCE)
            && enough < i64::from(i32::MAX) / 2
        {
            enough = enough.saturating_mul(2);
        }
        let found = format!(
            "{}, and a statement that opens all {} partitions takes {} of the {} locks of the \
             server: a few of these statements at once fill the lock table, and any statement can \
             then fail (out of shared memory, SQLSTATE 53200); add a condition on occurred_at to \
             such statements, or run {} and restart the server, or set partition_width = 'month' ({PAGE})",
            facts.locks_per_transaction,
            facts.partitions,
            facts.locks_of_all,
            facts.locks,
            alter("max_locks_per_transaction", &enough.to_string())
        );
        Finding::warn("max_locks_per_transaction", found)
    })
}

fn alter(setting: &str, value: &str) -> String {
    format!("`alter system set {setting} = '{value}'`")
}

/// The statements that change a setting without a restart.
fn set(setting: &str, value: &str) -> String {
    format!("`alter system set {setting} = '{value}'; select pg_reload_conf()`")
}

/// A size as a value of a setting: whole gigabytes or megabytes.
fn value(bytes: i64) -> String {
    match bytes >> 20 {
        mega if mega % 1024 == 0 => format!("{}GB", mega >> 10),
        mega => format!("{mega}MB"),
    }
}

fn size(bytes: i64) -> String {
    for (shift, unit) in [(30, "GB"), (20, "MB"), (10, "kB")] {
        let one = 1_i64 << shift;
        if bytes >= one {
            let number = format!("{:.1}", bytes as f64 / one as f64);
            return format!("{} {unit}", number.trim_end_matches(".0"));
        }
    }
    format!("{bytes} bytes")
}

fn percent(part: i64, whole: i64) -> i64 {
    part.saturating_mul(100) / whole.max(1)
}

#[cfg(test)]
mod tests;
