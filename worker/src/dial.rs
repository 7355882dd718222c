//! Dialing an endpoint: connection, token, and the call itself.

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tidings_core::Ulid;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use crate::{codec::Raw, source::Dial};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Finds a peer that has vanished. HTTP/2 pings would be more exact, but a server
/// may take frequent ones for abuse and close the connection.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The bearer token of a source: the one that Postgres holds, else the environment
/// variable or the file that its options name. Read anew at every connection, so
/// that a rotated one is picked up.
pub(crate) fn token(dial: &Dial, secret: Option<String>) -> Result<String, String> {
    let token = match (secret, &dial.token_env, &dial.token_file) {
        (Some(secret), _, _) => secret,
        (None, Some(name), _) => from_environment(name)?,
        (None, None, Some(path)) => std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read its token from {path:?}: {error}"))?,
        (None, None, None) => {
            return Err(
                "it has no token: give it a secret, or the option token_env or token_file"
                    .to_owned(),
            );
        }
    };
    let token = token.trim();
    if token.is_empty() {
        return Err("its token is empty".to_owned());
    }
    Ok(token.to_owned())
}

fn from_environment(name: &str) -> Result<String, String> {
    // The option is data in Postgres; this variable is not for an endpoint to see.
    if name == "DATABASE_URL" {
        return Err("its option token_env names DATABASE_URL, which is no token".to_owned());
    }
    std::env::var(name).map_err(|_| {
        format!("its token is to be in the environment variable {name}, which is not set")
    })
}

/// A cursor that lies `overlap` before this one, for a provider whose events may come
/// later than the order of their ids has it: what comes twice is stored once. A cursor
/// that is no ULID has no time to go back in, and stays as it is.
pub(crate) fn rewind(cursor: String, overlap: Duration) -> String {
    let earlier = || {
        let ms = cursor.parse::<Ulid>().ok()?.ms();
        let overlap = u64::try_from(overlap.as_millis()).unwrap_or(u64::MAX);
        Ulid::at(ms.saturating_sub(overlap))
    };
    match earlier() {
        Some(earlier) if !overlap.is_zero() => earlier.to_string(),
        _ => cursor,
    }
}

/// Opens a connection: TCP, and TLS where the endpoint is `https`.
pub(crate) async fn connect(dial: &Dial) -> Result<Channel, String> {
    let mut endpoint = Endpoint::from(dial.origin.clone())
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(Some(TCP_KEEPALIVE))
        .user_agent(concat!("tidings-worker/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| chain(&error))?;
    if dial.is_tls() {
        let tls = ClientTlsConfig::new().with_native_roots();
        endpoint = endpoint.tls_config(tls).map_err(|error| chain(&error))?;
    }
    // The whole of it, as TLS and HTTP/2 come after the TCP connection.
    match tokio::time::timeout(CONNECT_TIMEOUT * 2, endpoint.connect()).await {
        Ok(connected) => connected.map_err(|error| chain(&error)),
        Err(_) => Err("the endpoint does not complete the connection".to_owned()),
    }
}

/// Starts a server-streaming call. It returns when the server has accepted it,
/// which some servers say only together with the first message.
pub(crate) async fn call(
    channel: Channel,
    dial: &Dial,
    method: &PathAndQuery,
    token: &str,
    message: Bytes,
    largest_message: usize,
) -> Result<Streaming<Bytes>, Status> {
    let path = format!("{}{method}", dial.prefix);
    let path = PathAndQuery::try_from(path)
        .map_err(|_| Status::invalid_argument("the endpoint's path cannot be used"))?;
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| Status::invalid_argument("the token cannot be sent in a header"))?;
    bearer.set_sensitive(true);
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", bearer);
    let mut client = Grpc::new(channel).max_decoding_message_size(largest_message);
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(chain(&error)))?;
    let response = client.server_streaming(request, path, Raw).await?;
    Ok(response.into_inner())
}

/// How long the server asks to be left alone: `retry-after-ms`, in the metadata or,
/// as its documentation has it ("details are in the message"), in the message.
pub(crate) fn retry_hint(status: &Status) -> Option<Duration> {
    const NAME: &str = "retry-after-ms";
    const GREATEST: Duration = Duration::from_secs(300);
    let metadata = status.metadata().get(NAME).and_then(|v| v.to_str().ok());
    let in_message = || {
        let (_, rest) = status.message().split_once(NAME)?;
        let digits = rest.trim_start_matches([':', '=', ' ', '"']);
        let end = digits.find(|c: char| !c.is_ascii_digit());
        digits.get(..end.unwrap_or(digits.len()))
    };
    let millis = metadata.or_else(in_message)?.trim().parse().ok()?;
    Some(Duration::from_millis(millis).min(GREATEST))
}

/// An error with all its causes, which tonic keeps out of its own text.
fn chain(error: &dyn std::error::Error) -> String {
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
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn dial(options: serde_json::Value) -> Dial {
        let mut options = options;
        options["endpoint"] = json!("http://localhost:1");
        Dial::new(&options).unwrap()
    }

    #[test]
    fn the_stored_secret_comes_first() {
        let dial = dial(json!({"token_env": "TIDINGS_TEST_UNSET"}));
        assert_eq!(
            token(&dial, Some(" stored\n".to_owned())).unwrap(),
            "stored"
        );
        let error = token(&dial, None).unwrap_err();
        assert!(error.contains("TIDINGS_TEST_UNSET"), "{error}");
    }

    #[test]
    fn a_file_is_read_and_trimmed() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "from-file").unwrap();
        let dial = dial(json!({"token_file": file.path().to_str().unwrap()}));
        assert_eq!(token(&dial, None).unwrap(), "from-file");
    }

    #[test]
    fn without_a_usable_token_it_says_so() {
        assert!(token(&dial(json!({})), None).is_err());
        assert!(token(&dial(json!({})), Some(" ".to_owned())).is_err());
        assert!(token(&dial(json!({"token_file": "/nonexistent/token"})), None).is_err());
        assert!(token(&dial(json!({"token_env": "DATABASE_URL"})), None).is_err());
    }

    #[test]
    fn an_overlap_goes_back_in_time() {
        let cursor = || "01ARYZ6S41TSV4RRFFQ69G5FAV".to_owned();
        assert_eq!(rewind(cursor(), Duration::ZERO), cursor());
        let earlier = rewind(cursor(), Duration::from_secs(60));
        assert_eq!(
            earlier.parse::<Ulid>().unwrap().ms(),
            1_469_918_176_385 - 60_000
        );
        assert!(earlier < cursor());
        let beginning = rewind(cursor(), Duration::MAX);
        assert_eq!(beginning, "00000000000000000000000000");
        let odd = "evt_17".to_owned();
        assert_eq!(rewind(odd.clone(), Duration::from_secs(60)), odd);
    }

    #[test]
    fn a_retry_hint_is_found_in_metadata_or_message_and_bounded() {
        let mut status = Status::resource_exhausted("slow down, retry-after-ms: 1500 please");
        assert_eq!(retry_hint(&status), Some(Duration::from_millis(1500)));
        status
            .metadata_mut()
            .insert("retry-after-ms", "250".parse().unwrap());
        assert_eq!(retry_hint(&status), Some(Duration::from_millis(250)));
        let forever = Status::resource_exhausted("retry-after-ms=999999999");
        assert_eq!(retry_hint(&forever), Some(Duration::from_secs(300)));
        assert_eq!(retry_hint(&Status::unavailable("gone")), None);
        assert_eq!(retry_hint(&Status::unavailable("retry-after-ms")), None);
    }
}
