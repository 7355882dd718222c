//! Servers that refuse whatever they are asked, and repeat it to say why.

use anyhow::Result;
use futures_util::stream::BoxStream;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use tidings_proto::ppoppo::message_service_server::{MessageService, MessageServiceServer};
use tidings_proto::ppoppo::{
    GetSendRequestStatusRequest, GetSendRequestStatusResponse, SendRequestEventFrame,
    StreamSendRequestEventsRequest,
};
use tokio::runtime::Runtime;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

/// Listens until it is dropped.
pub(super) struct Echo {
    /// A Ppoppo.
    pub(super) grpc: SocketAddr,
    /// A token endpoint.
    pub(super) http: SocketAddr,
    _runtime: Runtime,
}

impl Echo {
    pub(super) fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let grpc = listener.local_addr()?;
        runtime.spawn(
            Server::builder()
                .add_service(MessageServiceServer::new(Ppoppo))
                .serve_with_incoming(TcpIncoming::from(listener)),
        );
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let http = listener.local_addr()?;
        // Ends with the program.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = refuse(stream);
            }
        });
        Ok(Self {
            grpc,
            http,
            _runtime: runtime,
        })
    }
}

fn refuse(mut stream: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((_, value)) = line.to_ascii_lowercase().split_once("content-length:") {
            length = value.trim().parse()?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let heard = format!("{head} {}", String::from_utf8_lossy(&body));
    let answer = serde_json::json!({ "error": "invalid_client", "error_description": heard });
    let answer = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{answer}",
        answer.len()
    )?;
    Ok(())
}

struct Ppoppo;

#[tonic::async_trait]
impl MessageService for Ppoppo {
    type StreamSendRequestEventsStream = BoxStream<'static, Result<SendRequestEventFrame, Status>>;

    async fn stream_send_request_events(
        &self,
        request: Request<StreamSendRequestEventsRequest>,
    ) -> Result<Response<Self::StreamSendRequestEventsStream>, Status> {
        Err(refusal(&request))
    }

    async fn get_send_request_status(
        &self,
        request: Request<GetSendRequestStatusRequest>,
    ) -> Result<Response<GetSendRequestStatusResponse>, Status> {
        Err(refusal(&request))
    }
}

fn refusal<T>(request: &Request<T>) -> Status {
    Status::unauthenticated(format!("not valid: {:?}", request.metadata()))
}
