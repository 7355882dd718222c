//! A token endpoint, over a real socket.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A received request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Which request it is, from 1.
    pub(crate) number: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) content_type: String,
    pub(crate) authorization: Option<String>,
    pub(crate) form: HashMap<String, String>,
}

const PATH: &str = "/oauth/token";

/// A status and a body.
pub(crate) type Answer = (u16, String);

#[derive(Clone)]
pub(crate) struct TokenEndpoint {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl TokenEndpoint {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{PATH}", listener.local_addr().unwrap());
        let endpoint = Self {
            url,
            asked: Arc::default(),
        };
        let (asked, answer) = (endpoint.asked.clone(), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (asked, answer) = (asked.clone(), answer.clone());
                let service = service_fn(move |request| {
                    let (asked, answer) = (asked.clone(), answer.clone());
                    async move {
                        let mut now = read(request).await;
                        now.number = asked.lock().unwrap().len() + 1;
                        let (status, body) = answer(&now);
                        asked.lock().unwrap().push(now);
                        let response = http::Response::builder()
                            .status(status)
                            .header("location", "http://127.0.0.1:1/elsewhere")
                            .body(Full::new(Bytes::from(body)));
                        Ok::<_, Infallible>(response.unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        endpoint
    }

    /// The URL without its path, as the name of an issuer.
    pub(crate) fn origin(&self) -> &str {
        self.url.strip_suffix(PATH).unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn read(request: http::Request<Incoming>) -> Asked {
    let (parts, body) = request.into_parts();
    let header = |name: &str| {
        let value = parts.headers.get(name)?;
        Some(value.to_str().unwrap().to_owned())
    };
    let body = body.collect().await.unwrap().to_bytes();
    Asked {
        number: 0,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        host: header("host").unwrap_or_default(),
        content_type: header("content-type").unwrap_or_default(),
        authorization: header("authorization"),
        form: form_urlencoded::parse(&body).into_owned().collect(),
    }
}
