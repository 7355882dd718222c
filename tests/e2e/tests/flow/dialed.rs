//! A Ppoppo whose log has always one event more, for whoever can take it.

use super::supply::Supply;
use anyhow::Result;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tidings_proto::ppoppo::message_service_server::{MessageService, MessageServiceServer};
use tidings_proto::ppoppo::send_request_event_frame::Frame;
use tidings_proto::ppoppo::{
    GetSendRequestStatusRequest, GetSendRequestStatusResponse, RecipientStatus, SendRequestEvent,
    SendRequestEventFrame, SendRequestEventType, StreamSendRequestEventsRequest,
};
use tokio::net::TcpListener;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

/// The time in every event's id; the rest of it is the event's number, in decimal.
const TIME: &str = "01KCM1R300";
/// How often the end of the log looks for another event.
const TURN: Duration = Duration::from_millis(5);

/// Serves it on any free port, for as long as the runtime runs.
pub(super) async fn serve(supply: Arc<Supply>, text: String) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    let service = MessageServiceServer::new(Log { supply, text });
    let server = Server::builder()
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    Ok(at)
}

#[derive(Debug)]
struct Log {
    supply: Arc<Supply>,
    text: String,
}

#[tonic::async_trait]
impl MessageService for Log {
    type StreamSendRequestEventsStream = BoxStream<'static, Result<SendRequestEventFrame, Status>>;

    async fn stream_send_request_events(
        &self,
        request: Request<StreamSendRequestEventsRequest>,
    ) -> Result<Response<Self::StreamSendRequestEventsStream>, Status> {
        // The worker also makes cursors of its own, which are older than the first event.
        let cursor = request.into_inner().after_event_id;
        let first = cursor
            .and_then(|cursor| number(&cursor))
            .map_or(0, |last| last + 1);
        let (supply, text) = (self.supply.clone(), self.text.clone());
        let events = stream::unfold(first, move |number| {
            let (supply, text) = (supply.clone(), text.clone());
            async move {
                while !supply.take(number) {
                    tokio::time::sleep(TURN).await;
                }
                let frame = Some(Frame::Event(event(number, text)));
                Some((Ok(SendRequestEventFrame { frame }), number + 1))
            }
        });
        Ok(Response::new(events.boxed()))
    }

    async fn get_send_request_status(
        &self,
        _: Request<GetSendRequestStatusRequest>,
    ) -> Result<Response<GetSendRequestStatusResponse>, Status> {
        Err(Status::not_found("no such send request"))
    }
}

fn number(event_id: &str) -> Option<usize> {
    event_id.strip_prefix(TIME)?.parse().ok()
}

fn event(number: usize, text: String) -> SendRequestEvent {
    SendRequestEvent {
        event_id: format!("{TIME}{number:016}"),
        send_request_id: "request".to_owned(),
        event_type: SendRequestEventType::RecipientFailed.into(),
        recipient: Some(RecipientStatus {
            ppnum: format!("123{number:08}"),
            error_code: Some(text),
            ..RecipientStatus::default()
        }),
        summary: None,
        // 2026-11-01T21:00:00Z
        occurred_at: Some(prost_types::Timestamp {
            seconds: 1_793_566_800,
            nanos: 0,
        }),
    }
}
