//! Connections over real sockets, with certificates made here.

use std::io::Write;

use futures_util::FutureExt;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::json;
use tempfile::NamedTempFile;
use tonic::transport::{Identity, ServerTlsConfig};

use super::*;
use crate::testing::chat::{Chat, open};

const METHOD: &str = "/pcs.external.v1.MessageService/StreamSendRequestEvents";

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The certificate of a server, with its key.
fn identity(authority: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Identity::from_pem(certificate.pem(), key.serialize_pem())
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn dial(endpoint: &str, ca: Option<&NamedTempFile>) -> Dial {
    let ca = ca.map(|file| file.path().to_str().unwrap());
    Dial::new("ppoppo", &json!({"endpoint": endpoint, "ca_file": ca})).unwrap()
}

async fn server(authority: &CertifiedIssuer<'static, KeyPair>) -> Chat {
    let tls = ServerTlsConfig::new().identity(identity(authority, "localhost"));
    Chat::start(Some(tls), |_| Ok(open(["e1"]))).await
}

#[tokio::test]
async fn ppoppo_tls() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let (our_file, their_file) = (file(&ours.pem()), file(&theirs.pem()));
    let chat = server(&ours).await;
    let port = chat.address.port();
    let by_name = format!("https://localhost:{port}/ext");

    let plan = dial(&by_name, Some(&our_file));
    let connection = connect(&plan, plan.keepalive).await.unwrap();
    let (path, request) = request(&plan, METHOD, "t", Bytes::new()).unwrap();
    let requests = connection.requests();
    let call = call(requests, plan.origin, path, request, 1_000);
    let mut messages = call.await.unwrap();
    assert!(messages.message().await.unwrap().is_some());

    let refused = async |dial: Dial| match connect(&dial, None).await.unwrap_err() {
        DialError::Passing(reason) => reason,
        DialError::Lasting(reason) => panic!("{reason}"),
    };
    for ca in [Some(&their_file), None] {
        let reason = refused(dial(&by_name, ca)).await;
        assert!(reason.contains("not signed by"), "{reason}");
        assert!(reason.contains("ca_file"), "{reason}");
        assert!(reason.contains(&format!("localhost:{port}")), "{reason}");
    }
    let by_address = format!("https://127.0.0.1:{port}");
    let reason = refused(dial(&by_address, Some(&our_file))).await;
    assert!(reason.contains("another name"), "{reason}");
}

#[tokio::test]
async fn a_ca_file_that_cannot_be_used_has_to_be_changed() {
    let endpoint = "https://localhost:1";
    let mut absent = dial(endpoint, None);
    absent.ca_file = Some("/nonexistent/ca.pem".to_owned());
    let empty = file("nothing of that sort");
    let broken = file("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    for plan in [
        absent,
        dial(endpoint, Some(&empty)),
        dial(endpoint, Some(&broken)),
    ] {
        let error = connect(&plan, None).await.unwrap_err();
        assert!(
            matches!(&error, DialError::Lasting(r) if r.contains("ca_file")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn nobody_there_may_pass() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = connect(&dial(&endpoint, None), None).await.unwrap_err();
    let DialError::Passing(reason) = error else {
        panic!("{error}");
    };
    assert!(reason.contains("refused"), "{reason}");
}

#[test]
fn ppoppo_full_grpc_path() {
    for (endpoint, path) in [
        ("https://api.ppoppo.com/ext", format!("/ext{METHOD}")),
        (
            "https://api.sandbox.ppoppo.com/ext/",
            format!("/ext{METHOD}"),
        ),
        ("http://localhost:3203", METHOD.to_owned()),
    ] {
        let (found, _) = request(&dial(endpoint, None), METHOD, "t", Bytes::new()).unwrap();
        assert_eq!(found, path.as_str());
    }
}

#[test]
fn ppoppo_auth() {
    let plan = dial("http://localhost:3203", None);
    let (_, request) = request(&plan, METHOD, "ey.J0.x", Bytes::new()).unwrap();
    let sent = request.metadata().get("authorization").unwrap();
    assert_eq!(sent, "Bearer ey.J0.x");
    assert!(sent.is_sensitive(), "it is in no debug output");
}

#[test]
fn the_systems_roots_are_read_on_another_thread() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    // One that is not free at first, so that they cannot be there before they are asked for.
    let runtime = runtime.max_blocking_threads(1).build().unwrap();
    let (free, taken) = std::sync::mpsc::channel::<()>();
    runtime.block_on(async {
        tokio::task::spawn_blocking(move || taken.recv());
        let mut reading = std::pin::pin!(tls(None));
        let at_once = reading.as_mut().now_or_never();
        assert!(at_once.is_none(), "it held up this thread");
        drop(free);
        assert!(reading.await.is_ok());
    });
}
