//! Bodies of items without a time, which must cost what others cost.

use super::ingest::ingest;
use crate::contest::{Bound, Contest, Row, ratio, value};
use crate::figures::Figures;
use crate::lab::Bed;
use crate::load::bodies::Bodies;
use anyhow::{Context as _, Result, ensure};
use std::time::Instant;

const K1: &str = "1,000 items";
const K8: &str = "8,000 items";
const K20: &str = "20,000 items";

pub(super) const ROWS: &[Row] = &[Row {
    name: "undated",
    title: "One body of items without a time",
    about: "SMS states without `ReportDateTime`, each of another message, in one body: the time of `tidings.normalize`, which stores nothing, and of `tidings.ingest`.",
    unit: "body",
    contenders: &[K1, K8, K20],
    marks: &[
        value(
            "ingest of 20,000 items, seconds",
            "seconds",
            K20,
            Bound::AtMost(1.0),
        ),
        ratio(
            "20,000 items against 1,000, ingest",
            "seconds",
            K20,
            K1,
            Bound::Stated,
        ),
    ],
    set: |lab| {
        Ok(Box::new(Undated {
            bed: lab.bed(&[])?,
            by: lab.pick(10, 1),
            turns: 0,
        }))
    },
}];

struct Undated {
    bed: Bed,
    /// Divides the sizes.
    by: u64,
    turns: u64,
}

impl Contest for Undated {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        let sizes = [(K1, 1000), (K8, 8000), (K20, 20_000)];
        let (_, items) = sizes
            .into_iter()
            .find(|(name, _)| *name == contender)
            .context("no such size")?;
        self.turns += 1;
        let items = items / self.by;
        let database = self.bed.database()?;
        let mut client = self.bed.connect(&database)?;
        // The session's first ingest prepares its statements.
        ingest(&mut client, &Bodies::new(8).undated(10))?;
        let body = Bodies::new(1000 + self.turns).undated(items);
        let began = Instant::now();
        let normalized: i64 = client
            .query_one(
                "select count(*) from tidings.normalize('arpoone', $1::bytea)",
                &[&body],
            )?
            .try_get(0)?;
        let normalize = began.elapsed().as_secs_f64();
        ensure!(
            u64::try_from(normalized)? == items,
            "{normalized} items were normalized"
        );
        let began = Instant::now();
        ingest(&mut client, &body)?;
        let seconds = began.elapsed().as_secs_f64();
        let stored: i64 = client
            .query_one("select count(*) from tidings.event", &[])?
            .try_get(0)?;
        ensure!(
            u64::try_from(stored)? == items + 10,
            "{stored} events are stored"
        );
        drop(client);
        self.bed.drop_database(&database)?;
        Ok(Figures::default()
            .with("seconds", seconds)
            .with("normalize_s", normalize))
    }
}
