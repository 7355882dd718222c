//! An HTTP caller: one POST, and what became of it.

use std::time::Duration;

use ::http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HeaderName},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, time::timeout};

/// Pushwoosh documents 30 seconds; the others do not say, and get the same.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Answered(StatusCode),
    /// No connection: nothing was put on the wire.
    Unreachable,
    /// It may or may not have been received: the answer is missing.
    Unanswered,
}

/// Whether connections are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connections {
    Kept,
    /// Closed after each answer, as Pushwoosh does.
    Closed,
}

/// How an answer gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It was sent: the request had its effect.
    Unread,
    /// Nobody waited for it: the request may have an effect.
    Unanswered,
}

#[derive(Debug)]
pub(crate) struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
}

impl Caller {
    pub(crate) fn new(uri: Uri, connections: Connections) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        if connections == Connections::Closed {
            builder.pool_max_idle_per_host(0);
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Self {
            client: builder.build(connector),
            uri,
            headers,
        }
    }

    /// Sends this header with every call.
    pub(crate) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) async fn post(
        &self,
        body: Bytes,
        header: Option<(HeaderName, HeaderValue)>,
    ) -> Outcome {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        if let Some((name, value)) = header {
            request.headers_mut().insert(name, value);
        }
        timeout(TIMEOUT, self.exchange(request))
            .await
            .unwrap_or(Outcome::Unanswered)
    }

    /// Sends a request on a connection of its own, and closes it without reading what is
    /// answered. Also tells whether that was an answer of success.
    pub(crate) async fn lose(
        &self,
        body: Bytes,
        header: Option<(HeaderName, HeaderValue)>,
        loss: Loss,
    ) -> (Outcome, bool) {
        const SUCCESS: &[u8] = b"HTTP/1.1 2";
        let Some(authority) = self.uri.authority() else {
            return (Outcome::Unreachable, false);
        };
        let port = authority.port_u16().unwrap_or(80);
        let Ok(mut stream) = TcpStream::connect((authority.host(), port)).await else {
            return (Outcome::Unreachable, false);
        };
        let path = self.uri.path();
        let mut request = format!("POST {path} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
        let own = header.iter().map(|(name, value)| (name, value));
        for (name, value) in self.headers.iter().chain(own) {
            request.extend_from_slice(name.as_str().as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        let length = body.len();
        request.extend_from_slice(format!("content-length: {length}\r\n\r\n").as_bytes());
        request.extend_from_slice(&body);
        let sent = stream.write_all(&request).await.is_ok();
        let mut start = [0; SUCCESS.len()];
        // Peeked at: what is closed unread is lost to the sender as well.
        let succeeded = sent
            && loss == Loss::Unread
            && matches!(timeout(TIMEOUT, stream.peek(&mut start)).await, Ok(Ok(_)))
            && start == *SUCCESS;
        (Outcome::Unanswered, succeeded)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Outcome {
        match self.client.request(request).await {
            Ok(response) => {
                let status = response.status();
                // Only a body read to its end leaves a connection that can be used again;
                // what it says is of no interest to any provider.
                let _ = response.into_body().collect().await;
                Outcome::Answered(status)
            }
            Err(error) if error.is_connect() => Outcome::Unreachable,
            Err(_) => Outcome::Unanswered,
        }
    }
}

/// `base`, with these segments after its path.
pub(crate) fn address(base: &Uri, segments: &[&str]) -> anyhow::Result<Uri> {
    let base = base.to_string();
    let mut text = base.trim_end_matches('/').to_owned();
    for segment in segments {
        text.push('/');
        text.push_str(segment);
    }
    Ok(text.parse()?)
}

#[cfg(test)]
mod tests {
    use ::http::header::AUTHORIZATION;
    use tokio::{net::TcpListener, time::Instant};

    use super::*;
    use crate::testing::{Receiver, Refusal};

    #[tokio::test]
    async fn a_refused_connection_is_unreachable() {
        let refusal = Refusal::new();
        let caller = Caller::new(refusal.uri.clone(), Connections::Kept);
        let outcome = caller.post(Bytes::new(), None).await;
        assert_eq!(outcome, Outcome::Unreachable);
    }

    #[tokio::test]
    async fn connections_are_kept_or_closed() {
        for (connections, opened) in [(Connections::Kept, 1), (Connections::Closed, 3)] {
            let receiver = Receiver::start(|_| Some(200)).await;
            let caller = Caller::new(receiver.uri("/hooks/x"), connections);
            for _ in 0..3 {
                let outcome = caller.post(Bytes::from_static(b"{}"), None).await;
                assert_eq!(outcome, Outcome::Answered(StatusCode::OK));
            }
            assert_eq!(receiver.connections(), opened, "{connections:?}");
        }
    }

    #[tokio::test]
    async fn pushwoosh_method_headers() {
        let receiver = Receiver::start(|_| Some(200)).await;
        let value = HeaderValue::from_static("Basic dXNlcjpwYXNz");
        let caller = Caller::new(receiver.uri("/hooks/x"), Connections::Closed)
            .with(AUTHORIZATION, value.clone());
        // Only a POST is answered with success.
        for loss in [None, Some(Loss::Unread)] {
            let body = Bytes::from_static(b"{}");
            match loss {
                None => assert_eq!(
                    caller.post(body, None).await,
                    Outcome::Answered(StatusCode::OK)
                ),
                Some(loss) => assert!(caller.lose(body, None, loss).await.1),
            }
        }
        let requests = receiver.requests();
        assert_eq!(requests.len(), 2);
        for (uri, headers, body) in requests {
            assert_eq!((uri.path(), body.as_ref()), ("/hooks/x", b"{}".as_slice()));
            assert_eq!(headers[CONTENT_TYPE], "application/json");
            assert_eq!(headers[AUTHORIZATION], value);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pushwoosh_timeout() {
        // It takes connections and never says anything.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let caller = Caller::new(uri.parse().unwrap(), Connections::Closed);
        let start = Instant::now();
        let outcome = caller.post(Bytes::from_static(b"{}"), None).await;
        assert_eq!(outcome, Outcome::Unanswered);
        assert_eq!(start.elapsed().as_secs(), 30);
    }

    #[tokio::test]
    async fn a_dropped_connection_is_unanswered() {
        let receiver = Receiver::start(|_| None).await;
        let caller = Caller::new(receiver.uri("/"), Connections::Kept);
        let outcome = caller.post(Bytes::from_static(b"{}"), None).await;
        assert_eq!(outcome, Outcome::Unanswered);
    }

    #[test]
    fn addresses_keep_the_base_path() {
        let base: Uri = "http://h:1/in/".parse().unwrap();
        assert_eq!(
            address(&base, &["hooks", "a", "t"]).unwrap(),
            "http://h:1/in/hooks/a/t"
        );
    }
}
