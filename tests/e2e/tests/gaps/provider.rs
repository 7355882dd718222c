//! A Ppoppo whose events happen, are forgotten and are cut off when a test says so.

use anyhow::{Result, ensure};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tidings_e2e::eventually;
use tidings_proto::ppoppo::message_service_server::{MessageService, MessageServiceServer};
use tidings_proto::ppoppo::send_request_event_frame::Frame;
use tidings_proto::ppoppo::{
    CursorExpired, GetSendRequestStatusRequest, GetSendRequestStatusResponse, KeepAlive,
    RecipientStatus, SendRequestEvent, SendRequestEventFrame, SendRequestEventType,
    StreamSendRequestEventsRequest,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tonic::transport::server::{Server, TcpIncoming};
use tonic::{Request, Response, Status};

/// The words of its frame.
pub(super) const TOO_OLD: &str = "older than seven days";
/// How often a stream shows that it lives.
const ALIVE: Duration = Duration::from_millis(200);

/// What has happened, and what is remembered of it.
#[derive(Debug, Default)]
struct Log {
    ids: Vec<String>,
    /// The first that can still be replayed.
    oldest: usize,
    /// How often all streams were ended.
    ends: usize,
    /// The cursors of the calls.
    calls: Vec<Option<String>>,
}

impl Log {
    /// Later events must not be older.
    fn add(&mut self, ago: Duration) -> Result<String> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH)? - ago;
        let id = format!("{}{:016}", base32(at.as_millis()), self.ids.len());
        self.ids.push(id.clone());
        Ok(id)
    }
}

/// The provider, as long as it is kept.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) address: SocketAddr,
    log: Arc<Shared>,
    _runtime: Runtime,
}

#[derive(Debug, Default)]
struct Shared {
    log: Mutex<Log>,
    changed: watch::Sender<()>,
}

impl Shared {
    fn look<T>(&self, look: impl FnOnce(&mut Log) -> T) -> T {
        look(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Provider {
    pub(super) fn start() -> Result<Self> {
        let runtime = Runtime::new()?;
        let log = Arc::<Shared>::default();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let server = Server::builder()
            .add_service(MessageServiceServer::new(Service(log.clone())))
            .serve_with_incoming(TcpIncoming::from(listener));
        runtime.spawn(server);
        Ok(Self {
            address,
            log,
            _runtime: runtime,
        })
    }

    /// Another event happens; its id.
    pub(super) fn happen(&self) -> Result<String> {
        self.happened(Duration::ZERO)
    }

    /// Another event, which happened so long ago; its id.
    pub(super) fn happened(&self, ago: Duration) -> Result<String> {
        let id = self.log.look(|log| log.add(ago))?;
        self.log.changed.send_replace(());
        Ok(id)
    }

    /// Ends all streams, cleanly, and another event happens before the next one begins; its
    /// id.
    pub(super) fn happen_between_streams(&self) -> Result<String> {
        let id = self.log.look(|log| {
            log.ends += 1;
            log.add(Duration::ZERO)
        })?;
        self.log.changed.send_replace(());
        Ok(id)
    }

    /// Nothing of what has happened can be replayed any more.
    pub(super) fn forget(&self) {
        self.log.look(|log| log.oldest = log.ids.len());
    }

    /// Ends all streams, cleanly.
    pub(super) fn end_streams(&self) {
        self.log.look(|log| log.ends += 1);
        self.log.changed.send_replace(());
    }

    /// The cursors of the calls so far.
    pub(super) fn calls(&self) -> Vec<Option<String>> {
        self.log.look(|log| log.calls.clone())
    }

    /// Waits for this many calls; their cursors.
    pub(super) fn called(&self, calls: usize) -> Result<Vec<Option<String>>> {
        let called = eventually(&format!("{calls} calls"), || {
            Ok(Some(self.calls()).filter(|called| called.len() >= calls))
        })?;
        ensure!(called.len() == calls, "{called:?}");
        Ok(called)
    }
}

/// The ten digits of a ULID's time.
fn base32(ms: u128) -> String {
    let digit = |at: u32| {
        let digits = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".iter();
        digits.zip(0..).find_map(|(digit, value)| {
            let is_it = (ms >> (5 * at)) & 31 == value;
            is_it.then(|| char::from(*digit))
        })
    };
    (0..10).rev().filter_map(digit).collect()
}

#[derive(Debug)]
struct Service(Arc<Shared>);

/// The way of one stream through the log.
struct Way {
    shared: Arc<Shared>,
    changed: watch::Receiver<()>,
    next: usize,
    ends: usize,
    is_expired: bool,
}

impl Way {
    async fn frame(mut self) -> Option<(Result<SendRequestEventFrame, Status>, Self)> {
        if std::mem::take(&mut self.is_expired) {
            let detail = TOO_OLD.to_owned();
            return Some((framed(Frame::CursorExpired(CursorExpired { detail })), self));
        }
        loop {
            let (id, ends) = self
                .shared
                .look(|log| (log.ids.get(self.next).cloned(), log.ends));
            if ends > self.ends {
                return None;
            }
            if let Some(id) = id {
                self.next += 1;
                return Some((framed(Frame::Event(event(id))), self));
            }
            let changed = tokio::time::timeout(ALIVE, self.changed.changed()).await;
            if changed.is_err() {
                return Some((framed(Frame::KeepAlive(KeepAlive {})), self));
            }
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an item of a stream")]
fn framed(frame: Frame) -> Result<SendRequestEventFrame, Status> {
    Ok(SendRequestEventFrame { frame: Some(frame) })
}

fn event(event_id: String) -> SendRequestEvent {
    SendRequestEvent {
        event_id,
        send_request_id: "request".to_owned(),
        event_type: SendRequestEventType::RecipientDelivered.into(),
        recipient: Some(RecipientStatus {
            ppnum: "12345678901".to_owned(),
            ..RecipientStatus::default()
        }),
        ..SendRequestEvent::default()
    }
}

#[tonic::async_trait]
impl MessageService for Service {
    type StreamSendRequestEventsStream = BoxStream<'static, Result<SendRequestEventFrame, Status>>;

    async fn stream_send_request_events(
        &self,
        request: Request<StreamSendRequestEventsRequest>,
    ) -> Result<Response<Self::StreamSendRequestEventsStream>, Status> {
        let cursor = request.into_inner().after_event_id;
        let changed = self.0.changed.subscribe();
        let (next, ends, is_expired) = self.0.look(|log| {
            log.calls.push(cursor.clone());
            let edge = log.ids.len();
            let after = cursor.map(|cursor| log.ids.partition_point(|id| *id <= cursor));
            let is_expired = after.is_some_and(|after| after < log.oldest);
            let next = after.filter(|_| !is_expired).unwrap_or(edge);
            (next, log.ends, is_expired)
        });
        let way = Way {
            shared: self.0.clone(),
            changed,
            next,
            ends,
            is_expired,
        };
        Ok(Response::new(stream::unfold(way, Way::frame).boxed()))
    }

    async fn get_send_request_status(
        &self,
        _: Request<GetSendRequestStatusRequest>,
    ) -> Result<Response<GetSendRequestStatusResponse>, Status> {
        // So that the gap stays open.
        Err(Status::unavailable("not today"))
    }
}
