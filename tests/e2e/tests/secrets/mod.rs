//! No secret is told: by the logs at their most verbose, the metrics, an answer, the list
//! of processes, or what Postgres remembers of the worker's statements.
//!
//! Every secret, right or wrong, carries one of the [`MARKS`], so that whatever text holds
//! one is seen to. Servers that repeat what they were sent ([`echo`]) and a database where
//! everything fails for a while give the worker something to complain about.

mod echo;

use anyhow::{Context as _, Result, ensure};
use echo::Echo;
use postgres::Client;
use serde_json::json;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use tidings_e2e::{DEADLINE, eventually, server};
use tidings_harness::cluster::{Cluster, Durability};
use tidings_harness::http;
use tidings_harness::paths;
use tidings_harness::stage::DATABASE;
use tidings_harness::worker::{ANY_PORT, Worker};
use tidings_proto::pushwoosh::Event;
use tidings_proto::pushwoosh::event_streaming_client::EventStreamingClient;
use tonic::Request;

/// As they are, and the beginning of the base64 form that basic authentication has.
const MARKS: [&str; 3] = ["sekret", "c2VrcmV0", "SEKRET"];
const ROLE: &str = "teller";
const SMS: &[u8] = br#"[{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"0b1f5d1e-7f1e-4f57-a8a1-0e4f3c2c7a11","ReportDateTime":"2026-01-01T00:00:00"}]"#;

#[test]
fn no_secret_is_told_in_json() -> Result<()> {
    nothing_is_told("json")
}

#[test]
fn no_secret_is_told_in_text() -> Result<()> {
    nothing_is_told("text")
}

fn nothing_is_told(format: &str) -> Result<()> {
    let server = server()?;
    let statistics = server.pkglibdir.join("pg_stat_statements.so").is_file();
    let mut prepared = Ok(());
    let cluster = Cluster::start_with(&server, Durability::Fast, |folder| {
        // The server is started after this, and reads it then.
        prepared = prepare(folder, statistics);
        Vec::new()
    })?;
    prepared?;
    tell(&cluster, format, statistics)
        .inspect_err(|_| eprintln!("--- the server's log\n{}", cluster.log()))
}

/// A role with a password, and a server that remembers and logs all it can.
fn prepare(folder: &Path, statistics: bool) -> Result<()> {
    let data = folder.join("data");
    let rules = fs::read_to_string(data.join("pg_hba.conf"))?;
    let demand = format!("host all {ROLE} 127.0.0.1/32 scram-sha-256\n");
    fs::write(data.join("pg_hba.conf"), demand + &rules)?;
    let mut settings = fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))?;
    writeln!(settings, "log_parameter_max_length_on_error = -1")?;
    writeln!(settings, "track_activity_query_size = '64kB'")?;
    if statistics {
        writeln!(settings, "shared_preload_libraries = 'pg_stat_statements'")?;
        writeln!(settings, "pg_stat_statements.track = 'all'")?;
    }
    Ok(())
}

fn tell(cluster: &Cluster, format: &str, statistics: bool) -> Result<()> {
    cluster.create_database(DATABASE)?;
    let mut client = cluster.connect(DATABASE)?;
    let echo = Echo::start()?;
    let file = cluster.folder().join("token");
    fs::write(&file, "sekret-of-a-file")?;
    set_up(&mut client, &echo, &file, statistics)?;

    let log = cluster.folder().join("worker.log");
    let url = format!(
        "postgres://{ROLE}:sekret-password@127.0.0.1:{}/{DATABASE}",
        cluster.port()
    );
    let mut worker = Worker::spawn(&mut command(&url, format)?, &log)?;
    worker.wait_ready()?;
    let mut told = Told::default();
    eventually(
        "every source is heard of, and every echo has answered",
        || {
            let query = "select count(*) from tidings.stream_status where last_error is not null";
            let failed: i64 = client.query_one(query, &[])?.get(0);
            Ok((failed == 4).then_some(()))
        },
    )?;
    // The first commit of a lane may meet a time limit that is for the others.
    eventually("a webhook is stored", || {
        let answer = post(worker.http, "/hooks/sms/sekret-of-the-url", &[], SMS)?;
        let stored = ["\"inserted\":1", "\"duplicate\":1"];
        let stored = stored.iter().any(|count| answer.contains(count));
        ensure!(stored || answer.contains("status: 503"), "{answer}");
        Ok(stored.then_some(()))
    })?;
    ask(&worker, &mut told)?;
    told.keep("/readyz", http::get(worker.admin, "/readyz")?.body);

    // Statements wait, are ended by their time limit, fail, and lose their connections.
    {
        let mut blocker = cluster.connect(DATABASE)?;
        let mut lock = blocker.transaction()?;
        lock.batch_execute("lock table tidings.event, tidings.rejected in exclusive mode")?;
        ask(&worker, &mut told)?;
        let query =
            "select string_agg(query, E'\\n') from pg_stat_activity where pid <> pg_backend_pid()";
        told.keep("pg_stat_activity", text(&mut client, query)?);
    }
    client.batch_execute(
        "alter table tidings.rejected add constraint never check (false) not valid",
    )?;
    ask(&worker, &mut told)?;
    client.batch_execute("alter table tidings.rejected drop constraint never")?;
    client.batch_execute(&format!("alter role {ROLE} password 'sekret-another'"))?;
    client.batch_execute(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{ROLE}'"
    ))?;
    eventually("the worker knows that its password is wrong", || {
        let ready = http::get(worker.admin, "/readyz")?;
        told.keep("/readyz", ready.body.clone());
        Ok(ready.body.contains("password").then_some(()))
    })?;
    ask(&worker, &mut told)?;
    client.batch_execute(&format!("alter role {ROLE} password 'sekret-password'"))?;
    worker.wait_ready()?;

    told.keep("/metrics", http::get(worker.admin, "/metrics")?.body);
    let arguments = fs::read(format!("/proc/{}/cmdline", worker.id()))?;
    told.keep(
        "its arguments",
        String::from_utf8_lossy(&arguments).into_owned(),
    );
    let query = "select string_agg(s::text, E'\\n') from tidings.stream_status s";
    told.keep("stream_status", text(&mut client, query)?);
    if statistics {
        let query = "select string_agg(query, E'\\n') from pg_stat_statements";
        let remembered = text(&mut client, query)?;
        ensure!(remembered.contains("tidings.ingest_batch"), "{remembered}");
        told.keep("pg_stat_statements", remembered);
    }
    worker.drain(DEADLINE)?;
    told.keep("the worker's log", fs::read_to_string(&log)?);
    // A row that violates a constraint is told by the server itself.
    let server = cluster.log();
    let server = server
        .lines()
        .filter(|line| !line.contains("Failing row contains"));
    told.keep("the server's log", server.collect::<Vec<_>>().join("\n"));
    told.check()
}

/// The extension, and sources whose secrets come from everywhere they can.
fn set_up(client: &mut Client, echo: &Echo, file: &Path, statistics: bool) -> Result<()> {
    client.batch_execute(&format!(
        "create extension tidings;
         create role {ROLE} login password 'sekret-password';
         select tidings.grant_worker('{ROLE}');
         alter role {ROLE} set log_statement = 'all';
         alter role {ROLE} set log_min_duration_statement = 0"
    ))?;
    if statistics {
        // Of a utility statement they keep the text as it is, here the passwords.
        client.batch_execute(
            "create extension pg_stat_statements;
             set pg_stat_statements.track_utility = off;
             select pg_stat_statements_reset()",
        )?;
        // Those of another statement are constants, which they leave out.
        client.batch_execute(
            r#"select tidings.add_source('literal', 'pushpushgo', 'sekret-literal', '{"url_token": "sekret"}');
               select tidings.rotate_secret('literal', 'sekret-rotated')"#,
        )?;
    }
    let grpc = format!("http://{}", echo.grpc);
    let token_url = format!("http://{}/token?hint=sekret-in-a-query", echo.http);
    for (name, provider, secret, options) in [
        ("sms", "arpoone", Some("sekret-of-the-url"), json!({})),
        (
            "push",
            "pushwoosh",
            Some("Bearer sekret-authorization"),
            json!({}),
        ),
        (
            "signed",
            "pushpushgo",
            Some("sekret-project"),
            json!({ "url_token": "sekret-second" }),
        ),
        (
            "kept",
            "ppoppo",
            Some("sekret-bearer"),
            json!({ "endpoint": grpc }),
        ),
        (
            "env",
            "ppoppo",
            None,
            json!({ "endpoint": grpc, "token_env": "A_TOKEN" }),
        ),
        (
            "file",
            "ppoppo",
            None,
            json!({ "endpoint": grpc, "token_file": file }),
        ),
        (
            "oauth",
            "ppoppo",
            Some("sekret-client"),
            json!({ "endpoint": grpc, "token_url": token_url, "client_id": "me" }),
        ),
    ] {
        client.execute(
            "select tidings.add_source($1, $2, $3, $4)",
            &[&name, &provider, &secret, &options],
        )?;
    }
    Ok(())
}

/// Secrets by the environment, everything logged, and time limits that are met.
fn command(url: &str, format: &str) -> Result<Command> {
    let mut command = Command::new(paths::program("tidings-worker")?);
    command
        .arg("run")
        .args(["--http-listen", &ANY_PORT.to_string()])
        .args(["--grpc-listen", &ANY_PORT.to_string()])
        .args(["--admin-listen", &ANY_PORT.to_string()])
        .args(["--log", "trace", "--log-format", format])
        .args(["--statement-timeout", "500ms", "--patience", "1s"])
        .env("DATABASE_URL", url)
        .env("A_TOKEN", "sekret-of-the-environment")
        .env_remove("TIDINGS_SPOOL_DIR");
    Ok(command)
}

fn text(client: &mut Client, query: &str) -> Result<String> {
    Ok(client.query_one(query, &[])?.get(0))
}

/// What was said, and by whom.
#[derive(Default)]
struct Told(Vec<(String, String)>);

impl Told {
    fn keep(&mut self, who: impl Into<String>, what: impl Into<String>) {
        self.0.push((who.into(), what.into()));
    }

    fn check(&self) -> Result<()> {
        let mut leaks = Vec::new();
        for (who, what) in &self.0 {
            ensure!(!what.is_empty(), "{who} says nothing");
            let told = |line: &&str| MARKS.iter().any(|mark| line.contains(mark));
            leaks.extend(
                what.lines()
                    .filter(told)
                    .map(|line| format!("{who}: {line}")),
            );
        }
        leaks.sort();
        leaks.dedup();
        ensure!(
            leaks.is_empty(),
            "{} leaks\n{}",
            leaks.len(),
            leaks.join("\n")
        );
        Ok(())
    }
}

/// Requests with right and wrong secrets wherever a client can put one.
fn ask(worker: &Worker, told: &mut Told) -> Result<()> {
    let at = worker.http;
    let large = vec![b' '; 16 << 20];
    let right: [(&str, &str); 1] = [("authorization", "Bearer sekret-authorization")];
    let wrong = [("authorization", "Bearer sekret-wrong")];
    let signature = [("x-ppg-signature", "sekret-signature")];
    let compressed = [("content-encoding", "gzip"), right[0]];
    for (path, headers, body) in [
        ("/hooks/sms/sekret-of-the-url", &[][..], SMS),
        ("/hooks/sms/sekret-wrong", &[], SMS),
        ("/hooks/sms/sekret-of-the-url", &[], b"{"),
        ("/hooks/sms/sekret%00wrong", &[], SMS),
        ("/hooks/sms?token=sekret-wrong", &[], SMS),
        ("/hooks/sms/sekret-of-the-url/sekret-wrong", &[], SMS),
        ("/hooks/absent/sekret-wrong", &[], SMS),
        ("/elsewhere/sekret-wrong", &[], SMS),
        ("/hooks/push", &right, b"[]"),
        ("/hooks/push", &right, b"\xff"),
        ("/hooks/push", &wrong, b"[]"),
        ("/hooks/push", &compressed, b"[]"),
        ("/hooks/push", &right, &large),
        ("/hooks/signed/sekret-second", &signature, b"{}"),
        ("/hooks/signed/sekret-wrong", &wrong, b"{}"),
    ] {
        told.keep(
            format!("the answer to {}", path.len()),
            post(at, path, headers, body)?,
        );
    }
    for method in ["GET", "PUT", "DELETE"] {
        let answer = http::request(at, method, "/hooks/sms/sekret-of-the-url", &right, SMS)?;
        told.keep(method, format!("{answer:?}"));
    }
    for request in [
        "POST /hooks/push HTTP/1.1\r\nauthorization sekret-wrong\r\n\r\n",
        "POST /hooks/sms/sekret wrong HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nauthorization: sekret\u{1}wrong\r\n\r\n",
    ] {
        told.keep("what is not HTTP", raw(at, request)?);
    }
    let runtime = tokio::runtime::Runtime::new()?;
    for authorization in ["Bearer sekret-authorization", "Bearer sekret-wrong"] {
        let said = runtime.block_on(push(worker.grpc, authorization));
        told.keep("a push", format!("{said:?}"));
    }
    Ok(())
}

fn post(at: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<String> {
    let mut all = vec![("content-type", "application/json")];
    all.extend(headers);
    Ok(format!("{:?}", http::post(at, path, &all, body)?))
        .map(|answer| answer.replace("\\\"", "\""))
}

fn raw(at: SocketAddr, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("no answer")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn push(at: SocketAddr, authorization: &str) -> Result<String> {
    let mut client = EventStreamingClient::connect(format!("http://{at}")).await?;
    let event = Event {
        uuid: "00000000-0000-4000-8000-000000000001".to_owned(),
        event_name: "Push Sent".to_owned(),
        timestamp: 1_793_500_000,
        ..Event::default()
    };
    let mut request = Request::new(futures_util::stream::iter([event]));
    let metadata = request.metadata_mut();
    metadata.insert("authorization", authorization.parse()?);
    let mut replies = client.stream_events(request).await?.into_inner();
    Ok(format!("{:?}", replies.message().await?))
}
