//! The application of a consumer: it polls, does its effect and acknowledges, as
//! `docs/consumers.md` says, and crashes between any two of these.

use super::DATABASE;
use anyhow::{Context as _, Result, bail, ensure};
use postgres::Client;
use postgres::error::SqlState;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tidings_e2e::DEADLINE;
use tidings_harness::cluster::Cluster;

const MOST_POLLED: i32 = 200;
/// So often a turn does not end well.
const CRASHES: f64 = 0.3;
/// Fewer crashes would have tried nothing.
const FEWEST_CRASHES: usize = 5;

#[derive(Clone, Copy, Debug)]
enum Crash {
    /// The application gives up, and goes on in the same session.
    Rollback,
    /// It ends without a word.
    Disconnect,
    /// Its session is terminated.
    Terminate,
    /// Its session is terminated while it acknowledges and commits: whether that was
    /// done, it cannot know.
    TerminateInCommit,
}

enum Turn {
    Acknowledged,
    Nothing,
    /// The session before this one has not ended yet.
    InUse,
    RolledBack,
    Ended,
}

pub(super) struct Application<'a> {
    cluster: &'a Cluster,
    consumer: &'static str,
    random: StdRng,
    client: Client,
    pid: i32,
    /// Another's connection, to terminate that of the application.
    administrator: Client,
}

impl<'a> Application<'a> {
    pub(super) fn start(
        cluster: &'a Cluster,
        consumer: &'static str,
        random: StdRng,
    ) -> Result<Self> {
        let (client, pid) = connect(cluster)?;
        Ok(Self {
            cluster,
            consumer,
            random,
            client,
            pid,
            administrator: cluster.connect(DATABASE)?,
        })
    }

    /// Until all was written and nothing is left.
    pub(super) fn run(mut self, written: &AtomicBool) -> Result<()> {
        let mut deadline = Instant::now() + DEADLINE;
        let mut crashes = 0;
        loop {
            let last_turn = written.load(Ordering::SeqCst);
            match self.turn().with_context(|| self.consumer)? {
                Turn::Nothing if last_turn && self.is_level()? => break,
                Turn::Acknowledged | Turn::Nothing => {}
                Turn::InUse => thread::sleep(Duration::from_millis(1)),
                Turn::RolledBack => crashes += 1,
                Turn::Ended => {
                    crashes += 1;
                    (self.client, self.pid) = connect(self.cluster)?;
                }
            }
            if !last_turn {
                deadline = Instant::now() + DEADLINE;
            }
            ensure!(
                Instant::now() < deadline,
                "{} is not done {DEADLINE:?} after all was written",
                self.consumer
            );
        }
        ensure!(crashes >= FEWEST_CRASHES, "only {crashes} crashes");
        Ok(())
    }

    /// Either all in one transaction, or the poll in one before.
    fn turn(&mut self) -> Result<Turn> {
        let in_one = self.random.random();
        if in_one {
            self.client.batch_execute("begin")?;
        }
        let polled = match self.poll() {
            Ok(polled) => polled,
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                if in_one {
                    self.client.batch_execute("rollback")?;
                }
                return Ok(Turn::InUse);
            }
            Err(error) => return Err(error.into()),
        };
        if !in_one {
            self.client.batch_execute("begin")?;
        }
        // Not always all of it.
        let dealt_with: Vec<_> = match polled.len() {
            0 => Vec::new(),
            n => polled
                .into_iter()
                .take(self.random.random_range(1..=n))
                .collect(),
        };
        let Some(last) = dealt_with.last() else {
            self.client.batch_execute("commit")?;
            return Ok(Turn::Nothing);
        };
        let effect = format!(
            "insert into effect_{} (id)
             select u.id::tidings.ulid from unnest($1::text[]) with ordinality u (id, n) order by u.n",
            self.consumer
        );
        self.client.execute(&effect, &[&dealt_with])?;

        match self.crash() {
            None => {
                acknowledge(&mut self.client, self.consumer, last)?;
                Ok(Turn::Acknowledged)
            }
            Some(Crash::Rollback) => {
                self.client.batch_execute("rollback")?;
                Ok(Turn::RolledBack)
            }
            Some(Crash::Disconnect) => Ok(Turn::Ended),
            Some(Crash::Terminate) => {
                terminate(&mut self.administrator, self.pid, "10 s")?;
                match acknowledge(&mut self.client, self.consumer, last) {
                    Ok(()) => bail!("a session that was terminated acknowledged"),
                    Err(error) => ended(error),
                }
            }
            Some(Crash::TerminateInCommit) => {
                let after = Duration::from_micros(self.random.random_range(0..2000));
                let (administrator, pid) = (&mut self.administrator, self.pid);
                thread::scope(|scope| {
                    let terminator = scope.spawn(move || {
                        thread::sleep(after);
                        terminate(administrator, pid, "0")
                    });
                    let outcome = acknowledge(&mut self.client, self.consumer, last);
                    terminator.join().ok().context("a thread panicked")??;
                    outcome.map_or_else(ended, |()| Ok(Turn::Ended))
                })
            }
        }
    }

    fn poll(&mut self) -> Result<Vec<String>, postgres::Error> {
        let most = self.random.random_range(1..=MOST_POLLED);
        self.client
            .query(
                "select id::text from tidings.poll($1, $2)",
                &[&self.consumer, &most],
            )?
            .iter()
            .map(|row| row.try_get(0))
            .collect()
    }

    fn crash(&mut self) -> Option<Crash> {
        let all = [
            Crash::Rollback,
            Crash::Disconnect,
            Crash::Terminate,
            Crash::TerminateInCommit,
        ];
        let crashes = self.random.random_bool(CRASHES);
        crashes.then(|| all.choose(&mut self.random).copied())?
    }

    /// Nothing is left, not even what readers do not get yet.
    fn is_level(&mut self) -> Result<bool> {
        let behind: i32 = self
            .client
            .query_one(
                "select behind from tidings.lag where what = 'consumer' and name = $1",
                &[&self.consumer],
            )?
            .try_get(0)?;
        Ok(behind == 0)
    }
}

fn connect(cluster: &Cluster) -> Result<(Client, i32)> {
    let mut client = cluster.connect(DATABASE)?;
    let pid = client
        .query_one("select pg_backend_pid()", &[])?
        .try_get(0)?;
    Ok((client, pid))
}

fn acknowledge(client: &mut Client, consumer: &str, last: &str) -> Result<(), postgres::Error> {
    client.execute(
        "select tidings.ack($1, $2::text::tidings.ulid)",
        &[&consumer, &last],
    )?;
    client.batch_execute("commit")
}

/// Waits so long until it has ended.
fn terminate(administrator: &mut Client, pid: i32, wait: &str) -> Result<()> {
    administrator.execute(
        "select pg_terminate_backend($1, extract(epoch from $2::text::interval)::bigint * 1000)",
        &[&pid, &wait],
    )?;
    Ok(())
}

/// That the session was terminated, and nothing else.
fn ended(error: postgres::Error) -> Result<Turn> {
    match error.code() {
        None | Some(&SqlState::ADMIN_SHUTDOWN) => Ok(Turn::Ended),
        Some(_) => Err(error).context("the ack failed"),
    }
}
