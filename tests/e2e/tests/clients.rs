//! Clients of Postgres in other languages, which send a ulid as text: each follows the log, queries
//! and writes without a cast.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use tidings_e2e::on_cluster;
use tidings_harness::cluster::Cluster;
use tidings_harness::stage::DATABASE;
use tidings_harness::step::{self, Missing};
use tidings_harness::{node, paths, python};

const EVENTS: &str = r#"
    select tidings.add_source('sms', 'arpoone', null, '{"allow_unauthenticated": true}');
    select tidings.ingest('sms', convert_to((
      select jsonb_agg(jsonb_build_object('MessageId', n, 'Status', 'DELIVERED', 'ReportDateTime', '2026-01-01T00:00:00'))
      from generate_series(1, 5) n)::text, 'UTF8'));
    select tidings.create_consumer('client')"#;

/// Runs a client, unless what it needs is missing.
fn follows(client: &str, command: impl FnOnce() -> Result<Command>) -> Result<()> {
    let mut command = match command() {
        Ok(command) => command,
        Err(error) => {
            let missing = error.downcast::<Missing>()?;
            println!("SKIPPED {client}: {missing}");
            return Ok(());
        }
    };
    on_cluster(|cluster: &Cluster| {
        cluster.connect(DATABASE)?.batch_execute(EVENTS)?;
        let said = step::output(command.arg(client).arg(cluster.url(DATABASE)))?;
        let said: Value = serde_json::from_str(said.lines().last().context("it says nothing")?)?;
        ensure!(
            said.get("client").and_then(Value::as_str) == Some(client),
            "{said}"
        );
        println!("{said}");
        Ok(())
    })
}

fn in_python(client: &str) -> Result<()> {
    follows(client, || {
        let mut command = Command::new(python::with_clients()?);
        command
            .arg(paths::root().join("tests/clients/clients.py"))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    })
}

fn in_node(client: &str) -> Result<()> {
    follows(client, || {
        let packages = node::with_clients()?;
        let mut command = Command::new("node");
        command
            .arg(paths::root().join("tests/clients/clients.mjs"))
            .env("TIDINGS_NODE_MODULES", packages);
        Ok(command)
    })
}

#[test]
fn psycopg_follows_without_a_cast() -> Result<()> {
    in_python("psycopg")
}

#[test]
fn psycopg2_follows_without_a_cast() -> Result<()> {
    in_python("psycopg2")
}

#[test]
fn asyncpg_follows_without_a_cast() -> Result<()> {
    in_python("asyncpg")
}

#[test]
fn sqlalchemy_follows_without_a_cast() -> Result<()> {
    in_python("sqlalchemy")
}

#[test]
fn django_follows_without_a_cast() -> Result<()> {
    in_python("django")
}

#[test]
fn node_postgres_follows_without_a_cast() -> Result<()> {
    in_node("pg")
}

#[test]
fn postgres_js_follows_without_a_cast() -> Result<()> {
    in_node("postgres")
}

#[test]
fn jdbc_follows_without_a_cast() -> Result<()> {
    const DRIVER: &str = "/usr/share/java/postgresql.jar";
    follows("jdbc", || {
        let version = Command::new("javac").arg("-version").output();
        if !version.is_ok_and(|version| version.status.success()) {
            let reason = "no javac in PATH: install Debian's package default-jdk-headless";
            return Err(Missing::new(reason.to_owned()).into());
        }
        if !Path::new(DRIVER).exists() {
            let reason = format!("no {DRIVER}: install Debian's package libpostgresql-jdbc-java");
            return Err(Missing::new(reason).into());
        }
        let mut command = Command::new("java");
        command
            .args(["-cp", DRIVER])
            .arg(paths::root().join("tests/clients/Clients.java"));
        Ok(command)
    })
}

/// This client asks the server for the type of a parameter, and is told that it is a text.
#[test]
fn tokio_postgres_follows_with_text_parameters() -> Result<()> {
    on_cluster(|cluster| {
        let mut client = cluster.connect(DATABASE)?;
        client.batch_execute(EVENTS)?;
        let first: String = client
            .query_one(
                "select id::text from tidings.event order by id limit 1",
                &[],
            )?
            .get(0);
        client.query("select tidings.poll($1, 1)", &[&"client"])?;
        client.query("select tidings.ack($1, $2::text)", &[&"client", &first])?;
        let after = client.query("select from tidings.events_after($1::text)", &[&first])?;
        ensure!(after.len() == 4, "{}", after.len());
        let list = [&first, &first];
        let among = client.query(
            "select from tidings.event where id = any($1::text[]) or id = $2::varchar",
            &[&&list[..], &first],
        )?;
        ensure!(among.len() == 1, "{}", among.len());
        Ok(())
    })
}
