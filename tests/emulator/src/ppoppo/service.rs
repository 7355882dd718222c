//! The gRPC services, as the provider has published them.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt as _};
use tidings_proto::ppoppo::{
    ChannelEventFrame, ChannelMessageEvent, CursorExpired, GetSendRequestStatusRequest,
    GetSendRequestStatusResponse, KeepAlive, SendRequestEvent, SendRequestEventFrame,
    StreamChannelEventsRequest, StreamSendRequestEventsRequest, channel_event_frame,
    channel_service_server::ChannelService, message_service_server::MessageService,
    send_request_event_frame,
};
use tonic::{Request, Response, Status};

use super::{
    desk::{Access, Desk},
    feed::{Asked, Feed, cord},
    requests::Requests,
    subscription::Frame,
};
use crate::faults::Faults;

#[derive(Clone, Debug)]
pub(crate) struct Service {
    desk: Arc<Desk>,
    events: Arc<Feed<SendRequestEvent>>,
    messages: Arc<Feed<ChannelMessageEvent>>,
    requests: Arc<Requests>,
}

/// The items of a streamed response.
pub(super) type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    pub(crate) fn new(
        access: Access,
        faults: Arc<Faults>,
        events: Arc<Feed<SendRequestEvent>>,
        messages: Arc<Feed<ChannelMessageEvent>>,
        requests: Arc<Requests>,
    ) -> Self {
        Self {
            desk: Arc::new(Desk::new(access, faults)),
            events,
            messages,
            requests,
        }
    }

    pub(super) fn follow_requests(
        &self,
        request: Request<StreamSendRequestEventsRequest>,
    ) -> Result<Answer<Frame<SendRequestEvent>>, Status> {
        let token = self.desk.admit(&request)?;
        let cord = cord(request.extensions());
        let asked = request.into_inner();
        let only = asked.send_request_id;
        let wants = move |event: &SendRequestEvent| {
            only.as_ref().is_none_or(|id| event.send_request_id == *id)
        };
        let asked = Asked {
            cursor: asked.after_event_id,
            wants: Box::new(wants),
            token,
            cord,
        };
        Ok(Box::pin(self.events.subscribe(&self.desk, asked)?))
    }

    fn follow_channels(
        &self,
        request: Request<StreamChannelEventsRequest>,
    ) -> Result<Answer<Frame<ChannelMessageEvent>>, Status> {
        let token = self.desk.admit(&request)?;
        let cord = cord(request.extensions());
        let asked = request.into_inner();
        let only = asked.channel_ids;
        let wants =
            move |event: &ChannelMessageEvent| only.is_empty() || only.contains(&event.channel_id);
        let asked = Asked {
            cursor: asked.after_message_id,
            wants: Box::new(wants),
            token,
            cord,
        };
        Ok(Box::pin(self.messages.subscribe(&self.desk, asked)?))
    }
}

#[tonic::async_trait]
impl MessageService for Service {
    type StreamSendRequestEventsStream = Answer<SendRequestEventFrame>;

    async fn stream_send_request_events(
        &self,
        request: Request<StreamSendRequestEventsRequest>,
    ) -> Result<Response<Self::StreamSendRequestEventsStream>, Status> {
        use send_request_event_frame::Frame as Sent;
        let frames = self.follow_requests(request)?.map(|frame| {
            let frame = match frame? {
                Frame::Entry(event) => Sent::Event(event),
                Frame::KeepAlive => Sent::KeepAlive(KeepAlive {}),
                Frame::CursorExpired => Sent::CursorExpired(expired()),
            };
            Ok(SendRequestEventFrame { frame: Some(frame) })
        });
        Ok(Response::new(Box::pin(frames)))
    }

    async fn get_send_request_status(
        &self,
        request: Request<GetSendRequestStatusRequest>,
    ) -> Result<Response<GetSendRequestStatusResponse>, Status> {
        self.desk.admit(&request)?;
        if let Some(status) = self.desk.quota.refuse() {
            return Err(status);
        }
        let status = self.requests.status(&request.into_inner().id);
        let unknown = || Status::not_found("no such send request");
        status.map(Response::new).ok_or_else(unknown)
    }
}

#[tonic::async_trait]
impl ChannelService for Service {
    type StreamChannelEventsStream = Answer<ChannelEventFrame>;

    async fn stream_channel_events(
        &self,
        request: Request<StreamChannelEventsRequest>,
    ) -> Result<Response<Self::StreamChannelEventsStream>, Status> {
        use channel_event_frame::Frame as Sent;
        let frames = self.follow_channels(request)?.map(|frame| {
            let frame = match frame? {
                Frame::Entry(event) => Sent::Event(event),
                Frame::KeepAlive => Sent::KeepAlive(KeepAlive {}),
                Frame::CursorExpired => Sent::CursorExpired(expired()),
            };
            Ok(ChannelEventFrame { frame: Some(frame) })
        });
        Ok(Response::new(Box::pin(frames)))
    }
}

fn expired() -> CursorExpired {
    CursorExpired {
        detail: "the cursor is older than what can be replayed".to_owned(),
    }
}
