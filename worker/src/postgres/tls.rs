//! TLS towards Postgres, by libpq's rules ([`TlsMode`]).
//!
//! A mode that verifies does so against the system's roots or a file of authorities
//! ([`super::verify`]). A mode that does not verify protects against eavesdropping alone.

use std::{io, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
        pem::PemObject,
    },
    version,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::verify::Verifier;
use crate::settings::{Pair, Roots, Tls, TlsMode, Version};

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read certificates from {0}: {1}")]
    File(String, String),
    #[error("the revoked certificates of sslcrl cannot be used: {0}")]
    Revoked(String),
    #[error("the private key {0} cannot be used: {1}")]
    Key(String, String),
    #[error(
        "no root certificates found: install the system's, or give sslrootcert or --database-ca"
    )]
    NoRoots,
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// Advice if a connection failed because of TLS.
pub(crate) fn advice(error: &tokio_postgres::Error) -> Option<String> {
    use CertificateError as Bad;
    use std::error::Error as _;
    let cause = error.source()?;
    let Some(refused) = rustls_error(cause) else {
        let missing = cause.to_string() == "server does not support TLS";
        return missing.then(|| {
            "Postgres does not offer TLS, which sslmode asks for: set ssl = on there, or ask for \
             less"
                .to_owned()
        });
    };
    let rustls::Error::InvalidCertificate(bad) = refused else {
        return Some(format!("TLS with Postgres failed: {refused}"));
    };
    Some(match bad {
        Bad::UnknownIssuer => "Postgres' certificate is signed by no authority that is trusted: \
             give the one that signed it by sslrootcert or --database-ca"
            .to_owned(),
        Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
            format!("Postgres' certificate is not for the host in DATABASE_URL: {bad}")
        }
        Bad::Expired | Bad::ExpiredContext { .. } => {
            format!("Postgres' certificate must be renewed: {bad}")
        }
        bad => format!("Postgres' certificate is refused: {bad}"),
    })
}

/// The error of rustls that is the root cause of another error.
fn rustls_error<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error does not return the error that it wraps as its source, but the
        // source of that error.
        error = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(inner) => inner,
            None => error.source()?,
        };
    }
}

/// Makes the connector for these settings, whose files are read now.
pub(crate) fn connector(settings: &Tls) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let versions: Vec<_> = [
        (Version::Tls12, &version::TLS12),
        (Version::Tls13, &version::TLS13),
    ]
    .into_iter()
    .filter(|(version, _)| (settings.least..=settings.greatest).contains(version))
    .map(|(_, version)| version)
    .collect();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)?
        .dangerous();
    let builder = match roots(&settings.roots)? {
        None => builder.with_custom_certificate_verifier(Arc::new(Opportunistic(provider))),
        Some((roots, trusted)) => {
            let chain = WebPkiServerVerifier::builder_with_provider(roots, provider)
                .with_crls(revoked(settings.revoked.as_deref())?)
                .build()
                .map_err(|error| TlsError::Revoked(error.to_string()))?;
            builder.with_custom_certificate_verifier(Arc::new(Verifier {
                chain,
                trusted,
                names: settings.mode == TlsMode::VerifyFull,
            }))
        }
    };
    let mut config = match &settings.pair {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let (chain, key) = own(pair)?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.enable_sni = settings.sni;
    if settings.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

fn unreadable(path: &Path, error: impl ToString) -> TlsError {
    TlsError::File(path.display().to_string(), error.to_string())
}

/// The roots, and the certificates in a file of them; `None` if nothing is verified.
type Trusted = Option<(Arc<RootCertStore>, Vec<CertificateDer<'static>>)>;

fn roots(roots: &Roots) -> Result<Trusted, TlsError> {
    let mut store = RootCertStore::empty();
    let mut trusted = Vec::new();
    match roots {
        Roots::None => return Ok(None),
        Roots::File(path) => {
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|e| unreadable(path, e))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|e| unreadable(path, e))?;
                store.add(certificate.clone())?;
                trusted.push(certificate);
            }
            if store.is_empty() {
                return Err(unreadable(path, "it holds no certificate"));
            }
        }
        Roots::System => {
            // Some unreadable root certificates of a system are common and harmless.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if store.is_empty() {
                return Err(TlsError::NoRoots);
            }
        }
    }
    Ok(Some((Arc::new(store), trusted)))
}

fn revoked(path: Option<&Path>) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let lists = CertificateRevocationListDer::pem_file_iter(path);
    let lists = lists.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let lists = lists.map_err(|error| TlsError::Revoked(format!("{}: {error}", path.display())))?;
    if lists.is_empty() {
        let reason = format!("{} holds no revocation list", path.display());
        return Err(TlsError::Revoked(reason));
    }
    Ok(lists)
}

/// The certificate and key of the worker's role.
fn own(pair: &Pair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = CertificateDer::pem_file_iter(&pair.cert);
    let chain = chain.and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| unreadable(&pair.cert, error))?;
    if chain.is_empty() {
        return Err(unreadable(&pair.cert, "it holds no certificate"));
    }
    let key = |reason: &str| TlsError::Key(pair.key.display().to_string(), reason.to_owned());
    let file = std::fs::metadata(&pair.key).map_err(|error| key(&error.to_string()))?;
    // As libpq has it: a key of root's may be read by the group.
    let forbidden = if file.uid() == 0 { 0o037 } else { 0o077 };
    if !file.is_file() || file.mode() & forbidden != 0 {
        return Err(key(
            "others than its owner have rights on it; take them away by chmod 600",
        ));
    }
    // The cause is left out, because it would quote the key.
    let private = PrivateKeyDer::from_pem_file(&pair.key);
    let private = private.map_err(|_| {
        key("it holds no private key that can be read: write it in PEM, without a passphrase")
    })?;
    Ok((chain, private))
}

/// Accepts any certificate, which protects against eavesdropping but not against an
/// active attacker. It is used only where no certificate authority is known, and `sslmode`
/// does not ask for one.
#[derive(Debug)]
struct Opportunistic(Arc<CryptoProvider>);

impl ServerCertVerifier for Opportunistic {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
