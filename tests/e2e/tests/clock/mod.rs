//! No reader of the log misses an event, repeats one or waits, whatever the server's clock
//! does.
//!
//! The server runs under libfaketime, whose file says what the clock shows. Nothing else of
//! the machine sees it: writers linger by the clock of this program. In [`worker`] it is the
//! worker's clock that is wrong.

mod jumps;
mod steps;
mod worker;

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tidings_e2e::server;
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::faketime;

const SOURCE: &str =
    r#"select tidings.add_source('log', 'arpoone', null, '{"allow_unauthenticated": true}')"#;

/// Messages whose events happened when the server's clock says that it is now.
const INGEST: &str = r#"
    select inserted from tidings.ingest('log', convert_to((
      select jsonb_agg(jsonb_build_object('MessageId', m, 'Status', 'DELIVERED', 'ReportDateTime',
        to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')))
      from unnest($1::text[]) m)::text, 'UTF8'))"#;

const AFTER: &str = "select id::text from tidings.events_after($1::text::tidings.ulid, 1000)";

/// The time that the server's clock shows.
enum Clock<'a> {
    /// So many seconds more than the machine's.
    Off(i64),
    /// Always this moment.
    Stopped(&'a str),
}

/// A server whose clock can be set.
struct Clocked {
    cluster: Cluster,
}

impl Clocked {
    fn run(test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let library = faketime::library()?;
        let cluster = Cluster::start_with(&server()?, Durability::Fast, |folder| {
            let file = folder.join("clock");
            faketime::environment(&library, ("FAKETIME_TIMESTAMP_FILE", file.into()))
        })?;
        let clocked = Self { cluster };
        test(&clocked).inspect_err(|_| eprintln!("--- the server's log\n{}", clocked.cluster.log()))
    }

    /// A new database with this version of the extension, or the newest.
    fn database(&self, name: &str, version: Option<&str>) -> Result<Client> {
        self.cluster.create_database(name)?;
        let mut client = self.cluster.connect(name)?;
        let version = version.map(|version| format!("version '{version}'"));
        client.batch_execute(&format!(
            "create extension tidings {}; {SOURCE}",
            version.unwrap_or_default()
        ))?;
        Ok(client)
    }

    fn file(&self) -> PathBuf {
        self.cluster.folder().join("clock")
    }

    /// Sets the clock, at once for the whole server.
    fn set(&self, clock: &Clock<'_>) -> Result<()> {
        clock.write(&self.file())
    }
}

impl Clock<'_> {
    /// Writes the file by which libfaketime knows it.
    fn write(&self, file: &Path) -> Result<()> {
        let text = match self {
            Self::Off(seconds) => format!("{seconds:+}s\n"),
            Self::Stopped(moment) => format!("{moment}\n"),
        };
        let next = file.with_extension("next");
        fs::write(&next, text)?;
        fs::set_permissions(&next, fs::Permissions::from_mode(0o644))?;
        Ok(fs::rename(&next, file)?)
    }
}

fn ingest(client: &mut Client, messages: &[String]) -> Result<()> {
    let inserted: i32 = client.query_one(INGEST, &[&messages])?.try_get(0)?;
    ensure!(usize::try_from(inserted)? == messages.len());
    Ok(())
}

/// Stores one event, and returns its position.
fn store(client: &mut Client, message: &str) -> Result<String> {
    ingest(client, &[message.to_owned()])?;
    let query = "select id::text from tidings.event where message_id = $1";
    Ok(client.query_one(query, &[&message])?.try_get(0)?)
}

fn after(client: &mut Client, position: Option<&String>) -> Result<Vec<String>> {
    ids(client, AFTER, &[&position])
}

fn ids(
    client: &mut Client,
    query: &str,
    parameters: &[&(dyn postgres::types::ToSql + Sync)],
) -> Result<Vec<String>> {
    client
        .query(query, parameters)?
        .iter()
        .map(|row| Ok(row.try_get(0)?))
        .collect()
}

fn joined<T>(result: std::thread::Result<Result<T>>) -> Result<T> {
    result.ok().context("a thread panicked")?
}
