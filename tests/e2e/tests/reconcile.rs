//! `tidings-worker reconcile`, run by hand: what it lists, asks, closes, and says if it cannot.
//! What a worker does by itself is in `gaps` and `peer`.

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use serde_json::json;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use tidings_e2e::{DEADLINE, eventually, on_cluster, on_stage, play};
use tidings_harness::cluster::Cluster;
use tidings_harness::emulator::Play;
use tidings_harness::paths;
use tidings_harness::process::{Process, Speaks};
use tidings_harness::sources::Wish;
use tidings_harness::stage::DATABASE;

/// As a role that may do what the worker does, and no more.
fn command(cluster: &Cluster, arguments: &[&str]) -> Result<Command> {
    let (host, port) = (cluster.host(), cluster.port());
    let url = format!("postgresql://reconciling@{host}:{port}/{DATABASE}");
    let mut command = Command::new(paths::program("tidings-worker")?);
    command
        .arg("reconcile")
        .args(arguments)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null());
    Ok(command)
}

fn with_role(cluster: &Cluster) -> Result<Client> {
    let mut client = cluster.connect(DATABASE)?;
    client.batch_execute(
        "create role reconciling login; select tidings.grant_worker('reconciling')",
    )?;
    Ok(client)
}

fn reconcile(cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    Ok(command(cluster, arguments)?.output()?)
}

/// Fails unless it ended like this, with these words on stdout or stderr.
fn expect(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    ensure!(status.code() == Some(code), "{status}\n{out}\n{err}");
    for words in words {
        let said = out.contains(words) || err.contains(words);
        ensure!(said, "it does not say {words:?}:\n{out}\n{err}");
    }
    Ok(())
}

fn open_gaps(client: &mut Client, source: &str) -> Result<i64> {
    let row = client.query_one(
        "select count(*) from tidings.gap where source = $1 and closed_at is null",
        &[&source],
    )?;
    Ok(row.get(0))
}

#[test]
fn it_lists_asks_and_closes_beside_a_worker() -> Result<()> {
    on_stage(|stage| {
        let play = Play {
            only: Some("ppoppo"),
            ..play(stage, 1_000, 12)
        };
        // The worker leaves the gap to the command.
        let wish = Wish {
            source: "ppoppo",
            options: json!({"reconcile": false}),
            secret: None,
        };
        let mut emulator = stage.add_emulator_with(&play, |_| vec![wish])?;
        let mut client = with_role(&stage.cluster)?;
        emulator.begin()?;
        eventually("all is played", || {
            emulator.listen()?;
            Ok(emulator.is_done().then_some(()))
        })?;
        let count = |client: &mut Client, what: &str| -> Result<i64> {
            let query = format!("select count(*) from tidings.event where {what}");
            Ok(client.query_one(&query, &[])?.get(0))
        };
        eventually("all is stored", || {
            Ok((count(&mut client, "true")? >= 1_000).then_some(()))
        })?;
        let gap: i64 = client
            .query_one("select tidings.report_gap('ppoppo', 'cursor_expired')", &[])?
            .get(0);
        let open = open_gaps(&mut client, "ppoppo")?;
        let cluster = &stage.cluster;
        let listed = reconcile(
            cluster,
            &["ppoppo", "--dry-run", "--request", "r9", "--since", "7d"],
        )?;
        let named = format!("{gap} (cursor_expired)");
        let words = ["r9: named", "requests to ask about; open: gap", &named];
        expect(&listed, 0, &words)?;
        let after = open_gaps(&mut client, "ppoppo")?;
        ensure!(after == open, "it was a dry run");
        let lines = String::from_utf8(listed.stdout)?.lines().count();
        let requests = lines - 1;
        ensure!(requests > 1, "only {requests} requests");

        let wanted = ["ppoppo", "--request", "r9", "--since", "7d"];
        let asked = format!("{requests} requests asked, ");
        let words = [
            asked.as_str(),
            "1 request unknown to the provider",
            "closed gap",
            &named,
        ];
        expect(&reconcile(cluster, &wanted)?, 0, &words)?;
        let by: String = client
            .query_one("select closed_by from tidings.gap where id = $1", &[&gap])?
            .get(0);
        ensure!(open_gaps(&mut client, "ppoppo")? == 0, "all are closed");
        ensure!(by.starts_with(&format!("reconcile: {asked}")), "{by}");
        let answers = "provider_kind like 'GetSendRequestStatus/%'";
        let stored = count(&mut client, answers)?;
        ensure!(stored > 0, "no answer is stored");
        expect(
            &reconcile(cluster, &wanted)?,
            0,
            &[&asked, "0 recipients recovered"],
        )?;
        ensure!(
            count(&mut client, answers)? == stored,
            "a repetition adds nothing"
        );
        let rejected: i64 = client
            .query_one("select count(*) from tidings.rejected", &[])?
            .get(0);
        ensure!(rejected == 0, "{rejected} are rejected");

        // The worker's stream was not disturbed.
        let failures: Option<i32> = client
            .query_one(
                "select failures from tidings.stream_status where source = 'ppoppo'",
                &[],
            )?
            .get(0);
        ensure!(failures == Some(0), "{failures:?}");

        client.batch_execute("select tidings.rotate_secret('ppoppo', 'another')")?;
        let refused = reconcile(cluster, &wanted)?;
        expect(
            &refused,
            1,
            &["source ppoppo: ", "UNAUTHENTICATED", "rotate_secret"],
        )?;
        client.batch_execute("select tidings.set_source_enabled('ppoppo', false)")?;
        let disabled = reconcile(cluster, &wanted)?;
        expect(&disabled, 1, &["source ppoppo is disabled"])?;
        emulator.finish()
    })
}

#[test]
fn what_it_cannot_do_is_said() -> Result<()> {
    on_cluster(|cluster| {
        let mut client = with_role(cluster)?;
        client.batch_execute(
            "select tidings.add_source('sms', 'arpoone', 'token');
             select tidings.add_source('channels', 'ppoppo', 'token', '{\"stream\": \"channels\"}');
             select tidings.report_gap('channels', 'cursor_expired')",
        )?;
        let nobody = TcpListener::bind("127.0.0.1:0")?;
        let options = json!({"endpoint": format!("http://{}", nobody.local_addr()?)});
        client.execute(
            "select tidings.add_source('chat', 'ppoppo', null, $1)",
            &[&options],
        )?;
        let nowhere = reconcile(cluster, &["nowhere"])?;
        let words = ["there is no source nowhere", "can be asked: chat"];
        expect(&nowhere, 64, &words)?;
        let bad = reconcile(cluster, &["chat", "--since", "yesterday"])?;
        expect(&bad, 64, &["--since", "write it like"])?;
        let served = reconcile(cluster, &["sms"])?;
        expect(&served, 65, &["source sms: arpoone cannot be asked"])?;
        let words = [
            "in the stream channels",
            "close gap 1 (cursor_expired) by hand",
        ];
        expect(&reconcile(cluster, &["channels"])?, 65, &words)?;
        let nothing = reconcile(cluster, &["chat", "--dry-run"])?;
        expect(&nothing, 0, &["0 requests to ask about; no gap is open"])?;
        let no_token = reconcile(cluster, &["chat", "--request", "r1"])?;
        expect(&no_token, 1, &["source chat: it has no token"])?;

        // Nobody answers, so it waits until it is told to end.
        client.batch_execute("select tidings.rotate_secret('chat', 'token')")?;
        let log = cluster.folder().join("reconcile.log");
        let mut waiting = command(cluster, &["chat", "--request", "r1"])?;
        let name = "tidings-worker reconcile";
        let mut waiting = Process::start(name, &mut waiting, &log, Speaks::Stdout)?;
        let _silent = nobody.accept().context("it does not call")?;
        waiting.terminate()?;
        let status = waiting.ended(DEADLINE)?;
        ensure!(status.code() == Some(1), "{status}\n{}", waiting.tail());
        let tail = waiting.tail();
        ensure!(tail.contains("interrupted; no gap was closed"), "{tail}");
        Ok(())
    })
}
