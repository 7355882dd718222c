use std::{fs, path::Path, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;
use crate::{
    inbound::grpc::accept::{Reception, handshakes},
    process::reload::Reload,
};

/// An authority, and a folder with a certificate that it signed.
struct Issued {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

impl Issued {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issued = Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            folder: TempDir::new().unwrap(),
        };
        let (cert, key) = issued.pair("one");
        issued.write(&cert, &key);
        issued
    }

    /// A certificate that says its name, and its key.
    fn pair(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    fn write(&self, cert: &str, key: &str) {
        fs::write(self.folder.path().join("cert.pem"), cert).unwrap();
        fs::write(self.folder.path().join("key.pem"), key).unwrap();
    }

    fn args(&self) -> TlsArgs {
        TlsArgs {
            tls_cert: Some(self.folder.path().join("cert.pem")),
            tls_key: Some(self.folder.path().join("key.pem")),
        }
    }

    fn load(&self) -> Result<ServerTls, PairError> {
        ServerTls::load(&self.args()).map(Option::unwrap)
    }

    fn client(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }
}

/// Answers each connection with what it was sent, and ends when it is dropped.
async fn echo(tls: &ServerTls) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = tls.config(Entrance::Grpc).unwrap();
    tokio::spawn(async move {
        use futures_util::StreamExt;
        let reception = Reception::new(64, Duration::from_secs(5), Duration::from_secs(60));
        let mut incoming = Box::pin(handshakes(listener, config, reception));
        while let Some(Ok(mut connection)) = incoming.next().await {
            tokio::spawn(async move {
                let mut byte = [0];
                connection.read_exact(&mut byte).await.unwrap();
                connection.write_all(&byte).await.unwrap();
            });
        }
    });
    address
}

async fn connect(client: &TlsConnector, at: std::net::SocketAddr) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let tcp = TcpStream::connect(at).await.unwrap();
    let mut connection = client.connect(name, tcp).await.unwrap();
    connection.write_all(b"x").await.unwrap();
    let mut byte = [0];
    connection.read_exact(&mut byte).await.unwrap();
    connection
}

fn presented(connection: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    connection.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[test]
fn without_both_settings_there_is_no_tls() {
    assert!(ServerTls::load(&TlsArgs::default()).unwrap().is_none());
}

#[test]
fn what_is_wrong_with_a_pair_is_said() {
    let issued = Issued::new();
    let (cert, key) = issued.pair("one");
    let (_, other) = issued.pair("two");
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let strange = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let large = "x".repeat(2 << 20);
    for (cert, key, words) in [
        ("", key.as_str(), "cert.pem holds no certificate"),
        (&key, &key, "cert.pem holds no certificate"),
        (garbled, &key, "the certificate in"),
        (&cert, "", "key.pem holds no private key"),
        (&cert, &cert, "key.pem holds no private key"),
        (&cert, encrypted, "without a passphrase"),
        (&cert, strange, "key.pem is of a kind that cannot be used"),
        (&cert, &other, "does not fit the first certificate"),
        (&large, &key, "bytes"),
    ] {
        issued.write(cert, key);
        let error = issued.load().unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
        assert!(!error.contains("BEGIN PRIVATE"), "{error}");
    }
    issued.write(&cert, &key);
    remove(&issued.folder.path().join("key.pem"));
    let error = issued.load().unwrap_err().to_string();
    assert!(
        error.contains("cannot read") && error.contains("key.pem"),
        "{error}"
    );
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let issued = Issued::new();
    let tls = issued.load().unwrap();
    let at = echo(&tls).await;
    for version in [&TLS12, &TLS13] {
        let connection = connect(&issued.client(&[version]), at).await;
        let spoken = connection.get_ref().1.protocol_version();
        assert_eq!(spoken, Some(version.version));
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_holds_nobody_up_and_is_cut() {
    let issued = Issued::new();
    let tls = issued.load().unwrap();
    let at = echo(&tls).await;
    let client = issued.client(&[&TLS13]);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(at).await.unwrap());
    }
    let other = timeout(HANDSHAKE_TIMEOUT * 4, connect(&client, at)).await;
    drop(other.expect("it was held up"));
    // One who speaks something else, too.
    let mut plain = TcpStream::connect(at).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    connect(&client, at).await;
    // Cut after HANDSHAKE_TIMEOUT; without it this read would not end.
    for mut silent in silent {
        let read = timeout(HANDSHAKE_TIMEOUT * 4, silent.read(&mut [0])).await;
        assert!(matches!(read.expect("it was not cut"), Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_renewed_pair_is_served_and_a_bad_one_is_not() {
    let issued = Issued::new();
    let mut tls = issued.load().unwrap();
    let at = echo(&tls).await;
    let client = issued.client(&[&TLS13]);
    let first = presented(&connect(&client, at).await);

    let (cert, key) = issued.pair("two");
    issued.write(&cert, "");
    tls.look(Contents::read(&tls.files));
    assert_eq!(presented(&connect(&client, at).await), first);

    issued.write(&cert, &key);
    tls.look(Contents::read(&tls.files));
    // A client that resumes its session is not shown a certificate.
    let client = issued.client(&[&TLS13]);
    assert_ne!(presented(&connect(&client, at).await), first);
}

#[test]
fn a_bad_pair_is_complained_about_once_and_not_while_it_is_written() {
    let issued = Issued::new();
    let tls = issued.load().unwrap();
    let files = tls.files.clone();
    let mut watch = tls.watch;
    let mut look = || watch.look(Contents::read(&files), &files);
    let (first, first_key) = (
        fs::read_to_string(&files.cert).unwrap(),
        fs::read_to_string(&files.key).unwrap(),
    );
    let (cert, key) = issued.pair("two");

    assert!(matches!(look(), Look::Same));
    issued.write(&cert, &first_key);
    assert!(matches!(look(), Look::Same), "it may be half written");
    issued.write(&cert, &key);
    assert!(matches!(look(), Look::New(_)));
    assert!(matches!(look(), Look::Same));

    issued.write(&cert, &first_key);
    let said: Vec<_> = (0..4).map(|_| matches!(look(), Look::Bad(_))).collect();
    assert_eq!(said, [false, true, false, false]);
    // Another fault is said again, also that the file is gone.
    remove(&files.cert);
    let said: Vec<_> = (0..3).map(|_| matches!(look(), Look::Bad(_))).collect();
    assert_eq!(said, [false, true, false]);
    issued.write(&first, &first_key);
    assert!(matches!(look(), Look::New(_)));
}

#[tokio::test(start_paused = true)]
async fn a_renewed_pair_is_loaded_as_soon_as_somebody_asks() {
    let issued = Issued::new();
    let tls = issued.load().unwrap();
    let served = tls.served.clone();
    let reload = Reload::default();
    let started = tokio::time::Instant::now();
    let following = tokio::spawn(tls.follow(reload.subscribe()));
    // The first one may be loaded by the first look, the second one only on request, because
    // the clock stands still while this task never waits.
    for name in ["two", "three"] {
        let before = served.now();
        let (cert, key) = issued.pair(name);
        issued.write(&cert, &key);
        let real = std::time::Instant::now();
        while Arc::ptr_eq(&served.now(), &before) {
            assert!(real.elapsed() < Duration::from_secs(10), "{name}");
            reload.ask();
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    following.abort();
}

fn remove(file: &Path) {
    fs::remove_file(file).unwrap();
}

#[test]
fn the_documents_state_the_times_of_tls() {
    use crate::testing::documents::{MANUAL, states};

    let (look, handshake) = (LOOK_EVERY.as_secs(), HANDSHAKE_TIMEOUT.as_secs());
    states(MANUAL, &format!("The files are checked every {look} s"));
    states(
        "docs/security.md",
        &format!("A TLS handshake may take {handshake} s"),
    );
}
