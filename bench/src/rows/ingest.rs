//! Bodies of 1000 items by SQL, beside the least that storing them can cost.

use super::assert_stored;
use crate::contest::{Bound, Contest, Row, ratio};
use crate::figures::Figures;
use crate::lab::copy::Parts;
use crate::lab::tables::columns;
use crate::lab::{Bed, Lab, URL_TOKEN};
use crate::load::bodies::{Bodies, ITEMS, STATELESS};
use crate::measure::meter::Meter;
use anyhow::{Context as _, Result, bail, ensure};
use postgres::{Client, Statement};
use serde_json::{Value, json};

const TIDINGS: &str = "tidings.ingest_batch";
const COPY: &str = "COPY BINARY of the finished events, same indexes";
const COPY_STATE: &str = "COPY BINARY of the finished events and state, same indexes";
const NORMALIZER: &str = "a plain SQL normalizer without state, same indexes";

const INSERT: &str =
    "INSERT .. SELECT of the finished events, ON CONFLICT DO NOTHING, same indexes";
const NORMALIZE_ALONE: &str = "tidings.normalize alone, which stores nothing";

/// A normalizer as a team writes it in SQL alone.
const NORMALIZE: &str = include_str!("../../contenders/normalizer.sql");

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "ingest",
        title: "Bodies of 1000 items, with state",
        about: "Arpoone's arrays of 1000 SMS states, each of another message, by one session; a body is a transaction. COPY writes what Tidings has made of the same bodies, in the same transactions: it neither verifies nor reads them, and finds no duplicate.",
        unit: "event",
        contenders: &[TIDINGS, COPY_STATE, COPY, NORMALIZER],
        marks: &[
            ratio(
                "rate against COPY of events and state",
                "rate",
                TIDINGS,
                COPY_STATE,
                Bound::AtLeast(0.7),
            ),
            ratio(
                "rate against COPY of events",
                "rate",
                TIDINGS,
                COPY,
                Bound::Stated,
            ),
        ],
        set: |lab| Ingest::set(lab, "DELIVERED"),
    },
    Row {
        name: "ingest-stateless",
        title: "Bodies of 1000 items, without state",
        about: "The same, with a status that Tidings does not know and therefore stores as `other`: such an event is stored as any other, and no message has a state from it. The last two contenders are parts of what ingest does: reading the bodies, and storing what was read.",
        unit: "event",
        contenders: &[TIDINGS, COPY, NORMALIZER, INSERT, NORMALIZE_ALONE],
        marks: &[
            ratio(
                "rate against COPY of events",
                "rate",
                TIDINGS,
                COPY,
                Bound::AtLeast(0.65),
            ),
            ratio(
                "rate against the SQL normalizer",
                "rate",
                TIDINGS,
                NORMALIZER,
                Bound::AtLeast(1.2),
            ),
        ],
        set: |lab| Ingest::set(lab, STATELESS),
    },
];

struct Ingest {
    bed: Bed,
    bodies: Vec<Vec<u8>>,
    events: Parts,
    state: Option<Parts>,
}

impl Ingest {
    fn set(lab: &Lab, status: &str) -> Result<Box<dyn Contest>> {
        let mut random = Bodies::new(2);
        let count = lab.pick(2, 100);
        let bodies: Vec<_> = (0..count).map(|_| random.sms(ITEMS, status)).collect();
        let bed = lab.bed(&[])?;
        lab.progress.say("preparing the finished rows");
        let database = bed.database()?;
        let mut client = bed.connect(&database)?;
        bodies
            .iter()
            .try_for_each(|body| ingest(&mut client, body))?;
        let rows = usize::try_from(ITEMS)?;
        let events = Parts::read(
            &mut client,
            "tidings.event",
            "id",
            "contender.exact_event",
            rows,
        )?;
        ensure!(events.len() == bodies.len(), "not every item was stored");
        let state: i64 = client
            .query_one("select count(*) from tidings.message", &[])?
            .try_get(0)?;
        let state = if status == STATELESS {
            ensure!(state == 0, "there is state, and should be none");
            None
        } else {
            let order = "first_event_at, message_key";
            Some(Parts::read(
                &mut client,
                "tidings.message",
                order,
                "contender.exact_message",
                rows,
            )?)
        };
        bed.drop_database(&database)?;
        Ok(Box::new(Self {
            bed,
            bodies,
            events,
            state,
        }))
    }

    fn rows(&self) -> usize {
        self.bodies.len() * usize::try_from(ITEMS).unwrap_or(usize::MAX)
    }
}

/// The table of who stores nothing.
const NOTHING: &str = "";

impl Ingest {
    /// Prepares the insertion of a part of the finished events, which lie in a table.
    fn finished(&self, client: &mut Client) -> Result<Statement> {
        for part in 0..self.events.len() {
            let mut transaction = client.transaction()?;
            self.events.write(&mut transaction, part)?;
            transaction.commit()?;
        }
        client.batch_execute(&format!(
            "create table contender.finished as
             select (row_number() over (order by id) - 1) / {ITEMS} as part, e.* from contender.exact_event e;
             create index on contender.finished (part);
             truncate contender.exact_event;
             analyze contender.finished"
        ))?;
        let columns = columns(client, "contender.exact_event")?;
        Ok(client.prepare(&format!(
            "insert into contender.exact_event ({columns})
             select {columns} from contender.finished where part = $1 order by event_id, occurred_at, source_id
             on conflict do nothing"
        ))?)
    }
}

impl Contest for Ingest {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        let database = self.bed.database()?;
        let mut client = self.bed.connect(&database)?;
        let mut watch = self.bed.connect(&database)?;
        let normalize = client.prepare(NORMALIZE)?;
        let insert = if contender == INSERT {
            Some(self.finished(&mut client)?)
        } else {
            None
        };
        let meter = Meter::start(self.bed.watched(None), &mut watch)?;
        let table = match contender {
            TIDINGS => {
                self.bodies
                    .iter()
                    .try_for_each(|body| ingest(&mut client, body))?;
                "tidings.event"
            }
            COPY | COPY_STATE => {
                for part in 0..self.events.len() {
                    let mut transaction = client.transaction()?;
                    self.events.write(&mut transaction, part)?;
                    if contender == COPY_STATE
                        && let Some(state) = &self.state
                    {
                        state.write(&mut transaction, part)?;
                    }
                    transaction.commit()?;
                }
                "contender.exact_event"
            }
            INSERT => {
                let insert = insert.context("nothing to insert")?;
                for part in 0..i64::try_from(self.events.len())? {
                    client.execute(&insert, &[&part])?;
                }
                "contender.exact_event"
            }
            NORMALIZE_ALONE => {
                let read = "select count(*) from tidings.normalize('arpoone', $1::bytea)";
                let mut items = 0;
                for body in &self.bodies {
                    items += client.query_one(read, &[body])?.try_get::<_, i64>(0)?;
                }
                ensure!(
                    usize::try_from(items)? == self.rows(),
                    "{items} items were read"
                );
                NOTHING
            }
            NORMALIZER => {
                for body in &self.bodies {
                    client.execute(&normalize, &[body])?;
                }
                "contender.event"
            }
            other => bail!("there is no contender {other}"),
        };
        let figures = meter.stop(self.rows().try_into()?, &mut watch)?;
        if table != NOTHING {
            assert_stored(&mut watch, table, self.rows())?;
        }
        if contender == TIDINGS && self.state.is_some() {
            assert_stored(&mut watch, "tidings.message", self.rows())?;
        }
        drop((client, watch));
        self.bed.drop_database(&database)?;
        Ok(figures.only(&["rate", "pg_us", "wal"]))
    }
}

/// Ingests a body of Arpoone's in a transaction of its own; all of its items are new.
pub(crate) fn ingest(client: &mut Client, body: &[u8]) -> Result<()> {
    let headers: Value = json!({ "url-token": URL_TOKEN });
    let statement = "select verdict, inserted, duplicate, rejected, detail
                     from tidings.ingest_batch(array['sms'], array[$1::bytea], array[$2::jsonb])";
    let row = client.query_one(statement, &[&body, &headers])?;
    let (verdict, duplicate, rejected): (&str, i32, i32) =
        (row.try_get(0)?, row.try_get(2)?, row.try_get(3)?);
    ensure!(
        verdict == "accepted" && duplicate + rejected == 0,
        "a body was not stored: {verdict}, {:?}",
        row.try_get::<_, Option<String>>(4)?
    );
    Ok(())
}
