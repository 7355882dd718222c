//! TLS towards those who call: one certificate for both entrances, TLS 1.2 and 1.3.
//!
//! The files are read again every [`LOOK_EVERY`], and what they hold is compared:
//! that needs no notice of the file system, and sees a link that was turned (as
//! Kubernetes does) as well as a file that was rewritten. A pair that does not fit
//! leaves the one before it in place.
//!
//! Webhooks are offered HTTP/1.1 alone: actix-web bounds the requests of a connection
//! there, but not the streams of an HTTP/2 connection.

mod pair;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use metrics::counter;
use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use self::pair::{Contents, Files, Look, PairError, Watch};
use crate::{process::metric, settings::TlsArgs};

/// So long may a handshake take.
pub(crate) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files are read.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the entrances speak inside TLS.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entrance {
    Http,
    Grpc,
}

/// The certificate as it is now.
#[derive(Debug)]
struct Served(RwLock<Arc<CertifiedKey>>);

impl Served {
    fn replace(&self, key: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
    }
}

impl ResolvesServerCert for Served {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let served = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Some(Arc::clone(&served))
    }
}

/// Both entrances' certificate, and the watch over its files.
#[derive(Debug)]
pub(crate) struct ServerTls {
    files: Files,
    watch: Watch,
    served: Arc<Served>,
}

impl ServerTls {
    /// The pair that the settings name, if they do.
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

    /// Takes over what the files are changed to, for ever.
    pub(crate) async fn follow(mut self) {
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
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
                // Counted before it can be seen.
                counter!(metric::CERTIFICATE_RELOADS, "result" => "ok").increment(1);
                self.served.replace(key);
                info!("the TLS certificate was renewed");
            }
            Look::Bad(error) => {
                counter!(metric::CERTIFICATE_RELOADS, "result" => "refused").increment(1);
                warn!(%error, "the changed TLS certificate cannot be used: the previous one stays in use");
            }
        }
    }
}

#[cfg(test)]
mod tests;
