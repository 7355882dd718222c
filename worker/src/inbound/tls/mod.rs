//! TLS of the listeners: one certificate for all ports, TLS 1.2 and 1.3.
//!
//! The files are read again every [`LOOK_EVERY`] and on SIGHUP, and their contents are compared. That
//! needs no file system notifications, and detects a changed symbolic link (as in
//! Kubernetes) as well as a rewritten file. If the new pair does not match, the previous
//! one stays in use.
//!
//! Webhooks are served over HTTP/1.1 only, because actix-web limits the requests of such
//! a connection, but not the streams of an HTTP/2 connection.

mod pair;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use metrics::{counter, gauge};
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};
use x509_cert::{Certificate, der::Decode};

use self::pair::{Contents, Files, Look, PairError, Watch};
use crate::{
    process::{metric, reload::Reloads},
    settings::TlsArgs,
};

/// Time limit for a handshake.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files are read.
const LOOK_EVERY: Duration = Duration::from_secs(2);

const RENEWED: &str = "ok";
const REFUSED: &str = "refused";
/// Results of a change of the files, in the words of the metric.
pub(crate) const RESULTS: [&str; 2] = [RENEWED, REFUSED];

/// The protocol inside TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entrance {
    Http,
    Grpc,
}

/// The current certificate.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl Served {
    fn now(&self) -> Arc<CertifiedKey> {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&served)
    }

    fn replace(&self, key: CertifiedKey) {
        show_expiry(&key);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now())
    }
}

/// The certificate of all ports, and the watch over its files.
#[derive(Debug)]
pub(crate) struct ServerTls {
    files: Files,
    watch: Watch,
    served: Arc<Served>,
}

impl ServerTls {
    /// Loads the pair that the settings name, if they name one.
    pub(crate) fn load(args: &TlsArgs) -> Result<Option<Self>, PairError> {
        let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else {
            return Ok(None);
        };
        let files = Files {
            cert: cert.clone(),
            key: key.clone(),
        };
        let contents = Contents::read(&files)?;
        let key = contents.pair(&files)?;
        show_expiry(&key);
        Ok(Some(Self {
            files,
            watch: Watch::new(contents),
            served: Arc::new(Served(RwLock::new(Arc::new(key)))),
        }))
    }

    pub(crate) fn config(&self, entrance: Entrance) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.served.clone());
        config.alpn_protocols = match entrance {
            Entrance::Http => vec![b"http/1.1".to_vec()],
            Entrance::Grpc => vec![b"h2".to_vec()],
        };
        Ok(config)
    }

    /// Loads every change of the files, for ever: regularly, and when it is asked to.
    pub(crate) async fn follow(mut self, mut reloads: Reloads) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = reloads.next() => {}
            }
            let files = self.files.clone();
            let Ok(found) = tokio::task::spawn_blocking(move || Contents::read(&files)).await
            else {
                continue;
            };
            self.look(found);
        }
    }

    fn look(&mut self, found: Result<Contents, PairError>) {
        match self.watch.look(found, &self.files) {
            Look::Same => {}
            Look::New(key) => {
                // The reload is counted before it becomes visible.
                counter!(metric::CERTIFICATE_RELOADS, "result" => RENEWED).increment(1);
                self.served.replace(key);
                info!("the TLS certificate was renewed");
            }
            Look::Bad(error) => {
                counter!(metric::CERTIFICATE_RELOADS, "result" => REFUSED).increment(1);
                warn!(%error, "the changed TLS certificate cannot be used: the previous one stays in use");
            }
        }
    }
}

/// Sets the gauge of when the certificate expires.
fn show_expiry(key: &CertifiedKey) {
    if let Some(at) = key.cert.first().and_then(|cert| expiry(cert)) {
        gauge!(metric::CERTIFICATE_EXPIRES).set(at.as_secs_f64());
    }
}

/// The time at which a certificate expires, since 1970.
fn expiry(cert: &[u8]) -> Option<Duration> {
    let cert = Certificate::from_der(cert).ok()?;
    Some(cert.tbs_certificate.validity.not_after.to_unix_duration())
}

#[cfg(test)]
mod tests;
