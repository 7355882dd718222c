//! TLS towards Postgres.
//!
//! `sslmode=prefer` (the default of a URL) encrypts if the server offers TLS and does not
//! verify the certificate, as libpq does. `sslmode=require` verifies the certificate and
//! the name, against the system's roots or a file of your own.

use std::{io, path::Path, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read certificates from {0}: {1}")]
    File(String, String),
    #[error("no root certificates found: install the system's, or give --database-ca")]
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
            "Postgres does not offer TLS, which sslmode=require demands: \
             set ssl = on there, or ask for less"
                .to_owned()
        });
    };
    let rustls::Error::InvalidCertificate(bad) = refused else {
        return Some(format!("TLS with Postgres failed: {refused}"));
    };
    Some(match bad {
        Bad::UnknownIssuer => "Postgres' certificate is signed by no authority that is trusted: \
             give the one that signed it with --database-ca"
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

pub(crate) fn connector(mode: SslMode, ca: Option<&Path>) -> Result<MakeRustlsConnect, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let config = if mode == SslMode::Require || ca.is_some() {
        builder.with_root_certificates(roots(ca)?)
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Opportunistic(provider)))
    };
    Ok(MakeRustlsConnect::new(config.with_no_client_auth()))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(path) => {
            let unreadable =
                |e: &dyn ToString| TlsError::File(path.display().to_string(), e.to_string());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|e| unreadable(&e))?;
            for certificate in certificates {
                roots.add(certificate.map_err(|e| unreadable(&e))?)?;
            }
            if roots.is_empty() {
                return Err(unreadable(&io::Error::other("it holds no certificate")));
            }
        }
        None => {
            // Some unreadable root certificates of a system are common and harmless.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoRoots);
            }
        }
    }
    Ok(roots)
}

/// Accepts any certificate, which protects against eavesdropping but not against an
/// active attacker. It is used only if `sslmode` does not ask for more.
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
