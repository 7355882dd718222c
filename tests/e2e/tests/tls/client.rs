//! Clients that trust one authority and call whoever they reach localhost.

use super::authority::Authority;
use anyhow::{Context as _, Result};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use tidings_e2e::DEADLINE;
use tidings_harness::http::{Answer, exchange};

/// An answer, and what was agreed on before it.
pub(super) struct Spoken {
    pub(super) answer: Answer,
    pub(super) version: String,
    pub(super) alpn: Option<String>,
}

/// One request by a client that would rather speak HTTP/2.
pub(super) fn http(
    at: SocketAddr,
    authority: &Authority,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<Spoken> {
    let mut stream = connect(at, authority, &["h2", "http/1.1"])?;
    let headers = [("content-type", "application/json")];
    let answer = exchange(&mut stream, method, path, &headers, body)?;
    Ok(Spoken {
        answer,
        version: format!("{:?}", stream.conn.protocol_version()),
        alpn: alpn(&stream),
    })
}

/// What a client that speaks nothing but HTTP/2 agrees on.
pub(super) fn h2(at: SocketAddr, authority: &Authority) -> Result<Option<String>> {
    Ok(alpn(&connect(at, authority, &["h2"])?))
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn alpn(stream: &Stream) -> Option<String> {
    let protocol = stream.conn.alpn_protocol()?;
    Some(String::from_utf8_lossy(protocol).into_owned())
}

fn connect(at: SocketAddr, authority: &Authority, protocols: &[&str]) -> Result<Stream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority.der().to_vec()))?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let tcp = TcpStream::connect_timeout(&at, DEADLINE)?;
    tcp.set_read_timeout(Some(DEADLINE))?;
    tcp.set_write_timeout(Some(DEADLINE))?;
    let mut stream = StreamOwned::new(connection, tcp);
    while stream.conn.is_handshaking() {
        let shaken = stream.conn.complete_io(&mut stream.sock);
        shaken.context("no TLS handshake")?;
    }
    Ok(stream)
}
