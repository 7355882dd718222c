//! How a source is dialed, as its options say.
//!
//! | option | |
//! |---|---|
//! | `endpoint` | an `http` or `https` URL; its path goes before the method's |
//! | `overlap` | seconds to re-read after a failure (default 0): see [`crate::stream::resume`] |
//! | `token_env`, `token_file` | where the credential is, unless the source has a secret |
//! | `token_url`, `client_id`, `scope` | OAuth2 client credentials: the credential is then the client's secret, with which tokens are fetched |
//! | `ca_file` | a PEM file: the only authorities that may sign the endpoint's certificate (default: the system's roots). The token endpoint may be signed by either |
//! | `keepalive` | seconds between HTTP/2 pings (0 disables them) |
//! | `idle_limit` | seconds without a message after which the stream is reopened (0 disables the limit) |
//!
//! The provider's module says what holds without `endpoint`, `keepalive` and
//! `idle_limit`, and which other options the request carries.
//!
//! A `token_url` over `http` is taken on a loopback host, or where the endpoint is
//! `http` too: there the token that the secret buys travels in the open anyway.
//! Everywhere else it would give a lasting secret to whoever listens.

use std::time::Duration;

use bytes::Bytes;
use http::{Uri, uri::Scheme};
use serde_json::Value;
use tidings_core::{
    provider,
    wire::{Role, Schema, Start},
};

/// How to dial a source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dial {
    /// Scheme, host and port.
    pub(crate) origin: Uri,
    /// The endpoint's own path, which goes before the method's. Empty, or without
    /// a slash at its end.
    pub(crate) prefix: String,
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

/// Where tokens are fetched, and as whom.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OAuth {
    pub(crate) url: Uri,
    pub(crate) client_id: String,
    pub(crate) scope: Option<String>,
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
            oauth: oauth(&options, &origin)?,
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

fn oauth(options: &Options<'_>, origin: &Uri) -> Result<Option<OAuth>, String> {
    let Some(url) = options.text("token_url")? else {
        return Ok(None);
    };
    let parsed = url.parse::<Uri>().ok();
    let url = parsed
        .filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")))
        .filter(|uri| !uri.authority().is_some_and(|a| a.as_str().contains('@')))
        .ok_or("its token_url is not an http or https URL without user and password")?;
    let open = url.scheme() == Some(&Scheme::HTTP);
    if open && !is_loopback(url.host()) && origin.scheme() != Some(&Scheme::HTTP) {
        return Err(
            "its token_url is http: the client's secret would travel unencrypted; use https"
                .to_owned(),
        );
    }
    Ok(Some(OAuth {
        url,
        client_id: options
            .text("client_id")?
            .filter(|id| !id.is_empty())
            .ok_or("it has a token_url and no client_id: set that option too")?,
        scope: options.text("scope")?.filter(|scope| !scope.is_empty()),
    }))
}

fn is_loopback(host: Option<&str>) -> bool {
    let host = host.unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
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
mod tests {
    use serde_json::json;

    use super::*;

    fn dial(endpoint: &str) -> Result<Dial, String> {
        Dial::new("ppoppo", &json!({"endpoint": endpoint}))
    }

    #[test]
    fn ppoppo_endpoints() {
        for (endpoint, origin, prefix, is_tls) in [
            (
                "https://api.ppoppo.com/ext",
                "https://api.ppoppo.com/",
                "/ext",
                true,
            ),
            (
                "https://api.sandbox.ppoppo.com/ext",
                "https://api.sandbox.ppoppo.com/",
                "/ext",
                true,
            ),
            ("http://localhost:3203", "http://localhost:3203/", "", false),
            ("https://host/a/b/", "https://host/", "/a/b", true),
        ] {
            let dial = dial(endpoint).unwrap();
            assert_eq!(dial.origin, origin);
            assert_eq!(dial.prefix, prefix);
            assert_eq!(dial.is_tls(), is_tls);
        }
    }

    #[test]
    fn an_endpoint_that_cannot_be_dialed_is_refused() {
        for endpoint in ["", "localhost:3203", "ftp://host", "/path", "http://h/?a=b"] {
            assert!(dial(endpoint).is_err(), "{endpoint:?}");
        }
        let default = Dial::new("ppoppo", &json!({})).unwrap();
        assert_eq!(default.origin, "https://chat.ppoppo.com/");
        assert!(Dial::new("ppoppo", &json!({"endpoint": 1})).is_err());
        assert!(Dial::new("ppoppo", &json!({"endpoint": "http://h", "overlap": -1})).is_err());
    }

    #[test]
    fn an_endpoint_that_is_refused_is_not_repeated() {
        for endpoint in [
            "https://user:s3cret@host/ext",
            "https://s3cret@host/ext",
            "ftp://user:s3cret@host",
            "https://user:s3cret@ho st/",
            "https://host/?token=s3cret",
        ] {
            let error = dial(endpoint).unwrap_err();
            assert!(error.contains("endpoint"), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
        assert!(dial("https://host/@ext").is_ok());
    }

    #[test]
    fn seconds_are_bounded() {
        let greatest = u64::from(u32::MAX);
        for name in ["overlap", "keepalive", "idle_limit"] {
            let options = |seconds: u64| json!({"endpoint": "http://h", name: seconds});
            assert!(Dial::new("ppoppo", &options(greatest)).is_ok(), "{name}");
            for seconds in [greatest + 1, u64::MAX] {
                let error = Dial::new("ppoppo", &options(seconds)).unwrap_err();
                assert!(
                    error.contains(name) && error.contains("4294967295"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn periods_have_defaults_and_an_end() {
        let defaults = dial("http://h").unwrap();
        assert_eq!(defaults.keepalive, Some(Duration::from_secs(20)));
        assert_eq!(defaults.idle_limit, Some(Duration::from_secs(65)));
        let options = json!({"endpoint": "http://h", "keepalive": 0, "idle_limit": 5});
        let dial = Dial::new("ppoppo", &options).unwrap();
        assert_eq!(dial.keepalive, None);
        assert_eq!(dial.idle_limit, Some(Duration::from_secs(5)));
    }

    #[test]
    fn each_stream_has_its_cursor_and_its_filters() {
        let options = json!({"stream": "channels", "channel_ids": ["a", "b"]});
        let dial = Dial::new("ppoppo", &options).unwrap();
        assert_eq!(dial.origin, "https://chat.ppoppo.com/");
        assert_eq!(
            (dial.prefix.as_str(), dial.cursor),
            ("/ext", "after_message_id")
        );
        let both = [
            ("channel_ids", "a".to_owned()),
            ("channel_ids", "b".to_owned()),
        ];
        assert_eq!(dial.filters, both);
        let options = json!({"stream": "channels", "channel_ids": ["a", 7]});
        let error = Dial::new("ppoppo", &options).unwrap_err();
        assert!(error.contains("channel_ids"), "{error}");
    }

    #[test]
    fn a_secret_is_not_sent_in_the_open() {
        let token_url = |endpoint: &str, url: &str| {
            let options = json!({"endpoint": endpoint, "token_url": url, "client_id": "c"});
            Dial::new("ppoppo", &options).map(|dial| dial.oauth.unwrap().url.to_string())
        };
        let tls = "https://api.ppoppo.com/ext";
        for url in [
            "https://accounts.ppoppo.com/oauth/token",
            "http://localhost:3100/",
            "http://127.0.0.1:3100/oauth/token",
            "http://[::1]:3100/",
        ] {
            assert_eq!(token_url(tls, url).unwrap(), url);
        }
        let error = token_url(tls, "http://accounts.ppoppo.com/oauth/token").unwrap_err();
        assert!(error.contains("unencrypted"), "{error}");
        assert!(token_url(tls, "http://localhost.example.com/").is_err());
        assert!(token_url("http://ppoppo:3203", "http://accounts:3100/").is_ok());
        for url in ["", "accounts.ppoppo.com", "https://id:secret@host/"] {
            assert!(token_url(tls, url).is_err(), "{url:?}");
        }
        let no_client = json!({"endpoint": tls, "token_url": "https://h/"});
        assert!(
            Dial::new("ppoppo", &no_client)
                .unwrap_err()
                .contains("client_id")
        );
    }
}
