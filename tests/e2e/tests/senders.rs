//! The sender of a request, as the worker tells Postgres: the address of its connection, or the
//! one that a trusted proxy reports; and a source that allows some addresses alone.

use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use tidings_e2e::{eventually, on_stage_with, wait_known, wait_logged};
use tidings_harness::http;
use tidings_harness::stage::Stage;
use tidings_proto::pushwoosh::Event;
use tidings_proto::pushwoosh::event_streaming_client::EventStreamingClient;
use tonic::{Code, Request};

const SOURCES: &str = r#"
    select tidings.add_source('sms', 'arpoone', 'token', '{"allow_from": ["192.0.2.0/24", "2001:db8::7"]}');
    select tidings.add_source('any', 'arpoone', 'token');
    select tidings.add_source('push', 'pushwoosh', 'Bearer b', '{"allow_from": ["192.0.2.0/24"]}');
    select tidings.add_source('bound', 'arpoone', 'token', '{"allow_from": ["127.0.0.0/8"]}')"#;

fn event(id: &str) -> String {
    format!(
        r#"[{{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"{id}","ReportDateTime":"2026-01-01T00:00:00"}}]"#
    )
}

fn on_sources(flags: &[&str], test: impl FnOnce(&mut Stage) -> Result<()>) -> Result<()> {
    on_stage_with(flags, |stage| {
        stage.connect()?.batch_execute(SOURCES)?;
        wait_known(stage.worker.http, "bound")?;
        test(stage)
    })
}

fn post(stage: &Stage, source: &str, headers: &[(&str, &str)]) -> Result<u16> {
    let path = format!("/hooks/{source}/token");
    let body = event("one");
    Ok(http::post(stage.worker.http, &path, headers, body.as_bytes())?.status)
}

/// The reasons of the last refusals with their senders, the newest first.
fn refused(stage: &Stage, count: usize) -> Result<Vec<(String, String)>> {
    let rows = stage.connect()?.query(
        "select reason, coalesce(host(peer), '') from tidings.rejected where verdict = 'unauthorized' order by id desc limit $1",
        &[&(count as i64)],
    )?;
    rows.iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
        .collect()
}

#[test]
fn a_forged_sender_is_refused_unless_a_trusted_proxy_says_so() -> Result<()> {
    let forged = [
        [("x-forwarded-for", "192.0.2.7")],
        [("forwarded", "for=192.0.2.7")],
        [("peer-address", "192.0.2.7")],
        [("x-real-ip", "192.0.2.7")],
    ];
    on_sources(&[], |stage| {
        for headers in &forged {
            ensure!(post(stage, "sms", headers)? == 401, "{headers:?}");
            ensure!(post(stage, "any", headers)? == 200, "{headers:?}");
            ensure!(post(stage, "bound", headers)? == 200, "{headers:?}");
        }
        for (reason, peer) in refused(stage, forged.len())? {
            let told = "the source does not allow the address 127.0.0.1 (allow_from)";
            ensure!(reason == told && peer == "127.0.0.1", "{reason} {peer}");
        }
        Ok(())
    })?;
    // A proxy elsewhere is not this one.
    on_sources(&["--trusted-proxies", "10.0.0.0/8"], |stage| {
        for headers in &forged {
            ensure!(post(stage, "sms", headers)? == 401, "{headers:?}");
        }
        Ok(())
    })
}

#[test]
fn behind_a_trusted_proxy_the_sender_is_the_last_address_that_is_no_proxys() -> Result<()> {
    let flags = [
        "--trusted-proxies",
        "127.0.0.1,10.0.0.0/8",
        "--log-format",
        "json",
    ];
    on_sources(&flags, |stage| {
        for (name, value, status, peer) in [
            ("x-forwarded-for", "192.0.2.7", 200, ""),
            ("x-forwarded-for", "203.0.113.9, 192.0.2.7", 200, ""),
            ("x-forwarded-for", "192.0.2.7, 10.1.2.3", 200, ""),
            ("x-forwarded-for", "::ffff:192.0.2.7", 200, ""),
            ("x-forwarded-for", "[2001:db8::7]:443", 200, ""),
            (
                "forwarded",
                "for=\"[2001:db8::7]:443\";proto=https, for=10.1.2.3",
                200,
                "",
            ),
            // What stands before the address that the proxy has appended is the sender's own.
            (
                "x-forwarded-for",
                "192.0.2.7, 203.0.113.9",
                401,
                "203.0.113.9",
            ),
            (
                "forwarded",
                "for=192.0.2.7, for=203.0.113.9",
                401,
                "203.0.113.9",
            ),
            ("x-forwarded-for", "192.0.2.7, unknown", 401, "127.0.0.1"),
            (
                "forwarded",
                "for=192.0.2.7, for=_hidden, for=10.1.2.3",
                401,
                "10.1.2.3",
            ),
            (
                "forwarded",
                "for=\"192.0.2.7, for=192.0.2.7",
                401,
                "127.0.0.1",
            ),
            ("x-real-ip", "192.0.2.7", 401, "127.0.0.1"),
        ] {
            let given = post(stage, "sms", &[(name, value)])?;
            ensure!(given == status, "{name}: {value}: {given}");
            if status == 401 {
                let [(reason, kept)] = refused(stage, 1)?.try_into().ok().context("one row")?;
                ensure!(
                    kept == peer && reason.contains(peer),
                    "{value}: {reason} {kept}"
                );
            }
        }
        let both = [
            ("x-forwarded-for", "203.0.113.9"),
            ("forwarded", "for=192.0.2.7"),
        ];
        ensure!(post(stage, "sms", &both)? == 401);
        // The log names the sender, too, and no port of the proxy's.
        let log = stage.cluster.folder().join("worker.log");
        let lines = wait_logged(&log, 1, |line| line.contains("unauthorized"))?;
        ensure!(lines[0].contains(r#""peer":"203.0.113.9""#), "{lines:?}");
        Ok(())
    })
}

/// The address is part of what is spooled, and verified with the rest.
#[test]
fn what_was_spooled_is_verified_for_the_address_that_it_came_from() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("tidings-senders-{}", std::process::id()));
    let spool = folder.to_str().context("not UTF-8")?.to_owned();
    let flags = ["--trusted-proxies", "127.0.0.1", "--spool-dir", &spool];
    let ran = on_sources(&flags, |stage| {
        stage.cluster.kill()?;
        for address in ["192.0.2.7", "203.0.113.9"] {
            let path = "/hooks/sms/token";
            let body = event(address);
            let headers = [("x-forwarded-for", address)];
            eventually("it is spooled", || {
                let answer = http::post(stage.worker.http, path, &headers, body.as_bytes())?;
                Ok(answer.body.contains("spooled").then_some(()))
            })?;
        }
        stage.cluster.restart()?;
        let mut client = stage.connect()?;
        eventually("one is stored, and one refused", || {
            let row = client.query_one(
                "select (select string_agg(message_id, ',') from tidings.event),
                   (select string_agg(distinct host(peer), ',') from tidings.rejected where reason like '%allow_from%')",
                &[],
            )?;
            let (stored, refused): (Option<String>, Option<String>) =
                (row.try_get(0)?, row.try_get(1)?);
            let is_right =
                stored.as_deref() == Some("192.0.2.7") && refused.as_deref() == Some("203.0.113.9");
            Ok(is_right.then_some(()))
        })
    });
    let _ = std::fs::remove_dir_all(Path::new(&spool));
    ran
}

#[test]
fn a_push_comes_from_the_address_of_its_connection_or_from_the_proxys_word() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let push = |stage: &Stage, forwarded: &'static str| {
        runtime.block_on(async {
            let at = format!("http://{}", stage.worker.grpc);
            let mut client = EventStreamingClient::connect(at).await?;
            let event = Event {
                uuid: "00000000-0000-4000-8000-000000000001".to_owned(),
                event_name: "Push Sent".to_owned(),
                timestamp: 1_793_500_000,
                ..Event::default()
            };
            let mut request = Request::new(futures_util::stream::iter([event]));
            let metadata = request.metadata_mut();
            metadata.insert("authorization", "Bearer b".parse()?);
            metadata.insert("x-forwarded-for", forwarded.parse()?);
            let replies = match client.stream_events(request).await {
                Ok(replies) => replies,
                Err(status) => return Ok(Err(status.code())),
            };
            let reply = replies.into_inner().message().await?;
            anyhow::Ok(Ok(reply.context("there is no reply")?.status))
        })
    };
    on_sources(&["--trusted-proxies", "127.0.0.1"], |stage| {
        let taken = push(stage, "203.0.113.9, 192.0.2.7")?;
        ensure!(taken == Ok("Success".to_owned()), "{taken:?}");
        let refused = push(stage, "192.0.2.7, 203.0.113.9")?;
        ensure!(refused == Err(Code::Unauthenticated), "{refused:?}");
        Ok(())
    })?;
    on_sources(&[], |stage| {
        let refused = push(stage, "192.0.2.7")?;
        ensure!(refused == Err(Code::Unauthenticated), "{refused:?}");
        Ok(())
    })
}
