//! Single functions, beside those of Postgres.

use crate::contest::{Bound, Contest, Row, ratio};
use crate::figures::Figures;
use crate::lab::{Bed, Lab};
use anyhow::{Result, bail, ensure};
use std::time::Instant;

const GEN_ULID: &str = "tidings.gen_ulid";
const GEN_UUID: &str = "gen_random_uuid";
const VERIFY: &str = "tidings.verify_hmac_sha1";
const PGCRYPTO: &str = "pgcrypto's hmac, compared in hex";

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "gen-ulid",
        title: "New ids",
        about: "A million calls in one statement; the time of the same statement with a constant in the place of the call is subtracted.",
        unit: "call",
        contenders: &[GEN_ULID, GEN_UUID],
        marks: &[ratio(
            "rate against gen_random_uuid",
            "rate",
            GEN_ULID,
            GEN_UUID,
            Bound::AtLeast(3.0),
        )],
        set: Calls::set,
    },
    Row {
        name: "hmac",
        title: "Signatures of bodies of 250 bytes",
        about: "A genuine signature is checked in a statement of so many calls; the time of the same statement that only looks at the body's length is subtracted. pgcrypto's tag is compared as text, which is not constant in time.",
        unit: "call",
        contenders: &[VERIFY, PGCRYPTO],
        marks: &[ratio(
            "rate against pgcrypto",
            "rate",
            VERIFY,
            PGCRYPTO,
            Bound::AtLeast(1.6),
        )],
        set: Calls::set,
    },
];

struct Calls {
    bed: Bed,
    calls: i64,
}

impl Calls {
    fn set(lab: &Lab) -> Result<Box<dyn Contest>> {
        let bed = lab.bed(&[])?;
        bed.connect("postgres")?.batch_execute(
            "create extension pgcrypto;
             create extension tidings",
        )?;
        Ok(Box::new(Self {
            bed,
            calls: lab.pick(10_000, 1_000_000),
        }))
    }
}

impl Contest for Calls {
    fn play(&mut self, contender: &str) -> Result<Figures> {
        let calls = self.calls;
        let ids = |call: &str| format!("select count({call}) from generate_series(1, {calls})");
        let bodies = |check: &str| {
            format!(
                "select count(*) filter (where {check})
                 from generate_series(1, {calls}) i
                 cross join lateral (select decode(repeat('61', 242) || lpad(to_hex(i & 1), 16, '0'), 'hex') as body) b,
                   (values ('c0ffee'::bytea,
                     encode(tidings.hmac_sha1(decode(repeat('61', 242) || lpad('0', 16, '0'), 'hex'), 'c0ffee'), 'hex'),
                     encode(tidings.hmac_sha1(decode(repeat('61', 242) || lpad('1', 16, '0'), 'hex'), 'c0ffee'), 'hex')
                   )) k (key, even, odd)"
            )
        };
        let tag = "case i & 1 when 0 then even else odd end";
        let (with, without) = match contender {
            GEN_ULID => (ids("tidings.gen_ulid()"), ids("1")),
            GEN_UUID => (ids("gen_random_uuid()"), ids("1")),
            VERIFY => (
                bodies(&format!("tidings.verify_hmac_sha1(body, key, {tag})")),
                bodies(&format!("length(body) > 0 and {tag} <> ''")),
            ),
            PGCRYPTO => (
                bodies(&format!(
                    "encode(public.hmac(body, key, 'sha1'), 'hex') = {tag}"
                )),
                bodies(&format!("length(body) > 0 and {tag} <> ''")),
            ),
            other => bail!("there is no contender {other}"),
        };
        let mut client = self.bed.connect("postgres")?;
        // JIT would compile one of the statements and not the other.
        client.batch_execute("set jit = off; set max_parallel_workers_per_gather = 0")?;
        let mut time = |statement: &str| -> Result<f64> {
            let mut best = f64::INFINITY;
            for _ in 0..3 {
                let began = Instant::now();
                let counted: i64 = client.query_one(statement, &[])?.try_get(0)?;
                best = best.min(began.elapsed().as_secs_f64());
                ensure!(
                    counted == calls,
                    "{counted} of {calls} calls returned what they should"
                );
            }
            Ok(best)
        };
        let seconds = (time(&with)? - time(&without)?).max(1e-6);
        let calls = calls as f64;
        Ok(Figures::default()
            .with("rate", calls / seconds)
            .with("ns", seconds * 1e9 / calls))
    }
}
