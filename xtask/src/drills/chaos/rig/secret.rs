//! The secret of a source changes at its provider while Postgres is away. The worker cannot
//! know that what it spools will be refused, so it must be kept until the source's secret is
//! rotated too, however much it is.
//!
//! The source is one of the drill's own, because each of its webhooks is an event: the bound
//! of `tidings.rejected` is a number of requests.

use super::super::fault::{Kind, Link};
use super::{Rig, TICK};
use anyhow::{Result, bail, ensure};
use postgres::Client;
use serde_json::json;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use tidings_harness::http;
use tidings_harness::metrics;

const SOURCE: &str = "rotating";
/// Webhooks of one change: more than `tidings.rejected` keeps of a source and a verdict.
const BURST: usize = 1_500;
const SENDERS: usize = 8;
const AT: &str = "2026-01-01T00:00:00Z";
/// Time limit until the worker has brought what it spooled.
const BROUGHT: Duration = Duration::from_secs(60);
/// A spool that is as deep after this time will not be emptied before the rotation.
const RESTS: Duration = Duration::from_secs(2);
/// Time limit until everything is stored after the rotation: the spool may pause for two
/// minutes.
const STORED: Duration = Duration::from_secs(180);

/// The provider whose secret changes: Arpoone, which proves itself by the token of its URL.
#[derive(Debug, Default)]
pub(super) struct Rotating {
    changes: usize,
    /// The ids of the events that were answered 200.
    acknowledged: Vec<String>,
}

impl Rotating {
    pub(super) fn add(client: &mut Client) -> Result<Self> {
        let rotating = Self::default();
        client.execute(
            "select tidings.add_source($1, 'arpoone', $2)",
            &[&SOURCE, &rotating.secret()],
        )?;
        Ok(rotating)
    }

    fn secret(&self) -> String {
        format!("secret-{}", self.changes)
    }

    /// Sends webhooks with the secret as it is at the provider.
    fn send(&mut self, to: SocketAddr) -> Result<usize> {
        let path = format!("/hooks/{SOURCE}/{}", self.secret());
        let ids: Vec<String> = (0..BURST)
            .map(|number| format!("{}-{number:05}", self.secret()))
            .collect();
        let send = |own: &[String]| {
            let answered = |id: &&String| {
                let body = json!([{"Msisdn": "351913462111", "Status": "DELIVERED",
                                   "MessageId": id, "ReportDateTime": AT}]);
                let answer = http::post(to, &path, &[], body.to_string().as_bytes());
                answer.is_ok_and(|answer| answer.status == 200)
            };
            own.iter().filter(answered).cloned().collect::<Vec<_>>()
        };
        let acknowledged: Vec<String> = thread::scope(|scope| {
            let senders: Vec<_> = ids
                .chunks(BURST.div_ceil(SENDERS))
                .map(|own| scope.spawn(move || send(own)))
                .collect();
            let sent = senders.into_iter().map(|sender| sender.join());
            sent.flat_map(|sent| sent.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let count = acknowledged.len();
        self.acknowledged.extend(acknowledged);
        Ok(count)
    }

    /// Number of acknowledged events that are not stored.
    fn missing(&self, client: &mut Client) -> Result<i64> {
        let row = client.query_one(
            "select count(*) from unnest($2::text[]) sent (message_id) where not exists (
               select from tidings.event e join tidings.source s on s.id = e.source_id
               where s.name = $1 and e.message_id = sent.message_id)",
            &[&SOURCE, &self.acknowledged],
        )?;
        Ok(row.try_get(0)?)
    }

    /// Adds its events to the emulator's ledger, so that they are compared as all others are.
    pub(super) fn enter(&self, ledger: &Path) -> Result<()> {
        let mut file = OpenOptions::new().append(true).open(ledger)?;
        for id in &self.acknowledged {
            let line = json!({"source": SOURCE, "key": format!("{id}|DELIVERED|{AT}"),
                              "copies": 1, "emissions": 1, "acknowledged": 1, "timeless": false});
            writeln!(file, "{line}")?;
        }
        Ok(())
    }
}

impl Rig {
    /// Ends an outage in which the secret has changed: what was spooled is refused, the
    /// source's secret is rotated, and what was refused is replayed.
    pub(super) fn change_secret(&mut self) -> Result<()> {
        self.rotating.changes += 1;
        let taken = self.rotating.send(self.worker.http)?;
        ensure!(
            taken > BURST / 2,
            "of {BURST} webhooks {taken} were answered 200 while Postgres was away"
        );
        self.end(Kind::Refuse(Link::Database))?;
        self.wait_brought()?;
        let mut client = self.connect()?;
        let secret = self.rotating.secret();
        client.execute(
            "select tidings.rotate_secret($1, $2, '1 hour')",
            &[&SOURCE, &secret],
        )?;
        let started = Instant::now();
        loop {
            client.execute("select tidings.replay_rejected($1)", &[&SOURCE])?;
            let missing = self.rotating.missing(&mut client)?;
            if missing == 0 {
                return Ok(());
            }
            self.worker.check_running()?;
            if started.elapsed() >= STORED {
                bail!(
                    "of {taken} webhooks that were answered 200 with the new secret, {missing} \
                     are not stored {STORED:?} after its rotation and a replay"
                );
            }
            thread::sleep(TICK);
        }
    }

    /// Waits until the worker has brought everything to Postgres that it can, before anybody
    /// has rotated a secret.
    fn wait_brought(&mut self) -> Result<()> {
        let started = Instant::now();
        let (mut last, mut since) = (0.0, Instant::now());
        loop {
            let depth = metrics::gauge(self.worker.admin, "tidings_worker_spool_requests")?;
            if depth != last {
                (last, since) = (depth, Instant::now());
            }
            if self.is_ready() && (depth == 0.0 || since.elapsed() >= RESTS) {
                return Ok(());
            }
            self.worker.check_running()?;
            if started.elapsed() >= BROUGHT {
                bail!("the spool still drains {BROUGHT:?} after the outage: {depth} requests");
            }
            thread::sleep(TICK);
        }
    }
}
