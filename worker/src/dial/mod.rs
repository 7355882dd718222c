//! Dialing an endpoint: connection, TLS, and the call itself.
//!
//! A peer that has vanished is detected by TCP keepalive if its host or the network path
//! is gone, and by HTTP/2 pings if a middlebox still answers for it.

pub(crate) mod connection;
pub(crate) mod oauth;
pub(crate) mod options;
pub(crate) mod status;
pub(crate) mod token;

use std::{error::Error, io, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Uri, uri::PathAndQuery};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
};
use tower::{Service, ServiceExt};

use self::{
    connection::{Connection, Requests},
    options::Dial,
};
use crate::wire::codec::Raw;

pub(crate) const USER_AGENT: &str = concat!("tidings-worker/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DialError {
    /// A transient failure.
    #[error("{0}")]
    Passing(String),
    /// A failure that lasts until somebody changes something.
    #[error("{0}")]
    Lasting(String),
}

/// Opens a connection: TCP, TLS if the endpoint is `https`, and HTTP/2. It is pinged
/// every `keepalive` if that is set.
pub(crate) async fn connect(
    dial: &Dial,
    keepalive: Option<Duration>,
) -> Result<Connection, DialError> {
    let tls = if dial.is_tls() {
        let tls = tls(dial.ca_file.as_deref()).await;
        Some(tls.map_err(DialError::Lasting)?)
    } else {
        None
    };
    let authority = dial.origin.authority().map(|a| a.as_str());
    let place = authority.unwrap_or_default();
    let failed =
        |reason: String| DialError::Passing(format!("cannot connect to {place}: {reason}"));
    let opening = async {
        let stream = tcp(&dial.origin).await?;
        let connection = match tls {
            Some(tls) => {
                let name = server_name(&dial.origin)?;
                let stream = tls.connect(name, stream).await.map_err(|error| {
                    let hint = certificate_hint(&error).unwrap_or_default();
                    format!("{}{hint}", chain(&error))
                })?;
                Connection::open(stream, keepalive).await
            }
            None => Connection::open(stream, keepalive).await,
        };
        connection.map_err(|error| chain(&error))
    };
    match tokio::time::timeout(CONNECT_TIMEOUT * 2, opening).await {
        Ok(connection) => connection.map_err(failed),
        Err(_) => Err(failed("it does not complete the connection".to_owned())),
    }
}

/// Connects to the first address of the host that answers.
async fn tcp(origin: &Uri) -> Result<TcpStream, String> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_keepalive(Some(TCP_KEEPALIVE));
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connected = async { connector.ready().await?.call(origin.clone()).await };
    match connected.await {
        Ok(stream) => Ok(stream.into_inner()),
        Err(error) => Err(chain(&error)),
    }
}

fn server_name(origin: &Uri) -> Result<ServerName<'static>, String> {
    let host = origin.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned()).map_err(|_| format!("{host:?} is not a host's name"))
}

async fn tls(ca_file: Option<&str>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let pem = certificates(Path::new(path)).await?;
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        }
        None => {
            // Some unreadable root certificates of a system are common and harmless.
            let read = || rustls_native_certs::load_native_certs().certs;
            // These are some hundred files, which must not block the thread that all
            // streams share.
            let found = tokio::task::spawn_blocking(read).await;
            roots.add_parsable_certificates(found.unwrap_or_default());
        }
    }
    if roots.is_empty() {
        return Err(
            "no root certificates found: install the system's, or set the option ca_file"
                .to_owned(),
        );
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| chain(&error))?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The content of a file of certificates, if the file contains any.
pub(crate) async fn certificates(path: &Path) -> Result<Vec<u8>, String> {
    let unusable = |e: &dyn std::fmt::Display| format!("its ca_file {path:?} cannot be used: {e}");
    let pem = tokio::fs::read(path).await.map_err(|e| unusable(&e))?;
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate.map_err(|e| unusable(&e))?;
        found += 1;
    }
    if found == 0 {
        return Err(unusable(&"it holds no certificate in PEM form"));
    }
    Ok(pem)
}

/// Advice about a certificate that is not accepted.
pub(crate) fn certificate_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let error = find_tls_error(error)?;
    let rustls::Error::InvalidCertificate(reason) = error else {
        return None;
    };
    Some(match reason {
        // A bad signature is reported if two authorities have the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "; its certificate is not signed by the system's roots, or by the option ca_file if there is one: set that to the file of the authority that signs it"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "; its certificate is for another name: use that name in the URL"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "; its certificate has expired: see the clock of this host, or tell the provider"
        }
        _ => return None,
    })
}

fn find_tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    // An I/O error does not return the error that it wraps as its source.
    let wrapped = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    let next: Option<&(dyn Error + 'static)> = match wrapped {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    };
    find_tls_error(next?)
}

/// The request, with the method's path after the endpoint's own path.
pub(crate) fn request(
    dial: &Dial,
    method: &str,
    token: &str,
    message: Bytes,
) -> Result<(PathAndQuery, Request<Bytes>), String> {
    let path = PathAndQuery::try_from(format!("{}{method}", dial.prefix))
        .map_err(|_| "the endpoint's path and the method make no path".to_owned())?;
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| "the token cannot be sent in a header".to_owned())?;
    bearer.set_sensitive(true);
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("authorization", bearer);
    metadata.insert("user-agent", MetadataValue::from_static(USER_AGENT));
    Ok((path, request))
}

/// Starts a server-streaming call, and returns when the server has accepted it, which
/// some servers report only together with the first message.
pub(crate) async fn call(
    requests: Requests,
    origin: Uri,
    path: PathAndQuery,
    request: Request<Bytes>,
    largest_message: usize,
) -> Result<Streaming<Bytes>, Status> {
    let mut client = Grpc::with_origin(requests, origin).max_decoding_message_size(largest_message);
    client.ready().await.map_err(Status::from_error)?;
    let response = client.server_streaming(request, path, Raw).await?;
    Ok(response.into_inner())
}

/// Makes a call that has one response, and returns the response.
pub(crate) async fn ask(
    requests: Requests,
    origin: Uri,
    path: PathAndQuery,
    request: Request<Bytes>,
    largest_message: usize,
) -> Result<Bytes, Status> {
    let mut client = Grpc::with_origin(requests, origin).max_decoding_message_size(largest_message);
    client.ready().await.map_err(Status::from_error)?;
    let response = client.unary(request, path, Raw).await?;
    Ok(response.into_inner())
}

/// An error with all its causes, which libraries leave out of their own text.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests;
