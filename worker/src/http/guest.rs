//! A connection of the HTTP server, and how long it may take between its requests.
//!
//! actix-http bounds the first head of a connection; this bounds all of them. While no
//! request is being served:
//!
//! - a head is there within the head timeout of its first byte;
//! - nothing at all keeps a connection open beyond keep-alive and a head timeout: not
//!   bytes that came behind the request before, nor an answer that is not read;
//! - no more than [`HEAD_BYTES`] are read, give or take a buffer.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// Of a request's head, and of what may come with it in one piece.
const HEAD_BYTES: usize = 32 << 10;

/// Times between requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) head: Duration,
    pub(crate) keep_alive: Duration,
}

/// The connections that are open, and how many may be kept alive.
#[derive(Clone, Debug)]
pub(crate) struct Guests {
    open: Arc<AtomicUsize>,
    most: usize,
}

impl Guests {
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

    pub(super) fn welcome<C>(&self, connection: C, times: Times) -> Guest<C> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        let turn = Turn(Rc::new(Shared {
            serving: Cell::new(false),
            changes: Cell::new(0),
            is_surplus: before >= self.most,
        }));
        let deadline = Instant::now() + times.keep_alive + times.head;
        Guest {
            connection,
            turn,
            seen: 0,
            read: 0,
            deadline: Box::pin(sleep_until(deadline)),
            times,
            _place: Place(self.open.clone()),
        }
    }
}

/// Gives the place back.
#[derive(Debug)]
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whose turn it is: the client's, or the worker's while it serves a request. The
/// connection and its requests share it, in one thread.
#[derive(Clone, Debug)]
pub(super) struct Turn(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    serving: Cell<bool>,
    changes: Cell<u64>,
    is_surplus: bool,
}

impl Turn {
    /// The worker's, until the guard is dropped.
    pub(super) fn take(&self) -> Serving {
        self.set(true);
        Serving(self.clone())
    }

    /// Whether the connection is beyond those that may be kept alive.
    pub(super) fn is_surplus(&self) -> bool {
        self.0.is_surplus
    }

    fn set(&self, serving: bool) {
        self.0.serving.set(serving);
        self.0.changes.set(self.0.changes.get().wrapping_add(1));
    }
}

#[derive(Debug)]
pub(super) struct Serving(Turn);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[derive(Debug)]
pub(super) struct Guest<C> {
    connection: C,
    turn: Turn,
    /// The turn that what follows is about.
    seen: u64,
    /// Bytes read in it.
    read: usize,
    /// The end of the client's turn.
    deadline: Pin<Box<Sleep>>,
    times: Times,
    _place: Place,
}

impl<C> Guest<C> {
    pub(super) fn turn(&self) -> Turn {
        self.turn.clone()
    }

    /// Whether anything may be read now.
    fn admit(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let now = self.turn.0.changes.get();
        if self.seen != now {
            self.seen = now;
            self.read = 0;
            if !self.turn.0.serving.get() {
                let end = Instant::now() + self.times.keep_alive + self.times.head;
                self.deadline.as_mut().reset(end);
            }
        }
        if self.turn.0.serving.get() {
            return Poll::Ready(Ok(()));
        }
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if self.read >= HEAD_BYTES {
            // What has been read is looked at first: it may hold a whole head.
            let again = self.read < HEAD_BYTES * 2;
            self.read = HEAD_BYTES * 2;
            if again {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what was read.
    fn note(&mut self, bytes: usize) {
        if bytes == 0 || self.turn.0.serving.get() {
            return;
        }
        if self.read == 0 {
            let end = Instant::now() + self.times.head;
            if end < self.deadline.deadline() {
                self.deadline.as_mut().reset(end);
            }
        }
        self.read += bytes;
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Guest<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.admit(context))?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        let bytes = buffer.filled().len() - before;
        self.note(bytes);
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Guest<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}
