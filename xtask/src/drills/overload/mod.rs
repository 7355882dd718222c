//! `make overload`: more webhooks than Postgres takes, for long and without a spool. Whoever
//! gives up after a few seconds must be answered 200 nearly as often as Postgres can store an
//! event: what cannot be stored in time is to be refused early, not to wait.
//!
//! - `load`: the clients

mod load;

use self::load::{Answer, Clients, PATIENCE};
use anyhow::{Result, bail, ensure};
use postgres::Client;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};
use tidings_harness::cluster::Durability;
use tidings_harness::leash;
use tidings_harness::server::Server;
use tidings_harness::stage::Stage;
use tidings_harness::table::render;

/// A trigger by which each event takes 40 ms: with two connections, 50 events a second.
const SLOW: &str = "
create function public.slow() returns trigger language plpgsql as $$
begin
  perform pg_sleep(0.04);
  return new;
end $$;
create trigger slow before insert on tidings.event for each row execute function public.slow();
select tidings.add_source('sms', 'arpoone', 'token')";
const CONNECTIONS: [&str; 2] = ["--connections", "2"];
/// Number of clients by which the capacity is measured, each of which sends when it was answered.
const CLIENTS: usize = 32;
const WARM: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(15);
/// Offered, as a multiple of the capacity.
const OFFERED: f64 = 1.6;
/// The least share of the capacity that is answered 200 in time, in each row of the table.
const LEAST: f64 = 0.8;
const ROW: Duration = Duration::from_secs(10);

/// Runs the drill and prints a row for every ten seconds; fails if too little is answered 200
/// in one of them, or if what was is not stored once.
pub(crate) fn run(server: &Server, lasts: Duration) -> Result<()> {
    ensure!(lasts >= ROW, "give at least {} seconds", ROW.as_secs());
    let mut stage = Stage::set_with(server, Durability::Fast, &CONNECTIONS)?;
    drill(&mut stage, lasts).inspect_err(|_| {
        leash::mute_after_signal();
        eprintln!("{}", stage.logs());
    })
}

fn drill(stage: &mut Stage, lasts: Duration) -> Result<()> {
    let mut client = stage.connect()?;
    client.batch_execute(SLOW)?;
    let mut clients = Clients::new(stage.worker.http);
    clients.wait_known()?;
    let capacity = clients.capacity(CLIENTS, WARM, MEASURED)?;
    let rate = capacity * OFFERED;
    say(&format!(
        "capacity {capacity:.1}/s; offered {rate:.1}/s for {} s by clients that wait {} s",
        lasts.as_secs(),
        PATIENCE.as_secs()
    ));
    let started = Instant::now();
    let answers = clients.offer(rate, lasts)?;
    stage.worker.check_running()?;
    let rows = Row::of(&answers, lasts);
    say(&table(&rows, capacity));
    say(&format!("in {:.1} s", started.elapsed().as_secs_f64()));
    clients.check_stored(&mut client)?;
    for (number, row) in rows.iter().enumerate() {
        let share = row.goodput() / capacity;
        if share < LEAST {
            bail!(
                "from {} s on, {:.0}% of the capacity was answered 200 within {} s, less than {:.0}%",
                number as u64 * ROW.as_secs(),
                share * 100.0,
                PATIENCE.as_secs(),
                LEAST * 100.0
            );
        }
    }
    Ok(())
}

fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// The requests that were due in ten seconds.
#[derive(Debug, Default)]
struct Row {
    /// Number of requests by their status; 0 stands for no answer in time.
    statuses: BTreeMap<u16, u64>,
    /// Times of the answers with 200.
    times: Vec<Duration>,
}

impl Row {
    fn of(answers: &[Answer], lasts: Duration) -> Vec<Self> {
        let count = lasts.as_secs() / ROW.as_secs();
        let mut rows: Vec<Self> = (0..count).map(|_| Self::default()).collect();
        for answer in answers {
            let number = (answer.due.as_secs_f64() / ROW.as_secs_f64()) as usize;
            // A rest that is shorter than a row is not judged.
            let Some(row) = rows.get_mut(number) else {
                continue;
            };
            *row.statuses.entry(answer.status).or_default() += 1;
            if answer.status == 200 {
                row.times.push(answer.took);
            }
        }
        rows.iter_mut().for_each(|row| row.times.sort());
        rows
    }

    fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or_default()
    }

    /// Answers with 200 in a second.
    fn goodput(&self) -> f64 {
        self.count(200) as f64 / ROW.as_secs_f64()
    }

    fn quantile(&self, share: f64) -> String {
        let index = self.times.len().saturating_sub(1) as f64 * share;
        let time = self.times.get(index as usize);
        time.map_or_else(String::new, |time| format!("{} ms", time.as_millis()))
    }
}

fn table(rows: &[Row], capacity: f64) -> String {
    let header = [
        "from", "offered", "200", "503", "none", "goodput", "p50", "p99",
    ];
    let cells = rows.iter().enumerate().map(|(number, row)| {
        let offered: u64 = row.statuses.values().sum();
        let mut share = String::new();
        let _ = write!(share, "{:.2}", row.goodput() / capacity);
        vec![
            format!("{} s", number as u64 * ROW.as_secs()),
            offered.to_string(),
            row.count(200).to_string(),
            row.count(503).to_string(),
            row.count(0).to_string(),
            share,
            row.quantile(0.5),
            row.quantile(0.99),
        ]
    });
    render(&header, &cells.collect::<Vec<_>>(), false)
}

impl Clients {
    /// An error unless each event that was answered 200 is stored, and none twice.
    fn check_stored(&self, client: &mut Client) -> Result<()> {
        let row = client.query_one(
            "select count(*) filter (where rows is null),
                    count(*) filter (where rows > 1)
             from unnest($1::text[]) id
             left join (select message_id, count(*) as rows from tidings.event group by 1) e
               on e.message_id = id",
            &[&self.acknowledged()],
        )?;
        let (missing, doubled): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        say(&format!("missing {missing}, doubled {doubled}"));
        ensure!((missing, doubled) == (0, 0), "not every 200 is stored once");
        Ok(())
    }
}
