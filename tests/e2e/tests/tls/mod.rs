//! TLS towards those who call, and towards Postgres, with certificates made for it.

pub(crate) mod authority;
mod client;
pub(crate) mod postgres;

use anyhow::{Context as _, Result, ensure};
use authority::{Authority, Pair};
use client::{Spoken, h2, http};
use std::io::{self, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tidings_e2e::{DEADLINE, eventually, on_cluster, wait_logged};
use tidings_harness::cluster::Cluster;
use tidings_harness::leash;
use tidings_harness::stage::DATABASE;
use tidings_harness::worker::{self, ANY_PORT, Worker};
use tidings_proto::pushwoosh::Event;
use tidings_proto::pushwoosh::event_streaming_client::EventStreamingClient;
use tonic::Request;
use tonic::transport::{Certificate, Channel, ClientTlsConfig};

const SMS: &[u8] = br#"[{"Msisdn":"351913462111","Status":"DELIVERED","MessageId":"0b1f5d1e-7f1e-4f57-a8a1-0e4f3c2c7a11","ReportDateTime":"2026-01-01T00:00:00"}]"#;
const AUTHORIZATION: &str = "Bearer tls";

/// A worker's certificate in the cluster's folder.
struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    fn new(cluster: &Cluster) -> Self {
        let folder = cluster.folder();
        Self {
            cert: folder.join("worker.crt"),
            key: folder.join("worker.key"),
        }
    }

    fn write(&self, pair: &Pair) -> Result<()> {
        replace(&self.cert, &pair.cert)?;
        replace(&self.key, &pair.key)
    }

    /// A worker that is told of them.
    fn command(&self, cluster: &Cluster, http: SocketAddr) -> Result<Command> {
        let mut command = worker::command(&cluster.url(DATABASE), http, ANY_PORT)?;
        command.arg("--tls-cert").arg(&self.cert);
        command.arg("--tls-key").arg(&self.key);
        Ok(command)
    }
}

#[test]
fn handshakes_that_fail_have_no_line_each() -> Result<()> {
    on_cluster(|cluster| {
        let files = Files::new(cluster);
        files.write(&Authority::new("worker authority")?.issue(&["127.0.0.1"])?)?;
        let log = cluster.folder().join("worker.log");
        let mut worker = Worker::spawn(&mut files.command(cluster, ANY_PORT)?, &log)?;
        crate::stderr::pester(worker.http)?;
        crate::stderr::pester(worker.grpc)?;
        let status = worker.drain(DEADLINE)?;
        ensure!(status.code() == Some(0), "{status}");
        crate::stderr::few_lines(&log)
    })
}

#[test]
fn every_entrance_speaks_tls_and_nothing_else() -> Result<()> {
    on_cluster(|cluster| {
        let authority = Authority::new("worker authority")?;
        let files = Files::new(cluster);
        files.write(&authority.issue(&["localhost"])?)?;
        let log = cluster.folder().join("worker.log");
        let worker = Worker::spawn(&mut files.command(cluster, ANY_PORT)?, &log)?;
        add_sources(cluster)?;
        let silent = [worker.http, worker.grpc, worker.admin].map(TcpStream::connect);

        eventually("a webhook is stored", || {
            let post = http(worker.http, &authority, "POST", "/hooks/sms/token", SMS)?;
            Ok((post.answer.status == 200).then_some(()))
        })?;
        let Spoken { version, alpn, .. } = http(worker.admin, &authority, "GET", "/readyz", b"")?;
        ensure!(version.contains("TLSv1_3"), "{version}");
        ensure!(alpn.as_deref() == Some("http/1.1"), "{alpn:?}");
        push(&worker, &authority)?;
        ensure!(h2(worker.grpc, &authority)?.as_deref() == Some("h2"));
        ensure!(stored(cluster)? == 2);

        // Neither plaintext nor a client that knows another authority gets an answer.
        for at in [worker.http, worker.grpc, worker.admin] {
            ensure!(
                tidings_harness::http::get(at, "/readyz").is_err(),
                "plaintext at {at}"
            );
            let stranger = Authority::new("another")?;
            let error = http(at, &stranger, "GET", "/readyz", b"").err();
            let error = format!("{:#}", error.context("an unknown authority was trusted")?);
            ensure!(error.contains("UnknownIssuer"), "{error}");
        }
        // Nor one who says nothing.
        for silent in silent {
            let mut silent = silent?;
            silent.set_read_timeout(Some(DEADLINE))?;
            let read = silent.read(&mut [0]);
            let held = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            ensure!(!read.as_ref().is_err_and(held), "it was not cut");
        }
        // All of which harmed nobody.
        push(&worker, &authority)?;
        let ready = http(worker.admin, &authority, "GET", "/readyz", b"")?;
        ensure!(ready.answer.status == 200);
        Ok(())
    })
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() -> Result<()> {
    on_cluster(|cluster| {
        let (old, new) = (Authority::new("old")?, Authority::new("new")?);
        let files = Files::new(cluster);
        files.write(&old.issue(&["localhost"])?)?;
        let log = cluster.folder().join("worker.log");
        let mut worker = Worker::spawn(&mut files.command(cluster, ANY_PORT)?, &log)?;
        let answers = |authority: &Authority| {
            let health = http(worker.http, authority, "GET", "/healthz", b"");
            health.is_ok() && h2(worker.grpc, authority).is_ok()
        };
        ensure!(answers(&old) && !answers(&new));

        // One that cannot be used is complained about once, and changes nothing.
        let pair = new.issue(&["localhost"])?;
        replace(&files.cert, &pair.cert)?;
        let complaints = || {
            wait_logged(&log, 1, |l| {
                l.contains("does not fit the first certificate")
            })
        };
        complaints()?;
        ensure!(answers(&old) && !answers(&new));

        files.write(&pair)?;
        eventually("the new certificate is served", || {
            Ok(answers(&new).then_some(()))
        })?;
        ensure!(!answers(&old));
        ensure!(complaints()?.len() == 1);
        let metrics = http(worker.admin, &new, "GET", "/metrics", b"")?
            .answer
            .body;
        for result in ["ok", "refused"] {
            let counted =
                format!("tidings_worker_certificate_reloads_total{{result=\"{result}\"}} 1");
            ensure!(metrics.contains(&counted), "{counted}: {metrics}");
        }
        // Drained as without TLS.
        let status = worker.drain(DEADLINE)?;
        ensure!(status.success(), "{status}");
        Ok(())
    })
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_before_a_port_is_bound() -> Result<()> {
    on_cluster(|cluster| {
        let authority = Authority::new("worker authority")?;
        let (one, two) = (
            authority.issue(&["localhost"])?,
            authority.issue(&["localhost"])?,
        );
        let files = Files::new(cluster);
        // Nobody can listen there: it must not be tried.
        let nowhere = SocketAddr::from(([192, 0, 2, 1], 1));
        for (cert, key, words) in [
            (one.cert.as_str(), two.key.as_str(), "does not fit"),
            ("nothing", one.key.as_str(), "holds no certificate"),
            (one.cert.as_str(), "nothing", "holds no private key"),
        ] {
            let (cert, key) = (cert.to_owned(), key.to_owned());
            files.write(&Pair { cert, key })?;
            let (code, said) = ended(&mut files.command(cluster, nowhere)?)?;
            ensure!(code == Some(64) && said.contains(words), "{code:?}: {said}");
        }
        std::fs::remove_file(&files.key)?;
        let (code, said) = ended(&mut files.command(cluster, nowhere)?)?;
        ensure!(
            code == Some(64) && said.contains("cannot read"),
            "{code:?}: {said}"
        );
        Ok(())
    })
}

/// At once: whoever reads it meanwhile has either all of the old or all of the new.
fn replace(path: &Path, text: &str) -> Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, text)?;
    Ok(std::fs::rename(&next, path)?)
}

/// Its exit code and what it said.
fn ended(command: &mut Command) -> Result<(Option<i32>, String)> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let status = leash::wait(&mut child, DEADLINE)?;
    if status.is_none() {
        child.kill()?;
    }
    let output = child.wait_with_output()?;
    let code = status.and_then(|status| status.code());
    Ok((code, String::from_utf8(output.stderr)?))
}

fn add_sources(cluster: &Cluster) -> Result<()> {
    Ok(cluster.connect(DATABASE)?.batch_execute(&format!(
        "select tidings.add_source('sms', 'arpoone', 'token');
         select tidings.add_source('push', 'pushwoosh', '{AUTHORIZATION}')"
    ))?)
}

fn stored(cluster: &Cluster) -> Result<i64> {
    let query = "select count(*) from tidings.event";
    let row = cluster.connect(DATABASE)?.query_one(query, &[])?;
    Ok(row.get(0))
}

/// Pushes one event, the same at each call, to its `Success`.
fn push(worker: &Worker, authority: &Authority) -> Result<()> {
    let event = Event {
        uuid: "00000000-0000-4000-8000-000000000001".to_owned(),
        event_name: "Push Sent".to_owned(),
        timestamp: 1_793_500_000,
        ..Event::default()
    };
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("localhost");
    let channel = Channel::from_shared(format!("https://{}", worker.grpc))?.tls_config(tls)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let mut client = EventStreamingClient::new(channel.connect().await?);
        let mut request = Request::new(futures_util::stream::iter([event]));
        let metadata = request.metadata_mut();
        metadata.insert("authorization", AUTHORIZATION.parse()?);
        let mut replies = client.stream_events(request).await?.into_inner();
        let reply = replies.message().await?.context("there is no reply")?;
        ensure!(reply.status == "Success", "{reply:?}");
        Ok(())
    })
}
