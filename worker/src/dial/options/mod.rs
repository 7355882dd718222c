//! How a source is dialed, as its options say.
//!
//! | option | |
//! |---|---|
//! | `endpoint` | an `http` or `https` URL; its path goes before the method's |
//! | `overlap` | seconds to re-read after a failure (default 0): see [`crate::stream::resume`] |
//! | `token_env`, `token_file` | where the credential is, unless the source has a secret |
//! | `client_id`, `issuer` or `token_url`, `resource`, `scope` | OAuth2 client credentials: the credential is then the client's secret, with which tokens are fetched (see [`oauth`]) |
//! | `ca_file` | a PEM file: the only authorities that may sign the endpoint's certificate (default: the system's roots). The token endpoint may be signed by either |
//! | `keepalive` | seconds between HTTP/2 pings (0 disables them) |
//! | `idle_limit` | seconds without a message after which the stream is reopened (0 disables the limit) |
//!
//! The provider's module says what holds without `endpoint`, `keepalive`, `idle_limit`,
//! `issuer` and `resource`, and which other options the request carries.

pub(crate) mod oauth;

use std::time::Duration;

use bytes::Bytes;
use http::{Uri, uri::Scheme};
use serde_json::Value;
use tidings_core::{
    provider,
    wire::{Role, Schema, Start},
};

use self::oauth::OAuth;

/// How to dial a source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dial {
    /// Scheme, host and port.
    pub(crate) origin: Uri,
    /// The endpoint's own path, which goes before the method's. Empty, or without
    /// a slash at its end.
    pub(crate) prefix: String,
    /// The endpoint of a source that names none.
    pub(crate) default_endpoint: Option<&'static str>,
    /// The request's field that says where to resume.
    cursor: &'static str,
    /// Where the stream begins if the request has no cursor.
    pub(crate) start: Start,
    /// Whether the provider can be asked for events that the stream leaves out.
    pub(crate) inquires: bool,
    /// The options of a source that the request carries.
    pub(crate) filterable: &'static [&'static str],
    /// Other fields of the request, as options of the source set them.
    filters: Vec<(&'static str, String)>,
    /// How far before its cursor a stream goes on after a failure.
    pub(crate) overlap: Duration,
    pub(crate) token_env: Option<String>,
    pub(crate) token_file: Option<String>,
    pub(crate) oauth: Option<OAuth>,
    pub(crate) ca_file: Option<String>,
    /// Time between two HTTP/2 pings.
    pub(crate) keepalive: Option<Duration>,
    /// The longest silence.
    pub(crate) idle_limit: Option<Duration>,
}

impl Dial {
    /// How a source of this provider with these options is dialed.
    pub(crate) fn new(provider: &str, options: &Value) -> Result<Self, String> {
        let known = provider::find(provider);
        let call = known.and_then(|known| known.call(options));
        let dialing = known.and_then(|known| known.dialing());
        let (
            Some(Role::Dialed {
                cursor,
                start,
                filters,
            }),
            Some(dialing),
        ) = (call.map(|call| call.role), dialing)
        else {
            return Err(format!("sources of provider {provider} are not dialed"));
        };
        let options = Options(options);
        let endpoint = options
            .text("endpoint")?
            .or_else(|| dialing.endpoint.map(str::to_owned))
            .ok_or("it has no option endpoint")?;
        // Not repeated: there may be a secret in it.
        let (origin, prefix) = split(&endpoint)
            .ok_or("its endpoint is not an http or https URL without user, password and query")?;
        Ok(Self {
            oauth: OAuth::new(&options, &dialing.grant, &endpoint, &origin)?,
            default_endpoint: dialing.endpoint,
            origin,
            prefix,
            cursor,
            start,
            inquires: call.is_some_and(|call| call.inquiry.is_some()),
            filterable: filters,
            filters: options.filters(filters)?,
            overlap: options.seconds("overlap")?.unwrap_or_default(),
            token_env: options.text("token_env")?,
            token_file: options.text("token_file")?,
            ca_file: options.text("ca_file")?,
            keepalive: options.period("keepalive", dialing.keepalive)?,
            idle_limit: options.period("idle_limit", dialing.idle_limit)?,
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.origin.scheme() == Some(&Scheme::HTTPS)
    }

    /// The request that opens the stream behind this cursor.
    pub(crate) fn message(&self, schema: &Schema, cursor: Option<&str>) -> Result<Bytes, String> {
        let filters = self.filters.iter();
        let filters = filters.map(|(name, value)| (*name, value.as_str()));
        let cursor = cursor.map(|cursor| (self.cursor, cursor));
        schema.request(&filters.chain(cursor).collect::<Vec<_>>())
    }
}

/// The options of a source.
struct Options<'a>(&'a Value);

impl Options<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("its option {name} is not a text")),
        }
    }

    /// The options among these that are set. An option that is an array has an entry for each
    /// of its texts.
    fn filters(
        &self,
        names: &'static [&'static str],
    ) -> Result<Vec<(&'static str, String)>, String> {
        let mut set = Vec::new();
        for name in names {
            let Some(Value::Array(values)) = self.get(name) else {
                set.extend(self.text(name)?.map(|value| (*name, value)));
                continue;
            };
            for value in values {
                let text = value.as_str();
                let text = text.ok_or_else(|| format!("its option {name} has more than texts"))?;
                set.push((*name, text.to_owned()));
            }
        }
        Ok(set)
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, String> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        // An `update` of the options is not looked at by the extension, and a greater
        // number would take a clock beyond its end.
        let seconds = value.as_u64().and_then(|s| u32::try_from(s).ok());
        let seconds = seconds.ok_or_else(|| {
            let greatest = u32::MAX;
            format!("its option {name} is not a whole number of seconds, at most {greatest}")
        })?;
        Ok(Some(Duration::from_secs(seconds.into())))
    }

    /// `None` where it is 0.
    fn period(&self, name: &str, default: u32) -> Result<Option<Duration>, String> {
        let default = Duration::from_secs(default.into());
        let period = self.seconds(name)?.unwrap_or(default);
        Ok(Some(period).filter(|period| !period.is_zero()))
    }
}

/// The origin and the path prefix of an endpoint.
fn split(endpoint: &str) -> Option<(Uri, String)> {
    let uri: Uri = endpoint.parse().ok()?;
    let scheme = uri.scheme()?;
    if (scheme != &Scheme::HTTP && scheme != &Scheme::HTTPS) || uri.query().is_some() {
        return None;
    }
    let authority = uri.authority().filter(|a| !a.as_str().contains('@'))?;
    let prefix = uri.path().trim_end_matches('/').to_owned();
    let origin = Uri::builder()
        .scheme(scheme.clone())
        .authority(authority.clone())
        .path_and_query("/")
        .build()
        .ok()?;
    Some((origin, prefix))
}

#[cfg(test)]
mod tests;
