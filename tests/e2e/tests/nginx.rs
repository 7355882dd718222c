//! nginx in front of the worker, configured as `docs/nginx.md` says.
//!
//! Without nginx these tests print that they are SKIPPED.

use anyhow::{Context as _, Result, ensure};
use futures_util::stream;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use tidings_e2e::{DEADLINE, eventually, on_stage_with, play, wait_known};
use tidings_harness::emulator::Play;
use tidings_harness::http::{self, Answer};
use tidings_harness::metrics;
use tidings_harness::nginx::{self, Nginx};
use tidings_harness::paths;
use tidings_harness::reconcile::Reconciliation;
use tidings_harness::stage::Stage;
use tidings_harness::step::Missing;
use tidings_proto::pushwoosh::Event;
use tidings_proto::pushwoosh::event_streaming_client::EventStreamingClient;
use tokio::net::TcpSocket;
use tonic::Request;

/// The address of nginx, as the worker sees it.
const TRUSTED: [&str; 2] = ["--trusted-proxies", "127.0.0.1/32"];
const REPORTS: usize = 6_000;
const AUTHORIZATION: &str = "Bearer behind nginx";
const PUSHES: usize = 2_000;
/// Longer than nginx waits for a stream by default, and longer than the worker waits before
/// it pings.
const IDLE: Duration = Duration::from_secs(65);

/// Runs a test on a worker with these flags behind nginx.
fn behind_nginx(flags: &[&str], test: impl FnOnce(&mut Stage, &Nginx) -> Result<()>) -> Result<()> {
    on_stage_with(flags, |stage| {
        let documented = nginx::documented(&paths::root().join("docs/nginx.md"))?;
        let worker = (stage.worker.http, stage.worker.grpc);
        let nginx = match Nginx::start(&stage.cluster, &documented, worker) {
            Ok(nginx) => nginx,
            Err(error) => match error.downcast::<Missing>() {
                Ok(missing) => {
                    println!("SKIPPED: {missing}");
                    return Ok(());
                }
                Err(error) => return Err(error),
            },
        };
        test(stage, &nginx).inspect_err(|_| eprintln!("{}", nginx.tail()))
    })
}

fn report(id: &str) -> Value {
    json!({
        "Msisdn": "351913462111",
        "Status": "DELIVERED",
        "MessageId": id,
        "OrganizationId": "00000000-0000-4000-8000-000000000000",
        "ReportDescription": "delivered to the handset",
        "ReportDateTime": "2026-01-01T00:00:00Z",
    })
}

#[test]
fn six_thousand_reports_in_one_body_are_stored_once() -> Result<()> {
    behind_nginx(&[], |stage, nginx| {
        let mut client = stage.connect()?;
        client.batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        wait_known(stage.worker.http, "sms")?;
        let ids: BTreeSet<String> = (0..REPORTS).map(|n| format!("report-{n:05}")).collect();
        let body = Value::from_iter(ids.iter().map(|id| report(id))).to_string();
        // More than nginx takes by default.
        ensure!(body.len() > 1 << 20, "{}", body.len());
        for (attempt, counted) in [(1, "inserted"), (2, "duplicate")] {
            let answer = http::post(nginx.http, "/hooks/sms/token", &[], body.as_bytes())?;
            ensure!(answer.status == 200, "{attempt}: {answer:?}");
            let said: Value = serde_json::from_str(&answer.body)?;
            ensure!(
                said.get(counted) == Some(&json!(REPORTS)),
                "{attempt}: {said}"
            );
        }
        let rows = client.query("select message_id from tidings.event", &[])?;
        let stored: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        ensure!(stored.len() == REPORTS && stored.into_iter().collect::<BTreeSet<_>>() == ids);
        Ok(())
    })
}

/// The events of all five sources of the emulator arrive through nginx, webhooks and pushes.
#[test]
fn all_providers_reach_the_worker_through_nginx() -> Result<()> {
    behind_nginx(&[], |stage, nginx| {
        let play = Play {
            http: nginx.http,
            grpc: nginx.http2,
            ..play(stage, 3_000, 41)
        };
        let mut emulator = stage.add_emulator(&play)?;
        emulator.begin()?;
        eventually("all is acknowledged", || {
            emulator.listen()?;
            Ok(emulator.is_done().then_some(()))
        })?;
        let mut client = stage.connect()?;
        // What the worker dials is acknowledged when it is sent.
        eventually("every event is stored", || {
            let reconciliation = Reconciliation::of(&mut client, emulator.ledger())?;
            Ok((reconciliation.total().missing == 0).then_some(()))
        })?;
        emulator.finish()?;
        let reconciliation = Reconciliation::of(&mut client, emulator.ledger())?;
        println!("{:?}", reconciliation.total());
        reconciliation.check()
    })
}

#[test]
fn nginx_keeps_its_connection_to_the_worker() -> Result<()> {
    behind_nginx(&[], |stage, nginx| {
        stage
            .connect()?
            .batch_execute("select tidings.add_source('sms', 'arpoone', 'token')")?;
        wait_known(stage.worker.http, "sms")?;
        let open = || metrics::gauge(stage.worker.admin, "tidings_worker_http_connections");
        let before = eventually("nobody else is connected", || {
            let now = open()?;
            Ok((now <= 1.0).then_some(now))
        })?;
        for number in 0..20 {
            let body = report(&number.to_string()).to_string();
            let answer = http::post(nginx.http, "/hooks/sms/token", &[], body.as_bytes())?;
            ensure!(answer.status == 200, "{answer:?}");
        }
        let after = open()?;
        ensure!(after == before + 1.0, "{before}, then {after} are open");
        Ok(())
    })
}

fn event(number: usize) -> Event {
    Event {
        uuid: format!("00000000-0000-4000-8000-{number:012x}"),
        event_name: "Push Sent".to_owned(),
        timestamp: 1_793_500_000,
        ..Event::default()
    }
}

#[test]
fn a_push_stream_is_answered_and_may_be_idle_for_long() -> Result<()> {
    behind_nginx(&[], |stage, nginx| {
        let mut client = stage.connect()?;
        client.execute(
            "select tidings.add_source('push', 'pushwoosh', $1)",
            &[&AUTHORIZATION],
        )?;
        wait_known(stage.worker.http, "push")?;
        let runtime = tokio::runtime::Runtime::new()?;
        let answered = runtime.block_on(push(nginx.http2))?;
        ensure!(answered == PUSHES + 1, "{answered}");
        let row = client.query_one(
            "select count(*), count(distinct payload->>'uuid') from tidings.event",
            &[],
        )?;
        let stored: (i64, i64) = (row.get(0), row.get(1));
        let pushes = i64::try_from(PUSHES + 1)?;
        ensure!(stored == (pushes, pushes), "{stored:?}");
        Ok(())
    })
}

/// Sends one event after all others were answered and nothing happened for long, on the same
/// stream; returns how many uuids were answered `Success`.
async fn push(at: SocketAddr) -> Result<usize> {
    let mut client = EventStreamingClient::connect(format!("http://{at}")).await?;
    let (later, last) = tokio::sync::oneshot::channel();
    let pending = (0..PUSHES, Some(last));
    let events = stream::unfold(pending, |(mut numbers, mut last)| async move {
        if let Some(number) = numbers.next() {
            return Some((event(number), (numbers, last)));
        }
        let event = last.take()?.await.ok()?;
        Some((event, (numbers, last)))
    });
    let mut request = Request::new(events);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", AUTHORIZATION.parse()?);
    let mut replies = client.stream_events(request).await?.into_inner();
    let mut answered = BTreeSet::new();
    let mut later = Some(later);
    while let Some(reply) = replies.message().await.context("the stream failed")? {
        ensure!(reply.status == "Success", "{reply:?}");
        ensure!(answered.insert(reply.uuid.clone()), "twice: {}", reply.uuid);
        if answered.len() == PUSHES
            && let Some(later) = later.take()
        {
            tokio::time::sleep(IDLE).await;
            let sent = later.send(event(PUSHES));
            ensure!(sent.is_ok(), "the stream ended while it was idle");
        }
    }
    Ok(answered.len())
}

/// One of two hosts may send; both are this one.
const ALLOWED: &str = r#"{"allow_from": ["127.0.0.2/32"]}"#;
const ALLOWED_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// The address of somebody else in either header.
const OTHER: &str = "192.0.2.1";
const OTHER_FOR: &str = "for=192.0.2.1";

/// Posts from this address, with these headers.
fn post_from(from: Ipv4Addr, at: SocketAddr, headers: &[(&str, &str)], id: &str) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut stream: TcpStream = runtime.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(at).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    let body = report(id).to_string();
    let path = "/hooks/sms/token";
    http::exchange(&mut stream, "POST", path, headers, body.as_bytes())
}

#[test]
fn a_forged_address_is_refused_and_the_true_one_is_taken() -> Result<()> {
    behind_nginx(&TRUSTED, |stage, nginx| {
        let mut client = stage.connect()?;
        let options: Value = serde_json::from_str(ALLOWED)?;
        client.execute(
            "select tidings.add_source('sms', 'arpoone', 'token', $1)",
            &[&options],
        )?;
        wait_known(stage.worker.http, "sms")?;
        let allowed = ALLOWED_HOST.to_string();
        let (forged, other) = (
            ("x-forwarded-for", allowed.as_str()),
            ("x-forwarded-for", OTHER),
        );
        let (nginx, beside) = (nginx.http, stage.worker.http);
        for (name, from, at, header, expected) in [
            ("plain", ALLOWED_HOST, nginx, None, 200),
            ("behind others", ALLOWED_HOST, nginx, Some(other), 200),
            (
                "in another form",
                ALLOWED_HOST,
                nginx,
                Some(("forwarded", OTHER_FOR)),
                200,
            ),
            ("from elsewhere", OTHER_HOST, nginx, None, 401),
            ("forged", OTHER_HOST, nginx, Some(forged), 401),
            // Only a trusted proxy may say where a request comes from.
            (
                "forged, beside nginx",
                OTHER_HOST,
                beside,
                Some(forged),
                401,
            ),
            ("beside nginx", ALLOWED_HOST, beside, Some(other), 200),
        ] {
            let headers: Vec<_> = header.into_iter().collect();
            let answer = post_from(from, at, &headers, name)?;
            ensure!(answer.status == expected, "{name}: {answer:?}");
        }
        let rows = client.query("select message_id from tidings.event order by id", &[])?;
        let stored: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let taken = ["plain", "behind others", "in another form", "beside nginx"];
        ensure!(stored == taken, "{stored:?}");
        // The kept requests name the host that sent them.
        let rows = client.query(
            "select distinct host(peer) from tidings.rejected where verdict = 'unauthorized'",
            &[],
        )?;
        let peers: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        ensure!(peers == [OTHER_HOST.to_string()], "{peers:?}");
        Ok(())
    })
}
