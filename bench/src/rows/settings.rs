//! The effect of settings of the server.

use super::sizes::{Turn, WARM_UP, filled, steady};
use crate::contest::{Bound, Contest, Row, ratio};
use crate::figures::Figures;
use crate::lab::Bed;
use anyhow::{Context as _, Result, bail};
use postgres::error::SqlState;
use std::time::Duration;
use tidings_harness::step::Missing;

const BASE: &str = "as all rows have them";
const LZ4: &str = "`wal_compression = lz4`";
const ZSTD: &str = "`wal_compression = zstd`";
const SMALL_BUFFERS: &str = "`shared_buffers = 128MB`";
const NO_CHECKPOINT: &str =
    "no checkpoint meanwhile (a longer `checkpoint_timeout`, a larger `max_wal_size`)";
const NOT_SYNCHRONOUS: &str = "`synchronous_commit = off`";

pub(super) const ROWS: &[Row] = &[Row {
    name: "settings",
    title: "Settings of the server",
    about: "Ingest as in the rows `size-..`, at 3 million events, with a checkpoint that begins with each window of 5 s, and with one setting changed at a time. With `synchronous_commit = off` an acknowledged event can be lost, so that it is here to show what the wait for the disk costs.",
    unit: "event",
    contenders: &[
        BASE,
        LZ4,
        ZSTD,
        SMALL_BUFFERS,
        NO_CHECKPOINT,
        NOT_SYNCHRONOUS,
    ],
    marks: &[
        ratio("WAL with lz4", "wal", LZ4, BASE, Bound::Stated),
        ratio("rate with lz4", "rate", LZ4, BASE, Bound::Stated),
        ratio(
            "rate with 128 MB of shared buffers",
            "rate",
            SMALL_BUFFERS,
            BASE,
            Bound::Stated,
        ),
        ratio(
            "rate without a checkpoint",
            "rate",
            NO_CHECKPOINT,
            BASE,
            Bound::Stated,
        ),
    ],
    set: |lab| {
        let events = lab.pick(10_000, 3_000_000);
        let (bed, database) = filled(lab, events)?;
        Ok(Box::new(Settings {
            bed,
            database,
            window: lab.window(),
            buffers: "2GB",
            seed: 200,
        }))
    },
}];

struct Settings {
    bed: Bed,
    database: String,
    window: Duration,
    buffers: &'static str,
    seed: u64,
}

impl Contest for Settings {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        self.seed += 1;
        let (setting, value) = match contender {
            BASE | NO_CHECKPOINT | SMALL_BUFFERS => ("wal_compression", "off"),
            LZ4 => ("wal_compression", "lz4"),
            ZSTD => ("wal_compression", "zstd"),
            NOT_SYNCHRONOUS => ("synchronous_commit", "off"),
            other => bail!("there is no contender {other}"),
        };
        let buffers = if contender == SMALL_BUFFERS {
            "128MB"
        } else {
            "2GB"
        };
        self.restart_with(buffers)?;
        let mut client = self.bed.connect("postgres")?;
        if let Err(error) = client.batch_execute(&format!("alter system set {setting} = '{value}'"))
        {
            if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) {
                bail!(Missing::new(format!(
                    "this Postgres was built without {value}"
                )));
            }
            return Err(error.into());
        }
        client.batch_execute("select pg_reload_conf()")?;
        let checkpoint = contender != NO_CHECKPOINT;
        let turn = Turn {
            // Without a checkpoint the pages were touched before.
            warm_up: if checkpoint { WARM_UP } else { self.window },
            window: self.window,
            checkpoint,
        };
        let figures = steady(&self.bed, &self.database, self.seed, turn);
        client.batch_execute(&format!("alter system reset {setting}"))?;
        client.batch_execute("select pg_reload_conf()")?;
        self.bed.checkpoint()?;
        figures
    }
}

impl Settings {
    fn restart_with(&mut self, buffers: &'static str) -> Result<()> {
        if self.buffers != buffers {
            let set = format!("alter system set shared_buffers = '{buffers}'");
            let mut client = self.bed.connect("postgres")?;
            client.batch_execute(&set)?;
            client.batch_execute("checkpoint")?;
            drop(client);
            self.bed.cluster.kill().context("cannot restart")?;
            self.bed.cluster.restart()?;
            self.buffers = buffers;
        }
        Ok(())
    }
}
