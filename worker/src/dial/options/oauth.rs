//! Where tokens are fetched, and as whom, as the options of a source say.
//!
//! | option | |
//! |---|---|
//! | `client_id` | the client; its secret is the credential of the source |
//! | `issuer` | the authorization server, whose document says where its token endpoint is (OpenID Connect Discovery 1.0, section 4; RFC 8414) |
//! | `token_url` | the token endpoint itself, instead of `issuer` |
//! | `resource` | the API for which tokens are fetched (RFC 8707) |
//! | `scope` | the scope with which tokens are fetched; without it none is sent |
//!
//! The secret is sent over `https`, or to a loopback host, or over `http` where the
//! endpoint of the stream is `http` too: there the token that the secret buys is sent
//! unencrypted anyway. Everywhere else it would give a lasting secret to whoever listens.
//! The same holds for the document of an issuer, because whoever forges it receives the
//! secret.

use http::{Uri, uri::Scheme};
use tidings_core::provider::Grant;

use super::Options;

/// Path of an issuer's document.
const DOCUMENT: &str = "/.well-known/openid-configuration";

/// Where tokens are fetched, and as whom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OAuth {
    pub(crate) server: Server,
    pub(crate) client_id: String,
    /// The API for which tokens are fetched.
    pub(crate) resource: Option<String>,
    pub(crate) scope: Option<String>,
    /// The scope without which a token is of no use.
    pub(crate) needed: Option<&'static str>,
    /// Whether the client's id and secret are sent in the form first, rather than in a
    /// header.
    pub(crate) in_form: bool,
    /// Whether the secret may be sent unencrypted to any host.
    pub(crate) is_open: bool,
}

/// The server that issues tokens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Server {
    /// Known by its token endpoint.
    Endpoint(Uri),
    /// Known by its name, which leads to a document.
    Issuer { name: String, document: Uri },
}

impl Server {
    /// The option that names it.
    pub(crate) fn option(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => "token_url",
            Self::Issuer { .. } => "issuer",
        }
    }

    /// Its host, for people.
    pub(crate) fn host(&self) -> &str {
        let (Self::Endpoint(url) | Self::Issuer { document: url, .. }) = self;
        url.authority().map(|a| a.as_str()).unwrap_or_default()
    }
}

impl OAuth {
    /// `None` if the source has no client: then its credential is the token itself.
    pub(super) fn new(
        options: &Options<'_>,
        grant: &Grant,
        endpoint: &str,
        origin: &Uri,
    ) -> Result<Option<Self>, String> {
        let text = |name: &str| Ok::<_, String>(options.text(name)?.filter(|s| !s.is_empty()));
        let (issuer, token_url) = (options.text("issuer")?, options.text("token_url")?);
        let client_id = text("client_id")?;
        let server = match (issuer, token_url) {
            (Some(_), Some(_)) => {
                return Err(
                    "its options issuer and token_url exclude each other: leave out one of them"
                        .to_owned(),
                );
            }
            (None, None) if client_id.is_none() => return Ok(None),
            (None, Some(url)) => Server::Endpoint(
                parsed(&url)
                    .ok_or("its token_url is not an http or https URL without user and password")?,
            ),
            (issuer, None) => {
                let name = issuer.or_else(|| grant.issuer.map(str::to_owned));
                let name = name.ok_or("its option client_id needs issuer or token_url")?;
                let document = document(&name).ok_or(
                    "its issuer is not an http or https URL without user, password and query",
                )?;
                Server::Issuer { name, document }
            }
        };
        let client_id =
            client_id.ok_or_else(|| format!("its option {} needs client_id", server.option()))?;
        let asked = || grant.resource.then(|| endpoint.to_owned());
        let oauth = Self {
            client_id,
            // Byte for byte, because servers compare it so.
            resource: text("resource")?.or_else(asked),
            scope: text("scope")?,
            needed: grant.scope,
            in_form: grant.in_form,
            is_open: origin.scheme() == Some(&Scheme::HTTP),
            server,
        };
        let (Server::Endpoint(url) | Server::Issuer { document: url, .. }) = &oauth.server;
        if !oauth.admits(url) {
            return Err(format!(
                "its {} is http: the client's secret would travel unencrypted; use https",
                oauth.server.option()
            ));
        }
        Ok(Some(oauth))
    }

    /// The URL of a token endpoint, if the secret may be sent there.
    pub(crate) fn endpoint(&self, url: &str) -> Option<Uri> {
        parsed(url).filter(|url| self.admits(url))
    }

    /// Whether nobody on the way can read what is sent there, or whether that is accepted.
    fn admits(&self, url: &Uri) -> bool {
        url.scheme() != Some(&Scheme::HTTP) || self.is_open || is_loopback(url.host())
    }
}

/// An http or https URL without user and password.
fn parsed(url: &str) -> Option<Uri> {
    let url = url.parse::<Uri>().ok()?;
    let fits = matches!(url.scheme_str(), Some("http" | "https"))
        && !url.authority()?.as_str().contains('@');
    fits.then_some(url)
}

/// Where an issuer's document is.
fn document(issuer: &str) -> Option<Uri> {
    if issuer.contains(['?', '#']) {
        return None;
    }
    let base = issuer.strip_suffix('/').unwrap_or(issuer);
    parsed(base)?;
    parsed(&format!("{base}{DOCUMENT}"))
}

fn is_loopback(host: Option<&str>) -> bool {
    let host = host.unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}
