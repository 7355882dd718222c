//! What `tidings-worker check` says of sources, and what `tidings-worker schema` makes
//! of a server that describes itself.

mod notices;
mod refusals;
mod server;

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use tidings_e2e::{DEADLINE, eventually, on_cluster, on_cluster_with, on_stage, play};
use tidings_harness::cluster::Cluster;
use tidings_harness::emulator::{Emulator, Play};
use tidings_harness::leash;
use tidings_harness::paths;
use tidings_harness::stage::DATABASE;
use tidings_harness::worker::ANY_PORT;

const VARIANT: &str = "/acme.notices.v2.NoticeService/FollowNotices";

/// What the program said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn worker(url: &str, arguments: &[&str]) -> Result<Said> {
    let mut child = Command::new(paths::program("tidings-worker")?)
        .args(arguments)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // What it says fits into a pipe.
    let status = leash::wait(&mut child, DEADLINE)?;
    if status.is_none() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    Ok(Said {
        code: status.and_then(|status| status.code()),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

/// The findings about the sources, as (source, finding, text).
pub(crate) fn check(url: &str, arguments: &[&str]) -> Result<(Option<i32>, Vec<Value>)> {
    let said = worker(url, &[&["check", "--json"], arguments].concat())?;
    let lines = said.out.lines().map(serde_json::from_str::<Value>);
    let findings = lines.collect::<Result<Vec<_>, _>>().context(said.err)?;
    Ok((said.code, findings))
}

/// The first finding about a source.
fn of<'a>(findings: &'a [Value], source: &str) -> Result<&'a Value> {
    let subject = format!("source {source}");
    let mut found = findings.iter().filter(|f| f["subject"] == *subject);
    found
        .next()
        .with_context(|| format!("nothing about {source}: {findings:?}"))
}

fn expect(findings: &[Value], source: &str, word: &str, part: &str) -> Result<()> {
    let found = of(findings, source)?;
    let text = found["text"].as_str().unwrap_or_default();
    ensure!(found["finding"] == word && text.contains(part), "{found}");
    Ok(())
}

/// The worker's own role, with the rights that it is given and no more.
fn role(cluster: &Cluster) -> Result<String> {
    cluster
        .connect(DATABASE)?
        .batch_execute("create role checking login; select tidings.grant_worker('checking')")?;
    let (host, port) = (cluster.host(), cluster.port());
    Ok(format!("postgresql://checking@{host}:{port}/{DATABASE}"))
}

fn dial(client: &mut Client, name: &str, endpoint: &str, token: &str) -> Result<()> {
    let options = json!({"endpoint": endpoint});
    client.execute(
        "select tidings.add_source($1, 'ppoppo', $2, $3)",
        &[&name, &token, &options],
    )?;
    Ok(())
}

#[test]
fn a_provider_that_runs_refuses_or_has_stopped() -> Result<()> {
    on_cluster(|cluster| {
        let play = Play {
            // A stream without a cursor delivers only events that happen while it is open.
            events: 100_000,
            seed: 1,
            duplicates: 0.0,
            rate: 20,
            only: Some("ppoppo"),
            flags: &[],
            http: ANY_PORT,
            grpc: ANY_PORT,
        };
        let mut emulator = Emulator::start(&play, cluster.folder())?;
        emulator.begin()?;
        let mut client = cluster.connect(DATABASE)?;
        let endpoint = format!("http://{}/ext", emulator.ppoppo);
        dial(&mut client, "chat", &endpoint, "ppoppo-dev-token")?;
        let url = role(cluster)?;
        let long = ["--wait", "60s"];
        let (code, findings) = check(&url, &long)?;
        expect(&findings, "chat", "ok", "authenticated; decoded ")?;
        ensure!(code == Some(0), "{code:?}: {findings:?}");
        let moved: i64 = client
            .query_one("select count(*) from tidings.stream", &[])?
            .get(0);
        ensure!(moved == 0, "to look is not to take");

        dial(&mut client, "stranger", &endpoint, "another-token")?;
        let (code, findings) = check(&url, &long)?;
        expect(&findings, "chat", "ok", "authenticated; decoded ")?;
        expect(&findings, "stranger", "fail", "UNAUTHENTICATED")?;
        expect(
            &findings,
            "stranger",
            "fail",
            "tidings.rotate_secret('stranger'",
        )?;
        ensure!(code == Some(1), "{code:?}");
        let all = format!("{findings:?}");
        ensure!(!all.contains("another-token"), "a token is shown: {all}");

        drop(emulator);
        let (code, findings) = check(&url, &long)?;
        expect(&findings, "chat", "fail", "nothing listens there")?;
        ensure!(code == Some(1), "{code:?}");
        Ok(())
    })
}

#[test]
fn webhooks_that_refuse_everything_or_take_anything() -> Result<()> {
    on_cluster(|cluster| {
        let mut client = cluster.connect(DATABASE)?;
        client.batch_execute(
            "select tidings.add_source('web-push', 'pushpushgo', '5d411352784425000bd02a15');
             select tidings.add_source('open', 'arpoone', options => '{\"allow_unauthenticated\": true}')",
        )?;
        let url = role(cluster)?;
        let (code, findings) = check(&url, &[])?;
        expect(&findings, "open", "warn", "accepts anything")?;
        expect(
            &findings,
            "web-push",
            "ok",
            "a signature made with its secret",
        )?;
        let warned = findings.iter().filter(|f| f["finding"] == "warn").count();
        ensure!(warned == 2 && code == Some(0), "{code:?}: {findings:?}");

        client.batch_execute("select tidings.add_source('sms', 'arpoone')")?;
        let (code, findings) = check(&url, &[])?;
        expect(
            &findings,
            "sms",
            "fail",
            "select tidings.rotate_secret('sms', ..)",
        )?;
        ensure!(code == Some(1), "{code:?}");

        // The same for people: a line each, and its word first.
        let said = worker(&url, &["check"])?;
        let line = said.out.lines().find(|line| line.contains("source sms"));
        let line = line.with_context(|| said.out.clone())?;
        ensure!(line.starts_with("FAIL  source sms "), "{line}");
        let path =
            "\n          HTTP: POST /hooks/sms/{token} (`select tidings.webhook_paths('sms')`";
        ensure!(said.out.contains(path), "{}", said.out);
        Ok(())
    })
}

#[test]
fn a_stream_that_a_worker_follows() -> Result<()> {
    on_stage(|stage| {
        let play = Play {
            only: Some("ppoppo"),
            ..play(stage, 200, 3)
        };
        let emulator = stage.add_emulator(&play)?;
        let mut client = stage.connect()?;
        state(&mut client, "ppoppo", "connected")?;
        let url = stage.cluster.url(DATABASE);
        let (_, findings) = check(&url, &["--wait", "1s"])?;
        let details = &of(&findings, "ppoppo")?["details"];
        let details = details.as_array().into_iter().flatten();
        let running = details
            .filter_map(Value::as_str)
            .find(|d| d.starts_with("worker: "));
        let running = running.with_context(|| format!("{findings:?}"))?;
        ensure!(running.contains("connected by "), "{running}");
        drop(emulator);
        Ok(())
    })
}

/// From a stream that cannot be spoken to, by what the server says of itself, to events.
#[test]
fn a_schema_from_reflection_makes_the_stream_work() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let at = runtime.block_on(notices::serve())?;
    on_stage(|stage| {
        let mut client = stage.connect()?;
        dial(&mut client, "chat", &format!("http://{at}"), "token")?;
        state(&mut client, "chat", "stopped")?;
        let url = role(&stage.cluster)?;
        let (code, findings) = check(&url, &["--wait", "60s"])?;
        expect(&findings, "chat", "fail", "UNIMPLEMENTED")?;
        let advice = findings.last().and_then(|f| f["text"].as_str());
        let advised = advice.is_some_and(|text| text.contains("tidings-worker schema chat"));
        ensure!(code == Some(1) && advised, "{findings:?}");

        let lost = worker(&url, &["schema", "chat"])?;
        ensure!(
            lost.code == Some(1) && lost.err.contains(VARIANT),
            "{}",
            lost.err
        );
        let named = ["schema", "chat", "--method", VARIANT];
        let draft = worker(&url, &named)?;
        ensure!(draft.code == Some(1), "{}", draft.err);
        for word in ["event_id", "Person.number", "WHAT_ARRIVED"] {
            ensure!(draft.err.contains(word), "{word} is not in {}", draft.err);
        }
        let refused = client.batch_execute(&draft.out);
        ensure!(refused.is_err(), "it lacks names");

        let names = notices::names()?;
        let given = worker(&url, &[&named[..], &["--names", &names]].concat())?;
        ensure!(given.code == Some(0), "{}", given.err);
        let alone = given.out.trim_end();
        ensure!(
            alone.lines().count() == 1 && alone.starts_with("select "),
            "{alone}"
        );
        client.batch_execute(&given.out)?;
        eventually("all events are stored", || {
            let understood = "select count(*) from tidings.event
                 where kind = 'message.delivered' and recipient like '123%'";
            let count: i64 = client.query_one(understood, &[])?.get(0);
            Ok((count == i64::from(notices::EVENTS)).then_some(()))
        })?;

        // Its own time is short for a busy machine.
        let (code, findings) = check(&url, &["--wait", "10s"])?;
        expect(&findings, "chat", "ok", "no event within 10 s")?;
        let same = "reflection: grpc.reflection.v1, the same schema";
        ensure!(
            of(&findings, "chat")?["details"].to_string().contains(same),
            "{findings:?}"
        );
        ensure!(code == Some(0), "{findings:?}");
        // And again, without being told what the source knows already.
        let again = worker(&url, &["schema", "chat"])?;
        ensure!(
            again.code == Some(0) && again.out == given.out,
            "{}",
            again.err
        );
        Ok(())
    })
}

fn state(client: &mut Client, source: &str, wanted: &str) -> Result<()> {
    eventually(&format!("{source} is {wanted}"), || {
        let query = "select state from tidings.stream_status where source = $1";
        let row = client.query_opt(query, &[&source])?;
        Ok(row
            .filter(|row| row.get::<_, &str>(0) == wanted)
            .map(|_| ()))
    })
}
