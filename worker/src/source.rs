//! Sources as Postgres lists them, and what a dialed one needs of its options.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{Uri, uri::Scheme};
use serde_json::Value;

/// The only provider that is dialed; every other sends to the worker.
const PPOPPO: &str = "ppoppo";

/// A row of `tidings.source`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Source {
    pub(crate) name: Arc<str>,
    pub(crate) provider: String,
    pub(crate) options: Value,
    pub(crate) enabled: bool,
}

impl Source {
    pub(crate) fn is_dialed(&self) -> bool {
        self.provider == PPOPPO
    }
}

/// What is known of the database and its sources at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) database: Database,
    /// `None` until they have been read once. Afterwards the last ones read, also
    /// while Postgres is away: a short outage is ridden out, not answered at once.
    pub(crate) sources: Option<Arc<HashMap<Arc<str>, Source>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Database {
    Up,
    Down(String),
}

impl Default for Database {
    fn default() -> Self {
        Self::Down("not connected yet".to_owned())
    }
}

/// How to dial a source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dial {
    /// Scheme, host and port.
    pub(crate) origin: Uri,
    /// The endpoint's own path, which goes before the method's. Empty, or without
    /// a slash at its end.
    pub(crate) prefix: String,
    pub(crate) send_request_id: Option<String>,
    /// How far before its cursor a stream goes on.
    pub(crate) overlap: Duration,
    pub(crate) token_env: Option<String>,
    pub(crate) token_file: Option<String>,
}

impl Dial {
    pub(crate) fn new(options: &Value) -> Result<Self, String> {
        let text = |name: &str| match options.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(format!("its option {name} is not a text")),
        };
        let endpoint = text("endpoint")?.ok_or("it has no option endpoint")?;
        let (origin, prefix) = split(&endpoint)
            .ok_or_else(|| format!("its endpoint {endpoint:?} is not an http or https URL"))?;
        Ok(Self {
            origin,
            prefix,
            send_request_id: text("send_request_id")?,
            overlap: match options.get("overlap") {
                None | Some(Value::Null) => Duration::ZERO,
                Some(seconds) => Duration::from_secs(
                    seconds
                        .as_u64()
                        .ok_or("its option overlap is not a number of seconds")?,
                ),
            },
            token_env: text("token_env")?,
            token_file: text("token_file")?,
        })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.origin.scheme() == Some(&Scheme::HTTPS)
    }
}

/// The origin and the path prefix of an endpoint.
fn split(endpoint: &str) -> Option<(Uri, String)> {
    let uri: Uri = endpoint.parse().ok()?;
    let scheme = uri.scheme()?;
    if (scheme != &Scheme::HTTP && scheme != &Scheme::HTTPS) || uri.query().is_some() {
        return None;
    }
    let prefix = uri.path().trim_end_matches('/').to_owned();
    let origin = Uri::builder()
        .scheme(scheme.clone())
        .authority(uri.authority()?.clone())
        .path_and_query("/")
        .build()
        .ok()?;
    Some((origin, prefix))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dial(endpoint: &str) -> Result<Dial, String> {
        Dial::new(&json!({"endpoint": endpoint}))
    }

    #[test]
    fn an_endpoints_path_is_a_prefix() {
        let production = dial("https://api.ppoppo.com/ext").unwrap();
        assert_eq!(production.origin, "https://api.ppoppo.com/");
        assert_eq!(production.prefix, "/ext");
        assert!(production.is_tls());
        let local = dial("http://localhost:3203").unwrap();
        assert_eq!(local.origin, "http://localhost:3203/");
        assert_eq!(local.prefix, "");
        assert!(!local.is_tls());
        assert_eq!(dial("https://host/a/b/").unwrap().prefix, "/a/b");
    }

    #[test]
    fn an_endpoint_that_cannot_be_dialed_is_refused() {
        for endpoint in ["", "localhost:3203", "ftp://host", "/path", "http://h/?a=b"] {
            assert!(dial(endpoint).is_err(), "{endpoint:?}");
        }
        assert!(Dial::new(&json!({})).unwrap_err().contains("endpoint"));
        assert!(Dial::new(&json!({"endpoint": 1})).is_err());
        assert!(Dial::new(&json!({"endpoint": "http://h", "overlap": -1})).is_err());
    }
}
