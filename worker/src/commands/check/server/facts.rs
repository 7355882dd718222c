//! The server's settings, and its statistics of the load.

use tokio_postgres::{Error, Row};

use crate::postgres::Session;

/// The settings that matter, and the measurements that tell whether they fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// Size in bytes.
    pub(super) shared_buffers: i64,
    /// Size in bytes.
    pub(super) max_wal_size: i64,
    /// Bytes of WAL after which a checkpoint is requested.
    pub(super) wal_of_a_checkpoint: i64,
    /// Value in seconds.
    pub(super) checkpoint_timeout: i64,
    /// Value as the server shows it.
    pub(super) checkpoint_timeout_shown: String,
    pub(super) wal_compression: String,
    /// True if `wal_compression = lz4` is possible.
    pub(super) has_lz4: bool,
    /// The value that a new session of this role has.
    pub(super) synchronous_commit: String,
    pub(super) locks_per_transaction: i64,
    /// Size of the lock table.
    pub(super) locks: i64,

    /// Bytes of the indexes with random keys that ingest writes to: those of messages, and
    /// those of the partition where they are largest; as of the last VACUUM or ANALYZE.
    pub(super) random_indexes: i64,
    pub(super) partitions: i64,
    /// Locks of a statement that opens all partitions.
    pub(super) locks_of_all: i64,

    /// Bytes of WAL since `wal_since`.
    pub(super) wal: i64,
    /// Upper bound of the bytes of full-page images among them.
    pub(super) whole_pages: i64,
    pub(super) wal_since: String,
    pub(super) wal_days: f64,
    /// True if the WAL goes to a standby or to an archive.
    pub(super) is_shipped: bool,
    pub(super) by_time: i64,
    pub(super) requested: i64,
    pub(super) checkpoints_since: String,
}

const VERSION: &str = "select pg_catalog.current_setting('server_version_num')::int";

/// The columns of [`Facts`], in their order. The checkpoints are in a view of their own
/// since Postgres 17.
fn query(version: i32) -> String {
    let checkpoints = if version >= 170_000 {
        "select num_timed as by_time, num_requested as requested, stats_reset \
            from pg_catalog.pg_stat_checkpointer"
    } else {
        "select checkpoints_timed as by_time, checkpoints_req as requested, stats_reset \
            from pg_catalog.pg_stat_bgwriter"
    };
    format!("{HEAD} ({checkpoints}) k")
}

// The size of an index is the one that the last VACUUM or ANALYZE recorded, because
// pg_relation_size would wait for a REINDEX. An index whose first column is an event's
// identity, a position or a time grows at its right edge, and is left out. Where stats_reset
// is null, the statistics are taken to begin with the start of the server.
const HEAD: &str = "\
    with setting as ( \
        select pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')) as max_wal_size, \
            pg_catalog.current_setting('max_locks_per_transaction')::bigint as locks \
    ), partition as ( \
        select inhrelid as id from pg_catalog.pg_inherits \
        where inhparent = 'tidings.event'::pg_catalog.regclass \
    ), random as ( \
        select x.indrelid as id, sum(i.relpages::bigint) * pg_catalog.current_setting('block_size')::int as size \
        from pg_catalog.pg_index x \
        join pg_catalog.pg_class i on i.oid = x.indexrelid \
        left join pg_catalog.pg_attribute a on a.attrelid = x.indrelid and a.attnum = x.indkey[0] \
        where (x.indrelid = 'tidings.message'::pg_catalog.regclass or x.indrelid in (select id from partition)) \
            and coalesce(a.attname, '') not in ('event_id', 'id', 'first_event_at') \
        group by 1 \
    ) \
    select \
        pg_catalog.pg_size_bytes(pg_catalog.current_setting('shared_buffers')), \
        s.max_wal_size, \
        (s.max_wal_size / (1 + pg_catalog.current_setting('checkpoint_completion_target')::float8))::bigint, \
        extract(epoch from pg_catalog.current_setting('checkpoint_timeout')::interval)::bigint, \
        pg_catalog.current_setting('checkpoint_timeout'), \
        pg_catalog.current_setting('wal_compression'), \
        coalesce((select 'lz4' = any (enumvals) from pg_catalog.pg_settings where name = 'wal_compression'), false), \
        coalesce((select reset_val from pg_catalog.pg_settings where name = 'synchronous_commit'), ''), \
        s.locks, \
        s.locks * (pg_catalog.current_setting('max_connections')::bigint \
            + pg_catalog.current_setting('max_prepared_transactions')::bigint), \
        (select (coalesce(sum(size) filter (where id = 'tidings.message'::pg_catalog.regclass), 0) \
            + coalesce(max(size) filter (where id <> 'tidings.message'::pg_catalog.regclass), 0))::bigint from random), \
        (select count(*) from partition), \
        (select count(*) from partition) \
            + (select count(*) from pg_catalog.pg_index where indrelid in (select id from partition)), \
        w.wal_bytes::bigint, \
        least(w.wal_bytes, w.wal_fpi::numeric * pg_catalog.current_setting('block_size')::int)::bigint, \
        date_trunc('second', w.since)::text, \
        (extract(epoch from now() - w.since) / 86400)::float8, \
        pg_catalog.current_setting('archive_mode') <> 'off' \
            or exists (select from pg_catalog.pg_stat_replication), \
        k.by_time, \
        k.requested, \
        date_trunc('second', coalesce(k.stats_reset, pg_catalog.pg_postmaster_start_time()))::text \
    from setting s \
    cross join (select wal_bytes, wal_fpi, \
        coalesce(stats_reset, pg_catalog.pg_postmaster_start_time()) as since \
        from pg_catalog.pg_stat_wal) w \
    cross join";

impl Facts {
    pub(super) async fn read(session: &Session) -> Result<Self, Error> {
        let version = session.query_one(VERSION, &[]).await?.try_get(0)?;
        Self::of(&session.query_one(&query(version), &[]).await?)
    }

    fn of(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            shared_buffers: row.try_get(0)?,
            max_wal_size: row.try_get(1)?,
            wal_of_a_checkpoint: row.try_get(2)?,
            checkpoint_timeout: row.try_get(3)?,
            checkpoint_timeout_shown: row.try_get(4)?,
            wal_compression: row.try_get(5)?,
            has_lz4: row.try_get(6)?,
            synchronous_commit: row.try_get(7)?,
            locks_per_transaction: row.try_get(8)?,
            locks: row.try_get(9)?,
            random_indexes: row.try_get(10)?,
            partitions: row.try_get(11)?,
            locks_of_all: row.try_get(12)?,
            wal: row.try_get(13)?,
            whole_pages: row.try_get(14)?,
            wal_since: row.try_get(15)?,
            wal_days: row.try_get(16)?,
            is_shipped: row.try_get(17)?,
            by_time: row.try_get(18)?,
            requested: row.try_get(19)?,
            checkpoints_since: row.try_get(20)?,
        })
    }

    /// Returns whether the server has written so much WAL that its settings are worth a
    /// change. The WAL of less than a day counts as the WAL of a day.
    pub(super) fn is_busy(&self) -> bool {
        self.wal as f64 >= super::BUSY as f64 * self.wal_days.max(1.0)
    }

    /// Returns whether more checkpoints were requested than started by time, most of them by
    /// the WAL rather than by commands. Checkpoints from before `max_wal_size` was raised do not count,
    /// because there is too little WAL for their number.
    pub(super) fn wal_forces_checkpoints(&self) -> bool {
        let wal = self.requested as f64 * self.wal_of_a_checkpoint as f64;
        self.requested >= super::SEVERAL
            && self.requested > self.by_time
            && self.wal as f64 * 2.0 >= wal
    }

    /// Returns whether full-page images are most of the WAL.
    pub(super) fn is_mostly_pages(&self) -> bool {
        self.whole_pages.saturating_mul(2) > self.wal
    }
}
