//! The verification of Postgres' certificate, as libpq verifies it.
//!
//! Two kinds of certificates are common for Postgres, because its manual makes them, and
//! rustls refuses them: a certificate that is its own authority, which is in the file of the
//! authorities itself, and one whose host is only in its common name.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_cert::{
    Certificate,
    der::{Decode, oid::ObjectIdentifier},
    ext::pkix::{SubjectAltName, name::GeneralName},
};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Verifies the chain, and the name of the host where it is asked to.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) chain: Arc<WebPkiServerVerifier>,
    /// The authorities in the file, one of which may be the server's own certificate.
    pub(super) trusted: Vec<CertificateDer<'static>>,
    pub(super) names: bool,
}

impl Verifier {
    fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.trusted.iter().any(|trusted| trusted == certificate) {
            in_time(certificate, now)?;
            return verify_server_name(&ParsedCertificate::try_from(certificate)?, host);
        }
        let chain = &self.chain;
        let verified = chain.verify_server_cert(certificate, intermediates, host, ocsp, now);
        verified.map(drop)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        use CertificateError::{NotValidForName, NotValidForNameContext};
        match self.verify(certificate, intermediates, host, ocsp, now) {
            Ok(()) => {}
            // The name is looked at last.
            Err(Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. }))
                if !self.names || is_commonly_named(certificate, host) => {}
            Err(error) => return Err(error),
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

fn parsed(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    let parsed = Certificate::from_der(certificate);
    parsed.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))
}

fn in_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let validity = parsed(certificate)?.tbs_certificate.validity;
    let now = now.as_secs();
    if now < validity.not_before.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.to_unix_duration().as_secs() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// Whether the certificate is for the host by its common name, which counts only if the
/// certificate has no alternative name of the host's kind.
fn is_commonly_named(certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> bool {
    let Ok(certificate) = parsed(certificate) else {
        return false;
    };
    let certificate = certificate.tbs_certificate;
    let (host, is_address) = match host {
        ServerName::DnsName(name) => (name.as_ref().to_owned(), false),
        ServerName::IpAddress(address) => (std::net::IpAddr::from(*address).to_string(), true),
        _ => return false,
    };
    match certificate.get::<SubjectAltName>() {
        Err(_) => return false,
        Ok(Some((_, names))) => {
            let of_kind = |name: &GeneralName| match name {
                GeneralName::DnsName(_) => !is_address,
                GeneralName::IpAddress(_) => is_address,
                _ => false,
            };
            if names.0.iter().any(of_kind) {
                return false;
            }
        }
        Ok(None) => {}
    }
    let attributes = certificate.subject.0.iter().flat_map(|set| set.0.iter());
    let mut names = attributes.filter(|attribute| attribute.oid == COMMON_NAME);
    let name = names
        .next()
        .and_then(|name| std::str::from_utf8(name.value.value()).ok());
    name.is_some_and(|name| matches(name, &host))
}

/// Whether a name in a certificate, such as `*.example.com`, is the host's.
fn matches(name: &str, host: &str) -> bool {
    if name.eq_ignore_ascii_case(host) {
        return true;
    }
    let Some(suffix) = name.strip_prefix('*').filter(|suffix| suffix.len() > 2) else {
        return false;
    };
    let label = host.len().checked_sub(suffix.len());
    let split = label.and_then(|at| host.split_at_checked(at));
    suffix.starts_with('.')
        && split.is_some_and(|(label, rest)| {
            !label.is_empty() && !label.contains('.') && rest.eq_ignore_ascii_case(suffix)
        })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        for (name, host, is_it) in [
            ("db.example.com", "DB.example.com", true),
            ("*.example.com", "db.example.com", true),
            ("*.example.com", "a.db.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*example.com", "dbexample.com", false),
            ("*", "db", false),
            ("*.c", "a.c", false),
            ("d*.example.com", "db.example.com", false),
        ] {
            assert_eq!(matches(name, host), is_it, "{name} {host}");
        }
    }

    #[test]
    fn a_common_name_counts_only_where_no_other_name_of_its_kind_is() {
        let named = |common: &str, others: &[&str]| {
            let others = others
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>();
            let mut params = CertificateParams::new(others).unwrap();
            params.distinguished_name.push(DnType::CommonName, common);
            let key = KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().der().clone()
        };
        let is_named = |certificate: &CertificateDer<'_>, host: &str| {
            is_commonly_named(certificate, &ServerName::try_from(host).unwrap())
        };
        let plain = named("db.example.com", &[]);
        assert!(is_named(&plain, "db.example.com"));
        assert!(!is_named(&plain, "other.example.com"));
        let other = named("db.example.com", &["other.example.com"]);
        assert!(!is_named(&other, "db.example.com"));
        // An address beside it is of another kind.
        let address = named("db.example.com", &["192.0.2.1"]);
        assert!(is_named(&address, "db.example.com"));
        let address = named("192.0.2.1", &["192.0.2.2"]);
        assert!(!is_named(&address, "192.0.2.1"));
    }
}
