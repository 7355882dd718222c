//! TLS towards a server that has it, by every way to ask for it.

use super::authority::{Authority, Pair};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::process::Command;
use tidings_e2e::{eventually, on_cluster};
use tidings_harness::cluster::Cluster;
use tidings_harness::paths;
use tidings_harness::stage::DATABASE;
use tidings_harness::worker::{self, ANY_PORT, Worker};

#[test]
fn a_named_authority_is_asked_for_and_so_is_the_name() -> Result<()> {
    on_cluster(|cluster| {
        let (right, wrong) = (Authority::new("right")?, Authority::new("wrong")?);
        turn_on(cluster, &right, "127.0.0.1")?;
        let (code, said) = check(cluster, "require", Some(&right))?;
        ensure!(!said.contains("\"Postgres\",\"status\":\"fail\"") && said.contains("127.0.0.1"));
        ensure!(code == Some(0), "{code:?}: {said}");
        // Named, the authority is looked at also where nothing else asks for it.
        let (code, said) = check(cluster, "prefer", Some(&right))?;
        ensure!(code == Some(0), "{code:?}: {said}");

        for mode in ["require", "verify-full", "prefer"] {
            let (code, said) = check(cluster, mode, Some(&wrong))?;
            ensure!(code == Some(69), "{mode}: {code:?}: {said}");
            ensure!(said.contains("--database-ca"), "{mode}: {said}");
        }
        // The system's roots do not know it either.
        let (code, said) = check(cluster, "verify-full", None)?;
        ensure!(code == Some(69) && said.contains("--database-ca"), "{said}");
        // What libpq does not verify is not verified, and says so.
        let (code, said) = check(cluster, "require", None)?;
        ensure!(
            code == Some(0) && said.contains("does not verify"),
            "{said}"
        );

        turn_on(cluster, &right, "db.example")?;
        let (code, said) = check(cluster, "require", Some(&right))?;
        ensure!(code == Some(69), "{code:?}: {said}");
        ensure!(said.contains("not for the host"), "{said}");
        Ok(())
    })
}

#[test]
fn prefer_encrypts_where_it_can() -> Result<()> {
    on_cluster(|cluster| {
        let (code, said) = check(cluster, "prefer", None)?;
        ensure!(code == Some(0), "{code:?}: {said}");
        let (code, said) = check(cluster, "require", Some(&Authority::new("any")?))?;
        ensure!(code == Some(69) && said.contains("ssl = on"), "{said}");

        turn_on(cluster, &Authority::new("unknown")?, "db.example")?;
        let log = cluster.folder().join("worker.log");
        for (mode, encrypted) in [("prefer", true), ("disable", false)] {
            let url = format!("{}?sslmode={mode}", cluster.url(DATABASE));
            let mut worker = Worker::spawn(&mut worker::command(&url, ANY_PORT, ANY_PORT)?, &log)?;
            worker.wait_ready()?;
            let (all, over_tls) = connections(cluster)?;
            let wanted = if encrypted { all } else { 0 };
            ensure!(all > 0 && over_tls == wanted, "{mode}: {over_tls} of {all}");
            drop(worker);
            eventually("the server knows that the worker is gone", || {
                Ok((connections(cluster)?.0 == 0).then_some(()))
            })?;
        }
        Ok(())
    })
}

#[test]
fn events_are_stored_over_verified_tls() -> Result<()> {
    on_cluster(|cluster| {
        let authority = Authority::new("right")?;
        turn_on(cluster, &authority, "127.0.0.1")?;
        let url = format!("{}?sslmode=require", cluster.url(DATABASE));
        let mut command = worker::command(&url, ANY_PORT, ANY_PORT)?;
        command
            .arg("--database-ca")
            .arg(write(cluster, &authority)?);
        let log = cluster.folder().join("worker.log");
        let mut worker = Worker::spawn(&mut command, &log)?;
        worker.wait_ready()?;
        super::add_sources(cluster)?;
        eventually("a webhook is stored", || {
            let json = [("content-type", "application/json")];
            let path = "/hooks/sms/token";
            let answer = tidings_harness::http::post(worker.http, path, &json, super::SMS)?;
            Ok((answer.status == 200).then_some(()))
        })?;
        ensure!(super::stored(cluster)? == 1);
        Ok(())
    })
}

/// The worker's, and how many of them over TLS.
fn connections(cluster: &Cluster) -> Result<(i64, i64)> {
    let row = cluster.connect(DATABASE)?.query_one(
        "select count(*), count(*) filter (where ssl)
         from pg_stat_ssl join pg_stat_activity using (pid)
         where application_name = 'tidings-worker'",
        &[],
    )?;
    Ok((row.get(0), row.get(1)))
}

/// Gives the running server a certificate for a host.
fn turn_on(cluster: &Cluster, authority: &Authority, host: &str) -> Result<()> {
    serve(cluster, &authority.issue(&[host])?, host)
}

/// Gives the running server a certificate, under this name.
pub(crate) fn serve(cluster: &Cluster, pair: &Pair, name: &str) -> Result<()> {
    let owner = fs::metadata(cluster.folder().join("data"))?;
    let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
    let folder = cluster.folder();
    fs::write(folder.join(&cert), &pair.cert)?;
    // The server reads a key only from a file of its own that nobody else can read.
    fs::write(folder.join(&key), &pair.key)?;
    fs::set_permissions(folder.join(&key), Permissions::from_mode(0o600))?;
    chown(folder.join(&key), Some(owner.uid()), Some(owner.gid()))?;
    let mut client = cluster.connect("postgres")?;
    let shown = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let settings = [
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", shown(&cert)),
        ("ssl_key_file", shown(&key)),
    ];
    for (name, value) in settings {
        client.batch_execute(&format!("alter system set {name} = '{value}'"))?;
    }
    client.batch_execute("select pg_reload_conf()")?;
    let wanted = shown(&cert);
    eventually("the server has the certificate", || {
        let query =
            "select current_setting('ssl') = 'on' and current_setting('ssl_cert_file') = $1";
        let row = cluster.connect("postgres")?.query_one(query, &[&wanted])?;
        Ok(row.get::<_, bool>(0).then_some(()))
    })
}

fn write(cluster: &Cluster, authority: &Authority) -> Result<std::path::PathBuf> {
    let path = cluster.folder().join("authority.pem");
    fs::write(&path, authority.pem())?;
    Ok(path)
}

/// What `tidings-worker check` makes of it: its exit code and its findings.
fn check(
    cluster: &Cluster,
    mode: &str,
    authority: Option<&Authority>,
) -> Result<(Option<i32>, String)> {
    let url = format!("{}?sslmode={mode}", cluster.url(DATABASE));
    let mut command = Command::new(paths::program("tidings-worker")?);
    command.args(["check", "--json"]).env("DATABASE_URL", url);
    if let Some(authority) = authority {
        command.arg("--database-ca").arg(write(cluster, authority)?);
    }
    let output = command.output()?;
    let said = String::from_utf8(output.stdout)?;
    for line in said.lines() {
        serde_json::from_str::<Value>(line)?;
    }
    Ok((output.status.code(), said))
}
