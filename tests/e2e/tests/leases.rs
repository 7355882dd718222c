//! Two workers on one database: each answers webhooks, one follows the stream; when that
//! one is gone the other does, and what the first still writes is refused.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use std::net::SocketAddr;
use std::path::Path;
use tidings_e2e::{DEADLINE, eventually, server};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::emulator::{Emulator, Play};
use tidings_harness::proxy::{Conduct, Proxy};
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::stage::{self, DATABASE};
use tidings_harness::worker::{self, ANY_PORT, Worker};
use tidings_harness::{http, metrics, sources};

/// More than are sent before the stream changes hands, which ends the play.
const EVENTS: u64 = 90_000;
/// So many are stored before anything happens to a worker.
const FIRST: u64 = 1_800;
/// Shorter than any wait here, and long beside whatever may keep a worker from renewing it.
const LEASE: &str = "10s";
const HELD: &str = r#"tidings_worker_stream_lease{source="ppoppo"}"#;
const OPEN: &str = r#"tidings_worker_stream_connected{source="ppoppo"}"#;
const FENCED: &str = r#"tidings_worker_requests_total{source="ppoppo",outcome="fenced"}"#;

/// One database, two workers, and a stream. Dropped in this order.
struct Pair {
    emulator: Emulator,
    workers: [Worker; 2],
    /// Between the first worker and the server.
    proxy: Proxy,
    client: Client,
    cluster: Cluster,
}

impl Pair {
    fn set(seed: u64, lease: &str) -> Result<Self> {
        let cluster = stage::cluster(&server()?, Durability::Fast)?;
        let mut client = cluster.connect(DATABASE)?;
        client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        let proxy = Proxy::start((cluster.host(), cluster.port()).into())?;
        let start = |url: &str, log: &Path| -> Result<Worker> {
            let mut command = worker::command(url, ANY_PORT, ANY_PORT)?;
            command.args(["--lease-time", lease]);
            // Longer than any wait here: a batch that is late is the lease's to refuse.
            command.args(["--statement-timeout", "5m", "--patience", "5m"]);
            let mut worker = Worker::spawn(&mut command, log)?;
            worker.wait_ready()?;
            Ok(worker)
        };
        let through = cluster.url(DATABASE).replace(
            &format!("{}:{}", cluster.host(), cluster.port()),
            &proxy.address().to_string(),
        );
        let workers = [
            start(&through, &cluster.folder().join("first.log"))?,
            start(&cluster.url(DATABASE), &cluster.folder().join("second.log"))?,
        ];
        let play = Play {
            events: EVENTS,
            seed,
            duplicates: 0.1,
            rate: 1_500,
            only: Some("ppoppo"),
            flags: &[],
            http: workers[0].http,
            grpc: workers[0].grpc,
        };
        let emulator = Emulator::start(&play, cluster.folder())?;
        Ok(Self {
            emulator,
            workers,
            proxy,
            client,
            cluster,
        })
    }

    /// Runs a test in which the first worker has the stream, and events flow.
    fn play(seed: u64, lease: &str, test: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut pair = Self::set(seed, lease)?;
        let outcome = pair.begin().and_then(|()| test(&mut pair));
        outcome.inspect_err(|_| {
            let [first, second] = &pair.workers;
            eprintln!(
                "{}\n{}\n{}",
                first.tail(),
                second.tail(),
                pair.cluster.log()
            );
        })
    }

    fn begin(&mut self) -> Result<()> {
        // A worker that cannot ask for the stream does not get it.
        self.workers[1].pause()?;
        sources::add_all(&mut self.client, self.emulator.ppoppo)?;
        eventually("the first worker has the stream", || {
            let held = metrics::value(self.workers[0].admin, HELD)?;
            Ok((held == Some(1.0)).then_some(()))
        })?;
        self.workers[1].resume()?;
        self.emulator.begin()?;
        eventually("the stream is followed", || {
            self.emulator.listen()?;
            Ok((self.stored()? >= FIRST).then_some(()))
        })?;
        eventually("the second worker knows whose it is", || {
            let held = metrics::value(self.workers[1].admin, HELD)?;
            Ok((held == Some(0.0)).then_some(()))
        })?;
        for (number, worker) in self.workers.iter().enumerate() {
            answers(worker.http, number)?;
        }
        Ok(())
    }

    fn stored(&mut self) -> Result<u64> {
        let row = self.client.query_one(
            "select count(*) from tidings.event where provider = 'ppoppo'",
            &[],
        )?;
        Ok(u64::try_from(row.try_get::<_, i64>(0)?)?)
    }

    /// Of the lease: its epoch, since when it is held, and until when, as texts that sort.
    fn lease(&mut self) -> Result<(i64, String, String)> {
        let row = self.client.query_one(
            "select l.epoch, to_char(l.taken_at, t.form), to_char(l.expires_at, t.form)
             from tidings.stream_lease l, (values ('YYYY-MM-DD HH24:MI:SS.US')) t (form)",
            &[],
        )?;
        Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
    }

    fn cursor(&mut self) -> Result<String> {
        let row = self
            .client
            .query_one("select tidings.stream_cursor('ppoppo')", &[])?;
        Ok(row.try_get(0)?)
    }

    /// From now on nothing of the first worker arrives, a batch of the stream least of all.
    fn hold_a_batch(&mut self) -> Result<()> {
        let worker = self.workers[0].admin;
        loop {
            let stored = self.stored()?;
            eventually("the stream flows", || {
                let more = self.stored()? > stored;
                let open = metrics::value(worker, OPEN)? == Some(1.0);
                Ok((more && open).then_some(()))
            })?;
            self.proxy.conduct(Conduct::HoldRequests);
            let held = eventually("a batch is on its way, or the stream broken", || {
                // The statement itself is prepared, and not sent again.
                if self.proxy.holds(b"lease-epoch") {
                    return Ok(Some(true));
                }
                let open = metrics::value(worker, OPEN)? == Some(1.0);
                Ok((!open).then_some(false))
            })?;
            if held {
                return Ok(());
            }
            // As emulated streams are, now and then.
            self.proxy.conduct(Conduct::Forward);
        }
    }

    /// Waits until the second worker has the stream, and all of it is stored.
    fn is_taken_over(&mut self) -> Result<()> {
        eventually("the second worker has the stream", || {
            let held = metrics::value(self.workers[1].admin, HELD)?;
            Ok((held == Some(1.0)).then_some(()))
        })?;
        self.emulator.stop()?;
        eventually("all is sent", || {
            self.emulator.listen()?;
            Ok(self.emulator.is_done().then_some(()))
        })?;
        eventually("every event is there", || {
            let reconciliation = Reconciliation::of(&mut self.client, self.emulator.ledger())?;
            Ok((reconciliation.total().missing == 0).then_some(()))
        })?;
        answers(self.workers[1].http, 9)
    }

    fn is_stored_once(&mut self) -> Result<()> {
        self.emulator.finish()?;
        self.client
            .batch_execute("select tidings.drop_source('sms')")?;
        let reconciliation = Reconciliation::of(&mut self.client, self.emulator.ledger())?;
        println!("{:?}", reconciliation.total());
        reconciliation.check()
    }
}

#[test]
fn a_worker_that_ends_hands_its_stream_over_at_once() -> Result<()> {
    // Were it not handed over, nobody could have it while this test runs.
    Pair::play(41, "10m", |pair| {
        let (before, _, expires) = pair.lease()?;
        let status = pair.workers[0].drain(DEADLINE)?;
        ensure!(status.code() == Some(0), "{status}");
        pair.is_taken_over()?;
        let (after, taken, _) = pair.lease()?;
        ensure!(after > before, "the epoch {before} became {after}");
        ensure!(taken < expires, "taken at {taken}, when it had expired");
        pair.is_stored_once()
    })
}

#[test]
fn the_stream_of_a_killed_worker_is_taken_over_after_its_lease() -> Result<()> {
    Pair::play(42, LEASE, |pair| {
        pair.workers[0].kill()?;
        // A renewal that it had sent may still be under way.
        let (mut before, mut expired) = (0, String::new());
        eventually("the second worker has the stream", || {
            let (epoch, taken, expires) = pair.lease()?;
            if before == 0 || epoch == before {
                (before, expired) = (epoch, expires);
                return Ok(None);
            }
            ensure!(taken >= expired, "taken at {taken}, held until {expired}");
            Ok(Some(()))
        })?;
        pair.is_taken_over()?;
        pair.is_stored_once()
    })
}

#[test]
fn what_a_paused_worker_writes_under_a_lease_that_is_over_is_refused() -> Result<()> {
    Pair::play(43, LEASE, |pair| {
        // Its next batch is under way to Postgres, and does not arrive ..
        pair.hold_a_batch()?;
        pair.workers[0].pause()?;
        let (before, ..) = pair.lease()?;
        pair.is_taken_over()?;
        let (after, ..) = pair.lease()?;
        ensure!(after > before, "the epoch {before} became {after}");
        let cursor = pair.cursor()?;
        let stored = pair.stored()?;

        // .. before another worker has gone on to the end.
        pair.proxy.conduct(Conduct::Forward);
        pair.workers[0].resume()?;
        let fenced = eventually("its late batch is refused", || {
            let fenced = metrics::value(pair.workers[0].admin, FENCED)?;
            Ok(fenced.filter(|fenced| *fenced > 0.0))
        })?;
        println!("{fenced} requests were refused");
        ensure!(pair.cursor()? == cursor, "the cursor was moved");
        ensure!(pair.stored()? == stored, "more was stored");
        eventually("it knows that the stream is another's", || {
            let held = metrics::value(pair.workers[0].admin, HELD)?;
            Ok((held == Some(0.0)).then_some(()))
        })?;
        let (now, ..) = pair.lease()?;
        ensure!(now == after, "the lease has moved again");
        answers(pair.workers[0].http, 8)?;
        pair.is_stored_once()
    })
}

/// A webhook is answered 200 by this worker.
fn answers(at: SocketAddr, number: usize) -> Result<()> {
    let event = serde_json::json!([{
        "Msisdn": "351913462111",
        "Status": "DELIVERED",
        "MessageId": format!("0b1f5d1e-0000-4000-8000-{number:012}"),
        "ReportDateTime": "2026-01-01T00:00:00",
    }]);
    let json = [("content-type", "application/json")];
    let answer = http::post(at, "/hooks/sms/token", &json, event.to_string().as_bytes())
        .context("a worker does not answer")?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}
