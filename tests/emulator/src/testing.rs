//! Real sockets for tests: an HTTP server whose answers a test decides, and a port that
//! refuses.

use std::sync::{Arc, Mutex};

use ::http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinHandle,
};

/// An address at which connections are refused for as long as this is kept: the port is
/// bound, so that nobody else gets it, and nothing listens.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) uri: Uri,
    _socket: TcpSocket,
}

impl Refusal {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        Self {
            uri: format!("http://{address}").parse().unwrap(),
            _socket: socket,
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    requests: usize,
    accepted: Vec<(Uri, HeaderMap, Bytes)>,
}

/// Stops when dropped.
#[derive(Debug)]
pub(crate) struct Receiver {
    address: String,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Receiver {
    /// `answer` gives the nth request's status, or none to drop its connection.
    pub(crate) async fn start(answer: fn(usize) -> Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let task = tokio::spawn(serve(listener, Arc::clone(&seen), answer));
        Self {
            address,
            seen,
            task,
        }
    }

    pub(crate) fn uri(&self, path: &str) -> Uri {
        format!("{}{path}", self.address).parse().unwrap()
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// The bodies answered with a status below 300, in order.
    pub(crate) fn accepted(&self) -> Vec<Bytes> {
        self.requests()
            .into_iter()
            .map(|request| request.2)
            .collect()
    }

    pub(crate) fn requests(&self) -> Vec<(Uri, HeaderMap, Bytes)> {
        self.seen.lock().unwrap().accepted.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, seen: Arc<Mutex<Seen>>, answer: fn(usize) -> Option<u16>) {
    while let Ok((stream, _)) = listener.accept().await {
        seen.lock().unwrap().connections += 1;
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request| respond(request, Arc::clone(&seen), answer));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn respond(
    request: Request<Incoming>,
    seen: Arc<Mutex<Seen>>,
    answer: fn(usize) -> Option<u16>,
) -> Result<Response<Empty<Bytes>>, std::io::Error> {
    let (head, body) = request.into_parts();
    let body = body
        .collect()
        .await
        .map_err(std::io::Error::other)?
        .to_bytes();
    let mut seen = seen.lock().unwrap();
    let status = if head.method == Method::POST {
        answer(seen.requests)
    } else {
        Some(405)
    };
    seen.requests += 1;
    let Some(status) = status else {
        // An error instead of an answer makes hyper close the connection.
        return Err(std::io::Error::other("dropped on purpose"));
    };
    if status < 300 {
        seen.accepted.push((head.uri, head.headers, body));
    }
    let mut response = Response::new(Empty::new());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    Ok(response)
}
