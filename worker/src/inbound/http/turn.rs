//! A connection of the HTTP server, and how long it may take between its requests.
//!
//! actix-http bounds the first head of a connection; this bounds all of them. While no
//! request is being served:
//!
//! - a head is there within the head timeout of its first byte;
//! - nothing at all keeps a connection open beyond keep-alive and a head timeout: not
//!   bytes that came behind the request before, nor an answer that is not read;
//! - no more than [`HEAD_BYTES`] are read, give or take a buffer.
//!
//! While one is served, nothing is read but its body, and that in steps: what a client
//! sends ahead stays with the system.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_web::{
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        ConnectionType,
        header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    },
    middleware::Next,
    web,
};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    inbound::gate::{Gate, Gated},
    process::drain::Drain,
};

/// Limit on a request's head and on what arrives with it in one piece, and on one step, in bytes.
pub(super) const HEAD_BYTES: usize = 32 << 10;

/// Times between requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) head: Duration,
    pub(crate) keep_alive: Duration,
}

/// The connections that are open, and how many may be kept alive.
#[derive(Clone, Debug)]
pub(crate) struct Connections {
    open: Arc<AtomicUsize>,
    most: usize,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            open: Arc::default(),
            most,
        }
    }

    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Counts a connection as open, and bounds the turns of its client.
    pub(super) fn gated<C>(&self, connection: C, times: Times) -> Gated<C, TurnGate> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let turn = Turn::new(before >= self.most);
        let deadline = Instant::now() + times.keep_alive + times.head;
        let gate = TurnGate {
            turn,
            seen: 0,
            read: 0,
            deadline: Box::pin(sleep_until(deadline)),
            times,
            _counted: Counted(self.open.clone()),
        };
        Gated::new(connection, gate)
    }
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whose turn it is. The connection and its requests share it, in one thread.
#[derive(Clone, Debug)]
pub(crate) struct Turn(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    whose: Cell<Whose>,
    changes: Cell<u64>,
    /// The body has been read to its end.
    is_whole: Cell<bool>,
    /// The reader of the connection.
    reader: RefCell<Option<Waker>>,
    is_surplus: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// To send a head.
    Client,
    /// To serve the request.
    Worker,
    /// Both: the body is read.
    Body,
    /// To send the rest of a body that nobody wants, until the connection is closed.
    /// The rest of the body is thrown away: cut off, it could take the answer with it.
    Leftover,
}

impl Whose {
    fn has_deadline(self) -> bool {
        matches!(self, Self::Client | Self::Leftover)
    }
}

impl Turn {
    fn new(is_surplus: bool) -> Self {
        Self(Rc::new(Shared {
            whose: Cell::new(Whose::Client),
            changes: Cell::new(0),
            is_whole: Cell::new(false),
            reader: RefCell::default(),
            is_surplus,
        }))
    }

    /// The worker's, until the guard is dropped.
    pub(super) fn take(&self) -> Held {
        self.0.is_whole.set(false);
        self.hand(Whose::Worker, Whose::Client)
    }

    /// The body may be read, until the guard is dropped.
    pub(crate) fn read(&self) -> Held {
        self.hand(Whose::Body, Whose::Worker)
    }

    /// The body has been read to its end.
    pub(crate) fn finish(&self) {
        self.0.is_whole.set(true);
    }

    pub(super) fn is_finished(&self) -> bool {
        self.0.is_whole.get()
    }

    /// Whether the connection is beyond those that may be kept alive.
    pub(super) fn is_surplus(&self) -> bool {
        self.0.is_surplus
    }

    fn hand(&self, now: Whose, then: Whose) -> Held {
        self.set(now);
        Held {
            turn: self.clone(),
            then,
        }
    }

    fn set(&self, whose: Whose) {
        self.0.whose.set(whose);
        self.0.changes.set(self.0.changes.get().wrapping_add(1));
        // What may be read has changed, and until when.
        let reader = self.0.reader.take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Waits for a change.
    fn wait(&self, context: &Context<'_>) {
        let mut reader = self.0.reader.borrow_mut();
        match reader.as_mut() {
            Some(reader) => reader.clone_from(context.waker()),
            None => *reader = Some(context.waker().clone()),
        }
    }
}

/// A turn that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    turn: Turn,
    then: Whose,
}

impl Held {
    /// The rest of the body is not wanted.
    pub(super) fn leave(&mut self) {
        self.then = Whose::Leftover;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.turn.set(self.then);
    }
}

/// Lets a connection be read when it is the client's turn to send something.
#[derive(Debug)]
pub(super) struct TurnGate {
    turn: Turn,
    /// The turn that what follows is about.
    seen: u64,
    /// Bytes read in it.
    read: usize,
    /// The end of the client's turn.
    deadline: Pin<Box<Sleep>>,
    times: Times,
    _counted: Counted,
}

impl TurnGate {
    pub(super) fn turn(&self) -> Turn {
        self.turn.clone()
    }
}

impl Gate for TurnGate {
    fn admit(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let whose = self.turn.0.whose.get();
        let now = self.turn.0.changes.get();
        if self.seen != now {
            self.seen = now;
            self.read = 0;
            if whose.has_deadline() {
                let end = Instant::now() + self.times.keep_alive + self.times.head;
                self.deadline.as_mut().reset(end);
            }
        }
        if !whose.has_deadline() {
            self.turn.wait(context);
        }
        if whose == Whose::Worker {
            return Poll::Pending;
        }
        if whose.has_deadline() && self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.read < HEAD_BYTES {
            return Poll::Ready(Ok(()));
        }
        // What has been read is looked at first: it may hold a whole head.
        if whose == Whose::Client && self.read == usize::MAX {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        self.read = match whose {
            Whose::Client => usize::MAX,
            Whose::Body | Whose::Worker | Whose::Leftover => 0,
        };
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn note(&mut self, bytes: usize) {
        if self.read == 0 && self.turn.0.whose.get().has_deadline() {
            let end = Instant::now() + self.times.head;
            if end < self.deadline.deadline() {
                self.deadline.as_mut().reset(end);
            }
        }
        self.read = self.read.saturating_add(bytes);
    }
}

/// Marks the connection as being served, and closes it afterwards if necessary.
pub(super) async fn take_turns<B: MessageBody + 'static>(
    drain: web::Data<Drain>,
    request: ServiceRequest,
    next: Next<B>,
) -> actix_web::Result<ServiceResponse<impl MessageBody>> {
    let turn = request.conn_data::<Turn>().cloned();
    let mut serving = turn.as_ref().map(Turn::take);
    let has_body = has_body(&request);
    let is_surplus = turn.as_ref().is_some_and(Turn::is_surplus);
    let mut response = next.call(request).await?;
    let is_unread = has_body && turn.is_some_and(|turn| !turn.is_finished());
    if is_unread && let Some(serving) = &mut serving {
        serving.leave();
    }
    if is_surplus || is_unread || drain.has_begun() {
        let head = response.response_mut().head_mut();
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

fn has_body(request: &ServiceRequest) -> bool {
    let headers = request.headers();
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}
