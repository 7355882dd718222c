//! A connection that can be cut, silenced or shut down from within a call.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// Half of the next write goes out, and no more. (0 is whole.)
const TEARING: u8 = 1;
const CUT: u8 = 2;
/// What is under way still goes out; with the next flush it is silent.
const FALLING: u8 = 3;
/// Open, and dead: what is written goes nowhere, and nothing is read.
const SILENT: u8 = 4;

#[derive(Debug, Default)]
struct Ends {
    state: AtomicU8,
    reader: AtomicWaker,
    goaway: Notify,
}

/// What a call holds of its connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Cord(Arc<Ends>);

impl Cord {
    /// Cuts in the middle of the next write. A stream that asks for it has just sent an
    /// event, so there is one.
    pub(super) fn cut(&self) {
        self.0.state.store(TEARING, Ordering::Release);
    }

    /// Once what was sent is out, it is as a connection whose other end has lost its
    /// network: it stays open, and no data, no answer to a ping and no end comes out of
    /// it.
    pub(super) fn silence(&self) {
        self.0.state.store(FALLING, Ordering::Release);
    }

    /// Has the connection say GOAWAY; its streams go on.
    pub(super) fn go_away(&self) {
        self.0.goaway.notify_one();
    }

    /// Returns when it is to say GOAWAY.
    pub(super) async fn wait_goaway(&self) {
        self.0.goaway.notified().await;
    }

    fn is_silent(&self) -> bool {
        self.state() == SILENT
    }

    fn state(&self) -> u8 {
        self.0.state.load(Ordering::Acquire)
    }

    fn whole(&self) -> io::Result<()> {
        if self.state() == CUT {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }

    /// How much of this many bytes may be written.
    fn part(&self, bytes: usize) -> usize {
        if self.state() == TEARING {
            (bytes / 2).max(1)
        } else {
            bytes
        }
    }

    fn written(&self) {
        if self.state() == TEARING {
            self.0.state.store(CUT, Ordering::Release);
            // An HTTP/2 connection always reads: that is where it finds out.
            self.0.reader.wake();
        }
    }
}

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    cord: Cord,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            cord: Cord::default(),
        })
    }

    pub(super) fn cord(&self) -> Cord {
        self.cord.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Before the check: a cut in between then wakes.
        self.cord.0.reader.register(context.waker());
        self.cord.whole()?;
        if self.cord.is_silent() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    /// Not vectored: a slice at a time can be torn.
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.cord.whole()?;
        if self.cord.is_silent() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let part = bytes.get(..self.cord.part(bytes.len())).unwrap_or(bytes);
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, part))?;
        self.cord.written();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() && self.cord.state() == FALLING {
            self.cord.0.state.store(SILENT, Ordering::Release);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
